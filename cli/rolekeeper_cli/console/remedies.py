"""What to do, as a page says it: views and writes name commands, and here a page or a button does the same."""

import re

_REST = r"[^;]*"
# What a message says, and what stands for it on a page; the first that fits. A command without a button stays.
_PAGES = tuple(
    (re.compile(command), page)
    for command, page in (
        (r"; to (?:approve|delete|keep) it: rolekeeper mapping (?:approve|discard) .*?(?=; |$)", ""),
        (r"runs: rolekeeper mapping approve", "approves it on the mapping's page"),
        (r"name one with --to, or edit the row: rolekeeper mapping set", "edit the row on the mapping's page"),
        (rf"(?:to go back|to delete it again): rolekeeper mapping (?:rollback|rm){_REST}", "use the mapping's page"),
        (r"rolekeeper mapping ls", "the page Mappings"),
        (rf"rolekeeper mapping (?:get|history){_REST}", "the mapping's page"),
        (r"rolekeeper roles", "the page Roles"),
        (r"rolekeeper mode, (?:rolekeeper resume|pause or resume)", "the page Settings"),
        (r"rolekeeper (?:resume|mode(?: enforce)?)\b", "the page Settings"),
        (r"rolekeeper explain \S+", "the instance's page"),
        (rf"rolekeeper (?:attach|replace|detach|release)\b{_REST}", "the instance's page"),
        (r"run the command again: it plans anew", "plan anew"),
        (r"aws ec2 describe-instances; maybe it is in another --region", "the page Fleet; it may be in another Region"),
        (r"\bsee: the ", "see the "),
    )
)


def without_commands(text: str) -> str:
    """The same message, with the page that does what a command would."""
    for command, page in _PAGES:
        text = command.sub(page, text)
    return text

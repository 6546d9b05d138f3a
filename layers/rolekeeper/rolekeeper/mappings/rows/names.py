"""Reading the names of IAM roles and instance profiles, where people write ARNs, paths and wildcards too. Pure."""

import re

from rolekeeper.mappings.rows.cells import Cell, CellError, HomeAccount, within
from rolekeeper.mappings.rows.confusables import edge_blank, hidden, name_of, quote
from rolekeeper.model import NO_ROLE

# IAM user guide, "IAM object quotas": role names to 64 characters, instance profile names to 128.
ROLE_NAME, PROFILE_NAME = 64, 128
# IAM API reference, "CreateRole"; written out, as Python's \w means more than that of JSON Schema (ECMA 262).
_CHARACTERS = "A-Za-z0-9_+=,.@-"
NAME = f"[{_CHARACTERS}]+"

_NAME = re.compile(NAME)
_FOREIGN = re.compile(f"[^{_CHARACTERS}]")
_ARN_FIELDS = 6


def read_role(cell: Cell) -> str:
    """A role's name, or `NONE`."""
    text: str = cell.value
    if text == NO_ROLE:
        return text
    if text.casefold() == NO_ROLE.casefold():
        raise CellError(f"is {quote(text)}; write {NO_ROLE} in capitals to carry no role")
    return _iam_name(cell, "role", ROLE_NAME)


def read_profile(cell: Cell) -> str:
    """An instance profile's name."""
    if cell.value.casefold() == NO_ROLE.casefold():
        raise CellError(f"is {quote(cell.value)}; remove it for the profile that is named as the role")
    return _iam_name(cell, "instance profile", PROFILE_NAME)


def _iam_name(cell: Cell, what: str, limit: int) -> str:
    """A name as IAM takes it. The first thing wrong is told; the order puts the most telling first."""
    text: str = cell.value
    if text[:4].casefold() == "arn:":
        raise CellError(_about_arn(text, what, cell.home))
    if "/" in text:
        raise CellError(f"is {quote(text)}, which holds a path; give the {what}'s name only{_last_name(text)}")
    within(text, limit, "IAM takes")
    if said := edge_blank(text) or hidden(text):
        raise CellError(f"{said}: {quote(text)}" if text.strip() else f"{said}; give the name of the {what}")
    if "*" in text or "?" in text:
        raise CellError(f"is {quote(text)}; wildcards can't be used: give the name of one {what}")
    if foreign := _FOREIGN.search(text):
        raise CellError(
            f"has {name_of(foreign[0])} at position {foreign.start() + 1}; IAM names take ASCII letters, digits "
            f"and +=,.@_-: {quote(text)}"
        )
    return text


def _about_arn(text: str, what: str, home: HomeAccount) -> str:
    cut_short = f"is {quote(text)}, an ARN cut short; give the {what}'s name"
    fields = text.split(":", _ARN_FIELDS - 1)
    if len(fields) < _ARN_FIELDS:
        return cut_short
    _, partition, service, _, account, resource = fields
    kind, _, path = resource.partition("/")
    if service != "iam" or kind != what.replace(" ", "-"):
        return f"is {quote(text)}, the ARN of something else; give the name of the {what}"
    if not (partition and account and path.rsplit("/", 1)[-1]):
        return cut_short
    if partition != home.partition:
        return (
            f"is the ARN of another partition ({quote(partition)}; Rolekeeper runs in {home.partition}); "
            f"give a name in account {home.account}"
        )
    if account != home.account:
        return (
            f"is the ARN of another account ({quote(account)}), whose {what} EC2 can't attach here; "
            f"give a name in account {home.account}"
        )
    return f"is {quote(text)}; give the {what}'s name, not its ARN{_last_name(path)}"


def _last_name(path: str) -> str:
    """The name at the end of a path, to write instead; nothing when it is none."""
    name = path.rsplit("/", 1)[-1]
    return f": {quote(name)}" if _NAME.fullmatch(name) and name.strip(".") else ""

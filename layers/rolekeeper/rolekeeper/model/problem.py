"""What is wrong, why, and what to do about it, as values: who shows them makes the text, and nobody takes one apart."""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, StrEnum
from shlex import quote
from typing import Any

from rolekeeper.model.text import key_text

# The longest reason that goes into a row, and the most bytes of its values beside it.
REASON, DETAILS = 1_000, 4_096
# The most texts that one argument of a reason names.
NAMED = 5


class Kind(StrEnum):
    """What a remedy does: the subcommand of `rolekeeper` that does it, or a command of other programs."""

    FLEET = "fleet"
    ROLES = "roles"
    TARGETS = "targets"
    SETTINGS = "mode, pause or resume"
    RESUME = "resume"
    ENFORCE = "mode enforce"
    SWEEP = "sweep"
    EXPLAIN = "explain"
    ATTACH = "attach"
    REPLACE = "replace"
    DETACH = "detach"
    RELEASE = "release"
    REVOKE = "revoke"
    MAPPINGS = "mapping ls"
    MAPPING = "mapping get"
    MAPPING_HISTORY = "mapping history"
    REMOVE_MAPPING = "mapping rm"
    ROLL_BACK = "mapping rollback"
    RESUME_ROLLOUT = "mapping resume"
    APPROVE = "mapping approve"
    DISCARD = "mapping discard"
    TAG = "aws ec2 create-tags"
    UNTAG = "aws ec2 delete-tags"
    OTHER = "typed as it is"


# What the AWS CLI's shorthand takes for its own: commas, quotes, brackets; and it drops blanks at the ends.
_NOT_SHORT = re.compile(r"\A[\s=]|\s\Z|[^\w .:/=+@-]|[^\0-\uffff]")
# The option that takes a third argument.
_OPTIONS = dict.fromkeys((Kind.ATTACH, Kind.REPLACE), "--instance-profile")
_OPTIONS |= {Kind.ROLL_BACK: "--to", Kind.APPROVE: "--revision", Kind.DISCARD: "--revision"}


@dataclass(frozen=True, slots=True)
class Remedy:
    """A step that a person can take; as a text, the command to type.

    `arguments` are an instance, and the role and the instance profile of a pin, or the key and the value of a tag; a
    mapping's tag key and tag value, and a revision; or the text of any other command. In another account the command
    also needs `options`.
    """

    kind: Kind
    arguments: tuple[str, ...] = ()
    options: str = ""

    def __str__(self) -> str:
        if self.kind is Kind.OTHER:
            return f"{self.arguments[0]}{self.options}"
        if self.kind in (Kind.TAG, Kind.UNTAG):
            instance, *texts = self.arguments
            tag = dict(zip(("Key", "Value"), texts, strict=False))
            short = ",".join(f"{name}={text}" for name, text in tag.items())
            tags = json.dumps([tag]) if any(map(_NOT_SHORT.search, texts)) else short
            return f"{self.kind} --resources {instance} --tags {quote(tags)}{self.options}"
        names, more = self.arguments[:2], self.arguments[2:]
        if names and self.kind.startswith("mapping "):
            names = (key_text(*names),)
        options = [f"{_OPTIONS[self.kind]} {argument}" for argument in more]
        return " ".join(["rolekeeper", self.kind, *map(quote, names), *options])


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, in words, with the steps in it."""

    parts: tuple[str | Remedy, ...]

    def __str__(self) -> str:
        return "".join(map(str, self.parts))


def advice(*parts: str | Remedy) -> Advice:
    return Advice(parts)


def typed(command: str) -> Remedy:
    return Remedy(Kind.OTHER, (command,))


class ReasonCode(Enum):
    """Why a row says what it says: the name is the code, the value its text.

    What is in brackets is left out unless its arguments are given.
    """

    TEXT = "{text}"  # of which nothing else is known
    PROBLEM = "[in {accounts}: ][{column}: ]{what}[; {remedy}]"
    MISSING = "{what} in [account {account}][{accounts}][; {remedy}]"
    MORE_REASONS = "and {number:,} more reasons"
    IN_EFFECT = "in effect[ in {all:,} accounts][ in {some:,} of {of:,} accounts]"
    NO_SPOKE_IN_SCOPE = "no account in its scope has a spoke"
    EXPIRED = "it expired at {at}"
    EXPIRES_SOON = (
        "it expires at {at}, and then up to {carrying:,} of {fleet:,} instances give its role up "
        "({allowed:,} may change without approval)"
    )
    DISABLED = "it is disabled and governs no instance"
    FOREIGN_ROLES_STAY = "instances that carry foreign roles keep them[, {nodes} nodes among them]"
    FOREIGN_ROLES_TAKEN_OVER = "it takes over instances that carry foreign roles[, {nodes} nodes among them]"
    STAYS_IN_EFFECT = "(revision {revision} stays in effect)"
    STAYS_SUSPENDED = "(revision {revision} is suspended: its instances stay as they are)"
    UNITS_UNCLEAR = (
        "{column}: {accounts} may be in more units than their spokes say; deploy those with the units from the root "
        "on: --unit r-…/ou-…"
    )
    NOT_IN_EFFECT_IN = "revision {revision} isn't in effect in {accounts}"
    PROFILE_RECREATED = "instance profile '{profile}' was recreated"
    PROFILE_IS_MADE_LATER = "instance profile '{profile}' is made later: {withheld}"
    DELETED = "its row was deleted"
    DELETED_AS_APPROVED = "its row was deleted, as approved"
    DISCARDED = "its {what} was discarded, and changed no instance"
    CONFLICT = "conflicts with {mapping} (priority {priority}, role {role})[ on {instances}]"
    MORE_CONFLICTS = "and with {number} more mappings"
    GIVE_PRIORITY = "give one of them a lower number as its priority"
    CONFLICT_HOLDS = "until then such instances stay as they are"
    WOULD_CHANGE = "it would {extent}"
    DELETION_WOULD_CHANGE = "deleting it would {extent}"
    PERMISSIONS = "{difference}"
    TO_APPROVE = "to {what} it: {approve}"
    TO_KEEP = "to keep it: {discard}"
    OUTGROWN = "as revision {revision} it would have changed {changes:,}[, and {accounts} came into its scope since]"
    ALL_COUNTS = "accounts without an answer count in full: {changes:,}"
    APPROVED_ANOTHER_REVISION = "{by} approved revision {approved}, but {revision} is held"
    APPROVED_OTHER_CONTENT = "{by} approved another content or other accounts than revision {revision} has"
    APPROVED_OWN_EDIT = "edited_by says that the approver made this edit: another person has to approve it"
    APPROVED_FEWER_CHANGES = "{by} approved {approved:,} changes, and it would make {changes:,} now"
    ROLLING_OUT = (
        "it goes out in waves: in wave {wave} of {waves}, {may:,} of {total:,} instances may move"
        "[, those in {accounts}][; the next one begins at {next_at}][; the rollout ends at {ends_at}]"
    )
    ALARM_RINGS = "halted in wave {wave} of {waves}, because alarm {alarm} is in ALARM"
    ALARM_UNREADABLE = "halted in wave {wave} of {waves}, because alarm {alarm} can't be read ({error})"
    TOO_MANY_FAILED = (
        "halted in wave {wave} of {waves}, because {failed} instances did not converge (halt_after allows {allowed})"
    )
    ROLLOUT_LOST = "halted, because the item of the state table that counts its moves can't be read"
    TO_RESUME = "to go on: {resume}"
    TO_GO_BACK = "to go back: {rollback}"
    STILL_ROLLING = "revision {revision} still goes out in waves; wait for its end, resume it, or take it back first"
    NO_ANSWER_IN_ACCOUNTS = (
        "{accounts} gave no answer ({error} to {action})[, its sweep {then} it there]"
        "[, the sweep of each {each_then} it there]"
    )
    BEING_JUDGED = "it is being judged in {accounts:,} accounts"
    NO_ANSWER_FROM_AWS = "AWS gave no answer ({error} to {action}); it is asked again"
    NOT_ALLOWED = "Rolekeeper isn't allowed {action} on {resource}; allow it, the next sweep tries again"
    DAMAGED_ITEM = (
        "an item of the state table can't be read ({error}); delete that item, and the next sweep publishes its "
        "mapping again"
    )

    def __call__(self, **arguments: Any) -> "Reason":
        """Make a reason; an argument that is None or empty isn't given, and of several texts the first are named."""
        for name, texts in [(name, it) for name, it in arguments.items() if isinstance(it, list)]:
            arguments |= {name: texts[:NAMED]} | ({"more": len(texts) - NAMED} if len(texts) > NAMED else {})
        return Reason(self, {name: it for name, it in arguments.items() if it not in (None, "", [])})


# The steps that can be taken about a held revision, or a halted rollout.
STEPS = (ReasonCode.TO_APPROVE, ReasonCode.TO_KEEP, ReasonCode.TO_RESUME, ReasonCode.TO_GO_BACK)
# Where to read on, in the row and in the command; the console's pages have their own.
HINTS = {
    ReasonCode.FOREIGN_ROLES_STAY: " (occupied says how many; explain says what to do)",
    ReasonCode.FOREIGN_ROLES_TAKEN_OVER: " (occupied says how many)",
}
# What ends the text, and is never cut.
_LAST = [code for code in ReasonCode if code.name.startswith(("STAYS_", "APPROVED_"))]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a row says what it says: a code, and texts, numbers or a list of texts, of which there are `more`."""

    code: ReasonCode
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        values = self.arguments
        more = f" and {values['more']:,} more" if "more" in values else ""
        shown = {name: f"{', '.join(it)}{more}" if isinstance(it, list) else it for name, it in values.items()}
        if self.code in STEPS:
            key = values["tag_key"], values["tag_value"]
            shown["approve"] = Remedy(Kind.APPROVE, (*key, str(values.get("revision"))))
            shown |= {"discard": Remedy(Kind.DISCARD, key), "resume": Remedy(Kind.RESUME_ROLLOUT, key)}
            shown["rollback"] = Remedy(Kind.ROLL_BACK, (*key, str(values.get("former"))))

        def given(part: re.Match[str]) -> str:
            return part[1] if shown.keys() >= {*re.findall(r"{(\w+)", part[1])} else ""

        return re.sub(r"\[(.*?)\]", given, self.code.value).format(**shown)


def sentence(reasons: Iterable[Reason], hints: Mapping[ReasonCode, str] = HINTS) -> str:
    """Return the text of reasons, cut to what a row shows; what ends it stays whole."""
    found = [(reason.code in _LAST, f"{reason}{hints.get(reason.code, '')}") for reason in reasons]
    text, ending = ("; ".join(part for last, part in found if last is ends) for ends in (False, True))
    ending = f"{';' if ending and ending[0] != '(' else ''} {ending}"
    room = REASON - len(ending)
    return f"{f'{text[: room - 1]}…' if len(text) > room else text}{ending}".strip()


def details(reasons: Iterable[Reason]) -> list[dict[str, Any]]:
    """Return reasons as they are stored beside their text, so that no program need take that apart; or nothing."""
    found = [{"code": reason.code.name.lower().replace("_", "-"), **reason.arguments} for reason in reasons]
    return found if len(repr(found).encode("utf-8", "surrogatepass")) <= DETAILS else []


def stored(text: str, details: Any) -> tuple[Reason, ...]:
    """Read stored reasons. Anybody can write them: where they don't make the text, that alone is the reason."""
    for written in (details, [{"code": "in-effect"}]):
        with suppress(ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            found = tuple(map(_read, written))
            if sentence(found) == text:
                return found
    return (ReasonCode.TEXT(text=text),) if text else ()


def _read(stored: Mapping[str, Any]) -> Reason:
    values = {name: int(it) if isinstance(it, Decimal) else it for name, it in stored.items() if name != "code"}
    return ReasonCode[stored["code"].upper().replace("-", "_")](**values)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and what to do about it: with a `column` of a row, or in the `account` that lacks something."""

    what: str
    remedy: str = ""
    column: str = ""
    account: str = ""

    def reason(self, *accounts: str) -> Reason:
        """Return it as a reason, in these accounts or in its own."""
        code = ReasonCode.MISSING if self.account else ReasonCode.PROBLEM
        named = {"what": self.what, "remedy": self.remedy, "column": self.column}
        return code(**named, account="" if accounts else self.account, accounts=[*accounts])

    def __str__(self) -> str:
        return str(self.reason())

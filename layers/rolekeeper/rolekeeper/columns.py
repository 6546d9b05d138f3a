"""The columns of the mapping table: the one definition, from which rows are read and explained. Pure.

A reader takes a cell and returns its value, or raises a `CellError` that says, in words that an operator can act on,
what is wrong and what to write instead.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from rolekeeper.lookalikes import edge_blank, hidden, mistakable, name_of, quote
from rolekeeper.model import ANY_VALUE, NO_ROLE, WhenOccupied, WhenStopped, WhenUnmatched

type Attributes = Mapping[str, Any]
"""A low-level DynamoDB item: attribute name to a value under its type, as `{"role": {"S": "web"}}`."""

TYPES = {
    "S": "String (S)",
    "N": "Number (N)",
    "BOOL": "Boolean (BOOL)",
    "M": "Map (M)",
    "L": "List (L)",
    "SS": "String set (SS)",
    "NS": "Number set (NS)",
    "BS": "Binary set (BS)",
    "B": "Binary (B)",
    "NULL": "Null (NULL)",
}
# Written by Rolekeeper only. A row is the same row whatever they say. `held_revision` is reserved.
OURS = ("status", "status_reason", "status_revision", "matched", "held_revision")

# EC2 user guide, "Tag restrictions": 50 tags an instance, keys to 128 characters, values to 256.
TAGS, TAG_KEY, TAG_VALUE = 50, 128, 256
# IAM user guide, "IAM object quotas": role names to 64 characters, instance profile names to 128.
ROLE_NAME, PROFILE_NAME = 64, 128
# Elastic Load Balancing, "Listener rules": the priorities that people know.
PRIORITIES = (1, 50_000)
# A published mapping has to fit into one item (400 KB) with room to spare.
ACCOUNTS, REGIONS, OWNER, DESCRIPTION = 1_000, 100, 256, 1024
YEARS = (2000, 9998)

_NAME = re.compile(r"[\w+=,.@-]+", re.ASCII)
_NOT_IN_NAME = re.compile(r"[^\w+=,.@-]", re.ASCII)
_ARN_FIELDS = 6


class CellError(Exception):
    """A cell can't be read: what is wrong with it, and what to write instead."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where Rolekeeper runs, to tell the ARNs of other accounts from our own."""

    account: str
    partition: str = "aws"


@dataclass(frozen=True, slots=True)
class Cell:
    """One attribute of a row. A reader that helps itself says so in `warnings`."""

    type: str
    value: Any
    home: Home
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Column:
    """One column that people fill in. `type` is DynamoDB's; `default` and `range` are words for people."""

    name: str
    type: str
    default: str
    range: str
    meaning: str
    read: Callable[[Cell], Any]
    tolerates: tuple[str, ...] = ()

    def value(self, cell: Cell) -> Any:
        """Read a cell of this column.

        Raises:
            CellError: it can't be read.
        """
        if cell.type != self.type and cell.type not in self.tolerates:
            raise CellError(_wrong_type(self.type, cell))
        return self.read(cell)


def cell_of(attribute: Any, home: Home) -> Cell:
    """The cell of a low-level attribute value.

    Raises:
        CellError: it isn't one type and one value.
    """
    if not isinstance(attribute, Mapping) or len(attribute) != 1:
        raise CellError(f"can't be read: {quote(str(attribute))} is no DynamoDB value")
    ((kind, value),) = attribute.items()
    return Cell(kind, value, home)


def _wrong_type(expected: str, cell: Cell) -> str:
    want, got = TYPES[expected], TYPES.get(cell.type, cell.type)
    if cell.type == "NULL":
        return f"is Null; remove the attribute, or give it as a {want}"
    if expected == "BOOL" and cell.type == "S":
        return f"is the text {quote(cell.value)}; use the {want} type, true or false without quotes"
    if expected == "SS" and cell.type == "NS":
        return f"is a {got}, which drops leading zeros; use a {want}"
    return f"is a {got}; use a {want}"


# ---- readers ----


def read_tag_key(cell: Cell) -> str:
    """The key of a tag."""
    return _tag_text(cell, TAG_KEY)


def read_tag_value(cell: Cell) -> str:
    """The value of a tag, or `*` for any."""
    text = _tag_text(cell, TAG_VALUE)
    if ANY_VALUE in text and text != ANY_VALUE:
        cell.warnings.append(f"{quote(text)} matches that very text: only a lone * stands for any value")
    return text


def _tag_text(cell: Cell, limit: int) -> str:
    text: str = cell.value
    _within(text, limit, "a tag takes")
    if said := mistakable(text):
        raise CellError(f"{said}: {quote(text)}" if text.strip() else said)
    return text


def _within(text: str, limit: int, whose: str) -> None:
    if len(text) > limit:
        raise CellError(f"is {len(text):,} characters long; {whose} at most {limit:,}: {quote(text)}")


def _role(cell: Cell) -> str:
    text: str = cell.value
    if text == NO_ROLE:
        return text
    if text.casefold() == NO_ROLE.casefold():
        raise CellError(f"is {quote(text)}; write {NO_ROLE} in capitals to carry no role")
    return _iam_name(cell, "role", ROLE_NAME)


def _profile(cell: Cell) -> str:
    return _iam_name(cell, "instance profile", PROFILE_NAME)


def _iam_name(cell: Cell, what: str, limit: int) -> str:
    """A name as IAM takes it. The first thing wrong is told; the order puts the most telling first."""
    text: str = cell.value
    if text[:4].casefold() == "arn:":
        raise CellError(_about_arn(text, what, cell.home))
    if "/" in text:
        name = text.rsplit("/", 1)[-1]
        instead = f": {quote(name)}" if _NAME.fullmatch(name) and name.strip(".") else ""
        raise CellError(f"is {quote(text)}, which holds a path; give the {what}'s name only{instead}")
    _within(text, limit, "IAM takes")
    if said := edge_blank(text) or hidden(text):
        raise CellError(f"{said}: {quote(text)}" if text.strip() else f"{said}; give the name of the {what}")
    if "*" in text or "?" in text:
        raise CellError(f"is {quote(text)}; wildcards can't be used: give the name of one {what}")
    if foreign := _NOT_IN_NAME.search(text):
        raise CellError(
            f"has {name_of(foreign[0])} at position {foreign.start() + 1}; IAM names take ASCII letters, digits "
            f"and +=,.@_-: {quote(text)}"
        )
    return text


def _about_arn(text: str, what: str, home: Home) -> str:
    fields = text.split(":", _ARN_FIELDS - 1)
    if len(fields) < _ARN_FIELDS:
        return f"is {quote(text)}, an ARN cut short; give the {what}'s name"
    _, partition, service, _, account, resource = fields
    kind, _, path = resource.partition("/")
    if service != "iam" or kind != what.replace(" ", "-"):
        return f"is {quote(text)}, the ARN of something else; give the name of the {what}"
    if partition != home.partition:
        return (
            f"is the ARN of another partition ({quote(partition)}; Rolekeeper runs in {home.partition}); "
            f"give the name of a {what} in account {home.account}"
        )
    if account != home.account:
        return (
            f"is the ARN of another account ({quote(account)}), whose {what} EC2 can't attach here; "
            f"give the name of a {what} in account {home.account}"
        )
    return f"give the {what}'s name, not its ARN: {quote(path.rsplit('/', 1)[-1])}"


def _priority(cell: Cell) -> int:
    lowest, highest = PRIORITIES
    if cell.type == "S":
        if not (cell.value.isascii() and cell.value.isdigit()):
            raise CellError(f"is the text {quote(cell.value)}; use a {TYPES['N']} from {lowest} to {highest}")
        cell.warnings.append(f"the text {quote(cell.value)} was read as a number; use a {TYPES['N']}")
    number = Decimal(cell.value)
    if not lowest <= number <= highest or number != number.to_integral_value():
        raise CellError(f"is {quote(cell.value)}; use a whole number from {lowest} to {highest}")
    return int(number)


def _boolean(cell: Cell) -> bool:
    return bool(cell.value)


def _choice[Choice: StrEnum](choices: type[Choice]) -> Callable[[Cell], Choice]:
    def read(cell: Cell) -> Choice:
        try:
            return choices(cell.value)
        except ValueError:
            raise CellError(f"is {quote(cell.value)}; write {' or '.join(choices)}, in small letters") from None

    return read


def _tags(cell: Cell) -> dict[str, str]:
    if len(cell.value) > TAGS:
        raise CellError(f"has {len(cell.value):,} tags; an instance carries at most {TAGS}")
    tags: dict[str, str] = {}
    problems: list[str] = []
    for key, attribute in cell.value.items():
        try:
            read_tag_key(Cell("S", key, cell.home))
        except CellError as error:
            problems.append(f"a key {error}")
            continue
        try:
            value = cell_of(attribute, cell.home)
            if value.type != "S":
                raise CellError(_wrong_type("S", value))  # noqa: TRY301  # joins the reader's own refusals
            # An instance's tag may be empty, so a required one may ask for that.
            tags[key] = read_tag_value(value) if value.value else ""
            cell.warnings.extend(value.warnings)
        except CellError as error:
            problems.append(f"the value of {quote(key)} {error}")
    if problems:
        raise CellError("; ".join(problems))
    return tags


def _text_set(pattern: str, limit: int, ask: str) -> Callable[[Cell], frozenset[str]]:
    accepted = re.compile(pattern, re.ASCII)

    def read(cell: Cell) -> frozenset[str]:
        if len(cell.value) > limit:
            raise CellError(f"has {len(cell.value):,} entries; at most {limit:,} can be listed")
        wrong = sorted(each for each in cell.value if not accepted.fullmatch(each))
        if wrong:
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""  # noqa: PLR2004  # enough to see the pattern
            raise CellError(f"holds {', '.join(map(quote, wrong[:3]))}{more}; {ask}")
        return frozenset(cell.value)

    return read


def _instant(cell: Cell) -> datetime:
    text: str = cell.value
    example = "as 2026-12-31T18:00:00Z"
    try:
        # fromisoformat reads the digits of other scripts in places; an operator can't tell them apart.
        at = datetime.fromisoformat(text if text.isascii() and len(text) <= QUOTABLE_INSTANT else "")
    except ValueError:
        raise CellError(f"is {quote(text)}; write date, time and zone in ISO 8601, {example}") from None
    if at.tzinfo is None:
        with_zone = f"{text}Z" if "T" in text else f"{at:%Y-%m-%dT%H:%M:%S}Z"
        raise CellError(f"is {quote(text)}, which has no time zone; add Z for UTC: {quote(with_zone)}")
    if not YEARS[0] <= at.year <= YEARS[1]:
        raise CellError(f"is in the year {at.year}; write a date from {YEARS[0]} to {YEARS[1]}, {example}")
    return at.astimezone(UTC)


QUOTABLE_INSTANT = 40


def _text(limit: int) -> Callable[[Cell], str]:
    def read(cell: Cell) -> str:
        text: str = cell.value
        _within(text, limit, "this column takes")
        return text

    return read


# ---- the definition ----

KEYS = (
    Column(
        "tag_key", "S", "required", f"1 to {TAG_KEY} characters", "the tag's key, as instances carry it", read_tag_key
    ),
    Column(
        "tag_value",
        "S",
        "required",
        f"1 to {TAG_VALUE} characters, or *",
        "the tag's value; * for any value",
        read_tag_value,
    ),
)

COLUMNS = (
    Column(
        "role",
        "S",
        "required",
        f"an IAM role's name, to {ROLE_NAME} characters, or {NO_ROLE}",
        f"the role that these instances carry, by name, under the role path; {NO_ROLE}: they carry no role",
        _role,
    ),
    Column(
        "instance_profile",
        "S",
        "the role's name",
        f"an instance profile's name, to {PROFILE_NAME} characters",
        "the instance profile that holds the role, when it is named otherwise",
        _profile,
    ),
    Column(
        "priority",
        "N",
        "100",
        f"a whole number from {PRIORITIES[0]} to {PRIORITIES[1]}",
        "the lowest number wins; a tie between different roles is a conflict",
        _priority,
        tolerates=("S",),
    ),
    Column("enabled", "BOOL", "true", "true or false", "false: the row is checked but matches nothing", _boolean),
    Column(
        "when_occupied",
        "S",
        WhenOccupied.REPLACE.value,
        " or ".join(WhenOccupied),
        "what to do with a role that somebody else attached",
        _choice(WhenOccupied),
    ),
    Column(
        "when_unmatched",
        "S",
        WhenUnmatched.DETACH.value,
        " or ".join(WhenUnmatched),
        "what to do with the role that we attached when the tag goes",
        _choice(WhenUnmatched),
    ),
    Column(
        "when_stopped",
        "S",
        WhenStopped.WAIT.value,
        " or ".join(WhenStopped),
        "how a role is replaced on a stopped instance: wait until it runs, or detach and attach",
        _choice(WhenStopped),
    ),
    Column(
        "require_tags",
        "M",
        "none",
        f"at most {TAGS} tags, key to value (String); * for any value",
        "further tags that an instance must carry too",
        _tags,
    ),
    Column(
        "accounts",
        "SS",
        "all",
        f"account ids of 12 digits, at most {ACCOUNTS:,}",
        "the accounts in which the mapping matches",
        _text_set(r"[0-9]{12}", ACCOUNTS, "write account ids of 12 digits, leading zeros included"),
    ),
    Column(
        "regions",
        "SS",
        "all",
        f"Region codes, as us-east-1, at most {REGIONS}",
        "the Regions in which the mapping matches",
        _text_set(r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}", REGIONS, "write Region codes, as us-east-1"),
    ),
    Column(
        "expires_at",
        "S",
        "never",
        "ISO 8601 with a time zone, as 2026-12-31T18:00:00Z",
        "after it the mapping no longer matches",
        _instant,
    ),
    Column("owner", "S", "none", f"to {OWNER} characters", "who answers for the row", _text(OWNER)),
    Column("description", "S", "none", f"to {DESCRIPTION:,} characters", "what it is for", _text(DESCRIPTION)),
)

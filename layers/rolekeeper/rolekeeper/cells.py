"""Reading one cell of a mapping row. Pure.

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
from rolekeeper.model import ANY_VALUE, NO_ROLE

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
# EC2 user guide, "Tag restrictions": 50 tags an instance, keys to 128 characters, values to 256.
TAGS, TAG_KEY, TAG_VALUE = 50, 128, 256
# IAM user guide, "IAM object quotas": role names to 64 characters, instance profile names to 128.
ROLE_NAME, PROFILE_NAME = 64, 128
# Elastic Load Balancing, "Listener rules": the priorities that people know.
PRIORITIES = (1, 50_000)
# A published mapping has to fit into one item (400 KB) with room to spare.
ACCOUNTS, REGIONS, OWNER, DESCRIPTION, EDITOR = 1_000, 100, 256, 1024, 1024
YEARS = (2000, 9998)
# More revisions than a mapping edited every second for thirty years has.
REVISIONS = 10**9
INSTANT = 40
# Tags by which people tell Rolekeeper itself something, as rolekeeper:ignore: none of them means a role.
RESERVED = "rolekeeper:"

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


def cell_of(attribute: Any, home: Home) -> Cell:
    """The cell of a low-level attribute value.

    Raises:
        CellError: it isn't one type and one value.
    """
    if not isinstance(attribute, Mapping) or len(attribute) != 1:
        raise CellError(f"can't be read: {quote(str(attribute))} is no DynamoDB value")
    ((kind, value),) = attribute.items()
    return Cell(kind, value, home)


def wrong_type(expected: str, cell: Cell) -> str:
    """What to say of a cell of another type than its column's."""
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
    """The key of a mapping's tag."""
    text = _tag_text(cell, TAG_KEY)
    if text.startswith(RESERVED):
        raise CellError(f"is {quote(text)}, and what begins with {quote(RESERVED)} is reserved; use another tag key")
    return text


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


def read_priority(cell: Cell) -> int:
    """A rank; a text that holds a plain number is read, with a warning."""
    lowest, highest = PRIORITIES
    if cell.type == "S":
        if not (cell.value.isascii() and cell.value.isdigit()):
            raise CellError(f"is the text {quote(cell.value)}; use a {TYPES['N']} from {lowest} to {highest}")
        cell.warnings.append(f"the text {quote(cell.value)} was read as a number; use a {TYPES['N']}")
    number = Decimal(cell.value)
    if not lowest <= number <= highest or number != number.to_integral_value():
        raise CellError(f"is {quote(cell.value)}; use a whole number from {lowest} to {highest}")
    return int(number)


def read_approval(cell: Cell) -> int:
    """The number of a revision; a text that holds a plain number is read, with a warning."""
    text: str = cell.value
    ask = "write the number that held_revision shows"
    if cell.type == "S":
        if not (text.isascii() and text.isdigit()):
            raise CellError(f"is the text {quote(text)}; {ask}")
        cell.warnings.append(f"the text {quote(text)} was read as a number; use a {TYPES['N']}")
    number = Decimal(text)
    if not 1 <= number <= REVISIONS or number != number.to_integral_value():
        raise CellError(f"is {quote(text)}; {ask}")
    return int(number)


def read_boolean(cell: Cell) -> bool:
    """True or false."""
    return bool(cell.value)


def choice_reader[Choice: StrEnum](choices: type[Choice]) -> Callable[[Cell], Choice]:
    """A reader of one of a few words."""

    def read(cell: Cell) -> Choice:
        try:
            return choices(cell.value)
        except ValueError:
            raise CellError(f"is {quote(cell.value)}; write {' or '.join(choices)}, in small letters") from None

    return read


def read_tags(cell: Cell) -> dict[str, str]:
    """Tags, key to value; every wrong one is told."""
    if len(cell.value) > TAGS:
        raise CellError(f"has {len(cell.value):,} tags; an instance carries at most {TAGS}")
    tags: dict[str, str] = {}
    problems: list[str] = []
    for key, attribute in cell.value.items():
        try:
            _tag_text(Cell("S", key, cell.home), TAG_KEY)
        except CellError as error:
            problems.append(f"a key {error}")
            continue
        try:
            value = cell_of(attribute, cell.home)
            if value.type != "S":
                raise CellError(wrong_type("S", value))  # noqa: TRY301  # joins the reader's own refusals
            # An instance's tag may be empty, so a required one may ask for that.
            tags[key] = read_tag_value(value) if value.value else ""
            cell.warnings.extend(value.warnings)
        except CellError as error:
            problems.append(f"the value of {quote(key)} {error}")
    if problems:
        raise CellError("; ".join(problems))
    return tags


def text_set_reader(pattern: str, limit: int, ask: str) -> Callable[[Cell], frozenset[str]]:
    """A reader of a string set whose entries all look as `pattern` says; `ask` tells what to write."""
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


def read_instant(cell: Cell) -> datetime:
    """A moment, in UTC."""
    text: str = cell.value
    example = "as 2026-12-31T18:00:00Z"
    try:
        # fromisoformat reads the digits of other scripts in places; an operator can't tell them apart.
        at = datetime.fromisoformat(text if text.isascii() and len(text) <= INSTANT else "")
    except ValueError:
        raise CellError(f"is {quote(text)}; write date, time and zone in ISO 8601, {example}") from None
    if at.tzinfo is None:
        with_zone = f"{text}Z" if "T" in text else f"{at:%Y-%m-%dT%H:%M:%S}Z"
        raise CellError(f"is {quote(text)}, which has no time zone; add Z for UTC: {quote(with_zone)}")
    if not YEARS[0] <= at.year <= YEARS[1]:
        raise CellError(f"is in the year {at.year}; write a date from {YEARS[0]} to {YEARS[1]}, {example}")
    return at.astimezone(UTC)


def text_reader(limit: int) -> Callable[[Cell], str]:
    """A reader of free text."""

    def read(cell: Cell) -> str:
        text: str = cell.value
        _within(text, limit, "this column takes")
        return text

    return read

"""Reading one cell of a mapping row. Pure.

A reader takes a cell and returns its value, or raises a `CellError` that says, in words that an operator can act on,
what is wrong and what to write instead.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from rolekeeper.mappings.rows.confusables import decomposed, mistakable, quote, quote_plain
from rolekeeper.model import ANY_VALUE, RESERVED, WhenUnmatched

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
# Elastic Load Balancing, "Listener rules": the priorities that people know.
PRIORITIES = (1, 50_000)
# A published mapping has to fit into one item (400 KB) with room to spare.
ACCOUNTS, REGIONS, OWNER, DESCRIPTION, EDITOR = 1_000, 100, 256, 1024, 1024
YEARS = (2000, 9998)
# More revisions than a mapping edited every second for thirty years has.
REVISIONS = (1, 10**9)

# Patterns as both Python and JSON Schema (ECMA 262) read them: no \\w or \\d, which mean more in Python.
ACCOUNT = "[0-9]{12}"
REGION = "[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}"
# ISO 8601 in its extended form; `fromisoformat` takes much more, week dates and any character for the T among them.
DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
TIME = "[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?"
ZONE = "(Z|[+-][0-9]{2}:?[0-9]{2})"

_INSTANT = re.compile(f"{DATE}({TIME}({ZONE})?)?")


class CellError(Exception):
    """A cell can't be read: what is wrong with it, and what to write instead."""


@dataclass(frozen=True, slots=True)
class HomeAccount:
    """Where Rolekeeper runs, to tell the ARNs of other accounts from our own."""

    account: str
    partition: str = "aws"


@dataclass(frozen=True, slots=True)
class Cell:
    """One attribute of a row. A reader that helps itself says so in `warnings`."""

    type: str
    value: Any
    home: HomeAccount
    warnings: list[str] = field(default_factory=list)


def cell_of(attribute: Any, home: HomeAccount) -> Cell:
    """The cell of a low-level attribute value.

    Raises:
        CellError: it isn't one type and one value.
    """
    if not isinstance(attribute, Mapping) or len(attribute) != 1:
        raise CellError(f"can't be read: {quote(str(attribute))} is no DynamoDB value")
    ((kind, value),) = attribute.items()
    return Cell(kind, value, home)


def wrong_type(expected: str, cell: Cell, takes: str = "") -> str:
    """What to say of a cell of another type than its column's; `takes` says what belongs there."""
    want, got = TYPES[expected], TYPES.get(cell.type, cell.type)
    if cell.type == "NULL":
        return f"is Null; remove the attribute, or give it as a {want}"
    if expected == "BOOL" and cell.type == "S":
        return f"is the text {quote(cell.value)}; use the {want} type, true or false without quotes"
    return f"is a {got}; use a {want}: {takes}" if takes else f"is a {got}; use a {want}"


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
    within(text, limit, "a tag takes")
    if said := mistakable(text):
        raise CellError(f"{said}: {quote(text)}" if text.strip() else f"{said}; write the text that the tag has")
    if said := decomposed(text):
        cell.warnings.append(said)
    return text


def within(text: str, limit: int, whose: str) -> None:
    """Refuse a text that is too long.

    Raises:
        CellError: it is.
    """
    if len(text) > limit:
        raise CellError(f"is {len(text):,} characters long; {whose} at most {limit:,}: {quote(text)}")


def read_priority(cell: Cell) -> int:
    """A rank."""
    lowest, highest = PRIORITIES
    return _whole(cell, PRIORITIES, f"use a whole number from {lowest} to {highest}")


def read_approval(cell: Cell) -> int:
    """The number of a revision."""
    return _whole(cell, REVISIONS, "write the number that held_revision shows")


def _whole(cell: Cell, bounds: tuple[int, int], ask: str) -> int:
    """A whole number; a text that holds a plain one is read, with a warning."""
    text: str = cell.value
    if cell.type == "S":
        if not (text.isascii() and text.isdigit()):
            raise CellError(f"is the text {quote_plain(text)}; {ask}, as a {TYPES['N']}")
        cell.warnings.append(f"the text {quote(text)} was read as a number; use a {TYPES['N']}")
    try:
        number = Decimal(text)
    except InvalidOperation:  # no number at all: DynamoDB refuses it, and a file may hold it
        number = Decimal("NaN")
    # NaN equals nothing, but can't be compared.
    if number.is_nan() or not bounds[0] <= number <= bounds[1] or number != number.to_integral_value():
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
            ask = f"write {' or '.join(choices)}, in small letters"
            raise CellError(f"is {quote_plain(cell.value)}; {ask}") from None

    return read


def read_when_unmatched(cell: Cell) -> WhenUnmatched:
    """What happens to the role when the tag goes."""
    if cell.value == "restore":
        raise CellError("is 'restore', which is gone: a foreign role can't be put back; write detach or keep")
    return choice_reader(WhenUnmatched)(cell)


def read_tags(cell: Cell) -> dict[str, str]:
    """Tags, key to value; every wrong one is told."""
    if len(cell.value) > TAGS:
        raise CellError(f"has {len(cell.value):,} tags; an instance carries at most {TAGS}")
    tags: dict[str, str] = {}
    problems: list[str] = []
    for key, attribute in cell.value.items():
        try:
            name = Cell("S", key, cell.home)
            _tag_text(name, TAG_KEY)
            cell.warnings.extend(name.warnings)
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
    accepted = re.compile(pattern)

    def read(cell: Cell) -> frozenset[str]:
        if not cell.value:
            raise CellError("is empty; remove it for all, or list at least one")
        if len(cell.value) > limit:
            raise CellError(f"has {len(cell.value):,} entries; at most {limit:,} can be listed")
        wrong = sorted(each for each in cell.value if not accepted.fullmatch(each))
        if wrong:
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""  # noqa: PLR2004  # enough to see the pattern
            none = ", or remove the column for all" if ANY_VALUE in wrong else ""
            raise CellError(f"holds {', '.join(map(quote_plain, wrong[:3]))}{more}; {ask}{none}")
        return frozenset(cell.value)

    return read


def read_instant(cell: Cell) -> datetime:
    """A moment, in UTC."""
    text: str = cell.value
    ask = "write date, time and zone in ISO 8601, as 2026-12-31T18:00:00Z"
    if text.strip().casefold() in {"", "never"}:
        raise CellError(f"is {quote(text)}; remove it for no end, or {ask}")
    if not _INSTANT.fullmatch(text):
        raise CellError(f"is {quote_plain(text)}; {ask}")
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise CellError(f"is {quote(text)}, a time that doesn't exist; {ask}") from None
    if at.tzinfo is None:
        raise CellError(f"is {quote(text)}, which has no time zone; add Z for UTC: {quote(f'{at.isoformat()}Z')}")
    # The first and the last day of all can't be told in UTC, and are out of range as they are.
    with suppress(OverflowError):
        at = at.astimezone(UTC)
    if not YEARS[0] <= at.year <= YEARS[1]:
        raise CellError(f"is in the year {at.year}; write a date from {YEARS[0]} to {YEARS[1]}")
    return at


def text_reader(limit: int) -> Callable[[Cell], str]:
    """A reader of free text."""

    def read(cell: Cell) -> str:
        text: str = cell.value
        within(text, limit, "this column takes")
        return text

    return read

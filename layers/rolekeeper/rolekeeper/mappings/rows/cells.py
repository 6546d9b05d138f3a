"""The cells of a mapping row, and the kinds that columns are of, each with its reader. Pure."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from rolekeeper.model import escaped
from rolekeeper.model.mapping import ANY_VALUE

_NAMES = {"S": "String", "N": "Number", "BOOL": "Boolean", "M": "Map", "L": "List", "B": "Binary", "NULL": "Null"}
_NAMES |= {"SS": "String set", "NS": "Number set", "BS": "Binary set"}
TYPES = {code: f"{name} ({code})" for code, name in _NAMES.items()}


class CellError(Exception):
    """A cell can't be read: what is wrong with it, and what to write instead, in words that an operator can act on."""


@dataclass(frozen=True, slots=True)
class HomeAccount:
    """Where Rolekeeper runs, to tell the ARNs of other accounts from our own."""

    account: str
    partition: str = "aws"


@dataclass(frozen=True, slots=True)
class Cell:
    """One attribute of a row. A reader that corrects the value says so in `warnings`."""

    type: str
    value: Any
    home: HomeAccount
    warnings: list[str] = field(default_factory=list)


def cell_of(attribute: Any, home: HomeAccount) -> Cell:
    """The cell of a low-level attribute value, which has one type, or a `CellError`."""
    if not isinstance(attribute, Mapping) or len(attribute) != 1:
        raise CellError(f"can't be read: {quote(str(attribute))} is no DynamoDB value")
    ((kind, value),) = attribute.items()
    return Cell(kind, value, home)


_QUOTED = 60  # characters of a person's text, at most, that a reason repeats


def quote(text: str) -> str:
    """A piece of text, cut to a readable length, with the unprintable made visible."""
    return f"'{escaped(text[:_QUOTED])}{'…' if len(text) > _QUOTED else ''}'"


def quote_plain(text: str) -> str:
    """The same for a text that belongs in plain letters: the first other character is named, as it may mislead."""
    for position, character in enumerate(text, 1):
        if not character.isascii():
            return f"{quote(text)}, with {name_of(character)} at position {position}"
    return quote(text)


def name_of(character: str) -> str:
    """As `ZERO WIDTH SPACE (U+200B)`; control characters have no name."""
    name, number = unicodedata.name(character, ""), f"U+{ord(character):04X}"
    return f"{name} ({number})" if name else number


def check_length(text: str, limit: int, whose: str) -> str:
    if len(text) > limit:
        raise CellError(f"is {len(text):,} characters long; {whose} at most {limit:,}: {quote(text)}")
    return text


@dataclass(frozen=True, slots=True)
class Kind:
    """What a column takes: a DynamoDB type, and of its values those in `range`, in words."""

    type: str
    range: str
    reader: Callable[[Cell], Any]

    def read(self, cell: Cell) -> Any:
        """What a cell of any type says, or a `CellError`. A number may be given as a text too."""
        if cell.type == self.type or (self.type, cell.type) == ("N", "S"):
            return self.reader(cell)
        want, got = TYPES[self.type], TYPES.get(cell.type, cell.type)
        if cell.type == "NULL":
            raise CellError(f"is Null; remove the attribute, or give it as a {want}")
        if self.type == "BOOL" and cell.type == "S":
            raise CellError(f"is the text {quote(cell.value)}; use the {want} type, true or false without quotes")
        raise CellError(f"is a {got}; use a {want}: {self.range}" if self.range else f"is a {got}; use a {want}")


def text(limit: int) -> Kind:
    return Kind("S", f"up to {limit:,} characters", lambda cell: check_length(cell.value, limit, "this column takes"))


def whole(lowest: int, highest: int, what: str, ask: str) -> Kind:
    """A whole number; a text that holds a plain one is read, with a warning."""

    def read(cell: Cell) -> int:
        digits: str = cell.value
        if cell.type == "S":
            if not (digits.isascii() and digits.isdigit()):
                raise CellError(f"is the text {quote_plain(digits)}; {ask} {what}, as a {TYPES['N']}")
            cell.warnings.append(f"the text {quote(digits)} was read as a number; use a {TYPES['N']}")
        # What is no number, or is NaN, which can't be compared, DynamoDB refuses; a file may hold it.
        with suppress(InvalidOperation):
            number = Decimal(digits)
            if lowest <= number <= highest and number == int(number):
                return int(number)
        raise CellError(f"is {quote(digits)}; {ask} {what}")

    return Kind("N", what, read)


def choice(choices: type[StrEnum], gone: Mapping[str, str] | None = None) -> Kind:
    """One of a few words; `gone` are words of former versions, each with the reason."""
    words, former = " or ".join(choices), gone or {}

    def read(cell: Cell) -> StrEnum:
        if cell.value in former:
            raise CellError(f"is {quote(cell.value)}, which is gone: {former[cell.value]}; write {words}")
        if cell.value not in choices:
            raise CellError(f"is {quote_plain(cell.value)}; write {words}, in small letters")
        return choices(cell.value)

    return Kind("S", words, read)


def text_set(pattern: str, limit: int, what: str, hint: str = "") -> Kind:
    """A string set whose entries all look as `pattern` says."""

    def read(cell: Cell) -> frozenset[str]:
        if not cell.value:
            raise CellError("is empty; remove it for all, or list at least one")
        if len(cell.value) > limit:
            raise CellError(f"has {len(cell.value):,} entries; at most {limit:,} can be listed")
        wrong = sorted(each for each in cell.value if not re.fullmatch(pattern, each))
        if wrong:
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""  # noqa: PLR2004  # enough to see the pattern
            none = ", or remove the column for all" if ANY_VALUE in wrong else ""
            raise CellError(f"holds {', '.join(map(quote_plain, wrong[:3]))}{more}; write {what}{hint}{none}")
        return frozenset(cell.value)

    return Kind("SS", f"{what}, at most {limit:,}", read)


FLAG = Kind("BOOL", "true or false", lambda cell: bool(cell.value))

# ISO 8601 in its extended form; `fromisoformat` takes much more, week dates and any character for the T among them.
# As both Python and JSON Schema (ECMA 262) read it: no \d, which means more in Python.
DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
TIME = "[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?"
ZONE = "(Z|[+-][0-9]{2}:?[0-9]{2})"
_INSTANT = re.compile(f"{DATE}({TIME}({ZONE})?)?")
YEARS = (2000, 9998)


def _read_instant(cell: Cell) -> datetime:
    said: str = cell.value
    ask = "write date, time and zone in ISO 8601, as 2026-12-31T18:00:00Z"
    if said.strip().casefold() in {"", "never"}:
        raise CellError(f"is {quote(said)}; remove it for no end, or {ask}")
    if not _INSTANT.fullmatch(said):
        raise CellError(f"is {quote_plain(said)}; {ask}")
    try:
        at = datetime.fromisoformat(said)
    except ValueError:
        raise CellError(f"is {quote(said)}, a time that doesn't exist; {ask}") from None
    if at.tzinfo is None:
        raise CellError(f"is {quote(said)}, which has no time zone; add Z for UTC: {quote(f'{at.isoformat()}Z')}")
    # The first and the last day of the calendar may not exist in UTC; they are out of range anyway.
    with suppress(OverflowError):
        at = at.astimezone(UTC)
    if not YEARS[0] <= at.year <= YEARS[1]:
        raise CellError(f"is in the year {at.year}; write a date from {YEARS[0]} to {YEARS[1]}")
    return at


INSTANT = Kind("S", "ISO 8601 with a time zone, as 2026-12-31T18:00:00Z", _read_instant)

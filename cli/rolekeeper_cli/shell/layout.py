"""How a list is laid out for people: its columns, and a row's note; and how amounts, names and times are written."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

ACTION_COLOURS = {"Attach": "green", "Replace": "yellow", "Detach": "red"}

type Kind = Literal["whole", "key", "name", "text"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a list."""

    name: str  # its heading
    cell: Callable[[Any], object] | None = None  # takes its value out of a document; by default the field of its name
    # How it gives way on a narrow terminal. A name wraps at blanks, and its words are cut; a text wraps, and its words
    # stay whole; a key that is too long has a line of its own; what is whole goes below the row.
    kind: Kind = "whole"
    wide: bool = False  # whether only `-o wide` shows it

    def of(self, document: Any) -> object:
        if self.cell:
            return self.cell(document)
        name = self.name.replace(" ", "_").replace("-", "_")
        return document[name] if isinstance(document, Mapping) else getattr(document, name)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a list is drawn."""

    columns: Sequence[Column]
    note: Callable[[Any], str] | None = None  # the reason or remark of a row; empty for a row that is fine
    note_name: str = "reason"  # the notes' heading
    # Whether only a note's first clause is shown below a row: the remedy after it is the same for many rows.
    brief: bool = False
    colour: Callable[[Any], str] = lambda _: ""
    head: bool = True


def amount(number: int, noun: str) -> str:
    """`1 instance`, or `1,200 instances`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def several(names: Sequence[object], most: int = 5, kind: str = "") -> str:
    """Names in a sentence, and how many more there are; `kind` is the noun for these, if the sentence has none."""
    more = len(names) - most
    rest = amount(more, f"more {kind}") if kind else f"{more:,} more"
    return ", ".join([*map(str, names[:most]), *([f"and {rest}"] if more > 0 else [])])


def grouped[Key, Item](pairs: Iterable[tuple[Key, Item]]) -> dict[Key, list[Item]]:
    """The items of each key, both in their order."""
    found: dict[Key, list[Item]] = {}
    for key, item in pairs:
        found.setdefault(key, []).append(item)
    return found


def arn_name(arn: str) -> str:
    """The name at the end of an ARN, after its path; empty for no ARN."""
    return arn.rpartition("/")[2]


def second(at: datetime | None) -> str:
    """A time to the second, as ISO 8601 has it: `2026-03-01T09:00:00Z`."""
    return f"{_utc(at):%Y-%m-%dT%H:%M:%SZ}" if at else "unknown"


def minute(at: datetime) -> str:
    """A time to the minute, for people: `2026-03-01 09:00 UTC`."""
    return f"{_utc(at):%Y-%m-%d %H:%M} UTC"


def day(at: datetime) -> str:
    return f"{_utc(at):%Y-%m-%d}"


def _utc(at: datetime) -> datetime:
    """A time in UTC, where a person may have written the last time that there is in another zone."""
    try:
        return at.astimezone(UTC)
    except OverflowError:
        return at.replace(tzinfo=UTC)

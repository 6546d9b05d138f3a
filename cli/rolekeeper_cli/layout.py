"""How a list is laid out for people: its columns, and what is said of a row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

ACTION_COLOURS = {"Attach": "green", "Replace": "yellow", "Detach": "red"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a list.

    Attributes:
        name: as it stands at the top.
        cell: takes it out of a document; by its name unless told.
        folds: it gives way where the terminal is narrow; others stay whole.
        wide: only `-o wide` has it.
    """

    name: str
    cell: Callable[[Any], object] | None = None
    folds: bool = False
    wide: bool = False

    def of(self, document: Any) -> object:
        return self.cell(document) if self.cell else document[self.name.replace(" ", "_").replace("-", "_")]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a list is drawn.

    Attributes:
        note: what there is to say of a row, if anything; empty of one that is fine.
        note_name: as it stands at the top of the notes.
        brief: whether only a note's first clause goes below a row: what follows it, to do, is the same for many rows.
    """

    columns: Sequence[Column]
    note: Callable[[Any], str] | None = None
    note_name: str = "reason"
    brief: bool = False
    colour: Callable[[Any], str] = lambda _: ""
    head: bool = True


# No more names than a person reads in one sentence.
_NAMED = 5


def several(names: Sequence[object], most: int = _NAMED, kind: str = "") -> str:
    """Names in a sentence, and how many more there are; of a `kind`, where that isn't said otherwise."""
    more = len(names) - most
    of_what = f" {kind}{'' if more == 1 else 's'}" if kind else ""
    return ", ".join([*map(str, names[:most]), *([f"and {more:,} more{of_what}"] if more > 0 else [])])

"""Tables for people, on stdout.

A list has the same columns however many rows it has and however wide they are. On a terminal, long texts give way and
what identifies a row stays whole; what there is to say of a row, its note, goes below it where there is no room beside
it. Elsewhere, in a pipe or a file, and with `-o wide`, a line is a row and nothing is folded.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING, Any

import click

from rolekeeper_cli import output
from rolekeeper_cli.options import WIDE
from rolekeeper_cli.output import one_line, printable

if TYPE_CHECKING:
    from rich.console import Console

# The rows whose widths a list begins with: a page of the fleet.
_FIRST = 200
_MARGIN = 2
# What a column that gives way keeps, and the terminal in which notes have a column of their own.
_LEAST, _ROOM = 10, 120


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
    cell: Callable[[Mapping[str, Any]], object] | None = None
    folds: bool = False
    wide: bool = False

    def of(self, document: Mapping[str, Any]) -> object:
        """The cell of one row."""
        return self.cell(document) if self.cell else document[self.name.replace(" ", "_").replace("-", "_")]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a list is drawn.

    Attributes:
        columns: its columns.
        note: what there is to say of a row, if anything; empty of one that is fine.
        note_name: as it stands at the top of the notes.
        brief: whether only a note's first clause goes below a row: what follows it, to do, is the same for many rows.
        colour: a row's.
        head: whether the columns' names are drawn.
    """

    columns: Sequence[Column]
    note: Callable[[Mapping[str, Any]], str] | None = None
    note_name: str = "reason"
    brief: bool = False
    colour: Callable[[Mapping[str, Any]], str] = lambda _: ""
    head: bool = True


class Listing:
    """Draws a list's rows, as they come.

    Args:
        layout: how.
        first: documents that the columns are made wide enough for beforehand.
    """

    def __init__(self, layout: Layout, first: Iterable[Mapping[str, Any]] = ()) -> None:
        width, wide = room(), output.options().output == WIDE
        self._colour = layout.colour
        self._columns = [each for each in layout.columns if wide or not each.wide]
        below = width is not None and width < _ROOM
        self._below = layout.note if below else None
        self._brief = layout.brief
        self._beside = None if below else layout.note
        names = [each.name if layout.head else "" for each in self._columns]
        folds = [each.folds for each in self._columns]
        if self._beside:
            names, folds = [*names, layout.note_name if layout.head else ""], [*folds, True]
        rows = map(self._cells, first)
        self._lines = Lines(names, rows, folds=folds, width=width)

    def draw(self, document: Mapping[str, Any]) -> None:
        """Draw one row."""
        self._lines.draw(self._cells(document), self._colour(document))
        if self._below and (note := self._below(document)):
            self._lines.draw_note(note.partition("; ")[0] if self._brief else note)

    def _cells(self, document: Mapping[str, Any]) -> list[object]:
        cells = [each.of(document) for each in self._columns]
        return [*cells, self._beside(document)] if self._beside else cells


def room() -> int | None:
    """The columns that a table has room in; None for as many as it takes."""
    return None if output.options().output == WIDE else output.width()


def stream_list(layout: Layout, documents: Iterable[Mapping[str, Any]]) -> int:
    """Draw a list of any length: a long one goes out while it comes. Returns how many rows it had."""
    coming = iter(documents)
    first = list(islice(coming, _FIRST))
    count = 0
    if first:
        listing = Listing(layout, first)
        for document in chain(first, coming):
            listing.draw(document)
            count += 1
    return count


def show_table(head: Sequence[str], rows: Iterable[Sequence[object]], whole: int = 1) -> None:
    """A short table; on a terminal, all but its first columns give way.

    Args:
        head: the names of the columns; none are written where all are empty.
        rows: the rows.
        whole: the number of the columns that stay whole.
    """
    cells = list(rows)
    lines = Lines(head, cells, folds=[at >= whole for at in range(len(head))], width=room())
    lines.draw_head()
    for row in cells:
        lines.draw(row)


class Lines:
    """Lines in columns that are as wide as what was drawn so far needs.

    Args:
        head: the names of the columns, drawn before the first line; empty ones for none.
        first: rows that the columns are made wide enough for beforehand.
        folds: which columns give way where there isn't room for all; none unless told.
        width: the room there is; None for as much as it takes.
    """

    def __init__(
        self,
        head: Sequence[str],
        first: Iterable[Sequence[object]] = (),
        *,
        folds: Sequence[bool] = (),
        width: int | None = None,
    ) -> None:
        self._head = [each.upper() for each in head] if any(head) else []
        self._folds = folds or [False] * len(head)
        self._room = width
        self._needs = list(map(_width, self._head)) or [0] * len(head)
        self._widths: list[int] = []
        for row in first:
            self._widen(_cells(row))
        self._fit()

    def draw_head(self) -> None:
        """Draw the names of the columns, once."""
        if self._head:
            head, self._head = self._head, []
            self._draw(head, bold=True)

    def draw(self, row: Sequence[object], colour: str = "") -> None:
        """Draw one line, in a colour if one is named."""
        self.draw_head()
        cells = _cells(row)
        if self._widen(cells):
            self._fit()
        self._draw(cells, fg=colour or None)

    def draw_whole(self, text: str) -> None:
        """Draw what is to be copied below the last column, and leave it whole."""
        at = sum(self._widths[:-1]) + _MARGIN * len(self._widths)
        click.echo(f"{'':{at}}{one_line(text)}")

    def draw_note(self, text: str) -> None:
        """Draw what there is to say of the line before, below it."""
        for line in _folded(one_line(text), (self._room or _ROOM) - _MARGIN):
            click.echo(f"{'':{_MARGIN}}{line}")

    def _widen(self, cells: Sequence[str]) -> bool:
        needs = [max(_width(cell), need) for cell, need in zip(cells, self._needs, strict=True)]
        grows, self._needs = needs != self._needs, needs
        return grows

    def _fit(self) -> None:
        """Give each column what it needs; where there isn't room for that, the widest that may gives way first."""
        self._widths = list(self._needs)
        if self._room is None:
            return
        least = [min(need, _LEAST) for need in self._needs]
        over = sum(self._widths) + _MARGIN * (len(self._widths) - 1) - self._room
        while over > 0:
            giving = [at for at, folds in enumerate(self._folds) if folds and self._widths[at] > least[at]]
            if not giving:
                return
            self._widths[max(giving, key=self._widths.__getitem__)] -= 1
            over -= 1

    def _draw(self, cells: Sequence[str], *, fg: str | None = None, bold: bool | None = None) -> None:
        parts = [
            _folded(cell, width) if folds and _width(cell) > width else [cell]
            for cell, width, folds in zip(cells, self._widths, self._folds, strict=True)
        ]
        for line in zip_longest(*parts, fillvalue=""):
            padded = (_padded(part, width) for part, width in zip(line, self._widths, strict=True))
            click.echo(click.style((" " * _MARGIN).join(padded).rstrip(), fg=fg, bold=bold))


def _width(text: str) -> int:
    """The columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _folded(text: str, width: int) -> list[str]:
    """A text in lines that are no longer than that, broken between words where it can be."""
    if _width(text) <= width:
        return [text]
    from rich.text import Text

    lines = Text(text).wrap(_console(), max(width, 1), overflow="fold")
    return [each.plain.rstrip() for each in lines]


@cache
def _console() -> "Console":
    from rich.console import Console

    return Console()


def _cells(row: Sequence[object]) -> list[str]:
    return [printable(_cell(each)) for each in row]


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
    return one_line(str(value))

"""Tables for people, on stdout.

On a terminal a table keeps to its width and breaks no word, id or ARN: names are cut, texts wrap at blanks, a key that
is too long has a line of its own, and a column for which there is no room is below its row, by name.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import batched, chain, zip_longest
from operator import itemgetter
from typing import Any

import click
from rich.cells import cell_len, set_cell_size

from rolekeeper.model.text import escaped, in_words
from rolekeeper_cli.options import WIDE
from rolekeeper_cli.shell import terminal
from rolekeeper_cli.shell.layout import Column, Kind, Layout
from rolekeeper_cli.shell.terminal import wrapped

# The rows that are drawn at once.
_PAGE = 200
_MARGIN = 2
# The least width of a name or a text; a key that is no wider, as an instance's id, never has a line of its own.
_LEAST, _KEY = 8, 19


@dataclass(slots=True)
class _Place:
    """A column of a table: the widths of its heading and of its cells so far, its own, and where it is, if it fits."""

    column: Column
    heading: int
    cells: set[int] = field(default_factory=lambda: {0})
    width: int = 0
    start: int = 0
    fits: bool = True

    @property
    def need(self) -> int:
        return max(self.heading, *self.cells)

    def shrink(self) -> None:
        self.fits = True
        match self.column.kind:
            case "whole":
                self.width = self.need
            case "key":
                self.width = max(self.heading, *(each for each in self.cells if each <= _KEY))
            case "name" | "text":
                self.width = min(self.need, max(_LEAST, self.heading))

    def grow(self, spare: int) -> int:
        """Take what it needs of the spare room; returns how much that is."""
        before, most = self.width, self.width + spare
        usable = max(each for each in self.cells if each <= most) if self.column.kind == "key" else most
        self.width = max(before, min(self.need, usable))
        return self.width - before

    def lines(self, cell: str) -> list[str]:
        if self.column.kind in {"whole", "key"}:
            return [cell]
        lines = wrapped(cell, self.width, cell_len)
        return lines if self.column.kind == "text" else [_cut(each, self.width) for each in lines]


class Listing:
    """Draws a list by pages; its columns are as wide as the pages so far need.

    Args:
        least: the width that columns have from the start, by name, if rows come one by one.
    """

    def __init__(self, layout: Layout, least: Mapping[str, int] = {}) -> None:  # it is only read
        wide = terminal.options().output == WIDE
        self._layout, width = layout, None if wide else terminal.width()
        # Without a width a line is a row.
        self._room, self._note = width or sys.maxsize, layout.note if width else None
        columns = [each for each in layout.columns if wide or not each.wide]
        if layout.note and not self._note:
            columns.append(Column(layout.note_name, layout.note))
        self._places = [_Place(each, len(each.name) if layout.head else 0) for each in columns]
        self._has_head = layout.head
        for place in self._places:
            place.cells.add(least.get(place.column.name, 0))

    def draw(self, documents: Sequence[Any]) -> None:
        """Draw a page of rows, the first one below the columns' names."""
        rows = [self._cells(each) for each in documents]
        _fit(self._places, self._room)
        if self._has_head:
            for line in self._lines([each.column.name.upper() for each in self._places]):
                click.echo(click.style(line, bold=True))
            self._has_head = False
        for document, row in zip(documents, rows, strict=True):
            colour = self._layout.colour(document)
            for line in self._lines(row):
                click.echo(click.style(line, fg=colour) if colour else line)
            for line in self._below(document, row):
                click.echo(line)

    def _cells(self, document: Any) -> list[str]:
        cells = [escaped(in_words(each.column.of(document))) for each in self._places]
        for place, cell in zip(self._places, cells, strict=True):
            place.cells.add(cell_len(cell))
        return cells

    def _lines(self, row: Sequence[str]) -> Iterator[str]:
        shown = [(each.start, each.lines(cell)) for each, cell in zip(self._places, row, strict=True) if each.fits]
        starts = [start for start, _ in shown]
        for parts in zip_longest(*(lines for _, lines in shown), fillvalue=""):
            yield from _joined(zip(starts, parts, strict=True), self._room)

    def _below(self, document: Any, row: Sequence[str]) -> Iterator[str]:
        """What is below a row: the columns without room, and the note."""
        cells = [
            (each.column.name, cell) for each, cell in zip(self._places, row, strict=True) if cell and not each.fits
        ]
        beside = "  ".join(f"{name}: {cell}" if name else cell for name, cell in cells)
        note = escaped(self._note(document)) if self._note else ""
        for text in filter(None, (beside, note.partition("; ")[0] if self._layout.brief else note)):
            for line in wrapped(text, self._room - _MARGIN, cell_len):
                yield from _joined([(_MARGIN, line)], self._room)


def stream_list(layout: Layout, documents: Iterable[Any]) -> int:
    """Draw a list of any length, page by page as it comes; returns the number of rows."""
    listing, count = Listing(layout), 0
    for page in batched(documents, _PAGE):
        listing.draw(page)
        count += len(page)
    return count


def show_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A short table; the second of two columns is text. Without any name it has no head."""
    last: Kind = "text" if len(head) == 2 else "whole"  # noqa: PLR2004  # a name, and what is said of it
    columns = [Column(name, itemgetter(at), kind=last if at else "whole") for at, name in enumerate(head)]
    Listing(Layout(columns, head=any(head))).draw(list(rows))


def _fit(places: Sequence[_Place], room: int) -> None:
    """Lay columns out: the last ones have no room if all don't fit; those that give way share the spare room."""
    for each in places:
        each.shrink()
    shown = list(places)
    while (spare := room - sum(each.width for each in shown) - _MARGIN * (len(shown) - 1)) < 0 and len(shown) > 1:
        others = [each for each in reversed(shown) if each.column.kind != "key"]
        # The last one that holds nothing, or else the last one that is wider than its heading.
        empty = (each for each in others if each.cells == {0})
        wide = (each for each in others if each.width > each.heading)
        last = next(chain(empty, wide, others))
        last.fits = False
        shown.remove(last)
    # The key first, as it takes whole cells; then what needs least.
    growing = [each for each in shown if each.column.kind != "whole"]
    growing.sort(key=lambda each: (each.column.kind != "key", each.need - each.width))
    for left, each in zip(range(len(growing), 0, -1), growing, strict=True):
        spare -= each.grow(max(spare, 0) // left)
    start = 0
    for each in shown:
        each.start, start = start, start + each.width + _MARGIN


def _joined(parts: Iterable[tuple[int, str]], room: int) -> Iterator[str]:
    """Texts from where each begins: a line, or more where one leaves no room for the next."""
    line = ""
    for start, text in parts:
        if line and text and (cell_len(line) > start - _MARGIN or start + cell_len(text) > room):
            yield line
            line = ""
        if text:
            # A word that is too long for its column begins further left.
            at = min(start, room - cell_len(text) if cell_len(text) <= room else _MARGIN)
            line += " " * (at - cell_len(line)) + text
    yield line


def _cut(text: str, width: int) -> str:
    """A name as short as this; without its middle, as names often differ at the end."""
    if cell_len(text) <= width:
        return text
    return f"{set_cell_size(text, width // 2)}…{set_cell_size(text[::-1], (width - 1) // 2)[::-1]}"

"""Tables for people, on stdout, drawn by rich."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import batched, groupby
from operator import itemgetter
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from rolekeeper.model.text import in_words
from rolekeeper_cli import terminal
from rolekeeper_cli.layout import Column, Layout
from rolekeeper_cli.options import WIDE
from rolekeeper_cli.terminal import one_line

# The rows that are drawn at once.
_PAGE = 200
_MARGIN = 2
# The least width of a folded column, and of a terminal in which notes have their own column.
_LEAST, _ROOM = 10, 120


class Listing:
    """Draws a list by pages; its columns are as wide as the pages so far need.

    Args:
        widest: a document that the columns are wide enough for from the start, if rows come one by one.
    """

    def __init__(self, layout: Layout, widest: Any = None) -> None:
        self._layout, self._room = layout, _room()
        wide, below = terminal.options().output == WIDE, self._room is not None and self._room < _ROOM
        self._columns = [each for each in layout.columns if wide or not each.wide]
        self._note = layout.note if below else None
        if layout.note and not below:
            self._columns.append(Column(layout.note_name, layout.note, folds=True))
        self._needs = [len(each.name) if layout.head else 0 for each in self._columns]
        self._has_head = layout.head
        if widest is not None:
            self._widen([self._cells(widest)])

    def draw(self, documents: Sequence[Any]) -> None:
        """Draw a page of rows, the first one below the columns' names."""
        rows = [self._cells(each) for each in documents]
        self._widen(rows)
        for number, lines in groupby(self._lines(rows), itemgetter(0)):
            colour = "" if number is None else self._layout.colour(documents[number])
            for _, text in lines:
                click.echo(click.style(text, fg=colour or None, bold=number is None or None))
            if number is not None and self._note:
                self._draw_note(self._note(documents[number]))
        self._has_head = False

    def _draw_note(self, note: str) -> None:
        width = (self._room or _ROOM) - _MARGIN
        text = Text(one_line(note.partition("; ")[0] if self._layout.brief else note))
        for line in text.wrap(_console(width), width, overflow="fold") if text else ():
            click.echo(f"{'':{_MARGIN}}{line.plain.rstrip()}")

    def _cells(self, document: Any) -> list[str]:
        return [_cell(each.of(document)) for each in self._columns]

    def _widen(self, rows: Iterable[Sequence[str]]) -> None:
        for row in rows:
            self._needs = [max(need, cell_len(cell)) for need, cell in zip(self._needs, row, strict=True)]

    def _lines(self, rows: Iterable[Sequence[str]]) -> Iterator[tuple[int | None, str]]:
        """The lines of a page, each with its row's number; the head's lines have none."""
        folds = [each.folds and self._room is not None for each in self._columns]
        least = [min(need, _LEAST) if fold else need for need, fold in zip(self._needs, folds, strict=True)]
        table = Table(box=None, pad_edge=False, padding=(0, _MARGIN, 0, 0), show_header=self._has_head)
        for column, fold, width in zip(self._columns, folds, least, strict=True):
            table.add_column(Text(column.name.upper()), no_wrap=not fold, overflow="fold", min_width=width)
        for number, row in enumerate(rows):
            table.add_row(*map(Text, row), style=Style(meta={"row": number}))
        # The columns that stay whole may be wider than the terminal.
        console = _console(max(self._room or 0, sum(least) + _MARGIN * (len(least) - 1)))
        for line in console.render_lines(table, pad=False):
            style = line[0].style if line else None
            yield style.meta.get("row") if style else None, "".join(each.text for each in line).rstrip()


def stream_list(layout: Layout, documents: Iterable[Any]) -> int:
    """Draw a list of any length, page by page as it comes; returns the number of rows."""
    listing, count = Listing(layout), 0
    for page in batched(documents, _PAGE):
        listing.draw(page)
        count += len(page)
    return count


def show_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A short table; on a terminal, all but its first column are folded. Without any name it has no head."""
    columns = [Column(name, itemgetter(at), folds=at > 0) for at, name in enumerate(head)]
    Listing(Layout(columns, head=any(head))).draw(list(rows))


def _room() -> int | None:
    """The width for a table; None for as much as it takes."""
    return None if terminal.options().output == WIDE else terminal.width()


def _console(width: int) -> Console:
    return Console(width=width, color_system=None, legacy_windows=False)


def _cell(value: object) -> str:
    return one_line(in_words(value))

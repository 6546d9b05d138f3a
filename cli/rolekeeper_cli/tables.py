"""Tables for people, on stdout."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import chain, islice

import click

from rolekeeper_cli.output import one_line, printable

# Columns of a table that isn't drawn for a terminal are as wide as they have to be: a line is a row.
_NO_TERMINAL = 100_000
# The rows whose widths a streamed table begins with: a page of the fleet.
_FIRST = 200
_MARGIN = 2
# An instance's id has 19 characters, a time 20; and the terminal in which there is room for that.
_WHOLE, _ROOM = 20, 80


def show_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table without lines, as kubectl draws it; on a terminal, long text is folded.

    Args:
        head: the names of the columns; none are written where all are empty.
        rows: the rows.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, color_system=None, width=_NO_TERMINAL)
    table = Table(box=None, pad_edge=False, padding=(0, _MARGIN, 0, 0), header_style="bold", show_header=any(head))
    cells = [_cells(row) for row in rows]
    for at, name in enumerate(head):
        # The first column, an id or a time, stays whole where there is room: what is folded is long text.
        whole = at == 0 and console.width >= _ROOM and all(len(row[0]) <= _WHOLE for row in cells)
        table.add_column(name.upper(), overflow="fold", no_wrap=whole)
    for row in cells:
        table.add_row(*map(Text, row))
    # rich fills lines up with blanks, which are noise in a file or a pipe.
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as drawn:
        console.print(table)
    click.echo("\n".join(each.rstrip() for each in drawn.get().splitlines()))


def stream_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """The same for a list of any length: a long one goes out while it comes."""
    coming = iter(rows)
    first = list(islice(coming, _FIRST))
    if len(first) < _FIRST:
        show_table(head, first)
        return
    lines = Lines(head, first)
    for row in chain(first, coming):
        lines.draw(row)


def draw_lines(rows: Iterable[Sequence[object]], colour: Callable[[Sequence[object]], str]) -> None:
    """Lines without a head, each in its colour, which go out while they come."""
    coming = iter(rows)
    first = list(islice(coming, _FIRST))
    lines = Lines((), first)
    for row in chain(first, coming):
        lines.draw(row, colour(row))


class Lines:
    """Lines in columns that are as wide as what was drawn so far needs, and never folded.

    Args:
        head: the names of the columns, drawn before the first line; empty for none.
        first: rows that the columns are made wide enough for beforehand.
    """

    def __init__(self, head: Sequence[str], first: Iterable[Sequence[object]] = ()) -> None:
        self._head = [each.upper() for each in head]
        self._widths: list[int] = []
        for row in [self._head, *first]:
            self._widen(_cells(row))

    def draw(self, row: Sequence[object], colour: str = "") -> None:
        """Draw one line, in a colour if one is named."""
        if self._head:
            head, self._head = self._head, []
            click.echo(click.style(self._aligned(head), bold=True))
        cells = _cells(row)
        self._widen(cells)
        click.echo(click.style(self._aligned(cells), fg=colour or None))

    def _widen(self, cells: Sequence[str]) -> None:
        widths = self._widths or [0] * len(cells)
        self._widths = [max(len(cell), width) for cell, width in zip(cells, widths, strict=True)] if cells else widths

    def _aligned(self, cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True))
        return (" " * _MARGIN).join(padded).rstrip()


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

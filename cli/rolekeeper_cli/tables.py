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
    for name in head:
        table.add_column(name.upper(), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, _cells(row)))
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
    names = [each.upper() for each in head]
    draw_lines(chain([names] if any(names) else [], first, coming), lambda row: "bold" if row is names else "")


def draw_lines(rows: Iterable[Sequence[object]], style: Callable[[Sequence[object]], str]) -> None:
    """Lines in columns as wide as the first of them need, never folded, which go out while they come.

    Args:
        rows: the lines.
        style: the colour of a line, `bold`, or nothing.
    """
    coming = iter(rows)
    first = list(islice(coming, _FIRST))
    widths: list[int] = []
    for row in first:
        widths = _wider(widths, _cells(row))
    for row in chain(first, coming):
        cells = _cells(row)
        widths = _wider(widths, cells)
        text = (" " * _MARGIN).join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        styled = style(row)
        click.echo(click.style(text, bold=True) if styled == "bold" else click.style(text, fg=styled or None))


def _wider(widths: Sequence[int], cells: Sequence[str]) -> list[int]:
    return [max(width, len(cell)) for width, cell in zip(widths or [0] * len(cells), cells, strict=True)]


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

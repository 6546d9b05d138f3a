"""What people and scripts see: data on stdout, as a table or as JSON; messages on stderr.

Text that comes from AWS may hold anything. On its way to a terminal, what can't be printed is shown by its number: a
tag must not be able to move somebody's cursor.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import click

from rolekeeper_cli.options import Options

# Columns of a table that isn't drawn for a terminal are as wide as they have to be: a line is a row.
_NO_TERMINAL = 100_000


def options() -> Options:
    """The common options of the command that runs."""
    return click.get_current_context().find_root().ensure_object(Options)


def wants_json() -> bool:
    """Whether data is to be JSON."""
    return options().output == "json"


def say(text: str) -> None:
    """A message to the person, on stderr."""
    click.echo(printable(text), err=True)


def warn(text: str) -> None:
    """A message that should not be overlooked."""
    click.echo(f"{click.style('Warning:', fg='yellow')} {printable(text)}", err=True)


def line(text: str, colour: str | None = None) -> None:
    """A line of data."""
    click.echo(click.style(printable(text), fg=colour) if colour else printable(text))


def show_json(document: Any) -> None:
    """A document as JSON, on stdout."""
    click.echo(json.dumps(document, indent=2, default=_plain, ensure_ascii=False))


def show_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout, without lines, as kubectl draws it; on a terminal, long text is folded."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, color_system=None, width=_NO_TERMINAL)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in head:
        table.add_column(name.upper(), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(_cell(each))) for each in row))
    # rich fills lines up with blanks, which are noise in a file or a pipe.
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as drawn:
        console.print(table)
    click.echo("\n".join(each.rstrip() for each in drawn.get().splitlines()))


def printable(text: str) -> str:
    """A text in which what can't be printed is made visible; line ends stay."""
    return "".join(each if each.isprintable() or each == "\n" else _escape(each) for each in text)


def one_line(text: str) -> str:
    """A text for one line of a table."""
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def is_terminal() -> bool:
    """Whether a person can be asked: what they type comes from a terminal, and they see the question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _escape(character: str) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, f"\\u{ord(character):04x}")


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
    return one_line(str(value))


def _plain(value: Any) -> Any:
    """What JSON has no word for, as DynamoDB's numbers and sets."""
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case set() | frozenset():
            return sorted(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case Mapping():
            return dict(value)
    return str(value)

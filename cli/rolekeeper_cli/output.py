"""What people see: messages on stderr, and lines of data on stdout (`render` has data in every form).

Text that comes from AWS may hold anything. On its way to a terminal, what can't be printed is shown by its number: a
tag must not be able to move somebody's cursor.
"""

import sys
from collections.abc import Iterable

import click

from rolekeeper_cli.options import Options


def options() -> Options:
    """The common options of the command that runs."""
    return click.get_current_context().find_root().ensure_object(Options)


def say(text: str) -> None:
    """A message to the person, on stderr."""
    click.echo(printable(text), err=True)


def warn(text: str) -> None:
    """A message that should not be overlooked."""
    click.echo(f"{click.style('Warning:', fg='yellow')} {printable(text)}", err=True)


def bad(texts: Iterable[str]) -> None:
    """Things that are wrong, each on a line of its own, on stderr."""
    for each in texts:
        click.echo(f"{click.style('!', fg='red')} {printable(each)}", err=True)


def line(text: str, colour: str | None = None) -> None:
    """A line of data."""
    click.echo(click.style(printable(text), fg=colour) if colour else printable(text))


def printable(text: str) -> str:
    """A text in which what can't be printed is made visible; line ends stay."""
    from rolekeeper.model import escaped  # completion imports none of the layer

    return escaped(text, keep="\n")


def one_line(text: str) -> str:
    """A text for one line of a table."""
    from rolekeeper.model import escaped  # completion imports none of the layer

    return escaped(text)


def width() -> int | None:
    """The columns of the terminal that data goes to; None where it goes into a pipe or a file."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def is_terminal() -> bool:
    """Whether a person can be asked: what they type comes from a terminal, and they see the question."""
    return sys.stdin.isatty() and sys.stderr.isatty()

"""How far a longer work is, for the person who waits: counts on stderr, on one line of a terminal, else nothing."""

import shutil
import sys
import time

import click

from rolekeeper_cli.reports import Silent

# Shorter work needs no telling.
_AFTER_SECONDS = 1.0
_EVERY_SECONDS = 0.1


class Progress(Silent):
    """Counts up to a total, if it is known. It leaves the line as it found it."""

    def __init__(self, total: int | None, what: str) -> None:
        super().__init__(total, what)
        self._of = "" if total is None else f" of {total:,}"
        self._what = what
        self._shows = sys.stderr.isatty()
        self._next = time.monotonic() + _AFTER_SECONDS
        self._shown = False

    def hide(self) -> None:
        """Clear the line, for what is written next."""
        if self._shown:
            click.echo("\r\033[K", nl=False, err=True)
            self._shown = False

    def at(self, done: int, total: int | None = None, rest: str = "") -> None:
        """This many are done, of a total that is known by now; `rest` is shown as far as the line has room."""
        if self._shows and time.monotonic() >= self._next:
            of = self._of if total is None else f" of {total:,}"
            text = f"{done:,}{of} {self._what}{f'; {rest}' if rest else ''}"
            click.echo(f"\r\033[K{text[: shutil.get_terminal_size().columns - 1]}", nl=False, err=True)
            self._next = time.monotonic() + _EVERY_SECONDS
            self._shown = True

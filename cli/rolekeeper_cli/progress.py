"""How far a longer work is, for the person who waits: counts on stderr, on one line of a terminal, else nothing."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Self

import click

# Shorter work needs no telling.
_AFTER_SECONDS = 1.0
_EVERY_SECONDS = 0.1


class Progress:
    """Counts up to a total, if it is known. Use it as a context manager; it leaves the line as it found it."""

    def __init__(self, total: int | None, what: str) -> None:
        self._of = "" if total is None else f" of {total:,}"
        self._what = what
        self._shows = sys.stderr.isatty()
        self._next = time.monotonic() + _AFTER_SECONDS
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hide()

    def hide(self) -> None:
        """Clear the line, for what is written next."""
        if self._shown:
            click.echo("\r\033[K", nl=False, err=True)
            self._shown = False

    def at(self, done: int, total: int | None = None) -> None:
        """So many are done, of a total that is known by now."""
        if self._shows and time.monotonic() >= self._next:
            of = self._of if total is None else f" of {total:,}"
            click.echo(f"\r\033[K{done:,}{of} {self._what}", nl=False, err=True)
            self._next = time.monotonic() + _EVERY_SECONDS
            self._shown = True

    def over[T](self, items: Iterable[T]) -> Iterator[T]:
        """The items, counted as they come."""
        for done, item in enumerate(items):
            self.at(done)
            yield item

    def pages[T: Sized](self, pages: Iterable[T]) -> Iterator[T]:
        """Pages, the things in them counted; while one is worked on, others may write."""
        done = 0
        for page in pages:
            self.hide()
            yield page
            done += len(page)
            self.at(done)

"""The progress of longer work. By default it isn't shown; the command draws it (`terminal`)."""

from collections.abc import Iterable, Iterator, Sized
from typing import Self


class Silent:
    """Counts up to a total, if it is known, and shows nothing. Use it as a context manager."""

    def __init__(self, total: int | None, what: str) -> None:
        """`total` things are called `what`: `1,200 of 5,000 instances looked at`."""
        self.total, self.what = total, what

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hide()

    def hide(self) -> None:
        """Make room for what is written next."""

    def at(self, done: int, total: int | None = None, rest: str = "") -> None:
        """`done` of a `total` that may be known only now; `rest` names what is missing."""

    def in_words(self, done: int, total: int | None, rest: str) -> str:
        of = self.total if total is None else total
        return f"{done:,}{'' if of is None else f' of {of:,}'} {self.what}{f'; {rest}' if rest else ''}"

    def over[T](self, items: Iterable[T]) -> Iterator[T]:
        """The items, counted as they come."""
        for done, item in enumerate(items):
            self.at(done)
            yield item

    def pages[T: Sized](self, pages: Iterable[T]) -> Iterator[T]:
        """Pages, with the items in them counted; while one is processed, others may write."""
        done = 0
        for page in pages:
            self.hide()
            yield page
            done += len(page)
            self.at(done)

"""The order of a list, as its address says it: `?sort=name`, or `?sort=-name` for the other way round."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sort:
    """The column that a list is sorted by; an empty one leaves the list in its own order."""

    column: str = ""
    descending: bool = False

    @classmethod
    def read(cls, text: str, columns: Collection[str]) -> "Sort":
        """The order that an address asks for; one by an unknown column is the list's own."""
        column = text.removeprefix("-")
        return cls(column, text.startswith("-")) if column in columns else cls()

    def __str__(self) -> str:
        return f"{'-' if self.descending else ''}{self.column}"

    def aria(self, column: str) -> str:
        """The `aria-sort` of a column's head; empty if the list is sorted by another one."""
        return "" if column != self.column else "descending" if self.descending else "ascending"

    def following(self, column: str) -> str:
        """What a click on a column's head asks for: ascending, then descending, then the list's own order."""
        turns = {"": column, "ascending": f"-{column}", "descending": ""}
        return turns[self.aria(column)]

    def ordered[Row](self, rows: Iterable[Row], keys: Mapping[str, Callable[[Row], Any]]) -> list[Row]:
        """The rows in this order; equal ones stay as they were."""
        if not self.column:
            return list(rows)
        return sorted(rows, key=keys[self.column], reverse=self.descending)

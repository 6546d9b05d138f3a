"""A row of a file before it is judged: where it is, and what it says in DynamoDB's form."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rolekeeper.mappings.rows.columns import COLUMNS, KEYS
from rolekeeper_cli.errors import CommandError

FILE_COLUMNS = {column.name: column for column in (*KEYS, *COLUMNS)}


class FileError(CommandError):
    """A file can't be read as a whole."""


@dataclass(slots=True)
class Entry:
    """One row of a file. `lines` are those of its columns, where the form knows them.

    `problems` are the form's own, what couldn't even be made out, each with its line.
    """

    line: int
    attributes: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)

    def placed(self, said: Iterable[str]) -> list[tuple[int, str]]:
        """What is said of columns, each with its column's line."""
        return [(self.lines.get(column_of(each), self.line), each) for each in said]


def column_of(said: str) -> str:
    """The column that a problem begins with."""
    return said.partition(":")[0]

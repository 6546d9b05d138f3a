"""A row of a file before it is judged: where it is, and what it says in DynamoDB's form."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rolekeeper.mappings.rows.columns import COLUMNS, KEYS
from rolekeeper.model.problem import Problem
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
    problems: list[tuple[int, Problem]] = field(default_factory=list)

    def placed(self, problems: Iterable[Problem]) -> list[tuple[int, Problem]]:
        """Problems, each with its column's line."""
        return [(self.lines.get(each.column, self.line), each) for each in problems]

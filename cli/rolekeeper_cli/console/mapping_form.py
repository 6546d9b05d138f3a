"""The form of a mapping: a field for each column of its row, and what of it a person changed."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rolekeeper.mappings.rows.columns import COLUMNS, Attributes, Column
from rolekeeper.mappings.rows.reader import content
from rolekeeper.model.mapping import WhenOccupied, WhenStopped, WhenUnmatched
from rolekeeper_cli.console.forms import Form
from rolekeeper_cli.files.text_cells import to_text
from rolekeeper_cli.schema import MEANING

_CHOICES = {"when_occupied": WhenOccupied, "when_unmatched": WhenUnmatched, "when_stopped": WhenStopped}
# What a person wants to say of nearly every mapping; the others wait below a fold.
_FIRST = ("role", "description", "owner", "priority", "enabled", "expires_at")


@dataclass(frozen=True, slots=True)
class Field:
    """One column as a form has it.

    Attributes:
        name: the column's.
        text: what is filled in, as `mapping set` takes it.
        means: what it is for, a sentence; `takes`: which values.
        default: what stands where nothing is filled in; empty for a required one.
        choices: all that can be chosen; empty where a person types.
        first: whether it is shown at once.
    """

    name: str
    text: str
    means: str
    takes: str
    default: str
    choices: tuple[str, ...]
    first: bool

    @property
    def label(self) -> str:
        """The column in words."""
        return self.name.replace("_", " ").capitalize()


def fields(row: Attributes, typed: Form | None = None) -> list[Field]:
    """The form of a row; with what was typed into it, where it comes back."""
    found = [_field(column, _text(column, row) if typed is None else typed.get(column.name, "")) for column in COLUMNS]
    return sorted(found, key=lambda each: _FIRST.index(each.name) if each.first else len(_FIRST))


def assignments(row: Attributes, typed: Form) -> list[str]:
    """What was changed of a row's columns, as `mapping set` takes it: the others stay as they are."""
    changed = [each for each in COLUMNS if each.name in typed and not _is_same(typed[each.name], _text(each, row))]
    return [f"{each.name}={typed[each.name].strip()}" for each in changed]


def version(row: Attributes) -> str:
    """What tells whether a row is still the one that a form was filled from: what people wrote into it."""
    text = json.dumps(content(row), sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def columns_of(row: Attributes) -> Mapping[str, str]:
    """The columns that a row has, as text, in their order."""
    return {column.name: to_text(row[column.name]) for column in COLUMNS if column.name in row}


def _is_same(typed: str, text: str) -> bool:
    """Whether a field still says what it was filled with: a browser leaves out line ends, and a person adds blanks."""
    filled = text.replace("\r", "").replace("\n", "")
    return typed in {text, filled} or typed.strip() == text


def _field(column: Column, text: str) -> Field:
    default = "" if column.default == "required" else column.default
    meaning = MEANING[column.name]
    return Field(
        column.name,
        text,
        f"{meaning[0].upper()}{meaning[1:]}.",
        takes=column.kind.range,
        default=default,
        choices=tuple(_choices(column)),
        first=column.name in _FIRST,
    )


def _choices(column: Column) -> Iterator[str]:
    if column.kind.type == "BOOL":
        yield from ("true", "false")
    yield from (each.value for each in _CHOICES.get(column.name, ()))


def _text(column: Column, row: Attributes) -> str:
    attribute: Any = row.get(column.name)
    return to_text(attribute) if attribute else ""

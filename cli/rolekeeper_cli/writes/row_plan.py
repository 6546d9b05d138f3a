"""What an edit would change in the mapping table, before anything is written. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rolekeeper.mappings.rows.cells import TYPES, HomeAccount
from rolekeeper.mappings.rows.columns import COLUMNS, Attributes, Column
from rolekeeper.mappings.rows.reader import read_row, row_of
from rolekeeper.model.mapping import MappingKey, MappingSpec
from rolekeeper_cli.files.text_cells import to_text

_KINDS = ("new", "changed", "deleted")


@dataclass(frozen=True, slots=True)
class Difference:
    """A column that changes, from and to in words."""

    column: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Change:
    """One row that changes.

    `row` is the row as it was seen, empty for a new one, and `was` the mapping in it, if it could be read.
    `spec` is the mapping wanted; None deletes the row.
    """

    key: MappingKey
    row: Attributes
    was: MappingSpec | None
    spec: MappingSpec | None

    @property
    def kind(self) -> str:
        """`new`, `changed` or `deleted`."""
        if self.spec is None:
            return "deleted"
        return "changed" if self.row else "new"

    @property
    def before(self) -> Attributes:
        """The columns that the row has, in the form of `after` where they can be read."""
        return row_of(self.was) if self.was else self.row

    @property
    def after(self) -> Attributes:
        """The columns that the row has afterwards, defaults left out."""
        return row_of(self.spec) if self.spec else {}

    def differences(self) -> list[Difference]:
        """What of the columns changes, in their order; a default is told as what it stands for."""
        found = []
        for column in COLUMNS:
            old, new = _shown(column, self.before), _shown(column, self.after)
            if old != new:
                found.append(Difference(column.name, old, new))
        return found


@dataclass(frozen=True, slots=True)
class RowPlan:
    """All that would change, by key."""

    changes: tuple[Change, ...] = ()
    unchanged: int = 0
    kept: int = 0

    def counts(self) -> str:
        """In one line."""
        kinds = [each.kind for each in self.changes]
        said = [f"{kinds.count(kind):,} {kind}" for kind in _KINDS]
        return f"{', '.join(said)}, {self.unchanged:,} unchanged"

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "changes": [
                {
                    "mapping": str(each.key),
                    "kind": each.kind,
                    "columns": {one.column: {"from": one.old, "to": one.new} for one in each.differences()},
                }
                for each in self.changes
            ],
            "unchanged": self.unchanged,
            "not_in_file": self.kept,
        }


def planned(
    specs: Iterable[MappingSpec], rows: Mapping[MappingKey, Attributes], home: HomeAccount, *, prune: bool = False
) -> RowPlan:
    """Compare mappings with the rows that are there: by what they say, so a default is as good as nothing.

    Args:
        specs: the mappings wanted.
        rows: the rows, by key.
        home: our account.
        prune: whether rows that aren't wanted are deleted.
    """
    changes = []
    unchanged = 0
    wanted = {spec.key: spec for spec in specs}
    present = {key: read_row(row, home).spec for key, row in rows.items()}
    for key, spec in wanted.items():
        if present.get(key) == spec:
            unchanged += 1
        else:
            changes.append(Change(key, rows.get(key, {}), present.get(key), spec=spec))
    others = [Change(key, row, present[key], spec=None) for key, row in rows.items() if key not in wanted]
    if prune:
        changes += others
    return RowPlan(tuple(sorted(changes, key=lambda each: each.key)), unchanged, 0 if prune else len(others))


def _shown(column: Column, row: Attributes) -> str:
    """A column's value in words; what stands for it when there is none."""
    attribute = row.get(column.name)
    if not attribute:
        return "" if column.default == "required" else column.default
    text = to_text(attribute)
    kind = next(iter(attribute))
    return text if kind == column.kind.type else f"{text} ({TYPES.get(kind, kind)})"

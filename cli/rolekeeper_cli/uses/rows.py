"""The mapping table as people edit it: whole rows read, and each written only while it is as it was seen."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError, ConflictError
from rolekeeper.mappings.rows.columns import ASKS, COLUMNS, OURS, TYPES, Attributes, Column, HomeAccount
from rolekeeper.mappings.rows.reader import read_row, row_of
from rolekeeper.mappings.table import MappingTable, if_as_read, number_in
from rolekeeper.model.mapping import MappingKey, MappingSpec
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper.storage import Update
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.uses.files import to_text

# ---- what an edit would change in the mapping table, before anything is written. Pure ----


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

    def cells(self) -> list[str]:
        """The columns of the row that is new, or is deleted, as `name=value`."""
        row = self.after or self.before
        return [f"{column.name}={to_text(row[column.name])}" for column in COLUMNS if column.name in row]

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
        kinds = [each.kind for each in self.changes]
        said = [f"{kinds.count(kind):,} {kind}" for kind in _KINDS]
        return f"{', '.join(said)}, {self.unchanged:,} unchanged"

    def document(self) -> dict[str, Any]:
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


# ---- the mapping table as people edit it ----


type Rows = dict[MappingKey, Attributes]

# What of a row isn't the mapping: ours, and what people ask beside it.
_BESIDE = frozenset(OURS) | {column.name for column in ASKS}


@dataclass(frozen=True)
class MappingRows:
    """The mapping table as this person edits it: `by` is who, as it goes into the mapping's history."""

    table: MappingTable
    by: Callable[[], str]

    def all(self) -> Rows:
        return self.table.all_rows()

    def some(self, keys: Iterable[MappingKey]) -> Rows:
        """The rows under these keys; absent ones are absent."""
        return self.table.get_rows(keys)

    def write(self, change: Change) -> bool:
        """Make a change, if the row is still as it was seen.

        Returns:
            False when another actor changed it meanwhile; then nothing was written.
        """
        try:
            if change.kind == "new":
                self.table.put(self._signed(change.after))
            elif change.kind == "changed":
                self._edit(change)
            else:
                self._delete(change)
        except ConflictError:
            return False
        return True

    def holds(self, key: MappingKey, revision: int) -> bool:
        """Whether a row shows a revision as held.

        It isn't a condition of approving: an approver's policy names no column of Rolekeeper's, not even in a
        condition. A number that is overtaken meanwhile approves nothing.
        """
        return number_in(self.some([key]).get(key, {}), "held_revision") == revision

    def approve(self, key: MappingKey, revision: int, by: str) -> bool:
        """Write into a row that this person signed a held revision; False when the row is gone."""
        said = {"approve": revision, "approved_by": by}
        try:
            if number_in(self.some([key]).get(key, {}), "approve") == revision:
                # An update that changes nothing isn't in the stream, so nobody would look at the row.
                self.table.update(key, Update().remove("approve").only_if_present("tag_key"))
            self.table.update(key, Update().set(said).only_if_present("tag_key"))
        except ConflictError:
            return False
        return True

    def discard(self, key: MappingKey, revision: int) -> bool:
        """Write into a row that a revision which is held is to be dropped; False when the row is gone.

        As with an approval, the judge compares the number: one that is overtaken meanwhile discards nothing.
        """
        for said in ({"discard": revision, "edited_by": self.by()}, {"discard": revision}):
            try:
                self.table.update(key, Update().set(said).only_if_present("tag_key"))
            except ConflictError:
                return False
            except AccessDeniedError:
                # An approver may discard, but not say who edits.
                if "edited_by" not in said:
                    raise
            else:
                return True
        raise AssertionError("the second attempt ends it")

    # ---- how ----

    def _signed(self, columns: Attributes) -> dict[str, Any]:
        return {**columns, "edited_by": {"S": self.by()}}

    def _edit(self, change: Change) -> None:
        """Put the row again, without our columns: so a verdict is seen to be new, and all but what changes stays.

        An update that took `status` away would do too, but only for those who may write that column.
        """
        kept = {name: value for name, value in change.row.items() if name not in _BESIDE}
        changed = [each.column for each in change.differences()]
        after = {name: change.after[name] for name in changed if name in change.after}
        unchanged = {name: value for name, value in kept.items() if name not in changed}
        self.table.put(self._signed({**unchanged, **after}), _as_seen(change.row, *kept))

    def _delete(self, change: Change) -> None:
        # The stream's record of a deletion shows the row as it was: that tells who deleted it.
        self.table.update(change.key, _as_seen(change.row).set({"edited_by": self.by()}))
        self.table.delete(change.key, _as_seen(change.row))


def mapping_rows(deployment: Deployment) -> MappingRows:
    """The mapping table as this caller edits it."""
    return MappingRows(deployment.app.table, lambda: deployment.caller.arn)


def require_row(deployment: Deployment, key: MappingKey) -> Attributes:
    """One row.

    Raises:
        CommandError: there is none.
    """
    row = deployment.app.table.get_row(key)
    if row is None:
        raise CommandError(f"there is no mapping {key}", advice("see: ", Remedy(Kind.MAPPINGS)))
    return row


def said(row: Attributes, column: str) -> str:
    """One of our columns of a row, as text."""
    attribute: Any = row.get(column) or {}
    return str(next(iter(attribute.values()), ""))


def _as_seen(row: Attributes, *others: str) -> Update:
    """Conditions that hold while people's columns of a row, and others of it, say what they said."""
    return if_as_read(row, dict.fromkeys([*(column.name for column in COLUMNS), *others]))

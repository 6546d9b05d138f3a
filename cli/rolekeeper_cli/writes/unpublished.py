"""Undoing what a row says and that isn't in effect: an edit that is held is discarded, another one taken back."""

from dataclasses import dataclass

from rolekeeper.mappings.revisions import StoredMapping
from rolekeeper.mappings.rows.columns import Attributes
from rolekeeper.mappings.rows.reader import read_row
from rolekeeper.mappings.table import number_in
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.mapping import MappingKey, PublishedMapping
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.writes.mapping_rows import said
from rolekeeper_cli.writes.row_plan import RowPlan, planned


@dataclass(frozen=True, slots=True)
class Unpublished:
    """What a row says and that isn't in effect.

    Attributes:
        key: the mapping.
        row: the row; empty where it was deleted, and that isn't in effect yet.
        in_effect: what is published; None for nothing.
        held: the number under which it is held; 0: it isn't.
        deletion: whether it is a deletion that is held.
    """

    key: MappingKey
    row: Attributes
    in_effect: PublishedMapping | None
    held: int = 0
    deletion: bool = False

    @property
    def named(self) -> str:
        """It in words."""
        what = "deletion" if self.deletion or not self.row else "edit"
        number = f"revision {self.held}, " if self.held else ""
        status = said(self.row, "status") or "not judged yet"
        return f"the {what} of {self.key} ({number}{status})"

    @property
    def left(self) -> str:
        """What is left once it is undone, in words."""
        if self.in_effect:
            return f"The row says again what is in effect, revision {self.in_effect.revision}; no instance changes."
        return "The row goes, as nothing of it was ever in effect; no instance changes."


def unpublished(deployment: Deployment, key: MappingKey) -> Unpublished | None:
    """What a mapping's row says and that isn't in effect; None where the two agree."""
    stored, row = deployment.app.revisions.read(key), deployment.app.table.get_row(key) or {}
    in_effect = stored.published if stored.published and not stored.published.deleted else None
    if held := _held(stored, row):
        return Unpublished(key, row, in_effect, held=held.revision, deletion=held.deleted)
    spec = read_row(row, deployment.app.home).spec if row else None
    same = in_effect.spec == spec if in_effect else not row
    return None if same else Unpublished(key, row, in_effect)


def back_to_published(deployment: Deployment, edit: Unpublished) -> RowPlan:
    """What undoing it writes into the table, as a plan: what is held is discarded, so that this is only shown."""
    specs = [edit.in_effect.spec] if edit.in_effect else []
    return planned(specs, {edit.key: edit.row} if edit.row else {}, deployment.app.home, prune=True)


def _held(stored: StoredMapping, row: Attributes) -> PublishedMapping | None:
    held = stored.held.mapping if stored.held and not stored.held.outcome else None
    shown = said(row, "status") == Status.HELD and number_in(row, "held_revision")
    return held if held and held.revision == shown else None

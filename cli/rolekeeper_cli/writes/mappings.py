"""Editing mappings: what an edit would change in their rows, as a plan, and writing that.

A plan carries the rows that it was made over. A row that another actor changed since is left as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rolekeeper.model import escaped
from rolekeeper.model.mapping import MappingKey
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.writes.approvals import discard, held_number
from rolekeeper_cli.writes.mapping_rows import Rows, mapping_rows, require_row
from rolekeeper_cli.writes.old_revisions import revision_to_restore
from rolekeeper_cli.writes.row_plan import Change, RowPlan, planned
from rolekeeper_cli.writes.set_columns import edited
from rolekeeper_cli.writes.unpublished import Unpublished, back_to_published, unpublished
from rolekeeper_cli.writes.verdicts import PATIENCE_SECONDS, RowVerdict, Written, wait_for_verdicts


class MovedError(CommandError):
    """Another actor changed rows after they were planned on."""

    def __init__(self, moved: Sequence[MappingKey], written: int) -> None:
        rows = ", ".join(escaped(str(key)) for key in moved)
        what = f"another actor changed {rows} since the plan: left as it is now; {written:,} others were written"
        super().__init__(what, "run the command again: it plans anew")


@dataclass(frozen=True, slots=True)
class RollBack:
    """A step back.

    Attributes:
        plan: what it writes into the row. What is held is discarded instead, so that this is only to be shown.
        revision: the old revision that it restores; 0 where it undoes an edit.
        edit: the edit that it undoes, which isn't in effect; None where it restores a revision.
    """

    plan: RowPlan
    revision: int = 0
    edit: Unpublished | None = None


def set_columns(deployment: Deployment, key: MappingKey, assignments: Sequence[str]) -> RowPlan:
    """What `column=value` each would change in a row, new or there; an empty value removes a column.

    Raises:
        UsageError: a column is unknown, or the row couldn't be read then.
    """
    row = deployment.app.table.get_row(key)
    spec = edited(key, row or {}, assignments, home=deployment.app.home)
    return planned([spec], {key: row} if row else {}, deployment.app.home)


def remove(deployment: Deployment, key: MappingKey) -> RowPlan:
    """The deletion of a row.

    Raises:
        CommandError: there is none.
    """
    return planned([], {key: require_row(deployment, key)}, deployment.app.home, prune=True)


def roll_back(deployment: Deployment, key: MappingKey, to: int | None = None) -> RollBack:
    """A step back: the undoing of what the row says and isn't in effect, or else the revision before.

    Args:
        deployment: where.
        key: the mapping.
        to: the revision to restore, whatever the row says.

    Raises:
        CommandError: there is no such revision.
    """
    edit = unpublished(deployment, key) if to is None else None
    if edit and (edit.row or edit.in_effect):
        return _undoing(deployment, edit)
    old = revision_to_restore(deployment, key, to)
    row = deployment.app.table.get_row(key)
    return RollBack(planned([old.spec], {key: row} if row else {}, deployment.app.home), revision=old.revision)


def to_discard(deployment: Deployment, key: MappingKey, revision: int | None = None) -> RollBack:
    """The undoing of what is held of a mapping; with a revision, only if that is the one.

    Raises:
        CommandError: there is no such mapping, or it isn't held, or another revision of it is.
    """
    held = held_number(key, require_row(deployment, key), revision)
    edit = unpublished(deployment, key)
    if edit is None or edit.held != held:
        raise CommandError(f"revision {held} of {key} is no longer held; nothing was discarded", "look again")
    return _undoing(deployment, edit)


def write(deployment: Deployment, plan: RowPlan, *, patience: float = PATIENCE_SECONDS) -> Written:
    """Write a plan row by row, each only while it is as it was planned on, and wait for the verdicts.

    Args:
        deployment: where.
        plan: the plan.
        patience: how long Rolekeeper may judge none more of the rows until the wait ends, in seconds; 0: no wait.
    """
    rows = mapping_rows(deployment)
    written: list[Change] = []
    moved: list[MappingKey] = []
    with deployment.progress(len(plan.changes), "rows written") as progress:
        for change in progress.over(plan.changes):
            if rows.write(change):
                written.append(change)
            else:
                moved.append(change.key)
    return Written(judge(deployment, written, patience), tuple(moved))


def write_back(deployment: Deployment, back: RollBack, *, patience: float = PATIENCE_SECONDS) -> Written:
    """Take a step back: what is held is discarded, all else is written.

    Raises:
        CommandError: it is no longer held: it was approved, or another edit came.
    """
    if back.edit and back.edit.held:
        return discard(deployment, back.edit.key, back.edit.held, patience=patience)
    return write(deployment, back.plan, patience=patience)


def judge(deployment: Deployment, written: Sequence[Change], patience: float) -> tuple[RowVerdict, ...]:
    """Wait until Rolekeeper judged these rows.

    A row is written without `status`, so one with it is judged. A deletion is done once no mapping serves any more; one
    that would change too much comes back as a row that is held.
    """
    rows = mapping_rows(deployment)
    put = [each.key for each in written if each.kind != "deleted"]
    deleted = [each.key for each in written if each.kind == "deleted"]

    def look() -> Rows:
        seen = rows.some([*put, *deleted])
        judged = {key: row for key, row in seen.items() if "status" in row}
        gone = [key for key in deleted if key not in seen]
        served = deployment.app.state.read([], gone).published if gone else {}
        return judged | {key: {} for key in gone if key not in served or served[key].deleted}

    return wait_for_verdicts(deployment, [*put, *deleted], look, patience=patience, deletes=deleted)


def _undoing(deployment: Deployment, edit: Unpublished) -> RollBack:
    return RollBack(back_to_published(deployment, edit), edit=edit)

"""Editing mappings: what an edit would change in their rows, as a plan, and writing that.

A plan carries the rows that it was made over. A row that another actor changed since is left as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rolekeeper.mappings.revisions import StoredMapping
from rolekeeper.mappings.rows.columns import COLUMNS, Attributes, CellError, HomeAccount
from rolekeeper.mappings.rows.reader import read_row
from rolekeeper.mappings.table import number_in
from rolekeeper.mappings.verdict import Status
from rolekeeper.model import escaped
from rolekeeper.model.mapping import MappingKey, MappingSpec, PublishedMapping
from rolekeeper.model.problem import Kind, Problem, advice
from rolekeeper.storage import codec, layout
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.suggest import did_you_mean
from rolekeeper_cli.uses.approvals import PATIENCE_SECONDS, RowVerdict, Written, discard, held_number, wait_for_verdicts
from rolekeeper_cli.uses.files import from_text
from rolekeeper_cli.uses.rows import Change, RowPlan, Rows, mapping_rows, planned, require_row, said

# ---- `mapping set`: a row with some columns changed, read as every row is ----


_BY_NAME = {column.name: column for column in COLUMNS}


class UnreadableRowError(UsageError):
    """The row couldn't be read if it said that: `column` is the first one with a problem, empty where none has one."""

    def __init__(self, problems: Sequence[Problem], remedy: str) -> None:
        super().__init__("; ".join(map(str, problems)), remedy)
        self.column = problems[0].column


def edited(key: MappingKey, row: Attributes, assignments: Sequence[str], home: HomeAccount) -> MappingSpec:
    """The mapping that a row says after `column=value` each.

    Raises:
        UsageError: a column is unknown, or the row couldn't be read then.
    """
    if not assignments:
        raise UsageError("no column is given", "give some as column=value, like role=web")
    after = {**row, **codec.to_attributes(codec.encode(key))}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if name not in _BY_NAME or not equals:
            raise _no_column(assignment, name)
        if not text:
            after.pop(name, None)
            continue
        try:
            after[name] = from_text(_BY_NAME[name], text)
        except CellError as error:
            raise UnreadableRowError([Problem(str(error), column=name)], "nothing was written") from error
    verdict = read_row(after, home)
    if verdict.spec is None:
        raise UnreadableRowError(verdict.problems, "nothing was written; fix it and try again")
    return verdict.spec


def _no_column(assignment: str, name: str) -> UsageError:
    meant = did_you_mean(name, _BY_NAME)
    columns = f"the columns are {', '.join(_BY_NAME)}; what each is for: rolekeeper schema COLUMN"
    return UsageError(f"{assignment!r} sets no column", f"{meant} {columns}".lstrip())


# ---- which revision of a mapping a rollback goes to ----


_LOOKED_AT = 100


def revision_to_restore(deployment: Deployment, key: MappingKey, number: int | None) -> PublishedMapping:
    """That revision; without a number, the newest before what is served that isn't a deletion.

    Raises:
        CommandError: there is none such.
    """
    store = deployment.app.store
    pk = layout.mapping_pk(key)
    if number is not None:
        at = (pk, layout.revision_sk(number))
        items = store.get([at])
        if at not in items:
            raise CommandError(f"{key} has no revision {number}", advice("see: ", key.remedy(Kind.MAPPING_HISTORY)))
        found = store.decode(codec.published_from, items[at])
        if found.deleted:
            raise CommandError(
                f"revision {number} of {key} is its deletion",
                advice("to delete it again: ", key.remedy(Kind.REMOVE_MAPPING)),
            )
        return found
    published = deployment.app.revisions.read(key).published
    if published is None:
        raise CommandError(
            f"no revision of {key} was ever published", advice("see: ", key.remedy(Kind.MAPPING_HISTORY))
        )
    return revision_before(deployment, key, published.revision)


def revision_before(deployment: Deployment, key: MappingKey, number: int) -> PublishedMapping:
    """The newest revision before this one that isn't a deletion.

    Raises:
        CommandError: there is none.
    """
    store = deployment.app.store
    for item in store.last(layout.mapping_pk(key), "revision#", _LOOKED_AT):
        old = store.decode(codec.published_from, item)
        if old.revision < number and not old.deleted:
            return old
    raise CommandError(
        f"{key} has no revision before {number}", "name one with --to, or edit the row: rolekeeper mapping set"
    )


# ---- undoing what a row says and that isn't in effect ----


@dataclass(frozen=True, slots=True)
class Unpublished:
    """What a row says and that isn't in effect.

    Attributes:
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
        what = "deletion" if self.deletion or not self.row else "edit"
        number = f"revision {self.held}, " if self.held else ""
        status = said(self.row, "status") or "not judged yet"
        return f"the {what} of {self.key} ({number}{status})"

    @property
    def left(self) -> str:
        """What is left once it is undone, in words."""
        if self.in_effect:
            return f"This restores revision {self.in_effect.revision}, which is in effect; no instance changes."
        return "This deletes the row, which was never in effect; no instance changes."


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


# ---- edits as plans, and writing them ----


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

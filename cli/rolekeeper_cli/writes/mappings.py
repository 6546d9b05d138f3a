"""Writing a plan into the mapping table, and waiting for what Rolekeeper says of each row."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from rolekeeper.mappings.rows.columns import Attributes
from rolekeeper.mappings.table import number_in
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.mapping import MappingKey, same_person
from rolekeeper.storage import layout
from rolekeeper_cli import known, output
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, ExitCode, WaitTimeoutError
from rolekeeper_cli.writes.follow import follow_mappings
from rolekeeper_cli.writes.mapping_rows import MappingRows, Rows
from rolekeeper_cli.writes.row_plan import Change, RowPlan

# Serving as it was written; all else wants somebody's attention.
GOOD = frozenset({Status.PUBLISHED, Status.EXPIRED})
_POLL_SECONDS = 0.5
# Rolekeeper judges a row in about a second; so long without any is no delay any more.
PATIENCE_SECONDS = 60


class MovedError(CommandError):
    """Somebody changed rows while we looked at them."""

    def __init__(self, moved: Sequence[MappingKey], written: int) -> None:
        rows = ", ".join(output.one_line(str(key)) for key in moved)
        what = f"another actor changed {rows} since the plan: left as it is now; {written:,} others were written"
        super().__init__(what, "run the command again: it plans anew")


def mapping_rows(deployment: Deployment) -> MappingRows:
    """The mapping table as this caller edits it."""
    return MappingRows(
        deployment.app.client("dynamodb"), deployment.settings.mapping_table, lambda: deployment.caller.arn
    )


def carry_out(deployment: Deployment, plan: RowPlan, *, wait: bool | None) -> ExitCode:
    """Write a plan, row by row, wait for the verdicts, and say which rows aren't published as written.

    Args:
        deployment: where.
        plan: the plan.
        wait: True follows the instances too, False waits for nothing.

    Raises:
        MovedError: rows weren't as the plan saw them any more. The others were written, and judged if waited for.
        WaitTimeoutError: Rolekeeper judged none of the rows for a minute.
    """
    rows = mapping_rows(deployment)
    written, moved = write(deployment, rows, plan)
    deletes = frozenset(each.key for each in written if each.kind == "deleted")
    code = ExitCode.DONE if wait is False else tell(judgements(deployment, rows, written), deployment, deletes)
    if moved:
        raise MovedError(moved, len(written))
    if wait and code is ExitCode.DONE:
        return follow_mappings(deployment, [each.key for each in written])
    return code


def write(deployment: Deployment, rows: MappingRows, plan: RowPlan) -> tuple[list[Change], list[MappingKey]]:
    """Write a plan; returns what was written, and the rows that weren't as the plan saw them any more."""
    written: list[Change] = []
    moved: list[MappingKey] = []
    with deployment.progress(len(plan.changes), "rows written") as progress:
        for change in progress.over(plan.changes):
            if rows.write(change):
                written.append(change)
            else:
                moved.append(change.key)
    return written, moved


def judgements(deployment: Deployment, rows: MappingRows, written: Sequence[Change]) -> Rows:
    """Wait until Rolekeeper judged these rows; returns them as they are then, a deleted one empty.

    A row is written without `status`, so one with it is judged. A deletion is done once no mapping serves any more; one
    that would change too much comes back as a row that is held.

    Raises:
        WaitTimeoutError: Rolekeeper judged none of them for a minute.
    """
    put = [each.key for each in written if each.kind != "deleted"]
    deleted = [each.key for each in written if each.kind == "deleted"]

    def look() -> Rows:
        seen = rows.some([*put, *deleted])
        judged = {key: row for key, row in seen.items() if "status" in row}
        gone = [key for key in deleted if key not in seen]
        served = deployment.app.state.read([], filter(layout.fits_partition, gone)).published if gone else {}
        return judged | {key: {} for key in gone if key not in served or served[key].deleted}

    return wait_until_judged(deployment, [*put, *deleted], look)


def approve_held(deployment: Deployment, held: Mapping[MappingKey, int], *, wait: bool | None) -> ExitCode:
    """Approve revisions that are held, by their numbers, and say which aren't published then; `wait` as `carry_out`.

    Raises:
        CommandError: one isn't held any more, is the caller's own edit, or was discarded or edited meanwhile.
        WaitTimeoutError: Rolekeeper judged none of the rows for a minute.
    """
    rows, caller, now = mapping_rows(deployment), deployment.caller, deployment.now()
    expires = int((now + timedelta(days=deployment.settings.history_days)).timestamp())
    signed = {"arn": caller.arn, "at": layout.timestamp(now), "expires": expires}
    for key, revision in held.items():
        stored = deployment.app.revisions.read(key).held
        if stored and same_person(stored.by, caller.arn):
            hint = "edited_by names you; another person runs: rolekeeper mapping approve"
            raise CommandError(f"revision {revision} of {key} is your own edit; it wasn't approved", hint)
        if stays := stored is not None and stored.mapping.revision == revision and rows.holds(key, revision):
            # Signed first: a row whose approval nobody signed yet is judged again by the next sweep only.
            item = layout.key_attributes(layout.approval_key(caller.id, key, revision)) | signed
            deployment.app.store.write(deployment.app.store.put(item))
            stays = rows.approve(key, revision, caller.id)
        if not stays:
            raise CommandError(f"revision {revision} of {key} is no longer held; it wasn't approved", "look again")
    if wait is False:
        return ExitCode.DONE

    def look() -> Rows:
        # An approved deletion takes the row away for good.
        found = rows.some(held)
        seen = {key: found.get(key, {}) for key in held}
        # Where another edit is held by now, the number stays in the row and approves nothing.
        return {
            key: row
            for key, row in seen.items()
            if "approve" not in row or number_in(row, "held_revision") not in {0, held[key]}
        }

    code = tell(_approved(deployment, held, wait_until_judged(deployment, list(held), look)), deployment)
    return follow_mappings(deployment, list(held)) if wait and code is ExitCode.DONE else code


def _approved(deployment: Deployment, held: Mapping[MappingKey, int], judged: Rows) -> Rows:
    """The rows, if none is published without what was approved of it."""
    for key, row in judged.items():
        stored = deployment.app.revisions.read(key)
        if stored.held and stored.held.outcome == layout.DISCARDED and said(row, "status") != Status.HELD:
            what = f"revision {held[key]} of {key} was discarded meanwhile; it isn't in effect"
            raise CommandError(what, f"see who: rolekeeper mapping history {key}")
    return judged


def wait_until_judged(deployment: Deployment, keys: Sequence[MappingKey], look: Callable[[], Rows]) -> Rows:
    """Look until every row is judged.

    Raises:
        WaitTimeoutError: for a minute, none more was.
    """
    judged: Rows = {}
    deadline = deployment.now().timestamp() + PATIENCE_SECONDS
    with deployment.progress(len(keys), "rows judged") as progress:
        while len(judged) < len(keys):
            seen = look()
            if len(seen) > len(judged):
                deadline = deployment.now().timestamp() + PATIENCE_SECONDS
            judged = seen
            progress.at(len(judged))
            if len(judged) < len(keys):
                if deployment.now().timestamp() >= deadline:
                    raise _no_verdict([key for key in keys if key not in judged])
                deployment.sleep(_POLL_SECONDS)
    return judged


def _no_verdict(missing: Sequence[MappingKey]) -> WaitTimeoutError:
    first = output.one_line(str(missing[0]))
    others = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
    return WaitTimeoutError(
        f"written, but Rolekeeper said nothing of {first}{others} for {PATIENCE_SECONDS} s",
        f"see its row later: rolekeeper mapping get {first}; its function is on_mapping_change",
    )


def tell(judged: Rows, deployment: Deployment, deletes: frozenset[MappingKey] = frozenset()) -> ExitCode:
    """Say the verdicts on rows; of those that are published as written, only that they are. `deletes` were to go."""
    bad = {key: row for key, row in judged.items() if row and said(row, "status") not in GOOD}
    for key, row in sorted(bad.items(), key=lambda each: each[0]):
        told = f"{output.one_line(str(key))} is {said(row, 'status')}: {said(row, 'status_reason')}"
        output.bad([told])
        if said(row, "status") == Status.HELD:
            output.say(f"  rolekeeper mapping approve {key} {'deletes' if key in deletes else 'publishes'} it")
            output.say(f"  rolekeeper mapping discard {key} drops that, and changes nothing")
        if said(row, "status") == Status.REJECTED and (meant := known.role_meant(deployment, said(row, "role"))):
            output.say(f"  did you mean {meant}? rolekeeper mapping set {key} role={meant}")
    if bad:
        return ExitCode.NO
    gone = sum(not row for row in judged.values())
    if published := len(judged) - gone:
        output.say("Published as written." if published == 1 else f"All {published:,} rows are published as written.")
    if gone:
        output.say("Deleted." if gone == 1 else f"Deleted: {gone:,}.")
    return ExitCode.DONE


def said(row: Attributes, column: str) -> str:
    """One of our columns of a row, as text."""
    attribute: Any = row.get(column) or {}
    return str(next(iter(attribute.values()), ""))

"""Carrying out a verdict: for every ending in the same order, so that a crash anywhere is made good by judging again.

What is missing of the profile is made, then the state table is written, the instances are sent, the event is
published, and the row is written or deleted last: as long as it doesn't say what is in effect, somebody judges it
again.

`ConflictNotes` remember rows in conflict with a mapping: editing either of the two clears both, without waiting for
the sweep. A row notes itself beside the other mapping, in the very item that is read and written when that is
published. So it costs nothing where there is no conflict, and of two that are published at the same moment one looks
again.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from rolekeeper.aws.errors import AwsRefusalError, ConflictError, RetryableError
from rolekeeper.mappings.assess import PROFILE_RECREATED, Assessor
from rolekeeper.mappings.impact import ImpactReport
from rolekeeper.mappings.revisions import Revisions, changes
from rolekeeper.mappings.rows.columns import COLUMNS
from rolekeeper.mappings.rows.reader import fingerprint, row_of
from rolekeeper.mappings.scan import Conflicts
from rolekeeper.mappings.table import MappingTable, already_says
from rolekeeper.mappings.verdict import Ending, Refresh, RowSnapshot, Status, Verdict
from rolekeeper.model import Held, MappingKey, PublishedMapping
from rolekeeper.permissions import Roles
from rolekeeper.storage import layout
from rolekeeper.telemetry import Telemetry

# The most mappings that a row notes itself beside, and the most rows beside one mapping; the sweep looks at all.
OTHERS, ROWS = 5, 20

type Entry = dict[str, Any]

_CONTENT = tuple(column.name for column in COLUMNS)
_PUBLISHED = ("status", "reason", "revision", "role", "profile_arn", "cause", "by", "changes")


class ConflictNotes:
    """Remembers which rows are in conflict with which mappings."""

    def __init__(self, revisions: Revisions, telemetry: Telemetry) -> None:
        self._revisions = revisions
        self._telemetry = telemetry

    def write(self, row: MappingKey, conflicts: Conflicts) -> None:
        """Note a row beside the mappings that it is in conflict with.

        Raises:
            ConflictError: one of them is published anew: look whether there still is a conflict.
        """
        for conflict in conflicts.largest_first[:OTHERS]:
            stored = self._revisions.read(conflict.other.key)
            if stored.published is None or stored.published.revision != conflict.other.revision:
                raise ConflictError("OtherChanged", f"{conflict.other.key} is published anew")
            if row not in stored.in_conflict and len(stored.in_conflict) < ROWS:
                self._revisions.add_conflict(stored.published, row)

    def recheck(
        self, key: MappingKey, rows: Iterable[MappingKey], correlation_id: str, judge: Callable[[MappingKey], Verdict]
    ) -> None:
        """Judge the rows that were in conflict with a mapping, now that it changed; drop those that are so no more.

        What is wrong with one of them is no fault of the mapping's: it is logged, and the sweep comes by.

        Raises:
            RetryableError: AWS gave no answer for one of them, after all were looked at. Try again.
        """
        over: list[MappingKey] = []
        unanswered: RetryableError | None = None
        for row in sorted(rows)[:ROWS]:
            try:
                if judge(row).status not in {Status.CONFLICT, Status.WAITING}:
                    over.append(row)
            except RetryableError as error:
                unanswered = unanswered or error
            except AwsRefusalError as error:
                self._log(row, error, correlation_id)
        if over:
            try:
                self._revisions.remove_conflicts(key, over)
            except AwsRefusalError as error:
                self._log(key, error, correlation_id)
        if unanswered:
            raise unanswered

    def _log(self, row: MappingKey, error: AwsRefusalError, correlation_id: str) -> None:
        text = {"mapping": str(row), "error": str(error), "correlation_id": correlation_id}
        self._telemetry.will_retry("a conflict was not checked again", **text)


class Committer:
    """Carries out verdicts. `fan_out` has every instance that carries the row's tag reconciled, and counts them."""

    def __init__(  # noqa: PLR0913  # its collaborators, each once
        self,
        *,
        table: MappingTable,
        revisions: Revisions,
        roles: Roles,
        assessor: Assessor,
        notes: ConflictNotes,
        telemetry: Telemetry,
        fan_out: Callable[[RowSnapshot], int],
    ) -> None:
        self._table = table
        self._revisions = revisions
        self._roles = roles
        self._assessor = assessor
        self._notes = notes
        self._telemetry = telemetry
        self._fan_out = fan_out

    def commit(self, seen: RowSnapshot, verdict: Verdict) -> Verdict:
        """Carry out a verdict; returns it as it came true.

        Raises:
            ConflictError: the row, or what is stored of it, changed meanwhile: judge it again.
            AwsRefusalError: AWS gave no answer, or refused one; judging again makes good what is left.
        """
        if verdict.refresh:
            self._refresh(seen, verdict.refresh)
            seen = replace(seen, stored=replace(seen.stored, published=verdict.refresh.mapping))
        if verdict.missing and verdict.mapping and (problem := self._roles.make(verdict.mapping.spec, verdict.missing)):
            refused = self._assessor.refuse(seen, Status.REJECTED, (problem,))
            verdict = replace(refused, in_conflict=verdict.in_conflict)
        entry = self._entry(seen, verdict) if verdict.changed else None
        if entry and verdict.scan:
            self._notes.write(seen.key, verdict.scan.conflicts)
        self._store(seen, verdict, entry)
        sent = self._fan_out(seen) if _sends(verdict) else 0
        if entry:
            self._publish_event(seen, entry)
        self._write_row(seen, verdict)
        return replace(verdict, sent=sent)

    # ---- the steps ----

    def _refresh(self, seen: RowSnapshot, refresh: Refresh) -> None:
        mapping = refresh.mapping
        if refresh.missing and (problem := self._roles.make(mapping.spec, refresh.missing)):
            self._telemetry.will_retry(
                "the profile of a published mapping can't be made", mapping=str(seen.key), error=problem
            )
        entry = _entry(seen, refresh.event, "", refresh.reason, mapping) if refresh.event else None
        self._revisions.refresh(mapping, entry, seen.at)
        if entry:
            self._fan_out(seen)
        if entry and refresh.event != PROFILE_RECREATED:
            self._publish_event(seen, entry)

    def _entry(self, seen: RowSnapshot, verdict: Verdict) -> Entry:
        status = "" if verdict.status is Status.REMOVED else verdict.status.value
        return _entry(seen, f"Mapping {verdict.status}", status, verdict.reason, verdict.mapping, verdict.report)

    def _store(self, seen: RowSnapshot, verdict: Verdict, entry: Entry | None) -> None:
        mapping = verdict.mapping
        if verdict.ending is Ending.HOLD and mapping and not seen.holds(mapping):
            entry = entry or self._entry(seen, verdict)
            self._revisions.hold(Held(mapping, seen.at, seen.by), entry, seen.at)
        elif entry and mapping and verdict.ending in {Ending.PUBLISH, Ending.REMOVE, Ending.DELETE_ROW}:
            budget = verdict.report.impact.takes if verdict.report and verdict.approved else 0
            in_conflict = seen.stored.in_conflict
            self._revisions.publish(mapping, entry, seen.at, approved_budget=budget, in_conflict=in_conflict)
        elif entry and layout.fits_partition(seen.key):
            self._revisions.note(seen.key, entry, seen.at)

    def _publish_event(self, seen: RowSnapshot, entry: Entry) -> None:
        detail = {name.replace("_", "-"): entry[name] for name in _PUBLISHED}
        self._telemetry.mapping(seen.key, entry["event"], detail, correlation_id=seen.trigger.correlation_id)

    def _write_row(self, seen: RowSnapshot, verdict: Verdict) -> None:
        if verdict.ending is Ending.DELETE_ROW:
            self._table.delete(seen.key, seen.row, ("status", "held_revision", "approve", *_CONTENT))
        elif verdict.columns and verdict.mapping and not seen.row:
            self._table.put_back(row_of(verdict.mapping.spec), verdict.columns)
        elif verdict.columns and not already_says(seen.row, verdict.columns):
            fits = self._table.write(seen.key, seen.row, verdict.columns)
            if not fits:
                status = verdict.columns.status
                self._telemetry.will_retry("the row has no room for its status", mapping=str(seen.key), status=status)


def _sends(verdict: Verdict) -> bool:
    """Whether the instances with the row's tag are to be looked at: also where a crash kept them from it."""
    if verdict.ending is Ending.KEEP:
        return verdict.changed
    return verdict.ending in {Ending.PUBLISH, Ending.REMOVE, Ending.DELETE_ROW}


def _entry(  # noqa: PLR0913, PLR0917  # the columns of an entry
    seen: RowSnapshot,
    event: str,
    status: str,
    reason: str,
    mapping: PublishedMapping | None,
    report: ImpactReport | None = None,
) -> Entry:
    """A history entry; the event carries the same. With `report`, it is of a revision that isn't in effect yet."""
    entry: Entry = {
        "event": event,
        "status": status,
        "reason": reason,
        "revision": mapping.revision if mapping else 0,
        "role": mapping.spec.role if mapping else "",
        "profile_arn": mapping.profile_arn if mapping else "",
        "fingerprint": fingerprint(seen.row) if seen.row else "",
        "cause": seen.trigger.cause,
        "by": seen.by,
        "changes": changes(seen.stored.published, mapping) if report and mapping else [],
        "correlation_id": seen.trigger.correlation_id,
    }
    if report:
        entry["effect"] = report.document()
    if mapping and seen.stored.held and seen.approves(mapping):
        # The edit is whose it was when it was held; who is known now approved it.
        entry |= {"cause": "approved", "by": seen.stored.held.by, "approved_by": seen.by}
    return entry

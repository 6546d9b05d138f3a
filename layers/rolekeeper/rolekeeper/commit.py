"""Carrying out a verdict: for every ending in the same order, so that a crash anywhere is made good by judging again.

What is missing of the profile is made, then the state table is written, the instances are sent, the event is published,
and the row is written or deleted last: as long as it doesn't say what is in effect, somebody judges it again.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rolekeeper import codec
from rolekeeper.announce import Announcer
from rolekeeper.assess import PROFILE_RECREATED, Assessor
from rolekeeper.changes import changes
from rolekeeper.columns import COLUMNS
from rolekeeper.conflict_notes import ConflictNotes
from rolekeeper.impact import ImpactReport
from rolekeeper.mapping_table import MappingTable, already_says
from rolekeeper.mappings import fingerprint, row_of
from rolekeeper.model import Held, PublishedMapping
from rolekeeper.revisions import Revisions
from rolekeeper.roles import Roles
from rolekeeper.snapshot import RowSnapshot
from rolekeeper.verdicts import Ending, Refresh, Status, Verdict

type Entry = dict[str, Any]

_CONTENT = tuple(column.name for column in COLUMNS)
_PUBLISHED = ("status", "reason", "revision", "role", "profile_arn", "cause", "by", "changes")


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
        announcer: Announcer,
        fan_out: Callable[[RowSnapshot], int],
    ) -> None:
        self._table = table
        self._revisions = revisions
        self._roles = roles
        self._assessor = assessor
        self._notes = notes
        self._announcer = announcer
        self._fan_out = fan_out

    def commit(self, seen: RowSnapshot, verdict: Verdict) -> Verdict:
        """Carry out a verdict; returns it as it came true.

        Raises:
            ObserveAgainError: the row, or what is stored of it, changed meanwhile: judge it again.
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
        elif entry and codec.fits_partition(seen.key):
            self._revisions.note(seen.key, entry, seen.at)

    def _publish_event(self, seen: RowSnapshot, entry: Entry) -> None:
        detail = {name.replace("_", "-"): entry[name] for name in _PUBLISHED}
        self._announcer.mapping(seen.key, entry["event"], detail, correlation_id=seen.trigger.correlation_id)

    def _write_row(self, seen: RowSnapshot, verdict: Verdict) -> None:
        if verdict.ending is Ending.DELETE_ROW:
            self._table.delete(seen.key, seen.row, ("status", "held_revision", "approve", *_CONTENT))
        elif verdict.columns and verdict.mapping and not seen.row:
            self._table.put_back(row_of(verdict.mapping.spec), verdict.columns)
        elif verdict.columns and not already_says(seen.row, verdict.columns):
            fits = self._table.write(seen.key, seen.row, verdict.columns)
            if not fits:
                status = verdict.columns.status
                self._announcer.failed("the row has no room for its status", mapping=str(seen.key), status=status)


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

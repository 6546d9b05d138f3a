"""Publishing mapping rows: load, assess, commit. Level-triggered, as everything here.

A message only names a row. The row and what is stored of it are read again, and something is written only where they
differ; so duplicates, reordering and a sweep at the same time do no harm.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from rolekeeper.aws import Ec2, WorkQueue
from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, ConflictError, CorruptItemError, RetryableError
from rolekeeper.mappings.assess import Assessor
from rolekeeper.mappings.commit import Committer, ConflictNotes
from rolekeeper.mappings.revisions import Revisions
from rolekeeper.mappings.rows.cells import HomeAccount
from rolekeeper.mappings.rows.reader import ParsedRow, read_row
from rolekeeper.mappings.scan import Scan
from rolekeeper.mappings.table import Columns, MappingTable, already_says, number_in
from rolekeeper.mappings.verdict import RowSnapshot, Status, Trigger, Verdict, denial, sentence, waiting
from rolekeeper.model import MappingKey
from rolekeeper.permissions import Roles
from rolekeeper.telemetry import Telemetry

# How often a row is judged again when it changes under the judge's hands, before the stream or the sweep has to.
ATTEMPTS = 3
_NO_ROW = ParsedRow(None)


class Publisher:
    """Judges rows and carries the verdicts out. Made anew for each invocation, as its assessor is."""

    def __init__(  # noqa: PLR0913  # its collaborators, each once
        self,
        *,
        home: HomeAccount,
        table: MappingTable,
        revisions: Revisions,
        roles: Roles,
        assessor: Assessor,
        ec2: Ec2,
        queue: WorkQueue,
        telemetry: Telemetry,
        now: Callable[[], datetime],
    ) -> None:
        self._home = home
        self._table = table
        self._revisions = revisions
        self._assessor = assessor
        self._ec2 = ec2
        self._queue = queue
        self._telemetry = telemetry
        self._now = now
        self._notes = ConflictNotes(revisions, telemetry)
        self._committer = Committer(
            table=table,
            revisions=revisions,
            roles=roles,
            assessor=assessor,
            notes=self._notes,
            telemetry=telemetry,
            fan_out=self._fan_out,
        )

    def publish(self, key: MappingKey, correlation_id: str, by: str = "") -> Verdict:
        """Judge a row that a person changed or deleted.

        Args:
            key: the mapping.
            correlation_id: the stream record's.
            by: who did it, where the stream knows it; the row's `edited_by` goes before.

        Raises:
            RetryableError: AWS is throttled or has a fault; the row says `Waiting`. Try again.
            CorruptItemError: an item of the state table isn't what we wrote; the row says `Waiting`, and what to do.
        """
        return self._recheck_conflicts(self._judge(key, Trigger("the row changed", correlation_id, by)), correlation_id)

    def recheck(self, key: MappingKey, correlation_id: str, scan: Scan | None = None, *, seen: bool = False) -> Verdict:
        """Judge a row, or a published mapping whose row may be gone, although nobody changed it: for the sweep.

        Also suspends a published mapping whose role can't be used any more, and resumes it when it can. Writes and
        sends nothing when all is as the row says.

        Args:
            key: the mapping.
            correlation_id: the sweep's.
            scan: what the sweep itself counted for the published mapping while it paged through the fleet. None: the
                instances that carry the tag are asked for here.
            seen: whether the sweep just saw the row. If it is gone by now, its deletion is left to the stream, and to
                the next sweep: rows that go while they are read may be those of a table that is being lost.

        Raises:
            RetryableError: AWS is throttled or has a fault. The next sweep tries again.
            CorruptItemError: as `publish`.
        """
        verdict = self._judge(key, Trigger("swept", correlation_id, recheck=True, scan=scan, seen=seen))
        return self._recheck_conflicts(verdict, correlation_id) if verdict.changed else verdict

    def load(self, key: MappingKey, trigger: Trigger) -> RowSnapshot:
        """Read what is stored of a mapping, and then its row.

        So the row is at least as new. The other way round, a slow judge could take an old row for an edit of a newer
        revision. The revision number is the lock.

        Raises:
            ConflictError: the row is gone, and what is stored is no longer what it was before.
        """
        stored, row = self._revisions.read(key), self._table.get_row(key)
        if row and number_in(row, "held_revision") > stored.last:
            # Held since we read, and the row put back perhaps; or somebody wrote that number, which means nothing.
            stored, row = self._revisions.read(key), self._table.get_row(key)
        if not row and self._revisions.read(key) != stored:
            # Another judge may have deleted the row, as approved: to miss that would be to put it back.
            raise ConflictError("RowGone", f"{key} went while it was looked at")
        parsed = read_row(row, self._home) if row else _NO_ROW
        return RowSnapshot(key, row or {}, parsed, stored, self._now(), trigger)

    # ---- how ----

    def _judge(self, key: MappingKey, trigger: Trigger) -> Verdict:
        try:
            for _ in range(ATTEMPTS):
                # Gone, edited or judged by another while we looked: look again.
                with suppress(ConflictError):
                    return self._once(self.load(key, trigger))
        except AccessDeniedError as error:
            # Trying at once won't help, and the shard mustn't stand still: the alarm rings, and the sweep comes back.
            self._telemetry.denied(error, correlation_id=trigger.correlation_id)
            return Verdict(key, Status.WAITING, reason=denial(error))
        except CorruptItemError as error:
            self._show_damage(key, error)
            raise
        raise RetryableError("RowChanging", f"{key} keeps changing while it is checked")

    def _once(self, seen: RowSnapshot) -> Verdict:
        try:
            return self._committer.commit(seen, self._assessor.assess(seen))
        except (RetryableError, AccessDeniedError) as error:
            verdict = self._wait(seen, error)
            if isinstance(error, RetryableError):
                raise
            self._telemetry.denied(error, correlation_id=seen.trigger.correlation_id)
            return verdict

    def _wait(self, seen: RowSnapshot, error: RetryableError | AccessDeniedError) -> Verdict:
        """Say in the row what it waits for."""
        verdict = waiting(seen, error)
        try:
            return self._committer.commit(seen, verdict)
        except AwsRefusalError as other:
            self._telemetry.will_retry("the row's status was not written", mapping=str(seen.key), error=str(other))
            return verdict

    def _show_damage(self, key: MappingKey, error: CorruptItemError) -> None:
        """Say in the row which item can't be read; which revision is in effect isn't known, so that column stays."""
        row = self._table.get_row(key)
        if row is None:
            return
        reason = (
            f"an item of the state table can't be read ({error.message}); delete that item, and the next sweep "
            f"publishes its mapping anew"
        )
        revision = number_in(row, "status_revision")
        columns = Columns(Status.WAITING.value, sentence([reason]), revision, held=None)
        if not already_says(row, columns):
            self._table.write(key, row, columns)

    def _recheck_conflicts(self, verdict: Verdict, correlation_id: str) -> Verdict:
        """Look again at the rows that were in conflict with one that was judged; they free no others in turn."""
        if verdict.in_conflict:
            trigger = Trigger(f"{verdict.key} changed, which it was in conflict with", correlation_id, recheck=True)
            self._notes.recheck(verdict.key, verdict.in_conflict, correlation_id, lambda row: self._judge(row, trigger))
        return verdict

    def _fan_out(self, seen: RowSnapshot) -> int:
        """Have every instance that carries the tag reconciled; memory holds one page."""
        keys = (instance.key for page in self._ec2.tagged(seen.key) for instance in page)
        return self._queue.send(keys, f"mapping changed: {seen.key}", seen.trigger.correlation_id)

"""Publishing mapping rows: load, assess, commit. Level-triggered: duplicates, reordering and a sweep do no harm.

A row in conflict with a published mapping is noted in that mapping's item. Publishing reads and writes that item, so an
edit of either row clears both without waiting for the sweep; and if two are published at once, one is judged again.
"""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, ConflictError, CorruptItemError, RetryableError
from rolekeeper.mappings.account_records import AccountRecords, Scans, counted_edit
from rolekeeper.mappings.account_runs import AccountRuns, AssessmentJob, Pending
from rolekeeper.mappings.accounts import AllTargets
from rolekeeper.mappings.assess import Assessor, waiting
from rolekeeper.mappings.fan_out import FanOut, Sender
from rolekeeper.mappings.impact import Impact, Scan
from rolekeeper.mappings.revisions import ROWS, Entry, Revisions
from rolekeeper.mappings.rows import COLUMNS, FULL, HomeAccount, read_row, row_of, size_of
from rolekeeper.mappings.snapshot import RowSnapshot, Trigger, beyond
from rolekeeper.mappings.table import MappingTable, if_as_read, number_in
from rolekeeper.mappings.verdict import PROFILE_RECREATED, Ending, Refresh, Status, Verdict
from rolekeeper.model.mapping import MappingKey, PublishedMapping
from rolekeeper.model.problem import ReasonCode
from rolekeeper.model.waves import Progress
from rolekeeper.storage import layout
from rolekeeper.storage.state import Write
from rolekeeper.telemetry import Telemetry

# How often a row that changes while it is judged is judged again, before that is left to the stream or the sweep.
ATTEMPTS = 3
# The most mappings at which a row's conflict is noted; the sweep sees all.
OTHERS = 5
# How long after its wave was to end a rollout counts as forgotten.
OVERDUE = timedelta(minutes=5)
# The endings that put another revision, or a tombstone, in the place of what is published.
_PUBLISHES = frozenset({Ending.PUBLISH, Ending.REMOVE})
# What must be as it was read where a row is deleted.
_AS_HELD = ("status", "held_revision", *(column.name for column in COLUMNS))
# What an event carries of a history entry.
_EVENT_DETAIL = ("status", "reason", "revision", "role", "profile_arn", "cause", "claimed_by", "approved_by", "changes")


@dataclass(frozen=True)
class Publisher:
    """Judges rows and carries the verdicts out. Make a new one for each invocation, as of its assessor.

    The records of other accounts are checked again when a target of theirs is swept.
    """

    home: HomeAccount
    table: MappingTable
    revisions: Revisions
    assessor: Assessor
    sender: Sender
    runs: AccountRuns
    accounts: AccountRecords
    telemetry: Telemetry
    now: Callable[[], datetime]

    @property
    def targets(self) -> AllTargets:
        return self.assessor.targets

    def publish(self, key: MappingKey, correlation_id: str, claimed_by: str = "", made_by: str = "") -> Verdict:
        """Judge a row that was changed, by whom if the stream knows; or deleted, whose editor was `claimed_by` the row.

        The row says `Waiting`, and why, if this raises a RetryableError, or a CorruptItemError of the state table.
        """
        cause = f"the row was changed by {made_by}" if made_by else "the row changed"
        return self._assess_all(key, Trigger(cause, correlation_id, claimed_by))

    def recheck(
        self,
        key: MappingKey,
        correlation_id: str,
        scan: Scan | None = None,
        *,
        listed: bool = False,
        ended: bool = False,
    ) -> Verdict:
        """Judge a row, or a published mapping whose row may be gone, without an edit; raises as `publish`.

        `scan` is what the sweep counted for the published mapping; without one this counts. A row that is
        `listed` and gone by now is left to the next sweep: the table may be about to be lost. `ended`: the
        published mapping has just expired.
        """
        trigger = Trigger("swept", correlation_id, recheck=True, scan=scan, row_listed=listed, ended=ended)
        return self._assess_all(key, trigger)

    def approved(self, key: MappingKey, by: str, correlation_id: str) -> Verdict:
        """Judge a row once a person, by their aws:userid, wrote an approval; raises as `publish`.

        Who signed is noted first: should this fail, the next sweep finds the approval.
        """
        try:
            self.revisions.note_signer(key, by)
        except ConflictError:
            self.telemetry.dropped(f"nothing of {key} is held that {by!r:.300} could approve", correlation_id)
            return Verdict(Status.REMOVED)
        return self._assess_all(key, Trigger("an approval was signed", correlation_id))

    def finish(self, batch: str) -> dict[MappingKey, Verdict]:
        """Judge a batch's rows by what was found in their accounts; raises as `publish`, once each was judged."""
        verdicts, failed = dict[MappingKey, Verdict](), list[AwsRefusalError]()
        for job in self.runs.jobs(batch):
            try:
                verdicts[job.key] = self._assess_all(job.key, job.trigger, job)
            except (RetryableError, CorruptItemError) as error:
                failed.append(error)
        for first in sorted(failed, key=lambda refusal: isinstance(refusal, CorruptItemError)):
            raise first  # one that is retried, if there is one
        return verdicts

    def listed(self, scans: Iterable[MappingKey]) -> tuple[set[MappingKey], set[MappingKey]]:
        """Return the keys of all rows, and those of what is published, or was when the `scans` of a sweep saw it."""
        return set(chain.from_iterable(self.table.keys())), {*self.revisions.keys(), *scans}

    def unchanged(self, keys: Sequence[MappingKey], scans: Scans) -> dict[MappingKey, Verdict]:
        """Judge rows that are published as they are, read together; returns those for which nothing is to be done.

        Any other is to be judged by itself, by new reads: nothing is written here.
        """
        stored, rows = self.revisions.read_all(keys), self.table.get_rows(keys)
        quiet: list[RowSnapshot] = []
        for key in (key for key in keys if key in stored and key in rows):
            trigger = Trigger("swept", "", recheck=True, scan=scans.get(key, Scan()))
            parsed = read_row(rows[key], self.home)
            snapshot = RowSnapshot(key, rows[key], parsed, stored=stored[key], at=self.now(), trigger=trigger)
            more = snapshot.stored.unsent or snapshot.stored.progress
            quiet += [snapshot] if snapshot.is_published and not more else []
        home, specs = self.targets.home.account, [row.parsed.spec for row in quiet if row.parsed.spec]
        asked = [spec for spec in specs if home in self.targets.in_scope(spec)]
        refused = self.targets.own.roles.ask_ahead(asked, self.targets.map_concurrently)
        verdicts = {snapshot.key: self._if_unchanged(snapshot) for snapshot in quiet if snapshot.key not in refused}
        return {key: verdict for key, verdict in verdicts.items() if verdict}

    def _if_unchanged(self, snapshot: RowSnapshot) -> Verdict | None:
        """Return the verdict on a row that is published as it is, if that leaves nothing to do."""
        with suppress(AwsRefusalError):
            if self.targets.several:
                snapshot = replace(snapshot, stored=self.revisions.with_records(snapshot.key, snapshot.stored))
            if self.runs.are_needed(snapshot):
                return None
            verdict, before = self.assessor.assess(snapshot), snapshot.stored.records
            records = {at: record for at, record in (verdict.records or {}).items() if at != snapshot.stored.home}
            nothing = (
                verdict.ending is Ending.KEEP
                and not (verdict.refresh or verdict.missing or verdict.ends_soon)
                and verdict.is_in(snapshot.row)
                and all(record.is_stored(before.get(account)) for account, record in records.items())
            )
            return verdict if nothing else None
        return None

    def _assess_all(self, key: MappingKey, trigger: Trigger, job: AssessmentJob | None = None) -> Verdict:
        """Judge a row, and those that were in conflict with it if that may be over."""
        verdict = self._assess(key, trigger, job)
        return replace(verdict, freed=self._recheck_conflicting(key, verdict, trigger))

    def _assess(self, key: MappingKey, trigger: Trigger, job: AssessmentJob | None = None) -> Verdict:
        """Load, assess, commit; again if another actor wrote meanwhile."""
        findings = self.runs.findings.read(job.run) if job else {}
        try:
            for _ in range(ATTEMPTS):
                with suppress(ConflictError):
                    snapshot = self._load(key, trigger)
                    if held := snapshot.taken_back:
                        snapshot = self._discard(snapshot, held)
                    if (progress := snapshot.stored.progress) and progress.resumes(snapshot.parsed.resume):
                        snapshot = self._resume(snapshot, progress)
                    try:
                        found = self.runs.answers(snapshot, job, findings)
                        if isinstance(found, Pending):
                            return self._await(snapshot, found)
                        verdict = self.assessor.assess(snapshot, found)
                        if trigger.scan and verdict.ending is Ending.KEEP and not verdict.only_reason(snapshot.row):
                            # What the sweep counted may be outdated: mappings were edited, or expired, since.
                            trigger = replace(trigger, scan=None)
                            continue
                        return self._commit(snapshot, verdict)
                    except (RetryableError, AccessDeniedError) as error:
                        self._show_waiting(snapshot, error)
                        raise
        except AccessDeniedError as error:
            # A retry won't help, and would block the shard: an alarm rings, and the next sweep tries again.
            self.telemetry.denied(error, correlation_id=trigger.correlation_id)
            return Verdict(Status.WAITING)
        except CorruptItemError as error:
            self._show_damage(key, error)
            raise
        raise RetryableError("RowChanging", f"{key} keeps changing while it is checked")

    def _await(self, snapshot: RowSnapshot, pending: Pending) -> Verdict:
        """Have accounts asked, once the row says so."""
        if pending.attempt is not None:
            self._write_row(snapshot, pending.verdict)
            self.runs.start(snapshot, pending.accounts, pending.attempt)
        return pending.verdict

    def _load(self, key: MappingKey, trigger: Trigger) -> RowSnapshot:
        """Read what is stored of a mapping first and its row second, so the row is at least as new.

        In the other order a slow invocation could take an old row for an edit of a newer revision.
        """
        stored, row = self.revisions.read(key), self.table.get_row(key)
        if row and number_in(row, "held_revision") > stored.last:
            # It was held after the first read; or a person wrote that number, which means nothing.
            stored, row = self.revisions.read(key), self.table.get_row(key)
        if not row and self.revisions.read(key) != stored:
            # Another invocation may have deleted the row, as approved: to overlook that would put the row back.
            raise ConflictError("RowGone", f"{key} went while it was looked at")
        row = row or {}
        parsed = read_row(row, self.home)
        # A deletion also ends the records of a deployment that was a hub: it may become one again.
        if self.targets.several or not row or "held_revision" in row:
            read, stored = stored, self.revisions.with_records(key, stored)
            if stored.overtaken and self.revisions.read(key) != read:
                raise ConflictError("PublishedAnew", f"{key} was published while it was looked at")
        approvals = self.revisions.approvals(stored.held)
        return RowSnapshot(key, row, parsed, stored=stored, at=self.now(), trigger=trigger, approvals=approvals)

    def _discard(self, snapshot: RowSnapshot, held: PublishedMapping) -> RowSnapshot:
        """Note that what is held was taken back; returns the snapshot without it."""
        without, entry = snapshot.discarded(held)
        self.revisions.discard(held, entry, snapshot.at)
        self._publish_event(snapshot, entry)
        return without

    def _resume(self, snapshot: RowSnapshot, halted: Progress) -> RowSnapshot:
        """Have a halted rollout go on, as a person wrote; returns the snapshot with its wave open again."""
        progress = halted.opened(halted.wave, snapshot.at)
        self.revisions.roll(snapshot.key, halted, progress, self.revisions.watching(snapshot.key, snapshot.at))
        return replace(snapshot, stored=replace(snapshot.stored, progress=progress))

    def _show_waiting(self, snapshot: RowSnapshot, error: AwsRefusalError) -> None:
        """Say in the row that AWS gave no answer, or refused one."""
        try:
            self._write_row(snapshot, waiting(snapshot, error))
        except AwsRefusalError as other:
            self.telemetry.will_retry("the row's status was not written", mapping=str(snapshot.key), error=str(other))

    def _show_damage(self, key: MappingKey, error: CorruptItemError) -> None:
        """Say in the row which item can't be read. Its revision in effect isn't known, so that column stays."""
        row = self.table.get_row(key) or {}
        why = ReasonCode.DAMAGED_ITEM(error=error.message)
        verdict = Verdict(Status.WAITING, (why,), number_in(row, "status_revision"), held=None)
        if row and not verdict.is_in(row):
            self.table.write(key, row, verdict.columns, gone=verdict.gone(row))

    def _commit(self, snapshot: RowSnapshot, verdict: Verdict) -> Verdict:
        """Carry out a verdict, in an order in which judging the row again repairs a crash anywhere.

        The row is written or deleted last: until it says what is in effect, the stream or the sweep judges it again. A
        ConflictError says that the row, or what is stored of it, changed meanwhile: judge it again at once.
        """
        if verdict.refresh:
            self._refresh(snapshot, verdict.refresh)
            snapshot = snapshot.refreshed(verdict.refresh)
        verdict = self._with_profile(snapshot, verdict)
        changed = self._is_news(snapshot, verdict)
        entry = snapshot.entry_for(verdict) if changed else None
        if entry and verdict.scan:
            for conflict in verdict.scan.conflicts.largest_first[:OTHERS]:
                self.revisions.note_conflict(snapshot.key, conflict.other, elsewhere=conflict.elsewhere)
        self._store(snapshot, verdict, entry)
        if renews := self._renews(snapshot, verdict):
            self.revisions.note_unsent(renews)
        renewed = self.accounts.write_all(snapshot.stored, verdict.records or {})
        self._send(snapshot, verdict, changed=changed, renewed=renewed)
        if renews:
            self.revisions.note_sent(renews)
        if entry:
            self._publish_event(snapshot, entry)
        if verdict.ends_soon and verdict.mapping:
            ends = snapshot.entry("Mapping Expiring", verdict.mapping, verdict.ends_soon)
            self.revisions.report_end(verdict.mapping, ends, snapshot.at)
            self._publish_event(snapshot, ends)
        self._write_row(snapshot, verdict)
        progress, trigger = snapshot.stored.progress, snapshot.trigger
        if progress and not progress.halted and snapshot.at > progress.next_at + OVERDUE:
            # What looks at it each minute was lost.
            self.revisions.store.write(self.revisions.watching(snapshot.key, snapshot.at))
        # A reason alone ends no conflict.
        over = trigger.ended or not trigger.recheck or (changed and not verdict.only_reason(snapshot.row))
        return replace(verdict, changed=changed, in_conflict=snapshot.stored.in_conflict if over else frozenset())

    def _is_news(self, snapshot: RowSnapshot, verdict: Verdict) -> bool:
        """Return whether the row still says something else; and the history too, if the row may have no room."""
        if verdict.ending in _PUBLISHES:
            # The tombstone of a deletion that was left unfinished is published already.
            return verdict.mapping is not None
        if verdict.ending is Ending.NOTHING or verdict.status is Status.WAITING or not verdict.is_news(snapshot.row):
            return False
        if size_of(snapshot.row) <= FULL:
            return True
        if not layout.is_partition(layout.mapping_pk(snapshot.key)):
            # It has no history either.
            return not snapshot.trigger.recheck
        last = self.revisions.history(snapshot.key, limit=1)
        return not (last and verdict.is_shown(last[0], snapshot.row))

    def _refresh(self, snapshot: RowSnapshot, refresh: Refresh) -> None:
        mapping, entry = refresh.mapping, refresh.entry
        if refresh.missing and (problem := self.targets.own.roles.make(mapping.spec, refresh.missing).problem):
            self.telemetry.will_retry(
                "an instance profile can't be made", mapping=str(snapshot.key), error=str(problem)
            )
        self.revisions.refresh(mapping, entry, snapshot.at)
        if entry and entry["event"] != PROFILE_RECREATED:
            self._publish_event(snapshot, entry)

    def _with_profile(self, snapshot: RowSnapshot, verdict: Verdict) -> Verdict:
        """Make what is missing of the profile; returns the verdict with its id, or why it can't be made."""
        mapping = verdict.mapping
        if not (verdict.missing and mapping):
            return verdict
        made = self.targets.own.roles.make(mapping.spec, verdict.missing)
        if made.problem:
            return self.assessor.refused(snapshot, made.problem)
        return replace(verdict, mapping=mapping.with_profile_id(made.profile_id))

    def _store(self, snapshot: RowSnapshot, verdict: Verdict, entry: Entry | None) -> None:
        mapping = verdict.mapping
        if verdict.ending is Ending.HOLD and mapping and not snapshot.holds(mapping):
            entry = (entry or snapshot.entry_for(verdict)) | {"claimed_by": snapshot.editor_of(mapping)}
            assert verdict.shown is not None  # it is held
            self.revisions.hold(replace(verdict.shown, by=entry["claimed_by"]), entry, snapshot.at)
        elif entry and mapping and verdict.ending in _PUBLISHES:
            self._publish(snapshot, verdict, mapping, entry=entry)
        elif entry:
            self.revisions.note(snapshot.key, entry, snapshot.at)

    def _renews(self, snapshot: RowSnapshot, verdict: Verdict) -> PublishedMapping | None:
        """Return what stays published if records of other accounts change: a crash leaves their instances unsent."""
        stored = snapshot.stored
        if stored.unsent or verdict.ending in _PUBLISHES:
            return None
        records = {account: record for account, record in (verdict.records or {}).items() if account != stored.home}
        renewed = any(record.matters(stored.records.get(account)) for account, record in records.items())
        return stored.published if renewed else None

    def _publish(self, snapshot: RowSnapshot, verdict: Verdict, mapping: PublishedMapping, *, entry: Entry) -> None:
        impact, records = verdict.impact or Impact(), verdict.records or {}
        approved, uncounted, unseen = verdict.approval, impact.changes, verdict.assumed.changes
        if back := (snapshot.published and snapshot.published.former) is not None and snapshot.goes_back:
            uncounted = 0
        if approved:
            uncounted = beyond(approved, impact, verdict.assumed)
            unseen = max(0, min(unseen, approved.changes - impact.changes + unseen))
        own, also = records.get(snapshot.stored.home), list[Write]()
        if counts := counted_edit(snapshot.stored, impact, uncounted, now=self.now()):
            also.append(self.revisions.store.update(layout.EDITS, counts))
        if verdict.progress:
            also += self.revisions.rolling(mapping.key, verdict.progress, snapshot.at)
        elif snapshot.stored.progress:
            also.append(self.revisions.taken_back(mapping.key))
        self.revisions.publish(
            mapping,
            entry,
            snapshot.at,
            budget=impact.takes if approved or back else 0,
            unseen=unseen,
            approved=approved is not None,
            accounts=records,
            blocks=snapshot.stored.in_conflict,
            held=snapshot.holds(mapping),
            regions=own.counts if own else {},
            also=also,
        )

    def _send(self, snapshot: RowSnapshot, verdict: Verdict, *, changed: bool, renewed: AbstractSet[str]) -> None:
        """Send the instances that need a reconcile; `renewed` are the accounts whose records changed."""
        # After a crash the instances of what was published before may still be unsent, whatever the verdict is now.
        unsent = verdict.mapping if verdict.ending in _PUBLISHES else None
        unsent = unsent or (snapshot.stored.published if snapshot.stored.unsent else None)
        # A reason that only counts the accounts in which it is in effect changes nothing for instances.
        only_counts = self.targets.several and verdict.only_reason(snapshot.row)
        ended = snapshot.trigger.ended or (changed and verdict.ending is Ending.KEEP and not only_counts)
        if unsent or ended:
            accounts = {snapshot.stored.home, *(verdict.records or {})}
            self._fan_out(snapshot, unsent or snapshot.stored.published, accounts)
        elif renewed:
            self._fan_out(snapshot, snapshot.stored.published, renewed)
        if unsent:
            self.revisions.note_sent(unsent)

    def _fan_out(self, snapshot: RowSnapshot, published: PublishedMapping | None, accounts: AbstractSet[str]) -> None:
        """Send a mapping's instances in these accounts, once per change."""
        correlation_id = snapshot.trigger.correlation_id
        asked = [one.target for one in self.targets.all if one.target.account in accounts]
        which = (published.revision, published.suspended_because) if published else ()
        whom = "" if snapshot.stored.home in accounts else f" {sorted(accounts)}"
        name = f"{correlation_id} {snapshot.key} {which}{whom}"
        self.sender.begin(FanOut.to(snapshot.key, asked), correlation_id, name)

    def _publish_event(self, snapshot: RowSnapshot, entry: Entry) -> None:
        detail = {
            name.replace("_", "-"): entry[name] for name in (*_EVENT_DETAIL, "details", "effect") if name in entry
        }
        self.telemetry.mapping(snapshot.key, entry["event"], detail, correlation_id=snapshot.trigger.correlation_id)

    def _write_row(self, snapshot: RowSnapshot, verdict: Verdict) -> None:
        key, row = snapshot.key, snapshot.row
        if verdict.ending is Ending.NOTHING:
            return
        if verdict.ending is Ending.REMOVE:
            if row:
                self.table.delete(key, if_as_read(row, _AS_HELD))
        elif verdict.mapping and not row:
            self.table.put({**row_of(verdict.mapping.spec), **layout.to_attributes(verdict.columns)})
        elif not verdict.is_in(row) and not self.table.write(key, row, verdict.columns, gone=verdict.gone(row)):
            status = verdict.status.value
            self.telemetry.will_retry("the row has no room for its status", mapping=str(key), status=status)

    def _recheck_conflicting(self, key: MappingKey, verdict: Verdict, by: Trigger) -> dict[MappingKey, Verdict]:
        """Judge again the rows that were in conflict with one that was judged, and return those that no longer are.

        A refusal for one of them is logged and left to the sweep; that AWS gave no answer is raised at the end.
        """
        cause = f"re-checked because {key}, which it conflicted with, changed"
        trigger = Trigger(cause, by.correlation_id, recheck=True)
        over: dict[MappingKey, Verdict] = {}
        refused: list[tuple[MappingKey, AwsRefusalError]] = []
        for row in sorted(verdict.in_conflict)[:ROWS]:
            try:
                if (again := self._assess(row, trigger)).status not in {Status.CONFLICT, Status.WAITING}:
                    over[row] = again
            except AwsRefusalError as error:
                refused.append((row, error))
        unanswered = next((error for _, error in refused if isinstance(error, RetryableError)), None)
        try:
            if over:
                self.revisions.remove_conflicts(key, over)
        except AwsRefusalError as error:
            refused.append((key, error))
        for row, refusal in refused:
            text = {"mapping": str(row), "error": str(refusal), "correlation_id": by.correlation_id}
            self.telemetry.will_retry("a conflict was not checked again", **text)
        if unanswered:
            raise unanswered
        return over

"""The records of accounts: what is published for each, checked when a target of it is swept, and written.

Level-triggered as publishing is: a record that is missing or outdated is written by the next sweep of its account.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from rolekeeper.aws.errors import AwsRefusalError, ConflictError, RetryableError, TransactionCancelledError
from rolekeeper.instances.retry import wait_seconds
from rolekeeper.instances.window import counted_anew, counting, locked
from rolekeeper.mappings.accounts import AssessmentContext, Records, TargetScope
from rolekeeper.mappings.assess import Assessor
from rolekeeper.mappings.fan_out import FanOut, Sender
from rolekeeper.mappings.impact import Impact, Scan
from rolekeeper.mappings.revisions import AccountRecord, StoredMapping
from rolekeeper.mappings.verdict import Late, Status, Verdict
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import Control, MappingKey, PublishedMapping
from rolekeeper.permissions.roles import Roles
from rolekeeper.storage import Update, layout
from rolekeeper.storage.state import Write
from rolekeeper.telemetry import Telemetry

# How often a mapping that changes while it is checked is checked: the sweeps of all accounts may publish it at once.
ATTEMPTS = 10

type Scans = Mapping[MappingKey, Scan]
"""What a sweep counted for each mapping that governs something."""


@dataclass(frozen=True)
class AccountRecords:
    """Writes what is published for each account; for the deployment's own a publication does."""

    assessor: Assessor
    telemetry: Telemetry

    def write_all(self, stored: StoredMapping, records: Records) -> set[str]:
        """Write other accounts' records that aren't as stored; returns those whose instances need a reconcile."""

        def write(account: str) -> bool | AwsRefusalError:
            record, before = records[account], stored.records.get(account)
            try:
                record = self.made(self.assessor.targets.accounts.get(account), record, stored.control)
            except AwsRefusalError as error:
                return error
            return self.write(account, record, before)

        changed: set[str] = set()
        others = [account for account in records if account != stored.home]
        for account, result in zip(others, self.assessor.targets.map_concurrently(write, others), strict=True):
            if isinstance(result, AwsRefusalError):
                text = {"mapping": str(records[account].mapping.key), "account": account, "error": str(result)}
                self.telemetry.will_retry("a mapping isn't published in an account, whose sweep tries again", **text)
            elif result:
                changed.add(account)
        return changed

    def write(
        self, account: str, record: AccountRecord, before: AccountRecord | None, counts: Iterable[Write] = ()
    ) -> bool:
        """Write a record unless it is stored; returns whether instances need a reconcile."""
        if before is None or before.content != record.content:
            self.assessor.revisions.write(account, record, *counts)
        return record.matters(before)

    def made(self, roles: Roles | None, record: AccountRecord, control: Control) -> AccountRecord:
        """Make a record's profile, if that is missing; while no change may be made it stays missing."""
        if roles is None or not record.missing or control.withholds(self.assessor.mode):
            return record
        made = roles.make(record.mapping.spec, record.missing)
        mapping = record.mapping.with_profile_id(made.profile_id).suspended_for(made.problem)
        return replace(record, mapping=mapping, missing="")


@dataclass(frozen=True)
class RecordChecks:
    """The checks of mappings in a `target` that is swept, but the deployment's own, whose row's check does the same.

    Unless they are `thorough`, IAM isn't asked about records that govern nothing there.
    """

    target: Target
    thorough: Callable[[], bool]
    records: AccountRecords
    assessor: Assessor
    sender: Sender
    now: Callable[[], datetime]

    def listed(self, scans: Iterable[MappingKey]) -> tuple[set[MappingKey], set[MappingKey]]:
        """Return the mappings with a row, and those that are published: without reading rows they are the same."""
        published = {*self.assessor.revisions.keys(), *scans}
        return published, published

    def recheck(
        self, key: MappingKey, correlation_id: str, scan: Scan | None = None, *, listed: bool = True
    ) -> Verdict:
        """Check a mapping: whether its role can be used there, and how much it governs.

        This writes a record that is missing or outdated, and sends the account's instances then. `scan` is what the
        sweep counted there; without one this counts. If the target gives no answer (AwsRefusalError), its record stays
        as it was.
        """
        del listed  # it reads no row
        one, target = self.assessor.targets.of(self.target), self.target
        for attempt in range(ATTEMPTS):
            if attempt:
                self.assessor.revisions.store.sleep(wait_seconds(attempt - 1))
            # A new revision was published during the check, or another account's sweep wrote: check again.
            with suppress(ConflictError, TransactionCancelledError):
                stored = self.assessor.revisions.read(key, target.account)
                quiet = scan is not None and scan.counts == (0, 0) and not self.thorough()
                if known := self._unasked(stored, one, quiet=quiet):
                    return known
                before, late = stored.records.get(target.account), self.assessor.late(stored, target, self.now())
                published = stored.published
                if late and late.held:
                    # The row's own check says so; what is in effect there stays, and is still kept usable.
                    published, late = before.mapping if before else None, None
                if published is None:
                    return self._in_effect(stored, one, None)
                record = late.record if late else self._record_in(stored, one, scan, published=published)
                record = self.records.made(one.roles, record, stored.control)
                counts = self._counts_late(stored, late) if late else ()
                changed = self._renew(record, before, one, correlation_id=correlation_id, counts=counts)
                return replace(self._in_effect(stored, one, record), changed=changed)
        raise RetryableError("MappingChanging", f"{key} keeps changing while it is checked")

    def unchanged(self, keys: Sequence[MappingKey], scans: Scans) -> dict[MappingKey, Verdict]:
        """Check mappings that are read together; returns those whose records stay as they are.

        Any other is to be checked by itself (`recheck`).
        """
        one, target, thorough = self.assessor.targets.of(self.target), self.target, self.thorough()
        stored = self.assessor.revisions.in_account(keys, target.account, again=thorough)
        quiet = {key for key in stored if not thorough and scans.get(key, Scan()).counts == (0, 0)}
        found = {key: self._unasked(mapping, one, quiet=key in quiet) for key, mapping in stored.items()}
        asked = {key: stored[key].published for key, known in found.items() if known is None}
        specs = [mapping.spec for mapping in asked.values() if mapping and self._is_in_scope(mapping, one)]
        refused = one.roles.ask_ahead(specs, self.assessor.targets.map_concurrently)
        for key in asked.keys() - refused:
            record = self._record_in(stored[key], one, scans.get(key, Scan()), published=stored[key].published)
            if record.is_stored(stored[key].records.get(target.account)):
                found[key] = self._in_effect(stored[key], one, record)
        return {key: known for key, known in found.items() if known}

    def _in_effect(self, stored: StoredMapping, one: TargetScope, record: AccountRecord | None) -> Verdict:
        """Return whether a mapping is in effect in a target by this record; if it isn't, the revision is 0."""
        published = stored.published
        usable = record is not None and not record.mapping.suspended_because
        revision = published.revision if published and usable and self._is_in_scope(published, one) else 0
        return Verdict(Status.PUBLISHED, revision=revision)

    def _unasked(self, stored: StoredMapping, one: TargetScope, *, quiet: bool) -> Verdict | None:
        """Return the check of a mapping in another target, where it is known without IAM."""
        published, before = stored.published, stored.records.get(one.target.account)
        nothing = Verdict(Status.PUBLISHED)
        # Its row was never published, or its item is lost, and that must detach nothing.
        if published is None:
            return nothing
        # The deployment's own sweep publishes it again, under a higher number.
        if before and before.mapping.revision > published.revision:
            return nothing
        in_scope = self._is_in_scope(published, one)
        if not (in_scope or before):
            return nothing
        allowed = self.assessor.targets.allows(one.target.account, published.spec)
        if before and quiet and before.needs_nothing(published, one.target.region, in_scope=allowed):
            return self._in_effect(stored, one, before)
        return None

    def _record_in(
        self, stored: StoredMapping, one: TargetScope, scan: Scan | None, *, published: PublishedMapping | None
    ) -> AccountRecord:
        """Return the record that what is `published` should have in a target's account."""
        target, before = one.target, stored.records.get(one.target.account)
        assert published is not None  # otherwise there is nothing to record
        scan = Scan() if published.is_idle(self.now()) else scan
        context = AssessmentContext(published, stored, self.now(), found={target: scan} if scan else {})
        verdict = self.assessor.targets.judge_in(target.account, context, [one])
        if refusal := verdict.refusal_in(target.region):
            raise refusal
        found = verdict.scans.get(target.region, Scan())
        if before and target.account == self.assessor.targets.home.account:
            return before.with_scan(target.region, frozenset(), found.counts)
        record = self.assessor.targets.record(target.account, published, before, check=verdict.check)
        assert record is not None  # it is in scope, or there was one
        return record.with_scan(target.region, found.profile_ids, found.counts)

    def _counts_late(self, stored: StoredMapping, late: Late) -> Iterator[Write]:
        changes, edits, since = late.impact.changes, stored.edits, stored.counted_at
        counts = counted_edit(stored, late.impact, 0 if late.covered else changes, now=self.now())
        if late.covered:
            yield self.assessor.revisions.take_unseen(late.record.mapping, changes)
            if since:
                # It counts from now on: by now it changes them.
                counts = locked(edits, counted_anew(changes, late.impact.minutes, since=since, now=self.now()))
        if counts:
            yield self.assessor.revisions.store.update(layout.EDITS, counts)

    def _renew(
        self,
        record: AccountRecord,
        before: AccountRecord | None,
        one: TargetScope,
        *,
        correlation_id: str,
        counts: Iterable[Write],
    ) -> bool:
        """Write what is new of a record, and `counts`, and send the instances that need a reconcile if some do."""
        target, mapping = one.target, record.mapping
        if target.account == self.assessor.targets.home.account:
            if not record.is_stored(before):
                self.assessor.revisions.count(mapping, target.region, record.counts[target.region])
            return False
        if changed := self.records.write(target.account, record, before, counts=counts):
            self.sender.send(FanOut.to(mapping.key, sorted(self._of_account(one))), correlation_id, lambda: True)
        return changed

    def _of_account(self, one: TargetScope) -> dict[Target, TargetScope]:
        return {other.target: other for other in (one, *self.assessor.targets.of_account(one.target.account))}

    def _is_in_scope(self, published: PublishedMapping, one: TargetScope) -> bool:
        """Return whether a mapping is for a target's account; of the deployment's own, whether it is for the target."""
        there = [one] if one.target.account == self.assessor.targets.home.account else self._of_account(one).values()
        return not published.deleted and any(other.is_in(published.spec) for other in there)


def counted_edit(stored: StoredMapping, impact: Impact, changes: int, *, now: datetime) -> Update | None:
    """Count changes that nobody approved; judge again if another edit that concerns instances came before."""
    edits, minutes = stored.edits, impact.minutes
    if not changes:
        return locked(edits, Update()) if impact.seen else None
    if changes < impact.changes:
        # The others are approved. Which of them come later isn't known, so these count now.
        return locked(edits, counting(edits, changes, impact.allowed, minutes=minutes, now=now))
    allowed, later = impact.allowed - impact.only_later, impact.changes_at
    return locked(edits, counting(edits, impact.now, allowed, minutes=minutes, now=now, later=later))

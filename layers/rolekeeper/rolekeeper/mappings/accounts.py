"""A mapping in all targets: where its role can be used, what it would do, and what is published for each account.

Each account has its own IAM, so each account in a mapping's scope has a record of the same revision and spec, with its
own instance profile. Where the role can't be used the record says why, and instances there stay as they are. The record
of the deployment's own account, `home`, is what is in effect; one account and Region is a list of one target. Another
target that gives no answer delays nothing: its account's record stays as it was until its own sweep updates it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from rolekeeper.aws import Each
from rolekeeper.aws.errors import AwsRefusalError, ConflictError, RetryableError
from rolekeeper.mappings.fan_out import FanOut, Sender
from rolekeeper.mappings.impact import Edit, Impact, ImpactScanner, Scan, gives_up
from rolekeeper.mappings.revisions import AccountRecord, Revisions, StoredMapping
from rolekeeper.model.instance import Action, Target
from rolekeeper.model.mapping import (
    Control,
    MappingKey,
    MappingSpec,
    Mode,
    PublishedMapping,
    WhenOccupied,
    WhenUnmatched,
)
from rolekeeper.permissions.roles import Reach, RoleCheck, Roles
from rolekeeper.telemetry import Telemetry

type Records = Mapping[str, AccountRecord]

# How often a record is checked again when a new revision is published during the check.
ATTEMPTS = 3


@dataclass(frozen=True)
class MappedTarget:
    """A target as mappings see it: its account's roles, and the scanner of its instances.

    Its last sweep counted `instances`, 0 before the first; `unit` is its organizational unit, if it says one.
    """

    target: Target
    roles: Roles
    scanner: ImpactScanner
    instances: int = 0
    unit: str = ""

    def is_in(self, spec: MappingSpec) -> bool:
        return spec.covers(self.target.account, self.target.region, self.unit)


@dataclass(frozen=True, slots=True)
class Spread:
    """A mapping over all targets: the `records` it should have, by account, `home`'s first; and what was found.

    `shares` says how many instances would change in each target, if there are several.
    """

    reach: Reach
    records: Records
    scan: Scan
    shares: Mapping[Target, int] = field(default_factory=dict)


@dataclass(frozen=True)
class MappedTargets:
    """All targets: the deployment's `own`; `listed` returns those of the registry, `at` makes one that isn't there.

    Make a new one for each invocation: it asks an account that gave no answer only once. The own one has to answer.
    """

    own: MappedTarget
    listed: Callable[[], Sequence[MappedTarget]]
    at: Callable[[Target], MappedTarget]
    each: Each
    _refused: dict[str, AwsRefusalError] = field(default_factory=dict, init=False)

    @cached_property
    def all(self) -> list[MappedTarget]:
        others = (each for each in self.listed() if each.target != self.home)
        return [self.own, *sorted(others, key=lambda each: each.target)]

    @property
    def home(self) -> Target:
        return self.own.target

    @cached_property
    def accounts(self) -> dict[str, Roles]:
        """The roles of each account, `home`'s first."""
        return {each.target.account: each.roles for each in self.all}

    @property
    def several(self) -> bool:
        return len(self.all) > 1

    @property
    def instances_elsewhere(self) -> int:
        """How many instances the last sweeps of the other targets counted."""
        return sum(each.instances for each in self.all if each.target != self.home)

    def counted_now(self, targets: Collection[Target]) -> dict[Target, int]:
        """How many instances each has: `home` and these are counted now, others as their last sweeps counted them.

        An edit would otherwise change more of a target's instances than it is said to have.
        """

        def count(one: MappedTarget) -> int:
            if one.target == self.home:
                return one.scanner.fleet
            with suppress(AwsRefusalError):
                return one.scanner.fleet if one.target in targets else one.instances
            return one.instances

        return dict(zip((each.target for each in self.all), self.each(count, self.all), strict=True))

    def of(self, target: Target) -> MappedTarget:
        return next((each for each in self.all if each.target == target), None) or self.at(target)

    def in_scope(self, spec: MappingSpec) -> list[str]:
        """The accounts in a mapping's scope. If there is only one, its role is checked in any case."""
        if not (self.several or spec.units):
            return [self.home.account]
        return sorted({each.target.account for each in self.all if each.is_in(spec)})

    def reach(self, spec: MappingSpec, stored: StoredMapping, known: Collection[str] = ()) -> Reach:
        """Check a mapping's role in every account in its scope; an AwsRefusalError of `home`'s is raised.

        `known`: this spec is published, so in these accounts a record of its revision already says what their sweeps
        found.
        """
        checks: dict[str, RoleCheck] = {}
        accounts = self.in_scope(spec)
        for account in accounts:
            record = stored.records.get(account) if account in known else None
            if record and not stored.is_stale(record):
                checks[account] = RoleCheck(record.mapping.problem, "", record.mapping.profile_arn)
        asked = [account for account in accounts if account not in checks]
        answers = dict(zip(asked, self.each(lambda account: self._check(account, spec), asked), strict=True))
        checks |= {account: answer for account, answer in answers.items() if isinstance(answer, RoleCheck)}
        unanswered = {account: answer for account, answer in answers.items() if isinstance(answer, AwsRefusalError)}
        return Reach(self.home.account, dict(sorted(checks.items())), unanswered)

    def _check(self, account: str, spec: MappingSpec) -> RoleCheck | AwsRefusalError:
        if account not in self._refused:
            try:
                return self.accounts[account].check(spec)
            except AwsRefusalError as error:
                if account == self.home.account:
                    raise
                self._refused[account] = error
        return self._refused[account]

    def records(self, mapping: PublishedMapping, stored: StoredMapping, reach: Reach) -> dict[str, AccountRecord]:
        """The records that a mapping, or its tombstone, should have, by account; `home`'s is the mapping itself."""
        own = stored.records.get(self.home.account)
        wanted = {self.home.account: replace(own, mapping=mapping) if own else AccountRecord(mapping)}
        if mapping.deleted:
            # IAM isn't asked for a tombstone, so each becomes one, also that of an account that has left the registry.
            return {account: each.tombstone(mapping) for account, each in stored.records.items()} | wanted
        for account, roles in sorted(self.accounts.items()):
            check, before = reach.checks.get(account), stored.records.get(account)
            if account not in wanted and account not in reach.unanswered and (before or check):
                wanted[account] = _record_for(roles, mapping, check, before=before)
        return wanted

    def spread(
        self,
        mapping: PublishedMapping,
        stored: StoredMapping,
        reach: Reach,
        *,
        at: datetime,
        given: Collection[str] = (),
    ) -> Spread:
        """The records that a mapping, or its tombstone, should have; and what it would do in each target.

        `given` as in `ImpactScanner.scan`.
        """
        wanted = self.records(mapping, stored, reach)
        scans, refused = self._scanned(wanted, stored.records, at, given=given)
        records = {account: record for account, record in wanted.items() if mapping.deleted or account not in refused}
        for target, scan in scans.items():
            if record := records.get(target.account):
                # At home the row says what it governs.
                counts = None if target == self.home else scan.counts
                records[target.account] = record.with_scan(target.region, scan.profile_ids, counts)
        silent = {*reach.unanswered, *refused}
        for each in self.all:
            target = each.target
            if target not in scans and silent & {target.account, str(target)}:
                former, counts = stored.records.get(target.account), stored.counts_in(target)
                scans[target] = _assumed(Edit(former.mapping, mapping, at), each, counts) if former else Scan()
        shares = {target: scan.impact.changes for target, scan in scans.items()} if self.several else {}
        own, *others = scans.values()
        for scan in others:
            own.include(scan)
        return Spread(reach.without(refused), records, own, shares=shares)

    def _scanned(
        self, after: Records, before: Records, at: datetime, *, given: Collection[str]
    ) -> tuple[dict[Target, Scan], dict[str, AwsRefusalError]]:
        """What candidates would do in the targets of their accounts; and what refused, by account.

        In `home`'s account the mapping is published all the same, so there a refusal is by target.
        """

        def concerned(one: MappedTarget) -> bool:
            specs = [each[one.target.account].mapping.spec for each in (after, before) if one.target.account in each]
            # A role may have been given while the scope was another.
            reached = one.target == self.home or given or any(map(one.is_in, specs))
            return one.target.account in after and bool(reached)

        def scan(one: MappedTarget) -> Scan | AwsRefusalError:
            account = one.target.account
            published = before[account].mapping if account in before else None
            try:
                return one.scanner.scan(after[account].mapping, published, at, given=given)
            except AwsRefusalError as error:
                if one.target == self.home or error.action.startswith("dynamodb:"):
                    # The deployment itself failed, not the target.
                    raise
                return error

        asked = [each for each in self.all if concerned(each)]
        scans: dict[Target, Scan] = {}
        refused: dict[str, AwsRefusalError] = {}
        for target, found in zip((each.target for each in asked), self.each(scan, asked), strict=True):
            if isinstance(found, Scan):
                scans[target] = found
            else:
                refused[str(target) if target.account == self.home.account else target.account] = found
        return scans, refused

    def counted(self, stored: StoredMapping) -> tuple[int, int]:
        """How many instances of other targets what is published governs, and how many of them are occupied."""
        found = [stored.counts_in(each.target) for each in self.all if each.target != self.home]
        return sum(matched for matched, _ in found), sum(occupied for _, occupied in found)


def _record_for(
    roles: Roles, mapping: PublishedMapping, check: RoleCheck | None, before: AccountRecord | None
) -> AccountRecord:
    """The record for the account of these roles, in the place of the one `before`; unchecked if it is out of scope."""
    made = roles.for_account(mapping, check, before.mapping if before else None)
    return AccountRecord(made, before.counts if before else {}, check.missing if check else "")


def _assumed(edit: Edit, one: MappedTarget, counts: tuple[int, int]) -> Scan:
    """What an edit is taken to change in a target that gives no answer, by the last count of what is governed there."""
    assert edit.published is not None  # it governs nothing otherwise
    (matched, occupied), now, then, ends_at = counts, edit.published.spec, edit.candidate.spec, edit.ends_at
    gone, detaches = (
        edit.candidate.is_idle(edit.at) or not one.is_in(then),
        then.when_unmatched is WhenUnmatched.DETACH,
    )
    impact = Impact(detach=matched if gone and detaches else 0)
    if gives_up(now, then):
        # Nobody counted what it left with instances that it no longer matches: at most all of them.
        impact.detach = max(impact.detach, one.instances - (0 if gone else matched))
    same = all(getattr(now, name) == getattr(then, name) for name in ("role", "profile_name", "require_tags"))
    takes_over = occupied if then.when_occupied is WhenOccupied.REPLACE is not now.when_occupied else 0
    impact.replace = 0 if gone else takes_over if same and then.priority <= now.priority else matched
    if ends_at and detaches and not gone and (now.expires_at is None or now.expires_at > ends_at):
        impact.add_later(Action.DETACH, ends_at, matched, only=not impact.replace)
    return Scan(0 if gone else matched, matched, foreign=0 if gone else occupied, impact=impact)


@dataclass(frozen=True, slots=True)
class RecordCheck:
    """The result of checking a mapping: whether its record `changed`, and is `in_effect`; and whether that is known."""

    changed: bool = False
    in_effect: bool = False
    judged: bool = True


@dataclass(frozen=True)
class RecordKeeper:
    """Writes the records of other accounts, and checks each again when one of its account's targets is swept."""

    targets: MappedTargets
    revisions: Revisions
    sender: Sender
    telemetry: Telemetry
    mode: Mode
    now: Callable[[], datetime]

    def write(self, stored: StoredMapping, records: Records) -> set[str]:
        """Write those that differ from what is stored; returns the accounts whose instances need a reconcile.

        Raises:
            ConflictError: there is a newer revision by now.
        """

        def write(account: str) -> bool | AwsRefusalError:
            record, before = records[account], stored.records.get(account)
            try:
                record = self._made(self.targets.accounts.get(account), record, stored.control)
            except AwsRefusalError as error:
                return error
            return self._write(account, record, before)

        changed: set[str] = set()
        others = [account for account in records if account != stored.home]
        for account, result in zip(others, self.targets.each(write, others), strict=True):
            if isinstance(result, AwsRefusalError):
                text = {"mapping": str(records[account].mapping.key), "account": account, "error": str(result)}
                self.telemetry.will_retry("a mapping isn't published in an account, whose sweep tries again", **text)
            elif result:
                changed.add(account)
        return changed

    def _write(self, account: str, record: AccountRecord, before: AccountRecord | None) -> bool:
        """Write a record if it differs from the one `before`; returns whether instances need a reconcile."""
        if before is None or before.content != record.content:
            self.revisions.write(account, record)
        return record.matters(before)

    def _made(self, roles: Roles | None, record: AccountRecord, control: Control) -> AccountRecord:
        """The same once its profile is made, or with why it can't be; unchanged while no change may be made."""
        if roles is None or not record.missing or control.withholds(self.mode):
            return record
        made = roles.make(record.mapping.spec, record.missing)
        mapping = record.mapping.with_profile_id(made.profile_id).suspended_for(made.problem)
        return replace(record, mapping=mapping, missing="")

    def recheck(
        self, key: MappingKey, target: Target, correlation_id: str, scan: Scan | None = None, *, thorough: bool = True
    ) -> RecordCheck:
        """Check a mapping in another target that is swept: whether its role can be used there, and how much it governs.

        This writes a record that is missing or outdated, and sends the account's instances then. `scan` is what the
        sweep counted there for the mapping; without one this counts. IAM isn't asked about a record that governs
        nothing there unless this is `thorough`.

        Raises:
            AwsRefusalError: the target gave no answer; its record stays as it was.
        """
        for _ in range(ATTEMPTS):
            # A new revision was published during the check: check again.
            with suppress(ConflictError):
                return self._recheck(key, target, correlation_id, scan=scan, thorough=thorough)
        raise RetryableError("MappingChanging", f"{key} keeps changing while it is checked")

    def _recount(
        self, stored: StoredMapping, published: PublishedMapping, one: MappedTarget, scan: Scan | None
    ) -> RecordCheck:
        """Count in another Region of the deployment's own account, whose record the row's own check keeps."""
        counts, region = self._scan(published, one, scan).counts, one.target.region
        if stored.records[stored.home].counts.get(region) != counts:
            self.revisions.count(published, region, counts)
        usable = not (published.deleted or published.suspended_because)
        return RecordCheck(in_effect=usable and one.is_in(published.spec))

    def _recheck(
        self, key: MappingKey, target: Target, correlation_id: str, *, scan: Scan | None, thorough: bool
    ) -> RecordCheck:
        account, region = target.account, target.region
        stored, one = self.revisions.read(key), self.targets.of(target)
        published = stored.published
        if published is None:
            # Its row was never published, or its item is lost, and that must detach nothing.
            return RecordCheck()
        if account == stored.home:
            return self._recount(stored, published, one, scan=scan)
        before = self.revisions.record(key, account)
        if before and before.mapping.revision > published.revision:
            return RecordCheck()  # the deployment's own sweep publishes it again, under a higher number
        there = {each.target: each for each in (one, *self.targets.all) if each.target.account == account}
        in_scope = any(each.is_in(published.spec) for each in there.values()) and not published.deleted
        counts = scan.counts if scan and not thorough else (-1, -1)
        if before and before.is_at_rest(published, region, counts, in_scope=in_scope):
            return RecordCheck(in_effect=in_scope)
        if not (in_scope or before):
            return RecordCheck()
        check = one.roles.check(published.spec) if in_scope else None
        if before and published.deleted:
            record = before.tombstone(published)
        else:
            record = _record_for(one.roles, published, check, before=before)
        found = self._scan(record.mapping, one, scan)
        record = self._made(one.roles, record.with_scan(region, found.profile_ids, found.counts), stored.control)
        if changed := self._write(account, record, before):
            self.sender.send(FanOut.to(key, sorted(there)), correlation_id, lambda: True)
        return RecordCheck(changed, in_scope and not record.mapping.suspended_because)

    def _scan(self, mapping: PublishedMapping, one: MappedTarget, scan: Scan | None) -> Scan:
        if mapping.is_idle(self.now()):
            return Scan()
        return scan or one.scanner.scan(mapping, mapping, self.now())

"""Assessing a row, without writing anything: from what was read of it to a verdict.

A row that fails its checks, or isn't approved yet, changes nothing: the last good revision stays in effect.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError
from rolekeeper.instances.window import counted_with
from rolekeeper.mappings.accounts import MappedTarget, MappedTargets, Question, Reach, Spread, named
from rolekeeper.mappings.findings import Finding
from rolekeeper.mappings.impact import Edit, Impact, ImpactScanner, Scan, gives_up, with_permissions, within_limits
from rolekeeper.mappings.revisions import AccountRecord, Revisions, StoredMapping
from rolekeeper.mappings.snapshot import RowSnapshot, digest_of
from rolekeeper.mappings.verdict import (
    IN_EFFECT,
    PROFILE_RECREATED,
    Ending,
    Late,
    Refresh,
    Status,
    Verdict,
    approval_steps,
    sentence,
)
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import (
    NO_ROLE,
    Held,
    MappingSpec,
    Mode,
    Outgrown,
    PublishedMapping,
    WhenOccupied,
    WhenUnmatched,
)
from rolekeeper.model.problem import Problem
from rolekeeper.permissions.roles import RoleCheck, Roles
from rolekeeper.storage import layout

# How long before a mapping expires it is reported that many instances will lose its role.
SOON = timedelta(days=1)


# Stands for the targets that aren't known where a single account is judged.
_ELSEWHERE = Target("", "")


# What a row says that says nothing of what is in effect.
_REFUSED = (Status.REJECTED, Status.CONFLICT)


@dataclass(frozen=True)
class Assessor:
    """Judges rows. It caches IAM's answers and the fleet's size, so make a new one for each invocation."""

    targets: MappedTargets
    revisions: Revisions
    mode: Mode

    @property
    def roles(self) -> Roles:
        return self.targets.own.roles

    @property
    def scanner(self) -> ImpactScanner:
        return self.targets.own.scanner

    def assess(self, snapshot: RowSnapshot) -> Verdict:
        """Judge a row, or a deleted one; an AwsRefusalError says that AWS gave no answer, or refused one."""
        refresh, published = None, snapshot.published
        if snapshot.row and published and (snapshot.trigger.recheck or snapshot.parsed.spec == published.spec):
            snapshot = self._counted(snapshot, published)
            if refresh := self._refreshed(snapshot, published):
                snapshot = snapshot.refreshed(refresh)
        verdict = self._deletion(snapshot) if snapshot.deletes else self._row(snapshot)
        records = self._unfinished(snapshot) if verdict.records is None else verdict.records
        return replace(verdict, refresh=refresh, records=records)

    def refuse(
        self, snapshot: RowSnapshot, status: Status, why: Iterable[Problem | str], scan: Scan | None = None
    ) -> Verdict:
        """Return the verdict that nothing changes; the row says why, and where what is published isn't in effect."""
        published, missing = snapshot.published, set[str]()
        if published and not snapshot.stored.overtaken:
            missing = self.targets.uncounted(published.spec, snapshot.stored)
        lacks = f"revision {snapshot.revision} isn't in effect in {named(sorted(missing))}" if missing else ""
        reason, matched = sentence((*why, lacks), snapshot.still_in_effect), self._matched(snapshot, scan)
        verdict = Verdict(status, reason, snapshot.revision, matched=matched, done=snapshot.done)
        return replace(verdict, ending=Ending.SAY, mapping=snapshot.published, scan=scan)

    def _row(self, snapshot: RowSnapshot) -> Verdict:
        spec, warnings = snapshot.parsed.spec, snapshot.parsed.warnings
        if spec is None:
            return self.refuse(snapshot, Status.REJECTED, (*snapshot.parsed.problems, *warnings))
        now = snapshot.published
        known = snapshot.trigger.recheck and now is not None and now.spec == spec
        home = self.targets.home.account
        others = self.targets.accounts.keys() - {home} if known else ()
        reach = self.targets.reach(spec, snapshot.stored, others)
        if reach.nowhere:
            status = Status.REJECTED if reach.checks else Status.WAITING
            return self.refuse(snapshot, status, (*reach.why_not, *warnings))
        role = reach.checks.get(home) or RoleCheck()
        candidate = self._candidate(snapshot, spec, role)
        wanted = (spec, candidate.profile_arn)
        same = now is not None and (now.spec, now.profile_arn) == wanted and not snapshot.stored.overtaken
        if same:
            spread = self._unchanged(snapshot, replace(candidate, revision=snapshot.revision), reach)
        else:
            given = self._given(candidate, [snapshot.stored.published])
            question = Question(snapshot.stored, snapshot.at, given)
            spread = self.targets.spread(candidate, reach, question)
        candidate, scan = spread.records[home].mapping, spread.scan
        if spread.reach.nowhere:
            return self.refuse(snapshot, Status.WAITING, (*spread.reach.why_not, *warnings))
        self.scanner.add_possible_conflicts(scan.conflicts, candidate, snapshot.stored, now=snapshot.at)
        if scan.conflicts.new and not same:
            return self.refuse(snapshot, Status.CONFLICT, (str(scan.conflicts),), scan=scan)
        notes = [*warnings, *self._notes(spec, role, scan)]
        missing = role.missing
        if missing and (withheld := snapshot.stored.control.withholds(self.mode)):
            missing = ""
            notes.append(Problem(f"instance profile '{spec.profile_name}' is made later: {withheld.reason}"))
        ending = Ending.KEEP if same else Ending.PUBLISH
        verdict = self._in_effect(snapshot, candidate, scan, reach=spread.reach, notes=notes)
        verdict = replace(verdict, ending=ending, scan=scan, missing=missing, records=spread.records)
        if not same:
            return self._unless_held(snapshot, verdict, spread, notes=notes)
        verdict = replace(verdict, ends_soon=self._ends_soon(snapshot, candidate, verdict))
        return self._unless_late(snapshot, verdict, reach, notes=notes)

    def _candidate(self, snapshot: RowSnapshot, spec: MappingSpec, role: RoleCheck) -> PublishedMapping:
        """What the row says, for `home`, whose check this is."""
        made = self.roles.for_account(PublishedMapping(spec, 0, ""), role, snapshot.stored.published)
        return snapshot.numbered(made).suspended_for(role.problem)

    # ---- judging a row in more accounts than one run can ask ----

    def asked(self, snapshot: RowSnapshot) -> list[MappedTarget]:
        """The targets beside `home` whose accounts `assess` asks."""
        targets, stored, published = self.targets, snapshot.stored, snapshot.published
        spec, same = snapshot.parsed.spec, snapshot.is_published
        stale = targets.stale(published.spec, stored) if published else set()
        if same and snapshot.trigger.recheck:
            accounts = stale
        elif snapshot.deletes:
            accounts = {*stored.records} if published else set()
        elif spec is None:
            accounts = stale
        else:
            accounts = {*targets.in_scope(spec), *(() if same else stored.records)}
        return [each for each in targets.all[1:] if each.target.account in accounts]

    def find(self, snapshot: RowSnapshot, account: str, in_time: Callable[[], bool]) -> Finding:
        """What `assess` would ask of one account, whose targets and `home` are all that there are here."""
        targets, stored, published, spec = self.targets, snapshot.stored, snapshot.published, snapshot.parsed.spec
        finding, mapping = Finding(), snapshot.tombstone
        if spec and not snapshot.deletes:
            role = self.roles.check(spec) if account == targets.home.account else RoleCheck()
            mapping = self._candidate(snapshot, spec, role)
        if mapping and (snapshot.deletes or spec):
            late = (
                {account} & targets.uncounted(published.spec, stored) if published and snapshot.is_published else set()
            )
            given = self._given(mapping, _published_in(stored, late or {stored.home}))
            question = Question(stored, snapshot.at, given, in_time=in_time)
            finding = targets.find(account, mapping, question, scans=bool(late) or not snapshot.is_published)
        if published and account in targets.stale(published.spec, stored):
            with suppress(AwsRefusalError):
                finding = replace(finding, published_check=targets.accounts[account].check(published.spec))
        return replace(finding, stamp=snapshot.stamp(account))

    def recall(self, snapshot: RowSnapshot, asked: Iterable[str], findings: Mapping[str, Finding]) -> None:
        """Answer these accounts' questions by what was found there; those without an answer in time give none."""
        published = snapshot.published.spec if snapshot.published else None
        self.targets.recall(asked, findings, (snapshot.parsed.spec, published))

    def _ends_soon(self, snapshot: RowSnapshot, mapping: PublishedMapping, verdict: Verdict) -> str:
        """What to report of a mapping that will soon take more roles away than an edit may; empty if it won't."""
        spec, limits, ends_at = mapping.spec, self.scanner.limits, mapping.spec.expires_at
        carrying = (verdict.matched or 0) - (verdict.occupied or 0)
        if snapshot.stored.end_reported or not snapshot.trigger.recheck or mapping.is_idle(snapshot.at):
            return ""
        if spec.role == NO_ROLE or spec.when_unmatched is not WhenUnmatched.DETACH:
            return ""
        if ends_at is None or ends_at - snapshot.at > SOON or carrying <= limits.per_edit:
            return ""
        fleet = sum(self.targets.counted_now(()).values())
        if carrying <= (allowed := limits.allowed(fleet)):
            return ""
        return (
            f"it expires at {ends_at:%Y-%m-%dT%H:%M:%SZ}, and then up to {carrying:,} of {fleet:,} instances give its "
            f"role up ({allowed:,} may change without approval)"
        )

    def _notes(self, spec: MappingSpec, role: RoleCheck, scan: Scan) -> Iterator[Problem]:
        """What people should know of a row that passed its checks."""
        takes, may = spec.when_occupied is WhenOccupied.REPLACE, self.scanner.ownership.take_over
        if role.note and not role.problem:
            yield Problem(role.note)
        if foreign := scan.about_foreign(taken=takes and may):
            yield Problem(foreign)
        if takes and not may:
            what = "replace has no effect, as the stack is deployed with TakeOver=false"
            yield Problem(what, column="when_occupied")
        if spec.units and not self.roles.settings.organization:
            what = "it governs no instance, as the stack is deployed without OrganizationId"
            yield Problem(what, column="units")
        if unclear := self.targets.about_units(spec):
            remedy = "deploy those with the units from the root on: --unit r-…/ou-…"
            yield Problem(unclear, remedy, column="not_units" if spec.not_units else "units")

    def _counted(self, snapshot: RowSnapshot, published: PublishedMapping) -> RowSnapshot:
        """The same with what the mapping governs, where no sweep counted it.

        Only the instances show that they carry a deleted profile of the same name.
        """
        if not snapshot.trigger.recheck or snapshot.trigger.scan or published.is_idle(snapshot.at):
            return snapshot
        scan = self.scanner.scan(Edit(published, published, snapshot.at))
        return replace(snapshot, trigger=replace(snapshot.trigger, scan=scan))

    def _refreshed(self, snapshot: RowSnapshot, published: PublishedMapping) -> Refresh | None:
        """Suspend what is published if its role can't be used, resume it if it can, and update its profile's id."""
        if self.targets.home.account not in self.targets.in_scope(published.spec):
            return None
        role = self.roles.check(published.spec)
        # If the row says the same, its verdict has what is missing made, unless that is of its deletion.
        other = snapshot.parsed.spec != published.spec or snapshot.holds_deletion
        missing = role.missing if other and not snapshot.stored.control.withholds(self.mode) else ""
        carried = snapshot.trigger.scan.profile_ids if snapshot.trigger.scan else frozenset[str]()
        now = published.suspended_for(role.problem).with_profile_id(role.profile_id, carried)
        if now.problem != published.problem:
            event = "Mapping Suspended" if role.problem else "Mapping Resumed"
            return Refresh(now, snapshot.entry(event, str(role.problem or ""), now), missing)
        if now.former_profile_ids != published.former_profile_ids:
            what = f"instance profile '{published.spec.profile_name}' was deleted and made anew"
            return Refresh(now, snapshot.entry(PROFILE_RECREATED, what, now))
        return Refresh(now, missing=missing) if missing or now.profile_id != published.profile_id else None

    def _given(self, candidate: PublishedMapping, published: Iterable[PublishedMapping | None]) -> frozenset[str]:
        """The profiles that the mapping gave so far, if the edit takes those that it left with other instances."""
        takes = any(before is not None and gives_up(before.spec, candidate.spec) for before in published)
        return self.revisions.profiles(candidate.key) if takes else frozenset()

    def _unchanged(self, snapshot: RowSnapshot, candidate: PublishedMapping, reach: Reach) -> Spread:
        """What is published already: other targets' own sweeps counted there, and this target's may have just now."""
        scan = snapshot.trigger.scan or Scan()
        if not (snapshot.trigger.scan or candidate.is_idle(snapshot.at)):
            scan = self.scanner.scan(Edit(snapshot.stored.published, candidate, snapshot.at))
        carried = candidate.with_profile_id(candidate.profile_id, scan.profile_ids)
        records = self._counted_records(carried, snapshot.stored, reach)
        matched, foreign = self.targets.counted(snapshot.stored)
        return Spread(reach, records, replace(scan, matched=scan.matched + matched, foreign=scan.foreign + foreign))

    def _compared(self, stored: StoredMapping, spread: Spread, took: int, *, elsewhere: bool = False) -> Impact:
        """What a candidate, or a tombstone, would do in all accounts, with permissions; other edits `took` so much.

        `elsewhere`: there are more targets than those known here.
        """
        usable = spread.reach.usable
        sides = {
            account: self.targets.side(account, record, stored, gives=account in usable)
            for account, record in spread.records.items()
            if account in self.targets.accounts
        }
        changed = [target for target, changes in spread.shares.items() if changes]

        def fleets() -> Mapping[Target, int]:
            sizes = self.targets.counted_now(changed)
            more = max(0, self.revisions.fleet() - sum(sizes.values())) if elsewhere else 0
            return {**sizes, _ELSEWHERE: more}

        impact = with_permissions(spread.scan.impact, sides, self.targets.each)
        impact = within_limits(impact, self.scanner.limits, took=took, shares=spread.shares, fleets=fleets)
        if spread.unknown:
            # What nobody counted is more than may change.
            unknown = f"nobody counted yet how many instances there are in {', '.join(map(str, spread.unknown))}"
            impact = replace(impact, alone="; ".join(each for each in (impact.alone, unknown) if each))
        return impact

    def late(self, stored: StoredMapping, target: Target, at: datetime) -> Late:
        """Judge what is published in the account of a swept target, in which nobody counted what it changes.

        An AwsRefusalError says that the target itself gave no answer; its account's other Regions count at most.
        """
        account, published = target.account, stored.published
        before = _published_in(stored, {account})
        assert published is not None  # it isn't in that account yet
        reach = Reach({account: self.targets.accounts[account].check(published.spec)})
        question = Question(stored, at, self._given(published, before))
        spread = self.targets.spread(published, reach, question, accounts={account})
        if refusal := spread.silent.get(target):
            raise refusal
        took = counted_with(stored.edits, self.scanner.limits.minutes, at, moments=spread.scan.impact.changes_at)
        impact = self._compared(stored, spread, took, elsewhere=True)
        covered = self._is_covered(published, impact)
        held = stored.held_again or (impact.needs_approval and not covered)
        return Late(spread.records[account], impact, covered=covered, held=held)

    def _is_covered(self, published: PublishedMapping, impact: Impact) -> bool:
        """Whether as many changes were counted, or approved, already while the accounts gave no answer.

        Nobody was shown what is severe there, and nobody but an approver what a target's own share is.
        """
        if impact.severe or not impact.changes:
            return False
        unseen, approved = self.revisions.unseen(published)
        return impact.changes <= unseen and (approved or not impact.alone)

    def _unless_late(self, snapshot: RowSnapshot, verdict: Verdict, reach: Reach, notes: Iterable[Problem]) -> Verdict:
        """This verdict that nothing changes; or, if too much would in accounts that answer only now, that it is held.

        Their own sweeps publish what isn't too much.
        """
        stored, mapping = snapshot.stored, verdict.mapping
        assert mapping is not None  # it is in effect
        candidate = snapshot.numbered(mapping).suspended_for(mapping.problem)
        late = self.targets.uncounted(mapping.spec, stored)
        if not (again := snapshot.holds(candidate)):
            late &= reach.checks.keys()
        if not late:
            return verdict
        question = Question(stored, snapshot.at, self._given(candidate, _published_in(stored, late)))
        spread = self.targets.spread(candidate, reach, question, accounts=late)
        edit = self._in_effect(snapshot, candidate, verdict.scan or Scan(), reach=spread.reach, notes=notes)
        edit = replace(edit, ending=Ending.PUBLISH, scan=verdict.scan, missing=verdict.missing, records=spread.records)
        edit = self._unless_held(snapshot, edit, spread, notes=notes)
        if edit.ending is Ending.HOLD and edit.impact and (again or not self._is_covered(mapping, edit.impact)):
            return replace(edit, matched=verdict.matched)
        return edit if again and edit.ending is Ending.PUBLISH else verdict

    def _counted_records(
        self, mapping: PublishedMapping, stored: StoredMapping, reach: Reach
    ) -> Mapping[str, AccountRecord]:
        """The records of what stays published, but where nobody counted yet what it changes."""
        uncounted = set() if mapping.deleted else self.targets.uncounted(mapping.spec, stored)
        records = self.targets.records(mapping, stored, reach)
        return {account: record for account, record in records.items() if account not in uncounted}

    def _unfinished(self, snapshot: RowSnapshot) -> Mapping[str, AccountRecord]:
        """The records of what stays published: after a crash some may not be written yet."""
        published = snapshot.stored.published
        if published is None or snapshot.stored.overtaken:
            return {}
        reach = Reach()
        if not published.deleted:
            if not self.targets.several:
                return {}
            reach = self.targets.reach(published.spec, snapshot.stored, self.targets.accounts)
        return self._counted_records(published, snapshot.stored, reach)

    def _in_effect(
        self, snapshot: RowSnapshot, mapping: PublishedMapping, scan: Scan, reach: Reach, notes: Iterable[Problem]
    ) -> Verdict:
        spec = mapping.spec
        status = Status.PUBLISHED
        if scan.conflicts:
            status, what = Status.CONFLICT, f"{scan.conflicts}; until then such instances stay as they are"
        elif spec.expired(snapshot.at):
            status, what = Status.EXPIRED, f"it expired at {spec.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        else:
            what = "" if spec.enabled else "it is disabled and governs no instance"
        # A column that is taken out of the row needs no warning.
        shown = [each for each in notes if each.column not in snapshot.done]
        reason = sentence([what, *reach.words("" if what else IN_EFFECT), *shown]) or IN_EFFECT
        verdict = Verdict(status, reason, mapping.revision, done=snapshot.done, mapping=mapping)
        return replace(verdict, matched=scan.matched, occupied=scan.foreign)

    def _deletion(self, snapshot: RowSnapshot) -> Verdict:
        """The row is gone, or was put back as its deletion is held: a tombstone should replace the mapping."""
        if snapshot.trigger.row_listed and not snapshot.row:
            return Verdict(Status.REMOVED)
        if snapshot.published is None:
            # It is deleted already; after a crash the row may be left.
            return Verdict(Status.REMOVED, ending=Ending.REMOVE if snapshot.row else Ending.NOTHING)
        tombstone = snapshot.tombstone
        assert tombstone is not None  # something is published
        spread = self.targets.spread(tombstone, Reach(), Question(snapshot.stored, snapshot.at))
        removed = Verdict(Status.REMOVED, "", tombstone.revision, ending=Ending.REMOVE, mapping=tombstone)
        removed = replace(removed, scan=spread.scan, records=spread.records)
        verdict = self._unless_held(snapshot, removed, spread)
        if verdict.ending is Ending.HOLD:
            return verdict
        why = f"its row was deleted{', as approved' if verdict.approval else ''}"
        return replace(verdict, reason="; ".join([why, *spread.reach.words("", "removes")]))

    def _unless_held(
        self, snapshot: RowSnapshot, verdict: Verdict, spread: Spread, notes: Iterable[Problem] = ()
    ) -> Verdict:
        """This verdict on a candidate; or, if a person has to approve what it would do, that it is held."""
        candidate, scan = verdict.mapping, verdict.scan
        assert candidate is not None
        assert scan is not None  # what was found
        took = snapshot.others_took(candidate, self.scanner.limits.minutes, spread.scan.impact.changes_at)
        impact = self._compared(snapshot.stored, spread, took)
        # What was signed is what was shown: for more than that the number changes, and it has to be signed again.
        outgrown = snapshot.outgrown(candidate, impact, spread)
        candidate = replace(candidate, revision=snapshot.stored.last + 1) if outgrown else candidate
        number = candidate.revision
        # Nobody knows what a held edit would change where an account gives no answer: its silence publishes nothing.
        asks = outgrown is not None or impact.needs_approval or (snapshot.holds(candidate) and spread.reach.unanswered)
        approval, refused = (None, "") if outgrown else snapshot.approval(candidate, impact, spread)
        if approval or not asks:
            return replace(verdict, impact=impact, assumed=spread.assumed, approval=approval)
        it = "deleting it" if candidate.deleted else "it"
        steps = map(str, approval_steps(snapshot.key, number, deletes=candidate.deleted))
        before = snapshot.stored.held if snapshot.holds(candidate) else None
        outgrown = outgrown or (before.outgrown if before else None)
        more: list[Problem | str] = [_what_came(outgrown) if outgrown else "", *spread.words, *notes]
        last = "; ".join(each for each in (snapshot.still_in_effect, refused) if each)
        reason, matched = sentence([f"{it} would {impact}", *steps, *more], last), scan.published_matched
        besides = sentence([f"{it} would {impact.extent}", *more], last)
        waits = Verdict(Status.HELD, reason, snapshot.revision, matched=matched, held=number, done=snapshot.done)
        # The approval checks again whether the hub's own account can use the role.
        held = candidate.suspended_for(None)
        shown = Held(
            held,
            snapshot.at,
            took=impact.took,
            changes=impact.changes,
            takes=impact.takes,
            severe=frozenset(impact.severe),
            counted_in=frozenset(spread.records),
            digest=digest_of(held, spread.records),
            outgrown=outgrown,
        )
        return replace(waits, ending=Ending.HOLD, mapping=held, impact=impact, besides=besides, shown=shown)

    def _matched(self, snapshot: RowSnapshot, scan: Scan | None) -> int | None:
        """How many instances the published mapping governs; None if that isn't known, or the row says it."""
        if snapshot.published is None or snapshot.published.is_idle(snapshot.at):
            return 0
        if snapshot.trigger.scan:
            return snapshot.trigger.scan.matched + self.targets.counted(snapshot.stored)[0]
        if scan:
            return scan.published_matched
        if "matched" in snapshot.row:
            return None
        # Without the count the row still says what is wrong with it; the sweep counts again.
        with suppress(AwsRefusalError):
            found = self.scanner.scan(Edit(snapshot.published, snapshot.published, snapshot.at)).published_matched
            return found + self.targets.counted(snapshot.stored)[0]
        return None


def _published_in(stored: StoredMapping, accounts: Iterable[str]) -> list[PublishedMapping]:
    return [stored.records[account].mapping for account in accounts if account in stored.records]


def _what_came(outgrown: Outgrown) -> str:
    joined = f", and {named(sorted(outgrown.came))} came into its scope since" if outgrown.came else ""
    return f"as revision {outgrown.revision} it would have changed {outgrown.changes:,}{joined}"


def waiting(snapshot: RowSnapshot, error: AwsRefusalError) -> Verdict:
    """The verdict on a row for which AWS gave no answer, or a refusal. A row in effect, or held, stays as it is."""
    why = f"AWS gave no answer ({error.code} to {error.action}); it is asked again"
    if isinstance(error, AccessDeniedError):
        why = f"Rolekeeper isn't allowed {error.action} on {error.resource}; allow it, the next sweep tries again"
    held = snapshot.trigger.recheck and "held_revision" in snapshot.row
    return _waits(snapshot, why, stays=held)


def judged_elsewhere(snapshot: RowSnapshot, accounts: Sequence[str]) -> Verdict:
    """The verdict on a row while these accounts are asked: a verdict that it says already stays until they answered."""
    row, stored = snapshot.row, snapshot.stored
    says = str(layout.plain(row["status"])) if snapshot.trigger.recheck and "status" in row else ""
    pending = bool(stored.held and not stored.held.outcome)
    known = says in _REFUSED or (says == Status.HELD and pending) or (says in Status and snapshot.is_published)
    verdict = _waits(snapshot, f"it is being judged in {len(accounts):,} accounts", stays=known)
    return replace(verdict, status=Status(says)) if known else replace(verdict, judging=len(accounts))


def _waits(snapshot: RowSnapshot, why: str, *, stays: bool) -> Verdict:
    reason, matched = sentence([why], snapshot.still_in_effect), None if snapshot.published else 0
    ending = Ending.NOTHING if stays or not snapshot.row or snapshot.is_published else Ending.SAY
    return Verdict(Status.WAITING, reason, snapshot.revision, matched=matched, held=None, ending=ending)

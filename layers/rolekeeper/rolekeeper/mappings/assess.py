"""Assessing a row, without writing anything: ask the accounts that it concerns, and fold their answers to a verdict.

A row that fails its checks, or isn't approved yet, changes nothing: the last good revision stays in effect.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError
from rolekeeper.instances.window import counted_with
from rolekeeper.mappings.accounts import MappedTarget, MappedTargets, Question, named
from rolekeeper.mappings.findings import AccountVerdict, silent
from rolekeeper.mappings.impact import Edit, Impact, ImpactScanner, Scan, with_permissions, within_limits
from rolekeeper.mappings.revisions import AccountRecord, Revisions, StoredMapping
from rolekeeper.mappings.rollout import Rollout, roll_out, wanted_records
from rolekeeper.mappings.snapshot import RowSnapshot
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

type Answers = Mapping[str, AccountVerdict]


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

    def assess(self, snapshot: RowSnapshot, found: Answers | None = None) -> Verdict:
        """Judge a row, or a deleted one; an AwsRefusalError says that AWS gave no answer, or refused one.

        If runs of their own asked the other accounts, `found` is what they answered; one without an answer gave none.
        """
        refresh, published = None, snapshot.published
        if snapshot.row and published and (snapshot.trigger.recheck or snapshot.parsed.spec == published.spec):
            snapshot = self._counted(snapshot, published)
            if refresh := self._refreshed(snapshot, published):
                snapshot = snapshot.refreshed(refresh)
        question = self._question(snapshot)
        answers = self._answers(snapshot, question, found) if question else {}
        rivals = list(self.scanner.rivals(snapshot.key, snapshot.stored)) if question and not snapshot.deletes else []
        verdict = self.fold(snapshot, answers, rivals)
        if verdict.impact and verdict.impact.fleet is not None:
            # How much may change depends on how many instances there are by now.
            verdict = self.fold(snapshot, self._with_sizes(answers), rivals)
        ends_soon = self._ends_soon(snapshot, verdict) if verdict.ending is Ending.KEEP else ""
        return replace(self._with_count(snapshot, verdict), refresh=refresh, ends_soon=ends_soon)

    # ---- asking ----

    def asked(self, snapshot: RowSnapshot) -> list[MappedTarget]:
        """Return the targets beside `home` whose accounts are asked about a row."""
        targets, stored, question = self.targets, snapshot.stored, self._question(snapshot)
        if question is None:
            return []
        spec = question.mapping.spec
        if snapshot.deletes:
            accounts = {*stored.records}
        elif not snapshot.is_kept:
            accounts = {*targets.in_scope(spec), *stored.records}
        else:
            accounts = targets.stale(spec, stored) if snapshot.trigger.recheck else {*targets.in_scope(spec)}
        return [one for one in targets.all[1:] if one.target.account in accounts]

    def judge_in(self, snapshot: RowSnapshot, account: str, in_time: Callable[[], bool]) -> AccountVerdict:
        """Judge a row in one account, in a run for that account; `home` itself is asked by the run that judges."""
        question, stamp = self._question(snapshot), snapshot.stamp(account)
        if question is None:
            return AccountVerdict(stamp)
        asked = [one for one in self.targets.of_account(account) if one.target != self.targets.home]
        verdict = self.targets.judge_in(account, replace(question, in_time=in_time), asked)
        changed = [Target(account, region) for region, scan in verdict.scans.items() if scan.impact.changes]
        sizes = self.targets.sizes(changed) if in_time() else {}
        return replace(verdict, stamp=stamp, sizes={target.region: size for target, size in sizes.items()})

    def _question(self, snapshot: RowSnapshot) -> Question | None:
        """Return what accounts are asked about a row; nothing if it says nothing that could be published."""
        stored, spec, targets = snapshot.stored, snapshot.parsed.spec, self.targets
        mapping = PublishedMapping(spec, 0, "") if spec else None
        if snapshot.deletes:
            mapping = snapshot.tombstone if snapshot.published else None
        if mapping is None or snapshot.to_discard:
            return None
        question = Question(mapping, stored, snapshot.at, given=lambda: self.revisions.profiles(snapshot.key))
        if mapping.deleted:
            return question
        if snapshot.is_kept:
            return replace(question, scans_in={targets.home.account, *targets.uncounted(mapping.spec, stored)})
        return replace(question, alone=len({*targets.in_scope(mapping.spec), *stored.records}) == 1)

    def _answers(self, snapshot: RowSnapshot, question: Question, found: Answers | None) -> Answers:
        """Ask `home`, and the other accounts that a row concerns unless others asked them already."""
        targets, own = self.targets, self.targets.home.account
        of_account = {own: [targets.own]}
        for one in self.asked(snapshot):
            of_account.setdefault(one.target.account, []).append(one)
        if scan := self._found(snapshot, question.mapping):
            question = replace(question, found={targets.home: scan})

        def ask(account: str) -> AccountVerdict:
            if found is None:
                return targets.judge_in(account, question, of_account[account])
            if account != own:
                return found.get(account, silent())
            elsewhere = [one.target.region for one in of_account[own][1:]]
            return targets.judge_in(own, question, [targets.own]).beside(found.get(own), elsewhere)

        return dict(zip(of_account, targets.each(ask, list(of_account)), strict=True))

    def _found(self, snapshot: RowSnapshot, mapping: PublishedMapping) -> Scan | None:
        """Return what is known at home without asking EC2: the sweep may have counted just now what stays published."""
        own, spec = self.targets.home.account, mapping.spec
        if mapping.deleted or not snapshot.is_kept:
            return None
        role = self.targets.check(own, spec) if own in self.targets.in_scope(spec) else RoleCheck()
        if not self._is_same(snapshot, self._candidate(snapshot, spec, role)):
            return None
        return Scan() if mapping.is_idle(snapshot.at) else snapshot.trigger.scan

    def _with_sizes(self, answers: Answers) -> Answers:
        """Count the targets that would change, and `home` if it was asked, unless that is done."""
        scans = {
            Target(account, region): scan for account, one in answers.items() for region, scan in one.scans.items()
        }
        known = {Target(account, region) for account, one in answers.items() for region in one.sizes}
        changing = {target for target, scan in scans.items() if scan.impact.changes or target == self.targets.home}
        sizes = self.targets.sizes(changing - known)

        def sized(account: str, verdict: AccountVerdict) -> AccountVerdict:
            more = {target.region: size for target, size in sizes.items() if target.account == account}
            return replace(verdict, sizes={**verdict.sizes, **more})

        return {account: sized(account, verdict) for account, verdict in answers.items()}

    # ---- folding what they answered: without asking anybody ----

    def fold(self, snapshot: RowSnapshot, answers: Answers, rivals: Sequence[PublishedMapping]) -> Verdict:
        """Return the verdict that follows from what accounts answered; `rivals` have the same tag key."""
        if held := snapshot.to_discard:
            what = f"its {'deletion' if held.deleted else 'edit'} was discarded, and changed no instance"
            verdict = Verdict(Status.DISCARDED, what, snapshot.revision, ending=Ending.DISCARD, mapping=held)
        elif snapshot.deletes:
            verdict = self._deletion(snapshot, answers)
        else:
            verdict = self._row(snapshot, answers, rivals)
        records = self._unfinished(snapshot) if verdict.records is None else verdict.records
        return replace(verdict, records=records)

    def refuse(
        self, snapshot: RowSnapshot, status: Status, why: Iterable[Problem | str], scan: Scan | None = None
    ) -> Verdict:
        """Return the verdict that nothing changes; the row says why, and where what is published isn't in effect."""
        published, missing = snapshot.published, set[str]()
        if published and not snapshot.stored.overtaken:
            missing = self.targets.uncounted(published.spec, snapshot.stored)
        lacks = f"revision {snapshot.revision} isn't in effect in {named(sorted(missing))}" if missing else ""
        reason, matched = sentence((*why, lacks), snapshot.still_in_effect), self._matched(snapshot, scan)
        verdict = Verdict(status, reason, snapshot.revision, matched=matched, done=snapshot.acted_on())
        return replace(verdict, ending=Ending.SAY, mapping=snapshot.published, scan=scan)

    def _row(self, snapshot: RowSnapshot, answers: Answers, rivals: Sequence[PublishedMapping]) -> Verdict:
        spec, warnings, stored = snapshot.parsed.spec, snapshot.parsed.warnings, snapshot.stored
        if spec is None:
            return self.refuse(snapshot, Status.REJECTED, (*snapshot.parsed.problems, *warnings))
        role = answers[stored.home].check or RoleCheck()
        candidate = self._candidate(snapshot, spec, role)
        if same := self._is_same(snapshot, candidate):
            candidate, answers = (
                replace(candidate, revision=snapshot.revision),
                {**self._known(snapshot, spec), **answers},
            )
        late = self.targets.uncounted(spec, stored) if same else set[str]()
        # Where nobody counted yet what it changes, its own sweep publishes it.
        now = {account: one.without_scans() if account in late else one for account, one in answers.items()}
        rollout = self._rolled_out(snapshot, candidate, now)
        if rollout.nowhere:
            usable = any(one.check and not one.check.problem for one in answers.values())
            status = Status.WAITING if usable or not rollout.checks else Status.REJECTED
            return self.refuse(snapshot, status, (*rollout.why_not, *warnings))
        if same:
            rollout = self._unchanged(stored, rollout, late)
        candidate, scan = rollout.records[stored.home].mapping, rollout.scan
        scan.conflicts.add_possible(candidate, stored.published, rivals, now=snapshot.at)
        if scan.conflicts.new and not same:
            return self.refuse(snapshot, Status.CONFLICT, (str(scan.conflicts),), scan=scan)
        notes = [*warnings, *self._notes(spec, role, scan)]
        missing = role.missing
        if missing and (withheld := stored.control.withholds(self.mode)):
            missing = ""
            notes.append(Problem(f"instance profile '{spec.profile_name}' is made later: {withheld.reason}"))
        verdict = self._in_effect(snapshot, candidate, scan, rollout=rollout, notes=notes)
        verdict = replace(verdict, ending=Ending.PUBLISH, scan=scan, missing=missing, records=rollout.records)
        if not same:
            return self._unless_held(snapshot, verdict, rollout, notes=notes)
        return self._unless_late(snapshot, replace(verdict, ending=Ending.KEEP), answers, notes=notes)

    def _is_same(self, snapshot: RowSnapshot, candidate: PublishedMapping) -> bool:
        """Return whether a row says what is published, and its profile is the very one."""
        published = snapshot.published
        return snapshot.is_kept and published is not None and candidate.profile_arn == published.profile_arn

    def _candidate(self, snapshot: RowSnapshot, spec: MappingSpec, role: RoleCheck | None) -> PublishedMapping:
        """Return the candidate for `home`, given its role check."""
        home, mapping = snapshot.stored.home, PublishedMapping(spec, 0, "")
        made = self.targets.record(home, mapping, snapshot.stored.records.get(home), check=role)
        assert made is not None  # home always has one
        return snapshot.numbered(made.mapping).suspended_for(made.mapping.problem)

    def _known(self, snapshot: RowSnapshot, spec: MappingSpec) -> Answers:
        """Return what the records of other accounts say: their own sweeps found it."""
        stored, known = snapshot.stored, dict[str, AccountVerdict]()
        if snapshot.trigger.recheck:
            for account in {*self.targets.in_scope(spec)} - self.targets.stale(spec, stored) - {stored.home}:
                there = stored.records[account].mapping
                known[account] = AccountVerdict(check=RoleCheck(there.problem, "", there.profile_arn))
        return known

    def _rolled_out(self, snapshot: RowSnapshot, mapping: PublishedMapping, answers: Answers) -> Rollout:
        return roll_out(mapping, snapshot.stored, answers, targets=self.targets, at=snapshot.at)

    def _unchanged(self, stored: StoredMapping, rollout: Rollout, late: Collection[str]) -> Rollout:
        """Return what is published already: other targets' own sweeps counted there."""
        matched, foreign = self.targets.counted(stored)
        scan = replace(rollout.scan, matched=rollout.scan.matched + matched, foreign=rollout.scan.foreign + foreign)
        records = {account: record for account, record in rollout.records.items() if account not in late}
        return replace(rollout, records=records, scan=scan)

    def _ends_soon(self, snapshot: RowSnapshot, verdict: Verdict) -> str:
        """What to report of a mapping that will soon take more roles away than an edit may; empty if it won't."""
        mapping, limits = verdict.mapping, self.scanner.limits
        assert mapping is not None  # it is in effect
        spec, ends_at = mapping.spec, mapping.spec.expires_at
        carrying = (verdict.matched or 0) - (verdict.occupied or 0)
        if snapshot.stored.end_reported or not snapshot.trigger.recheck or mapping.is_idle(snapshot.at):
            return ""
        if spec.role == NO_ROLE or spec.when_unmatched is not WhenUnmatched.DETACH:
            return ""
        if ends_at is None or ends_at - snapshot.at > SOON or carrying <= limits.per_edit:
            return ""
        fleet = sum(self._fleets(self.targets.sizes({self.targets.home})).values())
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
        if not snapshot.trigger.recheck or snapshot.trigger.scan is not None or published.is_idle(snapshot.at):
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

    def _compared(self, rollout: Rollout, took: int, elsewhere: int | None = None) -> Impact:
        """What a candidate, or a tombstone, would do in all accounts, with permissions; other edits `took` so much.

        `elsewhere` is how many instances there are in all, if there are more targets than those known here.
        """
        sizes = self._fleets(rollout.sizes)
        if elsewhere is not None:
            sizes[_ELSEWHERE] = max(0, elsewhere - sum(sizes.values()))
        impact = with_permissions(rollout.scan.impact, rollout.gains)
        impact = within_limits(impact, self.scanner.limits, took=took, shares=rollout.shares, sizes=sizes)
        if rollout.unknown:
            # What nobody counted is more than may change.
            unknown = f"nobody counted yet how many instances there are in {', '.join(map(str, rollout.unknown))}"
            impact = replace(impact, alone="; ".join(part for part in (impact.alone, unknown) if part))
        return impact

    def _fleets(self, counted: Mapping[Target, int]) -> dict[Target, int]:
        """How many instances each target has: as it was `counted` now, or by its last sweep."""
        return {one.target: counted.get(one.target, one.instances) for one in self.targets.all}

    def late(self, stored: StoredMapping, target: Target, at: datetime) -> Late | None:
        """Judge what is published in the account of a swept target, in which nobody counted what it changes.

        None where somebody did. An AwsRefusalError says that the target itself gave no answer; its account's other
        Regions count at most.
        """
        published, account = stored.published, target.account
        if published is None or account not in self.targets.uncounted(published.spec, stored):
            return None
        question = Question(published, stored, at, given=lambda: self.revisions.profiles(published.key))
        answer = self.targets.judge_in(account, question, self.targets.of_account(account))
        if refusal := answer.refusal or answer.refused.get(target.region):
            raise refusal
        answers = {account: answer}
        late = self._fold_late(stored, answers, at)
        if late.impact.fleet is None:
            return late
        return self._fold_late(stored, self._with_sizes(answers), at, fleet=self.revisions.fleet())

    def _fold_late(self, stored: StoredMapping, answers: Answers, at: datetime, *, fleet: int = 0) -> Late:
        """Return what follows from an account's answer; all targets have `fleet` instances in all."""
        (account,), published = answers, stored.published
        assert published is not None  # it was asked about
        rollout = roll_out(published, stored, answers, targets=self.targets, at=at, only=answers)
        took = counted_with(stored.edits, self.scanner.limits.minutes, at, moments=rollout.scan.impact.changes_at)
        impact = self._compared(rollout, took, fleet)
        covered = self._is_covered(stored, impact)
        held = stored.held_again or (impact.needs_approval and not covered)
        return Late(rollout.records[account], impact, covered=covered, held=held)

    def _is_covered(self, stored: StoredMapping, impact: Impact) -> bool:
        """Whether as many changes were counted, or approved, already while the accounts gave no answer.

        Nobody was shown what is severe there, and nobody but an approver what a target's own share is.
        """
        if impact.severe or not impact.changes:
            return False
        return impact.changes <= stored.unseen and (stored.approved or not impact.alone)

    def _unless_late(
        self, snapshot: RowSnapshot, verdict: Verdict, answers: Answers, notes: Iterable[Problem]
    ) -> Verdict:
        """This verdict that nothing changes; or, if too much would in accounts that answer only now, that it is held.

        Their own sweeps publish what isn't too much.
        """
        stored, mapping = snapshot.stored, verdict.mapping
        assert mapping is not None  # it is in effect
        candidate = snapshot.numbered(mapping).suspended_for(mapping.problem)
        late = self.targets.uncounted(mapping.spec, stored)
        if not (again := snapshot.holds(candidate)):
            late = {account for account in late if account in answers and answers[account].check}
        if not late:
            return verdict
        theirs = {account: one if account in late else one.without_scans() for account, one in answers.items()}
        rollout = roll_out(candidate, stored, theirs, targets=self.targets, at=snapshot.at, only=late)
        edit = self._in_effect(snapshot, candidate, verdict.scan or Scan(), rollout=rollout, notes=notes)
        edit = replace(edit, ending=Ending.PUBLISH, scan=verdict.scan, missing=verdict.missing, records=rollout.records)
        edit = self._unless_held(snapshot, edit, rollout, notes=notes)
        if edit.ending is Ending.HOLD and edit.impact and (again or not self._is_covered(stored, edit.impact)):
            return replace(edit, matched=verdict.matched)
        return edit if again and edit.ending is Ending.PUBLISH else verdict

    def _unfinished(self, snapshot: RowSnapshot) -> Mapping[str, AccountRecord]:
        """The records of what stays published: after a crash some may not be written yet.

        Those of accounts in its scope their own sweeps write; no sweep looks for tombstones.
        """
        published, stored = snapshot.stored.published, snapshot.stored
        if published is None or stored.overtaken:
            return {}
        if published.deleted:
            return wanted_records(published, stored, targets=self.targets, checks={})
        stale = self.targets.stale(published.spec, stored)
        return {account: record for account, record in stored.records.items() if account not in stale}

    def _in_effect(
        self, snapshot: RowSnapshot, mapping: PublishedMapping, scan: Scan, rollout: Rollout, notes: Iterable[Problem]
    ) -> Verdict:
        spec = mapping.spec
        done = snapshot.acted_on(mapping.revision)
        # A column that is taken out of the row needs no warning.
        shown = [each for each in notes if each.column not in done]
        status = Status.PUBLISHED
        if scan.conflicts:
            status, what = Status.CONFLICT, f"{scan.conflicts}; until then such instances stay as they are"
        elif spec.expired(snapshot.at):
            status, what = Status.EXPIRED, f"it expired at {spec.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        else:
            what = "" if spec.enabled else "it is disabled and governs no instance"
        approval = "" if "approve" in done else snapshot.about_approval(0)
        reason = sentence([what, *rollout.words("" if what else IN_EFFECT), *shown, approval]) or IN_EFFECT
        return Verdict(
            status, reason, mapping.revision, matched=scan.matched, occupied=scan.foreign, done=done, mapping=mapping
        )

    def _deletion(self, snapshot: RowSnapshot, answers: Answers) -> Verdict:
        """The row is gone, or was put back as its deletion is held: a tombstone should replace the mapping."""
        if snapshot.trigger.row_listed and not snapshot.row:
            return Verdict(Status.REMOVED)
        if snapshot.published is None:
            # It is deleted already; after a crash the row may be left.
            return Verdict(Status.REMOVED, ending=Ending.REMOVE if snapshot.row else Ending.NOTHING)
        tombstone = snapshot.tombstone
        assert tombstone is not None  # something is published
        why = "its row was deleted" + (", as approved" if snapshot.approves(tombstone) else "")
        rollout = self._rolled_out(snapshot, tombstone, answers)
        why = "; ".join([why, *rollout.words("", "removes")])
        removed = Verdict(Status.REMOVED, why, tombstone.revision, ending=Ending.REMOVE, mapping=tombstone)
        return self._unless_held(snapshot, replace(removed, scan=rollout.scan, records=rollout.records), rollout)

    def _unless_held(
        self, snapshot: RowSnapshot, verdict: Verdict, rollout: Rollout, notes: Iterable[Problem] = ()
    ) -> Verdict:
        """This verdict on a candidate; or, if a person has to approve what it would do, that it is held."""
        candidate, scan = verdict.mapping, verdict.scan
        assert candidate is not None
        assert scan is not None  # what was found
        took = snapshot.others_took(candidate, self.scanner.limits.minutes, rollout.scan.impact.changes_at)
        impact = self._compared(rollout, took)
        # What was signed is what was shown: for more than that the number changes, and it has to be signed again.
        outgrown = snapshot.outgrown(candidate, impact, rollout)
        candidate = replace(candidate, revision=snapshot.next_number) if outgrown else candidate
        number = candidate.revision
        # Nobody knows what a held edit would change where an account gives no answer: its silence publishes nothing.
        asks = outgrown is not None or impact.needs_approval or (snapshot.holds(candidate) and rollout.unanswered)
        if snapshot.approves(candidate) or not asks:
            return replace(verdict, impact=impact, assumed=rollout.assumed)
        it = "deleting it" if candidate.deleted else "it"
        steps = map(str, approval_steps(snapshot.key, number, deletes=candidate.deleted))
        before = snapshot.stored.held if snapshot.holds(candidate) else None
        outgrown = outgrown or (before.outgrown if before else None)
        more: list[Problem | str] = [_what_came(outgrown) if outgrown else "", *rollout.held_words, *notes]
        last = "; ".join(each for each in (snapshot.still_in_effect, snapshot.about_approval(number)) if each)
        reason, matched = sentence([f"{it} would {impact}", *steps, *more], last), scan.published_matched
        besides = sentence([f"{it} would {impact.extent}", *more], last)
        waits = Verdict(Status.HELD, reason, snapshot.revision, matched=matched, held=number, done=snapshot.acted_on())
        # The approval checks again whether the hub's own account can use the role.
        held = candidate.suspended_for(None)
        shown = Held(
            held,
            snapshot.at,
            took=impact.took,
            changes=impact.changes,
            takes=impact.takes,
            severe=frozenset(impact.severe),
            counted_in=frozenset(rollout.records),
            outgrown=outgrown,
        )
        return replace(waits, ending=Ending.HOLD, mapping=held, impact=impact, besides=besides, shown=shown)

    def _matched(self, snapshot: RowSnapshot, scan: Scan | None) -> int | None:
        """How many instances the published mapping governs; None if that isn't known, or the row says it."""
        if snapshot.published is None or snapshot.published.is_idle(snapshot.at):
            return 0
        if snapshot.trigger.scan:
            return snapshot.trigger.scan.matched + self.targets.counted(snapshot.stored)[0]
        return scan.published_matched if scan else None

    def refused(self, snapshot: RowSnapshot, problem: Problem) -> Verdict:
        """Return the verdict that nothing changes, because of a problem that was found while it was carried out."""
        return self._with_count(snapshot, self.refuse(snapshot, Status.REJECTED, (problem,)))

    def _with_count(self, snapshot: RowSnapshot, verdict: Verdict) -> Verdict:
        """Count what stays published for a row that says nothing of it."""
        published = snapshot.published
        if verdict.ending is not Ending.SAY or verdict.matched is not None or published is None:
            return verdict
        # Without the count the row still says what is wrong with it; the sweep counts again.
        with suppress(AwsRefusalError):
            if "matched" not in snapshot.row:
                found = self.scanner.scan(Edit(published, published, snapshot.at)).published_matched
                return replace(verdict, matched=found + self.targets.counted(snapshot.stored)[0])
        return verdict


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

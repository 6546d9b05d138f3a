"""Assessing a row, without writing anything: ask the accounts that it concerns, and fold their answers to a verdict."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError
from rolekeeper.mappings.accounts import AllTargets, AssessmentContext, TargetScope
from rolekeeper.mappings.findings import AccountVerdict, silent
from rolekeeper.mappings.fold import Answers, Folding
from rolekeeper.mappings.impact import Edit, Scan
from rolekeeper.mappings.revisions import Revisions, StoredMapping
from rolekeeper.mappings.rollout import by_target
from rolekeeper.mappings.snapshot import RowSnapshot
from rolekeeper.mappings.verdict import PROFILE_RECREATED, Ending, Late, Refresh, Status, Verdict
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import NO_ROLE, Mode, PublishedMapping, WhenUnmatched
from rolekeeper.model.problem import Problem, Reason, ReasonCode
from rolekeeper.permissions.roles import RoleCheck
from rolekeeper.storage import layout

# How long before a mapping expires it is reported that many instances will lose its role.
SOON = timedelta(days=1)
# What a row says that says nothing of what is in effect.
_REFUSED = (Status.REJECTED, Status.CONFLICT)


@dataclass(frozen=True)
class Assessor:
    """Judges rows. It caches IAM's answers and the fleet's size, so make a new one for each invocation."""

    targets: AllTargets
    revisions: Revisions
    mode: Mode

    @cached_property
    def _folding(self) -> Folding:
        return Folding(self.targets, self.mode)

    def assess(self, snapshot: RowSnapshot, found: Answers | None = None) -> Verdict:
        """Judge a row, or a deleted one; an AwsRefusalError says that AWS gave no answer, or refused one.

        If runs of their own asked the other accounts, `found` is what they answered; one without an answer gave none.
        """
        refresh, published = None, snapshot.published
        if snapshot.row and published and (snapshot.trigger.recheck or snapshot.parsed.spec == published.spec):
            snapshot = self._counted(snapshot, published)
            if refresh := self._refreshed(snapshot, published):
                snapshot = snapshot.refreshed(refresh)
        context = self._context(snapshot)
        answers = self._answers(snapshot, context, found) if context else {}
        scanner = self.targets.own.scanner
        rivals = list(scanner.rivals(snapshot.key, snapshot.stored)) if context and not snapshot.deletes else []
        verdict = self._folding.fold(snapshot, answers, rivals)
        if verdict.impact and verdict.impact.fleet is not None:
            # How much may change depends on how many instances there are by now.
            verdict = self._folding.fold(snapshot, self._with_sizes(answers), rivals)
        if refresh and verdict.missing:  # the row says so if that can't be made
            refresh = replace(refresh, missing="")
        ends_soon = self._ends_soon(snapshot, verdict) if verdict.ending is Ending.KEEP else None
        return replace(self._with_count(snapshot, verdict), refresh=refresh, ends_soon=ends_soon)

    def targets_to_ask(self, snapshot: RowSnapshot) -> list[TargetScope]:
        """Return the targets beside `home` whose accounts are asked about a row."""
        targets, stored, context = self.targets, snapshot.stored, self._context(snapshot)
        if context is None:
            return []
        spec = context.mapping.spec
        if snapshot.deletes:
            accounts = {*stored.records}
        elif not snapshot.is_kept:
            accounts = {*targets.in_scope(spec), *stored.records}
        else:
            accounts = targets.stale(spec, stored) if snapshot.trigger.recheck else {*targets.in_scope(spec)}
        return [one for one in targets.all[1:] if one.target.account in accounts]

    def judge_in(self, snapshot: RowSnapshot, account: str, in_time: Callable[[], bool]) -> AccountVerdict:
        """Judge a row in one account, in a run for that account; `home` itself is asked by the run that judges."""
        context, stamp = self._context(snapshot), snapshot.stamp(account)
        if context is None:
            return AccountVerdict(stamp)
        asked = [one for one in self.targets.of_account(account) if one.target != self.targets.home]
        # No other account of the scope is known here.
        verdict = self.targets.judge_in(account, replace(context, in_time=in_time, alone=False), asked)
        changed = [Target(account, region) for region, scan in verdict.scans.items() if scan.impact.changes]
        sizes = self.targets.sizes(changed) if in_time() else {}
        return replace(verdict, stamp=stamp, sizes={target.region: size for target, size in sizes.items()})

    def _context(self, snapshot: RowSnapshot) -> AssessmentContext | None:
        """Return what accounts are asked about a row; nothing if it says nothing that could be published."""
        stored, spec, targets = snapshot.stored, snapshot.parsed.spec, self.targets
        mapping = PublishedMapping(spec, 0, "") if spec else None
        if snapshot.deletes:
            mapping = snapshot.tombstone if snapshot.published else None
        if mapping is None:
            return None
        context = AssessmentContext(mapping, stored, snapshot.at, given=lambda: self.revisions.profiles(snapshot.key))
        if mapping.deleted:
            return context
        if snapshot.is_kept:
            return replace(context, scans_in={targets.home.account, *targets.stale(mapping.spec, stored)})
        return replace(context, alone=len({*targets.in_scope(mapping.spec), *stored.records}) == 1)

    def _answers(self, snapshot: RowSnapshot, context: AssessmentContext, found: Answers | None) -> Answers:
        """Ask `home`, and the other accounts that a row concerns unless others asked them already."""
        targets, own = self.targets, self.targets.home.account
        of_account = {own: [targets.own]}
        for one in self.targets_to_ask(snapshot):
            of_account.setdefault(one.target.account, []).append(one)
        if scan := self._found(snapshot, context.mapping):
            context = replace(context, found={targets.home: scan})

        def ask(account: str) -> AccountVerdict:
            if found is None:
                return targets.judge_in(account, context, of_account[account])
            if account != own:
                return found.get(account, silent())
            elsewhere = [one.target.region for one in of_account[own][1:]]
            return targets.judge_in(own, context, [targets.own]).beside(found.get(own), elsewhere)

        answers = dict(zip(of_account, targets.map_concurrently(ask, list(of_account)), strict=True))
        if refusal := answers[own].refusal_in(targets.home.region):
            # What is in effect depends on its answer.
            raise refusal
        return answers

    def _found(self, snapshot: RowSnapshot, mapping: PublishedMapping) -> Scan | None:
        """Return what is known at home without asking EC2: the sweep may have counted just now what stays published."""
        own, spec = self.targets.home.account, mapping.spec
        if mapping.deleted or not snapshot.is_kept:
            return None
        role = self.targets.check(own, spec) if own in self.targets.in_scope(spec) else RoleCheck()
        if not self._folding.is_same(snapshot, self._folding.candidate(snapshot, spec, role)):
            return None
        return Scan() if mapping.is_idle(snapshot.at) else snapshot.trigger.scan

    def _with_sizes(self, answers: Answers) -> Answers:
        """Count the targets that would change, and `home` if it was asked, unless that is done."""
        scans = by_target({account: answer.scans for account, answer in answers.items()})
        known = by_target({account: answer.sizes for account, answer in answers.items()})
        changing = {target for target, scan in scans.items() if scan.impact.changes or target == self.targets.home}
        sizes = self.targets.sizes(changing - known.keys())
        more: dict[str, dict[str, int]] = {account: {} for account in answers}
        for target, size in sizes.items():
            more[target.account][target.region] = size
        return {account: replace(one, sizes={**one.sizes, **more[account]}) for account, one in answers.items()}

    def _counted(self, snapshot: RowSnapshot, published: PublishedMapping) -> RowSnapshot:
        """Return the same with what the mapping governs, where no sweep counted it.

        Only the instances show that they carry a deleted profile of the same name.
        """
        if not snapshot.trigger.recheck or snapshot.trigger.scan is not None or published.is_idle(snapshot.at):
            return snapshot
        scan = self.targets.own.scanner.scan(Edit(published, published, snapshot.at))
        return replace(snapshot, trigger=replace(snapshot.trigger, scan=scan))

    def _refreshed(self, snapshot: RowSnapshot, published: PublishedMapping) -> Refresh | None:
        """Suspend what is published if its role can't be used, resume it if it can, and update its profile's id."""
        if self.targets.home.account not in self.targets.in_scope(published.spec):
            return None
        role = self.targets.own.roles.check(published.spec)
        missing = "" if snapshot.stored.control.withholds(self.mode) else role.missing
        carried = snapshot.trigger.scan.profile_ids if snapshot.trigger.scan else frozenset[str]()
        now = published.suspended_for(role.problem).with_profile_id(role.profile_id, carried)
        if now.problem != published.problem:
            event, why = ("Mapping Suspended", [role.problem.reason()]) if role.problem else ("Mapping Resumed", [])
            return Refresh(now, snapshot.entry(event, now, *why), missing)
        if now.former_profile_ids != published.former_profile_ids:
            what = ReasonCode.PROFILE_RECREATED(profile=published.spec.profile_name)
            return Refresh(now, snapshot.entry(PROFILE_RECREATED, now, what))
        return Refresh(now, missing=missing) if missing or now.profile_id != published.profile_id else None

    def _ends_soon(self, snapshot: RowSnapshot, verdict: Verdict) -> Reason | None:
        """Report a mapping that will soon take more roles away than an edit may; None if it won't."""
        mapping, limits = verdict.mapping, self.targets.own.scanner.limits
        assert mapping is not None  # it is in effect
        spec, ends_at = mapping.spec, mapping.spec.expires_at
        carrying = (verdict.matched or 0) - (verdict.occupied or 0)
        if snapshot.stored.end_reported or not snapshot.trigger.recheck or mapping.is_idle(snapshot.at):
            return None
        if spec.role == NO_ROLE or spec.when_unmatched is not WhenUnmatched.DETACH:
            return None
        if ends_at is None or ends_at - snapshot.at > SOON or carrying <= limits.per_edit:
            return None
        fleet = sum(self._folding.fleets(self.targets.sizes({self.targets.home})).values())
        if carrying <= (allowed := limits.allowed(fleet)):
            return None
        counts = {"carrying": carrying, "fleet": fleet, "allowed": allowed}
        return ReasonCode.EXPIRES_SOON(at=f"{ends_at:%Y-%m-%dT%H:%M:%SZ}", **counts)

    def late(self, stored: StoredMapping, target: Target, at: datetime) -> Late | None:
        """Judge what is published in the account of a swept target, in which nobody counted what it changes.

        None where it was counted. An AwsRefusalError says that the target itself gave no answer; its account's other
        Regions count at most.
        """
        published, account = stored.published, target.account
        if published is None or account not in self.targets.uncounted(published.spec, stored):
            return None
        context = AssessmentContext(published, stored, at, given=lambda: self.revisions.profiles(published.key))
        answer = self.targets.judge_in(account, context, self.targets.of_account(account))
        if refusal := answer.refusal_in(target.region):
            raise refusal
        answers = {account: answer}
        late = self._folding.late(stored, answers, at)
        if late.impact.fleet is None:
            return late
        return self._folding.late(stored, self._with_sizes(answers), at, fleet=self.revisions.fleet(self.targets.home))

    def refused(self, snapshot: RowSnapshot, problem: Problem) -> Verdict:
        """Return the verdict that nothing changes, because of a problem that was found while it was carried out."""
        return self._with_count(snapshot, self._folding.refuse(snapshot, Status.REJECTED, (problem.reason(),)))

    def _with_count(self, snapshot: RowSnapshot, verdict: Verdict) -> Verdict:
        """Count what stays published for a row that says nothing of it."""
        published = snapshot.published
        if verdict.ending is not Ending.SAY or verdict.matched is not None or published is None:
            return verdict
        # Without the count the row still says what is wrong with it; the sweep counts again.
        with suppress(AwsRefusalError):
            if "matched" not in snapshot.row:
                found = self.targets.own.scanner.scan(Edit(published, published, snapshot.at)).published_matched
                return replace(verdict, matched=found + self.targets.counted(snapshot.stored)[0])
        return verdict


def waiting(snapshot: RowSnapshot, error: AwsRefusalError) -> Verdict:
    """Return the verdict on a row that AWS didn't answer about. A row in effect, or held, stays as it is."""
    why = ReasonCode.NO_ANSWER_FROM_AWS(error=error.code, action=error.action)
    if isinstance(error, AccessDeniedError):
        why = ReasonCode.NOT_ALLOWED(action=error.action, resource=error.resource)
    return _waits(snapshot, why, stays=snapshot.trigger.recheck and "held_revision" in snapshot.row)


def in_progress_verdict(snapshot: RowSnapshot, accounts: Sequence[str]) -> Verdict:
    """Return the verdict while these accounts are asked: what the row says stays until they answered."""
    row, stored = snapshot.row, snapshot.stored
    says = str(layout.plain(row["status"])) if snapshot.trigger.recheck and "status" in row else ""
    pending = bool(stored.held and not stored.held.outcome)
    known = says in _REFUSED or (says == Status.HELD and pending) or (says in Status and snapshot.is_published)
    verdict = _waits(snapshot, ReasonCode.BEING_JUDGED(accounts=len(accounts)), stays=known)
    return replace(verdict, status=Status(says)) if known else replace(verdict, judging=len(accounts))


def _waits(snapshot: RowSnapshot, why: Reason, *, stays: bool) -> Verdict:
    reasons, matched = (why, *snapshot.still_in_effect), None if snapshot.published else 0
    ending = Ending.NOTHING if stays or not snapshot.row or snapshot.is_published else Ending.SAY
    return Verdict(Status.WAITING, reasons, snapshot.revision, matched=matched, held=None, ending=ending)

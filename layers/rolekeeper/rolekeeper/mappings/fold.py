"""Folding what accounts answered about a row to a verdict. It is pure: it asks nobody, and reads nothing.

A row that fails its checks, or isn't approved yet, changes nothing: the last good revision stays in effect.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rolekeeper.instances.window import counted_with
from rolekeeper.mappings.accounts import AllTargets
from rolekeeper.mappings.findings import AccountVerdict
from rolekeeper.mappings.impact import Impact, Scan, with_permissions, within_limits
from rolekeeper.mappings.revisions import AccountRecord, StoredMapping
from rolekeeper.mappings.rollout import Rollout, by_target, roll_out, wanted_records
from rolekeeper.mappings.snapshot import RowSnapshot, digest_of
from rolekeeper.mappings.verdict import Ending, Late, Status, Verdict, approval_steps, in_waves
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import NO_ROLE, Held, MappingSpec, Mode, PublishedMapping, WhenOccupied
from rolekeeper.model.problem import Problem, Reason, ReasonCode
from rolekeeper.model.waves import Progress, Waves
from rolekeeper.permissions.roles import RoleCheck

# Stands for the targets that aren't known where a single account is judged.
_ELSEWHERE = Target("", "")

type Answers = Mapping[str, AccountVerdict]


@dataclass(frozen=True)
class Folding:
    """Makes verdicts of answers, as the deployment's settings and the registry's last counts have it."""

    targets: AllTargets
    mode: Mode

    def fold(self, snapshot: RowSnapshot, answers: Answers, rivals: Sequence[PublishedMapping]) -> Verdict:
        """Return the verdict that follows from what accounts answered; `rivals` have the same tag key."""
        verdict = self._deletion(snapshot, answers) if snapshot.deletes else self._row(snapshot, answers, rivals)
        records = self._unfinished(snapshot) if verdict.records is None else verdict.records
        return replace(verdict, records=records)

    def refuse(self, snapshot: RowSnapshot, status: Status, why: Iterable[Reason], scan: Scan | None = None) -> Verdict:
        """Return the verdict that nothing changes; the row says why, and where what is published isn't in effect."""
        published, stored, revision = snapshot.published, snapshot.stored, snapshot.revision
        missing = sorted(self.targets.uncounted(published.spec, stored)) if published and not stored.overtaken else []
        lacks = [ReasonCode.NOT_IN_EFFECT_IN(revision=revision, accounts=missing)] if missing else []
        reasons, matched = (*why, *lacks, *snapshot.still_in_effect), self._matched(snapshot, scan)
        verdict = Verdict(status, reasons, revision, matched=matched, done=snapshot.parsed.done)
        return replace(verdict, ending=Ending.SAY, mapping=published, scan=scan)

    def _row(self, snapshot: RowSnapshot, answers: Answers, rivals: Sequence[PublishedMapping]) -> Verdict:
        spec, stored = snapshot.parsed.spec, snapshot.stored
        warnings = [warning.reason() for warning in snapshot.parsed.warnings]
        if spec is None:
            problems = [problem.reason() for problem in snapshot.parsed.problems]
            return self.refuse(snapshot, Status.REJECTED, (*problems, *warnings))
        if snapshot.published and snapshot.published.former and not (snapshot.is_kept or snapshot.goes_back):
            status, why = in_waves(snapshot.published, stored.progress)
            still = ReasonCode.STILL_ROLLING(revision=snapshot.revision)
            return self.refuse(snapshot, Status.REJECTED, [still, *(why if status is Status.HALTED else ())])
        role = answers[stored.home].check or RoleCheck()
        candidate = self.candidate(snapshot, spec, role)
        same = self.is_same(snapshot, candidate)
        if same and snapshot.published:
            candidate = replace(candidate, revision=snapshot.revision, former=snapshot.published.former)
            answers = {**self._known(snapshot, spec), **answers}
        late = self.targets.uncounted(spec, stored) if same else set[str]()
        # Where nobody counted yet what it changes, its own sweep publishes it. What was cut off goes on as counted.
        mute = late | ({account for account, one in answers.items() if same and one.refused} - {stored.home})
        now = {account: one.without_scans() if account in mute else one for account, one in answers.items()}
        by_iam = Rollout.of(answers)
        if by_iam.nowhere:
            status = Status.REJECTED if by_iam.checks else Status.WAITING
            return self.refuse(snapshot, status, (*by_iam.why_not, *warnings))
        rollout = roll_out(candidate, stored, now, targets=self.targets, at=snapshot.at)
        if rollout.nowhere:
            return self.refuse(snapshot, Status.WAITING, (*rollout.why_not, *warnings))
        rollout = self._unchanged(stored, rollout, late, answers=now) if same else rollout
        candidate, scan = rollout.records[stored.home].mapping, rollout.scan
        scan.conflicts.add_possible(candidate, stored.published, rivals, now=snapshot.at)
        if scan.conflicts.new and not same:
            return self.refuse(snapshot, Status.CONFLICT, scan.conflicts.reasons, scan=scan)
        notes = [*warnings, *self._notes(spec, role, scan)]
        missing = role.missing
        if missing and (withheld := stored.control.withholds(self.mode)):
            missing = ""
            notes.append(ReasonCode.PROFILE_IS_MADE_LATER(profile=spec.profile_name, withheld=withheld.reason))
        verdict = self._in_effect(snapshot, candidate, scan, rollout=rollout, notes=notes)
        verdict = replace(verdict, ending=Ending.PUBLISH, scan=scan, missing=missing, records=rollout.records)
        if not same:
            edit = self._unless_held(snapshot, verdict, rollout, notes=notes)
            return self._in_waves(snapshot, edit) if spec.rollout or self.targets.own.roles.settings.rollout else edit
        return self._unless_late(snapshot, replace(verdict, ending=Ending.KEEP), answers, notes=notes)

    def _in_waves(self, snapshot: RowSnapshot, verdict: Verdict) -> Verdict:
        """Have an edit that moves instances go out in waves, if its row or the deployment says so."""
        mapping, impact, settings = verdict.mapping, verdict.impact, self.targets.own.roles.settings
        if verdict.ending is not Ending.PUBLISH or mapping is None or impact is None:
            return verdict
        # By default a quarantine waits for nothing.
        waves = Waves.read(mapping.spec.rollout or ("" if mapping.spec.role == NO_ROLE else settings.rollout))
        moves = impact.replace + impact.detach
        if waves is None or not moves or snapshot.goes_back or mapping.spec.expired(snapshot.at):
            return verdict
        stored, records = snapshot.stored.records, dict(verdict.records or {})
        for account, record in records.items():
            before = stored[account].mapping if account in stored else None
            records[account] = replace(record, mapping=record.mapping.after(before))
        mapping = mapping.after(snapshot.stored.published)
        progress = Progress.begin(waves, mapping.revision, moves, snapshot.at)
        status, why = in_waves(mapping, progress)
        others = [reason for reason in verdict.reasons if reason.code is not ReasonCode.IN_EFFECT]
        said = replace(verdict, status=status, reasons=(*why, *others), mapping=mapping, records=records)
        return replace(said, progress=progress, moved=0)

    def is_same(self, snapshot: RowSnapshot, candidate: PublishedMapping) -> bool:
        """Return whether a row says what is published, and its profile is the very one."""
        published = snapshot.published
        return snapshot.is_kept and published is not None and candidate.profile_arn == published.profile_arn

    def candidate(self, snapshot: RowSnapshot, spec: MappingSpec, role: RoleCheck | None) -> PublishedMapping:
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

    def _unchanged(self, stored: StoredMapping, rollout: Rollout, late: Collection[str], answers: Answers) -> Rollout:
        """Return what is published already: where none was asked, other targets' own sweeps counted."""
        asked = by_target({account: answer.scans for account, answer in answers.items()})
        matched, foreign = self.targets.counted(stored, asked)
        scan = replace(rollout.scan, matched=rollout.scan.matched + matched, foreign=rollout.scan.foreign + foreign)
        records = {account: record for account, record in rollout.records.items() if account not in late}
        return replace(rollout, records=records, scan=scan)

    def _notes(self, spec: MappingSpec, role: RoleCheck, scan: Scan) -> Iterator[Reason]:
        """Return what people should know of a row that passed its checks."""
        takes, may = spec.when_occupied is WhenOccupied.REPLACE, self.targets.own.scanner.ownership.take_over
        if role.note and not role.problem:
            yield Problem(role.note).reason()
        yield from scan.about_foreign(taken=takes and may)
        if takes and not may:
            what = "replace has no effect, because the stack is deployed with TakeOver=false"
            yield Problem(what, column="when_occupied").reason()
        if spec.units and not self.targets.own.roles.settings.organization:
            what = "it governs no instance, because the stack is deployed without OrganizationId"
            yield Problem(what, column="units").reason()
        if unclear := self.targets.of_unclear_units(spec):
            column = "not_units" if spec.not_units else "units"
            yield ReasonCode.UNITS_UNCLEAR(column=column, accounts=unclear)

    def _compared(self, rollout: Rollout, took: int, elsewhere: int | None = None) -> Impact:
        """Weigh what a candidate, or a tombstone, would do in all accounts; other edits `took` so much.

        `elsewhere` is how many instances there are in all, if there are more targets than those known here.
        """
        sizes = self.fleets(rollout.sizes)
        if elsewhere is not None:
            sizes[_ELSEWHERE] = max(0, elsewhere - sum(sizes.values()))
        impact = with_permissions(rollout.scan.impact, rollout.gains)
        impact = within_limits(impact, self.targets.own.scanner.limits, took=took, shares=rollout.shares, sizes=sizes)
        if rollout.unknown:
            # What nobody counted is more than may change.
            unknown = f"nobody counted yet how many instances there are in {', '.join(map(str, rollout.unknown))}"
            impact = replace(impact, alone="; ".join(part for part in (impact.alone, unknown) if part))
        return impact

    def fleets(self, counted: Mapping[Target, int]) -> dict[Target, int]:
        """Return how many instances each target has: as it was `counted` now, or by its last sweep."""
        return {one.target: counted.get(one.target, one.instances) for one in self.targets.all}

    def late(self, stored: StoredMapping, answers: Answers, at: datetime, *, fleet: int = 0) -> Late:
        """Return what follows from an account's answer; all targets have `fleet` instances in all."""
        (account,), published = answers, stored.published
        assert published is not None  # it was asked about
        rollout = roll_out(published, stored, answers, targets=self.targets, at=at, only=answers)
        minutes, moments = self.targets.own.scanner.limits.minutes, rollout.scan.impact.changes_at
        took = counted_with(stored.edits, minutes, at, moments=moments)
        impact = self._compared(rollout, took, fleet)
        covered = self._is_covered(stored, impact, at)
        held = stored.held_again or (impact.needs_approval and not covered)
        return Late(rollout.records[account], impact, covered=covered, held=held)

    def _is_covered(self, stored: StoredMapping, impact: Impact, at: datetime) -> bool:
        """Return whether as many changes count, or were approved, already since the accounts gave no answer.

        Nobody was shown what is severe there, and nobody but an approver what a target's own share is.
        """
        if impact.severe or not 0 < impact.changes <= stored.unseen:
            return False
        since, window = stored.counted_at, timedelta(minutes=impact.minutes)
        return since is None or (at - since <= window and not impact.alone)

    def _unless_late(
        self, snapshot: RowSnapshot, verdict: Verdict, answers: Answers, notes: Iterable[Reason]
    ) -> Verdict:
        """Return this verdict, or that it is held, if too much would change in accounts where EC2 answers only now.

        Their own sweeps publish what isn't too much.
        """
        stored, mapping = snapshot.stored, verdict.mapping
        assert mapping is not None  # it is in effect
        if mapping.former:
            # Its waves count it: it isn't held once more.
            return verdict
        candidate = snapshot.numbered(mapping).suspended_for(mapping.problem)
        again, late = snapshot.holds(candidate), self.targets.uncounted(mapping.spec, stored)
        late = {account for account in late if again or (account in answers and answers[account].scans)}
        if not late:
            return verdict
        theirs = {account: one if account in late else one.without_scans() for account, one in answers.items()}
        rollout = roll_out(candidate, stored, theirs, targets=self.targets, at=snapshot.at, only=late)
        edit = self._in_effect(snapshot, candidate, verdict.scan or Scan(), rollout=rollout, notes=notes)
        edit = replace(edit, ending=Ending.PUBLISH, scan=verdict.scan, missing=verdict.missing, records=rollout.records)
        edit = self._unless_held(snapshot, edit, rollout, notes=notes)
        impact = edit.impact if edit.ending is Ending.HOLD else None
        if impact and (again or not self._is_covered(stored, impact, snapshot.at)):
            return replace(edit, matched=verdict.matched)
        return edit if again and edit.ending is Ending.PUBLISH else verdict

    def _unfinished(self, snapshot: RowSnapshot) -> Mapping[str, AccountRecord]:
        """Return the records of what stays published: after a crash some may not be written yet.

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
        self, snapshot: RowSnapshot, mapping: PublishedMapping, scan: Scan, rollout: Rollout, notes: Iterable[Reason]
    ) -> Verdict:
        spec = mapping.spec
        status, what, progress = Status.PUBLISHED, rollout.where, snapshot.stored.progress
        if scan.conflicts:
            status, what = Status.CONFLICT, [*scan.conflicts.reasons, ReasonCode.CONFLICT_HOLDS()]
        elif spec.expired(snapshot.at):
            status, what = Status.EXPIRED, [ReasonCode.EXPIRED(at=f"{spec.expires_at:%Y-%m-%dT%H:%M:%SZ}")]
        elif mapping.former:
            status, what = in_waves(mapping, progress)
        elif not spec.enabled:
            what = [ReasonCode.DISABLED()]
        # A column that is taken out of the row needs no warning.
        shown = [note for note in notes if note.arguments.get("column") not in snapshot.parsed.done]
        reasons = (*what, *rollout.where_not("publishes"), *shown) or (ReasonCode.IN_EFFECT(),)
        verdict = Verdict(status, reasons, mapping.revision, done=snapshot.parsed.done, mapping=mapping)
        moved = progress.moved if progress and mapping.former else None
        return replace(verdict, matched=scan.matched, occupied=scan.foreign, moved=moved)

    def _deletion(self, snapshot: RowSnapshot, answers: Answers) -> Verdict:
        """Judge a row that is gone, or was put back as its deletion is held: a tombstone replaces the mapping."""
        if snapshot.trigger.row_listed and not snapshot.row:
            return Verdict(Status.REMOVED)
        if snapshot.published is None:
            # It is deleted already; after a crash the row may be left.
            return Verdict(Status.REMOVED, ending=Ending.REMOVE if snapshot.row else Ending.NOTHING)
        tombstone = snapshot.tombstone
        assert tombstone is not None  # something is published
        rollout = roll_out(tombstone, snapshot.stored, answers, targets=self.targets, at=snapshot.at)
        removed = Verdict(Status.REMOVED, (), tombstone.revision, ending=Ending.REMOVE, mapping=tombstone)
        removed = replace(removed, scan=rollout.scan, records=rollout.records)
        verdict = self._unless_held(snapshot, removed, rollout)
        if verdict.ending is Ending.HOLD:
            return verdict
        why = ReasonCode.DELETED_AS_APPROVED if verdict.approval else ReasonCode.DELETED
        return replace(verdict, reasons=(why(), *rollout.where_not("removes")))

    def _unless_held(
        self, snapshot: RowSnapshot, verdict: Verdict, rollout: Rollout, notes: Iterable[Reason] = ()
    ) -> Verdict:
        """Return this verdict on a candidate, or that it is held, if a person has to approve what it would do."""
        candidate, scan = verdict.mapping, verdict.scan
        assert candidate is not None
        assert scan is not None  # what was found
        took = snapshot.others_took(candidate, self.targets.own.scanner.limits.minutes, rollout.scan.impact.changes_at)
        impact = self._compared(rollout, took)
        if snapshot.published and snapshot.published.former and snapshot.goes_back:
            return replace(verdict, impact=impact, assumed=rollout.assumed)
        # What was signed is what was shown: for more than that the number changes, and it has to be signed again.
        outgrown = snapshot.outgrown(candidate, impact, rollout)
        candidate = replace(candidate, revision=snapshot.stored.last + 1) if outgrown else candidate
        number = candidate.revision
        # Nobody knows what a held edit would change where an account gives no answer: its silence publishes nothing.
        asks = outgrown is not None or impact.needs_approval or (snapshot.holds(candidate) and rollout.unanswered)
        approval, refused = (None, []) if outgrown else snapshot.approval(candidate, impact, rollout)
        if approval or not asks:
            return replace(verdict, impact=impact, assumed=rollout.assumed, approval=approval)
        before = snapshot.stored.held if snapshot.holds(candidate) else None
        outgrown = outgrown or (before.outgrown if before else None)
        then = {"changes": outgrown.changes, "accounts": sorted(outgrown.came)} if outgrown else {}
        came = [ReasonCode.OUTGROWN(revision=outgrown.revision, **then)] if outgrown else []
        guessed = [ReasonCode.ALL_COUNTS(changes=rollout.guessed)] if rollout.guessed else []
        still = (*rollout.where_not(), *guessed, *notes, *snapshot.still_in_effect, *refused)
        why = (*_would(impact, candidate), *came, *still)
        waits = Verdict(Status.HELD, why, snapshot.revision, matched=scan.published_matched, held=number)
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
            digest=digest_of(held, rollout.records),
            outgrown=outgrown,
        )
        return replace(waits, done=snapshot.parsed.done, ending=Ending.HOLD, mapping=held, impact=impact, shown=shown)

    def _matched(self, snapshot: RowSnapshot, scan: Scan | None) -> int | None:
        """Return how many instances the published mapping governs; None if that isn't known, or the row says it."""
        if snapshot.published is None or snapshot.published.is_idle(snapshot.at):
            return 0
        if snapshot.trigger.scan:
            return snapshot.trigger.scan.matched + self.targets.counted(snapshot.stored)[0]
        return scan.published_matched if scan else None


def _would(impact: Impact, held: PublishedMapping) -> list[Reason]:
    """Return what a held edit would do, which permissions come and go with that, and the steps to take."""
    code = ReasonCode.DELETION_WOULD_CHANGE if held.deleted else ReasonCode.WOULD_CHANGE
    permissions = [ReasonCode.PERMISSIONS(difference=impact.permissions)] if impact.changes else []
    counts = {"attach": impact.attach, "replace": impact.replace, "detach": impact.detach}
    steps = approval_steps(held.key, held.revision, deletes=held.deleted)
    return [code(extent=impact.extent, **counts), *permissions, *steps]

"""Judging a row, without writing anything: the functions commit the verdict, `plan` only shows it.

A row that fails its checks changes nothing: the last good revision stays in effect, and the row says why. So does one
that would change too many instances, until it is approved.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.mappings.impact import ImpactAssessor, ImpactReport
from rolekeeper.mappings.scan import ImpactScanner, Scan
from rolekeeper.mappings.verdict import IN_EFFECT, Ending, Refresh, RowSnapshot, Status, Verdict, sentence
from rolekeeper.model.mapping import MappingSpec, Mode, PublishedMapping, WhenOccupied
from rolekeeper.permissions import Roles
from rolekeeper.settings import Ownership

# In the mapping's history alone: each instance's replace is an event of its own.
PROFILE_RECREATED = "Profile Recreated"


@dataclass(frozen=True, kw_only=True)
class Assessor:
    """Judges rows. It remembers what IAM said and how large the fleet is, so it is made anew for each invocation."""

    roles: Roles
    scanner: ImpactScanner
    impacts: ImpactAssessor
    ownership: Ownership
    mode: Mode

    def assess(self, seen: RowSnapshot) -> Verdict:
        """Judge a row, or a deleted one.

        Raises:
            AwsRefusalError: AWS gave no answer, or refused one.
        """
        refresh: Refresh | None = None
        if seen.row and seen.published and (seen.trigger.recheck or seen.parsed.spec == seen.published.spec):
            refresh = self._refreshed(seen, seen.published)
            if refresh:
                seen = seen.with_published(refresh.mapping)
        verdict = self._row(seen) if seen.row else self._gone(seen)
        return replace(verdict, refresh=refresh)

    def refuse(self, seen: RowSnapshot, status: Status, why: Iterable[str], scan: Scan | None = None) -> Verdict:
        """Nothing is to change, and the row is to say why."""
        return Verdict(
            status,
            sentence(why, seen.still_in_effect),
            seen.revision,
            self._matched(seen, scan),
            done=seen.acted_on(),
            ending=Ending.SAY,
            mapping=seen.published,
            scan=scan,
        )

    # ---- a row ----

    def _row(self, seen: RowSnapshot) -> Verdict:
        if seen.deletion_approved:
            # A crash left it: the tombstone is published, and only the row is still there.
            return Verdict(Status.REMOVED, ending=Ending.DELETE_ROW)
        if seen.holds_deletion:
            return self._deletion(seen)
        spec, warnings = seen.parsed.spec, seen.parsed.warnings
        if spec is None:
            return self.refuse(seen, Status.REJECTED, (*seen.parsed.problems, *warnings))
        role = self.roles.check(spec)
        if role.problem:
            return self.refuse(seen, Status.REJECTED, (role.problem, *warnings))
        candidate = seen.candidate(spec, role.profile_arn, role.profile_id)
        same = seen.is_published(candidate)
        scan = self._scan(seen, candidate, same=same)
        if role.profile_id:
            candidate = candidate.with_profile_id(role.profile_id, scan.profile_ids)
        self.scanner.add_possible_conflicts(scan.conflicts, candidate, seen.stored, seen.at)
        if scan.conflicts.new and not same:
            return self.refuse(seen, Status.CONFLICT, (str(scan.conflicts),), scan)
        notes = [*warnings, role.note, *self._about_foreign(spec, scan)]
        missing = role if role.missing else None
        if missing and (withheld := seen.stored.control.withholds(self.mode)):
            missing = None
            notes.append(f"instance profile '{spec.profile_name}' is made later: {withheld.reason}")
        if same:
            in_effect = self._in_effect(seen, replace(candidate, revision=seen.revision), scan, notes)
            return replace(in_effect, missing=missing)
        report = self.impacts.report(candidate, scan.impact)
        if not seen.approves(candidate) and (report.needs_approval or seen.shows_held(candidate)):
            return self._hold(seen, candidate, report, scan.published_matched, notes)
        in_effect = self._in_effect(seen, candidate, scan, notes)
        return replace(in_effect, ending=Ending.PUBLISH, report=report, missing=missing)

    def _refreshed(self, seen: RowSnapshot, published: PublishedMapping) -> Refresh | None:
        """Suspend what is published when its role can't be used, resume it when it can, and see its profile's id."""
        role = self.roles.check(published.spec)
        # Where the row says the same, its own verdict makes what is missing.
        edited = seen.parsed.spec != published.spec
        missing = role if edited and role.missing and not seen.stored.control.withholds(self.mode) else None
        now = replace(published, suspended_because=role.problem)
        if role.profile_id:
            carried = seen.trigger.scan.profile_ids if seen.trigger.scan else frozenset[str]()
            now = now.with_profile_id(role.profile_id, carried)
        if now.suspended_because != published.suspended_because:
            event = "Mapping Suspended" if role.problem else "Mapping Resumed"
            return Refresh(now, event, role.problem, missing)
        if now.former_profile_ids != published.former_profile_ids:
            what = f"instance profile '{published.spec.profile_name}' was deleted and made anew"
            return Refresh(now, PROFILE_RECREATED, what)
        return Refresh(now, missing=missing) if missing or now.profile_id != published.profile_id else None

    def _scan(self, seen: RowSnapshot, candidate: PublishedMapping, *, same: bool) -> Scan:
        """Look at the instances, unless the sweep just did, or none can be governed and nothing changes."""
        idle = not candidate.spec.enabled or candidate.spec.expired(seen.at)
        if same and (seen.trigger.scan or idle):
            return seen.trigger.scan or Scan()
        return self.scanner.scan(candidate, seen.stored.published, seen.at)

    def _about_foreign(self, spec: MappingSpec, scan: Scan) -> list[str]:
        """That some instances carry foreign roles, and that asking to take them over has no effect."""
        asks = spec.when_occupied is WhenOccupied.REPLACE
        notes = [scan.foreign.warning(taken=asks and self.ownership.take_over)]
        if asks and not self.ownership.take_over:
            notes.append("when_occupied: replace has no effect, as the stack is deployed with TakeOver=false")
        return notes

    # ---- a deletion ----

    def _gone(self, seen: RowSnapshot) -> Verdict:
        """The row is gone: a tombstone takes the mapping's place, or the row is put back."""
        if seen.trigger.seen:
            return Verdict(Status.REMOVED)
        if seen.published is None:
            # A tombstone met on the way of an edit may be one whose instances weren't sent before a crash.
            sends = seen.stored.published is not None and not seen.trigger.recheck
            return Verdict(Status.REMOVED, ending=Ending.REMOVE if sends else Ending.NOTHING)
        return self._deletion(seen)

    def _deletion(self, seen: RowSnapshot) -> Verdict:
        tombstone = seen.tombstone()
        assert tombstone is not None  # the deletion of nothing is never held
        scan = self.scanner.scan(tombstone, seen.published, seen.at)
        report, approved = self.impacts.report(tombstone, scan.impact), seen.approves(tombstone)
        if (seen.row and not approved) or (not seen.row and report.needs_approval):
            return self._hold(seen, tombstone, report, scan.published_matched)
        return Verdict(
            Status.REMOVED,
            "its row was deleted" + (", as approved" if approved else ""),
            tombstone.revision,
            ending=Ending.DELETE_ROW if seen.row else Ending.REMOVE,
            mapping=tombstone,
            report=report,
        )

    # ---- what the row is to say ----

    def _hold(
        self,
        seen: RowSnapshot,
        candidate: PublishedMapping,
        report: ImpactReport,
        matched: int,
        notes: Iterable[str] = (),
    ) -> Verdict:
        number = candidate.revision
        last = "; ".join(each for each in (seen.still_in_effect, seen.about_approval(number)) if each)
        return Verdict(
            Status.HELD,
            sentence([_about_held(candidate, report), *notes], last),
            seen.revision,
            matched,
            held=number,
            done=seen.acted_on(),
            ending=Ending.HOLD,
            mapping=candidate,
            report=report,
        )

    def _in_effect(self, seen: RowSnapshot, mapping: PublishedMapping, scan: Scan, notes: Iterable[str]) -> Verdict:
        spec = mapping.spec
        done = seen.acted_on(mapping.revision)
        # What is taken out of the row needs no warning any more.
        text = [each for each in notes if not each.startswith(tuple(f"{name}: " for name in done))]
        status = Status.PUBLISHED
        if scan.conflicts:
            status, text = Status.CONFLICT, [f"{scan.conflicts}; until then such instances stay as they are", *text]
        elif spec.expired(seen.at):
            status, text = Status.EXPIRED, [f"it expired at {spec.expires_at:%Y-%m-%dT%H:%M:%SZ}", *text]
        elif not spec.enabled:
            text = ["it is disabled and governs no instance", *text]
        return Verdict(
            status,
            sentence([*text, "" if "approve" in done else seen.about_approval(0)]) or IN_EFFECT,
            mapping.revision,
            scan.matched,
            scan.foreign.count,
            done=done,
            ending=Ending.KEEP,
            mapping=mapping,
            scan=scan,
        )

    def _matched(self, seen: RowSnapshot, scan: Scan | None) -> int | None:
        """How many instances what is published governs; None where that isn't known, or the row says it."""
        if seen.published is None:
            return 0
        if seen.trigger.scan:
            return seen.trigger.scan.matched
        if scan:
            return scan.published_matched
        if "matched" in seen.row:
            return None
        # A mere count must not keep a row from saying what is wrong with it; the sweep counts again.
        with suppress(AwsRefusalError):
            return self.scanner.scan(seen.published, seen.published, seen.at).published_matched
        return None


def _about_held(candidate: PublishedMapping, report: ImpactReport) -> str:
    if candidate.deleted:
        return (
            f"deleting it would {report}; to delete it, write {candidate.revision} into approve; "
            f"to keep it, remove status"
        )
    return f"it would {report}; to approve it, write {candidate.revision} into approve"

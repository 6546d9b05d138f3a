"""Judging a row, without writing anything: the functions commit the verdict, `plan` only shows it.

A row that fails its checks, or isn't approved yet, changes nothing: the last good revision stays in effect.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from shlex import quote

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError
from rolekeeper.instances.change_limit import counted
from rolekeeper.mappings.scan import ImpactScanner, Scan
from rolekeeper.mappings.verdict import Ending, Refresh, RowSnapshot, Status, Verdict
from rolekeeper.model.mapping import Mode, PublishedMapping, WhenOccupied
from rolekeeper.permissions import Roles

# In the mapping's history alone: each instance's replace is an event of its own.
PROFILE_RECREATED = "Profile Recreated"
# The longest reason that goes into a row.
REASON = 1_000
# What a row says when all is well.
IN_EFFECT = "in effect"


@dataclass(frozen=True)
class Assessor:
    """Judges rows. It remembers what IAM said and how large the fleet is, so it is made anew for each invocation."""

    roles: Roles
    scanner: ImpactScanner
    mode: Mode

    def assess(self, seen: RowSnapshot) -> Verdict:
        """Judge a row, or a deleted one; an AwsRefusalError says that AWS gave no answer, or refused one."""
        refresh: Refresh | None = None
        if seen.row and seen.published and (seen.trigger.recheck or seen.parsed.spec == seen.published.spec):
            published = seen.published
            seen = self._counted(seen, published)
            refresh = self._refreshed(seen, published)
            if refresh:
                seen = seen.refreshed(refresh)
        if held := seen.to_discard:
            what = f"its {'deletion' if held.deleted else 'edit'} was discarded, and changed no instance"
            verdict = Verdict(Status.DISCARDED, what, seen.revision, ending=Ending.DISCARD, mapping=held)
        else:
            verdict = self._row(seen) if seen.row and not seen.holds_deletion else self._deletion(seen)
        return replace(verdict, refresh=refresh)

    def refuse(self, seen: RowSnapshot, status: Status, why: Iterable[str], scan: Scan | None = None) -> Verdict:
        """Nothing is to change, and the row is to say why."""
        reason, matched = sentence(why, seen.still_in_effect), self._matched(seen, scan)
        said = Verdict(status, reason, seen.revision, matched, done=seen.acted_on())
        return replace(said, ending=Ending.SAY, mapping=seen.published, scan=scan)

    def _row(self, seen: RowSnapshot) -> Verdict:
        spec, warnings = seen.parsed.spec, seen.parsed.warnings
        if spec is None:
            return self.refuse(seen, Status.REJECTED, (*seen.parsed.problems, *warnings))
        role = self.roles.check(spec)
        if role.problem:
            return self.refuse(seen, Status.REJECTED, (role.problem, *warnings))
        candidate = seen.candidate(spec, role.profile_arn, role.profile_id)
        now = seen.published
        same = now is not None and (now.spec, now.profile_arn) == (spec, role.profile_arn)
        scan = self._scan(seen, candidate, same=same)
        candidate = candidate.with_profile_id(role.profile_id, scan.profile_ids)
        self.scanner.add_possible_conflicts(scan.conflicts, candidate, seen.stored, seen.at)
        if scan.conflicts.new and not same:
            return self.refuse(seen, Status.CONFLICT, (str(scan.conflicts),), scan)
        takes, may = spec.when_occupied is WhenOccupied.REPLACE, self.scanner.ownership.take_over
        notes = [*warnings, role.note, scan.about_foreign(taken=takes and may)]
        if takes and not may:
            notes.append("when_occupied: replace has no effect, as the stack is deployed with TakeOver=false")
        missing = role.missing
        if missing and (withheld := seen.stored.control.withholds(self.mode)):
            missing = ""
            notes.append(f"instance profile '{spec.profile_name}' is made later: {withheld.reason}")
        if same:
            candidate = replace(candidate, revision=seen.revision)
        ending = Ending.KEEP if same else Ending.PUBLISH
        verdict = replace(self._in_effect(seen, candidate, scan, notes), ending=ending, scan=scan, missing=missing)
        return verdict if same else self._unless_held(seen, candidate, scan, verdict, notes)

    def _counted(self, seen: RowSnapshot, published: PublishedMapping) -> RowSnapshot:
        """The same with what the mapping governs, where no sweep counted it.

        That instances carry a profile under a former id, only they may tell.
        """
        if not seen.trigger.recheck or seen.trigger.scan or _idle(published, seen.at):
            return seen
        scan = self.scanner.scan(published, published, seen.at)
        return replace(seen, trigger=replace(seen.trigger, scan=scan))

    def _refreshed(self, seen: RowSnapshot, published: PublishedMapping) -> Refresh | None:
        """Suspend what is published when its role can't be used, resume it when it can, and see its profile's id."""
        role = self.roles.check(published.spec)
        # Where the row says the same, its own verdict makes what is missing.
        edited = seen.parsed.spec != published.spec
        missing = role.missing if edited and not seen.stored.control.withholds(self.mode) else ""
        carried = seen.trigger.scan.profile_ids if seen.trigger.scan else frozenset[str]()
        now = replace(published, suspended_because=role.problem).with_profile_id(role.profile_id, carried)
        if now.suspended_because != published.suspended_because:
            event = "Mapping Suspended" if role.problem else "Mapping Resumed"
            return Refresh(now, seen.entry(event, role.problem, now), missing)
        if now.former_profile_ids != published.former_profile_ids:
            what = f"instance profile '{published.spec.profile_name}' was deleted and made anew"
            return Refresh(now, seen.entry(PROFILE_RECREATED, what, now))
        return Refresh(now, missing=missing) if missing or now.profile_id != published.profile_id else None

    def _scan(self, seen: RowSnapshot, candidate: PublishedMapping, *, same: bool) -> Scan:
        """Look at the instances, unless the sweep just did, or none can be governed and nothing changes."""
        if same and (seen.trigger.scan or _idle(candidate, seen.at)):
            return seen.trigger.scan or Scan()
        return self.scanner.scan(candidate, seen.stored.published, seen.at)

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
        reason = sentence([*text, "" if "approve" in done else seen.about_approval(0)]) or IN_EFFECT
        return Verdict(status, reason, mapping.revision, scan.matched, scan.foreign, done=done, mapping=mapping)

    def _deletion(self, seen: RowSnapshot) -> Verdict:
        """The row is gone, or was put back as its deletion is held: a tombstone is to take the mapping's place."""
        if seen.trigger.seen and not seen.row:
            return Verdict(Status.REMOVED)
        if seen.published is None:
            # It is deleted; a crash may have left the row.
            return Verdict(Status.REMOVED, ending=Ending.REMOVE if seen.row else Ending.NOTHING)
        tombstone = seen.tombstone
        assert tombstone is not None  # something is published
        why = "its row was deleted" + (", as approved" if seen.approves(tombstone) else "")
        removed = Verdict(Status.REMOVED, why, tombstone.revision, ending=Ending.REMOVE, mapping=tombstone)
        return self._unless_held(seen, tombstone, self.scanner.scan(tombstone, seen.published, seen.at), removed)

    def _unless_held(
        self, seen: RowSnapshot, candidate: PublishedMapping, scan: Scan, verdict: Verdict, notes: Iterable[str] = ()
    ) -> Verdict:
        """This verdict on a candidate, or that it is held until somebody approves what it would do."""
        took = counted(seen.stored.edits, self.scanner.limits.minutes, seen.at)
        impact, number = self.scanner.compared(scan.impact, candidate, seen.published, took), candidate.revision
        if seen.approves(candidate) or not (impact.needs_approval or seen.shows_held(candidate)):
            return replace(verdict, impact=impact)
        command = f"rolekeeper mapping approve {quote(str(seen.key))} --revision {number}"
        why = f"it would {impact}; to approve it: {command}"
        if candidate.deleted:
            keep = f"rolekeeper mapping discard {quote(str(seen.key))}"
            why = f"deleting it would {impact}; to delete it: {command}; to keep it: {keep}"
        last = "; ".join(each for each in (seen.still_in_effect, seen.about_approval(number)) if each)
        reason, matched = sentence([why, *notes], last), scan.published_matched
        said = Verdict(Status.HELD, reason, seen.revision, matched, held=number, done=seen.acted_on())
        return replace(said, ending=Ending.HOLD, mapping=candidate, impact=impact)

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


def _idle(mapping: PublishedMapping, at: datetime) -> bool:
    """Whether it governs no instance."""
    return not mapping.spec.enabled or mapping.spec.expired(at)


def waiting(seen: RowSnapshot, error: AwsRefusalError) -> Verdict:
    """The verdict on a row for which AWS gave no answer, or refused it: unless what it says is in effect or held."""
    why = f"AWS gave no answer ({error.code} to {error.action}); it is asked again"
    if isinstance(error, AccessDeniedError):
        why = f"Rolekeeper isn't allowed {error.action} on {error.resource}; allow it, the next sweep tries again"
    reason, matched = sentence([why], seen.still_in_effect), None if seen.published else 0
    held = seen.trigger.recheck and "held_revision" in seen.row
    stays = held or not seen.row or bool(seen.published and seen.parsed.spec == seen.published.spec)
    ending = Ending.NOTHING if stays else Ending.SAY
    return Verdict(Status.WAITING, reason, seen.revision, matched, held=None, ending=ending)


def sentence(parts: Iterable[str], ending: str = "") -> str:
    """One reason from its parts, cut to what a row shows; the ending stays whole."""
    text = "; ".join(part for part in parts if part)
    room = REASON - len(ending) - 1
    text = f"{text[: room - 1]}…" if len(text) > room else text
    return f"{text} {ending}".strip()

"""Checking a mapping row and serving it: level-triggered, as everything here.

A message only names a row. The row and what is served of it are read again, and something is written only where they
differ; so duplicates, reordering and a sweep at the same time do no harm. A row that fails its checks changes nothing:
the last good revision keeps serving, and the row says why. So does one that would change too many instances, until it
is approved (`holding`). Deleted rows are in `removal`, the other endings in `serving` and `refusing`.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from rolekeeper.announce import Announcer
from rolekeeper.cells import Home
from rolekeeper.clients import Settings
from rolekeeper.conflicts import Survey
from rolekeeper.ec2 import Ec2
from rolekeeper.errors import DamagedError, DeniedError, ObserveAgainError, RetryableError
from rolekeeper.holding import Holder
from rolekeeper.iam import Iam
from rolekeeper.look import Look, Occasion
from rolekeeper.mapping_table import MappingTable, number_in
from rolekeeper.mappings import RowVerdict, read_row
from rolekeeper.model import MappingKey, MappingSpec, PublishedMapping, WhenOccupied
from rolekeeper.policy_reader import PolicyReader
from rolekeeper.refusing import Refusing
from rolekeeper.removal import Removal
from rolekeeper.revisions import Revisions
from rolekeeper.roles import RoleCheck, Roles
from rolekeeper.scribe import Scribe
from rolekeeper.serving import Serving
from rolekeeper.state import State
from rolekeeper.surveyor import Findings, Surveyor
from rolekeeper.ties import Ties
from rolekeeper.verdicts import Status, Verdict, denial
from rolekeeper.weight import Scales
from rolekeeper.work import WorkQueue

# How often a row is judged again when it changes under the judge's hands, before the stream or the sweep has to.
ATTEMPTS = 3
_NO_ROW = RowVerdict(None)
# In the mapping's history alone: each instance's replace is an event of its own.
PROFILE_RECREATED = "Profile Recreated"


class Publisher:
    """Judges rows. Made anew for each invocation: it remembers what IAM said, and how large the fleet is."""

    def __init__(  # noqa: PLR0913  # its collaborators, each once
        self,
        settings: Settings,
        *,
        table: MappingTable,
        state: State,
        revisions: Revisions,
        iam: Iam,
        ec2: Ec2,
        queue: WorkQueue,
        announcer: Announcer,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._home = Home(settings.account, settings.partition)
        self._table = table
        self._revisions = revisions
        self._roles = Roles(iam, settings.account, settings.role_path, makes_profiles=settings.create_missing_profiles)
        self._ownership = settings.rules.ownership
        self._surveyor = Surveyor(ec2, state, table, self._ownership)
        self._scales = Scales(settings.limits, self._surveyor, PolicyReader(iam))
        self._scribe = Scribe(table, revisions, announcer)
        self._holder = Holder(self._scribe)
        self._ties = Ties(revisions, announcer)
        self._serving = Serving(revisions, self._ties, self._scribe, self._fan_out)
        self._refusing = Refusing(table, self._surveyor, self._ties, self._scribe)
        self._removal = Removal(
            revisions, self._surveyor, self._scales, self._scribe, self._holder, fan_out=self._fan_out
        )
        self._ec2 = ec2
        self._queue = queue
        self._announcer = announcer
        self._now = now

    def publish(self, key: MappingKey, correlation_id: str, by: str = "") -> Verdict:
        """Judge a row that an operator changed or deleted.

        Args:
            key: the mapping.
            correlation_id: the stream record's.
            by: who did it, where the stream knows it; the row's `edited_by` goes before.

        Raises:
            RetryableError: AWS is throttled or has a fault; the row says `Waiting`. Try again.
            DamagedError: an item of the state table isn't what we wrote; the row says `Waiting`, and what to do.
        """
        return self._free(self._settled(key, Occasion("the row changed", correlation_id, by)), correlation_id)

    def recheck(
        self, key: MappingKey, correlation_id: str, survey: Survey | None = None, *, seen: bool = False
    ) -> Verdict:
        """Judge a row, or a published mapping whose row may be gone, although nobody changed it: for the sweep.

        Also suspends a published mapping whose role can't be used any more, and resumes it when it can. Writes and
        sends nothing when all is as the row says.

        Args:
            key: the mapping.
            correlation_id: the sweep's.
            survey: what the sweep itself counted for the published mapping while it paged through the fleet
                (`Survey.count`). None: the instances that carry the tag are asked for here.
            seen: whether the sweep just saw the row. If it is gone by now, its deletion is left to the stream, and to
                the next sweep: rows that go while they are read may be those of a table that is being lost.

        Raises:
            RetryableError: AWS is throttled or has a fault. The next sweep tries again.
            DamagedError: as `publish`.
        """
        verdict = self._settled(key, Occasion("swept", correlation_id, recheck=True, survey=survey, seen=seen))
        return self._free(verdict, correlation_id) if verdict.changed else verdict

    def _free(self, verdict: Verdict, correlation_id: str) -> Verdict:
        """Look again at the rows that were in a tie with one that was judged; they free no others in turn."""
        if verdict.tied:
            occasion = Occasion(f"{verdict.key} changed, which it was in a tie with", correlation_id, recheck=True)
            self._ties.look_again(verdict.key, verdict.tied, correlation_id, lambda row: self._settled(row, occasion))
        return verdict

    def _settled(self, key: MappingKey, occasion: Occasion) -> Verdict:
        try:
            for _ in range(ATTEMPTS):
                # Gone, edited or judged by another while we looked: look again.
                with suppress(ObserveAgainError):
                    look = self._look(key, occasion)
                    return replace(self._judge(look), tied=look.kept.blocks)
        except DeniedError as error:
            self._announcer.denied(error, correlation_id=occasion.correlation_id)
            return Verdict(key, Status.WAITING, denial(error))
        except DamagedError as error:
            self._refusing.show_damage(key, error)
            raise
        raise RetryableError("RowChanging", f"{key} keeps changing while it is checked")

    def _look(self, key: MappingKey, occasion: Occasion) -> Look:
        """Read what is kept of a mapping, and then its row.

        So the row is at least as new. The other way round, a slow judge could take an old row for an edit of a newer
        revision. The revision number is the lock.

        Raises:
            ObserveAgainError: the row is gone, and what is kept is no longer what it was before.
        """
        kept, row = self._revisions.read(key), self._table.get_row(key)
        if row and number_in(row, "held_revision") > kept.last:
            # Held since we read, and the row put back perhaps; or somebody wrote that number, which means nothing.
            kept, row = self._revisions.read(key), self._table.get_row(key)
        if not row and self._revisions.read(key) != kept:
            # Another judge may have deleted the row, as approved: to miss that would be to put it back.
            raise ObserveAgainError("RowGone", f"{key} went while it was looked at")
        reading = read_row(row, self._home) if row else _NO_ROW
        return Look(key, row or {}, reading, kept, self._now(), occasion)

    def _judge(self, look: Look) -> Verdict:
        if not look.row:
            return Verdict(look.key, Status.REMOVED) if look.occasion.seen else self._removal.of_gone(look)
        try:
            return self._check(look)
        except RetryableError as error:
            self._refusing.wait(look, f"AWS gave no answer ({error.code} to {error.action}); it is asked again")
            raise
        except DeniedError as error:
            # Trying at once won't help, and the shard mustn't stand still: the alarm rings, and the sweep comes back.
            self._announcer.denied(error, correlation_id=look.occasion.correlation_id)
            return self._refusing.wait(look, denial(error))

    # ---- the checks ----

    def _check(self, look: Look) -> Verdict:
        spec, warnings = look.reading.spec, look.reading.warnings
        if look.served and (look.occasion.recheck or spec == look.served.spec):
            look = self._mind(look, look.served)
        if look.holds_deletion or look.deletion_approved:
            return self._removal.of_put_back(look)
        if spec is None:
            return self._refusing.refuse(look, Status.REJECTED, (*look.reading.problems, *warnings))
        check = self._roles.check(spec)
        if check.problem:
            return self._refusing.refuse(look, Status.REJECTED, (check.problem, *warnings))
        candidate = look.candidate(spec, check.profile_arn, check.profile_id)
        same = look.serves(candidate)
        found = self._find(look, candidate, same=same)
        if check.profile_id:
            candidate = candidate.with_profile_id(check.profile_id, found.survey.profile_ids)
        self._surveyor.add_possible_ties(found.survey, candidate, look.served, look.kept.any_value, look.at)
        if found.survey.blocks and not same:
            return self._refusing.refuse(look, Status.CONFLICT, (str(found.survey),), found)
        notes = [each for each in (*warnings, check.note, *self._about_foreign(spec, found.survey)) if each]
        if same:
            return self._make(look, spec, check, notes) or self._serving.keep(look, candidate, found.survey, notes)
        weight = self._scales.weigh(candidate, found.effect)
        approved = look.approves(candidate)
        if not approved and (weight.too_heavy or look.shows_held(candidate)):
            return self._holder.hold(look, candidate, weight, found.serving, notes)
        if refusal := self._make(look, spec, check, notes):
            return refusal
        return self._serving.serve(look, candidate, found.survey, notes, weight, approved=approved)

    def _about_foreign(self, spec: MappingSpec, survey: Survey) -> list[str]:
        """What to tell of foreign roles: that some are there, and that asking to take them over has no effect."""
        asks = spec.when_occupied is WhenOccupied.REPLACE
        notes = [survey.foreign.warning(taken=asks and self._ownership.take_over)]
        if asks and not self._ownership.take_over:
            notes.append("when_occupied: replace has no effect, as the stack is deployed with TakeOver=false")
        return notes

    def _find(self, look: Look, candidate: PublishedMapping, *, same: bool) -> Findings:
        """Look at the instances, unless the sweep just did, or none can be governed and nothing changes."""
        idle = not candidate.spec.enabled or candidate.spec.expired(look.at)
        if same and (look.occasion.survey or idle):
            return Findings(look.occasion.survey or Survey())
        return self._surveyor.find(candidate, look.kept.published, look.at)

    def _make(self, look: Look, spec: MappingSpec, check: RoleCheck, notes: list[str]) -> Verdict | None:
        """Make what is missing of the profile, or note that it isn't made yet; answers with a refusal, if it must."""
        if not check.missing:
            return None
        if withheld := look.kept.control.withholds(self._settings.mode):
            notes.append(f"instance profile '{spec.profile_name}' is made later: {withheld.reason}")
            return None
        problem = self._roles.make(spec, check)
        return self._refusing.refuse(look, Status.REJECTED, (problem,)) if problem else None

    def _mind(self, look: Look, served: PublishedMapping) -> Look:
        """Suspend what is served when its role can't be used, resume it when it can, and see its profile's id."""
        check = self._roles.check(served.spec)
        now = replace(served, suspended=check.problem)
        if check.profile_id:
            carried = look.occasion.survey.profile_ids if look.occasion.survey else frozenset[str]()
            now = now.with_profile_id(check.profile_id, carried)
        recreated = now.former_profile_ids != served.former_profile_ids
        if now == served and now.profile_id == served.profile_id and not recreated:
            return look
        event, reason = "", check.problem
        if now.suspended != served.suspended:
            event = "Mapping Suspended" if check.problem else "Mapping Resumed"
        elif recreated:
            event = PROFILE_RECREATED
            reason = f"instance profile '{served.spec.profile_name}' was deleted and made anew"
        entry = self._scribe.entry(look, event, "", reason, served) if event else None
        self._revisions.refresh(now, entry, look.at)
        if entry:
            self._fan_out(look)
        if entry and event != PROFILE_RECREATED:
            self._scribe.tell(look, entry)
        return replace(look, kept=replace(look.kept, published=now))

    def _fan_out(self, look: Look) -> int:
        """Have every instance that carries the tag reconciled; memory holds one page."""
        keys = (instance.key for page in self._ec2.tagged(look.key) for instance in page)
        return self._queue.send(keys, f"mapping changed: {look.key}", look.occasion.correlation_id)

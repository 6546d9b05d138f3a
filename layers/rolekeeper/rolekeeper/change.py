"""Making one change at EC2: intent, call, outcome. One write, one mutation, one write.

A replace or a detach takes room in its mapping's window, in the same write as its intent.
"""

import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from rolekeeper.announce import CHANGED, Announcer, history_entry
from rolekeeper.contest import ContestRule, Evidence, lapsed, seen_undone
from rolekeeper.ec2 import Ec2
from rolekeeper.errors import (
    AwsRefusalError,
    DeniedError,
    GoneError,
    NotReadyError,
    ObserveAgainError,
    PermanentError,
    RetryableError,
)
from rolekeeper.model import Action, Assignment, Association, Decision, Intent, Made, MappingKey, Wake
from rolekeeper.observe import Observation, waits_for_room
from rolekeeper.ownership import NOTHING, assignment_of
from rolekeeper.state import State
from rolekeeper.store import Write
from rolekeeper.window import ChangeWindow, Room

# Seconds between attempts to count a change while other workers count theirs; each attempt lets one of them through.
CROWDED = (0.05, 0.1, 0.1, 0.2, 0.2, 0.4, 0.4, 0.8)


@dataclass(frozen=True, slots=True)
class Again:
    """Look again; `error` is what to say when no look is left."""

    error: AwsRefusalError | None = None


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The call may have happened. Its intent stays open: whoever looks next finds out."""

    error: RetryableError


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Nothing was changed, and `decision` says what the instance shows instead.

    Args:
        decision: a wait or a hold.
        asked: whether EC2 was asked, and refused.
        answer: what it said.
        closed: the intents that this ends.
        alongside: the room in the mapping's window that this gives back.
    """

    decision: Decision
    asked: bool = False
    answer: Mapping[str, str] | None = None
    closed: tuple[Intent, ...] = ()
    alongside: tuple[Write, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Changer:
    """Makes changes.

    Attributes:
        ec2: the instances and their associations.
        state: the state table.
        window: how much each mapping may still change.
        announce: logs, metrics and events.
        may_restore: whether a profile's role lies under the ceiling (see `Iam.may_pass`).
        contest: how often somebody else may undo a change.
        now: the clock (UTC).
        sleep: waits between attempts, in seconds.
    """

    ec2: Ec2
    state: State
    window: ChangeWindow
    announce: Announcer
    may_restore: Callable[[str], bool]
    contest: ContestRule
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep

    def change(self, wake: Wake, observed: Observation, decision: Decision) -> Again | Interrupted | Unchanged:
        """Do what was decided for one instance, if there is room for it, and record what became of it.

        Raises:
            AwsRefusalError: our own table failed. What EC2 was asked stands and is found by its intent.
        """
        checked = within_ceiling(decision, self.may_restore)
        if not checked.action.mutates:
            return Unchanged(checked)
        intent = self._intent(observed, decision)
        room = self._open(wake, observed, decision, intent)
        if isinstance(room, datetime):
            return Unchanged(waits_for_room(decision, room))
        try:
            made = self._mutate(decision, wake.instance.id)
        except RetryableError as error:
            self.announce.failed("mutation interrupted", error=str(error), instance=wake.instance.id)
            return Interrupted(error)
        except (NotReadyError, ObserveAgainError, GoneError, PermanentError) as error:
            return self._refused(wake, observed, decision, intent, error, room)
        self._record(wake, observed, decision, intent, made)
        return Again()

    # ---- how ----

    def _open(self, wake: Wake, observed: Observation, decision: Decision, intent: Intent) -> Room | datetime | None:
        """Write the intent, with the room that its change takes, if any; or say when there is room again."""
        mapping = _counted_for(decision)
        room = self.window.room(mapping, self.now()) if mapping else None
        settled = observed.settled
        entry = history_entry(wake, observed.instance, observed.association, decision, {}, settled) if settled else None
        for wait in (*CROWDED, None):
            alongside = [room.take] if room else []
            try:
                self.state.open_intent(
                    wake.instance,
                    intent,
                    settled,
                    adopted=observed.unrecorded,
                    alongside=alongside,
                    entry=entry,
                )
            except ObserveAgainError:
                if mapping is None:
                    raise
                found = self.window.look_for_room(mapping, decision.revision, self.now())
                if isinstance(found, datetime):
                    return found
                room = found
            except RetryableError:
                # Workers that count for the same mapping at the same time: DynamoDB lets one of them through.
                if mapping is None or wait is None:
                    raise
                self.sleep(wait * random.Random().uniform(0.5, 1))  # noqa: S311  # spreads load, guards nothing
            else:
                return room
        raise RetryableError("WindowBusy", f"the changes of {mapping} could not be counted", "dynamodb:UpdateItem")

    def _mutate(self, decision: Decision, instance_id: str) -> Association:
        if decision.action is Action.ATTACH:
            return self.ec2.associate(instance_id, decision.profile_arn)
        if decision.action is Action.REPLACE and not decision.swap:
            return self.ec2.replace(decision.association_id, decision.profile_arn, instance_id)
        return self.ec2.disassociate(decision.association_id, instance_id)

    def _record(self, wake: Wake, observed: Observation, decision: Decision, intent: Intent, made: Association) -> None:
        now, adopted = self.now(), observed.unrecorded
        answer = {"association-id": made.id, "state": made.state.value}
        assignment = _assigned(decision, intent, made)
        # EC2 took the id that was observed, so none of the recorded ones can be newer.
        halves = [] if decision.swap else _swaps(observed)
        over = [*halves, *_overtaken(observed, decision)]
        former = set(observed.record.assignments) | ({adopted.association_id} if adopted else set())
        self.state.record_outcome(
            wake.instance,
            history_entry(wake, observed.instance, observed.association, decision, answer, over),
            now,
            # A swap's intent stays open until the second half, which takes over what it would restore.
            closed=over if decision.swap else (intent, *over),
            assignment=assignment,
            forgotten=former - {assignment.association_id} if assignment else former,
            clears_standing=True,
            evidence=self._evidence(observed, decision, made, now),
        )
        event = CHANGED[Action.DETACH if decision.swap else decision.action]
        self.announce.decision(
            wake, observed.instance, observed.association, decision, answer, event=event, reads=observed.tags_read
        )

    def _evidence(self, observed: Observation, decision: Decision, made: Association, now: datetime) -> Evidence:
        """That EC2 took the change proves what was seen before it: no stale read, somebody did undo our last one."""
        if decision.swap or decision.wish is None:
            return Evidence()
        if decision.gives_back or decision.code == "unmatched":
            return Evidence(lapsed=observed.record.undone, over=True)
        return Evidence(
            made=Made(decision.wish, "" if decision.action is Action.DETACH else made.id, now),
            undone=seen_undone(observed.record, decision, observed.association, observed.asked_at),
            lapsed=lapsed(observed.record, decision, self.contest, now),
        )

    def _refused(  # noqa: PLR0913, PLR0917  # what was asked, and what it took
        self,
        wake: Wake,
        observed: Observation,
        decision: Decision,
        intent: Intent,
        error: AwsRefusalError,
        room: Room | None,
    ) -> Again | Unchanged:
        """EC2 said no: close the intent, note the answer, then observe again, wait, or show why not."""
        answer = {"code": error.code, "message": error.message, "action": error.action, "resource": error.resource}
        # Sent twice and refused once, the call may have happened: then its intent is all that shows what is ours.
        closed = () if error.resent else (intent,)
        alongside = (room.back,) if room and not error.resent else ()
        if isinstance(error, ObserveAgainError | GoneError):
            entry = history_entry(wake, observed.instance, observed.association, decision, answer)
            self.state.record_outcome(wake.instance, entry, self.now(), closed=closed, alongside=alongside)
            return Again(RetryableError(error.code, error.message, error.action, error.resource))
        if isinstance(error, NotReadyError):
            propagating = error.code != "IncorrectInstanceState"
            waits = replace(
                decision,
                action=Action.WAIT,
                code="propagating" if propagating else "changing",
                reason=f"EC2 isn't ready for role {decision.role}: {error}",
                polls=True,
            )
            return Unchanged(waits, asked=True, answer=answer, closed=closed, alongside=alongside)
        if isinstance(error, DeniedError):
            reason = f"permission {error.action} on {error.resource} is missing ({error.code})"
            holds = replace(decision, action=Action.HOLD, code="denied", reason=reason)
            self.announce.denied(error, correlation_id=wake.correlation_id, news=not observed.shows(holds))
        else:
            reason = f"EC2 refused role {decision.role}: {error}"
            holds = replace(decision, action=Action.HOLD, code="refused", reason=reason)
        return Unchanged(holds, asked=True, answer=answer, closed=closed, alongside=alongside)

    def _intent(self, observed: Observation, decision: Decision) -> Intent:
        if decision.mapping is None:
            raise ValueError(f"a mutation without a mapping: {decision}")
        halves = _swaps(observed) if decision.action is Action.ATTACH else []
        restores = decision.restore_profile_arn or next((half.restore_profile_arn for half in halves), "")
        return Intent(
            id=uuid.uuid4().hex[:16],
            action=decision.action,
            target_profile_arn=decision.profile_arn,
            role=decision.role,
            mapping=decision.mapping,
            revision=decision.revision,
            from_association_id=decision.association_id,
            at=self.now(),
            restore_profile_arn=restores,
            gives_back=decision.gives_back,
            swap=decision.swap,
        )


def within_ceiling(decision: Decision, may_restore: Callable[[str], bool]) -> Decision:
    """A decision, held where it would put back a role from outside the role path; for that IAM has to be asked."""
    if decision.gives_back and not may_restore(decision.profile_arn):
        reason = f"{decision.profile_arn} can't be put back: its role lies outside the role path"
        return replace(decision, action=Action.HOLD, code="ceiling", reason=reason)
    return decision


def _counted_for(decision: Decision) -> MappingKey | None:
    """The mapping in whose window a change takes room: one that takes a role away. A pin is a person's own act."""
    mapping = decision.mapping
    return mapping if decision.action is not Action.ATTACH and mapping and not mapping.pins else None


def _assigned(decision: Decision, intent: Intent, made: Association) -> Assignment | None:
    """The assignment that a mutation leaves, if any."""
    if decision.gives_back or decision.swap:
        return None
    if decision.action is Action.DETACH:
        # Remembered only where there is something to give back.
        remembers = decision.code == "quarantined" and intent.restore_profile_arn
        return assignment_of(intent, NOTHING) if remembers else None
    return assignment_of(intent, made.id)


def _overtaken(observed: Observation, decision: Decision) -> list[Intent]:
    """Open intents to leave the association that EC2 just let us leave: each id can be taken only once."""
    left = decision.association_id
    return [each for each in observed.record.intents.values() if left and each.from_association_id == left]


def _swaps(observed: Observation) -> list[Intent]:
    """Open swaps whose first half is done: detached, and not attached again."""
    if observed.association:
        return []
    return [each for each in observed.record.intents.values() if each.swap]

"""Observe, decide, apply: for a batch of instances, until each is as it should be or shows why not.

Nothing is locked. A mutation names the association that was observed; when EC2 refuses a stale one, we observe again.
After a mutation we observe again too: that follows the association until it is `associated`, and meets a wish that
changed meanwhile.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rolekeeper.announce import CHANGED, PARKED, REFUSED, Announcer, described, seen
from rolekeeper.ec2 import Ec2
from rolekeeper.errors import (
    AwsRefusalError,
    DamagedError,
    DeniedError,
    GoneError,
    NotReadyError,
    ObserveAgainError,
    PermanentError,
    RetryableError,
)
from rolekeeper.model import Action, Assignment, Association, Decision, InstanceKey, Intent, Mode, Standing, Wake
from rolekeeper.observe import Observation, observe
from rolekeeper.ownership import NOTHING, assignment_of
from rolekeeper.retry import RetryLoop
from rolekeeper.state import State

# Seconds between looks at an instance that we changed or that changed under us; EC2 associates within seconds.
LOOKS = (0.2, 0.4, 0.8, 1.6, 3.2)
# A new instance may not be visible at once (AWS_FACTS.md "Errors"); a message older than this names one that is gone.
VISIBLE_WITHIN = timedelta(minutes=2)
# Decisions that the next look may change.
_FOLLOWED = frozenset({"associating", "disassociating"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one instance's reconcile ended.

    `error`: nothing was decided; the message must come again. `waiting`: the retry loop has to look again, and the
    instance shows this very decision `since` then.
    """

    decision: Decision | None
    waiting: bool = False
    since: datetime | None = None
    error: AwsRefusalError | None = None


@dataclass(frozen=True, slots=True)
class _Again:
    """Look again; `error` is what to say when no look is left."""

    error: AwsRefusalError | None = None


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What EC2 answered to a mutation that it refused, and the intent that this ends."""

    answer: Mapping[str, str]
    closed: tuple[Intent, ...]


_NOT_ASKED = _Refusal({}, ())


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Reconciler:
    """The reconciler with what it works on.

    Attributes:
        ec2: the instances and their associations.
        state: the state table.
        announce: logs, metrics and events.
        may_restore: whether a profile's role lies under the ceiling (see `Iam.may_pass`).
        mode: the mode as deployed; the control item overrides it.
        loop: starts retry loops; None inside one.
        now: the clock (UTC).
        sleep: waits between looks, in seconds.
    """

    ec2: Ec2
    state: State
    announce: Announcer
    may_restore: Callable[[str], bool]
    mode: Mode
    loop: RetryLoop | None = None
    now: Callable[[], datetime] = _utc_now
    sleep: Callable[[float], None] = time.sleep

    def run(self, wakes: Iterable[Wake]) -> dict[InstanceKey, Outcome]:
        """Reconcile the instances that these messages name; several messages for one instance are one reconcile."""
        pending = _by_instance(wakes)
        outcomes: dict[InstanceKey, Outcome] = {}
        for pause in (*LOOKS, None):
            if not pending:
                break
            try:
                observations = observe(list(pending), self.ec2, self.state, self.now())
            except DamagedError as error:
                if len(pending) > 1:
                    # One damaged item must not keep the others from their roles: each by itself.
                    return outcomes | {key: self.run([wake])[key] for key, wake in pending.items()}
                return outcomes | self._unread(pending, error)
            except AwsRefusalError as error:
                return outcomes | self._unread(pending, error)
            for key, wake in list(pending.items()):
                ended = self._guarded(wake, observations[key], last=pause is None)
                if isinstance(ended, Outcome):
                    outcomes[key] = ended
                    del pending[key]
            if pending and pause is not None:
                self.sleep(pause)
        return outcomes

    def park(self, wake: Wake, decision: Decision) -> None:
        """Give up waiting, visibly: the next `running` event or sweep takes it up again."""
        parked = replace(decision, reason=f"{decision.reason}; gave up waiting, resumes on its next event or the sweep")
        now = self.now()
        standing = Standing(
            parked.action, parked.code, parked.reason, now, fingerprint=decision.fingerprint, parked=True
        )
        self.state.record_outcome(wake.instance, _entry(wake, None, None, parked, {}), now, standing=standing)
        self.announce.decision(wake, None, None, parked, event=PARKED)
        self.announce.count("Parked")

    def _unread(self, pending: dict[InstanceKey, Wake], error: AwsRefusalError) -> dict[InstanceKey, Outcome]:
        """The truth can't be read: hold everything, and let the messages come again."""
        if isinstance(error, DeniedError):
            self.announce.denied(error, correlation_id=next(iter(pending.values())).correlation_id)
        self.announce.failed("could not observe", error=str(error), instances=[key.id for key in pending])
        return {key: Outcome(None, error=error) for key in pending}

    def _guarded(self, wake: Wake, observed: Observation, *, last: bool) -> Outcome | _Again:
        try:
            ended = self._one(wake, observed, last=last)
        except AwsRefusalError as error:
            # Our own table, queue or machine failed: what EC2 was asked stands and is found by its intent.
            if isinstance(error, DeniedError):
                self.announce.denied(error, correlation_id=wake.correlation_id)
            self.announce.failed("could not finish", error=str(error), instance=wake.instance.id)
            return Outcome(None, error=error)
        if isinstance(ended, _Again) and last:
            unsettled = ended.error or RetryableError(
                "NotSettled", "it kept changing while we looked", "", wake.instance.id
            )
            self.announce.failed("did not settle", error=str(unsettled), instance=wake.instance.id)
            return Outcome(None, error=unsettled)
        return ended

    def _one(self, wake: Wake, observed: Observation, *, last: bool) -> Outcome | _Again:
        decision = observed.decision(self.mode)
        if decision.code == "gone" and not last and self.now() - wake.at < VISIBLE_WITHIN:
            return _Again()
        if decision.code in _FOLLOWED and not last:
            return _Again()
        if decision.action is Action.NOTHING:
            return self._nothing(wake, observed, decision)
        if decision.action.mutates:
            return self._apply(wake, observed, decision)
        return self._stand(wake, observed, decision)

    # ---- nothing to do ----

    def _nothing(self, wake: Wake, observed: Observation, decision: Decision) -> Outcome:
        """Converged: no write, unless something from before has to be cleared up."""
        if decision.code in ("gone", "ended"):
            if observed.recorded:
                self.state.forget(wake.instance)
        elif (kept := observed.to_record(decision)) is not None:
            # An interrupted reconcile is completed, or another mapping now stands for the same role.
            answer = {"association-id": kept.association_id, "completed": True}
            entry = _entry(wake, observed, observed.association, decision, answer)
            self.state.record_outcome(
                wake.instance,
                entry,
                self.now(),
                closed=observed.settled,
                assignment=kept,
                forgotten=_in_vain(observed, decision),
                clears_standing=True,
            )
        elif observed.needs_work(decision, self.now()):
            self.state.settle(wake.instance, closed=observed.settled, forgotten=_in_vain(observed, decision))
        self.announce.decision(wake, observed.instance, observed.association, decision)
        return Outcome(decision)

    # ---- waiting and refusing ----

    def _stand(self, wake: Wake, observed: Observation, decision: Decision, refusal: _Refusal = _NOT_ASKED) -> Outcome:
        """Show why the instance doesn't carry what it should; start the retry loop if it has to be watched."""
        now, former = self.now(), observed.record.standing
        said = former if observed.shows(decision) else None
        watched = former.loop_until if former and former.loop_until and former.loop_until > now else None
        if wake.loop_failed:
            watched = None  # by nobody any more, whatever the record says
        # A profile that EC2 didn't know within its bound is asked for once a sweep, without another loop.
        hopeless = said and said.parked and decision.code == "propagating"
        starts = decision.polls and not watched and not hopeless and self.loop is not None
        if starts and self.loop:
            watched = self.loop.start(wake, now)
        standing = Standing(
            decision.action,
            decision.code,
            decision.reason,
            since=said.since if said else now,
            fingerprint=decision.fingerprint,
            loop_until=watched if decision.polls else None,
            parked=not decision.polls or bool(hopeless),
        )
        # What an intent had yet to prove is written here: an attempt's own intent was opened after settling.
        asked = refusal is not _NOT_ASKED
        if not said or starts or refusal.closed or (not asked and (observed.settled or observed.unrecorded)):
            self.state.record_outcome(
                wake.instance,
                _entry(wake, observed, observed.association, decision, refusal.answer),
                now,
                closed=refusal.closed if asked else observed.settled,
                assignment=None if asked else observed.unrecorded,
                standing=standing,
            )
        event = REFUSED if decision.action is Action.HOLD and not said else ""
        self.announce.decision(wake, observed.instance, observed.association, decision, refusal.answer, event=event)
        return Outcome(decision, waiting=decision.polls, since=standing.since)

    # ---- changing ----

    def _apply(self, wake: Wake, observed: Observation, decision: Decision) -> Outcome | _Again:
        """Intent, call, outcome. One write, one mutation, one write."""
        if decision.gives_back and not self.may_restore(decision.profile_arn):
            reason = f"{decision.profile_arn} can't be put back: its role lies outside the role path"
            return self._stand(wake, observed, replace(decision, action=Action.HOLD, code="ceiling", reason=reason))
        intent = self._intent(observed, decision)
        adopted = observed.unrecorded
        self.state.open_intent(wake.instance, intent, observed.settled, adopted)
        try:
            made = self._mutate(decision, wake.instance.id)
        except RetryableError as error:
            # It may have happened. The intent stays open: whoever looks next finds out.
            self.announce.failed("mutation interrupted", error=str(error), instance=wake.instance.id)
            return Outcome(decision, error=error)
        except (NotReadyError, ObserveAgainError, GoneError, PermanentError) as error:
            return self._refused(wake, observed, decision, intent, error)
        answer = {"association-id": made.id, "state": made.state.value}
        assignment = _made(decision, intent, made)
        # EC2 took the id that was observed, so none of the recorded ones can be newer.
        former = set(observed.record.assignments) | ({adopted.association_id} if adopted else set())
        self.state.record_outcome(
            wake.instance,
            _entry(wake, observed, observed.association, decision, answer),
            self.now(),
            # A swap's intent stays open until the second half, which takes over what it would restore.
            closed=() if decision.swap else (intent, *_swaps(observed)),
            assignment=assignment,
            forgotten=former - {assignment.association_id} if assignment else former,
            clears_standing=True,
        )
        event = CHANGED[Action.DETACH if decision.swap else decision.action]
        self.announce.decision(wake, observed.instance, observed.association, decision, answer, event=event)
        return _Again()

    def _mutate(self, decision: Decision, instance_id: str) -> Association:
        if decision.action is Action.ATTACH:
            return self.ec2.associate(instance_id, decision.profile_arn)
        if decision.action is Action.REPLACE and not decision.swap:
            return self.ec2.replace(decision.association_id, decision.profile_arn, instance_id)
        return self.ec2.disassociate(decision.association_id, instance_id)

    def _refused(
        self, wake: Wake, observed: Observation, decision: Decision, intent: Intent, error: AwsRefusalError
    ) -> Outcome | _Again:
        """EC2 said no: close the intent, note the answer, then observe again, wait, or show why not."""
        answer = {"code": error.code, "message": error.message, "action": error.action, "resource": error.resource}
        # Sent twice and refused once, the call may have happened: then its intent is all that shows what is ours.
        ended = _Refusal(answer, () if error.resent else (intent,))
        if isinstance(error, ObserveAgainError | GoneError):
            entry = _entry(wake, observed, observed.association, decision, answer)
            self.state.record_outcome(wake.instance, entry, self.now(), closed=ended.closed)
            return _Again(RetryableError(error.code, error.message, error.action, error.resource))
        if isinstance(error, NotReadyError):
            propagating = error.code != "IncorrectInstanceState"
            waits = replace(
                decision,
                action=Action.WAIT,
                code="propagating" if propagating else "changing",
                reason=f"EC2 isn't ready for role {decision.role}: {error}",
                polls=True,
            )
            return self._stand(wake, observed, waits, ended)
        if isinstance(error, DeniedError):
            reason = f"permission {error.action} on {error.resource} is missing ({error.code})"
            holds = replace(decision, action=Action.HOLD, code="denied", reason=reason)
            self.announce.denied(error, correlation_id=wake.correlation_id, news=not observed.shows(holds))
        else:
            reason = f"EC2 refused role {decision.role}: {error}"
            holds = replace(decision, action=Action.HOLD, code="refused", reason=reason)
        return self._stand(wake, observed, holds, ended)

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


def _by_instance(wakes: Iterable[Wake]) -> dict[InstanceKey, Wake]:
    """One message for each instance: the first, unless a later one knows that no loop watches it any more."""
    chosen: dict[InstanceKey, Wake] = {}
    for wake in wakes:
        if wake.loop_failed or wake.instance not in chosen:
            chosen[wake.instance] = wake
    return chosen


def _made(decision: Decision, intent: Intent, made: Association) -> Assignment | None:
    """The assignment that a mutation leaves, if any."""
    if decision.gives_back or decision.swap:
        return None
    if decision.action is Action.DETACH:
        # Remembered only where there is something to give back.
        remembers = decision.code == "quarantined" and intent.restore_profile_arn
        return assignment_of(intent, NOTHING) if remembers else None
    return assignment_of(intent, made.id)


def _in_vain(observed: Observation, decision: Decision) -> set[str]:
    """What the record need not hold any more, of what was taken for `NONE`.

    A recorded association that EC2 didn't show is left alone: it may be newer than what we saw. Its id never comes
    again, so at worst it lies there until the next mutation.
    """
    return {NOTHING} if observed.remembers_in_vain(decision) else set()


def _swaps(observed: Observation) -> list[Intent]:
    """Open swaps whose first half is done: detached, and not attached again."""
    if observed.association:
        return []
    return [each for each in observed.record.intents.values() if each.swap]


def _entry(
    wake: Wake,
    observed: Observation | None,
    association: Association | None,
    decision: Decision,
    answer: Mapping[str, Any],
) -> dict[str, Any]:
    """A history entry: what woke us, what was seen, what was decided and why, what AWS answered."""
    return {
        "cause": wake.cause,
        "correlation_id": wake.correlation_id,
        "seen": seen(observed.instance if observed else None, association),
        "decision": described(decision),
        "answer": dict(answer),
    }

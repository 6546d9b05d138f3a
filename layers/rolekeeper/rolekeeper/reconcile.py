"""Observe, decide, apply: for a batch of instances, until each is as it should be or shows why not.

Nothing is locked. A mutation names the association that was observed; when EC2 refuses a stale one, we observe again.
After a mutation we observe again too: that follows the association until it is `associated`, and meets a wish that
changed meanwhile.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from rolekeeper.announce import PARKED, REFUSED, Announcer, history_entry
from rolekeeper.change import Again, Changer, Interrupted, Unchanged
from rolekeeper.contest import ContestRule, Evidence, seen_undone
from rolekeeper.ec2 import Ec2
from rolekeeper.errors import AwsRefusalError, DamagedError, DeniedError, ObserveAgainError, RetryableError
from rolekeeper.model import Action, Decision, InstanceKey, Mode, Standing, Timer, Wake
from rolekeeper.observe import Observation, observe
from rolekeeper.ownership import NOTHING
from rolekeeper.retry import RetryLoop
from rolekeeper.state import NO_EVIDENCE, State

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


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Reconciler:
    """The reconciler with what it works on.

    Attributes:
        ec2: the instances and their associations.
        state: the state table.
        announce: logs, metrics and events.
        changer: makes the changes.
        mode: the mode as deployed; the control item overrides it.
        contest: how often somebody else may undo a change.
        retries: has an instance looked at again until it is ready; None inside a retry loop, which does.
        now: the clock (UTC).
        sleep: waits between looks, in seconds.
    """

    ec2: Ec2
    state: State
    announce: Announcer
    changer: Changer
    mode: Mode
    contest: ContestRule
    retries: RetryLoop | None = None
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
        self.state.record_outcome(wake.instance, history_entry(wake, None, None, parked, {}), now, standing=standing)
        self.announce.decision(wake, None, None, parked, event=PARKED)
        self.announce.count("Parked")

    def _unread(self, pending: dict[InstanceKey, Wake], error: AwsRefusalError) -> dict[InstanceKey, Outcome]:
        """The truth can't be read: hold everything, and let the messages come again."""
        if isinstance(error, DeniedError):
            self.announce.denied(error, correlation_id=next(iter(pending.values())).correlation_id)
        self.announce.failed("could not observe", error=str(error), instances=[key.id for key in pending])
        return {key: Outcome(None, error=error) for key in pending}

    def _guarded(self, wake: Wake, observed: Observation, *, last: bool) -> Outcome | Again:
        try:
            ended = self._one(wake, observed, last=last)
        except ObserveAgainError as error:
            # Another reconcile of this instance was faster: what it wrote stands, and we look at it.
            ended = Again(RetryableError(error.code, error.message, error.action, error.resource))
        except AwsRefusalError as error:
            # Our own table, queue or machine failed: what EC2 was asked stands and is found by its intent.
            if isinstance(error, DeniedError):
                self.announce.denied(error, correlation_id=wake.correlation_id)
            self.announce.failed("could not finish", error=str(error), instance=wake.instance.id)
            return Outcome(None, error=error)
        if isinstance(ended, Again) and last:
            unsettled = ended.error or RetryableError(
                "NotSettled", "it kept changing while we looked", "", wake.instance.id
            )
            self.announce.failed("did not settle", error=str(unsettled), instance=wake.instance.id)
            return Outcome(None, error=unsettled)
        return ended

    def _one(self, wake: Wake, observed: Observation, *, last: bool) -> Outcome | Again:
        decision = observed.decision(self.mode, self.contest)
        if decision.code == "gone" and not last and self.now() - wake.at < VISIBLE_WITHIN:
            return Again()
        if decision.code in _FOLLOWED and not last:
            return Again()
        if observed.outdated and not decision.action.mutates and not last:
            return Again()
        if decision.action is Action.NOTHING:
            return self._nothing(wake, observed, decision)
        if decision.action.mutates:
            return self._change(wake, observed, decision)
        return self._stand(wake, observed, Unchanged(decision))

    def _change(self, wake: Wake, observed: Observation, decision: Decision) -> Outcome | Again:
        changed = self.changer.change(wake, observed, decision)
        if isinstance(changed, Interrupted):
            return Outcome(decision, error=changed.error)
        return self._stand(wake, observed, changed) if isinstance(changed, Unchanged) else changed

    # ---- nothing to do ----

    def _nothing(self, wake: Wake, observed: Observation, decision: Decision) -> Outcome:
        """Converged: no write, unless something from before has to be cleared up."""
        if decision.code in ("gone", "ended"):
            if observed.recorded or (observed.pin and observed.ended):
                pinned, begun = observed.pin is not None and observed.ended, observed.record.intents.values()
                entry = history_entry(wake, observed.instance, observed.association, decision, {}, begun)
                self.state.forget(wake.instance, pinned=pinned, entry=entry if begun else None, at=self.now())
        elif (kept := observed.to_record(decision)) is not None:
            # An interrupted reconcile is completed, or another mapping now stands for the same role.
            answer = {"association-id": kept.association_id, "completed": True}
            self.state.record_outcome(
                wake.instance,
                history_entry(wake, observed.instance, observed.association, decision, answer, observed.settled),
                self.now(),
                closed=observed.settled,
                assignment=kept,
                forgotten=_in_vain(observed, decision),
                clears_standing=True,
                read=observed.record,
            )
        elif observed.needs_work(decision, self.now()):
            forgotten = _in_vain(observed, decision)
            evidence = _nobodys(observed) if observed.given_up(decision) else NO_EVIDENCE
            if settled := observed.settled:
                # What became of these was never recorded: the history tells at least that they were begun.
                self.state.record_outcome(
                    wake.instance,
                    history_entry(wake, observed.instance, observed.association, decision, {}, settled),
                    self.now(),
                    closed=settled,
                    forgotten=forgotten,
                    clears_standing=True,
                    evidence=evidence,
                    read=observed.record,
                )
            else:
                self.state.settle(wake.instance, forgotten=forgotten, evidence=evidence, read=observed.record)
        self.announce.decision(wake, observed.instance, observed.association, decision)
        return Outcome(decision)

    # ---- waiting and refusing ----

    def _stand(self, wake: Wake, observed: Observation, unchanged: Unchanged) -> Outcome:
        """Show why the instance doesn't carry what it should, and see that it is watched if it has to be."""
        now, decision, answer = self.now(), unchanged.decision, unchanged.answer or {}
        said = observed.record.standing if observed.shows(decision) else None
        watched, starts = self._watch(wake, observed, decision, now)
        hopeless = _hopeless(observed, decision)
        standing = Standing(
            decision.action,
            decision.code,
            decision.reason,
            since=said.since if said else now,
            fingerprint=decision.fingerprint,
            loop_until=watched,
            parked=not (decision.polls or decision.until) or hopeless,
        )
        # What an intent had yet to prove is written here: an attempt's own intent was opened after settling.
        proven = not unchanged.asked and bool(observed.settled or observed.unrecorded)
        if not said or starts or unchanged.closed or proven:
            self.state.record_outcome(
                wake.instance,
                history_entry(
                    wake,
                    observed.instance,
                    observed.association,
                    decision,
                    answer,
                    () if unchanged.asked else observed.settled,
                ),
                now,
                closed=unchanged.closed if unchanged.asked else observed.settled,
                assignment=None if unchanged.asked else observed.unrecorded,
                standing=standing,
                evidence=_contest(observed, decision),
                timer=Timer(decision.until, wake.instance) if decision.until else None,
                alongside=unchanged.alongside,
                # What EC2 just answered is news, whatever the instance shows.
                read=None if unchanged.asked else observed.record,
            )
        event = REFUSED if decision.action is Action.HOLD and not said else ""
        self.announce.decision(
            wake, observed.instance, observed.association, decision, answer, event=event, reads=observed.tags_read
        )
        return Outcome(decision, waiting=decision.polls, since=standing.since)

    def _watch(
        self, wake: Wake, observed: Observation, decision: Decision, now: datetime
    ) -> tuple[datetime | None, bool]:
        """Until when the instance is watched, and whether that begins now: by a retry loop, or by a timer."""
        former = observed.record.standing
        watched = former.loop_until if former and former.loop_until and former.loop_until > now else None
        if decision.until:
            # A timer rings at that very moment. A message that the queue delays would make a chain of this function's
            # own messages, which Lambda takes for a loop and stops (AWS_FACTS.md "Lambda, SQS, ...").
            return (watched, False) if watched and observed.shows(decision) else (decision.until, True)
        if not decision.polls:
            return None, False
        if wake.loop_failed:
            watched = None  # by nobody any more, whatever the record says
        if watched or _hopeless(observed, decision) or self.retries is None:
            return watched, False
        return self.retries.start(wake, now), True


def _by_instance(wakes: Iterable[Wake]) -> dict[InstanceKey, Wake]:
    """One message for each instance: the first, unless a later one knows that no loop watches it any more."""
    chosen: dict[InstanceKey, Wake] = {}
    for wake in wakes:
        if wake.loop_failed or wake.instance not in chosen:
            chosen[wake.instance] = wake
    return chosen


def _hopeless(observed: Observation, decision: Decision) -> bool:
    """A profile that EC2 didn't know within its bound is asked for once a sweep, without another loop."""
    former = observed.record.standing
    parked = former is not None and former.parked and observed.shows(decision)
    return parked and decision.code == "propagating"


def _contest(observed: Observation, decision: Decision) -> Evidence:
    """What to remember when an instance is left to whoever contests it: the undoing that was one too many."""
    if decision.code != "contested":
        return Evidence()
    return Evidence(undone=seen_undone(observed.record, decision, observed.association, observed.asked_at))


def _nobodys(observed: Observation) -> Evidence:
    """Nothing governs the instance any more, so there is nothing that somebody could undo."""
    return Evidence(lapsed=observed.record.undone, over=True)


def _in_vain(observed: Observation, decision: Decision) -> set[str]:
    """What the record need not hold any more, of what was taken for `NONE`.

    A recorded association that EC2 didn't show is left alone: it may be newer than what we saw. Its id never comes
    again, so at worst it lies there until the next mutation.
    """
    return {NOTHING} if observed.remembers_in_vain(decision) else set()

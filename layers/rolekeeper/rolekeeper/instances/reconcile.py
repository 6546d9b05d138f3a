"""Observe, decide, apply: for a batch of instances, until each is as it should be or shows why not.

Nothing is locked. A mutation names the association that was observed; when EC2 refuses a stale one, we observe again.
The write of a mutation's outcome also sets a follow-up. It has the instance reconciled again a minute later, until the
association is `associated`, and so finds what changed meanwhile.

A worker makes changes at its pace, and waits for it for some seconds at most, to keep no other target waiting: the rest
of a batch goes back to the queue, each change until its turn. In a batch of several targets only what was put back, and
a quarantine, waits. What waited is observed again before its change.

A change is one write, one mutation, one write: the grant, the start of a history entry and the room in the window; the
call; its outcome. An entry that stays "started" means that the outcome is unknown: what the instance carries shows it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from rolekeeper.aws import Ec2, WorkQueue, errors
from rolekeeper.aws.queue import LONGEST_DELAY
from rolekeeper.instances import records
from rolekeeper.instances.deferral import put_off, refused, waits_for_room
from rolekeeper.instances.observe import FOLLOW_UP, Observation, Observed, Unreadable, observe
from rolekeeper.instances.retry import PROPAGATION
from rolekeeper.instances.worker import Started, Worker
from rolekeeper.model import SENTENCE, shown
from rolekeeper.model.instance import (
    Action,
    Association,
    Condition,
    Decision,
    InstanceKey,
    ReconcileRequest,
    RecordChange,
)
from rolekeeper.settings import Settings
from rolekeeper.storage import State
from rolekeeper.storage.layout import DONE, REFUSED, Key
from rolekeeper.storage.table import Write
from rolekeeper.telemetry import CHANGED, PARKED, PINNED, Telemetry
from rolekeeper.telemetry import REFUSED as REFUSAL_EVENT

# Seconds before an instance is observed again that changed meanwhile, or is half swapped; EC2 detaches within seconds.
LOOKS = (0.4, 1.6)
# A new instance may not be visible at once (AWS_FACTS.md "Errors"); a message older than this names one that is gone.
# One with a younger grant isn't: EC2 shows terminated ones too, usually for less than an hour (`DescribeInstances`).
VISIBLE_WITHIN, SHOWN_FOR = timedelta(minutes=2), timedelta(minutes=30)
# How long a batch begins changes; how long it waits for its pace; and how often a change is put back, before it
# is tried again in a minute or two.
WORK, PATIENCE, PUT_BACK = timedelta(seconds=30), timedelta(seconds=5), 12


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one instance's reconcile ended: it shows the decision `since` then, or an error has its message retried.

    It `comes_back` if it is to wait for its turn in the queue.
    """

    decision: Decision | None = None
    since: datetime | None = None
    error: errors.AwsRefusalError | None = None
    comes_back: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """When the last change of a batch begins, and whether it is `shared` with other targets.

    `put_back` is how often one of its messages was put back, at most: Lambda counts a chain over all of a batch.
    """

    ends_by: datetime
    shared: bool = False
    put_back: int = 0

    @property
    def patient_until(self) -> datetime:
        return self.ends_by - WORK + PATIENCE


PACED = Outcome()  # observe it again when the worker's pace allows another change


@dataclass(frozen=True)
class Reconciler:
    """Observes instances, decides, applies.

    The `changer` is a worker; inside a retry loop it is the workers' queue: a loop only observes, and sends an instance
    there once it is ready for its change. `is_news` says whether to report a refusal.
    """

    ec2: Ec2
    state: State
    telemetry: Telemetry
    settings: Settings
    changer: Worker | WorkQueue
    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    is_news: Callable[[errors.AccessDeniedError], bool] = lambda _: True
    _loops: dict[InstanceKey, datetime] = field(default_factory=dict, init=False)

    def run(self, requests: Iterable[ReconcileRequest], batch: Batch | None = None) -> dict[InstanceKey, Outcome]:
        """Reconcile these, several for one instance as one; by default the batch has WORK, and is this target's."""
        pending: dict[InstanceKey, ReconcileRequest] = {}
        for request in requests:
            # The first for an instance stands for all, unless a later one knows that no loop watches it.
            if request.loop_over or request.instance not in pending:
                pending[request.instance] = request
        outcomes: dict[InstanceKey, Outcome] = {}
        put_back = max((each.put_back for each in pending.values()), default=0)
        looks, batch = iter((*LOOKS, None)), batch or Batch(self.now() + WORK, put_back=put_back)
        pause, worker = next(looks), self.changer if isinstance(self.changer, Worker) else None
        while pending:
            try:
                counters = worker.window if worker else None
                observed = observe(list(pending), self.ec2, self.state, now=self.now(), counters=counters)
            except errors.AwsRefusalError as error:
                first, ids = next(iter(pending.values())), [key.id for key in pending]
                failed = self._failed("could not observe", error, first, instances=ids)
                return outcomes | dict.fromkeys(pending, failed)
            ended = {key: self._look(each, observed[key], pause, batch=batch) for key, each in pending.items()}
            if worker:
                worker.window.count_turns(_left_turns(observed, ended, self.now()))
                ended |= self._put_back(worker, pending, observed, ended=ended, put_back=batch.put_back + 1)
            outcomes |= {key: each for key, each in ended.items() if each and each is not PACED}
            pending = {key: each for key, each in pending.items() if key not in outcomes}
            if pause is not None and None in ended.values():
                self.sleep(pause)
                pause = next(looks)
            elif pending and worker:
                now = self.now()
                until = batch.patient_until if now < batch.patient_until else batch.ends_by
                self.sleep(max(0, min(worker.pace.rest(len(pending), now), (until - now).total_seconds())))
        return outcomes

    def _put_back(
        self,
        worker: Worker,
        requests: Mapping[InstanceKey, ReconcileRequest],
        observed: Mapping[InstanceKey, Observed],
        ended: Mapping[InstanceKey, Outcome | None],
        *,
        put_back: int,
    ) -> dict[InstanceKey, Outcome | None]:
        """Send those that are to come back to the queue until their turns; returns how they ended."""
        backs = {key: each.decision for key, each in ended.items() if each and each.comes_back and each.decision}
        if not backs:
            return {}
        try:
            now = self.now()
            turns = dict(zip(backs, worker.line_up(len(backs), now), strict=True))
            delays = {key: math.ceil((turn - now).total_seconds()) for key, turn in turns.items()}
            soon = {key: delay for key, delay in delays.items() if delay <= LONGEST_DELAY}
            again = ((replace(requests[key], put_back=put_back), delay) for key, delay in soon.items())
            worker.queue.put_back(again)
        except errors.AwsRefusalError as error:
            first, ids = requests[next(iter(backs))], [key.id for key in backs]
            return dict.fromkeys(backs, self._failed("could not put back", error, first, instances=ids))
        return {
            key: self._show(requests[key], seen, put_off(backs[key], turns[key]))
            for key in backs
            if key not in soon and isinstance(seen := observed[key], Observation)
        }

    def park(
        self,
        request: ReconcileRequest,
        decision: Decision,
        completes: tuple[Key, Mapping[str, Any]] | None = None,
        also: tuple[Write, ...] = (),
    ) -> None:
        """Give up waiting, visibly: the next `running` event or sweep takes it up again."""
        parked = replace(decision, reason=f"{decision.reason}; gave up waiting, resumes on its next event or the sweep")
        now = self.now()
        condition = Condition(
            parked.action, parked.code, parked.reason, since=now, fingerprint=decision.fingerprint, parked=True
        )
        entry = records.history_entry(request, None, parked, answer={})
        change = RecordChange(condition=condition, timers=(records.follow_up(request.instance, now),))
        self.state.save(request.instance, change, now, entry=entry, completes=completes, also=also)
        self.telemetry.decision(request, entry, event=PARKED)
        self.telemetry.count("Parked")

    def _look(self, request: ReconcileRequest, observed: Observed, pause: float | None, batch: Batch) -> Outcome | None:
        """How an instance's reconcile ended; None if it has to be observed again, after the `pause`."""
        instance = request.instance.id
        if isinstance(observed, Unreadable):
            return self._failed("could not observe", observed.error, request, instances=[instance])
        if not observed.control.registered:
            return Outcome(error=errors.NotRegisteredError("NotRegistered", "its target isn't in the registry"))
        unsettled = errors.RetryableError("NotSettled", "it kept changing while we looked", "", resource=instance)
        try:
            ended = self._carry_out(request, observed, pause, batch=batch)
        except errors.ConflictError as error:
            # Another actor was faster, at EC2 or with a reconcile of this instance: what it did stays.
            ended = None
            unsettled = errors.RetryableError(error.code, error.message, error.action, resource=error.resource)
        except errors.AwsRefusalError as error:
            # Our own table, queue or machine failed: what EC2 was asked for stays, and its grant explains it.
            return self._failed("could not finish", error, request, instance=instance)
        if pause is None and not ended:
            return self._failed("did not settle", unsettled, request, instance=instance)
        return ended

    def _carry_out(
        self, request: ReconcileRequest, observed: Observation, pause: float | None, batch: Batch
    ) -> Outcome | None:
        if news := records.pin_report(observed, self.now()):
            pin, said = news
            change = RecordChange(pin=pin, expected=observed.record)
            entry = records.history_entry(request, observed, said, answer={})
            self.state.save(request.instance, change, self.now(), entry=entry)
            self.telemetry.decision(request, entry, event=PINNED[said.code])
            record = replace(observed.record, pin=pin, writes=observed.record.writes + 1)
            observed = replace(observed, record=record)
        decision = observed.decision(self.settings)
        if decision.action.mutates:
            return self._apply(request, observed, decision, batch=batch)
        now = self.now()
        if decision.code == "gone" and any(now - each.at < SHOWN_FOR for each in observed.record.grants.values()):
            # EC2's answer is older than the change: keep the grant.
            return None
        invisible = decision.code == "gone" and now - request.at < VISIBLE_WITHIN
        leaving = decision.code == "disassociating"
        if pause is not None and (invisible or leaving or observed.outdated):
            return None
        if decision.code == "associating":
            if records.is_followed(observed, now):
                self.telemetry.decision(request, records.history_entry(request, observed, decision, answer={}))
                return Outcome(decision, since=now)
            decision = replace(decision, polls=False, until=now + FOLLOW_UP)
        return self._show(request, observed, decision)

    def _apply(
        self, request: ReconcileRequest, observed: Observation, decision: Decision, batch: Batch
    ) -> Outcome | None:
        """Change one instance, if there is room for it, and record the outcome; None if it is half swapped."""
        now, worker = self.now(), self.changer
        # Before its turn it must not ask for room: it would be counted as waiting twice, and delay those behind it.
        if turn := observed.turn(decision, now):
            return self._show(request, observed, waits_for_room(decision, turn))
        if isinstance(worker, WorkQueue):
            worker.send([request.instance], request.cause, request.correlation_id, loop_over=True)
            return Outcome(decision, since=now)
        if (wait := worker.pace.wait(1, now)) or now > batch.ends_by:
            return self._beyond_pace(request, observed, decision, batch=batch, ready=now + timedelta(seconds=wait))
        started = worker.start(request, observed, decision)
        if isinstance(started, datetime):
            return self._show(request, observed, waits_for_room(decision, started))
        observed = started.observed
        worker.pace.take()
        try:
            made = self._ask(request.instance, decision)
        except errors.AwsRefusalError as error:
            if error.throttled or error.possibly_applied:
                worker.pace.throttled(self.now())
            if isinstance(error, errors.RetryableError) and not error.throttled:
                # The call may have happened. Its grant explains what the instance carries then.
                return self._failed("the outcome of a change is unknown", error, request, instance=request.instance.id)
            return self._refused(request, decision, started, error=error)
        now = self.now()
        if made.retries:
            worker.pace.throttled(now)
        answer = {"association-id": made.id, "state": made.state.value}
        change = records.completed(observed, decision, self.settings.contention, now=now)
        self.state.save(request.instance, change, now, completes=(started.entry, {"outcome": DONE, "answer": answer}))
        event = CHANGED[Action.DETACH if decision.swap else decision.action]
        entry = records.history_entry(request, observed, decision, answer=answer)
        self.telemetry.decision(request, entry, event=event)
        return None if decision.swap else Outcome(decision, since=now)

    def _beyond_pace(
        self,
        request: ReconcileRequest,
        observed: Observation,
        decision: Decision,
        batch: Batch,
        *,
        ready: datetime,
    ) -> Outcome:
        """Let a change wait until its worker is ready for it, or put it back until its turn."""
        waits = decision.quarantines or request.put_back or not batch.shared
        if waits and ready <= (batch.ends_by if decision.quarantines else batch.patient_until):
            return PACED
        # Lambda takes a longer chain of messages for a loop (AWS_FACTS.md "Lambda, SQS, ...").
        if batch.put_back >= PUT_BACK:
            return self._show(request, observed, put_off(decision, self.now() + FOLLOW_UP))
        return Outcome(decision, comes_back=True)

    def _ask(self, instance: InstanceKey, decision: Decision) -> Association:
        if decision.action is Action.ATTACH:
            return self.ec2.associate(instance, decision.profile_arn)
        if decision.action is Action.REPLACE and not decision.swap:
            return self.ec2.replace(instance, decision.association_id, decision.profile_arn)
        return self.ec2.disassociate(instance, decision.association_id)

    def _show(
        self,
        request: ReconcileRequest,
        observed: Observation,
        decision: Decision,
        completes: tuple[Key, Mapping[str, Any]] | None = None,
        also: tuple[Write, ...] = (),
    ) -> Outcome:
        """Record a decision that changed nothing or was refused, if it is new; have the instance watched if needed."""
        now = self.now()
        shown = observed.shown(decision)
        watched_until = None
        if records.needs_watch(observed, decision, now, loop_over=request.loop_over):
            # By a timer or a retry loop: it may last for hours, and a message is delayed by 15 minutes at most.
            since = shown.since if shown else now
            retries = self.changer.retries if isinstance(self.changer, Worker) else None
            if retries and not decision.until and request.instance not in self._loops:
                # One for each run: the write of the last look may have met a conflict after its loop was started.
                self._loops[request.instance] = retries.start(request, now, since)
            watched_until = decision.until or self._loops.get(request.instance)
        change = records.next_record(observed, decision, now, watched_until=watched_until)
        # There is an entry when another mapping now gives the same role; none when a wait goes on, or is over.
        handed_over = any(each.at == now for each in change.grants)
        news = handed_over if decision.action is Action.NOTHING else change and not shown
        answer = completes[1]["answer"] if completes else {}
        entry = records.history_entry(request, observed, decision, answer=answer)
        new = entry if news and not completes else None
        try:
            self.state.save(request.instance, change, now, entry=new, completes=completes, also=also)
        except errors.ConflictError:
            if completes:
                # A later reconcile wrote since: its condition stays, and only EC2's answer is added.
                self.state.save(request.instance, RecordChange(), now, completes=completes, also=also)
            raise
        event = REFUSAL_EVENT if decision.action is Action.HOLD and not shown else ""
        self.telemetry.decision(request, entry, event=event)
        return Outcome(decision, since=shown.since if shown else now)

    def _failed(self, text: str, error: errors.AwsRefusalError, request: ReconcileRequest, **named: Any) -> Outcome:
        if isinstance(error, errors.AccessDeniedError):
            self.telemetry.denied(error, correlation_id=request.correlation_id, news=self.is_news(error))
        self.telemetry.will_retry(text, error=str(error), **named)
        return Outcome(error=error)

    def _refused(
        self, request: ReconcileRequest, decision: Decision, started: Started, error: errors.AwsRefusalError
    ) -> Outcome:
        """EC2 refused: complete the entry with its answer; then observe again, wait, or show why not."""
        said = shown(error.message, 2 * SENTENCE)
        answer = {"code": error.code, "message": said, "action": error.action, "resource": error.resource}
        # If the SDK sent the call twice, the first may have succeeded: the entry stays "started", and keeps its room.
        outcome = {"answer": answer} if error.possibly_applied else {"outcome": REFUSED, "answer": answer}
        also = (started.room.back,) if started.room and not error.possibly_applied else ()
        completes = started.entry, outcome
        now = self.now()
        if isinstance(error, errors.ConflictError | errors.NotFoundError):
            # Our own first sending may have succeeded: then only this follow-up finds it.
            change = RecordChange(timers=(records.follow_up(request.instance, now),))
            self.state.save(request.instance, change, now, completes=completes, also=also)
            raise errors.ConflictError(error.code, error.message, error.action, resource=error.resource) from error
        instead = put_off(decision, now + FOLLOW_UP) if error.throttled else refused(decision, error)
        shown_before = started.observed.shown(instead)
        if instead.polls and shown_before and not shown_before.parked and now - shown_before.since > PROPAGATION:
            self.park(request, instead, completes, also=also)
            return Outcome(instead, since=now)
        if isinstance(error, errors.AccessDeniedError):
            news = self.is_news(error) and not shown_before
            self.telemetry.denied(error, correlation_id=request.correlation_id, news=news)
        return self._show(request, started.observed, instead, completes=completes, also=also)


def _left_turns(
    observed: Mapping[InstanceKey, Observed], ended: Mapping[InstanceKey, Outcome | None], now: datetime
) -> Iterator[datetime]:
    """The turns for which instances waited before these looks, and don't any longer."""
    for key, outcome in ended.items():
        seen, decision = observed[key], outcome.decision if outcome else None
        if isinstance(seen, Observation) and decision and (turn := seen.left_turn(decision, now)):
            yield turn

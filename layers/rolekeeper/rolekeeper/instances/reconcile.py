"""Observe, decide, apply, record: for a batch of instances, until each is as it should be or shows why not.

A change is one write, one mutation, one write: the grant, the start of a history entry and the room in the window; the
call; its outcome. An entry that stays "started" means that the outcome is unknown; what the instance carries shows it.

Nothing is locked. A mutation names the association that was observed; when EC2 refuses a stale one, we observe again.
The write of a mutation's outcome also sets a follow-up. It has the instance reconciled again a minute later, until the
association is `associated`, and so finds what changed meanwhile.

A worker waits for the pace of its target for a few seconds at most, so that other targets needn't wait: the rest of a
batch goes back to the queue, each change until its turn. In a batch of several targets only a quarantine and what was
put back wait. An instance that waited is observed again before its change.
"""

import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rolekeeper.aws import Ec2, WorkQueue, errors
from rolekeeper.aws.queue import LONGEST_DELAY
from rolekeeper.instances.decide import Observation, decide, retry_later, waits_for_room
from rolekeeper.instances.observe import Observed, Unreadable, observe
from rolekeeper.instances.pace import Pace
from rolekeeper.instances.records import (
    FOLLOW_UP,
    Again,
    Outcome,
    Recorder,
    Started,
    history_entry,
    pin_report,
    starting,
)
from rolekeeper.instances.window import ChangeLimiter, Reservation, counted_in_wave
from rolekeeper.model.instance import Action, Association, Decision, InstanceKey, ReconcileRequest
from rolekeeper.settings import Settings
from rolekeeper.storage import State
from rolekeeper.storage.layout import STARTED

# Seconds before observing again an instance that changed meanwhile or is half swapped; EC2 detaches within seconds.
LOOKS = (0.4, 1.6)
# A new instance may not be visible at once (AWS_FACTS.md "Errors"); a message older than this names one that is gone.
# One with a younger grant isn't: EC2 shows terminated ones too, usually for less than an hour (`DescribeInstances`).
VISIBLE_WITHIN, SHOWN_FOR = timedelta(minutes=2), timedelta(minutes=30)
# How long a batch begins changes; how long it waits for its pace; and how often a change is put back, before it
# is tried again in a minute or two.
WORK, PATIENCE, PUT_BACK = timedelta(seconds=30), timedelta(seconds=5), 12
# How much denser turns are than the pace: some find no moment soon and get another turn, and until the last of these
# the pace must not be idle, however many workers look at once.
DENSER = 2
# Seconds between attempts to count a change while other workers count theirs; in each attempt one of them succeeds.
CROWDED = (0.05, 0.1, 0.1, 0.2, 0.2, 0.4, 0.4, 0.8)


@dataclass(frozen=True, slots=True)
class Batch:
    """When the last change of a batch begins, how long it waits for its pace, and whether other targets `shared` it.

    `put_back` is how often one of its messages was put back, at most: Lambda counts a chain over all of a batch. So
    many `changes` of its target are still to be made.
    """

    ends_by: datetime
    shared: bool = False
    put_back: int = 0
    patience: timedelta = PATIENCE
    changes: int = 1

    @property
    def patient_until(self) -> datetime:
        return self.ends_by - WORK + self.patience


@dataclass(frozen=True)
class Reconciler:
    """Reconciles the instances of one target; what limits its changes are its `window` and its `pace`.

    Inside a retry loop there is no `window`: a loop only observes, and sends an instance that is ready for its change
    to a worker, by the `queue`.
    """

    ec2: Ec2
    state: State
    settings: Settings
    queue: WorkQueue
    window: ChangeLimiter | None
    pace: Pace
    recorder: Recorder
    now: Callable[[], datetime]
    sleep: Callable[[float], None]

    def run(self, requests: Iterable[ReconcileRequest], batch: Batch | None = None) -> dict[InstanceKey, Outcome]:
        """Reconcile these, each instance once; by default the batch takes WORK and is this target's alone."""
        pending: dict[InstanceKey, ReconcileRequest] = {}
        for request in requests:
            # The first for each instance, unless a later one says that no loop watches it.
            if request.loop_over or request.instance not in pending:
                pending[request.instance] = request
        put_back = max((request.put_back for request in pending.values()), default=0)
        batch = batch or Batch(self.now() + WORK, put_back=put_back)
        outcomes: dict[InstanceKey, Outcome] = {}
        looks = 0
        while pending:
            outcomes |= self._look(pending, batch, last=looks == len(LOOKS))
            again = {key: outcomes[key].again for key in pending}
            pending = {key: pending[key] for key in pending if again[key] not in (None, Again.FROM_QUEUE)}
            if Again.WHEN_SETTLED in again.values():
                self.sleep(LOOKS[looks])
                looks += 1
            elif pending:
                now = self.now()
                until = batch.patient_until if now < batch.patient_until else batch.ends_by
                self.sleep(max(0, min(self.pace.rest(now), (until - now).total_seconds())))
        self.pace.give_back()
        return outcomes

    def _look(
        self, requests: Mapping[InstanceKey, ReconcileRequest], batch: Batch, *, last: bool
    ) -> dict[InstanceKey, Outcome]:
        """Observe these instances once, and reconcile each by that."""
        try:
            counters = (self.window, self.pace) if self.window else ()
            observed = observe(list(requests), self.ec2, self.state, now=self.now(), counters=counters)
        except errors.AwsRefusalError as error:
            return dict.fromkeys(requests, self.recorder.failed("could not observe", error, *requests.values()))
        decided = {key: self._decided(seen) for key, seen in observed.items()}
        left = sum(changes for _, changes in decided.values())
        ended: dict[InstanceKey, Outcome] = {}
        for key, request in requests.items():
            decision, changes = decided[key]
            to_make = replace(batch, changes=left)
            ended[key] = self._reconcile(request, observed[key], decision, batch=to_make, last=last)
            left -= changes
        if self.window and self.window.turns:
            self.window.count_turns()
        if self.window and (back := [key for key in requests if ended[key].again is Again.FROM_QUEUE]):
            again = {key: replace(requests[key], put_back=batch.put_back + 1) for key in back}
            ended |= self._send_back(again, observed, ended=ended)
        return ended

    def _decided(self, observed: Observed) -> tuple[Decision | None, bool]:
        """Return the decision on an instance, if it was read, and whether it is to be changed now."""
        if isinstance(observed, Unreadable):
            return None, False
        decision = decide(observed, self.settings)
        return decision, decision.action.mutates and observed.turn(decision, self.now()) is None

    def _reconcile(
        self, request: ReconcileRequest, observed: Observed, decision: Decision | None, *, batch: Batch, last: bool
    ) -> Outcome:
        """Reconcile one instance; after the `last` observation it isn't observed again for having changed."""
        if isinstance(observed, Unreadable):
            return self.recorder.failed("could not observe", observed.error, request)
        if not observed.control.registered:
            return Outcome(error=errors.NotRegisteredError("NotRegistered", "its target isn't in the registry"))
        assert decision is not None  # it was read
        if observed.control.notifies:
            self.recorder.telemetry.notified.add(request.instance.target)
        conflict = errors.ConflictError("NotSettled", "it kept changing while we looked")
        try:
            if news := pin_report(observed, self.now()):
                observed = self.recorder.pin(request, observed, *news)
            if decision.action.mutates:
                ended = self._apply(request, observed, decision, batch=batch)
            else:
                ended = self._record(request, observed, decision, last=last)
        except errors.ConflictError as error:
            # Another actor was faster, at EC2 or with a reconcile of this instance: what it did stays.
            ended, conflict = Outcome(again=Again.WHEN_SETTLED), error
        except errors.AwsRefusalError as error:
            # Our own table, queue or machine failed: what EC2 was asked for stays, and its grant explains it.
            return self.recorder.failed("could not finish", error, request)
        if last and ended.again is Again.WHEN_SETTLED:
            named = {"action": conflict.action, "resource": conflict.resource}
            unsettled = errors.RetryableError(conflict.code, conflict.message, **named)
            return self.recorder.failed("did not settle", unsettled, request)
        if self.window and ended.decision and (turn := observed.left_turn(ended.decision, self.now())):
            self.window.give_back(turn)
        return ended

    def _record(self, request: ReconcileRequest, observed: Observation, decision: Decision, *, last: bool) -> Outcome:
        """Change nothing, and record why; observe again if EC2's answer or the record is outdated."""
        now = self.now()
        if decision.code == "gone" and any(now - grant.at < SHOWN_FOR for grant in observed.record.grants.values()):
            # EC2's answer is older than the change: keep the grant.
            return Outcome(again=Again.WHEN_SETTLED)
        invisible = decision.code == "gone" and now - request.at < VISIBLE_WITHIN
        if not last and (invisible or decision.code == "disassociating" or observed.outdated):
            return Outcome(again=Again.WHEN_SETTLED)
        if decision.code == "associating":
            if observed.grant and now < observed.grant.at + FOLLOW_UP:
                # The change's own follow-up is still to come.
                self.recorder.telemetry.decision(request, history_entry(request, observed, decision))
                return Outcome(decision)
            decision = replace(decision, polls=False, until=now + FOLLOW_UP)
        return self.recorder.show(request, observed, decision)

    def _apply(self, request: ReconcileRequest, observed: Observation, decision: Decision, batch: Batch) -> Outcome:
        """Change one instance, if there is room for it, and record the outcome; observe again if it is half swapped."""
        now = self.now()
        # Before its turn it must not ask for room: it would be counted as waiting twice, and delay those behind it.
        if turn := observed.turn(decision, now):
            return self.recorder.show(request, observed, waits_for_room(decision, turn))
        if not self.window:
            self.queue.send([request.instance], request.cause, request.correlation_id, loop_over=True)
            return Outcome(decision)
        # A change without room takes none of the pace.
        if isinstance(room := _room(self.window, decision, now), datetime):
            return self.recorder.show(request, observed, waits_for_room(decision, room))
        # Until then it waits in this run for its moment.
        patient = max(now, batch.patient_until) if request.put_back or not batch.shared else now
        until = batch.ends_by if decision.quarantines else patient
        ready = self.pace.ready(batch.changes, now, until) if now <= batch.ends_by else now
        if ready > now or now > batch.ends_by:
            if now < ready <= until:
                return Outcome(again=Again.WHEN_PACED)
            # Lambda takes a longer chain of messages for a loop (AWS_FACTS.md "Lambda, SQS, ...").
            if batch.put_back >= PUT_BACK:
                return self.recorder.show(request, observed, retry_later(decision, self.now() + FOLLOW_UP))
            return Outcome(decision, again=Again.FROM_QUEUE)
        started = self._start(self.window, request, observed, decision=decision)
        if isinstance(started, datetime):
            return self.recorder.show(request, observed, waits_for_room(decision, started))
        try:
            made = self._ask(request.instance, decision)
        except errors.AwsRefusalError as error:
            return self.recorder.refused(started, error)
        return self.recorder.changed(started, made)

    def _start(
        self, window: ChangeLimiter, request: ReconcileRequest, observed: Observation, *, decision: Decision
    ) -> Started | datetime:
        """Write the grant, the history entry and the room that the change takes; without room, return its turn."""
        entry = history_entry(request, observed, decision) | {"outcome": STARTED}
        for wait in (*CROWDED, None):
            now = self.now()
            if isinstance(room := _room(window, decision, now), datetime):
                return room
            change = starting(observed, decision, now)
            also = [room.reserve] if room else []
            if decision.moves and (rolls := decision.rolls) and (progress := observed.rollouts[rolls.key]):
                also.append(counted_in_wave(window.store, rolls, progress))
            try:
                at = self.state.save(request.instance, change, now, entry=entry, also=also)
            except errors.ConflictError:
                if room is None or decision.moves:
                    # Of a rollout that was halted, or whose wave is full, a new look says so.
                    raise
                window.known = {}
            except errors.RetryableError as error:
                # Of workers that count at the same time DynamoDB lets one through: try again. But if no answer came,
                # it may have been written, and a second attempt would count it twice.
                if room is None or wait is None or isinstance(error, errors.NoResponseError):
                    raise
                self.sleep(wait * random.Random().uniform(0.5, 1))  # noqa: S311  # spreads load, guards nothing
            else:
                if room:
                    window.note_reserved(room, now)
                record = replace(observed.record, writes=observed.record.writes + bool(change))
                return Started(request, decision, at, room=room, observed=replace(observed, record=record))
        raise errors.RetryableError("WindowBusy", "the change could not be counted", "dynamodb:UpdateItem")

    def _ask(self, instance: InstanceKey, decision: Decision) -> Association:
        """Ask EC2 for a change that was started; a throttled call slows the pace."""
        self.pace.spend()
        try:
            if decision.action is Action.ATTACH:
                made = self.ec2.associate(instance, decision.profile_arn)
            elif decision.action is Action.REPLACE and not decision.swap:
                made = self.ec2.replace(instance, decision.association_id, decision.profile_arn)
            else:
                made = self.ec2.disassociate(instance, decision.association_id)
        except errors.AwsRefusalError as error:
            if error.throttled or error.possibly_applied:
                self.pace.throttled(self.now())
            raise
        if made.retries:
            self.pace.throttled(self.now())
        return made

    def _send_back(
        self,
        requests: Mapping[InstanceKey, ReconcileRequest],
        observed: Mapping[InstanceKey, Observed],
        ended: Mapping[InstanceKey, Outcome],
    ) -> dict[InstanceKey, Outcome]:
        """Send requests back to the queue until their turns, behind all changes that wait in the target's line.

        Returns how those ended that can't wait there: their turns are too late for that.
        """
        now, each = self.now(), timedelta(seconds=1 / (self.settings.changes_per_second * DENSER))
        try:
            begins = self.pace.lengthen_line(len(requests) * each, now) - len(requests) * each
            turns = {key: begins + place * each for place, key in enumerate(requests, start=1)}
            delays = {key: math.ceil((turn - now).total_seconds()) for key, turn in turns.items()}
            soon = {key: delay for key, delay in delays.items() if delay <= LONGEST_DELAY}
            self.queue.put_back((requests[key], delay) for key, delay in soon.items())
        except errors.AwsRefusalError as error:
            return dict.fromkeys(requests, self.recorder.failed("could not put back", error, *requests.values()))
        return {
            key: self.recorder.show(requests[key], seen, retry_later(decision, turn))
            for key, turn in turns.items()
            if key not in soon and (decision := ended[key].decision) and isinstance(seen := observed[key], Observation)
        }


def _room(window: ChangeLimiter, decision: Decision, now: datetime) -> Reservation | datetime | None:
    """Return the room that a change takes, or its turn if there is none; None where it takes none."""
    if not (mapping := decision.counted_for):
        return None
    return window.reserve_or_wait(mapping, decision.revision, now, quarantines=decision.quarantines)

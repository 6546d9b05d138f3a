"""Observe, decide, apply: for a batch of instances, until each is as it should be or shows why not.

Nothing is locked. A mutation names the association that was observed; when EC2 refuses a stale one, we observe again.
After a mutation it is looked at a minute later (a follow-up, in the write of the outcome): that follows the association
until it is `associated`, and meets what changed meanwhile.

A change is one write, one mutation, one write: the grant, the start of a history entry and the room in the window; the
call; its outcome. An entry that stays "started" says that nobody knows the outcome: what the instance carries tells.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from rolekeeper.aws import Ec2, errors
from rolekeeper.instances import records
from rolekeeper.instances.change_limit import ChangeLimiter, Reservation
from rolekeeper.instances.observe import Observation, Observed, Unreadable, observe, waits_for_room
from rolekeeper.instances.requests import RetryLoop
from rolekeeper.model import SENTENCE, shown
from rolekeeper.model.instance import Action, Condition, Decision, InstanceKey, ReconcileRequest, RecordChange
from rolekeeper.settings import Settings
from rolekeeper.storage import State
from rolekeeper.storage.layout import DONE, REFUSED, STARTED, Key
from rolekeeper.storage.table import Write
from rolekeeper.telemetry import CHANGED, PARKED, PINNED, Telemetry
from rolekeeper.telemetry import REFUSED as REFUSAL_EVENT

# Seconds between looks at an instance that changed under us, or that is half swapped; EC2 detaches within seconds.
LOOKS = (0.4, 1.6)
# A new instance may not be visible at once (AWS_FACTS.md "Errors"); a message older than this names one that is gone.
# One with a younger grant isn't: EC2 shows terminated ones too, usually for less than an hour (`DescribeInstances`).
VISIBLE_WITHIN, SHOWN_FOR = timedelta(minutes=2), timedelta(minutes=30)
# Seconds between attempts to count a change while other workers count theirs; each attempt lets one of them through.
CROWDED = (0.05, 0.1, 0.1, 0.2, 0.2, 0.4, 0.4, 0.8)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one instance's reconcile ended: it shows the decision `since` then, or an error has its message retried."""

    decision: Decision | None = None
    since: datetime | None = None
    error: errors.AwsRefusalError | None = None


@dataclass(frozen=True, slots=True)
class _Started:
    """A change that is about to be made: its history entry's key, the room that it took, and the record by now."""

    entry: Key
    room: Reservation | None
    observed: Observation


@dataclass(frozen=True)
class Reconciler:
    """Looks at instances, decides, applies. `retries` is None inside a retry loop, which looks again by itself."""

    ec2: Ec2
    state: State
    window: ChangeLimiter
    telemetry: Telemetry
    settings: Settings
    retries: RetryLoop | None
    now: Callable[[], datetime]
    sleep: Callable[[float], None]

    def run(self, requests: Iterable[ReconcileRequest]) -> dict[InstanceKey, Outcome]:
        """Reconcile the instances that these messages name; several messages for one instance are one reconcile."""
        pending: dict[InstanceKey, ReconcileRequest] = {}
        for request in requests:
            # The first for an instance stands for all, unless a later one knows that no loop watches it.
            if request.loop_failed or request.instance not in pending:
                pending[request.instance] = request
        outcomes: dict[InstanceKey, Outcome] = {}
        for pause in (*LOOKS, None):
            if not pending:
                break
            try:
                observed = observe(list(pending), self.ec2, self.state, self.now())
            except errors.AwsRefusalError as error:
                first, ids = next(iter(pending.values())), [key.id for key in pending]
                failed = self._failed("could not observe", error, first, instances=ids)
                return outcomes | dict.fromkeys(pending, failed)
            for key, request in list(pending.items()):
                if ended := self._look(request, observed[key], pause):
                    outcomes[key] = ended
                    del pending[key]
            if pending and pause is not None:
                self.sleep(pause)
        return outcomes

    def park(self, request: ReconcileRequest, decision: Decision) -> None:
        """Give up waiting, visibly: the next `running` event or sweep takes it up again."""
        parked = replace(decision, reason=f"{decision.reason}; gave up waiting, resumes on its next event or the sweep")
        now = self.now()
        condition = Condition(parked.action, parked.code, parked.reason, now, decision.fingerprint, parked=True)
        entry = records.history_entry(request, None, parked, {})
        change = RecordChange(condition=condition, timers=(records.follow_up(request.instance, now),))
        self.state.save(request.instance, change, now, entry=entry)
        self.telemetry.decision(request, entry, event=PARKED)
        self.telemetry.count("Parked")

    def _look(self, request: ReconcileRequest, observed: Observed, pause: float | None) -> Outcome | None:
        """How an instance's reconcile ended; None where it has to be looked at again, after the `pause`."""
        instance = request.instance.id
        if isinstance(observed, Unreadable):
            return self._failed("could not observe", observed.error, request, instances=[instance])
        unsettled = errors.RetryableError("NotSettled", "it kept changing while we looked", "", instance)
        try:
            ended = self._carry_out(request, observed, pause)
        except errors.ConflictError as error:
            # Another was faster, at EC2 or with its own reconcile of this instance: what it did stands.
            ended = None
            unsettled = errors.RetryableError(error.code, error.message, error.action, error.resource)
        except errors.AwsRefusalError as error:
            # Our own table, queue or machine failed: what EC2 was asked stands, and its grant explains it.
            return self._failed("could not finish", error, request, instance=instance)
        if pause is None and not ended:
            return self._failed("did not settle", unsettled, request, instance=instance)
        return ended

    def _carry_out(self, request: ReconcileRequest, observed: Observation, pause: float | None) -> Outcome | None:
        if news := records.pin_report(observed, self.now()):
            pin, said = news
            change = RecordChange(pin=pin, expected=observed.record)
            entry = records.history_entry(request, observed, said, {})
            self.state.save(request.instance, change, self.now(), entry=entry)
            self.telemetry.decision(request, entry, event=PINNED[said.code])
            record = replace(observed.record, pin=pin, writes=observed.record.writes + 1)
            observed = replace(observed, record=record)
        decision = observed.decision(self.settings)
        if decision.action.mutates:
            return self._apply(request, observed, decision)
        now = self.now()
        if decision.code == "gone" and any(now - each.at < SHOWN_FOR for each in observed.record.grants.values()):
            # This answer of EC2's is older than the change: the grant must not go.
            return None
        invisible = decision.code == "gone" and now - request.at < VISIBLE_WITHIN
        leaving = decision.code == "disassociating"
        if pause is not None and (invisible or leaving or observed.outdated):
            return None
        if decision.code == "associating":
            if records.is_followed(observed, now):
                self.telemetry.decision(request, records.history_entry(request, observed, decision, {}))
                return Outcome(decision, since=now)
            decision = replace(decision, polls=False, until=now + records.FOLLOW_UP)
        return self._show(request, observed, decision)

    def _apply(self, request: ReconcileRequest, observed: Observation, decision: Decision) -> Outcome | None:
        """Change one instance, if there is room for it, and record the outcome; None: it is but half swapped."""
        # Asked before its turn, it would be counted as one more that waits, and those behind it would wait longer.
        started = observed.turn(decision, self.now()) or self._start(request, observed, decision)
        if isinstance(started, datetime):
            return self._show(request, observed, waits_for_room(decision, started))
        observed = started.observed
        instance, association_id, profile_arn = request.instance, decision.association_id, decision.profile_arn
        try:
            if decision.action is Action.ATTACH:
                made = self.ec2.associate(instance, profile_arn)
            elif decision.action is Action.REPLACE and not decision.swap:
                made = self.ec2.replace(instance, association_id, profile_arn)
            else:
                made = self.ec2.disassociate(instance, association_id)
        except errors.RetryableError as error:
            # The call may have happened. Its grant explains what the instance carries then.
            return self._failed("the outcome of a change is unknown", error, request, instance=request.instance.id)
        except errors.AwsRefusalError as error:
            return self._refused(request, decision, started, error)
        now = self.now()
        answer = {"association-id": made.id, "state": made.state.value}
        change = records.completed(observed, decision, self.settings.contention, now)
        self.state.save(request.instance, change, now, completes=(started.entry, {"outcome": DONE, "answer": answer}))
        event = CHANGED[Action.DETACH if decision.swap else decision.action]
        entry = records.history_entry(request, observed, decision, answer)
        self.telemetry.decision(request, entry, event=event)
        return None if decision.swap else Outcome(decision, since=now)

    def _show(
        self,
        request: ReconcileRequest,
        observed: Observation,
        decision: Decision,
        completes: tuple[Key, Mapping[str, Any]] | None = None,
        also: tuple[Write, ...] = (),
    ) -> Outcome:
        """Record a decision that changed nothing or was refused, if it is news; have the instance watched if needed."""
        now = self.now()
        shown = observed.shown(decision)
        watched_until = None
        if records.needs_watch(observed, decision, now, loop_failed=request.loop_failed):
            # By a timer or a retry loop: of messages that the queue delays this function would make a chain, which
            # Lambda takes for a loop and stops (AWS_FACTS.md "Lambda, SQS, ...").
            watched_until = decision.until or (self.retries.start(request, now) if self.retries else None)
        change = records.next_record(observed, decision, now, watched_until)
        # That another mapping stands for the same role is worth an entry; that a wait goes on, or is over, is not.
        handed_over = any(each.at == now for each in change.grants)
        news = handed_over if decision.action is Action.NOTHING else change and not shown
        answer = completes[1]["answer"] if completes else {}
        entry = records.history_entry(request, observed, decision, answer)
        new = entry if news and not completes else None
        try:
            self.state.save(request.instance, change, now, entry=new, completes=completes, also=also)
        except errors.ConflictError:
            if completes:
                # Another look wrote since: what it says of the instance stands; of this one only the answer is kept.
                self.state.save(request.instance, RecordChange(), now, completes=completes, also=also)
            raise
        event = REFUSAL_EVENT if decision.action is Action.HOLD and not shown else ""
        self.telemetry.decision(request, entry, event=event)
        return Outcome(decision, since=shown.since if shown else now)

    def _failed(self, text: str, error: errors.AwsRefusalError, request: ReconcileRequest, **named: Any) -> Outcome:
        if isinstance(error, errors.AccessDeniedError):
            self.telemetry.denied(error, correlation_id=request.correlation_id)
        self.telemetry.will_retry(text, error=str(error), **named)
        return Outcome(error=error)

    def _start(self, request: ReconcileRequest, observed: Observation, decision: Decision) -> _Started | datetime:
        """Write the grant and the entry, with the room that the change takes, if any; or say when its turn is."""
        mapping = decision.counted_for
        found: Reservation | None = None
        entry = records.history_entry(request, observed, decision, {}) | {"outcome": STARTED}
        for wait in (*CROWDED, None):
            now = self.now()
            room = found or (self.window.room(now) if mapping else None)
            change = records.starting(observed, decision, now)
            try:
                at = self.state.save(request.instance, change, now, entry=entry, also=[room.take] if room else [])
            except errors.ConflictError:
                if mapping is None:
                    raise
                turn = self.window.reserve_or_wait(mapping, decision.revision, self.now())
                if isinstance(turn, datetime):
                    return turn
                found = turn
            except errors.RetryableError as error:
                # Workers that count at the same time: DynamoDB lets one of them through. But where no answer came it
                # may have been written: once more would count it twice.
                if mapping is None or wait is None or isinstance(error, errors.NoResponseError):
                    raise
                self.sleep(wait * random.Random().uniform(0.5, 1))  # noqa: S311  # spreads load, guards nothing
            else:
                record = replace(observed.record, writes=observed.record.writes + bool(change))
                return _Started(at, room, replace(observed, record=record))
        raise errors.RetryableError("WindowBusy", "the change could not be counted", "dynamodb:UpdateItem")

    def _refused(
        self, request: ReconcileRequest, decision: Decision, started: _Started, error: errors.AwsRefusalError
    ) -> Outcome:
        """EC2 said no: complete the entry with its answer, then have it looked at again, wait, or show why not."""
        said = shown(error.message, 2 * SENTENCE)
        answer = {"code": error.code, "message": said, "action": error.action, "resource": error.resource}
        # Sent twice and refused once, the call may have happened: the entry stays "started", and keeps its room.
        outcome = {"answer": answer} if error.possibly_applied else {"outcome": REFUSED, "answer": answer}
        also = (started.room.back,) if started.room and not error.possibly_applied else ()
        completes = started.entry, outcome
        if isinstance(error, errors.ConflictError | errors.NotFoundError):
            self.state.save(request.instance, RecordChange(), self.now(), completes=completes, also=also)
            raise errors.ConflictError(error.code, error.message, error.action, error.resource) from error
        instead = _instead(decision, error)
        if isinstance(error, errors.AccessDeniedError):
            news = not started.observed.shown(instead)
            self.telemetry.denied(error, correlation_id=request.correlation_id, news=news)
        return self._show(request, started.observed, instead, completes, also)


def _instead(decision: Decision, error: errors.AwsRefusalError) -> Decision:
    """What the instance shows after a refusal that looking again doesn't change."""
    if isinstance(error, errors.NotReadyError):
        code = "changing" if error.code == "IncorrectInstanceState" else "propagating"
        reason = f"EC2 isn't ready for role {decision.role}: {error}"
        return replace(decision, action=Action.WAIT, code=code, reason=reason, polls=True, arguments=(error.code,))
    if isinstance(error, errors.AccessDeniedError):
        reason = f"permission {error.action} on {error.resource} is missing ({error.code})"
        named = (error.action, error.resource)
        return replace(decision, action=Action.HOLD, code="denied", reason=reason, arguments=named)
    reason = f"EC2 refused role {decision.role}: {error}"
    return replace(decision, action=Action.HOLD, code="refused", reason=reason, arguments=(error.code,))

"""What a reconcile writes into an instance's record and history, if anything, and reports.

What is written is found by pure functions, so the sweep asks them too; the recorder writes it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from rolekeeper.aws import errors
from rolekeeper.instances.decide import Observation, retry_later
from rolekeeper.instances.retry import PROPAGATION, RetryLoop
from rolekeeper.instances.window import Reservation, failed_in_wave
from rolekeeper.model.instance import (
    NO_PROFILE,
    Action,
    AppliedChange,
    Association,
    Condition,
    Decision,
    Grant,
    InstanceKey,
    ReconcileRequest,
    RecordChange,
    Timer,
)
from rolekeeper.model.mapping import NO_PIN, PIN_TAG, WITHHELD, MappingKey, Pin
from rolekeeper.model.text import SENTENCE, shown
from rolekeeper.settings import ContentionRule
from rolekeeper.storage import State, layout
from rolekeeper.storage.layout import DONE, REFUSED, Key
from rolekeeper.storage.state import Write
from rolekeeper.telemetry import CHANGED, PARKED, PINNED, Telemetry
from rolekeeper.telemetry import REFUSED as REFUSAL_EVENT

# How long after a change its follow-up is due: EC2 associates within seconds, and then shows it everywhere.
FOLLOW_UP = timedelta(seconds=15)
# The former grants that a record keeps, by which a call that lands late is explained. The largest record is then three
# quarters of an item, whatever tags and profiles are called: what follows a change can always be written.
GRANTS = 20
# Waits that a follow-up ends within a minute; a timer would cost an invocation for each, and gain nothing.
FOLLOWED = frozenset({"associating", "throttled", "window"})


def starting(observed: Observation, decision: Decision, now: datetime) -> RecordChange:
    """Return what to write before EC2 is asked: the grant, which explains any outcome of the call."""
    assert decision.mapping  # nothing is changed without one
    # What a rollout took is remembered: by the former revision the instance would get it back.
    rolls = decision.rolls.rollout if decision.rolls else None
    gives_up = decision.code == "unmatched" and not rolls
    grant = Grant(
        decision.profile_arn, decision.role, decision.mapping, revision=decision.revision, at=now, rolls=rolls
    )
    stale = {NO_PROFILE} & observed.record.grants.keys() if decision.profile_arn else set[str]()
    carried = {decision.profile_arn, observed.association.profile_arn if observed.association else NO_PROFILE}
    former = [grant for arn, grant in observed.record.grants.items() if arn not in carried | stale]
    stale |= {grant.profile_arn for grant in sorted(former, key=lambda grant: grant.at)[:-GRANTS]}
    return RecordChange(grants=() if gives_up else (grant,), revoked=frozenset(stale))


def completed(observed: Observation, decision: Decision, rule: ContentionRule, now: datetime) -> RecordChange:
    """Return what to write after EC2 took a change. The first half of a swap doesn't count as the change."""
    cleared = RecordChange(clears=observed.record.condition is not None)
    desired = decision.desired
    if decision.swap or desired is None:
        return cleared
    counted = observed.record.repeated(desired)[: rule.after - 1]
    lapsed = tuple(change for change in observed.record.changes if change not in counted)
    timers = (follow_up(observed.key, now, decision.action),)
    return replace(cleared, applied=AppliedChange(desired, now), lapsed=lapsed, timers=timers)


def follow_up(key: InstanceKey, now: datetime, did: str = "") -> Timer:
    """Reconcile an instance once more after each write, until there is nothing to write.

    This repairs what a slow reconcile wrote after a newer one, which had nothing to write and left no trace.
    """
    return Timer(now + FOLLOW_UP, key, follows=True, did=did)


def pin_report(observed: Observation, now: datetime) -> tuple[Pin, Decision] | None:
    """Report a pin that was written, has ended or was removed since the last report."""
    if observed.instance is None or observed.instance.ended:
        return None
    reported, held = observed.record.pin, observed.pin
    # That IAM refuses its role isn't part of what was written.
    pin = NO_PIN if held is None or held.expired(now) else replace(held, unclear="" if held.role else held.unclear)
    if pin == reported:
        return None
    named = reported if pin == NO_PIN else pin
    if pin != NO_PIN:
        what = "was set"
    elif held is None:
        what = "was removed"
    else:
        what = "is over" if held.expires_at == reported.expires_at else "was released"
    until = f" until {layout.timestamp(named.expires_at)}" if named.expires_at else ""
    # A person who releases a pin writes that into it, with its end.
    written = held or named
    who = f"claimed by {written.by or 'nobody'}, because: {written.reason or '(no reason)'}"
    reason = f"the pin to {named.role or '(unclear)'} ({named.profile_arn or 'no profile'}){until} {what}; {who}"
    key, code = MappingKey(PIN_TAG, observed.key.id), "pin-removed" if pin == NO_PIN else "pin-set"
    return pin, Decision(Action.NOTHING, code, reason, mapping=key, role=named.role, profile_arn=named.profile_arn)


def next_record(
    observed: Observation, decision: Decision, now: datetime, watched_until: datetime | None = None, *, did: str = ""
) -> RecordChange:
    """Return what to write for a decision that changes nothing at EC2; a new watch lasts until `watched_until`.

    `did`: REFUSED if EC2 just refused a change.
    """
    if decision.code in ("gone", "ended"):
        pinned = decision.code == "ended" and observed.pin is not None
        return RecordChange(ends=observed.record.writes > 0, unpins=pinned, expected=observed.record)
    if decision.action is Action.NOTHING:
        change = _no_change(observed, decision, now)
    else:
        change = _condition(observed, decision, now, watched_until=watched_until)
    change = replace(change, lapsed=_lapsed(observed, decision), expected=observed.record)
    if change and not any(timer.follows for timer in change.timers):
        change = replace(change, timers=(*change.timers, follow_up(observed.key, now, did)))
    elif did:
        change = replace(change, timers=tuple(replace(timer, did=did) for timer in change.timers))
    return change


def history_entry(
    request: ReconcileRequest, observed: Observation | None, decision: Decision, answer: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Put cause, observation, decision and AWS's answer together, for the log, the event and the history."""
    instance, association = (observed.instance, observed.association) if observed else (None, None)
    read = observed.tags_read if observed else frozenset[str]()
    changed = ", ".join(sorted(request.changed_tags & read))
    return {
        "cause": shown(f"{request.cause}: {changed}" if changed else request.cause, SENTENCE),
        "correlation_id": request.correlation_id,
        "seen": {
            "state": instance.state.value if instance else "unknown",
            "tags": {key: instance.tags[key] for key in instance.tags if key in read} if instance else {},
            "association-id": association.id if association else "",
            "association-state": association.state.value if association else "",
            "profile-arn": association.profile_arn if association else "",
        },
        "decision": layout.described(decision),
        "answer": dict(answer or {}),
    }


def needs_watch(observed: Observation, decision: Decision, now: datetime, *, loop_over: bool = False) -> bool:
    """Return whether to start a loop or a timer; with `loop_over` no loop watches it, whatever the record says."""
    if decision.until:
        return not (observed.shown(decision) and observed.watched_until(now))
    if not decision.polls or is_hopeless(observed, decision):
        return False
    return loop_over or not observed.watched_until(now)


def needs_reconcile(observed: Observation, decision: Decision, now: datetime) -> bool:
    """Return whether a reconcile would change or write anything: the sweep sends these."""
    if pin_report(observed, now):
        return True
    if decision.action.mutates:
        return observed.turn(decision, now) is None
    return bool(next_record(observed, decision, now)) or needs_watch(observed, decision, now)


def is_hopeless(observed: Observation, decision: Decision) -> bool:
    """Return whether EC2 hasn't known the profile for too long: each sweep tries once, without another loop."""
    shown = observed.shown(decision)
    return shown is not None and shown.parked and decision.code == "propagating"


def _no_change(observed: Observation, decision: Decision, now: datetime) -> RecordChange:
    """Remove what is outdated, and write the mapping that gives the role now: nothing has to change at EC2.

    A grant later than this observation doesn't count, because its writer saw newer data than we did.
    """
    record, asked_at = observed.record, observed.asked_at
    grants: tuple[Grant, ...] = ()
    grant = observed.grant if observed.grant and observed.grant.at <= asked_at else None
    if decision.code == "converged" and grant and decision.mapping and decision.mapping != grant.mapping:
        grants = (replace(grant, mapping=decision.mapping, revision=decision.revision, role=decision.role, at=now),)
    bare = record.grants.get(NO_PROFILE)
    gone = observed.association or (decision.code == "unmatched" and not decision.rolls)
    stale = bare and bare.at <= asked_at and gone
    clears = record.condition is not None
    return RecordChange(grants=grants, revoked=frozenset({NO_PROFILE} if stale else ()), clears=clears)


def _condition(
    observed: Observation, decision: Decision, now: datetime, watched_until: datetime | None
) -> RecordChange:
    """Write the condition of an instance that waits or is held, unless it shows that already."""
    shown = observed.shown(decision)
    if shown and not watched_until:
        return RecordChange()
    condition = Condition(
        decision.action,
        decision.code,
        decision.reason,
        since=shown.since if shown else now,
        fingerprint=decision.fingerprint,
        watched_until=watched_until or (observed.watched_until(now) if decision.polls else None),
        parked=not (decision.polls or decision.until) or is_hopeless(observed, decision),
    )
    follows = decision.code in FOLLOWED
    timer = Timer(decision.until, observed.key, follows) if decision.until and watched_until else None
    return RecordChange(condition=condition, timers=(timer,) if timer else ())


def _lapsed(observed: Observation, decision: Decision) -> tuple[AppliedChange, ...]:
    """List the changes that no longer count: tags, mappings or a pin changed, and nothing asks for them now."""
    if decision.code == "disassociating":
        return ()
    changes = observed.record.changes
    if decision.desired is None:  # as a detach left it, too
        return tuple(applied for applied in changes if applied.change.profile_arn)
    return tuple(applied for applied in changes if applied.change != decision.desired)


def refusal(decision: Decision, error: errors.AwsRefusalError) -> Decision:
    """Return what the instance shows after a refusal that a new observation doesn't change."""
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


@dataclass(frozen=True, slots=True)
class Started:
    """A change that is about to be made: its history entry's key, the room that it took, and the updated record."""

    request: ReconcileRequest
    decision: Decision
    entry: Key
    room: Reservation | None
    observed: Observation


@dataclass(frozen=True, slots=True)
class Refused:
    """What EC2 answered to a change; `also` completes its entry, and `did` is REFUSED unless it may have been made."""

    answer: Mapping[str, Any] = field(default_factory=dict)
    also: Sequence[Write] = ()
    did: str = ""


class Again(Enum):
    """When an instance that isn't finished is observed again."""

    WHEN_SETTLED = "in the same run, once what EC2 or its record shows has settled"
    WHEN_PACED = "in the same run, once the pace allows one more change"
    FROM_QUEUE = "once its message is back from the queue, where it waits for its turn"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one instance's reconcile ended: it shows the decision, an error has its message retried, or it goes on."""

    decision: Decision | None = None
    error: errors.AwsRefusalError | None = None
    again: Again | None = None


@dataclass(frozen=True)
class Recorder:
    """Writes and reports the outcomes of reconciles; starts the retry loop or the timer that watches an instance.

    `retries` is None inside a retry loop, which starts no other. `is_news` says whether to report a refusal.
    """

    state: State
    telemetry: Telemetry
    contention: ContentionRule
    retries: RetryLoop | None
    now: Callable[[], datetime]
    is_news: Callable[[errors.AccessDeniedError], bool] = lambda _: True
    _loops: dict[InstanceKey, datetime] = field(default_factory=dict, init=False)

    def pin(self, request: ReconcileRequest, observed: Observation, pin: Pin, report: Decision) -> Observation:
        """Record and report a new, changed or ended pin; return the updated observation."""
        entry = history_entry(request, observed, report)
        self.state.save(request.instance, RecordChange(pin=pin, expected=observed.record), self.now(), entry=entry)
        self.telemetry.decision(request, entry, event=PINNED[report.code])
        return replace(observed, record=replace(observed.record, pin=pin, writes=observed.record.writes + 1))

    def changed(self, started: Started, made: Association) -> Outcome:
        request, decision = started.request, started.decision
        now, answer = self.now(), {"association-id": made.id, "state": made.state.value}
        change = completed(started.observed, decision, self.contention, now=now)
        # An event's time has no fraction: it took no longer.
        seconds = max(1, math.ceil((now - request.at).total_seconds()))
        done = self.state.completion(started.entry, {"outcome": DONE, "answer": answer, "seconds": seconds})
        self._complete(request.instance, change, now, also=[done])
        event = CHANGED[Action.DETACH if decision.swap else decision.action]
        entry = {**history_entry(request, started.observed, decision, answer=answer), "seconds": seconds}
        self.telemetry.decision(request, entry, event=event)
        return Outcome(again=Again.WHEN_SETTLED) if decision.swap else Outcome(decision)

    def refused(self, started: Started, error: errors.AwsRefusalError) -> Outcome:
        """Complete the entry of a refused change; then wait, show why not, or observe again (ConflictError)."""
        request, decision = started.request, started.decision
        if isinstance(error, errors.RetryableError) and not error.throttled:
            # The call may have happened. Its grant explains what the instance carries then.
            return self.failed("the outcome of a change is unknown", error, request)
        message = shown(error.message, 2 * SENTENCE)
        answer = {"code": error.code, "message": message, "action": error.action, "resource": error.resource}
        # If the SDK sent the call twice, the first may have succeeded: the entry stays "started", and keeps its room.
        did = "" if error.possibly_applied else REFUSED
        outcome = {"outcome": did, "answer": answer} if did else {"answer": answer}
        back = [started.room.release] if started.room and did else []
        also, now = [self.state.completion(started.entry, outcome), *back], self.now()
        if isinstance(error, errors.ConflictError | errors.NotFoundError):
            # Our own first sending may have succeeded: then only this follow-up finds it.
            change = RecordChange(timers=(follow_up(request.instance, now, did),))
            self._complete(request.instance, change, now, also=also)
            raise errors.ConflictError(error.code, error.message, error.action, resource=error.resource) from error
        refused = Refused(answer, also, did)
        instead = retry_later(decision, now + FOLLOW_UP) if error.throttled else refusal(decision, error)
        before = started.observed.shown(instead)
        if instead.polls and before and not before.parked and now - before.since > PROPAGATION:
            return self.park(request, instead, refused)
        if isinstance(error, errors.AccessDeniedError):
            news = self.is_news(error) and not before
            self.telemetry.denied(error, correlation_id=request.correlation_id, news=news)
        return self.show(request, started.observed, instead, refused=refused)

    def show(
        self, request: ReconcileRequest, observed: Observation, decision: Decision, *, refused: Refused = Refused()
    ) -> Outcome:
        """Record a decision that changed nothing, if it is new; have the instance watched if needed."""
        now, watched_until = self.now(), None
        before = observed.shown(decision)
        if needs_watch(observed, decision, now, loop_over=request.loop_over):
            # Neither a loop nor a timer is a delayed message, which is delayed by 15 minutes at most.
            if self.retries and not decision.until and request.instance not in self._loops:
                # One for each run: the write of the last look may have met a conflict after its loop was started.
                self._loops[request.instance] = self.retries.start(request, now, before.since if before else now)
            watched_until = decision.until or self._loops.get(request.instance)
        change = next_record(observed, decision, now, watched_until=watched_until, did=refused.did)
        # There is an entry when another mapping now gives the same role; none when a wait goes on, or is over.
        handed_over = any(grant.at == now for grant in change.grants)
        news = handed_over if decision.action is Action.NOTHING else change and not before
        entry = history_entry(request, observed, decision, answer=refused.answer)
        also = [*refused.also]
        if (rolls := decision.rolls) and decision.action is Action.HOLD and not (before or decision.code in WITHHELD):
            # Once while it shows that; a retry loop only watches.
            also += [failed_in_wave(self.state.store, rolls)] if self.retries else []
        if refused.also:
            self._complete(request.instance, change, now, also=also)
        elif change:
            self.state.save(request.instance, change, now, entry=entry if news else None, also=also)
        event = REFUSAL_EVENT if decision.action is Action.HOLD and not before else ""
        self.telemetry.decision(request, entry, event=event)
        return Outcome(decision)

    def _complete(self, instance: InstanceKey, change: RecordChange, now: datetime, also: Sequence[Write]) -> None:
        """Write a record with what completes the entry of a change; if the answer is lost, try once more."""
        try:
            self.state.save(instance, change, now, also=also)
        except errors.RetryableError:
            # Otherwise the entry would stay as it was started, keep its room, and no event would report the change.
            with suppress(errors.ConflictError):
                self.state.save(instance, change, now, also=also)
        except errors.ConflictError:
            # A later reconcile wrote since: its condition stays, and only EC2's answer is added.
            self.state.save(instance, RecordChange(), now, also=also)
            raise

    def park(self, request: ReconcileRequest, decision: Decision, refused: Refused = Refused()) -> Outcome:
        """Give up waiting, visibly: the next `running` event or sweep takes it up again."""
        parked = replace(decision, reason=f"{decision.reason}; gave up waiting, resumes on its next event or the sweep")
        now = self.now()
        condition = Condition(
            parked.action, parked.code, parked.reason, since=now, fingerprint=decision.fingerprint, parked=True
        )
        entry = history_entry(request, None, parked)
        change = RecordChange(condition=condition, timers=(follow_up(request.instance, now, refused.did),))
        self.state.save(request.instance, change, now, entry=entry, also=refused.also)
        self.telemetry.decision(request, entry, event=PARKED)
        self.telemetry.count("Parked")
        return Outcome(decision)

    def failed(self, text: str, error: errors.AwsRefusalError, *requests: ReconcileRequest) -> Outcome:
        """Have the messages of these requests retried."""
        if isinstance(error, errors.AccessDeniedError):
            self.telemetry.denied(error, correlation_id=requests[0].correlation_id, news=self.is_news(error))
        named = ", ".join(request.instance.id for request in requests)
        self.telemetry.will_retry(text, error=str(error), instance=named)
        return Outcome(error=error)

"""What a reconcile writes into an instance's record and history, if anything: pure, so the sweep asks it too."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from rolekeeper.instances.decide import ENDED
from rolekeeper.instances.observe import FOLLOW_UP, Observation
from rolekeeper.model import SENTENCE, shown
from rolekeeper.model.instance import (
    NO_PROFILE,
    Action,
    AppliedChange,
    Condition,
    Decision,
    Grant,
    InstanceKey,
    ReconcileRequest,
    RecordChange,
    Timer,
)
from rolekeeper.model.mapping import NO_PIN, PIN_TAG, MappingKey, Pin
from rolekeeper.settings import ContentionRule
from rolekeeper.storage import layout
from rolekeeper.telemetry import described

# The former grants that a record keeps, by which a call that lands late is explained. The largest record is then three
# quarters of an item, whatever tags and profiles are called: what follows a change can always be written.
GRANTS = 20
# Waits that a follow-up ends within a minute; a timer would cost an invocation for each, and gain nothing.
FOLLOWED = frozenset({"associating", "throttled", "window"})


def starting(observed: Observation, decision: Decision, now: datetime) -> RecordChange:
    """What is written before EC2 is asked: the grant, which explains any outcome of the call."""
    assert decision.mapping  # nothing is changed without one
    gives_up = decision.code == "unmatched"
    grant = Grant(decision.profile_arn, decision.role, decision.mapping, revision=decision.revision, at=now)
    stale = {NO_PROFILE} & observed.record.grants.keys() if decision.profile_arn else set[str]()
    carried = {decision.profile_arn, observed.association.profile_arn if observed.association else NO_PROFILE}
    former = [each for arn, each in observed.record.grants.items() if arn not in carried | stale]
    stale |= {each.profile_arn for each in sorted(former, key=lambda each: each.at)[:-GRANTS]}
    return RecordChange(grants=() if gives_up else (grant,), revoked=frozenset(stale))


def completed(observed: Observation, decision: Decision, rule: ContentionRule, now: datetime) -> RecordChange:
    """What is written after EC2 took a change. The first half of a swap doesn't count as the change."""
    cleared = RecordChange(clears=observed.record.condition is not None)
    if decision.swap or decision.desired is None:
        return cleared
    counted = observed.record.repeated(decision.desired)[: rule.after - 1]
    lapsed = tuple(each for each in observed.record.changes if each not in counted)
    timers = (follow_up(observed.key, now),)
    return replace(cleared, applied=AppliedChange(decision.desired, now), lapsed=lapsed, timers=timers)


def follow_up(key: InstanceKey, now: datetime) -> Timer:
    """After each write an instance is reconciled once more, until there is nothing to write.

    This repairs what a slow reconcile wrote after a newer one, which had nothing to write and left no trace.
    """
    return Timer(now + FOLLOW_UP, key, follows=True)


def pin_report(observed: Observation, now: datetime) -> tuple[Pin, Decision] | None:
    """What to report of its pin, if that was written, is over or was removed since the last report."""
    if observed.instance is None or observed.instance.state in ENDED:
        return None
    reported, held = observed.record.pin, observed.pin
    # That IAM refuses its role isn't part of what was written.
    pin = NO_PIN if held is None or held.expired(now) else replace(held, unclear="" if held.role else held.unclear)
    if pin == reported:
        return None
    what, named = ("is over" if held else "was removed", reported) if pin == NO_PIN else ("was set", pin)
    until = f" until {layout.timestamp(named.expires_at)}" if named.expires_at else ""
    who = f"claimed by {named.by or 'nobody'}, because: {named.reason or '(no reason)'}"
    reason = f"the pin to {named.role or '(unclear)'} ({named.profile_arn or 'no profile'}){until} {what}; {who}"
    key, code = MappingKey(PIN_TAG, observed.key.id), "pin-set" if what == "was set" else "pin-removed"
    return pin, Decision(Action.NOTHING, code, reason, mapping=key, role=named.role, profile_arn=named.profile_arn)


def next_record(
    observed: Observation, decision: Decision, now: datetime, watched_until: datetime | None = None
) -> RecordChange:
    """What to write for a decision that changes nothing at EC2; `watched_until`: when a watch that begins now ends."""
    if decision.code in ("gone", "ended"):
        return RecordChange(ends=observed.recorded, unpins=decision.code == "ended" and observed.pin is not None)
    if decision.action is Action.NOTHING:
        change = _at_rest(observed, decision, now)
    else:
        change = _condition(observed, decision, now, watched_until=watched_until)
    change = replace(change, lapsed=_lapsed(observed, decision), expected=observed.record)
    if change and not any(timer.follows for timer in change.timers):
        change = replace(change, timers=(*change.timers, follow_up(observed.key, now)))
    return change


def history_entry(
    request: ReconcileRequest, observed: Observation | None, decision: Decision, answer: Mapping[str, Any]
) -> dict[str, Any]:
    """The cause, what was seen and decided, and what AWS answered: for the log, the event and the history."""
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
        "decision": described(decision),
        "answer": dict(answer),
    }


def needs_watch(observed: Observation, decision: Decision, now: datetime, *, loop_over: bool = False) -> bool:
    """Whether a retry loop or a timer has to start. With `loop_over` no loop watches it, whatever the record says."""
    if decision.until:
        return not (observed.shown(decision) and observed.watched_until(now))
    if not decision.polls or is_hopeless(observed, decision):
        return False
    return loop_over or not observed.watched_until(now)


def needs_reconcile(observed: Observation, decision: Decision, now: datetime) -> bool:
    """Whether a reconcile would change or write anything: what the sweep sends."""
    if pin_report(observed, now):
        return True
    if decision.action.mutates:
        return observed.turn(decision, now) is None
    return bool(next_record(observed, decision, now)) or needs_watch(observed, decision, now)


def is_hopeless(observed: Observation, decision: Decision) -> bool:
    """Whether EC2 didn't know the profile for too long: then each sweep asks once, without another loop."""
    shown = observed.shown(decision)
    return shown is not None and shown.parked and decision.code == "propagating"


def _at_rest(observed: Observation, decision: Decision, now: datetime) -> RecordChange:
    """Nothing has to change at EC2: remove what is outdated, and write the mapping that gives the role now.

    A grant later than this observation doesn't count, as its writer observed later; the record is read last.
    """
    record, asked_at = observed.record, observed.asked_at
    grants: tuple[Grant, ...] = ()
    grant = observed.grant if observed.grant and observed.grant.at <= asked_at else None
    if decision.code == "converged" and grant and decision.mapping and decision.mapping != grant.mapping:
        grants = (replace(grant, mapping=decision.mapping, revision=decision.revision, role=decision.role, at=now),)
    bare = record.grants.get(NO_PROFILE)
    stale = bare and bare.at <= asked_at and (observed.association or decision.code == "unmatched")
    clears = record.condition is not None
    return RecordChange(grants=grants, revoked=frozenset({NO_PROFILE} if stale else ()), clears=clears)


def _condition(
    observed: Observation, decision: Decision, now: datetime, watched_until: datetime | None
) -> RecordChange:
    """What the instance shows while it waits or is held; nothing to write if it shows that already."""
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


def is_followed(observed: Observation, now: datetime) -> bool:
    """Whether what it carries was asked for so recently that the change's own follow-up hasn't come yet."""
    return observed.grant is not None and now < observed.grant.at + FOLLOW_UP


def _lapsed(observed: Observation, decision: Decision) -> tuple[AppliedChange, ...]:
    """The changes that nothing asks for now, as tags, mappings or a pin changed: they no longer count as reverted."""
    if decision.code == "disassociating":
        return ()
    changes = observed.record.changes
    if decision.desired is None:  # as a detach left it, too
        return tuple(each for each in changes if each.change.profile_arn)
    return tuple(each for each in changes if each.change != decision.desired)

"""What a reconcile writes into an instance's record: what explains a call, what EC2 took, what the instance shows."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fixtures.account import settings_of
from fixtures.workers import applied_changes, conditions, state_table, worker
from rolekeeper.instances.decide import Observation, decide, resolve, waits_for_room
from rolekeeper.instances.records import (
    completed,
    is_hopeless,
    needs_reconcile,
    needs_watch,
    next_record,
    pin_report,
    starting,
)
from rolekeeper.model.instance import (
    NO_PROFILE,
    Action,
    AppliedChange,
    Association,
    Condition,
    Decision,
    DesiredChange,
    Grant,
    Instance,
    InstanceRecord,
    RecordChange,
    Timer,
)
from rolekeeper.model.mapping import (
    IGNORE_TAG,
    PIN_TAG,
    Control,
    MappingKey,
    Pin,
    PublishedMapping,
    WhenStopped,
    WhenUnmatched,
)
from rolekeeper.settings import ContentionRule
from rolekeeper.storage import layout
from rolekeeper_cli.uses.pins import pin_item
from strategies import values
from strategies.values import KEY, NOW, OWNERSHIP, arn, association, foreign, grant, instance, key, published

# Whatever is written of an instance is looked at once more, after 15 seconds (docs/concepts.md).
FOLLOWED_UP = (Timer(NOW + timedelta(seconds=15), KEY, follows=True),)
RULE = ContentionRule()
SETTINGS = settings_of(KEY.target)
assert SETTINGS.ownership == OWNERSHIP
EMPTY = InstanceRecord()
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
WEB = published("workload=web", "web")
QUARANTINE = published("workload=web", "NONE")
GAVE_WEB, TOOK = grant("web", "workload=web"), grant("NONE", "workload=web")


def record(
    *grants: Grant,
    condition: Condition | None = None,
    changes: tuple[AppliedChange, ...] = (),
) -> InstanceRecord:
    """What is remembered of an instance."""
    return InstanceRecord({each.profile_arn: each for each in grants}, condition, changes, writes=1)


def observed(
    carries: Association | None = None,
    mapping: PublishedMapping | None = WEB,
    remembered: InstanceRecord = EMPTY,
    *,
    owner: PublishedMapping | None = None,
    seen: Instance | None = None,
    pin: Pin | None = None,
) -> Observation:
    """An instance tagged `workload=web`, as a reconcile sees it."""
    seen = seen or instance(workload="web")
    read = (mapping,) if mapping else ()
    return Observation(
        key=KEY,
        asked_at=NOW,
        instance=seen,
        association=carries,
        record=remembered,
        control=Control(),
        grant=remembered.grants.get(carries.profile_arn if carries else NO_PROFILE),
        candidates=resolve(seen, read, NOW, pin),
        owner=owner,
        published=read,
        pin=pin,
    )


def decided(look: Observation) -> Decision:
    return decide(look, SETTINGS)


def shown(look: Observation, **more: Any) -> Condition:
    """The condition that the instance shows once it was looked at."""
    condition = next_record(look, decided(look), NOW).condition
    assert condition
    return replace(condition, **more)


# ---- before the call ----

SWAPS = replace(WEB, spec=replace(WEB.spec, when_stopped=WhenStopped.SWAP))
GAVE_DB, DEBUG = grant("db", "workload=db"), Pin("debug", arn("debug"))
UNTAGGED = instance(Name="x")
ASKS_WEB = Grant(arn("web"), "web", key("workload=web"), 1, NOW)
ASKS_NONE = replace(TOOK, at=NOW)
BEFORE: dict[str, tuple[Observation, Action, RecordChange]] = {
    "an attach": (observed(), Action.ATTACH, RecordChange((ASKS_WEB,))),
    # The former grant stays for as long as the former role may.
    "a replace": (observed(association("db"), SWAPS, record(GAVE_DB)), Action.REPLACE, RecordChange((ASKS_WEB,))),
    "a swap": (
        observed(association("db"), SWAPS, record(GAVE_DB), seen=instance("stopped", workload="web")),
        Action.REPLACE,
        RecordChange((ASKS_WEB,)),
    ),
    "a quarantine": (
        observed(association("web"), QUARANTINE, record(GAVE_WEB)),
        Action.DETACH,
        RecordChange((ASKS_NONE,)),
    ),
    # DynamoDB refuses an update that sets an attribute and removes it.
    "a quarantine that takes a role away again": (
        observed(association("web"), QUARANTINE, record(GAVE_WEB, TOOK)),
        Action.DETACH,
        RecordChange((ASKS_NONE,)),
    ),
    "a role given up": (
        observed(association("web"), None, record(GAVE_WEB), owner=WEB, seen=UNTAGGED),
        Action.DETACH,
        RecordChange(),
    ),
    "an attach after a quarantine": (
        observed(None, WEB, record(TOOK)),
        Action.ATTACH,
        RecordChange((ASKS_WEB,), frozenset({NO_PROFILE})),
    ),
    "a pin": (
        observed(pin=DEBUG),
        Action.ATTACH,
        RecordChange((Grant(arn("debug"), "debug", MappingKey(PIN_TAG, KEY.id), 0, NOW),)),
    ),
}


@pytest.mark.parametrize("what", BEFORE)
def test_before_a_call_a_grant_says_what_is_asked_for_and_why(what: str) -> None:
    look, action, change = BEFORE[what]
    decision = decided(look)
    assert (decision.action, starting(look, decision, NOW)) == (action, change)


# ---- after EC2 took a change ----


def change_at(minutes: float, desired: DesiredChange) -> AppliedChange:
    return AppliedChange(desired, NOW + minutes * MINUTE)


GIVES_WEB = DesiredChange(key("workload=web"), 1, arn("web"))
GIVES_DB = DesiredChange(key("workload=db"), 1, arn("db"))


def test_a_change_that_ec2_took_is_kept_beside_the_same_ones() -> None:
    former = (change_at(-2, GIVES_WEB), change_at(-1, GIVES_WEB))
    look = observed(remembered=record(changes=former))
    counted = tuple(replace(each, did=Action.ATTACH) for each in FOLLOWED_UP)
    expected = RecordChange(applied=change_at(0, GIVES_WEB), timers=counted)
    assert completed(look, decided(look), RULE, NOW) == expected


def test_with_another_change_the_former_ones_no_longer_count() -> None:
    former = (change_at(-3, GIVES_WEB), change_at(-2, GIVES_DB), change_at(-1, GIVES_WEB))
    look = observed(remembered=record(changes=former))
    change = completed(look, decided(look), RULE, NOW)
    assert (change.applied, change.lapsed) == (change_at(0, GIVES_WEB), former[:2])


@given(after=st.integers(1, 6), times=st.integers(1, 12))
def test_no_more_changes_are_kept_than_the_rule_asks_for(after: int, times: int) -> None:
    rule, kept = ContentionRule(after=after), tuple[AppliedChange, ...]()
    for number in range(times):
        look = observed(remembered=record(changes=kept))
        change = completed(look, decided(look), rule, NOW + number * HOUR)
        assert change.applied
        kept = (*(each for each in kept if each not in change.lapsed), change.applied)
    assert len(kept) == min(after, times)
    assert rule.contended(kept[::-1]) is (after == 1)


def test_the_first_half_of_a_swap_is_no_change_yet() -> None:
    swaps = replace(WEB, spec=replace(WEB.spec, when_stopped=WhenStopped.SWAP))
    former = record(grant("db", "workload=db"), changes=(change_at(-1, GIVES_DB),))
    look = observed(association("db"), swaps, former, seen=instance("stopped", workload="web"))
    decision = decided(look)
    assert decision.swap
    assert not completed(look, decision, RULE, NOW)


@pytest.mark.parametrize("state", ["running", "stopped"], ids=["a change", "the first half of a swap"])
def test_what_the_instance_showed_is_over_once_ec2_took_a_change(state: str) -> None:
    swaps = replace(WEB, spec=replace(WEB.spec, when_stopped=WhenStopped.SWAP))
    showed = Condition(Action.WAIT, "changing", "it starts", NOW, "x")
    look = observed(association("db"), swaps, record(condition=showed), seen=instance(state, workload="web"))
    change = completed(look, decided(look), RULE, NOW)
    assert change.clears
    assert (change.applied is None) == (state == "stopped")


# ---- nothing has to change at EC2 ----

OCCUPIED_BEFORE = Condition(Action.HOLD, "occupied", "it carries a foreign role", NOW, "x")
KEEPS = published("workload=web", "web", when_unmatched=WhenUnmatched.KEEP)
NOT_EXPLAINED = RecordChange(revoked=frozenset({NO_PROFILE}), timers=FOLLOWED_UP)
AT_REST: dict[str, tuple[Observation, str, RecordChange]] = {
    "it converged": (observed(association("web"), WEB, record(GAVE_WEB, GAVE_DB)), "converged", RecordChange()),
    "another actor attached its role": (observed(association("web")), "converged", RecordChange()),
    "another mapping stands for the same role": (
        observed(association("web"), WEB, record(grant("web", "team=old"))),
        "converged",
        RecordChange((ASKS_WEB,), timers=FOLLOWED_UP),
    ),
    "its mapping keeps the role": (
        observed(association("web"), None, record(GAVE_WEB), owner=KEEPS, seen=UNTAGGED),
        "kept",
        RecordChange(),
    ),
    "what it showed is over": (
        observed(association("web"), WEB, record(GAVE_WEB, condition=OCCUPIED_BEFORE)),
        "converged",
        RecordChange(clears=True, timers=FOLLOWED_UP),
    ),
    "the quarantine lasts": (observed(None, QUARANTINE, record(TOOK)), "converged", RecordChange()),
    "it carries a role after a quarantine": (
        observed(association("web"), WEB, record(GAVE_WEB, TOOK), owner=QUARANTINE),
        "converged",
        NOT_EXPLAINED,
    ),
    "nothing governs it after a quarantine": (
        observed(None, None, record(GAVE_WEB, TOOK), owner=QUARANTINE, seen=UNTAGGED),
        "unmatched",
        NOT_EXPLAINED,
    ),
    "its mapping gave it the role": (
        observed(association("web"), WEB, record(GAVE_WEB, changes=(change_at(-1, GIVES_WEB),))),
        "converged",
        RecordChange(),
    ),
}


@pytest.mark.parametrize("what", AT_REST)
def test_what_is_written_where_nothing_has_to_change(what: str) -> None:
    look, code, wanted = AT_REST[what]
    decision = decided(look)
    change = next_record(look, decision, NOW)
    assert (decision.code, change) == (code, wanted)
    assert change.expected == look.record
    assert needs_reconcile(look, decision, NOW) == bool(wanted)


@pytest.mark.parametrize(
    ("carries", "seen", "code"),
    [
        (None, instance(Name="x"), "unmatched"),
        (foreign(), instance(Name="x"), "not-ours"),
        (association("web"), instance(**{"workload": "web", IGNORE_TAG: "true"}), "ignored"),
        (association("web"), replace(instance(workload="web"), managed_by="eks.amazonaws.com"), "service-managed"),
    ],
)
def test_where_no_mapping_governs_only_what_took_a_role_away_still_counts(
    carries: Association | None, seen: Instance, code: str
) -> None:
    gave_up = change_at(-1, DesiredChange(key("workload=web"), 1, NO_PROFILE))
    former = (change_at(-3, GIVES_WEB), change_at(-2, GIVES_DB), gave_up)
    look = observed(carries, None, record(GAVE_WEB, changes=former), owner=WEB, seen=seen)
    assert decided(look).code == code
    assert next_record(look, decided(look), NOW) == RecordChange(lapsed=former[:2], timers=FOLLOWED_UP)


# ---- the instance has ended ----


@pytest.mark.parametrize("pinned", [False, True])
def test_the_record_of_an_instance_that_ended_goes_with_its_pin(*, pinned: bool) -> None:
    pin = Pin("web", arn("web")) if pinned else None
    look = observed(None, WEB, record(GAVE_WEB), seen=instance("terminated", workload="web"), pin=pin)
    assert next_record(look, decided(look), NOW) == RecordChange(ends=True, unpins=pinned)


def test_the_pin_of_an_instance_that_may_come_to_sight_yet_stays() -> None:
    look = replace(observed(None, WEB, record(GAVE_WEB), pin=Pin("web", arn("web"))), instance=None)
    assert decided(look).code == "gone"
    assert next_record(look, decided(look), NOW) == RecordChange(ends=True)


def test_an_instance_that_ended_without_a_record_costs_no_write() -> None:
    look = observed(seen=instance("terminated", workload="web"))
    assert not next_record(look, decided(look), NOW)
    assert not needs_reconcile(look, decided(look), NOW)


# ---- it waits, or is held ----

OCCUPIED = observed(foreign())
PENDING = observed(seen=instance("pending", workload="web"))
IGNORED_UNTIL = NOW + HOUR
IGNORED = observed(seen=instance(**{"workload": "web", IGNORE_TAG: IGNORED_UNTIL.isoformat()}))


SHOWS_OCCUPIED = observed(foreign(), WEB, record(condition=shown(OCCUPIED)))
REWORDED = record(condition=shown(OCCUPIED, reason="as an older version put it"))
DETACHING = Condition(Action.WAIT, "disassociating", "EC2 detaches", NOW - HOUR, "x", NOW + HOUR)
IN_THE_WINDOW = Condition(Action.WAIT, "window", "it waits for its turn", NOW, "x", NOW + HOUR)


def waiting(until: datetime | None, look: Observation = PENDING) -> Observation:
    """An instance that has shown for an hour that it waits, watched until then."""
    return replace(look, record=record(condition=shown(look, watched_until=until, since=NOW - HOUR)))


def showing(condition: Condition, look: Observation = PENDING) -> Observation:
    return replace(look, record=record(condition=condition))


# An instance, and whether its loop failed; whether a loop or a timer has to start, and whether the sweep sends it.
WATCHED: dict[str, tuple[Observation, bool, bool, bool]] = {
    "a hold": (OCCUPIED, False, False, True),
    "a hold that it shows": (SHOWS_OCCUPIED, True, False, False),
    "a hold that it shows in other words": (observed(foreign(), WEB, REWORDED), False, False, False),
    "a wait": (PENDING, False, True, True),
    "a wait that is watched": (waiting(NOW + HOUR), False, False, False),
    "a wait that nothing watched": (waiting(None), False, True, True),
    "a wait that was watched until now": (waiting(NOW), False, True, True),
    "a wait whose loop failed": (waiting(NOW + HOUR), True, True, False),
    "a wait that the loop of another one watches": (showing(DETACHING), False, False, True),
    "a wait until a moment": (IGNORED, False, True, True),
    "a wait until a moment that its timer watches": (waiting(IGNORED_UNTIL, IGNORED), False, False, False),
    "a wait until a moment that no timer watched": (waiting(None, IGNORED), False, True, True),
    "a wait until a moment, after that of another one": (showing(IN_THE_WINDOW, IGNORED), False, True, True),
}


@pytest.mark.parametrize("what", WATCHED)
def test_a_loop_or_a_timer_starts_for_what_nothing_watches_and_the_sweep_sends_what_is_new(what: str) -> None:
    look, loop_over, watch, send = WATCHED[what]
    decision = decided(look)
    assert needs_watch(look, decision, NOW, loop_over=loop_over) is watch
    assert needs_reconcile(look, decision, NOW) is send


def condition_of(look: Observation, now: datetime = NOW, watched_until: datetime | None = None) -> Condition:
    condition = next_record(look, decided(look), now, watched_until).condition
    assert condition
    return condition


def test_a_hold_is_shown_since_it_was_first_seen_and_watched_by_nobody() -> None:
    decision = decided(OCCUPIED)
    change = next_record(OCCUPIED, decision, NOW)
    condition = Condition(Action.HOLD, "occupied", decision.reason, NOW, decision.fingerprint, None, parked=True)
    assert change == RecordChange(condition=condition, timers=FOLLOWED_UP)
    assert change.expected == EMPTY


def test_something_else_that_the_instance_shows_begins_now() -> None:
    look = replace(SHOWS_OCCUPIED, association=replace(foreign(), id="iip-assoc-2"))
    assert condition_of(look, NOW + HOUR).since == NOW + HOUR


def test_a_wait_is_watched_by_a_retry_loop_until_its_deadline_and_keeps_its_beginning() -> None:
    change = next_record(PENDING, decided(PENDING), NOW, NOW + HOUR)
    assert change.condition
    assert (change.condition.code, change.condition.parked) == ("changing", False)
    assert change.condition.watched_until == NOW + HOUR
    assert change.timers == FOLLOWED_UP
    again = condition_of(waiting(NOW), NOW, NOW + HOUR)
    assert (again.since, again.watched_until) == (NOW - HOUR, NOW + HOUR)


def test_another_wait_is_watched_by_the_loop_that_goes_on_and_a_hold_isnt() -> None:
    condition = condition_of(showing(DETACHING))
    assert (condition.code, condition.since, condition.watched_until) == ("changing", NOW, NOW + HOUR)
    assert condition_of(showing(DETACHING, OCCUPIED)).watched_until is None


@pytest.mark.parametrize("look", [IGNORED, waiting(None, IGNORED), waiting(NOW, IGNORED)])
def test_a_wait_that_ends_at_a_known_moment_is_watched_by_a_timer(look: Observation) -> None:
    decision = decided(look)
    assert decision.until == IGNORED_UNTIL
    change = next_record(look, decision, NOW, decision.until)
    assert change.timers == (Timer(IGNORED_UNTIL, KEY), *FOLLOWED_UP)
    assert change.condition
    assert (change.condition.watched_until, change.condition.parked) == (IGNORED_UNTIL, False)


def test_a_change_is_sent_by_the_sweep_unless_it_waits_for_its_turn() -> None:
    look = observed(association("db"))
    decision = decided(look)
    assert decision.action is Action.REPLACE
    assert needs_reconcile(look, decision, NOW)
    waits = waits_for_room(decision, NOW + HOUR)
    condition = next_record(look, waits, NOW, waits.until).condition
    waiting_ = observed(association("db"), WEB, record(condition=condition))
    assert not needs_reconcile(waiting_, decision, NOW)
    assert needs_reconcile(waiting_, decision, NOW + HOUR), "its turn has come"
    other = observed(association("db"), published("workload=web", "api"), record(condition=condition))
    assert needs_reconcile(other, decided(other), NOW), "another change has no turn yet"


PROPAGATING = replace(
    decided(observed()), action=Action.WAIT, code="propagating", polls=True, arguments=("InvalidParameterValue",)
)


def given_up(decision: Decision, *, parked: bool = True) -> Observation:
    """An instance that shows this decision, which its retry loop gave up waiting for."""
    showed = Condition(decision.action, decision.code, decision.reason, NOW, decision.fingerprint, None, parked)
    return observed(remembered=record(condition=showed))


def test_a_profile_that_ec2_didnt_know_in_time_gets_no_further_loop_and_stays_parked() -> None:
    look = given_up(PROPAGATING)
    assert is_hopeless(look, PROPAGATING)
    assert not needs_watch(look, PROPAGATING, NOW)
    assert not needs_watch(look, PROPAGATING, NOW, loop_over=True)
    assert not next_record(look, PROPAGATING, NOW)


@pytest.mark.parametrize(
    ("look", "decision"),
    [
        (given_up(PROPAGATING, parked=False), PROPAGATING),
        (given_up(PROPAGATING), replace(PROPAGATING, profile_arn=arn("db"))),
        (given_up(replace(PROPAGATING, code="changing")), replace(PROPAGATING, code="changing")),
        (observed(), PROPAGATING),
    ],
    ids=["it wasn't given up", "it is another profile", "the instance starts", "it shows nothing"],
)
def test_any_other_wait_is_watched_again(look: Observation, decision: Decision) -> None:
    assert not is_hopeless(look, decision)
    assert needs_watch(look, decision, NOW)


# ---- whatever was seen ----

tagged = st.builds(
    lambda seen, ignore, by: replace(seen, tags={**seen.tags, **ignore}, managed_by=by),
    values.instances,
    st.sampled_from([{}, {}, {}, {IGNORE_TAG: "true"}, {IGNORE_TAG: "soon"}, {IGNORE_TAG: (NOW + HOUR).isoformat()}]),
    st.sampled_from(["", "", "", "eks.amazonaws.com"]),
)


@given(
    seen=tagged,
    carries=st.none() | values.associations,
    grants=st.lists(values.grants, max_size=3, unique_by=lambda each: each.profile_arn),
    condition=st.none() | conditions,
    changes=st.lists(applied_changes, max_size=2, unique_by=lambda each: each.at),
    read=st.lists(values.mappings, max_size=3, unique_by=lambda each: each.key),
    owner=st.none() | values.mappings,
    pin=st.none()
    | st.sampled_from(
        [Pin("web", arn("web")), Pin("NONE"), Pin("", unclear="the pin names no role; write one, or NONE")]
    ),
    take_over=st.booleans(),
)
def test_what_was_written_is_written_once(
    seen: Instance,
    carries: Association | None,
    grants: list[Grant],
    condition: Condition | None,
    changes: list[AppliedChange],
    read: list[PublishedMapping],
    owner: PublishedMapping | None,
    pin: Pin | None,
    *,
    take_over: bool,
) -> None:
    """Whatever a look at an instance writes, the next one that sees the same finds nothing more to write."""
    at_work = worker(state_table())
    kept = {layout.grant_name(each.profile_arn): layout.encode(each) for each in grants}
    kept |= {layout.change_name(each): layout.encode(each) for each in changes}
    kept |= {layout.CONDITION: layout.encode(condition)} if condition else {}
    if kept:
        pk, sk = layout.record_key(KEY)
        at_work.store.write(at_work.store.put({"pk": pk, "sk": sk, layout.WRITES: 1, **kept}))
    if pin:
        at_work.store.write(at_work.store.put(pin_item(KEY, pin)))
    settings = replace(SETTINGS, take_over=take_over)

    def look() -> tuple[Observation, Decision]:
        snapshot = at_work.state.read([KEY], [])
        seen_now = replace(
            observed(carries, None, snapshot.record(KEY), owner=owner, seen=seen, pin=snapshot.pins.get(KEY)),
            candidates=resolve(seen, read, NOW, pin),
            published=tuple(read),
        )
        return seen_now, decide(seen_now, settings)

    first, decision = look()
    if news := pin_report(first, NOW):
        assert needs_reconcile(first, decision, NOW)
        at_work.state.save(KEY, RecordChange(pin=news[0]), NOW)
        first, decision = look()
        assert pin_report(first, NOW) is None
    assume(not decision.action.mutates)
    watched_until = (decision.until or NOW + HOUR) if needs_watch(first, decision, NOW) else None
    change = next_record(first, decision, NOW, watched_until)
    assert bool(change) == needs_reconcile(first, decision, NOW)
    at_work.state.save(KEY, change, NOW)
    second, again = look()
    assert not needs_reconcile(second, again, NOW)
    assert not needs_watch(second, again, NOW)

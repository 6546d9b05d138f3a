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
    Condition,
    Decision,
    DesiredChange,
    Grant,
    RecordChange,
    Timer,
)
from rolekeeper.settings import ContentionRule
from rolekeeper.storage import layout
from rolekeeper_cli.act.pins import pin_item
from strategies.happenings import observations
from strategies.situations import LATER, PIN, PINNED_ONCE, SITUATIONS
from strategies.values import KEY, NOW, arn, grant, key, published

# Whatever is written of an instance is looked at once more, after 15 seconds (docs/concepts.md).
FOLLOWED_UP = (Timer(NOW + timedelta(seconds=15), KEY, follows=True),)
RULE = ContentionRule()
SETTINGS = settings_of(KEY.target)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def look(story: str, condition: Condition | None = None, **changes: Any) -> Observation:
    """Return what a look sees in a situation, whose instance may show something already."""
    seen = replace(SITUATIONS[story], **changes).observation
    return replace(seen, record=replace(seen.record, condition=condition))


def decided(seen: Observation) -> Decision:
    return decide(seen, SETTINGS)


def written(seen: Observation, now: datetime = NOW, watched_until: datetime | None = None) -> RecordChange:
    """Return what is written where nothing has to change at EC2."""
    return next_record(seen, decided(seen), now, watched_until)


def shown(seen: Observation, now: datetime = NOW, watched_until: datetime | None = None) -> Condition:
    """Return the condition that the instance shows once it was looked at."""
    condition = written(seen, now, watched_until).condition
    assert condition
    return condition


# ---- before the call ----

ASKS_WEB = Grant(arn("web"), "web", key("workload=web"), 1, NOW)
ASKS_NONE = replace(grant("NONE", "workload=web"), at=NOW)
BEFORE = {
    "nothing, and a role": RecordChange((ASKS_WEB,)),
    "nothing, and a pin": RecordChange((Grant(arn("debug"), "debug", PINNED_ONCE, 0, NOW),)),
    "nothing after a quarantine, and a role": RecordChange((ASKS_WEB,), frozenset({NO_PROFILE})),
    # The former grant stays for as long as the former role may.
    "another role, ours": RecordChange((ASKS_WEB,)),
    "another role, to be swapped while it is stopped": RecordChange((ASKS_WEB,)),
    "a managed role, and no role": RecordChange((ASKS_NONE,)),
    # DynamoDB refuses an update that sets an attribute and removes it.
    "a managed role after a quarantine, and no role": RecordChange((ASKS_NONE,)),
    "a role whose mapping no longer matches": RecordChange(),
}


@pytest.mark.parametrize("story", BEFORE)
def test_before_a_call_a_grant_says_what_is_asked_for_and_why(story: str) -> None:
    seen = look(story)
    assert starting(seen, decided(seen), NOW) == BEFORE[story]


# ---- after EC2 took a change ----

WEB, DB, NONE = (DesiredChange(key(f"workload={role}"), 1, arn(role)) for role in ("web", "db", "NONE"))


def minutes_ago(*desired: DesiredChange) -> tuple[AppliedChange, ...]:
    """Changes that EC2 took: the last of them a minute ago, and each other one a minute before the next."""
    return tuple(AppliedChange(each, NOW - MINUTE * ago) for ago, each in enumerate(desired[::-1], 1))[::-1]


def test_a_change_that_ec2_took_is_kept_beside_the_same_ones() -> None:
    seen = look("nothing, and a role", made=minutes_ago(WEB, WEB))
    counted = tuple(replace(timer, did=Action.ATTACH) for timer in FOLLOWED_UP)
    assert completed(seen, decided(seen), RULE, NOW) == RecordChange(applied=AppliedChange(WEB, NOW), timers=counted)


def test_with_another_change_the_former_ones_no_longer_count() -> None:
    former = minutes_ago(WEB, DB, WEB)
    seen = look("nothing, and a role", made=former)
    change = completed(seen, decided(seen), RULE, NOW)
    assert (change.applied, change.lapsed) == (AppliedChange(WEB, NOW), former[:2])


@given(after=st.integers(1, 6), times=st.integers(1, 12))
def test_no_more_changes_are_kept_than_the_rule_asks_for(after: int, times: int) -> None:
    rule, kept = ContentionRule(after=after), tuple[AppliedChange, ...]()
    decision = decided(look("nothing, and a role"))
    for number in range(times):
        change = completed(look("nothing, and a role", made=kept), decision, rule, NOW + number * HOUR)
        assert change.applied
        kept = (*(made for made in kept if made not in change.lapsed), change.applied)
    assert len(kept) == min(after, times)
    assert rule.contended(kept[::-1]) is (after == 1)


def test_the_first_half_of_a_swap_is_no_change_yet() -> None:
    seen = look("another role, to be swapped while it is stopped", made=minutes_ago(DB))
    assert decided(seen).swap
    assert not completed(seen, decided(seen), RULE, NOW)


@pytest.mark.parametrize("state", ["running", "stopped"], ids=["a change", "the first half of a swap"])
def test_what_the_instance_showed_is_over_once_ec2_took_a_change(state: str) -> None:
    showed = Condition(Action.WAIT, "changing", "it starts", NOW, "x")
    seen = look("another role, to be swapped", showed, state=state)
    change = completed(seen, decided(seen), RULE, NOW)
    assert change.clears
    assert (change.applied is None) == (state == "stopped")


# ---- nothing has to change at EC2 ----

OCCUPIED_BEFORE = Condition(Action.HOLD, "occupied", "it carries a foreign role", NOW, "x")
NOTHING, FORGETS = RecordChange(), RecordChange(revoked=frozenset({NO_PROFILE}), timers=FOLLOWED_UP)
FORGETS_CHANGES = RecordChange(lapsed=minutes_ago(WEB, DB, NONE)[:2], timers=FOLLOWED_UP)
AT_REST = {
    "its role is there": (look("its role, ours"), NOTHING),
    "another actor attached it": (look("its role, another actor's"), NOTHING),
    "its mapping gave it": (look("its role, ours", made=minutes_ago(WEB)), NOTHING),
    "its mapping keeps it": (look("a role whose mapping says keep"), NOTHING),
    "another mapping gave it": (
        look("its role, given by a mapping whose record is missing"),
        RecordChange((ASKS_WEB,), timers=FOLLOWED_UP),
    ),
    "what it showed is over": (look("its role, ours", OCCUPIED_BEFORE), RecordChange(clears=True, timers=FOLLOWED_UP)),
    "the quarantine lasts": (look("nothing, and still no role"), NOTHING),
    "it carries a role after a quarantine": (look("its role after a quarantine"), FORGETS),
    "nothing governs it after a quarantine": (
        look("nothing after a quarantine whose record and tag are missing"),
        FORGETS,
    ),
    # Where no mapping governs, only what took a role away still counts.
    **{
        f"changed before: {story}": (look(story, made=minutes_ago(WEB, DB, NONE)), FORGETS_CHANGES)
        for story in ("nothing, and no mapping", "a foreign role, and no mapping", "another role, and its own tag")
    },
    "it ended": (look("its role, and its end"), RecordChange(ends=True)),
    "it ended, with a pin": (look("its role, and its end", pin=PIN), RecordChange(ends=True, unpins=True)),
    "it ended, without a record": (look("its role, and its end", gave=()), NOTHING),
    # It may come to sight yet, so its pin stays.
    "EC2 doesn't know it": (look("its role, and EC2 doesn't know it", pin=PIN), RecordChange(ends=True)),
}


@pytest.mark.parametrize("what", AT_REST)
def test_what_is_written_where_nothing_has_to_change(what: str) -> None:
    seen, expected = AT_REST[what]
    assert (decided(seen).action, written(seen)) == (Action.NOTHING, expected)
    assert written(seen).expected == seen.record
    assert needs_reconcile(replace(seen, pin=None), decided(seen), NOW) == bool(expected)


# ---- it waits, or is held ----

IGNORED_UNTIL = datetime.fromisoformat(LATER)
DETACHING = Condition(Action.WAIT, "disassociating", "EC2 detaches", NOW - HOUR, "x", NOW + HOUR)
IN_THE_WINDOW = Condition(Action.WAIT, "window", "it waits for its turn", NOW, "x", NOW + HOUR)
OCCUPIED, PENDING = "a foreign role", "nothing, and a role, while it starts"
IGNORED = "nothing, and its own tag until later"


def still(story: str, **more: Any) -> Observation:
    """Return an instance that has shown for an hour what it shows in this situation."""
    return look(story, replace(shown(look(story)), since=NOW - HOUR, **more))


# What a look sees, and whether a loop or a timer starts, and the sweep sends the instance.
STARTS, SENT = "starts", "sent"
WATCHED = {
    "a hold": (look(OCCUPIED), {SENT}),
    "a hold that it shows": (still(OCCUPIED), set[str]()),
    "a hold that it shows in other words": (still(OCCUPIED, reason="as an older version put it"), set[str]()),
    "a wait": (look(PENDING), {STARTS, SENT}),
    "a wait that is watched": (still(PENDING, watched_until=NOW + HOUR), set[str]()),
    "a wait that nothing watched": (still(PENDING), {STARTS, SENT}),
    "a wait that was watched until now": (still(PENDING, watched_until=NOW), {STARTS, SENT}),
    "a wait that the loop of another one watches": (look(PENDING, DETACHING), {SENT}),
    "a wait until a moment": (look(IGNORED), {STARTS, SENT}),
    "a wait until a moment that its timer watches": (still(IGNORED, watched_until=IGNORED_UNTIL), set[str]()),
    "a wait until a moment that no timer watched": (still(IGNORED), {STARTS, SENT}),
    "a wait until a moment, after that of another one": (look(IGNORED, IN_THE_WINDOW), {STARTS, SENT}),
}


@pytest.mark.parametrize("what", WATCHED)
def test_a_loop_or_a_timer_starts_for_what_nothing_watches_and_the_sweep_sends_what_is_new(what: str) -> None:
    seen, happens = WATCHED[what]
    assert needs_watch(seen, decided(seen), NOW) is (STARTS in happens)
    assert needs_reconcile(seen, decided(seen), NOW) is (SENT in happens)


def test_a_loop_that_failed_is_followed_by_another_while_the_instance_still_waits() -> None:
    waits, is_held = still(PENDING, watched_until=NOW + HOUR), still(OCCUPIED)
    assert needs_watch(waits, decided(waits), NOW, loop_over=True)
    assert not needs_watch(is_held, decided(is_held), NOW, loop_over=True)


def test_a_hold_is_shown_since_it_was_first_seen_and_watched_by_nobody() -> None:
    seen = look(OCCUPIED)
    decision = decided(seen)
    condition = Condition(Action.HOLD, "occupied", decision.reason, NOW, decision.fingerprint, None, parked=True)
    assert written(seen) == RecordChange(condition=condition, timers=FOLLOWED_UP)


def test_a_wait_is_watched_by_a_retry_loop_until_its_deadline_and_keeps_its_beginning() -> None:
    first = shown(look(PENDING), watched_until=NOW + HOUR)
    assert (first.code, first.parked, first.watched_until) == ("changing", False, NOW + HOUR)
    again = shown(still(PENDING, watched_until=NOW), watched_until=NOW + HOUR)
    assert (again.since, again.watched_until) == (NOW - HOUR, NOW + HOUR)


def test_another_wait_is_watched_by_the_loop_that_goes_on_and_a_hold_isnt() -> None:
    condition = shown(look(PENDING, DETACHING))
    assert (condition.code, condition.since, condition.watched_until) == ("changing", NOW, NOW + HOUR)
    assert shown(look(OCCUPIED, DETACHING)).watched_until is None


@pytest.mark.parametrize("seen", [look(IGNORED), still(IGNORED), still(IGNORED, watched_until=NOW)])
def test_a_wait_that_ends_at_a_known_moment_is_watched_by_a_timer(seen: Observation) -> None:
    assert decided(seen).until == IGNORED_UNTIL
    change = written(seen, watched_until=IGNORED_UNTIL)
    assert change.timers == (Timer(IGNORED_UNTIL, KEY), *FOLLOWED_UP)
    assert change.condition
    assert (change.condition.watched_until, change.condition.parked) == (IGNORED_UNTIL, False)


def test_a_change_is_sent_by_the_sweep_unless_it_waits_for_its_turn() -> None:
    story = "another role, ours"
    decision = decided(look(story))
    waits = waits_for_room(decision, NOW + HOUR)
    in_line = next_record(look(story), waits, NOW, waits.until).condition
    seen, other = look(story, in_line), look(story, in_line, governs=published("workload=web", "api"))
    assert needs_reconcile(look(story), decision, NOW)
    assert not needs_reconcile(seen, decision, NOW)
    assert needs_reconcile(seen, decision, NOW + HOUR), "its turn has come"
    assert needs_reconcile(other, decided(other), NOW), "another change has no turn yet"


def propagating(**changes: Any) -> Decision:
    due = decided(look("nothing, and a role"))
    arguments = ("InvalidParameterValue",)
    waits = replace(due, action=Action.WAIT, code="propagating", polls=True, arguments=arguments)
    return replace(waits, **changes)


def given_up(decision: Decision, *, parked: bool = True) -> Observation:
    """Return an instance that shows this decision, which its retry loop gave up waiting for."""
    condition = Condition(decision.action, decision.code, decision.reason, NOW, decision.fingerprint, None, parked)
    return look("nothing, and a role", condition)


def test_a_profile_that_ec2_didnt_know_in_time_gets_no_further_loop_and_stays_parked() -> None:
    seen = given_up(propagating())
    assert is_hopeless(seen, propagating())
    assert not needs_watch(seen, propagating(), NOW)
    assert not needs_watch(seen, propagating(), NOW, loop_over=True)
    assert not next_record(seen, propagating(), NOW)


def test_any_other_wait_is_watched_again() -> None:
    starts = propagating(code="changing")
    for seen, decision in {
        "it wasn't given up": (given_up(propagating(), parked=False), propagating()),
        "it is another profile": (given_up(propagating()), propagating(profile_arn=arn("db"))),
        "the instance starts": (given_up(starts), starts),
        "it shows nothing": (look("nothing, and a role"), propagating()),
    }.values():
        assert not is_hopeless(seen, decision)
        assert needs_watch(seen, decision, NOW)


# ---- whatever was seen ----


@given(
    seen=observations(),
    condition=st.none() | conditions,
    changes=st.lists(applied_changes, max_size=2, unique_by=lambda change: change.at),
    take_over=st.booleans(),
)
def test_what_was_written_is_written_once(
    seen: Observation, condition: Condition | None, changes: list[AppliedChange], *, take_over: bool
) -> None:
    """Whatever a look at an instance writes, the next one that sees the same finds nothing more to write."""
    at_work = worker(state_table())
    kept = {layout.grant_name(profile): layout.encode(given) for profile, given in seen.record.grants.items()}
    kept |= {layout.change_name(change): layout.encode(change) for change in changes}
    kept |= {layout.CONDITION: layout.encode(condition)} if condition else {}
    if kept:
        at_work.store.write(
            at_work.store.put({**layout.key_attributes(layout.record_key(KEY)), layout.WRITES: 1, **kept})
        )
    if seen.pin:
        at_work.store.write(at_work.store.put(pin_item(KEY, seen.pin)))
    settings = replace(SETTINGS, take_over=take_over)

    def look_again() -> tuple[Observation, Decision]:
        snapshot = at_work.state.read([KEY], [])
        record, pin = snapshot.record(KEY), snapshot.pins.get(KEY)
        grant = record.grants.get(seen.association.profile_arn if seen.association else NO_PROFILE)
        candidates = resolve(seen.instance, seen.published, NOW, pin) if seen.instance else seen.candidates
        now = replace(seen, record=record, grant=grant, candidates=candidates, pin=pin)
        return now, decide(now, settings)

    first, decision = look_again()
    if news := pin_report(first, NOW):
        assert needs_reconcile(first, decision, NOW)
        at_work.state.save(KEY, RecordChange(pin=news[0]), NOW)
        first, decision = look_again()
        assert pin_report(first, NOW) is None
    assume(not decision.action.mutates)
    watched_until = (decision.until or NOW + HOUR) if needs_watch(first, decision, NOW) else None
    change = next_record(first, decision, NOW, watched_until)
    assert bool(change) == needs_reconcile(first, decision, NOW)
    at_work.state.save(KEY, change, NOW)
    second, again = look_again()
    assert not needs_reconcile(second, again, NOW)
    assert not needs_watch(second, again, NOW)

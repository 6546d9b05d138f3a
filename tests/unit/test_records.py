"""What a reconcile writes into an instance's record: what explains a call, what EC2 took, what the instance shows."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
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
    Control,
    Pin,
    PublishedMapping,
)
from rolekeeper.settings import ContentionRule
from rolekeeper.storage import layout
from rolekeeper_cli.uses.pins import pin_item
from strategies import values
from strategies.situations import EKS, LATER, PIN, PIN_TO_NONE, PIN_UNCLEAR, PINNED_ONCE, SITUATIONS
from strategies.values import KEY, NOW, OWNERSHIP, arn, foreign, grant, key, published

# Whatever is written of an instance is looked at once more, after 15 seconds (docs/concepts.md).
FOLLOWED_UP = (Timer(NOW + timedelta(seconds=15), KEY, follows=True),)
RULE = ContentionRule()
SETTINGS = settings_of(KEY.target)
assert SETTINGS.ownership == OWNERSHIP
EMPTY = InstanceRecord()
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def look(story: str, condition: Condition | None = None, **changes: Any) -> Observation:
    """Return what a look sees in a situation, whose instance may show something already."""
    seen = replace(SITUATIONS[story], **changes).observation
    return replace(seen, record=replace(seen.record, condition=condition))


def decided(look: Observation) -> Decision:
    return decide(look, SETTINGS)


def shown(look: Observation, **more: Any) -> Condition:
    """Return the condition that the instance shows once it was looked at."""
    condition = next_record(look, decided(look), NOW).condition
    assert condition
    return replace(condition, **more)


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


def change_at(minutes: float, desired: DesiredChange) -> AppliedChange:
    return AppliedChange(desired, NOW + minutes * MINUTE)


GIVES_WEB = DesiredChange(key("workload=web"), 1, arn("web"))
GIVES_DB = DesiredChange(key("workload=db"), 1, arn("db"))


def test_a_change_that_ec2_took_is_kept_beside_the_same_ones() -> None:
    seen = look("nothing, and a role", made=(change_at(-2, GIVES_WEB), change_at(-1, GIVES_WEB)))
    counted = tuple(replace(timer, did=Action.ATTACH) for timer in FOLLOWED_UP)
    expected = RecordChange(applied=change_at(0, GIVES_WEB), timers=counted)
    assert completed(seen, decided(seen), RULE, NOW) == expected


def test_with_another_change_the_former_ones_no_longer_count() -> None:
    former = (change_at(-3, GIVES_WEB), change_at(-2, GIVES_DB), change_at(-1, GIVES_WEB))
    seen = look("nothing, and a role", made=former)
    change = completed(seen, decided(seen), RULE, NOW)
    assert (change.applied, change.lapsed) == (change_at(0, GIVES_WEB), former[:2])


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
    seen = look("another role, to be swapped while it is stopped", made=(change_at(-1, GIVES_DB),))
    decision = decided(seen)
    assert decision.swap
    assert not completed(seen, decision, RULE, NOW)


@pytest.mark.parametrize("state", ["running", "stopped"], ids=["a change", "the first half of a swap"])
def test_what_the_instance_showed_is_over_once_ec2_took_a_change(state: str) -> None:
    showed = Condition(Action.WAIT, "changing", "it starts", NOW, "x")
    seen = look("another role, to be swapped", showed, state=state)
    change = completed(seen, decided(seen), RULE, NOW)
    assert change.clears
    assert (change.applied is None) == (state == "stopped")


# ---- nothing has to change at EC2 ----

OCCUPIED_BEFORE = Condition(Action.HOLD, "occupied", "it carries a foreign role", NOW, "x")
UNEXPLAINED = RecordChange(revoked=frozenset({NO_PROFILE}), timers=FOLLOWED_UP)
# By a situation, and what else is remembered of it.
AT_REST: dict[str, tuple[str, dict[str, Any], RecordChange]] = {
    "its role is there": ("its role, ours", {}, RecordChange()),
    "another actor attached it": ("its role, another actor's", {}, RecordChange()),
    "another mapping gave it": (
        "its role, given by a mapping whose record is missing",
        {},
        RecordChange((ASKS_WEB,), timers=FOLLOWED_UP),
    ),
    "its mapping gave it": ("its role, ours", {"made": (change_at(-1, GIVES_WEB),)}, RecordChange()),
    "its mapping keeps it": ("a role whose mapping says keep", {}, RecordChange()),
    "what it showed is over": (
        "its role, ours",
        {"condition": OCCUPIED_BEFORE},
        RecordChange(clears=True, timers=FOLLOWED_UP),
    ),
    "the quarantine lasts": ("nothing, and still no role", {}, RecordChange()),
    "it carries a role after a quarantine": ("its role after a quarantine", {}, UNEXPLAINED),
    "nothing governs it after a quarantine": (
        "nothing after a quarantine whose record and tag are missing",
        {},
        UNEXPLAINED,
    ),
}


@pytest.mark.parametrize("what", AT_REST)
def test_what_is_written_where_nothing_has_to_change(what: str) -> None:
    story, remembered, expected = AT_REST[what]
    seen = look(story, **remembered)
    decision = decided(seen)
    change = next_record(seen, decision, NOW)
    assert (decision.action, change) == (Action.NOTHING, expected)
    assert change.expected == seen.record
    assert needs_reconcile(seen, decision, NOW) == bool(expected)


@pytest.mark.parametrize(
    "story",
    [
        "nothing, and no mapping",
        "a foreign role, and no mapping",
        "another role, and its own tag",
        "nothing, and a service",
    ],
)
def test_where_no_mapping_governs_only_what_took_a_role_away_still_counts(story: str) -> None:
    gave_up = change_at(-1, DesiredChange(key("workload=web"), 1, NO_PROFILE))
    former = (change_at(-3, GIVES_WEB), change_at(-2, GIVES_DB), gave_up)
    seen = look(story, made=former)
    assert next_record(seen, decided(seen), NOW) == RecordChange(lapsed=former[:2], timers=FOLLOWED_UP)


# ---- the instance has ended ----


@pytest.mark.parametrize("pin", [None, PIN], ids=["without a pin", "with a pin"])
def test_the_record_of_an_instance_that_ended_goes_with_its_pin(pin: Pin | None) -> None:
    seen = look("its role, and its end", pin=pin)
    assert next_record(seen, decided(seen), NOW) == RecordChange(ends=True, unpins=bool(pin))


def test_the_pin_of_an_instance_that_may_come_to_sight_yet_stays() -> None:
    seen = look("its role, and EC2 doesn't know it", pin=PIN)
    assert next_record(seen, decided(seen), NOW) == RecordChange(ends=True)


def test_an_instance_that_ended_without_a_record_costs_no_write() -> None:
    seen = look("its role, and its end", gave=())
    assert not next_record(seen, decided(seen), NOW)
    assert not needs_reconcile(seen, decided(seen), NOW)


# ---- it waits, or is held ----

IGNORED_UNTIL = datetime.fromisoformat(LATER)
DETACHING = Condition(Action.WAIT, "disassociating", "EC2 detaches", NOW - HOUR, "x", NOW + HOUR)
IN_THE_WINDOW = Condition(Action.WAIT, "window", "it waits for its turn", NOW, "x", NOW + HOUR)


OCCUPIED, PENDING, IGNORED = (
    "a foreign role",
    "nothing, and a role, while it starts",
    "nothing, and its own tag until later",
)


def waiting(until: datetime | None, story: str = PENDING) -> Observation:
    """Return an instance that has shown for an hour that it waits, watched until then."""
    return look(story, shown(look(story), watched_until=until, since=NOW - HOUR))


def shows_occupied(**more: Any) -> Observation:
    return look(OCCUPIED, shown(look(OCCUPIED), **more))


@dataclass(frozen=True)
class Watched:
    """An instance, and whether its loop failed; whether a loop or a timer starts, and whether the sweep sends it."""

    seen: Callable[[], Observation]
    loop_over: bool = False
    starts: bool = False
    sent: bool = False


WATCHED = {
    "a hold": Watched(partial(look, OCCUPIED), sent=True),
    "a hold that it shows": Watched(shows_occupied, loop_over=True),
    "a hold that it shows in other words": Watched(partial(shows_occupied, reason="as an older version put it")),
    "a wait": Watched(partial(look, PENDING), starts=True, sent=True),
    "a wait that is watched": Watched(partial(waiting, NOW + HOUR)),
    "a wait that nothing watched": Watched(partial(waiting, None), starts=True, sent=True),
    "a wait that was watched until now": Watched(partial(waiting, NOW), starts=True, sent=True),
    "a wait whose loop failed": Watched(partial(waiting, NOW + HOUR), loop_over=True, starts=True),
    "a wait that the loop of another one watches": Watched(partial(look, PENDING, DETACHING), sent=True),
    "a wait until a moment": Watched(partial(look, IGNORED), starts=True, sent=True),
    "a wait until a moment that its timer watches": Watched(partial(waiting, IGNORED_UNTIL, IGNORED)),
    "a wait until a moment that no timer watched": Watched(partial(waiting, None, IGNORED), starts=True, sent=True),
    "a wait until a moment, after that of another one": Watched(
        partial(look, IGNORED, IN_THE_WINDOW), starts=True, sent=True
    ),
}


@pytest.mark.parametrize("what", WATCHED)
def test_a_loop_or_a_timer_starts_for_what_nothing_watches_and_the_sweep_sends_what_is_new(what: str) -> None:
    case = WATCHED[what]
    seen = case.seen()
    decision = decided(seen)
    assert needs_watch(seen, decision, NOW, loop_over=case.loop_over) is case.starts
    assert needs_reconcile(seen, decision, NOW) is case.sent


def condition_of(look: Observation, now: datetime = NOW, watched_until: datetime | None = None) -> Condition:
    condition = next_record(look, decided(look), now, watched_until).condition
    assert condition
    return condition


def test_a_hold_is_shown_since_it_was_first_seen_and_watched_by_nobody() -> None:
    seen = look(OCCUPIED)
    decision = decided(seen)
    change = next_record(seen, decision, NOW)
    condition = Condition(Action.HOLD, "occupied", decision.reason, NOW, decision.fingerprint, None, parked=True)
    assert change == RecordChange(condition=condition, timers=FOLLOWED_UP)
    assert change.expected == EMPTY


def test_something_else_that_the_instance_shows_begins_now() -> None:
    seen = replace(shows_occupied(), association=replace(foreign(), id="iip-assoc-2"))
    assert condition_of(seen, NOW + HOUR).since == NOW + HOUR


def test_a_wait_is_watched_by_a_retry_loop_until_its_deadline_and_keeps_its_beginning() -> None:
    seen = look(PENDING)
    change = next_record(seen, decided(seen), NOW, NOW + HOUR)
    assert change.condition
    assert (change.condition.code, change.condition.parked) == ("changing", False)
    assert change.condition.watched_until == NOW + HOUR
    assert change.timers == FOLLOWED_UP
    again = condition_of(waiting(NOW), NOW, NOW + HOUR)
    assert (again.since, again.watched_until) == (NOW - HOUR, NOW + HOUR)


def test_another_wait_is_watched_by_the_loop_that_goes_on_and_a_hold_isnt() -> None:
    condition = condition_of(look(PENDING, DETACHING))
    assert (condition.code, condition.since, condition.watched_until) == ("changing", NOW, NOW + HOUR)
    assert condition_of(look(OCCUPIED, DETACHING)).watched_until is None


@pytest.mark.parametrize("shows", [None, "nothing watches it", "it was watched until now"])
def test_a_wait_that_ends_at_a_known_moment_is_watched_by_a_timer(shows: str | None) -> None:
    seen = waiting(NOW if shows == "it was watched until now" else None, IGNORED) if shows else look(IGNORED)
    decision = decided(seen)
    assert decision.until == IGNORED_UNTIL
    change = next_record(seen, decision, NOW, decision.until)
    assert change.timers == (Timer(IGNORED_UNTIL, KEY), *FOLLOWED_UP)
    assert change.condition
    assert (change.condition.watched_until, change.condition.parked) == (IGNORED_UNTIL, False)


def test_a_change_is_sent_by_the_sweep_unless_it_waits_for_its_turn() -> None:
    seen = look("another role, ours")
    decision = decided(seen)
    assert needs_reconcile(seen, decision, NOW)
    waits = waits_for_room(decision, NOW + HOUR)
    condition = next_record(seen, waits, NOW, waits.until).condition
    waiting_ = look("another role, ours", condition)
    assert not needs_reconcile(waiting_, decision, NOW)
    assert needs_reconcile(waiting_, decision, NOW + HOUR), "its turn has come"
    other = look("another role, ours", condition, governs=published("workload=web", "api"))
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

tagged = st.builds(
    lambda seen, ignore, by: replace(seen, tags={**seen.tags, **ignore}, managed_by=by),
    values.instances,
    st.sampled_from([{}, {}, {}, {IGNORE_TAG: "true"}, {IGNORE_TAG: "soon"}, {IGNORE_TAG: (NOW + HOUR).isoformat()}]),
    st.sampled_from(["", "", "", EKS]),
)


@given(
    seen=tagged,
    carries=st.none() | values.associations,
    grants=st.lists(values.grants, max_size=3, unique_by=lambda each: each.profile_arn),
    condition=st.none() | conditions,
    changes=st.lists(applied_changes, max_size=2, unique_by=lambda each: each.at),
    read=st.lists(values.mappings, max_size=3, unique_by=lambda each: each.key),
    owner=st.none() | values.mappings,
    pin=st.sampled_from([None, PIN, PIN_TO_NONE, PIN_UNCLEAR]),
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
        found = snapshot.record(KEY)
        seen_now = Observation(
            key=KEY,
            asked_at=NOW,
            instance=seen,
            association=carries,
            record=found,
            control=Control(),
            grant=found.grants.get(carries.profile_arn if carries else NO_PROFILE),
            candidates=resolve(seen, read, NOW, pin),
            owner=owner,
            published=tuple(read),
            pin=snapshot.pins.get(KEY),
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

"""How much changes in a while, over all mappings: a burst of replaces and detaches waits, an attach never does."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ReadTimeoutError

from fixtures.account import HOME, FakeAccount, refusing
from rolekeeper.model.instance import InstanceKey, Timer
from rolekeeper.settings import Limits
from rolekeeper.storage import Update, layout

REPLACE = "ReplaceIamInstanceProfileAssociation"

pytestmark = pytest.mark.world(published={"workload=web": "web", "workload=db": "db"}, limits=Limits(3, 20))


def fleet(world: FakeAccount, count: int, **tags: str) -> list[str]:
    """Instances that carry their mapping's role."""
    made = [world.running(**(tags or {"workload": "web"})) for _ in range(count)]
    world.reconcile(*made)
    return made


def retag(world: FakeAccount, instances: list[str], workload: str) -> None:
    for each in instances:
        world.tag(each, workload=workload)


def retagged(world: FakeAccount, count: int) -> list[str]:
    """Instances that carry web, and whose tag asks for db by now."""
    made = fleet(world, count)
    retag(world, made, "db")
    return made


def carrying(world: FakeAccount, instances: list[str], role: str) -> int:
    return [world.carries(each) for each in instances].count(role)


def armed(world: FakeAccount) -> list[Timer]:
    """The follow-ups of those that wait for room, in order."""
    found = world.state.timers_due(datetime.max.replace(tzinfo=UTC), layout.FOLLOW_UPS)
    due = [each for each in found if isinstance(each, Timer) and isinstance(each.subject, InstanceKey)]
    shown = world.state.read([each.subject for each in due if isinstance(each.subject, InstanceKey)]).records
    conditions = {key: record.condition for key, record in shown.items() if record.condition}
    waits = {(key, each.watched_until) for key, each in conditions.items() if each.code == "window"}
    return sorted((each for each in due if (each.subject, each.due) in waits), key=lambda each: each.due)


def ring(world: FakeAccount) -> list[str]:
    """Go to the first minute in which somebody has a turn, and take its instances from their follow-ups in the next."""
    timers = armed(world)
    after = int(timers[0].due.timestamp()) // 60 * 60 + 60
    due = [each for each in timers if each.due.timestamp() < after]
    world.wait(max(0, after + 3 - world.clock.now().timestamp()))
    world.state.clear_timers(*due)
    return [each.subject.id for each in due if isinstance(each.subject, InstanceKey)]


WINDOW = layout.changes_key(HOME)


def window(world: FakeAccount) -> layout.Item:
    return world.store.get([WINDOW]).get(WINDOW, {})


def test_of_a_burst_of_replaces_only_so_many_go_and_the_rest_waits_visibly(world: FakeAccount) -> None:
    instances = retagged(world, 8)
    world.quiet()
    world.reconcile(*instances)
    assert world.mutations == [REPLACE] * 3
    waiting = [each for each in instances if world.carries(each) == "web"]
    assert len(waiting) == 5
    condition = world.condition(waiting[0])
    assert (condition.action, condition.code, condition.parked) == ("Wait", "window", False)
    assert condition.reason.startswith("change limit for this window reached; waiting for room. Then: ")
    assert world.record(waiting[0]).grants.keys() == {world.profiles["web"].arn}, "nothing was asked for"
    assert {each["outcome"] for each in world.history(waiting[0]) if "outcome" in each} == {"done"}
    assert world.metrics.counts["ChangesWithheld"] == 5
    # They are looked at again just after the first minute's share has left the window; no message to itself asks for
    # it, as Lambda takes a chain of those for an endless loop.
    turns = {each.subject: each.due - world.clock.now() for each in armed(world)}
    assert turns.keys() == set(map(world.key, waiting))
    assert sum(timedelta(minutes=10) <= turn <= timedelta(seconds=690) for turn in turns.values()) >= 3
    seconds = [each.due.timestamp() % 60 for each in armed(world)]
    assert max(seconds) <= 20
    assert max(seconds) - min(seconds) > 1, "not all at once"
    assert not world.queue.sent
    assert not world.machine.started


def quarantine(world: FakeAccount, count: int) -> list[str]:
    """Instances that carry web and are to carry nothing."""
    world.publish("quarantine=yes", "NONE", priority=1)
    made = fleet(world, count)
    for each in made:
        world.tag(each, quarantine="yes")
    return made


def test_a_detach_to_none_never_waits_behind_replaces_nor_takes_their_room(world: FakeAccount) -> None:
    instances, isolated = retagged(world, 8), quarantine(world, 2)
    world.reconcile(*instances)
    assert carrying(world, instances, "db") == 3
    world.reconcile(*isolated)
    assert carrying(world, isolated, "") == 2
    assert window(world)["total"] == 3


def test_detaches_to_none_have_a_window_of_their_own_so_a_wrong_row_is_noticed(world: FakeAccount) -> None:
    isolated, instances = quarantine(world, 5), retagged(world, 2)
    world.reconcile(*isolated)
    assert carrying(world, isolated, "") == 3
    assert [world.shows(each) for each in isolated].count("window") == 2
    world.reconcile(*instances)
    assert carrying(world, instances, "db") == 2
    world.reconcile(*ring(world))
    assert carrying(world, isolated, "") == 5


def test_those_of_several_mappings_wait_in_one_line(world: FakeAccount) -> None:
    """One turn for each room: those of one mapping don't wait for what another mapping's leave."""
    world.publish("workload=other", "other")
    instances = fleet(world, 7)
    retag(world, instances[:4], "db")
    retag(world, instances[4:], "other")
    world.reconcile(*instances)
    assert sum(world.shows(each) == "window" for each in instances) == 4
    assert len(ring(world)) == 3, "so many of them have room then"


def test_what_is_over_leaves_in_the_write_that_takes_its_room(world: FakeAccount) -> None:
    instances = fleet(world, 6)
    retag(world, instances[:3], "db")
    world.reconcile(*instances[:3])
    world.later(minutes=11)
    retag(world, instances[3:], "db")
    world.quiet()
    world.reconcile(instances[3])
    # The moment of its pace; the room is taken, as the look told that it is over; and the outcome.
    assert world.writes == ["UpdateItem", *["TransactWriteItems"] * 2]
    assert world.calls["BatchGetItem"] == 1
    assert [name for name in window(world) if name[0] == "m"] == [f"m{int(world.clock.now().timestamp()) // 60}"]
    assert window(world)["total"] == 1


def test_more_minutes_than_one_write_can_take_out_leave_in_several(world: FakeAccount) -> None:
    """A window of a day with a change in each minute, and then a day of rest."""
    this = int(world.clock.now().timestamp()) // 60
    over = {f"m{this - 2000 + each}": 1 for each in range(150)}
    world.store.write(world.store.update(WINDOW, Update().set({**over, "total": len(over)})))
    first, second = instances = retagged(world, 2)
    world.reconcile(first)
    assert window(world)["total"] == 50 + 1
    world.reconcile(second)
    assert window(world)["total"] == 2
    assert carrying(world, instances, "db") == 2


def waits_for_the_first_room(world: FakeAccount, instance: str) -> bool:
    """Whether its turn is when the share of the first minute has left the window."""
    [due] = [each.due for each in armed(world) if each.subject == world.key(instance)]
    return due - world.clock.now() < timedelta(seconds=690)


def test_those_who_wait_no_longer_leave_their_turns_to_others(world: FakeAccount) -> None:
    """As when the tags of a script that went wrong are taken back."""
    slip = retagged(world, 12)
    world.reconcile(*slip)
    retag(world, slip, "web")
    world.reconcile(*slip)
    late = retagged(world, 4)
    world.reconcile(*late)
    assert [waits_for_the_first_room(world, each) for each in late] == [True, True, True, False]


def test_those_who_are_looked_at_again_while_they_wait_keep_their_turns(world: FakeAccount) -> None:
    instances = retagged(world, 6)
    for _ in range(2):
        world.reconcile(*instances)
    late = retagged(world, 3)
    world.reconcile(*late)
    assert not any(waits_for_the_first_room(world, each) for each in late)


def test_a_pause_makes_nobody_wait_longer(world: FakeAccount) -> None:
    instances = retagged(world, 6)
    world.reconcile(*instances)
    for paused in (True, False):
        world.control(paused=paused)
        world.reconcile(*instances)
    waiting = [each for each in instances if world.carries(each) == "web"]
    assert [waits_for_the_first_room(world, each) for each in waiting] == [True] * 3


@pytest.mark.parametrize("minutes", [10, 720])
def test_however_many_wait_and_however_long_the_window_is_each_is_looked_at_a_few_times(
    world: FakeAccount, minutes: int
) -> None:
    """With turns by guess, ten thousand instances were each looked at up to 32 times, and up to 98 in a long window."""
    world.window_minutes, world.limits = minutes, Limits(20, 0)
    instances = retagged(world, 100)
    looks: Counter[str] = Counter(instances)
    world.reconcile(*instances)
    while armed(world):
        waiting = ring(world)
        looks.update(waiting)
        world.reconcile(*waiting)
    assert carrying(world, instances, "db") == 100
    assert max(looks.values()) <= 3
    assert sum(looks.values()) <= 2.2 * len(instances)


def test_the_room_of_a_refused_change_comes_back_once_though_that_is_written_twice(world: FakeAccount) -> None:
    """An SDK that had no answer sends a write again; the second is refused, as the first took effect."""
    (instance,) = retagged(world, 1)

    def refuse() -> None:
        world.calls.after("TransactWriteItems", refusing("ConditionalCheckFailedException"))
        refusing("UnauthorizedOperation")()

    world.calls.before(REPLACE, refuse)
    world.calls.before(REPLACE, refusing("UnauthorizedOperation"))
    world.reconcile(instance)
    assert world.shows(instance) == "denied"
    assert window(world)["total"] == 0


def test_a_table_that_gives_no_answer_is_asked_once_for_a_change(world: FakeAccount) -> None:
    """The write may have happened: once more would take room twice, and leave a second entry as started."""
    (instance,) = fleet(world, 1)
    world.untag(instance, "workload")
    world.quiet()

    def lose_the_answer() -> None:
        raise ReadTimeoutError(endpoint_url="dynamodb")

    world.calls.after("TransactWriteItems", lose_the_answer)
    assert world.reconcile(instance).error
    assert world.calls["TransactWriteItems"] == 1
    assert window(world)["total"] == 1


# ---- how many may change without an approval ----


# An unknown fleet: the number alone; a fifth that is smaller, larger, rounded down, and of a large fleet.
@pytest.mark.parametrize(("fleet", "allowed"), [(0, 25), (120, 25), (130, 26), (134, 26), (10_000, 2_000)])
def test_the_larger_of_the_number_and_the_share_passes(fleet: int, allowed: int) -> None:
    assert Limits(25, 20).allowed(fleet) == allowed
    assert (Limits(0, 0).allowed(fleet), Limits(0, 100).allowed(fleet)) == (0, fleet)

"""How fast instances are changed: a worker's share of ChangesPerSecond, and less while EC2 throttles."""

from datetime import timedelta

import pytest

from fixtures.account import FakeAccount, refusing
from rolekeeper.aws.ec2 import BURST, SLOWED, SLOWEST, Pace
from rolekeeper.instances.reconcile import WORK
from strategies.values import NOW

ATTACH = "AssociateIamInstanceProfile"
SHARE = 0.96  # of 4.8 changes in a second, among five


def fleet(world: FakeAccount, count: int) -> list[str]:
    """Instances that are to get a role."""
    world.publish("workload=web", "web")
    made = [world.running(workload="web") for _ in range(count)]
    world.quiet()
    return made


def carrying(world: FakeAccount, instances: list[str]) -> int:
    return [world.carries(each) for each in instances].count("web")


def later(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


# ---- the bucket ----


def test_five_go_at_once_and_then_one_at_a_time() -> None:
    pace = Pace(0.5, NOW)
    for _ in range(BURST):
        assert pace.wait(1, NOW) == 0
        pace.take()
    assert pace.wait(1, NOW) == 2
    assert pace.wait(3, NOW) == 6
    assert pace.wait(100, NOW) == 10, "no longer than until a burst"
    assert pace.wait(1, NOW + later(2)) == 0
    pace.take()
    assert pace.wait(1, NOW + later(2)) == 2
    assert pace.wait(BURST, NOW + later(3600)) == 0
    assert pace.wait(1, NOW + later(3600)) == 0
    for _ in range(BURST):
        pace.take()
    assert pace.wait(1, NOW + later(3600)) == 2, "an hour of rest is worth one burst"


def test_a_clock_that_is_set_back_gives_nothing_and_takes_nothing() -> None:
    pace = Pace(1, NOW)
    for _ in range(BURST):
        pace.take()
    assert pace.wait(1, NOW - later(60)) == 1
    assert pace.wait(1, NOW - later(59)) == 0


def test_what_clocks_round_away_is_not_waited_for() -> None:
    pace = Pace(SHARE, NOW)
    for _ in range(BURST):
        pace.take()
    wait = pace.wait(1, NOW)
    assert pace.wait(1, NOW + later(wait)) == 0


def test_each_throttle_halves_the_pace_and_each_minute_without_one_doubles_it_again() -> None:
    pace = Pace(1, NOW)
    pace.throttled(NOW)
    assert pace.wait(1, NOW) == 2, "EC2's bucket is empty, so nothing goes at once"
    pace.throttled(NOW)
    assert pace.wait(1, NOW) == 4
    for _ in range(10):
        pace.throttled(NOW)
    assert pace.wait(1, NOW) == 2**SLOWEST
    over = NOW + SLOWED
    assert pace.wait(BURST, over) == pytest.approx((BURST - 60 / 2 ** (SLOWEST - 1)) * 2 ** (SLOWEST - 1))
    assert pace.wait(BURST, NOW + SLOWED * SLOWEST) == 0


# ---- a batch ----


def test_five_changes_of_a_batch_are_never_slowed(world: FakeAccount) -> None:
    world.paced(SHARE)
    instances = fleet(world, 5)
    began = world.clock.seconds
    world.reconciler().run([world.wake(each) for each in instances])
    assert world.clock.seconds == began
    assert world.mutations == [ATTACH] * 5


def test_a_batch_of_ten_is_changed_in_some_bursts_and_looked_at_before_each(world: FakeAccount) -> None:
    """What is changed was read just before, however long it waited for the pace."""
    world.paced(SHARE)
    instances = fleet(world, 10)
    began = world.clock.seconds
    outcomes = world.reconciler().run([world.wake(each) for each in instances])
    assert world.clock.seconds - began == pytest.approx(5 / SHARE, abs=0.1)
    assert world.mutations == [ATTACH] * 10
    assert 2 <= world.calls["DescribeInstances"] <= 4
    assert not any(each.error for each in outcomes.values())


def test_an_instance_that_lost_its_tag_while_it_waited_for_the_pace_gets_nothing(world: FakeAccount) -> None:
    world.paced(SHARE)
    instances = fleet(world, 6)
    world.clock.after(1, lambda: world.untag(instances[-1], "workload"))
    world.reconciler().run([world.wake(each) for each in instances])
    assert world.mutations == [ATTACH] * 5
    assert world.carries(instances[-1]) == ""


def test_the_pace_lasts_over_invocations(world: FakeAccount) -> None:
    world.paced(SHARE)
    instances = fleet(world, 10)
    began = world.clock.seconds
    for each in instances:
        world.reconciler().run([world.wake(each)])
    assert world.mutations == [ATTACH] * 10
    assert world.clock.seconds - began == pytest.approx(5 / SHARE, abs=0.1)


def test_what_changes_nothing_waits_for_no_pace(world: FakeAccount) -> None:
    world.paced(0.001)
    instances = fleet(world, 5)
    world.reconcile(*instances)
    began = world.clock.seconds
    world.reconcile(*instances)
    assert world.clock.seconds == began


def test_at_a_slow_pace_what_a_batch_has_no_time_for_is_put_off_and_no_message_fails(
    world: FakeAccount,
) -> None:
    world.paced(0.1)
    instances = fleet(world, 10)
    began = world.clock.seconds
    outcomes = world.reconciler().run([world.wake(each) for each in instances])
    assert world.clock.seconds - began <= WORK.total_seconds()
    assert not any(each.error for each in outcomes.values()), "nothing counts towards a dead letter"
    done = carrying(world, instances)
    assert done == 5 + WORK.total_seconds() * 0.1
    assert [world.shows(each) for each in instances].count("throttled") == 10 - done
    for _ in range(10):
        world.follow()
    assert carrying(world, instances) == 10
    assert not any(map(world.shows, instances))


def test_after_a_throttle_the_rest_of_the_batch_goes_on_at_half_the_pace(world: FakeAccount) -> None:
    world.paced(1)
    instances = fleet(world, 5)
    world.calls.before(ATTACH, refusing("RequestLimitExceeded", status=503))
    began = world.clock.seconds
    outcomes = world.reconciler().run([world.wake(each) for each in instances])
    assert not any(each.error for each in outcomes.values())
    assert world.clock.seconds - began == pytest.approx(4 / 0.5, abs=0.1)
    assert carrying(world, instances) == 4
    world.follow()
    assert carrying(world, instances) == 5


def test_no_change_begins_once_a_batchs_time_is_up_however_many_would_go_at_once(world: FakeAccount) -> None:
    """The batch has other targets too, which took it; what it changes is looked at in the next minutes."""
    [instance] = fleet(world, 1)
    request, ends_by = world.wake(instance), world.clock.now() - later(1)
    outcome = world.reconciler().run([request], ends_by)[request.instance]
    assert (world.shows(instance), outcome.error) == ("throttled", None)
    assert world.mutations == []
    world.later(minutes=1)
    assert world.reconcile(instance).decision
    assert carrying(world, [instance]) == 1

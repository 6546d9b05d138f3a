"""How fast instances are changed: a worker's share of ChangesPerSecond, and less while EC2 throttles."""

import math
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import batched

import pytest

from fixtures.account import HOME, FakeAccount, refusing
from rolekeeper.instances.reconcile import WORK, Batch, Pace
from rolekeeper.instances.records import Outcome
from rolekeeper.instances.requests import parse
from rolekeeper.model.instance import InstanceKey, ReconcileRequest
from rolekeeper.storage import Update, layout
from strategies.values import NOW

ATTACH = "AssociateIamInstanceProfile"
SHARE = 0.96  # of 4.8 changes in a second, among five
# A worker makes five changes at once. Each throttle halves its pace for a minute, five times at most.
BURST, HALVINGS, MINUTE = 5, 5, timedelta(minutes=1)
LONGEST_DELAY = 15 * 60  # seconds for which SQS delays a message (SQS API reference, `DelaySeconds`)
CHAIN = 16  # messages of one chain after which Lambda stops it (AWS_FACTS.md "Lambda, SQS, ...")


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


def spent(per_second: float, changes: int = BURST) -> Pace:
    """The pace of a worker that made so many changes just now."""
    pace = Pace(per_second, NOW)
    for _ in range(changes):
        assert pace.wait(1, NOW) == 0
        pace.spend()
    return pace


def beside_others(
    world: FakeAccount, *instances: str | ReconcileRequest, ends_by: datetime | None = None
) -> dict[InstanceKey, Outcome]:
    """Reconcile these in a batch that has other targets too."""
    requests = [world.wake(each) if isinstance(each, str) else each for each in instances]
    put_back = max(each.put_back for each in requests)
    return world.reconciler().run(requests, Batch(ends_by or world.clock.now() + WORK, shared=True, put_back=put_back))


# ---- the bucket ----


def test_five_go_at_once_and_then_one_at_a_time() -> None:
    pace = spent(0.5)
    assert pace.wait(1, NOW) == 2
    assert pace.wait(3, NOW) == 6
    assert pace.wait(100, NOW) == 10, "no longer than until a burst"
    assert pace.wait(1, NOW + later(2)) == 0
    pace.spend()
    assert pace.wait(1, NOW + later(2)) == 2
    assert pace.wait(BURST, NOW + later(3600)) == 0
    assert pace.wait(1, NOW + later(3600)) == 0
    for _ in range(BURST):
        pace.spend()
    assert pace.wait(1, NOW + later(3600)) == 2, "an hour of rest is worth one burst"


def test_a_clock_that_is_set_back_gives_nothing_and_takes_nothing() -> None:
    pace = spent(1)
    assert pace.wait(1, NOW - later(60)) == 1
    assert pace.wait(1, NOW - later(59)) == 0


def test_what_clocks_round_away_is_not_waited_for() -> None:
    pace = spent(SHARE)
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
    assert pace.wait(1, NOW) == 2**HALVINGS
    over = NOW + MINUTE
    assert pace.wait(BURST, over) == pytest.approx((BURST - 60 / 2 ** (HALVINGS - 1)) * 2 ** (HALVINGS - 1))
    assert pace.wait(BURST, NOW + MINUTE * HALVINGS) == 0


# ---- a batch ----


def come_back(world: FakeAccount, after: float | None = None) -> None:
    """The messages that were put back come again in one batch: with the last one, or after so many seconds."""
    bodies = [each for each in world.queue.bodies if each["detail"].get("put-back")]
    delays = [delay for _, delay in world.queue.sent]
    world.queue.sent.clear()
    world.queue.bodies.clear()
    world.clock.sleep(max(delays) if after is None else after)
    world.reconciler().run([parse(each, only=HOME, now=world.clock.now()) for each in bodies])


def test_what_a_batch_can_not_change_at_once_goes_back_to_the_queue_until_its_turn(world: FakeAccount) -> None:
    """A worker that slept for one account's pace would keep all others' messages waiting."""
    world.paced(SHARE)
    instances = fleet(world, 10)
    began = world.clock.seconds
    outcomes = beside_others(world, *instances)
    assert world.clock.seconds == began
    assert world.mutations == [ATTACH] * 5
    assert not any(each.error for each in outcomes.values())
    assert [each for each, _ in world.queue.sent] == instances[5:]
    assert [delay for _, delay in world.queue.sent] == [1] * 5, "five changes fill a second of all workers"
    assert not any(map(world.shows, instances)), "nothing is written of a change that comes back"
    come_back(world)
    assert carrying(world, instances) == 10, "what came back waits for its worker a little"
    assert world.clock.seconds - began <= 6.1, "five seconds, and one change"


def test_a_batch_of_one_target_waits_for_some_seconds_before_the_rest_goes_back(world: FakeAccount) -> None:
    """Messages that go back cost again, but another target's mustn't wait for long."""
    world.paced(SHARE)
    instances, began = fleet(world, 12), world.clock.seconds
    world.reconciler().run([world.wake(each) for each in instances])
    assert 4 < world.clock.seconds - began < 5.1
    assert carrying(world, instances) == 5 + 4
    assert len(world.queue.sent) == 3


def test_those_of_all_workers_wait_in_one_line_of_their_target(world: FakeAccount) -> None:
    instances = fleet(world, 40)
    for batch in batched(instances, 10):
        world.paced(SHARE)  # another worker's
        beside_others(world, *batch)
    assert carrying(world, instances) == 20
    delays = [delay for _, delay in world.queue.sent]
    assert delays == sorted(delays)
    assert max(delays) == math.ceil(20 / (4.8 * 1.1)), "a tenth denser than the pace"
    world.wait(600)
    world.queue.sent.clear()
    late = fleet(world, 6)
    world.paced(SHARE)
    beside_others(world, *late)
    assert [delay for _, delay in world.queue.sent] == [1], "a line that is over begins anew"


def test_of_two_who_begin_a_line_at_once_only_one_adds_the_time_since_the_last(world: FakeAccount) -> None:
    world.paced(SHARE)
    first, second = fleet(world, 6), fleet(world, 6)

    def other() -> None:
        world.paced(0.0001)
        beside_others(world, *second)

    world.calls.before("UpdateItem", other)
    beside_others(world, *first)
    assert max(delay for _, delay in world.queue.sent) <= 2


def test_a_change_whose_turn_is_further_than_a_message_waits_shows_that_and_is_a_follow_up(world: FakeAccount) -> None:
    world.paced(SHARE)
    instances = fleet(world, 6)
    line = {"ends": int((world.clock.now().timestamp() + LONGEST_DELAY) * 1000)}
    world.store.write(world.store.update(layout.line_key(HOME), Update().set(line)))
    beside_others(world, *instances)
    assert world.queue.sent == []
    condition = world.condition(instances[5])
    assert condition.code == "throttled"
    assert condition.watched_until
    assert condition.watched_until - world.clock.now() > later(LONGEST_DELAY)


def test_what_was_put_back_too_often_shows_that_it_waits(world: FakeAccount) -> None:
    world.paced(0.0001)
    instances = fleet(world, 6)
    beside_others(world, *instances)
    chain = 1
    while not world.shows(instances[5]):
        come_back(world)
        chain += 1
        assert chain < CHAIN - 1, "the first event is a message too, and its follow-up may be another"
    assert world.queue.sent == []
    assert world.shows(instances[5]) == "throttled"
    assert chain > CHAIN / 2, "it isn't given up early"


def test_a_message_that_comes_back_says_what_it_said(world: FakeAccount) -> None:
    world.paced(0.0001)
    world.reconcile(*fleet(world, 5))
    [instance] = fleet(world, 1)
    asked = replace(world.wake(instance), loop_over=True, changed_tags=frozenset({"workload"}), message_id="")
    beside_others(world, asked)
    again = parse(world.queue.bodies[-1], only=HOME, now=world.clock.now())
    assert again == replace(asked, at=again.at, put_back=1)
    assert abs(again.at - asked.at) < later(1)


def test_what_can_not_be_put_back_stays_in_the_queue(world: FakeAccount) -> None:
    world.paced(SHARE)
    instances = fleet(world, 6)
    world.calls.before("SendMessageBatch", refusing("InternalError", status=500))
    outcomes = beside_others(world, *instances)
    assert [bool(each.error) for each in outcomes.values()] == [False] * 5 + [True]


def test_a_quarantine_takes_the_next_change_that_its_worker_has(world: FakeAccount) -> None:
    world.paced(SHARE)
    world.publish("quarantine=yes", "NONE", priority=1)
    instances, isolated = fleet(world, 9), world.running(quarantine="yes")
    world.attach_by_hand(isolated, "web")
    began = world.clock.seconds
    beside_others(world, *instances, isolated)
    assert world.clock.seconds - began == pytest.approx(1 / SHARE, abs=0.1)
    world.wait(5)
    assert world.carries(isolated) == ""


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "InvalidParameterValue", "UnauthorizedOperation"])
def test_a_change_that_ec2_refuses_takes_its_share_of_the_pace_too(world: FakeAccount, code: str) -> None:
    pace = world.paced(SHARE)
    instances = fleet(world, 7)
    for _ in range(5):
        world.calls.before(ATTACH, refusing(code, status=503 if code == "RequestLimitExceeded" else 400))
    beside_others(world, *instances)
    assert world.calls[ATTACH] <= 5
    assert pace.wait(1, world.clock.now()) > 0


def test_what_the_sdk_had_to_send_again_slows_the_worker_though_ec2_then_refused_it(world: FakeAccount) -> None:
    pace = world.paced(1)
    instances = fleet(world, 5)
    world.calls.before(ATTACH, refusing("UnauthorizedOperation", status=403, retries=1))
    beside_others(world, *instances)
    assert world.calls[ATTACH] == 1
    assert pace.wait(1, world.clock.now()) == 2
    assert [each for each, _ in world.queue.sent] == instances[1:]


def test_what_the_sdk_had_to_send_again_slows_the_worker_though_it_succeeded(
    world: FakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EC2 was asked more often than the worker knows, as it throttled or failed."""
    world.paced(1)
    instances = fleet(world, 5)
    attach = world.ec2.associate_iam_instance_profile
    again = {"ResponseMetadata": {"RetryAttempts": 1}}
    monkeypatch.setattr(world.ec2, "associate_iam_instance_profile", lambda **named: {**attach(**named), **again})
    beside_others(world, *instances)
    assert world.mutations == [ATTACH]
    assert [each for each, _ in world.queue.sent] == instances[1:]


def test_after_a_throttle_the_rest_of_the_batch_goes_back_and_the_worker_goes_at_half_its_pace(
    world: FakeAccount,
) -> None:
    pace = world.paced(1)
    instances = fleet(world, 5)
    world.calls.before(ATTACH, refusing("RequestLimitExceeded", status=503))
    outcomes = beside_others(world, *instances)
    assert not any(each.error for each in outcomes.values())
    assert pace.wait(1, world.clock.now()) == 2
    assert [each for each, _ in world.queue.sent] == instances[1:]
    assert world.shows(instances[0]) == "throttled"
    world.follow()
    assert world.carries(instances[0]) == "web"


def test_no_change_begins_once_a_batchs_time_is_up_however_many_would_go_at_once(world: FakeAccount) -> None:
    """The batch has other targets too, which took it; what it changes comes back."""
    [instance] = fleet(world, 1)
    request, ends_by = world.wake(instance), world.clock.now() - later(1)
    outcome = beside_others(world, request, ends_by=ends_by)[request.instance]
    assert (outcome.error, world.mutations) == (None, [])
    come_back(world)
    assert carrying(world, [instance]) == 1

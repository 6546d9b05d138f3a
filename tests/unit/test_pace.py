"""How fast the instances of a target are changed: at ChangesPerSecond, and slower while EC2 throttles."""

import math
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import batched

import pytest

from fixtures.account import HOME, FakeAccount, refusing
from rolekeeper.instances.pace import BURST, SLOWED, SLOWER, SLOWEST, Pace
from rolekeeper.instances.reconcile import WORK, Batch
from rolekeeper.instances.records import Outcome
from rolekeeper.instances.requests import parse
from rolekeeper.model.instance import InstanceKey, ReconcileRequest
from rolekeeper.storage import Update, layout
from strategies.values import NOW

ATTACH = "AssociateIamInstanceProfile"
PER_SECOND = 0.96
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


def beside_others(
    world: FakeAccount, *instances: str | ReconcileRequest, ends_by: datetime | None = None
) -> dict[InstanceKey, Outcome]:
    """Reconcile these in a batch that has other targets too."""
    requests = [world.wake(each) if isinstance(each, str) else each for each in instances]
    put_back = max(each.put_back for each in requests)
    return world.reconciler().run(requests, Batch(ends_by or world.clock.now() + WORK, shared=True, put_back=put_back))


# ---- its moments ----


def worker(world: FakeAccount, per_second: float) -> Pace:
    """A worker that has just read the item."""
    pace = Pace(world.store, HOME, per_second)
    pace.known = {**world.store.get(pace.keys)}
    return pace


def paced(world: FakeAccount, per_second: float = PER_SECOND, *, left: int = 5) -> None:
    """The target's pace, of which another worker left so many changes that go at once."""
    world.changes_per_second = per_second
    assert goes(worker(world, per_second), world.clock.now(), BURST - left) == [0] * (BURST - left)


def crowded(world: FakeAccount) -> None:
    """Others take all that the target's pace has for half a minute."""
    world.changes_per_second = 4.8
    taken = {"taken": int((world.clock.now() + later(30)).timestamp() * 1000)}
    world.store.write(world.store.update(layout.pace_key(HOME), Update().set(taken)))


def goes(pace: Pace, now: datetime, changes: int = 1, patience: float = 0) -> list[float]:
    """After how many seconds each of these changes goes, as far as each waits."""
    gone: list[float] = []
    for left in range(changes, 0, -1):
        ready = pace.ready(left, now, now + later(patience))
        if ready > now + later(patience):
            break
        gone.append(round((ready - now).total_seconds(), 3))
        pace.spend()
    return gone


def test_a_batch_goes_at_once_after_a_rest_and_then_one_at_a_time(world: FakeAccount) -> None:
    pace = worker(world, 0.5)
    assert goes(pace, NOW, 12) == [0] * BURST
    assert pace.ready(1, NOW, NOW) == NOW + later(2), "when to look again"
    assert goes(pace, NOW, 3, patience=5) == [2, 4]
    assert goes(pace, NOW + later(3600), 12) == [0] * BURST, "an hour of rest is worth one burst"


def test_workers_of_one_target_share_its_pace_and_none_needs_another(world: FakeAccount) -> None:
    others, alone = worker(world, 2), worker(world, 2)
    assert goes(others, NOW, BURST) == [0] * BURST
    assert goes(alone, NOW, 4, patience=5) == [0.5, 1, 1.5, 2], "though it had read the item before"
    assert goes(others, NOW, 2, patience=5) == [2.5, 3]
    assert goes(Pace(world.store, replace(HOME, region="eu-west-2"), 2), NOW, 3) == [0] * 3


def test_moments_are_used_a_little_late_or_lost(world: FakeAccount) -> None:
    pace = worker(world, 1)
    goes(pace, NOW, BURST)
    pace.ready(4, NOW, NOW + later(4))
    assert goes(pace, NOW + later(6), 3) == [0, 0, 0], "that of the second after the first, and so on"
    assert goes(pace, NOW + later(60), 20) == [0] * BURST, "what is lost isn't made up for"


def test_moments_that_no_change_needed_are_others(world: FakeAccount) -> None:
    first, second = worker(world, 1), worker(world, 1)
    goes(first, NOW, BURST)
    first.ready(4, NOW, NOW + later(4))
    first.give_back()
    assert goes(worker(world, 1), NOW, 1, patience=1) == [1]
    first.ready(2, NOW, NOW + later(5))
    goes(second, NOW, 1, patience=5)
    first.known = {**world.store.get(first.keys)}
    first.give_back()
    assert goes(worker(world, 1), NOW, 1, patience=9) == [5], "others took those behind them: each goes once"


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_clock_that_is_wrong_holds_up_nobody_elses_changes(world: FakeAccount, seconds: float) -> None:
    goes(worker(world, 1), NOW + later(seconds), BURST)
    assert goes(worker(world, 1), NOW, BURST) == [0] * BURST


def test_what_clocks_round_away_is_not_waited_for(world: FakeAccount) -> None:
    pace = worker(world, 4.8)
    goes(pace, NOW, BURST)
    assert goes(pace, pace.ready(1, NOW, NOW)) == [0]


def test_each_throttle_slows_the_target_for_all_workers_and_each_half_minute_without_one_eases_it(
    world: FakeAccount,
) -> None:
    pace, step = worker(world, 1), 1 / SLOWER
    assert goes(worker(world, 1), NOW, BURST + 3, patience=3)[-1] == 3
    pace.throttled(NOW)
    assert goes(pace, NOW, patience=10) == [3 + step], "those that others took stay theirs"
    late = worker(world, 1)
    for _ in range(2):
        worker(world, 1).throttled(NOW)
    late.throttled(NOW)
    slow = (worker(world, 1).ready(1, NOW, NOW) - NOW).total_seconds()
    assert slow == pytest.approx(3 + step + step**3, abs=0.01), "one that knew less of it changes nothing"
    for _ in range(20):
        worker(world, 1).throttled(NOW)
    assert worker(world, 1).ready(1, NOW, NOW) - NOW > later(step**SLOWEST - 1)
    assert goes(worker(world, 1), NOW + later(60), 1) == [], "EC2's bucket is empty, so nothing goes at once"
    assert goes(worker(world, 1), NOW + SLOWED * SLOWEST, BURST + 1, patience=1) == [*[0] * BURST, 1]


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
    instances = fleet(world, 10)
    paced(world, 4.8)
    began = world.clock.seconds
    outcomes = beside_others(world, *instances)
    assert world.clock.seconds == began
    assert world.mutations == [ATTACH] * 5
    assert not any(each.error for each in outcomes.values())
    assert [each for each, _ in world.queue.sent] == instances[5:]
    assert [delay for _, delay in world.queue.sent] == [1] * 5, "five changes fill a second"
    assert not any(map(world.shows, instances)), "nothing is written of a change that comes back"
    come_back(world)
    assert carrying(world, instances) == 10, "what came back waits for its worker a little"
    assert world.clock.seconds - began <= 1.1


def test_a_batch_of_one_target_waits_for_some_seconds_before_the_rest_goes_back(world: FakeAccount) -> None:
    """Messages that go back cost again, but another target's mustn't wait for long."""
    instances = fleet(world, 12)
    paced(world)
    began = world.clock.seconds
    world.reconciler().run([world.wake(each) for each in instances])
    assert 4 < world.clock.seconds - began < 5.1
    assert carrying(world, instances) == 5 + 4
    assert len(world.queue.sent) == 3


def test_a_batch_takes_moments_for_what_it_changes_alone(world: FakeAccount) -> None:
    converged = fleet(world, 3)
    world.reconcile(*converged)
    world.reconcile(*fleet(world, 1), *converged)
    assert world.calls["UpdateItem"] == 1, "it has none to give back"


def test_those_of_all_workers_wait_in_one_line_of_their_target(world: FakeAccount) -> None:
    instances = fleet(world, 40)
    paced(world, left=BURST)
    for batch in batched(instances, 10):
        beside_others(world, *batch)
    assert carrying(world, instances) == BURST
    delays = [delay for _, delay in world.queue.sent]
    assert delays == sorted(delays)
    assert max(delays) == math.ceil(30 / (PER_SECOND * 2)), "twice as dense as the pace"
    world.wait(600)
    world.queue.sent.clear()
    late = fleet(world, 6)
    paced(world)
    beside_others(world, *late)
    assert [delay for _, delay in world.queue.sent] == [1], "a line that is over begins anew"


def test_of_two_who_begin_a_line_at_once_only_one_adds_the_time_since_the_last(world: FakeAccount) -> None:
    first, second = fleet(world, 6), fleet(world, 6)
    paced(world, 4.8, left=0)

    def other() -> None:
        beside_others(world, *second)

    world.calls.before("UpdateItem", other)
    beside_others(world, *first)
    assert max(delay for _, delay in world.queue.sent) <= 3


def test_a_change_whose_turn_is_further_than_a_message_waits_shows_that_and_is_a_follow_up(world: FakeAccount) -> None:
    instances = fleet(world, 6)
    paced(world)
    line = {"ends": int((world.clock.now().timestamp() + LONGEST_DELAY) * 1000)}
    world.store.write(world.store.update(layout.pace_key(HOME), Update().set(line)))
    beside_others(world, *instances)
    assert world.queue.sent == []
    condition = world.condition(instances[5])
    assert condition.code == "throttled"
    assert condition.watched_until
    assert condition.watched_until - world.clock.now() > later(LONGEST_DELAY)


def test_what_was_put_back_too_often_shows_that_it_waits(world: FakeAccount) -> None:
    instances = fleet(world, 1)
    crowded(world)
    beside_others(world, *instances)
    chain = 1
    while not world.shows(instances[0]):
        crowded(world)
        come_back(world)
        chain += 1
        assert chain < CHAIN - 1, "the first event is a message too, and its follow-up may be another"
    assert world.queue.sent == []
    assert world.shows(instances[0]) == "throttled"
    assert chain > CHAIN / 2, "it isn't given up early"


def test_a_message_that_comes_back_says_what_it_said(world: FakeAccount) -> None:
    [instance] = fleet(world, 1)
    crowded(world)
    asked = replace(world.wake(instance), loop_over=True, changed_tags=frozenset({"workload"}), message_id="")
    beside_others(world, asked)
    again = parse(world.queue.bodies[-1], only=HOME, now=world.clock.now())
    assert again == replace(asked, at=again.at, put_back=1)
    assert abs(again.at - asked.at) < later(1)


def test_what_can_not_be_put_back_stays_in_the_queue(world: FakeAccount) -> None:
    instances = fleet(world, 6)
    paced(world)
    world.calls.before("SendMessageBatch", refusing("InternalError", status=500))
    outcomes = beside_others(world, *instances)
    assert [bool(each.error) for each in outcomes.values()] == [False] * 5 + [True]


def test_a_quarantine_takes_the_next_change_that_its_worker_has(world: FakeAccount) -> None:
    world.publish("quarantine=yes", "NONE", priority=1)
    instances, isolated = fleet(world, 9), world.running(quarantine="yes")
    world.attach_by_hand(isolated, "web")
    paced(world)
    began = world.clock.seconds
    beside_others(world, *instances, isolated)
    assert world.clock.seconds - began == pytest.approx(1 / PER_SECOND, abs=0.1)
    world.wait(5)
    assert world.carries(isolated) == ""


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "InvalidParameterValue", "UnauthorizedOperation"])
def test_a_change_that_ec2_refuses_takes_its_share_of_the_pace_too(world: FakeAccount, code: str) -> None:
    instances = fleet(world, 7)
    paced(world)
    for _ in range(5):
        world.calls.before(ATTACH, refusing(code, status=503 if code == "RequestLimitExceeded" else 400))
    beside_others(world, *instances)
    assert world.calls[ATTACH] <= 5
    assert goes(worker(world, PER_SECOND), world.clock.now()) == []


def test_what_the_sdk_had_to_send_again_slows_the_target_though_ec2_then_refused_it(world: FakeAccount) -> None:
    instances = fleet(world, 5)
    paced(world, 1)
    world.calls.before(ATTACH, refusing("UnauthorizedOperation", status=403, retries=1))
    beside_others(world, *instances)
    assert world.calls[ATTACH] == 1
    assert goes(worker(world, 1), world.clock.now(), patience=2) == [pytest.approx(1 / SLOWER, abs=0.01)]
    assert [each for each, _ in world.queue.sent] == instances[1:]


def test_what_the_sdk_had_to_send_again_slows_the_target_though_it_succeeded(
    world: FakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EC2 was asked more often than the worker knows, as it throttled or failed."""
    instances = fleet(world, 5)
    paced(world, 1)
    attach = world.ec2.associate_iam_instance_profile
    again = {"ResponseMetadata": {"RetryAttempts": 1}}
    monkeypatch.setattr(world.ec2, "associate_iam_instance_profile", lambda **named: {**attach(**named), **again})
    beside_others(world, *instances)
    assert world.mutations == [ATTACH]
    assert [each for each, _ in world.queue.sent] == instances[1:]


def test_after_a_throttle_the_rest_of_the_batch_goes_back_and_the_target_goes_slower(world: FakeAccount) -> None:
    instances = fleet(world, 5)
    paced(world, 1)
    world.calls.before(ATTACH, refusing("RequestLimitExceeded", status=503))
    outcomes = beside_others(world, *instances)
    assert not any(each.error for each in outcomes.values())
    assert goes(worker(world, 1), world.clock.now(), patience=2) == [pytest.approx(1 / SLOWER, abs=0.01)]
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

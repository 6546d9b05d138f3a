"""What people write into the state table takes effect at once."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from fixtures.account import FakeAccount, refusing
from fixtures.state_table import STATE_TABLE
from rolekeeper.aws.errors import RetryableError
from rolekeeper.aws.queue import Task, Tasks, WorkQueue
from rolekeeper.fleet.expiry import AHEAD
from rolekeeper.fleet.overrides import OperatorOverrides, UnknownKeyError
from rolekeeper.model.instance import InstanceKey, Timer
from rolekeeper.model.mapping import MappingKey, Pin
from rolekeeper.storage import codec, layout
from rolekeeper.storage.state import State
from rolekeeper_cli.pins import pin_item
from strategies.values import KEY, NOW

PIN = layout.pin_key(KEY)


@dataclass(frozen=True)
class StartedTasks(Tasks):
    """Notes what was started; raises the `refusals` first."""

    client: Any = None
    function: str = ""
    started: list[Task] = field(default_factory=list)
    refusals: list[Exception] = field(default_factory=list)

    def start(self, task: Task, correlation_id: str) -> None:
        assert correlation_id == "event-1"
        if self.refusals:
            raise self.refusals.pop()
        self.started.append(task)


@dataclass(frozen=True)
class SentInstances(WorkQueue):
    """Notes what was sent."""

    client: Any = None
    url: str = ""
    now: Any = None
    sent: list[InstanceKey] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)

    def send(self, instances: Any, cause: str, correlation_id: str, *, delay_seconds: int = 0) -> int:
        assert correlation_id == "event-1"
        assert delay_seconds == 0
        self.causes.append(cause)
        self.sent.extend(instances)
        return len(self.sent)


@pytest.fixture
def tasks() -> StartedTasks:
    return StartedTasks()


@pytest.fixture
def queue() -> SentInstances:
    return SentInstances()


@pytest.fixture
def state(world: FakeAccount) -> State:
    return world.state


@pytest.fixture
def steering(world: FakeAccount, state: State, queue: SentInstances, tasks: StartedTasks) -> OperatorOverrides:
    return OperatorOverrides(state, queue, tasks, world.clock.now)


def put_pin(world: FakeAccount, **attributes: Any) -> None:
    pk, sk = PIN
    item = {"pk": pk, "sk": sk, "role": "NONE", **attributes}
    world.dynamodb.put_item(TableName=STATE_TABLE, Item=codec.to_attributes(item))


def armed(state: State) -> list[Any]:
    return list(state.timers_due(NOW + timedelta(days=9999)))


def test_the_control_item_starts_a_sweep(steering: OperatorOverrides, tasks: StartedTasks) -> None:
    steering.written(layout.CONTROL, "event-1")
    assert tasks.started == [Task.SWEEP]


def test_a_batch_starts_each_task_once(world: FakeAccount, steering: OperatorOverrides, tasks: StartedTasks) -> None:
    soon = layout.timer_key(Timer(world.clock.now() + timedelta(seconds=30), KEY))
    for key in (layout.CONTROL, soon, layout.CONTROL, soon):
        steering.written(key, "event-1")
    assert tasks.started == [Task.SWEEP, Task.EXPIRIES]


def test_a_task_that_wasnt_taken_is_started_by_the_next_record(
    steering: OperatorOverrides, tasks: StartedTasks
) -> None:
    tasks.refusals.append(RetryableError("TooManyRequestsException", "slow down"))
    with pytest.raises(RetryableError):
        steering.written(layout.CONTROL, "event-1")
    steering.written(layout.CONTROL, "event-1")
    assert tasks.started == [Task.SWEEP]


@pytest.mark.parametrize("expires_at", ["", "2026-03-01T10:30:00Z", "2026-03-01T09:00:00+00:00", "tomorrow"])
def test_a_pin_has_its_instance_looked_at_whatever_it_says(
    world: FakeAccount, steering: OperatorOverrides, queue: SentInstances, expires_at: str
) -> None:
    put_pin(world, expires_at=expires_at)
    steering.written(PIN, "event-1")
    assert queue.sent == [KEY]


def test_the_history_tells_whether_a_pin_was_written_or_removed(
    world: FakeAccount, steering: OperatorOverrides, queue: SentInstances
) -> None:
    put_pin(world, expires_at="")
    steering.written(PIN, "event-1")
    world.store.write(world.store.delete(PIN))
    steering.written(PIN, "event-1")
    assert queue.causes == ["its pin was written", "its pin was removed"]


def test_a_pin_that_expires_has_a_timer_for_it(world: FakeAccount, steering: OperatorOverrides, state: State) -> None:
    until = world.clock.now() + timedelta(hours=1)
    put_pin(world, expires_at=until.isoformat())
    steering.written(PIN, "event-1")
    steering.written(PIN, "event-1")
    assert armed(state) == [Timer(until, KEY)]


@pytest.mark.parametrize("expires_at", ["", "2026-03-01T08:59:59Z", "tomorrow", 7])
def test_one_that_doesnt_has_none(
    world: FakeAccount, steering: OperatorOverrides, state: State, expires_at: Any
) -> None:
    put_pin(world, expires_at=expires_at)
    steering.written(PIN, "event-1")
    assert armed(state) == []


def test_a_released_pin_has_its_instance_looked_at(
    steering: OperatorOverrides, queue: SentInstances, state: State
) -> None:
    steering.written(PIN, "event-1")
    assert queue.sent == [KEY]
    assert armed(state) == []


def test_an_instance_whose_record_is_damaged_is_sent_all_the_same(
    world: FakeAccount, steering: OperatorOverrides, queue: SentInstances
) -> None:
    """What is wrong there is told where it is reconciled; other pins must not wait behind it."""
    world.garble(layout.record_key(KEY))
    put_pin(world)
    steering.written(PIN, "event-1")
    assert queue.sent == [KEY]


def test_a_pin_whose_timer_cant_be_armed_comes_again(
    world: FakeAccount, steering: OperatorOverrides, queue: SentInstances, state: State
) -> None:
    put_pin(world, expires_at="2026-03-01T10:00:00Z")
    world.calls.before("PutItem", refusing("InternalServerError", status=500))
    with pytest.raises(RetryableError):
        steering.written(PIN, "event-1")
    steering.written(PIN, "event-1")
    assert (queue.sent, len(armed(state))) == ([KEY], 1)


@pytest.mark.parametrize("subject", [KEY, MappingKey("workload", "web")])
@pytest.mark.parametrize(
    ("seconds", "started"),
    [(-60, []), (1, [Task.EXPIRIES]), (AHEAD.total_seconds(), [Task.EXPIRIES]), (AHEAD.total_seconds() + 1, [])],
)
def test_a_timer_that_the_next_minute_could_miss_is_looked_at_now(
    world: FakeAccount,
    steering: OperatorOverrides,
    tasks: StartedTasks,
    subject: Any,
    seconds: float,
    started: list[Task],
) -> None:
    timer = Timer(world.clock.now() + timedelta(seconds=seconds), subject)
    steering.written(layout.timer_key(timer), "event-1")
    assert tasks.started == started


@pytest.mark.parametrize(
    "key",
    [
        ("instance#only", "pin"),
        ("mapping#8:workload#web", "pin"),
        (layout.TIMERS, "soon#instance"),
        layout.record_key(KEY),
        ("control", "mode"),
        ("", ""),
    ],
)
def test_what_steers_nothing_says_so(steering: OperatorOverrides, key: layout.Key) -> None:
    with pytest.raises(UnknownKeyError):
        steering.written(key, "event-1")


def test_a_pin_that_the_command_line_wrote_is_read_the_same(
    world: FakeAccount, steering: OperatorOverrides, state: State
) -> None:
    until = world.clock.now() + timedelta(minutes=30)
    world.store.write(world.store.put(pin_item(KEY, Pin("NONE", expires_at=until, by="somebody"))))
    steering.written(PIN, "event-1")
    assert armed(state) == [Timer(until, KEY)]

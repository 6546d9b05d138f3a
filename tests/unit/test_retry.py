"""The retry loop: its waits, its state and its start."""

import random
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.calls import Calls
from fakes.others import FakeStepFunctions
from rolekeeper.instances.retry import RetryLoop, RetryState, wait_seconds
from rolekeeper.model.instance import ReconcileRequest
from rolekeeper.storage import layout
from strategies.values import KEY, NOW

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:retry"
WAKE = ReconcileRequest(KEY, "instance pending", "correlation-1", NOW)


def state(deadline: datetime, attempt: int) -> RetryState:
    """Of a loop that was started for `WAKE`."""
    return RetryState(WAKE.instance, WAKE.cause, WAKE.correlation_id, WAKE.at, deadline, attempt)


@given(st.integers(0, 10_000), st.integers())
def test_a_wait_is_at_least_a_second_and_at_most_the_cap(attempt: int, seed: int) -> None:
    assert 1 <= wait_seconds(attempt, random.Random(seed)) <= 60


def test_waits_double_up_to_the_cap_with_full_jitter() -> None:
    rng = random.Random(7)
    for attempt, longest in enumerate([4, 8, 16, 32, 60, 60, 60]):
        waits = [wait_seconds(attempt, rng) for _ in range(2000)]
        assert max(waits) == longest
        assert min(waits) <= max(1, longest // 10)
        assert sum(waits) / len(waits) == pytest.approx(longest / 2, rel=0.1)


def test_a_start_hands_over_all_that_the_loop_needs() -> None:
    machine = FakeStepFunctions(Calls())
    deadline = RetryLoop(machine, MACHINE, 30).start(WAKE, NOW, NOW)  # type: ignore[arg-type]  # shaped like a client
    assert deadline == NOW + timedelta(minutes=30)
    (started,) = machine.started
    assert started["stateMachineArn"] == MACHINE
    given = started["input"]
    assert given["instance"] == {"account": KEY.account, "region": KEY.region, "id": KEY.id}
    assert (given["attempt"], given["outcome"]) == (0, "waiting")
    assert 1 <= given["wait_seconds"] <= 4
    assert layout.decode(RetryState, given) == state(deadline, 0)
    assert layout.decode(RetryState, given).request == WAKE


def test_every_start_has_a_name_of_its_own_that_step_functions_takes() -> None:
    machine = FakeStepFunctions(Calls())
    loop = RetryLoop(machine, MACHINE, 30)  # type: ignore[arg-type]  # shaped like a client
    for _ in range(50):
        loop.start(WAKE, NOW, NOW)
    names = {each["name"] for each in machine.started}
    assert len(names) == 50
    assert all(name.startswith(KEY.id) and len(name) <= 80 for name in names)


@pytest.mark.parametrize("spoilt", ["instance", "cause", "correlation_id", "asked_at", "deadline", "attempt"])
def test_a_state_that_no_start_made_is_refused(spoilt: str) -> None:
    document = state(NOW, 3).document("waiting", 5)
    with pytest.raises(TypeError):
        layout.decode(RetryState, {name: value for name, value in document.items() if name != spoilt})


def test_the_next_state_counts_on_and_keeps_the_rest() -> None:
    tick = state(NOW + timedelta(hours=1), 3)
    following = tick.following(NOW)
    assert following
    assert layout.decode(RetryState, following) == state(tick.deadline, 4)
    assert following["outcome"] == "waiting"


def test_no_look_is_planned_after_the_deadline() -> None:
    tick = state(NOW, 3)
    assert tick.following(NOW) is None
    assert tick.following(NOW - timedelta(seconds=60))


def test_a_loop_that_takes_over_from_another_waits_as_long_as_that_one_would_have() -> None:
    """A loop hands an instance over when it seems ready; where EC2 refuses it, the next loop goes on."""
    for seconds, attempt in [(0, 0), (3, 0), (4, 1), (9, 2), (20, 3), (40, 4)]:
        machine = FakeStepFunctions(Calls())
        RetryLoop(machine, MACHINE, 30).start(WAKE, NOW, NOW - timedelta(seconds=seconds))  # type: ignore[arg-type]  # shaped like a client
        assert machine.started[0]["input"]["attempt"] == attempt

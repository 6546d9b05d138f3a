"""Timers: they ring in order, one that is damaged hides no other, and clearing one twice is no error."""

from datetime import timedelta
from typing import Any

import pytest

from fixtures.account import FakeAccount
from rolekeeper.aws.errors import CorruptItemError
from rolekeeper.model.instance import Timer
from rolekeeper.storage import layout
from rolekeeper.storage import state as state_table
from rolekeeper.storage.state import MOST_WRITES, State
from strategies.values import KEY, NOW, key


@pytest.fixture
def state(world: FakeAccount) -> State:
    return world.state


def in_(seconds: float, subject: Any = KEY) -> Timer:
    return Timer(NOW + timedelta(seconds=seconds), subject)


def test_many_timers_are_read_in_pages_and_cleared_in_transactions(
    world: FakeAccount, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.large_pages()
    monkeypatch.setattr(state_table, "PAGE", 100)
    many = [in_(number / 10, key(f"workload=w{number}")) for number in range(2 * MOST_WRITES + 1)]
    for timer in many:
        state.arm(timer)
    world.calls.clear()
    assert list(state.timers_due(NOW + timedelta(minutes=5))) == many
    state.clear_timers(*many)
    assert world.calls.counted() == {"Query": 3, "TransactWriteItems": 2, "DeleteItem": 1}
    assert list(state.timers_due(NOW + timedelta(minutes=5))) == []


def test_a_full_last_page_ends(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_table, "PAGE", 5)
    many = [in_(number, key(f"workload=w{number}")) for number in range(5)]
    for timer in many:
        state.arm(timer)
    assert list(state.timers_due(NOW + timedelta(hours=1))) == many


@pytest.mark.parametrize(
    "garbled", [{}, {"due": "soon"}, {"due": 7}, {"due": "2026-03-01T09:00:05Z", "mapping": "web"}]
)
def test_a_timer_that_cant_be_read_hides_no_other(world: FakeAccount, state: State, garbled: dict[str, Any]) -> None:
    world.put((layout.TIMERS, f"{layout.timestamp(NOW)}#garbled"), **garbled)
    state.arm(in_(10))
    damaged, other = state.timers_due(NOW + timedelta(minutes=1))
    assert isinstance(damaged, CorruptItemError)
    assert "garbled" in str(damaged)
    assert other == in_(10)

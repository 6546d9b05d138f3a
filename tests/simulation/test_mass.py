"""A whole fleet that needs another role at once, each reconcile of it: none is lost, and no run takes more memory.

`make soak` plays 100,000; here it is the same with few.
"""

import os

import pytest

from rolekeeper.fleet import sweep
from rolekeeper.fleet.sweep import BACKLOG
from simulation.mass import PER_SECOND, Cause, retagged

INSTANCES = int(os.environ.get("ROLEKEEPER_MASS") or 1000)
FULL = 100_000
# For the sizes that the memory of runs is compared at: more than two pages, and twice as many.
FEW, MANY = 500, 1_000
# How much larger a batch may happen to be, or what a sweep sends of one page.
GROWTH = 1.6


@pytest.mark.parametrize("cause", Cause)
def test_a_whole_fleet_gets_its_role_at_the_pace_that_was_set_and_nothing_is_lost(
    cause: Cause, monkeypatch: pytest.MonkeyPatch
) -> None:
    if INSTANCES < FULL:
        # Of the full size's quarters of an hour.
        monkeypatch.setattr(sweep, "BACKLOG", BACKLOG / 15)
    played = retagged(INSTANCES, cause, sweep_minutes=15 if INSTANCES >= FULL else 1)
    print(f"{cause}: {played}")  # noqa: T201  # shown by `make soak`
    assert played.whole, played
    assert (played.attempts - played.refused, played.throttled) == (INSTANCES, 0), "each was changed once"
    assert played.waited <= played.refused <= 0.01 * INSTANCES
    # Its message and a follow-up, what the last sweep sends once more, and how often it goes back until its turn. With
    # so short a BACKLOG follow-ups alone crowd the queue, and the last sweep but one sends what its line has room for.
    assert played.messages <= 3.4 * INSTANCES
    assert 0.95 * PER_SECOND <= played.rate <= 1.05 * PER_SECOND


def test_an_instance_whose_message_is_lost_is_missed_until_a_sweep_finds_it() -> None:
    played = retagged(FEW, Cause.EDIT, sweep_minutes=0, lost=1)
    assert len(played.missing) == 1
    assert played.unexplained == played.missing
    assert not played.whole
    assert retagged(FEW, Cause.EDIT, sweep_minutes=15, lost=1).whole


def test_no_run_takes_more_memory_in_a_larger_fleet_and_no_process_keeps_more() -> None:
    few, many = (retagged(size, Cause.EDIT, sweep_minutes=1, measures=True) for size in (FEW, MANY))
    assert few.whole
    assert many.whole
    assert set(many.largest) == {"publish", "reconcile", "sweep", "expiries"}
    grown = {name: size / few.largest[name] for name, size in many.largest.items()}
    assert max(grown.values()) < GROWTH, f"{grown}: {few.largest}, {many.largest}"
    assert many.kept == few.kept

"""Many changes at once, with less of EC2's budget, at a slow pace or within a window: no dead letters, no hot item.

A whole fleet at the pace that was set is test_mass.py's.
"""

import pytest

from rolekeeper.settings import Limits
from simulation import deployment
from simulation.burst import Change, converge

PER_SECOND = 4.8


def test_replaces_beyond_their_window_wait_for_their_turn_with_little_more_than_one_write_for_the_wait() -> None:
    burst = converge(300, Change.REPLACE, limits=Limits(60, 0))
    assert burst.changed == 300
    assert burst.attempts == 300, "none is asked for twice"
    assert burst.writes_a_change <= 4.5, "one shows the wait, and about one takes the moment, or a turn in the line"
    assert burst.dead_letters == 0
    assert burst.broken == ()


def test_a_smaller_share_leaves_the_rest_to_others() -> None:
    burst = converge(200, Change.ATTACH, changes_per_second=2, others=2.9)
    assert burst.throttled == 0
    assert burst.writes_a_change <= 3.5
    assert 0.95 * 2 <= burst.rate <= 1.2 * 2


def test_however_many_workers_there_are_one_target_alone_gets_nearly_all_of_its_pace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deployment, "WORKERS", 50)
    burst = converge(1000, Change.ATTACH, changes_per_second=PER_SECOND)
    assert burst.rate >= 0.95 * PER_SECOND
    assert (burst.throttled, burst.dead_letters) == (0, 0)


def test_while_others_use_ec2s_buckets_too_few_attempts_are_throttled_and_no_message_dies() -> None:
    burst = converge(1000, Change.ATTACH, changes_per_second=PER_SECOND, others=1)
    assert burst.changed == 1000
    assert burst.rate >= 0.95 * (5 - 1), "all that they leave"
    assert burst.throttled <= 0.03 * burst.attempts
    assert burst.dead_letters == 0


def test_at_a_slow_pace_too_every_instance_gets_its_role_and_no_message_dies() -> None:
    burst = converge(60, Change.ATTACH, changes_per_second=0.5)
    assert burst.changed == 60
    assert burst.rate >= 0.95 * 0.5
    assert burst.dead_letters == 0

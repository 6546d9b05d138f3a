"""Two accounts of one hub: while one has thousands of changes waiting, the other's instances get their roles as before.

`make soak` plays 10,000 changes; here it is the same with few.
"""

import os
from statistics import mean

import pytest

from rolekeeper.model.instance import Target
from simulation.account import HUB, SPOKE
from simulation.fair_shares import waits

CHANGES = int(os.environ.get("ROLEKEEPER_FAIR_SHARES") or 1_000)
TIMES = 30 if CHANGES <= 1_000 else 300


@pytest.mark.parametrize("quiet", [HUB, SPOKE], ids=["the hub", "a spoke"])
def test_a_tag_becomes_a_role_within_twice_its_idle_time_while_another_account_has_all_its_changes_waiting(
    quiet: Target,
) -> None:
    idle, busy = (waits(changes, quiet, times=TIMES) for changes in (0, CHANGES))
    print(f"{quiet}: idle {mean(idle):.2f} s, beside {CHANGES:,} changes {mean(busy):.2f} s")  # noqa: T201  # shown by `make soak`
    assert mean(busy) <= 2 * mean(idle)
    late = [each for each in busy if each > 2 * max(idle)]
    assert len(late) <= 0.1 * TIMES, late

"""Two accounts of one hub: while one has thousands of changes waiting, the other's instances get their roles as before.

`make soak` plays 10,000 changes; here it is the same with few.
"""

import os
from statistics import mean

import pytest

from rolekeeper.model.instance import Target
from simulation.account import HUB, SPOKE
from simulation.fair_shares import overtaken

CHANGES = int(os.environ.get("ROLEKEEPER_FAIR_SHARES") or 1_000)
TIMES = 30 if CHANGES <= 1_000 else 300
# An account's changes are made 4.8 a second: so many are about as long as a role takes in an account that is alone.
A_TURN = 4


@pytest.mark.parametrize("quiet", [HUB, SPOKE], ids=["the hub", "a spoke"])
def test_a_tag_becomes_a_role_before_what_waits_in_another_account(quiet: Target) -> None:
    turns = overtaken(CHANGES, quiet, times=TIMES)
    made = [each.made for each in turns]
    print(f"{quiet}: beside {CHANGES:,} changes {mean(made):.1f} were made first")  # noqa: T201  # shown by `make soak`
    assert turns[-1].waiting > 0, "all others would have come first"
    assert mean(made) <= A_TURN, made

"""How many instances may change without anybody's approval."""

import pytest

from rolekeeper.settings import Limits


@pytest.mark.parametrize(
    ("fleet", "allowed"),
    [
        pytest.param(0, 25, id="an unknown fleet: the number alone"),
        pytest.param(120, 25, id="a fifth is 24: the number is larger"),
        pytest.param(130, 26, id="a fifth is larger"),
        pytest.param(134, 26, id="a share is rounded down"),
        pytest.param(10_000, 2_000, id="a large fleet"),
    ],
)
def test_the_larger_of_the_number_and_the_share_passes(fleet: int, allowed: int) -> None:
    assert Limits(25, 20).allowed(fleet) == allowed


def test_nothing_passes_when_nothing_may() -> None:
    assert Limits(0, 0).allowed(10_000) == 0


def test_everything_passes_at_a_hundred_per_cent() -> None:
    assert Limits(0, 100).allowed(7) == 7

"""Which of a row's reasons need no words beside it."""

import pytest

from rolekeeper_cli.uses.edits import all_is_well


@pytest.mark.parametrize("reason", ["in effect", "in effect in 2 accounts", "in effect in 1,200 accounts"])
def test_a_row_that_is_in_effect_wherever_it_is_to_be_is_well(reason: str) -> None:
    assert all_is_well(reason)


@pytest.mark.parametrize(
    "reason",
    [
        "",
        "in effect in 1 of 2 accounts; role 's3-read' doesn't exist in 111111111111",
        "in effect in 2 accounts; 333333333333 gave no answer",
        "it is disabled and governs no instance",
    ],
)
def test_any_other_reason_is_told(reason: str) -> None:
    assert not all_is_well(reason)

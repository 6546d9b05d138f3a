"""Problems as the places that show them write them."""

import pytest

from rolekeeper.model.problem import Problem


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("it is gone"), "it is gone"),
        (Problem("it is gone", "make it"), "it is gone; make it"),
        (Problem("is missing", "give one", column="role"), "role: is missing; give one"),
        (Problem("is missing", column="role"), "role: is missing"),
    ],
)
def test_a_problem_names_its_column_and_then_what_to_do(problem: Problem, text: str) -> None:
    assert str(problem) == text

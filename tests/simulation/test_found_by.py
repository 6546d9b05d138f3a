"""The map from deliberate faults to the tests that find them: by it no test goes that alone finds one."""

import ast
from collections import defaultdict
from functools import cache

import pytest

from simulation.mutants import MUTANTS, ROOT
from simulation.mutation import read_map

FOUND_BY = dict(read_map())
AGAIN = "PYTHONPATH=tests .venv/bin/python -m simulation.mutation --map writes the map again"


@cache
def _defined(file: str) -> frozenset[str]:
    path = ROOT / file
    tree = ast.parse(path.read_text()) if path.is_file() else ast.Module([], [])
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef))


def _is_there(test: str) -> bool:
    file, *names = test.split("::")
    return _defined(file).issuperset(names)


def test_the_map_has_each_mutant_that_names_tests() -> None:
    assert FOUND_BY.keys() == {mutant.name for mutant in MUTANTS if mutant.tests}, AGAIN


def test_each_mutant_is_found_by_a_test_that_is_still_there() -> None:
    lost = defaultdict(list)
    for name, tests in FOUND_BY.items():
        if not any(map(_is_there, tests)):
            lost[name] = tests
    assert lost == {}, "nothing else finds these: bring the test back, or another that finds the fault"


@pytest.mark.parametrize(
    ("test", "there"),
    [
        ("tests/simulation/test_found_by.py::test_the_map_has_each_mutant_that_names_tests", True),
        ("tests/simulation/test_found_by.py::test_gone", False),
        ("tests/gone.py::test_gone", False),
    ],
)
def test_a_test_that_is_gone_is_known(test: str, *, there: bool) -> None:
    assert _is_there(test) is there

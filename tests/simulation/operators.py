"""Which test files find random small faults, and which find none of their own: before some are deleted.

`python -m simulation.operators rolekeeper.instances.decide tests/unit/test_decide.py tests/unit/test_reconcile.py`

A fault is one operator or constant of a module changed for its opposite. Each test file runs against each fault alone.
"""

import argparse
import ast
import random
import sys
from collections.abc import Sequence
from itertools import product

from simulation.fresh import each_in_a_fresh_process, failing_tests
from simulation.mutants import ROOT, Edit, Mutant

_OPPOSITES: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq,
    ast.Lt: ast.LtE,
    ast.Gt: ast.GtE,
    ast.In: ast.NotIn,
    ast.Is: ast.IsNot,
    ast.And: ast.Or,
    ast.Add: ast.Sub,
}
OPPOSITES = {**_OPPOSITES, **{new: old for old, new in _OPPOSITES.items()}}


class _Change(ast.NodeTransformer):
    """Changes the place with this number; counts the places."""

    def __init__(self, number: int = -1) -> None:
        self.number, self.places, self.line, self._at = number, 0, 0, 0

    def visit(self, node: ast.AST) -> ast.AST:
        self._at = getattr(node, "lineno", self._at)
        if type(node) in OPPOSITES:
            return OPPOSITES[type(node)]() if self._hit() else node
        if isinstance(node, ast.Constant) and isinstance(node.value, bool) and self._hit():
            return ast.Constant(not node.value)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) and self._hit():
            return self.generic_visit(node.operand)
        return self.generic_visit(node)

    def _hit(self) -> bool:
        self.places += 1
        if self.places - 1 == self.number:
            self.line = self._at
        return self.places - 1 == self.number


def operator_mutant(place: str) -> Mutant:
    """The mutant at a place, `module:number`; its name says which line is changed."""
    module, _, number = place.rpartition(":")
    source = _source(module)
    change = _Change(int(number))
    changed = ast.unparse(change.visit(ast.parse(source)))
    line = source.splitlines()[change.line - 1].strip() if change.line else ""
    return Mutant(f"{module}:{change.line} {line}", (Edit(module, source, changed),))


def places(module: str) -> list[str]:
    """All places of a module that can be changed."""
    counting = _Change()
    counting.visit(ast.parse(_source(module)))
    return [f"{module}:{number}" for number in range(counting.places)]


def _source(module: str) -> str:
    # Nothing is imported for it: a module is changed as it is imported.
    path = f"{module.replace('.', '/')}.py"
    return next(
        at.read_text()
        for each in ("layers/rolekeeper", "functions", "cli", "verify", "local")
        if (at := ROOT / each / path).is_file()
    )


def killed_by(fault: tuple[str, str]) -> bool:
    """Whether the tests of a file fail with the fault at a place."""
    place, test_file = fault
    return bool(failing_tests(operator_mutant(place), [test_file]))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="simulation.operators", description="Which tests find random small faults.")
    parser.add_argument("module")
    parser.add_argument("tests", nargs="+")
    parser.add_argument("--sample", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    found = places(options.module)
    sample = random.Random(options.seed).sample(found, min(options.sample, len(found)))
    killed = dict.fromkeys(options.tests, 0)
    alone = dict.fromkeys(options.tests, 0)
    found_by = each_in_a_fresh_process(killed_by, list(product(sample, options.tests)), jobs=1)
    for place in sample:
        by = [each for each in options.tests if next(found_by)]
        for each in by:
            killed[each] += 1
            alone[each] += len(by) == 1
        print(f"{operator_mutant(place).name[:100]:100} {len(by)} of {len(options.tests)}", flush=True)
    print(f"\n{'of ' + str(len(sample)) + ' faults':60}{'found':>8}{'alone':>8}")
    for each in options.tests:
        print(f"{each:60}{killed[each]:>8}{alone[each]:>8}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

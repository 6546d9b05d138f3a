"""Deliberate faults that the simulation can't see, each with the tests that have to find it."""

from simulation.mutants import Edit, Mutant


def _mutant(name: str, module: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name, (Edit(module, old, new),), tests=tests)


# ---- permissions ----
PERMISSIONS: tuple[Mutant, ...] = ()


# ---- deciding ----
DECIDING: tuple[Mutant, ...] = ()


# ---- rows ----
ROWS: tuple[Mutant, ...] = ()


# ---- targets ----
TARGETS: tuple[Mutant, ...] = ()


# ---- pace ----
PACE: tuple[Mutant, ...] = ()


# ---- reads ----
READS: tuple[Mutant, ...] = ()


# ---- noise ----
NOISE: tuple[Mutant, ...] = ()


# ---- templates ----
TEMPLATES: tuple[Mutant, ...] = (
    _mutant(
        "lets the retry loop end without a word at a time-out",
        "statemachines/retry.asl.json",
        '"States.TaskFailed",\n            "States.Timeout"\n          ],\n          "ResultPath": "$.error",',
        '"States.TaskFailed"\n          ],\n          "ResultPath": "$.error",',
        "tests/unit/test_retry_machine.py",
    ),
)


# ---- command ----
COMMAND: tuple[Mutant, ...] = ()


TESTED = (
    *PERMISSIONS,
    *DECIDING,
    *ROWS,
    *TARGETS,
    *PACE,
    *READS,
    *NOISE,
    *TEMPLATES,
    *COMMAND,
)

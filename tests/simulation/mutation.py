"""Has every mutant found: `python -m simulation.mutation`, or some alone, by their names: `… mutation NAME…`.

Each mutant plays seeds until one breaks a promise, or runs the tests that it names, in a process that has imported
nothing of Rolekeeper before. Ends with `killed K of M`; exit code 1 if one survives.

`… mutation --map` writes found_by.txt: of the files of those tests all tests that find each mutant. By it a test isn't
deleted that alone finds one (test_found_by.py).
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from simulation.fresh import each_in_a_fresh_process, failing_tests
from simulation.mutants import MUTANTS, Mutant, become, named

MAP = Path(__file__).with_name("found_by.txt")
# So many seeds have to find a mutant.
SEEDS = 4000
# Seconds: a mutant's own seed finds it in two or three, until schedules play otherwise than they did.
SLOW = 15


def broken_promise(mutant: Mutant) -> str:
    """Play seeds against a mutant, in this process, until a promise is broken; empty if none is."""
    become(mutant)
    from simulation.schedule import Schedule  # noqa: PLC0415  # after it, so that it imports the mutant

    for seed in (mutant.seed, *range(SEEDS)):
        if broken := Schedule(seed).play().violations:
            return f"promise {broken[0].promise}, seed {seed}"
    return ""


def hunt(name: str) -> tuple[str, str, float]:
    """A mutant's name, what found it (empty: nothing did), and how many seconds that took."""
    began, mutant = time.monotonic(), named(name)
    if mutant.tests:
        likely = dict(read_map()).get(name, ())
        found = next((test.rpartition("/")[2] for test in failing_tests(mutant, mutant.tests, likely)), "")
    else:
        found = broken_promise(mutant)
    return name, found, time.monotonic() - began


def found_by(name: str) -> tuple[str, list[str]]:
    """Return a mutant's name, and without their parameters all tests that find it."""
    mutant = named(name)
    files = sorted({test.partition("::")[0] for test in mutant.tests})
    return name, sorted({test.partition("[")[0] for test in failing_tests(mutant, files, whole=True)})


def write_map(names: Sequence[str], jobs: int) -> None:
    known = dict(read_map())
    for name, tests in each_in_a_fresh_process(found_by, names, jobs):
        known[name] = tests
        print(f"  {name:100.100} {len(tests):4}", flush=True)
    kept = [(mutant.name, known[mutant.name]) for mutant in MUTANTS if mutant.name in known]
    MAP.write_text("".join(f"= {name}\n{''.join(f'{test}\n' for test in tests)}" for name, tests in kept))


def read_map() -> Iterator[tuple[str, list[str]]]:
    """Read which tests find each mutant."""
    for entry in MAP.read_text().split("= ")[1:]:
        name, *tests = entry.splitlines()
        yield name, tests


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulation.mutation", description="The tests find deliberate faults.")
    parser.add_argument("mutants", nargs="*", help="some mutants alone, by their names")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--map", action="store_true", help="write which tests find each mutant")
    arguments = parser.parse_args()
    names = arguments.mutants or [mutant.name for mutant in MUTANTS if mutant.tests or not arguments.map]
    if arguments.map:
        write_map(names, arguments.jobs)
        return 0
    killed = 0
    for name, found, seconds in each_in_a_fresh_process(hunt, names, arguments.jobs):
        killed += bool(found)
        what = found or "SURVIVES"
        if seconds > SLOW and found.startswith("promise"):
            what += " (slow: tests/simulation/mutants.txt names another seed)"
        print(f"  {name:52} {what:24} {seconds:5.0f} s", flush=True)
    print(f"killed {killed} of {len(names)}")
    return 0 if killed == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Has every mutant found: `python -m simulation.mutation`, or some alone, by their names: `… mutation NAME…`.

Each mutant plays seeds until one breaks a promise, or runs the tests that it names, in a process that has imported
nothing of Rolekeeper before. Ends with `killed K of M`; exit code 1 if one survives.
"""

import argparse
import os
import sys
import time

from simulation.fresh import each_in_a_fresh_process, failing_tests
from simulation.mutants import MUTANTS, Mutant, become, named

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
        found = next((test.rpartition("/")[2] for test in failing_tests(mutant, mutant.tests)), "")
    else:
        found = broken_promise(mutant)
    return name, found, time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulation.mutation", description="The tests find deliberate faults.")
    parser.add_argument("mutants", nargs="*", help="some mutants alone, by their names")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    arguments = parser.parse_args()
    names = arguments.mutants or [mutant.name for mutant in MUTANTS]
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

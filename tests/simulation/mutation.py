"""Has every mutant found: `python -m simulation.mutation`, or one alone by the simulation: `… mutation NAME`.

Each mutant runs in a process of its own, which imports the code with the mutant's edits, and plays seeds until one
breaks a promise, or runs the tests that the mutant names. Ends with `killed K of M`; exit code 1 if one survives.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from simulation.mutants import MUTANTS, ROOT, Mutant, become, named

# So many seeds have to find a mutant.
SEEDS = 4000
# Seconds: a mutant's own seed finds it in two or three, until schedules play otherwise than they did.
SLOW = 15
# A mutant that hangs is one that nobody killed.
TIMEOUT = 600


def hunt(name: str, seeds: int) -> dict[str, object]:
    """Play seeds against one mutant, in this process, until a promise is broken."""
    mutant = named(name)
    become(mutant)
    from simulation.schedule import Schedule  # noqa: PLC0415  # after it, so that it imports the mutant

    for seed in (mutant.seed, *range(seeds)):
        if broken := Schedule(seed).play().violations:
            return {"seed": seed, "promise": broken[0].promise, "says": str(broken[0])}
    return {}


def _hunted(mutant: Mutant, seeds: int) -> tuple[str, str, float]:
    """The mutant's name, what found it (empty: nothing did), and how many seconds that took."""
    began = time.monotonic()
    found = _by_tests(mutant) if mutant.tests else _by_simulation(mutant, seeds)
    return mutant.name, found, time.monotonic() - began


def _by_simulation(mutant: Mutant, seeds: int) -> str:
    command = [sys.executable, "-m", "simulation.mutation", mutant.name, "--seeds", str(seeds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"mutant {mutant.name!r} can't be hunted:\n{done.stderr}")
    found = json.loads(done.stdout)
    return f"promise {found['promise']}, seed {found['seed']}" if found else ""


def _by_tests(mutant: Mutant) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "simulation.mutant_plugin", "-x", "-q", *mutant.tests]
    environ = {**os.environ, "ROLEKEEPER_MUTANT": mutant.name}
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False, cwd=ROOT, env=environ)
    if done.returncode not in (0, 1):  # pytest: all passed, some failed; anything else is no answer
        raise RuntimeError(f"the tests of mutant {mutant.name!r} can't be run:\n{done.stdout}{done.stderr}")
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    return failed[0].rpartition("/")[2] if failed else ""


def hunt_all(seeds: int, jobs: int) -> int:
    """Hunt every mutant, and report it; returns the exit code."""
    killed = 0
    with ThreadPoolExecutor(jobs) as pool:
        for name, found, seconds in pool.map(lambda mutant: _hunted(mutant, seeds), MUTANTS):
            killed += bool(found)
            what = found or "SURVIVES"
            if seconds > SLOW and found.startswith("promise"):
                what += " (slow: tests/simulation/mutants.txt names another seed)"
            print(f"  {name:52} {what:24} {seconds:5.0f} s", flush=True)
    print(f"killed {killed} of {len(MUTANTS)}")
    return 0 if killed == len(MUTANTS) else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulation.mutation", description="The tests find deliberate faults.")
    parser.add_argument("mutant", nargs="?", help="one mutant alone, by its name")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many schedules to play against each at most")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    arguments = parser.parse_args()
    if arguments.mutant:
        print(json.dumps(hunt(arguments.mutant, arguments.seeds)))
        return 0
    return hunt_all(arguments.seeds, arguments.jobs)


if __name__ == "__main__":
    sys.exit(main())

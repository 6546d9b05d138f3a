"""Has the simulation find every mutant: `python -m simulation.mutation`, or one alone: `… mutation NAME`.

Each mutant runs in a process of its own, which imports the code with the mutant's edits and plays seeds until one
breaks a promise. Ends with `killed K of M`; exit code 1 if one survives.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from simulation.mutants import MUTANTS, become

# So many seeds have to find a mutant.
SEEDS = 4000
# Seconds: a mutant's own seed finds it in two or three, until schedules play otherwise than they did.
SLOW = 15
# A mutant that hangs is one that nobody killed.
TIMEOUT = 600


def hunt(name: str, seeds: int) -> dict[str, object]:
    """Play seeds against one mutant, in this process, until a promise is broken."""
    mutant = become(name)
    from simulation.schedule import Schedule  # noqa: PLC0415  # after it, so that it imports the mutant

    for seed in (mutant.seed, *range(seeds)):
        if broken := Schedule(seed).play().violations:
            return {"seed": seed, "promise": broken[0].promise, "says": str(broken[0])}
    return {}


def _hunted(name: str, seeds: int) -> tuple[str, dict[str, object], float]:
    began = time.monotonic()
    command = [sys.executable, "-m", "simulation.mutation", name, "--seeds", str(seeds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"mutant {name!r} can't be hunted:\n{done.stderr}")
    return name, json.loads(done.stdout), time.monotonic() - began


def hunt_all(seeds: int, jobs: int) -> int:
    """Hunt every mutant, and tell; returns the exit code."""
    killed = 0
    with ThreadPoolExecutor(jobs) as pool:
        for name, found, seconds in pool.map(lambda mutant: _hunted(mutant.name, seeds), MUTANTS):
            killed += bool(found)
            what = f"promise {found['promise']}, seed {found['seed']}" if found else f"SURVIVES {seeds} seeds"
            if seconds > SLOW:
                what += " (slow: tests/simulation/mutants.py names another seed)"
            print(f"  {name:52} {what:24} {seconds:5.0f} s", flush=True)
    print(f"killed {killed} of {len(MUTANTS)}")
    return 0 if killed == len(MUTANTS) else 1


def main() -> int:
    """Read the arguments."""
    parser = argparse.ArgumentParser(prog="simulation.mutation", description="The simulation finds deliberate faults.")
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

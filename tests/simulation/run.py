"""Many schedules side by side: what `python -m simulation` does.

Ends with one line of JSON: how many schedules were played, the broken promises, in how many schedules each fault
happened, how often each branch of `decide` was reached and each promise looked at, and how long it took. Exit code 1 if
a promise was broken, or if so many schedules should have met every fault and every branch, and looked at every promise
often enough, and didn't.
"""

import argparse
import json
import math
import multiprocessing
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from simulation import branches
from simulation.faults import Fault
from simulation.invariants import PROMISES
from simulation.schedule import Played, Schedule, play

CHUNK = 25
# From so many schedules on, each fault has to happen in this share of them.
MANY, SHARE = 5_000, 0.01
# So often has each promise to be looked at, on average over the schedules.
LOOKS = 1 / 3
# From so many on, each branch has to be reached: the rarest is in one of some thousands.
ALL = 50_000
# So many standard deviations below its share may a fault be by chance: once in 30,000 runs.
CHANCE = 4
# Stories of the first so many broken seeds are told.
TOLD = 3


@dataclass
class Total:
    """What many schedules add up to."""

    schedules: int = 0
    broken: list[Played] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=lambda: Counter({str(each): 0 for each in Fault}))
    branches: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(branches.branches().values(), 0)))
    promises: Counter[str] = field(default_factory=lambda: Counter({PROMISES[each]: 0 for each in PROMISES}))

    def add(self, played: list[Played], reached: Counter[str]) -> None:
        self.branches.update(reached)
        for each in played:
            self.schedules += 1
            self.faults.update(str(fault) for fault in each.met)
            self.promises.update({PROMISES[number]: count for number, count in each.checked.items()})
            if each.violations:
                self.broken.append(each)

    @property
    def rare(self) -> list[str]:
        """What happened too seldom to say that it was tried."""
        expected = SHARE * self.schedules
        least = expected - CHANCE * math.sqrt(expected)
        faults = [f"{name}, in {count} schedules" for name, count in self.faults.items() if count < least]
        unreached = [f"branch {name}, never" for name, count in self.branches.items() if not count]
        looks = LOOKS * self.schedules
        looked = [f"{name}, looked at {count} times" for name, count in self.promises.items() if count < looks]
        return [*faults, *looked, *(unreached if self.schedules >= ALL else ())]

    def summary(self) -> str:
        common = sum(count >= SHARE * self.schedules for count in self.faults.values())
        reached = sum(count > 0 for count in self.branches.values())
        kept = len(self.promises) - len({each.promise for played in self.broken for each in played.violations})
        return "\n".join(
            [
                f"  schedules run      {self.schedules:,}",
                (
                    f"  faults injected    {sum(self.faults.values()):,}; "
                    f"{common} of {len(self.faults)} kinds in at least {SHARE:.0%} of schedules"
                ),
                f"  branches reached   {reached} of {len(self.branches)}",
                (
                    f"  promises checked   {sum(self.promises.values()):,} times, each at least "
                    f"{min(self.promises.values()):,} times; {kept} of {len(self.promises)} kept"
                ),
            ]
        )

    def line(self, seconds: float) -> str:
        return json.dumps(
            {
                "schedules": self.schedules,
                "violations": sum(len(each.violations) for each in self.broken),
                "faults": dict(self.faults),
                "branches": dict(self.branches),
                "promises": dict(self.promises),
                "seconds": round(seconds, 1),
            }
        )


def chunk(seeds: range) -> tuple[list[Played], Counter[str]]:
    """Play some seeds; returns them with the branches that they reached."""
    reached: Counter[str] = Counter()
    with branches.counted(reached):
        return [play(seed) for seed in seeds], reached


def run(start: int, seeds: int, jobs: int) -> int:
    """Play many, and tell; returns the exit code."""
    began, total = time.monotonic(), Total()
    print(f"seeds {start} to {start + seeds - 1} (make simulate SEEDS={seeds} START={start})", flush=True)
    chunks = [range(at, min(at + CHUNK, start + seeds)) for at in range(start, start + seeds, CHUNK)]
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for done, (played, reached) in enumerate(pool.imap(chunk, chunks), 1):
            total.add(played, reached)
            if done % 40 == 0 or done == len(chunks):
                took = time.monotonic() - began
                broken = ", ".join(str(each.seed) for each in total.broken) or "none"
                print(f"{total.schedules} of {seeds} schedules in {took:.0f} s; broken: {broken}", file=sys.stderr)
    for each in total.broken[:TOLD]:
        tell(each)
    if len(total.broken) > TOLD:
        print(f"further broken seeds: {', '.join(str(each.seed) for each in total.broken[TOLD:])}")
    print(total.summary())
    missed = total.rare if seeds >= MANY else []
    for rare in missed:
        print(f"too rare: {rare}")
    print(total.line(time.monotonic() - began))
    return 1 if total.broken or missed else 0


def tell(played: Played) -> None:
    print(f"==== the story of seed {played.seed}")
    print("\n".join(played.story))
    for each in played.violations:
        print(f"seed {played.seed} breaks {each}")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="simulation", description="Plays Rolekeeper through everything that can go wrong."
    )
    parser.add_argument("--seeds", type=int, default=10_000, help="how many schedules")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--story", type=int, metavar="SEED", help="play one seed and tell its story")
    arguments = parser.parse_args()
    if arguments.story is not None:
        played = Schedule(arguments.story, tells=True).play()
        tell(played)
        return 1 if played.violations else 0
    return run(arguments.start, arguments.seeds, arguments.jobs)

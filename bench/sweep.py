"""A sweep: processor time for 1,000 instances, beside parsing the same pages; and its peak memory by size of the fleet.

The function as `sam build` ships it, with AWS on loopback in a process of its own. What starting costs is taken out;
looking at the rows again is part of it: each has a role of its own with a policy, and the account has as many others.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median

from bench.deployed import finished, function, written
from bench.programs import CHILDREN, STOCK, Bench, Program, Ran, bench
from bench.rows import Row, Target
from bench.shares import shares

ROUNDS = 3
FLEETS = (1_000, 10_000, 100_000)
# The fleet whose sweep is timed, and the rows with which it is.
SIZE = 10_000
# By the number of rows, the most that it may take of the time of the SDK's parse.
ROWS = {0: 0.5, 300: 0.8}
PARSE, FLOOR = "stock boto3's parse", "expat, ids and tags"


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """Processor time without and with rows, then memory."""
    with bench() as aws, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = function("OnSchedule", written(folder, "events", [{"id": "sweep"}]))
        programs = {"ours": ours, PARSE: _pages("stock"), FLOOR: _pages("expat")}
        for count, most in ROWS.items():
            took = a_thousand(aws, programs, folder, count, say)
            what = f"sweep, processor time for 1,000 instances, {count} rows"
            yield Row(f"{what}, to {PARSE}", took["ours"], "ms", took[PARSE], PARSE, Target(most))
            yield Row(f"{what}, to {FLOOR}", took["ours"], "ms", took[FLOOR], FLOOR)
            say(f"{count} rows, by whose code")
            for whose, share in profiled(aws, folder, count).items():
                yield Row(f"{what}, of it {whose}", 100 * share, "%")
        first = 0.0
        for size in FLEETS:
            say(f"memory at {size:,} instances")
            peak = swept(aws, ours, folder, size, max(ROWS)).peak
            first = first or peak
            flat = Target(50, "ours") if size == FLEETS[-1] else Target(1.1) if size > FLEETS[0] else None
            yield Row(f"sweep, peak memory at {size:,} instances", peak, "MB", first, f"{FLEETS[0]:,} instances", flat)


def a_thousand(
    aws: Bench, programs: Mapping[str, Program], folder: Path, count: int, say: Callable[[str], None]
) -> Mapping[str, float]:
    """Milliseconds of processor time for 1,000 instances, by program, beyond what none take; they take turns."""
    none: dict[str, list[float]] = {name: [] for name in programs}
    all_: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(ROUNDS):
        for name, program in programs.items():
            say(f"{count} rows, {name}, round {number + 1} of {ROUNDS}")
            none[name].append(swept(aws, program, folder, 0, 0).cpu)
            all_[name].append(swept(aws, program, folder, SIZE, count).cpu)
    return {name: 1_000_000 * (median(all_[name]) - median(none[name])) / SIZE for name in programs}


def profiled(aws: Bench, folder: Path, count: int) -> Mapping[str, float]:
    """Where the time of a sweep of so many rows goes."""
    dump = folder / f"sweep-{count}.profile"
    ours = function("OnSchedule", folder / "events.json", "-m", "cProfile", "-o", str(dump))
    swept(aws, ours, folder, SIZE, count)
    return shares(dump)


def swept(aws: Bench, program: Program, folder: Path, size: int, count: int) -> Ran:
    """One run of a program over a fleet with so many rows."""
    aws.begin("fleet", instances=size, rows=count, policies=True)
    return finished(aws, program, folder)


def _pages(name: str) -> Program:
    return Program(STOCK, ("-P", str(CHILDREN / f"{name}_pages.py")))

"""How long the installed command `rolekeeper` takes, as a process: over fleets, the doctor, and `--help`.

Over a fleet AWS answers on loopback, and what it takes to make its answers is in the clock's time for all alike: so the
parse of the same pages by the AWS SDK is beside it.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median

import click
import pytest

from bench.fleet import ID
from bench.programs import CHILDREN, STOCK, Bench, Program, bench, interleaved
from bench.rows import Row, Target
from fixtures.account import new_account
from fixtures.doctor import DoctorFixture
from fixtures.mappings import MappingsFixture
from fixtures.terminal import Terminal
from rolekeeper_cli.command import Group
from rolekeeper_cli.main import cli

HELP_ROUNDS, ROUNDS = 5, 3
HELP_MS = 80
FLEETS, ROWS = (300, 3_000), 300
PYTHON = Path(sys.executable)
# As for a person: what isn't compiled yet is, in the first round, which doesn't count.
COMPILES = {"PYTHONDONTWRITEBYTECODE": ""}
CLICK, PARSE = "import click", "stock boto3's parse"
OVER_A_FLEET = ("fleet", "plan")
# What looks at one instance, or at rows: the size of the fleet is nothing to it.
OVER_NONE = ("mapping ls", f"explain --no-who {ID.format(5)}")


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """Commands over each fleet, those that don't depend on it, the doctor, and the slowest help."""
    with bench() as aws:
        for size in FLEETS:
            chosen = (*OVER_A_FLEET, *OVER_NONE) if size == FLEETS[-1] else OVER_A_FLEET
            programs = {PARSE: Program(STOCK, ("-P", str(CHILDREN / "stock_pages.py")))}
            programs |= {each: typed(each) for each in chosen}
            took = clock_ms(aws, programs, ROUNDS, lambda text, size=size: say(f"{size} instances, {text}"), size)  # type: ignore[misc]  # a default binds the loop's
            for each in chosen:
                against = took[PARSE] if each in OVER_A_FLEET else None
                over = f"{size:,} instances" if against else f"{ROWS} rows"
                yield Row(
                    f"rolekeeper {each}, {over}, by the clock", took[each], "ms", against, PARSE if against else ""
                )
        say("doctor")
        yield Row("rolekeeper doctor over AWS in the process", doctor_ms(), "ms")
        helps = {CLICK: Program(PYTHON, ("-c", CLICK), COMPILES)} | {each: typed(each) for each in helped()}
        took = clock_ms(aws, helps, HELP_ROUNDS, say)
        floor = took.pop(CLICK)
        slowest = max(took, key=lambda each: took[each])
        yield Row(f"rolekeeper {slowest}, the slowest", took[slowest], "ms", floor, CLICK, Target(HELP_MS, "ours"))


def typed(words: str) -> Program:
    """The command as a person types it."""
    return Program(PYTHON, (str(PYTHON.parent / "rolekeeper"), *words.split()), COMPILES)


def helped(command: click.Command = cli, words: str = "") -> Iterator[str]:
    """Every command, groups too, as it is typed for its help."""
    yield f"{words} --help".strip()
    if isinstance(command, Group):
        for name, each in command.all().items():
            yield from helped(each, f"{words} {name}".strip())


def clock_ms(
    aws: Bench, programs: Mapping[str, Program], rounds: int, say: Callable[[str], None], size: int = 0
) -> dict[str, float]:
    """The median time of each by the clock, in milliseconds."""
    aws.begin("fleet", instances=size, rows=ROWS if size else 0)
    ran = interleaved(aws, programs, rounds, lambda: None, say)
    return {name: median(each.wall for each in runs) * 1_000 for name, runs in ran.items()}


def doctor_ms() -> float:
    """The doctor on a healthy deployment, in this process, AWS's side included."""
    times = []
    with new_account() as world, pytest.MonkeyPatch.context() as patch:
        desk = MappingsFixture(world)
        terminal = Terminal(desk, patch)
        DoctorFixture(terminal, desk, patch)
        for number in range(ROUNDS + 1):
            began = time.perf_counter()
            ran = terminal("doctor")
            if ran.exit_code:
                raise RuntimeError(f"the doctor found: {ran.output}")
            if number:
                times.append((time.perf_counter() - began) * 1_000)
    return median(times)

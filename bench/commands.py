"""How long the installed command `rolekeeper` takes, as a process: over fleets, the doctor, and `--help`.

Over a fleet AWS answers on loopback, and what it takes to make its answers is in the clock's time for all alike: so the
parse of the same pages by the AWS SDK is beside it, and the targets are for processor time. All are on a terminal.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import click
import pytest

from bench.fleet import ID, TAG
from bench.programs import CHILDREN, STOCK, Bench, Program, Ran, bench, interleaved
from bench.rows import Row, Target
from fixtures.account import MAPPING_TABLE, new_account
from fixtures.doctor import DoctorFixture
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper_cli.main import cli
from rolekeeper_cli.shell.command import Group

HELP_ROUNDS, ROUNDS = 5, 3
HELP_MS, FIRST_LINE_MS = 80, 3_000
FLEETS, ROWS = (300, 10_000), 500
# Of a plan's file: each changes the role of 20 of the instances.
EDITED = 50
PYTHON = Path(sys.executable)
# As for a person: what isn't compiled yet is, in the first round, which doesn't count.
COMPILES = {"PYTHONDONTWRITEBYTECODE": "", "TERM": "xterm"}
CLICK, PARSE, SCAN = "import click", "stock boto3's parse", "stock boto3's parse of the rows"
EXPLAIN = f"explain --no-who {ID.format(5)}"
# These are listed while they come, so of any number in the same memory.
STREAMED = ("fleet", "plan")
OVER_A_FLEET, LS = (*STREAMED, "roles"), "mapping ls"


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """Commands over each fleet, those that don't depend on it, the doctor, and the slowest help."""
    with bench() as aws:
        small, large = (over_a_fleet(aws, size, say) for size in FLEETS)
        for each in (*OVER_A_FLEET, LS):
            parse, what = SCAN if each == LS else PARSE, f"rolekeeper {each}, {FLEETS[-1]:,} instances, {ROWS} rows"
            yield Row(f"{what}, processor time", cpu(large[each]), "ms", cpu(large[parse]), parse, Target(2))
            yield Row(f"{what}, by the clock", wall(large[each]), "ms", wall(large[parse]), parse)
        for each in STREAMED:
            peaks = [max(ran.peak for ran in runs[each]) for runs in (large, small)]
            what = f"rolekeeper {each}, peak memory at {FLEETS[-1]:,} instances"
            yield Row(what, peaks[0], "MB", peaks[1], f"{FLEETS[0]} instances", Target(1.1))
        yield Row(f"rolekeeper {EXPLAIN}, {ROWS} rows, by the clock", wall(large[EXPLAIN]), "ms")
        say("plan -f")
        what = f"rolekeeper plan -f, {EDITED * FLEETS[-1] // ROWS:,} changes by {EDITED} of {ROWS} rows, its first line"
        yield Row(what, first_line_ms(aws), "ms", target=Target(FIRST_LINE_MS, "ours"))
        say("doctor")
        yield Row("rolekeeper doctor over AWS in the process", doctor_ms(), "ms")
        helps = {CLICK: Program(PYTHON, ("-c", CLICK), COMPILES)} | {each: typed(each) for each in helped()}
        aws.begin("fleet", instances=0, rows=0)
        took = {name: wall(runs) for name, runs in interleaved(aws, helps, HELP_ROUNDS, _nothing, say).items()}
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


def over_a_fleet(aws: Bench, size: int, say: Callable[[str], None]) -> dict[str, list[Ran]]:
    """The runs of the SDK's parse and of the commands, over a fleet of this size; over the small one few of them."""
    chosen = (*OVER_A_FLEET, LS, EXPLAIN) if size == FLEETS[-1] else STREAMED
    programs = {PARSE: Program(STOCK, ("-P", str(CHILDREN / "stock_pages.py")))}
    programs[SCAN] = Program(STOCK, ("-P", str(CHILDREN / "stock_rows.py"), MAPPING_TABLE))
    programs |= {each: replace(typed(each), terminal=True) for each in chosen}
    aws.begin("fleet", instances=size, rows=ROWS)
    return interleaved(aws, programs, ROUNDS, _nothing, lambda text: say(f"{size} instances, {text}"))


def cpu(runs: Iterable[Ran]) -> float:
    """The median processor time in milliseconds."""
    return median(each.cpu for each in runs) * 1_000


def wall(runs: Iterable[Ran]) -> float:
    """The same by the clock."""
    return median(each.wall for each in runs) * 1_000


def _nothing() -> None:
    """There is nothing to do before a run."""


def first_line_ms(aws: Bench) -> float:
    """When a plan of all rows, of which some give another role, shows its first line."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mappings.yaml"
        roles = [f"role-{row + (row < EDITED)}" for row in range(ROWS)]
        rows = [f"- {{tag_key: {TAG}, tag_value: app-{row}, role: {role}}}" for row, role in enumerate(roles)]
        file.write_text("\n".join(["mappings:", *rows]))
        aws.begin("fleet", instances=FLEETS[-1], rows=ROWS)
        plan = replace(typed(f"plan -f {file}"), terminal=True)
        return median(aws.run(plan).first for _ in range(ROUNDS)) * 1_000


def doctor_ms() -> float:
    """The doctor on a healthy deployment, in this process, AWS's side included."""
    times = []
    with new_account() as world, pytest.MonkeyPatch.context() as patch:
        desk = Desk(world)
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

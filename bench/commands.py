"""How long the command `rolekeeper` takes: `--help` of every command, as a person starts it, by the clock."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click

from bench.rows import Row, Target, median
from rolekeeper_cli.main import cli

ROUNDS = 5
HELP_MS = 80
COMMAND = str(Path(sys.executable).parent / "rolekeeper")
CLICK = "import click"


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """The slowest help."""
    helps = {" ".join(words[1:]): words for words in commands()}
    took = medians_ms({CLICK: [sys.executable, "-c", CLICK], **helps}, say)
    floor = took.pop(CLICK)
    slowest = max(took, key=lambda each: took[each])
    yield Row("the slowest --help, by the clock", took[slowest], "ms", floor, CLICK, Target(HELP_MS, "ours"))


def commands(command: click.Command = cli, *words: str) -> Iterator[list[str]]:
    """Every command, groups too, as a person types it for its help."""
    yield [COMMAND, *words, "--help"]
    if isinstance(command, click.Group):
        for name, each in sorted(command.commands.items()):
            yield from commands(each, *words, name)


def medians_ms(lines: Mapping[str, list[str]], say: Callable[[str], None]) -> dict[str, float]:
    """The median time of each, in milliseconds. They take turns, so that a busy moment meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in lines}
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    # The first round compiles what isn't compiled yet, and doesn't count.
    for number in range(ROUNDS + 1):
        say(f"--help, round {number} of {ROUNDS}")
        for name, line in lines.items():
            began = time.perf_counter()
            subprocess.run(line, env=env, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # our own command
            if number:
                times[name].append((time.perf_counter() - began) * 1_000)
    return {name: median(each) for name, each in times.items()}

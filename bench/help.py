"""`make bench`, second part: how long `--help` takes, of every command. Prints; asserts nothing.

Each figure is the median of whole processes, as a person starts them, with Python's compiled files in place. Times are
of this machine, and noisy; the ratios to Python's own start and to click's import, in the same rounds, are what holds.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from rolekeeper_cli.main import cli

ROUNDS = 11
LIMIT_MS = 80
COMMAND = str(Path(sys.executable).parent / "rolekeeper")
FLOORS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import click'": [sys.executable, "-c", "import click"],
}


def helps(command: click.Command = cli, *words: str) -> Iterator[tuple[str, list[str]]]:
    """Every command, groups too, with what a person types for its help."""
    yield " ".join(("rolekeeper", *words, "--help")), [COMMAND, *words, "--help"]
    if isinstance(command, click.Group):
        for name, each in sorted(command.commands.items()):
            yield from helps(each, *words, name)


def medians_ms(lines: Mapping[str, list[str]]) -> dict[str, float]:
    """The median time of each, in milliseconds. They take turns, so that a busy moment meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in lines}
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    # The first round compiles what isn't compiled yet, and doesn't count.
    for number in range(ROUNDS + 1):
        for name, line in lines.items():
            began = time.perf_counter()
            subprocess.run(line, env=env, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # our own command
            if number:
                times[name].append((time.perf_counter() - began) * 1_000)
    return {name: statistics.median(each) for name, each in times.items()}


def main() -> None:
    """Run and print."""
    console = Console()
    commands = dict(helps())
    with console.status("measuring"):
        found = medians_ms({**FLOORS, **commands})
    floor = found["python -c 'import click'"]
    table = Table("what")
    table.add_column("median", justify="right")
    table.add_column("of click's import", justify="right")
    for name, took in found.items():
        table.add_row(name, f"{took:.1f} ms", f"{took / floor:.2f}")
    console.print(table)
    slowest = max(commands, key=lambda name: found[name])
    under = sum(found[name] < LIMIT_MS for name in commands)
    console.print(f"slowest: {slowest}, {found[slowest]:.1f} ms; {under} of {len(commands)} under {LIMIT_MS} ms")


if __name__ == "__main__":
    main()

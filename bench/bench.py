"""`make bench`: measures, prints a table, and ends with one line of JSON.

`make bench ONLY=calls,sweep` runs some parts. A missed target doesn't fail the run, as times are noisy; an error in a
part does. `DOCS=1` writes docs/performance.md and its plot.
"""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Sequence

from rich.console import Console

from bench.page import write
from bench.rows import Row, missed, table

# Each part is a module, whose `rows(say)` gives its rows.
PARTS = ("calls", "decisions", "cold_start", "sweep", "fan_out", "convergence", "commands", "console", "cost")

type Say = Callable[[str], None]
"""Takes how far a part has come, for people who wait."""


def main(arguments: Sequence[str]) -> int:
    """Run and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measures Rolekeeper beside its peers.")
    parser.add_argument("--only", default="", help=f"parts, with commas between: {', '.join(PARTS)}")
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md and its plot")
    options = parser.parse_args(arguments)
    chosen = [each for each in options.only.split(",") if each] or list(PARTS)
    if unknown := sorted(set(chosen) - set(PARTS)):
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if options.docs and options.only:
        parser.error("the page shows all parts: leave out ONLY or DOCS")
    rows = [row for part in chosen for row in measured(part)]
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table(rows))
    wrong = missed(rows)
    print(f"{len(wrong)} of {sum(each.target is not None for each in rows)} targets are missed in this run")
    if options.docs:
        write(rows)
    print(json.dumps([each.document() for each in rows]))
    return 0


def measured(part: str) -> list[Row]:
    """A part's rows; how far it has come is on standard error."""
    console = Console(stderr=True)
    began = time.monotonic()
    with console.status(part) as status:
        rows = list(importlib.import_module(f"bench.{part}").rows(lambda text: status.update(f"{part}: {text}")))
    console.print(f"{part}: {len(rows)} rows in {time.monotonic() - began:.0f} s", highlight=False)
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

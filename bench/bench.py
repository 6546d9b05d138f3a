"""`make bench`: measures, prints a table, and ends with one line of JSON.

`make bench ONLY=calls,sweep` runs some parts. A missed target doesn't fail the run, as times are noisy; a part that
fails does, once the others ran. `DOCS=1` writes docs/performance.md and its plot.
"""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Sequence

from rich.console import Console

from bench.page import write
from bench.rows import Failure, Row, missed, table

# Each part is a module, whose `rows(say)` gives its rows.
PARTS = (
    "calls",
    "decisions",
    "cold_start",
    "sweep",
    "fan_out",
    "convergence",
    "organization",
    "commands",
    "console",
    "cost",
)

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
    results = [each for part in chosen for each in measured(part)]
    rows = [each for each in results if isinstance(each, Row)]
    failed = [each.part for each in results if isinstance(each, Failure)]
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table(results))
    if failed:
        unwritten = "; the page isn't written" if options.docs else ""
        print(f"{len(failed)} of {len(chosen)} parts failed: {', '.join(failed)}{unwritten}")
    print(f"{len(missed(rows))} of {sum(each.target is not None for each in rows)} targets are missed in this run")
    if options.docs and not failed:
        write(rows)
    print(json.dumps([each.document() for each in results]))
    return 1 if failed else 0


def measured(part: str) -> list[Row | Failure]:
    """A part's rows, and how it failed if it did; how far it has come is on standard error."""
    console = Console(stderr=True)
    began = time.monotonic()
    found: list[Row | Failure] = []
    with console.status(part) as status:
        try:
            found.extend(importlib.import_module(f"bench.{part}").rows(lambda text: status.update(f"{part}: {text}")))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other rows stay
            console.print_exception()
            found.append(Failure(part, f"{type(error).__name__}: {error}"))
    console.print(f"{part}: {len(found)} rows in {time.monotonic() - began:.0f} s", highlight=False)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

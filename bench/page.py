"""docs/performance.md: the table of a run, between its marks, and the plot beside it."""

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.notes import note
from bench.plot import svg
from bench.rows import HEADINGS, Row, missed

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- written by make bench DOCS=1: begin -->", "<!-- written by make bench DOCS=1: end -->"


def write(rows: Sequence[Row], folder: Path = DOCS) -> None:
    """Put a run's table into the page, and its plot beside it; what is outside the marks stays."""
    page = folder / "performance.md"
    page.write_text(filled(page.read_text(), section(rows, machine())))
    (folder / "performance.svg").write_text(svg(rows))


def filled(page: str, text: str) -> str:
    """The page with this text between its marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("docs/performance.md has lost the marks between which the table is")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def machine() -> str:
    """Where and when: what the figures depend on, and nothing that names the machine."""
    cores = len(os.sched_getaffinity(0))
    where = f"{cores} cores, {platform.machine()}, Python {platform.python_version()}"
    return f"Measured on {datetime.now(UTC):%Y-%m-%d}: {where}."


def section(rows: Sequence[Row], measured: str) -> str:
    """The run in Markdown: machine and date, the rows with a target, and what is behind each miss."""
    heads = [each or "target is" for each in HEADINGS]
    lines = [measured, "", _line(heads), _line(["---"] * len(heads))]
    lines += [_line(each.cells()) for each in rows if each.held is not None]
    wrong = missed(rows)
    held = sum(each.held is True for each in rows)
    lines += ["", f"{held} targets are held, {len(wrong)} missed."]
    if wrong:
        lines += ["", "| missed | what is behind it |", "|---|---|"]
        behind: dict[str, list[str]] = {}
        for each in wrong:
            behind.setdefault(note(each.name) or "not yet looked into", []).append(each.name)
        lines += [_line(("; ".join(names), said)) for said, names in behind.items()]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(each.replace('|', '\\|') for each in cells)} |"

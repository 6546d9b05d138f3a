"""`rolekeeper doctor`: is the deployment healthy, and what is to be fixed?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from rolekeeper.model.text import escaped
from rolekeeper_cli.doctor.view import Finding, FindingsView, FindingView, Level, LevelCountsView
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.command import command, deployment, prints
from rolekeeper_cli.shell.layout import Column, Layout

with lazily():
    from rolekeeper_cli.doctor import run
    from rolekeeper_cli.shell import tables


@prints(findings=FindingsView)
@command("doctor", "rolekeeper doctor", "rolekeeper doctor --query \"findings[?level=='fail'].[what, remedy]\"")
def doctor() -> ExitCode:
    """Check the deployment, and say what to fix.

    It looks from outside, with your permissions, and changes nothing. Exits with 1 if a check failed; warnings and
    unknowns are no failures.
    """
    there = deployment()
    _ = there.stack  # without one there is nothing to check
    return show(run.findings(there), run.CHECKS)


# ---- what checks find, drawn as they end; also for `rolekeeper verify --pre` ----

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "unknown": "cyan"}
_LAYOUT = Layout(
    (Column("level"), Column("check"), Column("what", kind="text")), colour=lambda each: _COLOURS[each.level]
)


def show(found: Iterable[Finding], names: Iterable[str]) -> ExitCode:
    """Show what every check finds, of the checks of these names; the answer is no if anything failed."""
    counts = dict.fromkeys(Level, 0)

    def counted() -> Iterator[FindingView]:
        for finding in found:
            counts[finding.level] += 1
            yield finding.view()

    least = {"level": max(map(len, Level)), "check": max(map(len, names))}
    if terminal.options().for_people:
        _draw(counted(), least)
    else:
        rows = list(counted())
        render.show(
            FindingsView(findings=rows, summary=LevelCountsView(**{level.value: counts[level] for level in counts}))
        )
    terminal.say(f"{', '.join(level.amount(count) for level, count in counts.items())}.")
    return ExitCode.NO if counts[Level.FAIL] else ExitCode.DONE


def _draw(found: Iterable[FindingView], least: Mapping[str, int]) -> None:
    """A line for each finding as it comes, and below it what to do, in one piece to be copied."""
    listing = tables.Listing(_LAYOUT, least)
    indent = " " * (sum(least.values()) + 4)
    for finding in found:
        listing.draw([finding])
        if finding.remedy:
            terminal.line(f"{indent}{escaped(finding.remedy)}")

"""`rolekeeper doctor`: is the deployment healthy, and what is to be fixed?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import rolekeeper_cli
from rolekeeper_cli import checks, render, terminal
from rolekeeper_cli.command import command, doctor_deployment
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.layout import Column, Layout
from rolekeeper_cli.render import Document


@command("doctor", "rolekeeper doctor", "rolekeeper doctor --query \"findings[?level=='fail'].[what, remedy]\"")
def doctor() -> ExitCode:
    """Check the deployment, and say what to fix.

    It looks from outside, with your permissions, and changes nothing. Exits with 1 if a check failed; warnings and
    unknowns are no failures.
    """
    return examine(doctor_deployment())


# ---- how it is shown ----


_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "unknown": "cyan"}
_COUNTED = {"ok": "ok", "warn": "warnings", "fail": "failed", "unknown": "unknown"}
_LAYOUT = Layout(
    (Column("level"), Column("check"), Column("what", kind="text")), colour=lambda each: _COLOURS[each["level"]]
)


def examine(deployment: checks.deployment.DoctorDeployment) -> ExitCode:
    """Show what every check finds; the answer is no if anything failed."""
    _ = deployment.stack  # without one there is nothing to check
    counts = dict.fromkeys(_COUNTED, 0)

    def counted(found: Iterable[checks.deployment.Finding]) -> Iterator[Document]:
        for each in found:
            counts[each.level] += 1
            yield each.document()

    render.show_with_rows("findings", counted(checks.run.findings(deployment)), lambda: {"summary": counts}, draw=_draw)
    terminal.say(f"{', '.join(f'{count:,} {_COUNTED[level]}' for level, count in counts.items())}.")
    return ExitCode.NO if counts[checks.deployment.Level.FAIL] else ExitCode.DONE


def _draw(documents: Iterable[Document]) -> None:
    """A line for each finding as it comes, and below it what to do, in one piece to be copied."""
    widest = {"level": max(checks.deployment.Level, key=len), "check": max(checks.run.CHECKS, key=len), "what": ""}
    listing = rolekeeper_cli.tables.Listing(_LAYOUT, widest)
    indent = " " * (len(widest["level"]) + len(widest["check"]) + 4)
    for each in documents:
        listing.draw([each])
        if each["remedy"]:
            terminal.line(f"{indent}{terminal.one_line(each['remedy'])}")

"""`rolekeeper doctor`: a line for each finding, and how many of them are to be fixed."""

from collections.abc import Iterable, Iterator

from rolekeeper_cli import output, render, tables
from rolekeeper_cli.doctor_deployment import DoctorDeployment
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.findings import Finding, Level
from rolekeeper_cli.render import Document
from rolekeeper_cli.views.doctor import CHECKS, findings

_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red", Level.UNKNOWN: "cyan"}
_COUNTED = {Level.FAIL: "to fix", Level.WARN: "to look at", Level.UNKNOWN: "unknown", Level.OK: "well"}


def examine(deployment: DoctorDeployment) -> ExitCode:
    """Show what every check finds; the answer is no if anything failed.

    Raises:
        ConfigurationError: there is no such stack, or AWS can't even be asked.
    """
    counts = dict.fromkeys(_COUNTED, 0)

    def counted(found: Iterable[Finding]) -> Iterator[Document]:
        for each in found:
            counts[each.level] += 1
            yield each.document()

    render.show_with_rows("findings", counted(findings(deployment)), lambda: {"summary": counts}, _draw)
    output.say(f"{', '.join(f'{count:,} {_COUNTED[level]}' for level, count in counts.items())}.")
    return ExitCode.NO if counts[Level.FAIL] else ExitCode.DONE


def _draw(documents: Iterable[Document]) -> None:
    """A line for each finding as it comes, and below it what to do."""
    widest = (max(Level, key=len), max(CHECKS, key=len), "")
    lines = tables.Lines(("level", "check", "what"), [widest], folds=(False, False, True), width=tables.room())
    for each in documents:
        lines.draw((each["level"], each["check"], each["what"]), _COLOURS[each["level"]])
        if each["remedy"]:
            lines.draw_whole(each["remedy"])

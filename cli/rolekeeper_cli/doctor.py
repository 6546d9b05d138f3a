"""`rolekeeper doctor`: a line for each finding, and how many of them are to be fixed."""

from collections.abc import Iterable, Iterator

from rolekeeper_cli import output, render
from rolekeeper_cli.doctor_deployment import DoctorDeployment
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.findings import Finding, Level
from rolekeeper_cli.render import Document
from rolekeeper_cli.tables import Column, Layout, Listing
from rolekeeper_cli.views.doctor import CHECKS, findings

_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red", Level.UNKNOWN: "cyan"}
_COUNTED = {Level.FAIL: "to fix", Level.WARN: "to look at", Level.UNKNOWN: "unknown", Level.OK: "well"}
_LAYOUT = Layout(
    (Column("level"), Column("check"), Column("what", folds=True)), colour=lambda each: _COLOURS[each["level"]]
)


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

    render.show_with_rows("findings", counted(findings(deployment)), lambda: {"summary": counts}, draw=_draw)
    output.say(f"{', '.join(f'{count:,} {_COUNTED[level]}' for level, count in counts.items())}.")
    return ExitCode.NO if counts[Level.FAIL] else ExitCode.DONE


def _draw(documents: Iterable[Document]) -> None:
    """A line for each finding as it comes, and below it what to do, in one piece to be copied."""
    widest = {"level": max(Level, key=len), "check": max(CHECKS, key=len), "what": ""}
    listing, indent = Listing(_LAYOUT, widest), " " * (len(widest["level"]) + len(widest["check"]) + 4)
    for each in documents:
        listing.draw([each])
        if each["remedy"]:
            output.line(f"{indent}{output.one_line(each['remedy'])}")

"""`rolekeeper doctor`: is the deployment healthy, and what is to be fixed?"""

from collections.abc import Iterable, Iterator

from rolekeeper_cli import render, terminal
from rolekeeper_cli.checks.deployment import DoctorDeployment, Finding, Level
from rolekeeper_cli.checks.run import CHECKS, findings
from rolekeeper_cli.command import command
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.render import Column, Document, Layout, Listing


@command("doctor", "rolekeeper doctor", "rolekeeper doctor --query \"findings[?level=='fail'].[what, remedy]\"")
def doctor() -> ExitCode:
    """Check the deployment, and say what to fix.

    It looks from outside, with your permissions, and changes nothing. Exits with 1 when a check failed; a warning is no
    failure, nor is what can't be seen.
    """
    from rolekeeper_cli.command import doctor_deployment

    return examine(doctor_deployment())


# ---- how it is shown ----


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
    terminal.say(f"{', '.join(f'{count:,} {_COUNTED[level]}' for level, count in counts.items())}.")
    return ExitCode.NO if counts[Level.FAIL] else ExitCode.DONE


def _draw(documents: Iterable[Document]) -> None:
    """A line for each finding as it comes, and below it what to do, in one piece to be copied."""
    widest = {"level": max(Level, key=len), "check": max(CHECKS, key=len), "what": ""}
    listing, indent = Listing(_LAYOUT, widest), " " * (len(widest["level"]) + len(widest["check"]) + 4)
    for each in documents:
        listing.draw([each])
        if each["remedy"]:
            terminal.line(f"{indent}{terminal.one_line(each['remedy'])}")

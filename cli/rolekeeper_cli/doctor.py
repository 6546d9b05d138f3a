"""The doctor: looks at a deployment from outside, check by check, and says what to fix."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper_cli import output, render, tables
from rolekeeper_cli.checks import caller, guards, mappings, queues, roles, stack
from rolekeeper_cli.doctor_deployment import DoctorDeployment
from rolekeeper_cli.errors import CommandError, ExitCode, explained
from rolekeeper_cli.findings import Finding, Findings, Level, unknown
from rolekeeper_cli.render import Document

type Check = Callable[[DoctorDeployment], Findings]

CHECKS: Mapping[str, Check] = {
    "stack": stack.stack,
    "rules": stack.rules,
    "functions": stack.functions,
    "sources": stack.sources,
    "mode": mappings.mode,
    "sweep": mappings.sweep,
    "alarms": stack.alarms,
    "subscribers": stack.subscribers,
    "work-queue": queues.work,
    "dead-letters": queues.dead_letters,
    "mappings": mappings.rows,
    "roles": roles.roles,
    "profiles": roles.profiles,
    "caller": caller.caller,
    "trail": guards.trail,
    "tags": guards.tags,
}
_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red", Level.UNKNOWN: "cyan"}
_COUNTED = {Level.FAIL: "to fix", Level.WARN: "to look at", Level.UNKNOWN: "unknown", Level.OK: "well"}


def examine(deployment: DoctorDeployment) -> ExitCode:
    """Run every check and show what it finds; the answer is no if anything failed.

    Raises:
        ConfigurationError: there is no such stack, or AWS can't even be asked.
    """
    _ = deployment.stack
    counts = dict.fromkeys(_COUNTED, 0)

    def documents() -> Iterator[Document]:
        with deployment.progress(len(CHECKS), "checks") as progress:
            for name, check in progress.over(CHECKS.items()):
                found = run(name, check, deployment)
                progress.hide()
                for each in found:
                    counts[each.level] += 1
                    yield each.document()

    render.show_with_rows("findings", documents(), lambda: {"summary": counts}, _draw)
    output.say(f"{', '.join(f'{count:,} {_COUNTED[level]}' for level, count in counts.items())}.")
    return ExitCode.NO if counts[Level.FAIL] else ExitCode.DONE


def run(name: str, check: Check, deployment: DoctorDeployment) -> list[Finding]:
    """What one check finds. What AWS refuses it isn't known, and keeps no other check from being made."""
    found: list[Finding] = []
    steps = check(deployment)
    try:
        while True:
            found.append(next(steps))
    except StopIteration as end:
        if not found:
            found.append(Finding(Level.OK, end.value))
    except (AwsRefusalError, CommandError) as error:
        told = error if isinstance(error, CommandError) else explained(error)
        assert told is not None  # it is AWS's refusal
        found.append(unknown(told.what, told.remedy))
    return [replace(each, check=name) for each in found]


def _draw(documents: Iterable[Document]) -> None:
    """A line for each finding as it comes, and below it what to do."""
    widest = (max(Level, key=len), max(CHECKS, key=len), "")
    lines = tables.Lines(("level", "check", "what"), [widest], folds=(False, False, True), width=tables.room())
    for each in documents:
        lines.draw((each["level"], each["check"], each["what"]), _COLOURS[each["level"]])
        if each["remedy"]:
            lines.draw_whole(each["remedy"])

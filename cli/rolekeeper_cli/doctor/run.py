"""Runs the checks of a deployment, one by one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import entry_points
from typing import Any, Self

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import refusal
from rolekeeper_cli.doctor import caller, guards, roles, stack, work
from rolekeeper_cli.doctor.view import Finding, Findings, Level, unknown
from rolekeeper_cli.errors import CommandError

type Check = Callable[[Deployment], Findings]

CHECKS: Mapping[str, Check] = {
    "stack": stack.stack,
    "rules": stack.rules,
    "functions": stack.functions,
    "concurrency": stack.concurrency,
    "sources": stack.sources,
    "mode": work.mode,
    "sweep": work.sweep,
    "targets": work.targets,
    "coverage": work.coverage,
    "alarms": stack.alarms,
    "subscribers": stack.subscribers,
    "work-queue": work.work,
    "dead-letters": work.dead_letters,
    "mappings": work.rows,
    "roles": roles.roles,
    "profiles": roles.profiles,
    "caller": caller.caller,
    "trail": guards.trail,
    "tags": guards.tags,
    # Those of packages beside the command: `pyproject.toml` names them.
    **{each.name: each.load() for each in entry_points(group="rolekeeper.checks")},
}


def findings(deployment: Deployment, checks: Mapping[str, Check] = CHECKS) -> Iterator[Finding]:
    """Run every check; what each one finds comes as soon as it has ended."""
    with deployment.progress(len(checks), "checks") as progress:
        for name, check in progress.over(checks.items()):
            found = run(name, check, deployment)
            progress.hide()
            yield from found


def run(name: str, check: Check, deployment: Deployment) -> list[Finding]:
    """What one check finds. If AWS refuses it a call, that is an unknown, and the other checks still run."""
    found: list[Finding] = []
    steps = check(deployment)
    try:
        while True:
            found.append(next(steps))
    except StopIteration as end:
        if not found:
            found.append(Finding(Level.OK, end.value))
    except (AwsRefusalError, CommandError) as error:
        shown = error if isinstance(error, CommandError) else refusal(error)
        found.append(unknown(shown.what, shown.remedy))
    return [replace(each, check=name) for each in found]


# As CloudWatch says it, in the order of what to look at.
_ORDER = ("ALARM", "INSUFFICIENT_DATA", "OK")


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm that is there: its state, since when and why, what it means, and the runbook's section."""

    name: str
    state: str
    since: datetime | None
    reason: str
    means: str
    runbook: str

    @classmethod
    def read(cls, alarm: Any, runbook: str) -> Self:
        return cls(
            name=alarm["AlarmName"],
            state=alarm["StateValue"],
            since=alarm.get("StateUpdatedTimestamp"),
            reason=alarm.get("StateReason", ""),
            # The template's description for a mail ends with the section (a test of the template compares them).
            means=str(alarm.get("AlarmDescription", "")).removesuffix(f" Runbook: {runbook}"),
            runbook=runbook,
        )


def alarms(deployment: Deployment) -> list[Alarm]:
    found = [Alarm.read(each, deployment.runbook(each["AlarmName"])) for each in deployment.alarms.values()]
    return sorted(found, key=lambda each: (_ORDER.index(each.state), each.name))

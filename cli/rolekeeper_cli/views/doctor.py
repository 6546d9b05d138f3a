"""What is found of a deployment from outside, check by check, and what there is to fix."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper_cli.checks import caller, guards, mappings, queues, roles, stack, targets
from rolekeeper_cli.doctor_deployment import DoctorDeployment
from rolekeeper_cli.errors import CommandError, explained
from rolekeeper_cli.findings import Finding, Findings, Level, unknown

type Check = Callable[[DoctorDeployment], Findings]

CHECKS: Mapping[str, Check] = {
    "stack": stack.stack,
    "rules": stack.rules,
    "functions": stack.functions,
    "sources": stack.sources,
    "mode": mappings.mode,
    "sweep": mappings.sweep,
    "targets": targets.targets,
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


def findings(deployment: DoctorDeployment) -> Iterator[Finding]:
    """Run every check; what each one finds comes as soon as it has ended.

    Raises:
        ConfigurationError: there is no such stack, or AWS can't even be asked.
    """
    _ = deployment.stack
    return _findings(deployment)


def _findings(deployment: DoctorDeployment) -> Iterator[Finding]:
    with deployment.progress(len(CHECKS), "checks") as progress:
        for name, check in progress.over(CHECKS.items()):
            found = run(name, check, deployment)
            progress.hide()
            yield from found


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

"""The accounts and Regions that a hub looks after: whether it can, when it last did, and their spokes' versions."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rolekeeper.model.problem import Kind, Remedy, advice, typed
from rolekeeper_cli.checks.deployment import DoctorDeployment, Finding, Findings, Level, fail, warn
from rolekeeper_cli.uses import targets as views
from rolekeeper_cli.uses.targets import OVERDUE, PROBLEM, UNKNOWN

# This many are shown one by one, those that matter most first.
_SHOWN = 10


def targets(deployment: DoctorDeployment) -> Findings:
    """Which of them need a person."""
    if not deployment.settings.organization:
        return "the deployment looks after its own account and Region only"
    found = views.documents(deployment)
    bad = sorted(_bad(deployment, found), key=lambda each: each.level is not Level.FAIL)
    yield from bad[:_SHOWN]
    if left := bad[_SHOWN:]:
        yield Finding(
            left[0].level, f"{len(left):,} more about targets", advice("see them all: ", Remedy(Kind.TARGETS))
        )
    accounts = len({each["account"] for each in found})
    return f"all targets are well: {len(found):,}, in {accounts:,} {'account' if accounts == 1 else 'accounts'}"


def _bad(deployment: DoctorDeployment, found: list[dict[str, Any]]) -> Iterator[Finding]:
    interval, now = views.sweep_interval(deployment), deployment.now()
    for each in found:
        name = f"{each['account']}/{each['region']}"
        if each["state"] == PROBLEM:
            removed = "look at the role and the stack rolekeeper-spoke there; or, if the spoke was removed for good: "
            remedy = advice(removed, typed(f"rolekeeper targets forget {name}"))
            since = each["problem_since"]
            lasts = since is None or now - since > interval
            yield (fail if lasts else warn)(f"target {name}{_since(since)}: {each['reason']}", remedy)
        elif each["state"] == UNKNOWN:
            deploy = "deploy a spoke there, or delete the rule there that sends events to the hub's bus"
            yield warn(f"unknown target {name}: {each['reason']}", deploy)
        elif each["state"] == OVERDUE:
            yield fail(f"target {name}: {each['reason']}", "see docs/runbook.md#sweep-overdue")
        yield from _version(each, str(found[0]["version"]), name)


def _version(target: Mapping[str, Any], hub: str, name: str) -> Iterator[Finding]:
    """A spoke of another version: neighbouring ones work together, others may not."""
    gap = target["version_gap"]
    if not gap:
        return
    upgrade = typed(f"rolekeeper spoke deploy --region {target['region']}")
    remedy = advice(f"with the credentials of account {target['account']}: ", upgrade)
    if gap > 0:
        remedy = advice("upgrade the hub: ", typed("rolekeeper upgrade"))
    what = f"target {name} has version {target['version']}, and the hub {hub}"
    if abs(gap) == 1:
        yield warn(f"{what}: neighbouring versions work together, others may not", remedy)
    else:
        yield fail(f"{what}: only neighbouring versions work together", remedy)


def _since(at: datetime | None) -> str:
    return f" since {at:%Y-%m-%d %H:%M UTC}" if at else ""

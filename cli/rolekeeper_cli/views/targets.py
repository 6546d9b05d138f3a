"""The accounts and Regions that the deployment looks after, as its registry has them: its own first."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rolekeeper.model.instance import Target
from rolekeeper.storage import layout
from rolekeeper_cli.deploying.deployed_stack import ordered
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import UsageError

# Whether a target is looked after: yes, not swept yet, not swept lately, or the hub can't do it.
WELL, NEW, OVERDUE, PROBLEM = "well", "new", "overdue", "problem"
SAME, OLDER, NEWER = "same", "older", "newer"
_PREFIX = "target#"
_PAGE = 100
_FAR = 1_000
_UNITS = {"minute": "minutes", "hour": "hours", "day": "days"}
_TARGET = re.compile(r"([0-9]{12})/([a-z]{2,5}(?:-[a-z]+)+-[0-9]{1,2})", re.ASCII)


def documents(deployment: Deployment) -> list[dict[str, Any]]:
    """Every target that the deployment knows, its own first, then by account and Region.

    Raises:
        ConfigurationError: there is no such stack.
    """
    version, silence = deployment.outputs.get("Version"), 2 * sweep_interval(deployment)
    hub = _Hub(deployment.settings.target, version, deployment.now(), silence)
    fleet = deployment.app.store.get([layout.FLEET]).get(layout.FLEET, {})
    own = {"version": hub.version, "last_sweep": fleet.get("at"), "instances": fleet.get("instances")}
    rows: dict[Target, Mapping[str, Any]] = {hub.target: own}
    for target, item in _registered(deployment):
        rows[target] = {**rows.get(target, {}), **item}
    return [hub.document(target, row) for target, row in rows.items()]


def read(text: str) -> Target:
    """A target as a person writes it: ACCOUNT/REGION.

    Raises:
        UsageError: it is none.
    """
    found = _TARGET.fullmatch(text)
    if not found:
        raise UsageError(f"{text!r} is no target", "name one as ACCOUNT/REGION, like 111111111111/eu-west-1")
    return Target(found[1], found[2])


def sweep_interval(deployment: Deployment) -> timedelta:
    """How often each target is swept. Of a schedule by the clock, half of the time after which an alarm rings."""
    parameters = deployment.stack.parameters
    found = re.fullmatch(r"rate\(([0-9]+) (minute|hour|day)s?\)", parameters.get("SweepSchedule", ""))
    if found:
        return timedelta(**{_UNITS[found[2]]: int(found[1])})
    return timedelta(hours=int(parameters.get("SweepOverdueHours", "2"))) / 2


def _registered(deployment: Deployment) -> Iterator[tuple[Target, Mapping[str, Any]]]:
    """The registry's items."""
    after = ""
    while True:
        page = deployment.app.store.first(layout.TARGETS, f"{_PREFIX}~", _PAGE, after)
        for item in page:
            account, _, region = item["sk"].removeprefix(_PREFIX).partition("#")
            yield Target(account, region), item
        if len(page) < _PAGE:
            return
        after = page[-1]["sk"]


@dataclass(frozen=True, slots=True)
class _Hub:
    """What a target is compared with: the deployment's own one, its version, the time, and how old a sweep may be."""

    target: Target
    version: str | None
    now: datetime
    silence: timedelta

    def document(self, target: Target, row: Mapping[str, Any]) -> dict[str, Any]:
        """A target for programs."""
        state, reason = self._state(row, own=target == self.target)
        version = row.get("version")
        return {
            "account": target.account,
            "region": target.region,
            "hub": target == self.target,
            "state": state,
            "reason": reason,
            "version": version,
            "version_is": _compared(version, self.version),
            "version_gap": _gap(version, self.version),
            "since": row.get("since"),
            "last_event": row.get("last_event"),
            "last_sweep": row.get("last_sweep"),
            "instances": _number(row.get("instances")),
            "drift": _number(row.get("drift")),
            "problem_since": row.get("problem_since"),
            "unit": row.get("unit"),
        }

    def _state(self, row: Mapping[str, Any], *, own: bool) -> tuple[str, str]:
        """Whether it is looked after, and why not."""
        swept, since = row.get("last_sweep"), row.get("since")
        if problem := row.get("problem"):
            return PROBLEM, str(problem)
        # The hub's own sweep is written down when the fleet's size changes, else once a day: it has a check of its own.
        late = not own and (swept or since) is not None and self.now - _time(swept or since) > self.silence
        if swept is None:
            return (OVERDUE, "it was never swept") if late else (NEW, "its first sweep is still to come")
        return (OVERDUE, f"its last sweep was at {_time(swept):%Y-%m-%d %H:%M UTC}") if late else (WELL, "")


def _compared(version: str | None, hub: str | None) -> str | None:
    """How a target's version is beside the hub's; None where one of them isn't known."""
    if not (version and hub):
        return None
    ours, theirs = ordered(hub), ordered(version)
    return SAME if theirs == ours else OLDER if theirs < ours else NEWER


def _gap(version: str | None, hub: str | None) -> int | None:
    """How many minor versions a target is after the hub, negative before; of another major version, none is near."""
    if not (version and hub):
        return None
    (theirs, *theirs_minor), (ours, *ours_minor) = ordered(version)[:2], ordered(hub)[:2]
    return sum(theirs_minor) - sum(ours_minor) if theirs == ours else (theirs - ours) * _FAR


def _time(text: Any) -> datetime:
    return datetime.fromisoformat(str(text))


def _number(value: Any) -> int | None:
    return None if value is None else int(value)

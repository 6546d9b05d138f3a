"""The accounts and Regions that the deployment looks after, as its registry has them: its own first."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rolekeeper.fleet.targets import ServedTarget
from rolekeeper.model.instance import Target
from rolekeeper.storage import layout
from rolekeeper_cli.deploying.deployed_stack import ordered
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import UsageError

# Whether a target is looked after: yes, not swept yet, not swept lately, or the hub can't do it; or it sends events and
# has no spoke.
WELL, NEW, OVERDUE, PROBLEM, UNKNOWN = "well", "new", "overdue", "problem", "unknown"
SAME, OLDER, NEWER = "same", "older", "newer"
_FAR = 1_000
_UNITS = {"minute": "minutes", "hour": "hours", "day": "days"}
_TARGET = re.compile(r"([0-9]{12})/([a-z]{2,5}(?:-[a-z]+)+-[0-9]{1,2})", re.ASCII)


def documents(deployment: Deployment) -> list[dict[str, Any]]:
    """Every target that the deployment knows, its own first, then by account and Region, and those that are unknown.

    Raises:
        ConfigurationError: there is no such stack.
    """
    version, interval, home = deployment.outputs.get("Version"), sweep_interval(deployment), deployment.home
    hub = _Hub(home, version, deployment.now(), silence=2 * interval)
    fleet = deployment.app.store.get([layout.FLEET]).get(layout.FLEET, {})
    swept = datetime.fromisoformat(str(fleet["at"])) if "at" in fleet else None
    own = ServedTarget(home, version or "", last_sweep=swept, instances=int(fleet.get("instances", 0)))
    registry, is_hub = deployment.app.registry, bool(deployment.settings.organization)
    others, unknown = (registry.all(), registry.unknown()) if is_hub else ([], [])
    registered = {each.target for each in others}
    found = [hub.document(each) for each in (own, *others)]
    return [*found, *(hub.unknown(each) for each in unknown if each.target not in registered)]


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


@dataclass(frozen=True, slots=True)
class _Hub:
    """What a target is compared with: the deployment's own one, its version, the time, and how old a sweep may be."""

    target: Target
    version: str | None
    now: datetime
    silence: timedelta

    def document(self, served: ServedTarget) -> dict[str, Any]:
        """A target for programs."""
        own = served.target == self.target
        state, reason = self._state(served, own=own)
        version, swept = served.version or None, served.last_sweep is not None
        return {
            "account": served.target.account,
            "region": served.target.region,
            "hub": own,
            "state": state,
            "reason": reason,
            "version": version,
            "version_is": _compared(version, self.version),
            "version_gap": _gap(version, self.version),
            "since": served.since,
            "last_event": served.last_event,
            "last_sweep": served.last_sweep,
            "instances": served.instances if swept else None,
            # What the hub's own sweep sends isn't written down.
            "drift": served.drift if swept and not own else None,
            "problem_since": served.problem_since,
            "unit": served.unit or None,
        }

    def unknown(self, heard: ServedTarget) -> dict[str, Any]:
        """The same of a target that isn't registered, and whose events were dropped."""
        dropped = f"{heard.dropped:,} {'event was' if heard.dropped == 1 else 'events were'} dropped"
        return {**self.document(heard), "state": UNKNOWN, "reason": f"{dropped}: {heard.problem}"}

    def _state(self, served: ServedTarget, *, own: bool) -> tuple[str, str]:
        """Whether it is looked after, and why not."""
        if served.problem:
            return PROBLEM, served.problem
        # The hub's own sweep is written down when the fleet's size changes, else once a day: it has a check of its own.
        known = served.last_sweep or served.since
        late = not own and known is not None and self.now - known > self.silence
        if served.last_sweep is None:
            return (OVERDUE, "it was never swept") if late else (NEW, "its first sweep is still to come")
        return (OVERDUE, f"its last sweep was at {served.last_sweep:%Y-%m-%d %H:%M UTC}") if late else (WELL, "")


def _compared(version: str | None, hub: str | None) -> str | None:
    """How a target's version is beside the hub's; None where one of them isn't known, or has no number."""
    ours, theirs = ordered(hub or ""), ordered(version or "")
    if not (ours and theirs):
        return None
    return SAME if theirs == ours else OLDER if theirs < ours else NEWER


def _gap(version: str | None, hub: str | None) -> int | None:
    """How many minor versions a target is after the hub, negative before; of another major version, none is near."""
    ours, theirs = ordered(hub or "")[:2], ordered(version or "")[:2]
    if not (ours and theirs):
        return None
    (major, *theirs_minor), (hubs, *ours_minor) = theirs, ours
    return sum(theirs_minor) - sum(ours_minor) if major == hubs else (major - hubs) * _FAR

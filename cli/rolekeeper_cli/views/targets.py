"""The accounts and Regions that the deployment looks after, as its registry has them: its own first."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rolekeeper.storage import layout
from rolekeeper_cli.deploying.deployed_stack import ordered
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import UsageError

# Whether a target is looked after: yes, not swept yet, not swept lately, or the hub can't do it.
WELL, NEW, OVERDUE, PROBLEM = "well", "new", "overdue", "problem"
SAME, OLDER, NEWER = "same", "older", "newer"
_PARTITION, _PREFIX = "targets", "target#"
_PAGE = 100
_UNITS = {"minute": "minutes", "hour": "hours", "day": "days"}
_TARGET = re.compile(r"([0-9]{12})/([a-z]{2}(?:-[a-z]+)+-[0-9]+)", re.ASCII)


def documents(deployment: Deployment) -> list[dict[str, Any]]:
    """Every target that the deployment knows, its own first, then by account and Region.

    Raises:
        ConfigurationError: there is no such stack.
    """
    account, region = deployment.caller.account, str(deployment.session.region_name)
    hub = _Hub((account, region), deployment.outputs.get("Version"), deployment.now(), longest_silence(deployment))
    fleet = deployment.app.store.get([layout.FLEET]).get(layout.FLEET, {})
    own = {"version": hub.version, "last_sweep": fleet.get("at"), "instances": fleet.get("instances")}
    rows: dict[tuple[str, str], Mapping[str, Any]] = {hub.key: own}
    for key, item in _registered(deployment):
        rows[key] = {**rows.get(key, {}), **item}
    return [hub.document(key, row) for key, row in rows.items()]


def organization(deployment: Deployment) -> str:
    """The organization whose accounts it looks after, by id; empty where it looks after its own target only."""
    return deployment.stack.parameters.get("OrganizationId", "")


def read(text: str) -> tuple[str, str]:
    """A target as a person writes it, ACCOUNT/REGION: its account and its Region.

    Raises:
        UsageError: it is none.
    """
    found = _TARGET.fullmatch(text)
    if not found:
        raise UsageError(f"{text!r} is no target", "name one as ACCOUNT/REGION, like 111111111111/eu-west-1")
    return found[1], found[2]


def key_of(account: str, region: str) -> layout.Key:
    """Where the registry keeps a target."""
    return _PARTITION, f"{_PREFIX}{account}#{region}"


def longest_silence(deployment: Deployment) -> timedelta:
    """How old a target's last sweep may be: two intervals. Of a schedule by the clock, the time of the hub's alarm."""
    parameters = deployment.stack.parameters
    found = re.fullmatch(r"rate\(([0-9]+) (minute|hour|day)s?\)", parameters.get("SweepSchedule", ""))
    if found:
        return 2 * timedelta(**{_UNITS[found[2]]: int(found[1])})
    return timedelta(hours=int(parameters.get("SweepOverdueHours", "2")))


def _registered(deployment: Deployment) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    """The registry's items, by account and Region."""
    after = ""
    while True:
        page = deployment.app.store.first(_PARTITION, f"{_PREFIX}~", _PAGE, after)
        for item in page:
            account, _, region = item["sk"].removeprefix(_PREFIX).partition("#")
            yield (account, region), item
        if len(page) < _PAGE:
            return
        after = page[-1]["sk"]


@dataclass(frozen=True, slots=True)
class _Hub:
    """What a target is compared with: the deployment's own one, its version, the time, and how old a sweep may be."""

    key: tuple[str, str]
    version: str | None
    now: datetime
    silence: timedelta

    def document(self, key: tuple[str, str], row: Mapping[str, Any]) -> dict[str, Any]:
        """A target for programs."""
        state, reason = self._state(row, own=key == self.key)
        version = row.get("version")
        return {
            "account": key[0],
            "region": key[1],
            "hub": key == self.key,
            "state": state,
            "reason": reason,
            "version": version,
            "version_is": _compared(version, self.version),
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


def _time(text: Any) -> datetime:
    return datetime.fromisoformat(str(text))


def _number(value: Any) -> int | None:
    return None if value is None else int(value)

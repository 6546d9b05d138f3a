"""The console as a web application: its pages, and what they share of one deployment."""

import secrets
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import inf
from threading import Lock
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.applications import Starlette
from starlette.routing import Match, Mount, Route
from starlette.staticfiles import StaticFiles

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper_cli import installed, uses
from rolekeeper_cli.checks.deployment import DoctorDeployment
from rolekeeper_cli.console.errors import HANDLERS
from rolekeeper_cli.console.fleet_cache import FleetCache
from rolekeeper_cli.console.jobs import Beside, Jobs, in_thread, soon
from rolekeeper_cli.console.page import STATIC, Notice
from rolekeeper_cli.console.pages import (
    activity,
    doctor,
    fleet,
    instance,
    instance_edits,
    launches,
    many,
    mapping_edits,
    mappings,
    roles,
    search,
    settings,
    share,
    targets,
)
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.explained import explained
from rolekeeper_cli.views.targets import TargetView

# ---- what was read, shared by all tabs ----


# What takes long to read is read for at most a fifth of the time.
_PACE = 5
# So long after its time a value will do while it is read again.
_STALE_SECONDS = 60.0


@dataclass(eq=False)
class _Entry:
    reading: Lock = field(default_factory=Lock)
    value: Any = None
    until: float = -inf
    failed: tuple[float, Exception] | None = None


class Cache:
    """Values by key or by a random id, at most so many: the oldest go. Threads may share it.

    `clock` gives seconds that only go on; `beside` runs something.
    """

    def __init__(
        self, most: int = 200, clock: Callable[[], float] = time.monotonic, beside: Beside = in_thread
    ) -> None:
        self._most, self._clock, self._beside = most, clock, beside
        self._entries: dict[Hashable, _Entry] = {}
        self._lock = Lock()

    def get[T](self, key: Hashable, read: Callable[[], T], seconds: float = inf, *, stale: bool = False) -> T:
        """The value, at most so many `seconds` old. `stale`: one of a minute ago will do, and another thread reads.

        An error of `read` is raised for all who waited for it; the next one reads again.
        """
        asked = time.monotonic()
        entry = self._entry(key)
        if stale and entry.value is not None and 0 <= self._clock() - entry.until < _STALE_SECONDS:
            if not entry.reading.locked():
                self._beside(partial(self._refresh, key, read, seconds))
            former: T | None = entry.value
            if former is not None:
                return former
        with entry.reading:
            if entry.failed and entry.failed[0] >= asked:
                raise entry.failed[1]
            if entry.value is None or self._clock() >= entry.until:
                began = self._clock()
                try:
                    entry.value = read()
                except Exception as error:
                    entry.value, entry.failed = None, (time.monotonic(), error)
                    raise
                entry.until = began + max(seconds, _PACE * (self._clock() - began))
            found: T = entry.value
            return found

    def _refresh(self, key: Hashable, read: Callable[[], object], seconds: float) -> None:
        with suppress(Exception):  # the next one who asks reads it again, and has it raised
            self.get(key, read, seconds)

    def keep(self, value: object) -> str:
        id_ = secrets.token_urlsafe(16)
        self.get(id_, lambda: value)
        return id_

    def known(self, key: Hashable) -> Any:
        """The value of a key or an id; None if there is none, or no longer."""
        with self._lock:
            return entry.value if (entry := self._entries.get(key)) else None

    def forget(self, *keys: Hashable) -> None:
        """A value was just changed: the next one who asks reads it."""
        with self._lock:
            for key in keys:
                self._entries.pop(key, None)

    def _entry(self, key: Hashable) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            while len(self._entries) > self._most:
                del self._entries[next(iter(self._entries))]
            return entry


# The caller and the stack.
_DEPLOYMENT_SECONDS = 30.0
_HERE_SECONDS = 5.0
# Tabs that show the mappings ask every two seconds.
_MAPPINGS_SECONDS = 1.5
# The functions write them down after a sweep, and an event at most once in some minutes.
_TARGETS_SECONDS = 4.0
# A role that was made a minute ago is typed.
_ROLES_SECONDS = 60.0
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Site:
    """What all pages share, as `request.app.state.site`.

    `deployment` has the session and the clients; what a page asks, it asks of `look()`. With `writes`, pages may change
    things. `clock` gives seconds that only go on; `beside` runs something. `plans` are of edits (`forms.Plan`).
    `lasting` is the origin under which the pages are found next time too; empty if there is none.
    """

    def __init__(
        self,
        deployment: DoctorDeployment,
        *,
        writes: bool = False,
        clock: Callable[[], float] = time.monotonic,
        beside: Beside = in_thread,
    ) -> None:
        self.deployment, self.writes, self.clock = deployment, writes, clock
        self.lasting = ""
        # A check that something is repaired asks for all of it.
        self.jobs = Jobs(deployment.anew, deployment.now, beside)
        self.pages = Jobs(deployment.anew, deployment.now, beside)
        self.fleet = FleetCache(self.look, clock)
        self.reads, self.plans, self.notices = Cache(clock=clock, beside=beside), Cache(), Cache()
        self.asking_who, self.changing_instances = Lock(), Lock()

    def look(self) -> DoctorDeployment:
        """The deployment as it is now; its caller and its stack as they were some seconds ago."""
        return self.deployment.anew(partial(self.reads.get, seconds=_DEPLOYMENT_SECONDS, stale=True))

    def look_at(self, instance: str) -> DoctorDeployment:
        """The same where an instance is, by id or name, as far as the fleet was read; otherwise the home target."""
        deployment, target = self.look(), self.fleet.target(instance)
        return deployment.at(target) if target else deployment

    def here(self) -> dict[str, Any]:
        """Who the console acts as, and where: the head of every page. Unknown values are empty."""
        return self.reads.get("here", lambda: _here(self.look()), _HERE_SECONDS, stale=True)

    def mappings(self) -> list[dict[str, Any]]:
        return self.reads.get("mappings", lambda: uses.mappings.rows(self.look()), _MAPPINGS_SECONDS, stale=True)

    def targets(self) -> list[TargetView]:
        return self.reads.get("targets", lambda: uses.targets.views(self.look()), _TARGETS_SECONDS, stale=True)

    def role_names(self) -> list[str]:
        """The names of the roles under the role path, for suggestions; none if IAM gives no answer."""
        try:
            return self.reads.get("roles", lambda: uses.names.path_roles(self.look()), _ROLES_SECONDS, stale=True)
        except (AwsRefusalError, CommandError):
            return []

    def say(self, notice: Notice) -> str:
        """Keep what a write did for the page that follows it, whose address ends in `?said=` and this id."""
        self.reads.forget("here", "mappings")
        self.jobs.forget()
        self.pages.forget()
        return self.notices.keep(notice)


def _here(deployment: Deployment) -> dict[str, Any]:
    """What AWS refuses stays unknown: a page that needs it says why."""
    caller = _or_none(lambda: deployment.caller)
    control = _or_none(lambda: deployment.app.state.read([], []).control)
    mode = _or_none(lambda: deployment.settings.mode)
    return {
        "stack": deployment.stack_name,
        "region": deployment.session.region_name or "",
        "endpoint": deployment.endpoint_url,
        "embedded": urlsplit(deployment.endpoint_url).hostname in _LOOPBACK,
        "caller": caller.arn if caller else "",
        "account": caller.account if caller else "",
        "mode": str(control.mode or mode or "") if control else "",
        "paused": bool(control and control.paused),
        "organization": _or_none(lambda: deployment.settings.organization) or "",
    }


def _or_none[T](ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except Exception as error:
        if not isinstance(error, CommandError) and explained(error) is None:
            raise
        return None


PAGES = (
    fleet,
    activity,
    instance,
    instance_edits,
    many,
    mappings,
    mapping_edits,
    roles,
    launches,
    doctor,
    targets,
    settings,
    search,
    share,
)


def has_page(address: str) -> bool:
    """Whether a page is opened at this path, which may have a query."""
    asked = {"type": "http", "method": "GET", "path": unquote(urlsplit(address).path)}
    return any(route.matches(asked)[0] is Match.FULL for each in PAGES for route in each.ROUTES)


def application(site: Site) -> Starlette:
    """The pages. The guard decides who may ask for them."""
    routes = [route for each in PAGES for route in each.ROUTES]
    # A page shows within a moment, even where it waits for AWS. A form's answer waits for what it does.
    pages = [Route(each.path, soon(each.endpoint)) if "GET" in (each.methods or ()) else each for each in routes]
    static = Mount(STATIC.rstrip("/"), StaticFiles(directory=installed.STATIC))
    made = Starlette(routes=[*pages, static], exception_handlers=HANDLERS)
    made.state.site = site
    return made

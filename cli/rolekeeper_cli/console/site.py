"""What all pages share: one deployment, what was read of it, and what is being done."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.model.problem import Advice
from rolekeeper_cli.checks.deployment import DoctorDeployment
from rolekeeper_cli.console.cache import Cache
from rolekeeper_cli.console.fleet_cache import FleetCache
from rolekeeper_cli.console.jobs import Jobs
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.explained import explained
from rolekeeper_cli.uses import mappings, names, targets

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


@dataclass(frozen=True, slots=True)
class Here:
    """Whom the console acts as, and where: the head of every page. What is unknown is empty."""

    stack: str
    region: str = ""
    endpoint: str = ""
    caller: str = ""
    account: str = ""
    mode: str = ""
    paused: bool = False
    organization: str = ""

    @property
    def embedded(self) -> bool:
        return urlsplit(self.endpoint).hostname in _LOOPBACK


@dataclass(frozen=True, slots=True)
class Notice:
    """What a write says on the page that follows it.

    `text` is a sentence, `lines` are details; `kind` is a box's: info, good, warn or bad.
    """

    text: str
    lines: tuple[str | Advice, ...] = ()
    kind: str = "good"


@dataclass
class Site:
    """What all pages share, as `request.app.state.site`.

    `deployment` has the session and the clients; what a page asks, it asks of `look()`. With `writes`, pages may change
    things. `time` gives seconds, that only go on. `plans` of edits are kept until they are written.
    """

    deployment: DoctorDeployment
    writes: bool = False
    time: Callable[[], float] = time.monotonic
    jobs: Jobs = field(init=False)
    fleet: FleetCache = field(init=False)
    reads: Cache = field(init=False)
    asking_who: Lock = field(init=False, default_factory=Lock)
    plans: Cache = field(init=False, default_factory=Cache)
    notices: Cache = field(init=False, default_factory=Cache)

    def __post_init__(self) -> None:
        # A check that something is repaired asks for all of it.
        self.jobs = Jobs(self.deployment.anew, self.now)
        self.fleet = FleetCache(self.look, self.time)
        self.reads = Cache(clock=self.time)

    def look(self) -> DoctorDeployment:
        """The deployment as it is now; its caller and its stack as they were some seconds ago."""
        return self.deployment.anew(partial(self.reads.get, seconds=_DEPLOYMENT_SECONDS))

    def look_at(self, instance: str) -> DoctorDeployment:
        """The same for an instance, by id or name: where it is, as far as the fleet was read; else at home."""
        there, target = self.look(), self.fleet.target(instance)
        return there.at(target) if target else there

    def now(self) -> datetime:
        return self.deployment.now()

    def here(self) -> Here:
        return self.reads.get("here", lambda: _here(self.look()), _HERE_SECONDS, stale=True)

    def mappings(self) -> list[dict[str, Any]]:
        return self.reads.get("mappings", lambda: mappings.rows(self.look()), _MAPPINGS_SECONDS)

    def targets(self) -> list[dict[str, Any]]:
        return self.reads.get("targets", lambda: targets.documents(self.look()), _TARGETS_SECONDS)

    def role_names(self) -> list[str]:
        """The names of the roles under the role path, for suggestions: where IAM gives no answer, there are none."""
        try:
            return self.reads.get("roles", lambda: names.path_roles(self.look()), _ROLES_SECONDS)
        except (AwsRefusalError, CommandError):
            return []

    def say(self, notice: Notice) -> str:
        """Keep what a write did for the page that follows it: that page's address ends in `?said=` and this id."""
        self.reads.forget("here", "mappings")
        self.jobs.forget()
        return self.notices.keep(notice)


def _here(deployment: Deployment) -> Here:
    """Ask for all of it. What AWS refuses stays unknown: the page itself says why, where that matters to it."""
    caller = _or_none(lambda: deployment.caller)
    switches = _or_none(lambda: (deployment.app.state.read([], []).control, deployment.settings.mode))
    return Here(
        stack=deployment.stack_name,
        region=deployment.session.region_name or "",
        endpoint=deployment.endpoint_url,
        caller=caller.arn if caller else "",
        account=caller.account if caller else "",
        mode=str(switches[0].mode or switches[1]) if switches else "",
        paused=bool(switches and switches[0].paused),
        organization=_or_none(lambda: deployment.settings.organization) or "",
    )


def _or_none[T](ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except Exception as error:
        if not isinstance(error, CommandError) and explained(error) is None:
            raise
        return None

"""What all pages share: one deployment, what was read of it, and what is being done."""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock, Thread
from typing import Any
from urllib.parse import urlsplit

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.model.problem import Advice
from rolekeeper_cli.checks.deployment import DoctorDeployment
from rolekeeper_cli.console.edit_plans import EditPlans
from rolekeeper_cli.console.fleet_cache import FleetCache
from rolekeeper_cli.console.fleet_query import FleetViews
from rolekeeper_cli.console.jobs import Jobs, Recent
from rolekeeper_cli.console.pages.instance import Stories, Story
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.explained import explained
from rolekeeper_cli.uses import mappings as mapping_views
from rolekeeper_cli.uses import names
from rolekeeper_cli.uses import targets as target_views

# ---- whom the console acts as, and where: what the head of every page says ----


# Seconds after which it is asked anew.
_KNOWN_FOR = 60.0
# The same where some of it isn't known.
_UNKNOWN_FOR = 5.0
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class Here:
    """What is unknown is empty: a page shows what it can.

    Attributes:
        caller: the ARN of who started the console.
        account: AWS account id.
        region: AWS Region.
        stack: the stack's name.
        endpoint: where AWS is, if not at AWS's own addresses.
        mode: what Rolekeeper does: enforce or observe.
        paused: whether it is paused.
        organization: the id of the organization whose accounts it looks after.
    """

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
        """Whether AWS is the one on this machine."""
        return urlsplit(self.endpoint).hostname in _LOOPBACK


class HereCache:
    """Asks at most once a minute, and beside the page: only the first one waits for an answer.

    Args:
        look: makes a deployment that has asked nothing yet.
        time: seconds on a clock that only goes forward.
    """

    def __init__(self, look: Callable[[], Deployment], time: Callable[[], float]) -> None:
        self._look, self._time = look, time
        self._lock = Lock()
        self._known: Here | None = None
        self._until = 0.0

    def __call__(self) -> Here:
        """What is known."""
        with self._lock:
            known, stale = self._known, self._time() >= self._until
            if stale:
                self._until = self._time() + _KNOWN_FOR
        if known is None:
            return self._ask()
        if stale:
            Thread(target=self._ask, daemon=True).start()
        return known

    def forget(self) -> None:
        """Ask anew for the next page: a write may have changed it."""
        with self._lock:
            self._known = None

    def _ask(self) -> Here:
        found = here(self._look())
        with self._lock:
            self._known = found
            if not (found.caller and found.mode):
                self._until = self._time() + _UNKNOWN_FOR
        return found


def here(deployment: Deployment) -> Here:
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


# ---- what a write says on the page that follows it ----


_KEPT = 200


@dataclass(frozen=True, slots=True)
class Notice:
    """What happened: `kind` as a box has it (info, good, warn, bad), a sentence, and details, one a line."""

    kind: str
    text: str
    lines: tuple[str | Advice, ...] = ()


class Notices:
    """The last notices, each by its id. Threads may share it."""

    def __init__(self) -> None:
        self._kept: dict[str, Notice] = {}
        self._lock = Lock()

    def keep(self, kind: str, text: str, lines: Sequence[str | Advice] = ()) -> str:
        """Keep a notice; the id by which a page shows it. The oldest goes where there are too many."""
        made = secrets.token_urlsafe(9)
        with self._lock:
            self._kept[made] = Notice(kind, text, tuple(lines))
            while len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]
        return made

    def get(self, id_: str) -> Notice | None:
        """The notice of this id; None where there is none, or it went."""
        with self._lock:
            return self._kept.get(id_)


# ---- what all pages share: one deployment, what was read of it, and what is being done ----


# Tabs that show the mappings ask every two seconds.
_MAPPINGS_SECONDS = 1.5
# The functions write them down after a sweep, and an event at most once in some minutes.
_TARGETS_SECONDS = 4.0
# A role that was made a minute ago is typed.
_ROLES_SECONDS = 60.0


@dataclass
class Site:
    """What all pages share, as `request.app.state.site`.

    Attributes:
        deployment: the session and the clients; what a page asks, it asks of `look()`.
        writes: whether pages may change anything (`--write`).
        time: seconds on a clock that only goes forward.
        jobs: longer looks at AWS, which all tabs share.
        here: whom the console acts as, and where.
        mappings: the documents of all rows, read once for all tabs.
        targets: the documents of all accounts and Regions, read once for all tabs.
        plans: plans of edits that were shown, until they are written.
    """

    deployment: DoctorDeployment
    writes: bool = False
    time: Callable[[], float] = time.monotonic
    here: HereCache = field(init=False)
    jobs: Jobs = field(init=False)
    fleet: FleetCache = field(init=False)
    views: FleetViews = field(init=False, default_factory=FleetViews)
    stories: Stories[Story] = field(init=False, default_factory=Stories)
    answers: Stories[Mapping[str, Any]] = field(init=False, default_factory=Stories)
    asking_who: Lock = field(init=False, default_factory=Lock)
    mappings: Recent[list[dict[str, Any]]] = field(init=False)
    targets: Recent[list[dict[str, Any]]] = field(init=False)
    _roles: Recent[list[str]] = field(init=False)
    plans: EditPlans = field(init=False, default_factory=EditPlans)
    _notices: Notices = field(init=False, default_factory=Notices)

    def __post_init__(self) -> None:
        self.here = HereCache(self.look, self.time)
        # A check that something is repaired asks for all of it.
        self.jobs = Jobs(self.deployment.anew, self.now)
        self.fleet = FleetCache(self.look, self.time)
        self.mappings = Recent(lambda: mapping_views.rows(self.look()), _MAPPINGS_SECONDS, self.time)
        self.targets = Recent(lambda: target_views.documents(self.look()), _TARGETS_SECONDS, self.time)
        self._roles = Recent(lambda: names.path_roles(self.look()), _ROLES_SECONDS, self.time)

    def look(self) -> DoctorDeployment:
        """The deployment as it is now; its caller and its stack as they were some seconds ago."""
        return self.deployment.anew(lately=True)

    def look_at(self, instance: str) -> DoctorDeployment:
        """The same for an instance, by id or name: where it is, as far as the fleet was read; else at home."""
        there, target = self.look(), self.fleet.target(instance)
        return there.at(target) if target else there

    def now(self) -> datetime:
        """The time."""
        return self.deployment.now()

    def role_names(self) -> list[str]:
        """The names of the roles under the role path, for suggestions: where IAM gives no answer, there are none."""
        try:
            return self._roles.get()
        except (AwsRefusalError, CommandError):
            return []

    def say(self, kind: str, text: str, lines: Sequence[str | Advice] = ()) -> str:
        """Keep what a write did for the page that follows it; that page's address ends in `?said=` and this id.

        Args:
            kind: info, good, warn or bad.
            text: a sentence.
            lines: details, one a line.
        """
        self.here.forget()
        self.jobs.forget()
        return self._notices.keep(kind, text, lines)

    def said(self, id_: str) -> Notice | None:
        """The notice of this id; None where there is none."""
        return self._notices.get(id_)

"""What the console's pages share of one deployment, whatever they are about."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import explained
from rolekeeper_cli.console.cache import Cache
from rolekeeper_cli.console.jobs import Beside, Jobs, in_thread
from rolekeeper_cli.console.page import Notice, templates
from rolekeeper_cli.errors import CommandError

# The caller and the stack.
_DEPLOYMENT_SECONDS = 30.0
_HERE_SECONDS = 5.0
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(eq=False)
class Shared:
    """What all pages share, whatever they are about.

    `deployment` has the session and the clients; what a page asks, it asks of `look()`. With `writes`, pages may change
    things. `clock` gives seconds that only go on; `beside` runs something. `plans` are of edits (`forms.Plan`).
    `lasting` is the origin under which the pages are found next time too; empty if there is none.
    """

    deployment: Deployment
    writes: bool = field(default=False, kw_only=True)
    clock: Callable[[], float] = field(default=time.monotonic, kw_only=True)
    beside: Beside = field(default=in_thread, kw_only=True)
    lasting: str = field(default="", init=False)

    def __post_init__(self) -> None:
        deployment, clock, beside = self.deployment, self.clock, self.beside
        # A check that something is repaired asks for all of it.
        self.jobs = Jobs(deployment.anew, deployment.now, beside)
        self.pages = Jobs(deployment.anew, deployment.now, beside)
        self.reads, self.plans, self.notices = Cache(clock=clock, beside=beside), Cache(), Cache()
        self.asking_who, self.changing_instances = Lock(), Lock()

    def get_ready(self) -> None:
        """Read what pages show first."""
        templates().get_template("filling.html")

    def look(self) -> Deployment:
        """The deployment as it is now; its caller and its stack as they were some seconds ago."""
        return self.deployment.anew(partial(self.reads.get, seconds=_DEPLOYMENT_SECONDS, stale=True))

    def here(self) -> dict[str, Any]:
        """Who the console acts as, and where: the head of every page. Unknown values are empty."""

        def read() -> dict[str, Any]:
            ask = partial(self.deployment.ask, "iam:ListAccountAliases", "*")
            alias = self.reads.get("alias", lambda: " ".join((_or_none(ask) or {}).get("AccountAliases", ())))
            return _here(self.look()) | {"alias": alias}

        return self.reads.get("here", read, _HERE_SECONDS, stale=True)

    def say(self, notice: Notice) -> str:
        """Keep what a write did for the page that follows it, whose address ends in `?said=` and this id."""
        self.reads.forget("here", "mappings")
        self.jobs.forget()
        self.pages.clear()  # not even as it was until then
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

"""Whom the console acts as, and where: what the head of every page says."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock, Thread
from urllib.parse import urlsplit

from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, explained

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

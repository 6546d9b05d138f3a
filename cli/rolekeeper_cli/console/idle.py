"""When the console was last used by a person: a console that was forgotten ends."""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send


class UseClock:
    """Sits between the guard and the pages, so that only who was let in counts.

    Args:
        app: the pages.
        idle_after: seconds without use after which the console is idle.
        time: seconds on a clock that only goes forward.
    """

    def __init__(self, app: ASGIApp, idle_after: float, time: Callable[[], float]) -> None:
        self._app, self._idle_after, self._time = app, idle_after, time
        self._used = time()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, and remember when."""
        # htmx, which only refreshes parts of open pages, says that it asks (htmx reference, "Request Headers").
        if "hx-request" not in Headers(scope=scope):
            self._used = self._time()
        await self._app(scope, receive, send)

    def left(self) -> float:
        """Seconds until the console is idle, if nobody uses it until then; 0 or less: it is."""
        return self._used + self._idle_after - self._time()

"""The console's connections: a request has to arrive in time, and only so many are open at once.

uvicorn sees to neither: half a request keeps its connection forever, and enough of them take every file descriptor.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from socket import socket
from typing import Any, cast

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from rolekeeper_cli.shell import terminal

_LAST_ANSWERS_SECONDS = 3
# asyncio accepts this many connections before it counts the first of them; the others wait in the system's queue.
_ACCEPTED_AT_ONCE, _QUEUE = 16, 128
_QUIET_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """A browser opens six connections, whatever the number of its tabs; some systems allow a process 256 open files.

    `request_seconds` is the time for a request to arrive, its form included; `idle_seconds` for the next one to begin.
    """

    connections: int = 64
    request_seconds: float = 10.0
    idle_seconds: int = 5


class Connections:
    """Those that are open, the one that was silent for longest first. A flood is one line a minute on stderr."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self._clock = limits, clock
        self._open: dict[LimitedProtocol, None] = {}
        self._quiet_until = float("-inf")

    def heard_of(self, connection: "LimitedProtocol") -> None:
        self._open.pop(connection, None)
        self._open[connection] = None

    def closed(self, connection: "LimitedProtocol") -> None:
        self._open.pop(connection, None)

    def make_room(self) -> None:
        """Close one that waits for its client, if there are too many; the newest one at the latest."""
        if len(self._open) <= self.limits.connections:
            return
        self.warn(
            f"The console has more than {self.limits.connections} connections, and closes those that were silent for "
            "longest: another program on this machine opens them."
        )
        silent = next(each for each in self._open if each.waits_for_client)
        # It is told that it is lost only later: until then others may need room.
        self.closed(silent)
        silent.transport.abort()

    def warn(self, text: str) -> None:
        if self._clock() >= self._quiet_until:
            self._quiet_until = self._clock() + _QUIET_SECONDS
            terminal.warn(text)


class LimitedProtocol(H11Protocol):
    """A connection; its timer runs while a request arrives."""

    def __init__(self, connections: Connections, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._connections = connections
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waits_for_client(self) -> bool:
        answering = self.conn.our_state in {h11.SEND_RESPONSE, h11.SEND_BODY}
        return not answering or self._timer is not None or self.flow.write_paused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._heard()
        self._connections.make_room()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._heard()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.closed(self)
        self._stop_timer()
        super().connection_lost(exc)

    def _heard(self) -> None:
        self._connections.heard_of(self)
        if self.conn.their_state not in {h11.IDLE, h11.SEND_BODY}:
            self._stop_timer()
        elif self._timer is None:
            self._timer = self.loop.call_later(self._connections.limits.request_seconds, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


class LimitedServer(uvicorn.Server):
    """uvicorn's server, for connections within limits."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections

    async def startup(self, sockets: list[socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._on_error)
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(_QUEUE)

    def _on_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Report a connection that couldn't be accepted in one line: asyncio writes a traceback for each."""
        if "socket" in context and isinstance(error := context.get("exception"), OSError):
            self._connections.warn(f"Just now no more connections can be accepted: {error.strerror}.")
        else:
            loop.default_exception_handler(context)


def server(app: ASGIApp, limits: Limits | None = None) -> LimitedServer:
    connections = Connections(limits or Limits())
    config = uvicorn.Config(
        app,
        # uvicorn only calls it.
        http=cast("type[asyncio.Protocol]", partial(LimitedProtocol, connections)),
        ws="none",
        lifespan="off",
        # Below that it complains of each malformed request.
        log_level="error",
        access_log=False,
        server_header=False,
        # Nothing stands between the browser and us: what says who asked for whom is the asker's invention.
        proxy_headers=False,
        backlog=_ACCEPTED_AT_ONCE,
        timeout_keep_alive=connections.limits.idle_seconds,
        timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
    )
    return LimitedServer(config, connections)

"""The server of the console, on loopback: it listens, hands out the link, and ends."""

import gc
import os
import signal
import socket
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import click
import uvicorn
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rolekeeper_cli.console import connections, ports
from rolekeeper_cli.console.guard import Guard, lasting
from rolekeeper_cli.console.page import bare_page
from rolekeeper_cli.console.site import Shared
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.shell import terminal

IDLE_SECONDS = 30 * 60.0
_LOOPBACK = "127.0.0.1"
_TURN_SECONDS = 0.001


def serve(
    site: Shared, app: ASGIApp, *, has_page: Callable[[str], bool], port: int | None, browser: bool, to: str = "/"
) -> None:
    """Run the pages of a site until nobody has used them for a while. The link leads to the page `to`.

    Port 0 is any free one, and None the one that it had before. Without a `browser`, or where none can be opened, the
    link is the one line on stdout.

    Raises:
        CommandError: the port can't be used, AWS can't be asked, or there is no stack.
        KeyboardInterrupt: on Ctrl-C, and on SIGTERM.
    """
    # Asked before it listens: what would keep every page from showing is said by the command.
    deployment = site.deployment
    _ = deployment.caller, deployment.stack
    # While one thread reads the fleet, those that make pages have their turn sooner than in Python's 5 ms.
    sys.setswitchinterval(_TURN_SECONDS)
    listening, lasts = listen_as_before(ports.file_of(deployment)) if port is None else (listen(port), port != 0)
    with listening, _signals_call(signal.default_int_handler), ExitStack() as ending:
        port = listening.getsockname()[1]
        site.lasting = lasting(port) if lasts else ""
        pages = UseClock(app, IDLE_SECONDS, time.monotonic)
        site.get_ready()
        guard = Guard(pages, port, writes=site.writes, has_page=has_page, to=to)
        if browser:
            file = ending.enter_context(link_file(guard.link))
            guard.on_entered = partial(file.unlink, missing_ok=True)
            # A browser may stay in front until it is closed.
            Thread(target=open_in_browser, args=(file, guard.link), daemon=True).start()
        else:
            _print(guard.link)
        if lasts:
            terminal.say(f"An address that lasts, for your bookmarks: {site.lasting}/")
        web = connections.server(guard)
        Thread(target=end_when_idle, args=(pages, web), daemon=True).start()
        terminal.say(f"The console runs until Ctrl-C, or until it wasn't used for {IDLE_SECONDS / 60:g} minutes.")
        run(web, listening)


def run(web: uvicorn.Server, listening: socket.socket) -> None:
    """Answer until it should exit. A signal never interrupts asyncio, whose half-made loop would print a traceback.

    KeyboardInterrupt if a signal ended it; uvicorn raises each that it caught again at its end.
    """
    ended = Event()
    gc.freeze()  # collecting garbage, which keeps pages waiting, passes over all that was imported

    def end(*_: object) -> None:
        web.should_exit = True
        ended.set()

    with _signals_call(end):
        web.run([listening])
    if ended.is_set():
        raise KeyboardInterrupt


def listen_as_before(file: Path) -> tuple[socket.socket, bool]:
    """The socket at the port that the file holds, and whether the next console has that port too."""
    try:
        if before := ports.kept(file):
            return listen(before), True
    except CommandError as error:
        terminal.warn(f"{error.what}. This console has another port than the last one; to keep one: {error.remedy}")
        return listen(0), False
    listening = listen(0)
    return listening, ports.keep(file, listening.getsockname()[1])


def listen(port: int) -> socket.socket:
    """The socket; it accepts connections from now on, and they wait for the pages."""
    try:
        listening = socket.create_server((_LOOPBACK, port))
    except OSError as error:
        what = f"port {port} of {_LOOPBACK} can't be used: {os.strerror(error.errno) if error.errno else error}"
        raise CommandError(what, "choose another with --port, or leave it out") from error
    # An answer goes out in two pieces; without this the second waits 40 ms for the acknowledgement of the first.
    # asyncio sets it only on sockets that name their protocol (its `_set_nodelay`).
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


@contextmanager
def _signals_call(handler: Callable[..., object]) -> Iterator[None]:
    """Handle SIGTERM as Ctrl-C; and SIGINT, which a shell's background job otherwise ignores."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextmanager
def link_file(link: str) -> Iterator[Path]:
    """A page that goes on to the link, in a folder that only the person can open; gone at the end, if not before."""
    with TemporaryDirectory(prefix="rolekeeper-console-", ignore_cleanup_errors=True) as folder:  # of mode 0700
        file = Path(folder) / "console.html"
        file.touch(mode=0o600)
        file.write_text(bare_page("open.html", link=link), encoding="utf-8")
        yield file


def open_file(file: Path, opens: Callable[[str], bool] = webbrowser.open) -> bool:
    """Open it in a browser; whether there is one with a window of its own.

    A browser in this terminal would be in the way of the console's messages.
    """
    windows = sys.platform in {"darwin", "win32", "cygwin"}
    return (windows or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))) and opens(file.as_uri())


def open_in_browser(file: Path, link: str) -> None:
    """Open the file, which goes on to the link; print the link where no browser can be opened."""
    if open_file(file):
        terminal.say("The console opens in the browser. If it doesn't: rolekeeper console --no-browser")
    else:
        terminal.say("No browser could be opened. Open this link in one on this machine; it works once:")
        _print(link)


def _print(link: str) -> None:
    """The one line on stdout, for people and for programs that wait for it."""
    click.echo(f"console: {link}")


class UseClock:
    """When a person last used the pages; after `idle_after` seconds without use the console is idle."""

    def __init__(self, app: ASGIApp, idle_after: float, time: Callable[[], float]) -> None:
        self._app, self._idle_after, self._time = app, idle_after, time
        self._used = time()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # htmx, which only refreshes parts of open pages, says that it asks (htmx reference, "Request Headers").
        if "hx-request" not in Headers(scope=scope):
            self._used = self._time()
        await self._app(scope, receive, send)

    def left(self) -> float:
        """Seconds until the console is idle; 0 or less: it is."""
        return self._used + self._idle_after - self._time()


def end_when_idle(pages: UseClock, server: uvicorn.Server, sleep: Callable[[float], object] = time.sleep) -> None:
    while (left := pages.left()) > 0:
        sleep(left)
    terminal.say("The console wasn't used for a while, and ends. Start it again: rolekeeper console")
    server.should_exit = True

"""The console's connections on loopback: half a request ends in time, and a flood of them keeps nobody out."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import pytest

_CHILD = """
import asyncio, contextlib, os, resource, socket, sys
from rolekeeper_cli.console.connections import Limits, server

files, most, request_seconds, idle_seconds = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

async def app(scope, receive, send):
    if scope["path"] == "/slow":
        print("begun", flush=True)
        await asyncio.to_thread(os.read, 0, 1)
    while scope["method"] == "POST" and (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"page"})

listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
limits = Limits(connections=most, request_seconds=request_seconds, idle_seconds=idle_seconds)
with contextlib.suppress(KeyboardInterrupt):
    server(app, limits).run([listening])
"""
_HALF = b"GET / HTTP/1.1\r\nHost: x\r\n"
_WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
_PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Served:
    process: subprocess.Popen[str]
    port: int

    def sends(self, data: bytes) -> socket.socket:
        """A connection over which this was sent."""
        made = socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE_SECONDS)
        made.sendall(data)
        return made

    def shows_its_page(self) -> bool:
        with self.sends(_WHOLE) as browser:
            return _shows_the_page(browser)

    def begins_a_slow_page(self) -> socket.socket:
        """A connection whose page is being made until `ends_slow_pages`."""
        made = self.sends(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert self.process.stdout
        assert self.process.stdout.readline() == "begun\n"
        return made

    def ends_slow_pages(self, number: int) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n" * number)
        self.process.stdin.flush()

    def stderr(self) -> str:
        """All that it wrote there, once it has ended."""
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=_PATIENCE_SECONDS)[1]


@contextmanager
def served(*, files: int = 200, most: int = 64, request_seconds: int = 60, idle_seconds: int = 60) -> Iterator[Served]:
    """A server of its own, in a process with at most this many open files."""
    numbers = map(str, (files, most, request_seconds, idle_seconds))
    command = [sys.executable, "-c", _CHILD, *numbers]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout
            yield Served(process, int(process.stdout.readline()))
        finally:
            process.kill()


def _shows_the_page(connection: socket.socket) -> bool:
    received = b""
    while not received.endswith(b"page") and (more := connection.recv(1_000)):
        received += more
    return received.endswith(b"page")


def _is_closed(connection: socket.socket) -> bool:
    """Whether the server ends it while one waits; a connection that is kept raises."""
    with suppress(ConnectionResetError):
        while connection.recv(1_000):
            pass
    return True


def test_a_request_that_doesnt_come_in_time_ends_its_connection() -> None:
    half_a_form = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"
    with served(request_seconds=1, idle_seconds=2) as console, ExitStack() as opened:
        # The last one is half a second request.
        for each in [opened.enter_context(console.sends(sent)) for sent in (b"", _HALF, half_a_form, _WHOLE + _HALF)]:
            assert _is_closed(each)


def _trickle(connection: socket.socket) -> None:
    for _ in range(_PATIENCE_SECONDS * 10):
        connection.sendall(b"X")
        time.sleep(0.1)


def test_bytes_that_trickle_in_dont_prolong_it() -> None:
    with served(request_seconds=1) as console, console.sends(_HALF) as connection, pytest.raises(ConnectionError):
        _trickle(connection)


def test_an_idle_connection_is_kept_for_a_second_request_in_two_parts() -> None:
    with served() as console, console.sends(_WHOLE) as connection:
        assert _shows_the_page(connection)
        connection.sendall(_HALF)
        connection.sendall(b"\r\n")
        assert _shows_the_page(connection)


def test_an_idle_connection_is_closed_in_time() -> None:
    with served(idle_seconds=1) as console, console.sends(_WHOLE) as connection:
        assert _shows_the_page(connection)
        assert _is_closed(connection)


def test_a_page_that_takes_longer_than_a_request_may_is_shown() -> None:
    with served(request_seconds=1) as console, console.begins_a_slow_page() as connection:
        with console.sends(_HALF) as later:
            assert _is_closed(later), "as much time passed for the page"
        console.ends_slow_pages(1)
        assert _shows_the_page(connection)


@pytest.mark.parametrize("sent", [_HALF, _WHOLE], ids=["half a header", "idle"])
def test_more_connections_than_open_files_keep_nobody_out_and_are_one_line(sent: bytes) -> None:
    with served(files=200) as console, ExitStack() as flood:
        for _ in range(300):
            flood.enter_context(console.sends(sent))
        assert console.shows_its_page()
        [line] = console.stderr().splitlines()
        assert "more than 64 connections" in line


def test_a_connection_whose_page_is_being_made_is_never_closed_for_another() -> None:
    with served(most=2) as console, console.begins_a_slow_page() as one, console.begins_a_slow_page() as other:
        with console.sends(_WHOLE) as refused:
            assert _is_closed(refused)
        console.ends_slow_pages(2)
        assert _shows_the_page(one)
        assert _shows_the_page(other)


def test_a_process_without_files_left_says_so_in_one_line_and_goes_on() -> None:
    with served(files=30, request_seconds=1) as console:
        with ExitStack() as flood:
            opened = [flood.enter_context(console.sends(_HALF)) for _ in range(100)]
            # The last of them is accepted once those before it are closed, and asyncio tries again.
            assert _is_closed(opened[-1])
        assert console.shows_its_page()
        [line] = console.stderr().splitlines()
        assert "no more connections can be accepted" in line

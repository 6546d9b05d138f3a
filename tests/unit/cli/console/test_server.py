"""The server without its socket: when it is idle, how the link gets to a browser, and what ends it before it begins."""

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from unittest.mock import MagicMock, Mock

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from fakes.clock import Clock
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper_cli.console import server
from rolekeeper_cli.console.server import UseClock, link_file, open_file
from rolekeeper_cli.site import Site, has_page

LINK = "http://0123.localhost:4321/enter/token"


@pytest.fixture
def file() -> Iterator[Path]:
    with link_file(LINK) as made:
        yield made


# ---- idle ----


def test_a_tab_that_only_refreshes_itself_is_no_use() -> None:
    clock = Clock()
    use = UseClock(PlainTextResponse("page"), 30, lambda: clock.seconds)
    clock.seconds += 20
    assert TestClient(use).get("/", headers={"HX-Request": "true"}).text == "page"
    assert use.left() == 10


def test_an_idle_server_says_so_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    clock, running = Clock(), Mock(should_exit=False)
    use = UseClock(PlainTextResponse("page"), 30, lambda: clock.seconds)
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        clock.seconds += seconds
        if len(naps) == 1:
            TestClient(use).get("/")

    server.end_when_idle(use, running, sleep)
    assert (naps, running.should_exit) == ([30, 30], True)
    said = capsys.readouterr()
    assert (said.out, "Start it again: rolekeeper console" in said.err) == ("", True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_the_very_start_ends_it_without_interrupting_asyncio(number: int) -> None:
    class Starting:
        should_exit = went_on = False

        def run(self, _: object) -> None:
            signal.raise_signal(number)
            self.went_on = True

    web = Starting()
    with pytest.raises(KeyboardInterrupt):
        server.run(cast("Any", web), Mock())
    assert (web.went_on, web.should_exit) == (True, True)


# ---- the browser ----


def test_the_link_is_in_a_file_that_only_the_person_can_read(file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert f'content="0; url={LINK}"' in file.read_text()


@pytest.mark.parametrize("used", [True, False])
def test_nothing_of_it_stays(used: bool) -> None:  # noqa: FBT001  # parametrized
    with link_file(LINK) as file:
        if used:
            file.unlink()
    assert not file.parent.exists()


def test_the_browser_is_given_the_file_and_not_the_link(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    opens = Mock(return_value=True)
    assert open_file(file, opens)
    opens.assert_called_once_with(file.as_uri())
    assert not open_file(file, Mock(return_value=False))


def test_where_none_opens_the_link_is_printed(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "open_file", lambda _file: False)
    server.open_in_browser(file, LINK)
    said = capsys.readouterr()
    assert (said.out, "it works once" in said.err) == (f"console: {LINK}\n", True)
    monkeypatch.setattr(server, "open_file", lambda _file: True)
    server.open_in_browser(file, LINK)
    assert capsys.readouterr().out == ""


# ---- before it listens ----


def test_a_port_that_is_in_use_is_said_with_what_to_do(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(address: tuple[str, int]) -> None:
        assert address == ("127.0.0.1", 8080)
        # As Python says it: the address twice.
        raise OSError(98, f"{os.strerror(98)} (while attempting to bind on address {address})")

    monkeypatch.setattr("socket.create_server", taken)
    ran = terminal("console", "--no-browser", "--port", "8080")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "port 8080 of 127.0.0.1 can't be used: Address already in use\n" in ran.stderr
    assert "choose another with --port" in ran.stderr


# ---- the page that it begins at ----


@pytest.mark.parametrize(
    ("typed", "to"),
    [
        ([], "/"),
        (["--open", "i-0123456789abcdef0"], "/instance/i-0123456789abcdef0"),
        (["--open", "http://0123456789abcdef.localhost:1/roles?sort=name"], "/roles?sort=name"),
    ],
)
def test_it_is_opened_at_the_page_that_was_typed(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, *, typed: list[str], to: str
) -> None:
    listening = Mock(getsockname=lambda: ("127.0.0.1", 4321))
    monkeypatch.setattr("rolekeeper_cli.console.ports.kept", lambda _file: 4321)
    monkeypatch.setattr("socket.create_server", lambda _address: MagicMock(wraps=listening))
    guard, ready = Mock(return_value=Mock(link="LINK")), Mock()
    monkeypatch.setattr(Site, "get_ready", lambda _: ready(guard.called))
    monkeypatch.setattr(server, "Guard", guard)
    monkeypatch.setattr("rolekeeper_cli.console.connections.server", Mock())
    ran = terminal("console", "--no-browser", *typed)
    assert (ran.exit_code, ran.stdout) == (0, "console: LINK\n"), ran.stderr
    assert guard.call_args.kwargs == {"writes": False, "has_page": has_page, "to": to}
    assert "http://rolekeeper.localhost:4321/" in ran.stderr
    ready.assert_called_once_with(False)  # noqa: FBT003  # what the guard was, a mock


def test_what_the_first_pages_show_is_read_before_the_link_is_handed_out(site: Site, desk: Desk, instance: str) -> None:
    desk.edit("app=web", role="web")
    site.get_ready()
    desk.world.calls.clear()
    known = site.fleet.known(), [each.mapping for each in site.mappings()], site.here()["account"]
    assert ([each.id for each in known[0]], *known[1:]) == ([instance], ["app=web"], "123456789012")
    assert not desk.world.calls.made

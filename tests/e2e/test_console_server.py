"""`rolekeeper console` as a process: it says its link once it listens, lets one browser in, and ends cleanly."""

import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest

from fixtures.command import COMMAND
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import EmbeddedAws
from support.waiting import eventually

pytestmark = pytest.mark.emulator

_IDLE_SOON = (
    "from rolekeeper_cli.console.server import serve; from rolekeeper_cli.doctor_deployment import DoctorDeployment; "
    "from rolekeeper_cli.options import Options; "
    "serve(DoctorDeployment(Options()), writes=False, port=0, browser=False, idle=1)"
)


class Running:
    """The process, and what a browser at its address is answered."""

    def __init__(self, line: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def link(self) -> str:
        """Wait for the line that says it."""
        assert self.process.stdout
        found = re.fullmatch(r"console: (http://\w{16}\.localhost:\d+/enter/\S+)\n", self.process.stdout.readline())
        assert found
        return found[1]

    def ends(self, by: signal.Signals | None = None) -> tuple[int, str, str]:
        """Its exit code, and what more it said on stdout and stderr."""
        if by:
            self.process.send_signal(by)
        stdout, stderr = self.process.communicate(timeout=20)
        return self.process.returncode, stdout, stderr


def ask(url: str, cookie: str = "", host: str | None = None) -> tuple[int, dict[str, str], str]:
    """Ask as a browser does, which takes every `….localhost` for this machine."""
    parts = urlsplit(url)
    connection = HTTPConnection("127.0.0.1", parts.port, timeout=20)
    connection.request("GET", parts.path, headers={"Host": host or parts.netloc, "Cookie": cookie})
    answer = connection.getresponse()
    said = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
    connection.close()
    return said


@pytest.fixture
def env(deployed: EmulatedAccount, aws: EmbeddedAws, tmp_path: Path) -> dict[str, str]:
    assert deployed.account
    return {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(tmp_path), **aws.env}


@pytest.fixture
def console(env: dict[str, str]) -> Iterator[Running]:
    with Running([COMMAND, "console", "--no-browser"], env) as running:
        yield running


def test_the_link_lets_one_browser_in_and_no_other_name_is_answered(console: Running) -> None:
    link = console.link()
    home = link.partition("/enter/")[0] + "/"
    assert ask(home)[0] == 403
    status, headers, _ = ask(link)
    cookie = headers["set-cookie"].partition(";")[0]
    assert (status, "server" in headers) == (200, False)
    assert ask(link)[0] == 403, "it works once"
    status, headers, page = ask(home, cookie)
    assert (status, headers["cache-control"], "embedded AWS" in page) == (200, "no-store", True)
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert ask(home, cookie, host="evil.example")[0] == 421
    assert ask(home, cookie, host=f"localhost:{urlsplit(link).port}")[0] == 421


def test_it_listens_on_loopback_alone(console: Running) -> None:
    port = urlsplit(console.link()).port
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[3] == "0A"]
    assert [each for each in listening if each.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]
    assert f":{port:04X}" not in Path("/proc/net/tcp6").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_as_ctrl_c_ends_every_command(console: Running, number: signal.Signals) -> None:
    console.link()
    code, stdout, stderr = console.ends(number)
    assert (code, stdout) == (130, "")
    assert stderr.endswith("Stopped.\n")
    assert "Traceback" not in stderr


def test_without_use_it_ends(env: dict[str, str]) -> None:
    with Running([sys.executable, "-c", _IDLE_SOON], env) as running:
        running.link()
        code, stdout, stderr = running.ends()
    assert (code, stdout) == (0, "")
    assert "The console wasn't used for a while, and ends." in stderr


def test_the_browser_is_given_a_file_that_is_gone_once_the_link_was_used(env: dict[str, str], tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" > {seen}.part && mv {seen}.part {seen}\n')
    browser.chmod(0o700)
    with Running([COMMAND, "console"], {**env, "BROWSER": str(browser)}) as running:
        given = eventually(lambda: seen.read_text().strip() if seen.exists() else None, 30)
        file = Path(urlsplit(given).path)
        assert (urlsplit(given).scheme, stat.S_IMODE(file.stat().st_mode)) == ("file", 0o600)
        found = re.search(r'content="0; url=([^"]+)"', file.read_text())
        assert found
        assert "enter" not in given, "every user of a machine sees what is on a command line"
        assert ask(found[1])[0] == 200
        assert not file.exists()
        code, stdout, _ = running.ends(signal.SIGTERM)
    assert (code, stdout, file.parent.exists()) == (130, "", False)


def test_a_port_in_use_ends_it(env: dict[str, str], aws: EmbeddedAws) -> None:
    with Running([COMMAND, "console", "--no-browser", "--port", str(aws.port)], env) as running:
        code, stdout, stderr = running.ends()
    assert (code, stdout) == (1, "")
    assert f"port {aws.port} of 127.0.0.1 can't be used: Address already in use" in stderr


@pytest.mark.parametrize(
    ("options", "text"),
    [(("--stack", "elsewhere"), "there is no stack 'elsewhere'"), (("--profile", "none"), "none")],
)
def test_without_a_stack_or_credentials_it_never_listens(env: dict[str, str], options: Any, text: str) -> None:
    with Running([COMMAND, "console", "--no-browser", *options], env) as running:
        code, stdout, stderr = running.ends()
    assert (code, stdout) == (253, "")
    assert text in stderr

"""`rolekeeper console` as a process: it says its link once it listens, on loopback alone, and ends cleanly."""

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest

from fixtures.command import COMMAND
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import EmbeddedAws

pytestmark = pytest.mark.emulator


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


@pytest.fixture
def env(deployed: EmulatedAccount, aws: EmbeddedAws, tmp_path: Path) -> dict[str, str]:
    assert deployed.account
    return {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(tmp_path), **aws.env}


@pytest.fixture
def console(env: dict[str, str]) -> Iterator[Running]:
    with Running([COMMAND, "console", "--no-browser"], env) as running:
        yield running


def test_it_listens_on_loopback_alone(console: Running) -> None:
    port = urlsplit(console.link()).port
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[3] == "0A"]
    assert [each for each in listening if each.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]
    assert f":{port:04X}" not in Path("/proc/net/tcp6").read_text()


def test_a_signal_ends_it_as_ctrl_c_ends_every_command(console: Running) -> None:
    console.link()
    code, stdout, stderr = console.ends(signal.SIGINT)
    assert (code, stdout) == (130, "")
    assert stderr.endswith("Stopped.\n")
    assert "Traceback" not in stderr

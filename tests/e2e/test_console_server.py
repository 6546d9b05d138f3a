"""`rolekeeper console` as a process: it listens on loopback alone; how it begins and ends, `ConsoleProcess` asserts."""

from pathlib import Path

import pytest

from fixtures.browser import console
from rolekeeper_local.account import EmulatedAccount

pytestmark = pytest.mark.emulator


def test_it_listens_on_loopback_alone(deployed: EmulatedAccount) -> None:
    with console(deployed.aws.env) as process:
        port = f":{process.port:04X}"
        table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        listening = [address for _, address, _, state, *_ in table if state == "0A"]
        assert [each for each in listening if each.endswith(port)] == [f"0100007F{port}"]
        assert port not in Path("/proc/net/tcp6").read_text()

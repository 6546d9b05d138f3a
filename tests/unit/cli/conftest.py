"""The command, typed at an operator's desk in the process."""

import pytest

from fakes.last_accessed import FakeReports
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper_cli import installed


@pytest.fixture
def terminal(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(desk, monkeypatch)


@pytest.fixture
def hub(terminal: Terminal, desk: Desk) -> Terminal:
    """A terminal whose deployment of this version looks after an organization, and whose sweep saw three instances."""
    terminal.parameters |= {"OrganizationId": "o-example0000", "SweepSchedule": "rate(15 minutes)"}
    terminal.outputs["Version"] = installed.version()
    desk.world.swept(3, 0)
    return terminal


@pytest.fixture
def web_and_db(desk: Desk) -> None:
    """Two roles, each with its profile."""
    desk.usable("web", "db")


@pytest.fixture
def reports(desk: Desk) -> FakeReports:
    """IAM's reports of last use."""
    return FakeReports(desk.iam)

"""The command, typed at an operator's desk in the process."""

import pytest

from fakes.last_accessed import FakeReports
from fixtures.account import FakeAccount
from fixtures.mappings import Desk
from fixtures.terminal import Terminal


@pytest.fixture
def desk(world: FakeAccount) -> Desk:
    return Desk(world)


@pytest.fixture
def terminal(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(desk, monkeypatch)


@pytest.fixture
def web_and_db(desk: Desk) -> None:
    """Two roles, each with its profile."""
    desk.usable("web", "db")


@pytest.fixture
def reports(desk: Desk) -> FakeReports:
    """IAM's reports of last use."""
    return FakeReports(desk.iam)

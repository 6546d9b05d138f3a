"""The command, typed at an operator's desk in the process."""

import pytest

from fakes.last_accessed import FakeReports
from fixtures.account import FakeAccount
from fixtures.mappings import MappingsFixture
from fixtures.terminal import Terminal


@pytest.fixture
def desk(world: FakeAccount) -> MappingsFixture:
    return MappingsFixture(world)


@pytest.fixture
def terminal(desk: MappingsFixture, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(desk, monkeypatch)


@pytest.fixture
def web_and_db(desk: MappingsFixture) -> None:
    """Two roles, each with its profile."""
    desk.usable("web", "db")


@pytest.fixture
def reports(desk: MappingsFixture) -> FakeReports:
    """IAM's reports of last use."""
    return FakeReports(desk.iam)

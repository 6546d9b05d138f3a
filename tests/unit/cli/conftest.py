"""The command, typed at an operator's desk in the process."""

import pytest

from fixtures.account import FakeAccount
from fixtures.mappings import MappingsFixture
from fixtures.terminal import Terminal


@pytest.fixture
def desk(world: FakeAccount) -> MappingsFixture:
    return MappingsFixture(world)


@pytest.fixture
def terminal(desk: MappingsFixture, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(desk, monkeypatch)

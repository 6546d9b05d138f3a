"""The command, typed at an operator's desk in the process."""

import pytest

from fixtures.desk import Desk
from fixtures.terminal import Terminal
from fixtures.world import World


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


@pytest.fixture
def terminal(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(desk, monkeypatch)

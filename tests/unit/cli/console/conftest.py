"""The console's pages, asked in the process."""

from collections.abc import Iterator

import pytest
import pytest_socket
from starlette.testclient import TestClient

from fixtures import console
from fixtures.terminal import Terminal
from rolekeeper_cli.console.fleet_cache import FleetCache
from rolekeeper_cli.site import Site


@pytest.fixture(autouse=True)
def no_sockets() -> Iterator[None]:
    """Refuse every socket but unix ones: an event loop wakes itself by a pair of them."""
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


@pytest.fixture(autouse=True)
def fleet_is_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread reads the fleet: whoever asks for it has it read first. So a page shows what is there now."""

    def read(cache: FleetCache) -> None:
        cache.step()
        while cache.reading:
            cache.step()

    monkeypatch.setattr(FleetCache, "_start", read)


@pytest.fixture
def site(terminal: Terminal) -> Site:
    """What pages share; its seconds are the world's."""
    return console.site(writes=True, clock=lambda: terminal.desk.world.clock.seconds)


@pytest.fixture
def browser(site: Site) -> TestClient:
    """Who may change things too."""
    return console.browser(site)


@pytest.fixture
def onlooker(terminal: Terminal) -> TestClient:
    """Who may only look."""
    return console.browser(console.site(clock=lambda: terminal.desk.world.clock.seconds))

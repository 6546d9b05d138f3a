"""The command, typed at an operator's desk in the process."""

from collections.abc import Callable, Iterator

import pytest
import pytest_socket
from starlette.testclient import TestClient

from fakes.last_accessed import FakeReports
from fixtures import console
from fixtures.effects import CASES, Case
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper.settings import Limits
from rolekeeper_cli import installed
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.console.jobs import Jobs
from rolekeeper_cli.fleet.cache import FleetCache
from rolekeeper_cli.options import Options
from rolekeeper_cli.site import Site


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
def instance(desk: Desk, web_and_db: None) -> str:
    del web_and_db
    return desk.world.running(app="web", env="prod")


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def case(request: pytest.FixtureRequest, desk: Desk, instance: str) -> Case:
    """Each situation of the row of that instance's tag, as it came about."""
    found: Case = request.param
    found.arrange(desk, instance)
    return found


@pytest.fixture
def held(desk: Desk) -> Desk:
    """A mapping in effect with two instances, and another person's edit that is held as it changes both."""
    desk.edit("workload=web", role="web")
    for _ in range(2):
        desk.converged("web", workload="web")
    desk.limits = Limits(1, 0)
    desk.put("workload=web", role="db", edited_by="al")
    desk.publish("workload=web")
    assert desk.row("workload=web")["held_revision"] == 2
    return desk


@pytest.fixture
def reports(desk: Desk) -> FakeReports:
    """IAM's reports of last use."""
    return FakeReports(desk.iam)


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
def later(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What takes long, begun and not done until a test says so."""
    begun = list[Callable[[], None]]()
    monkeypatch.setattr("rolekeeper_cli.console.jobs.PATIENCE_SECONDS", 0)
    site.jobs = Jobs(site.look, site.deployment.now, beside=begun.append)
    return begun


@pytest.fixture
def browser(site: Site) -> TestClient:
    """Who may change things too."""
    return console.browser(site)


@pytest.fixture
def onlooker(terminal: Terminal) -> TestClient:
    """Who may only look."""
    return console.browser(console.site(clock=lambda: terminal.desk.world.clock.seconds))


@pytest.fixture
def deployment(terminal: Terminal) -> Deployment:  # noqa: ARG001  # it is what AWS is asked through
    """The deployment over the desk, whose time passes as in the terminal."""
    return Deployment(Options())


@pytest.fixture
def silence(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing is written to the terminal, whatever is done."""
    yield
    assert capfd.readouterr() == ("", "")

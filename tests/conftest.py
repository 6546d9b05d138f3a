"""What every test stands on: no credentials of this machine, and no way to a real account."""

import gc
from collections.abc import Iterator, Mapping
from typing import Any

import hypothesis
import pytest

import runtime  # noqa: F401  # switches the collection of garbage off, as a function does while it starts
import support.aws_models  # noqa: F401  # before any session is made
from fixtures.account import FakeAccount, new_account
from fixtures.mappings import Desk
from fixtures.organization import Organization, new_organization, wired_organization
from fixtures.organization_desk import OrganizationDesk

gc.enable()

# The same examples each time, and no limit by the clock: a busy machine is no bug.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("steady")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what a test records as its `summary`."""
    for report in terminalreporter.getreports("passed"):
        for line in (value for name, value in report.user_properties if name == "summary"):
            terminalreporter.write_line(str(line))


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that open nothing; whatever a profile or a shell says is not looked at."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # Moto would make a thousand images for each account's EC2.
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")


def _knobs(request: pytest.FixtureRequest, name: str) -> Mapping[str, Any]:
    """Return what a test, or its module, says with a mark of this name."""
    mark = request.node.get_closest_marker(name)
    return mark.kwargs if mark else {}


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[FakeAccount]:
    """One account and Region in the process, with what the mark `world` says; see `fixtures.account`."""
    with new_account() as made:
        made.prepare(**_knobs(request, "world"))
        yield made


@pytest.fixture
def desk(request: pytest.FixtureRequest, world: FakeAccount) -> Desk:
    """An operator's desk over the account, with what the mark `desk` says; see `fixtures.mappings`."""
    made = Desk(world)
    made.prepare(**_knobs(request, "desk"))
    return made


@pytest.fixture
def hub() -> Iterator[OrganizationDesk]:
    """An operator's desk in a hub, with two more accounts; see `fixtures.organization_desk`."""
    with new_organization() as made:
        yield OrganizationDesk.of_three(made)


@pytest.fixture
def organization(monkeypatch: pytest.MonkeyPatch) -> Iterator[Organization]:
    """A hub with one spoke, and the functions over both; see `fixtures.organization`."""
    with wired_organization(monkeypatch) as made:
        yield made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave a story on the embedded AWS half an hour, its deployment included, before it counts as hanging."""
    for item in items:
        if item.get_closest_marker("emulator"):
            item.add_marker(pytest.mark.timeout(1800))

"""One embedded AWS with Rolekeeper deployed by the real SAM CLI, for all end-to-end tests."""

from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from socket import socket

import pytest
from playwright.sync_api import Browser, StorageState

from fixtures.aws_cli import Aws, aws_command
from fixtures.browser import ConsoleProcess, Visitor, chromium, console, enter, visitor
from rolekeeper_local.account import EmulatedAccount, starter_mappings
from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import EmbeddedAws
from support.pages import Shell
from support.waiting import eventually


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    def choose() -> int:
        with socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return choose


_AWS = pytest.StashKey[EmbeddedAws]()


@pytest.fixture(scope="session")
def aws(request: pytest.FixtureRequest, free_port: Callable[[], int]) -> Iterator[EmbeddedAws]:
    # Pending takes long enough for a function's cold start on a slow machine to see it.
    with EmbeddedAws(port=free_port(), timings=Timings(pending=5)) as embedded:
        embedded.deploy()
        request.session.stash[_AWS] = embedded
        yield embedded


@pytest.fixture(scope="session")
def cli(aws: EmbeddedAws) -> Aws:
    """The installed `aws` command, as a process."""
    return aws_command(aws.env)


@pytest.fixture(scope="session")
def deployed(aws: EmbeddedAws) -> EmulatedAccount:
    """The deployment with the starter roles and mappings, each published."""
    world = EmulatedAccount(aws)
    world.deploy_starter_roles()
    world.seed_mappings()
    for row in starter_mappings():
        eventually(partial(world.mapping_status, row["tag_key"], row["tag_value"], "Published"))
    return world


@pytest.fixture(autouse=True)
def nothing_was_changed_lately(request: pytest.FixtureRequest) -> None:
    """Each test begins with empty windows: otherwise its edits would be held for what the tests before it changed."""
    if "aws" in request.fixturenames:
        EmulatedAccount(request.getfixturevalue("aws")).forget_changes()


@pytest.fixture(autouse=True, scope="module")
def no_instance_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each module ends with an empty fleet: limits are a share of it, so one that grows would let more pass."""
    yield
    if embedded := request.session.stash.get(_AWS, None):
        world = EmulatedAccount(embedded)
        left = [row["InstanceId"] for row in world.fleet() if row["State"]["Name"] != "shutting-down"]
        if left:
            world.ec2.terminate_instances(InstanceIds=left)
        eventually(lambda: not list(world.fleet()))


@pytest.fixture
def shell(aws: EmbeddedAws, tmp_path: Path) -> Shell:
    """A terminal in which the pages' blocks are typed."""
    return Shell(tmp_path, aws.port)


# ---- the console, in a browser ----

_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note whether a test failed, for fixtures that end after it."""
    report = yield
    if call.when == "call":
        item.stash[_FAILED] = report.failed
    return report


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def writing(deployed: EmulatedAccount) -> Iterator[ConsoleProcess]:
    """A console that may write."""
    with console(deployed.aws.env, "--write") as process:
        yield process


@pytest.fixture(scope="module")
def entered(browser: Browser, writing: ConsoleProcess) -> StorageState:
    """The cookies of the person that the console let in."""
    with visitor(browser) as first:
        return enter(first, writing)


@pytest.fixture
def person(
    request: pytest.FixtureRequest, browser: Browser, writing: ConsoleProcess, entered: StorageState
) -> Iterator[Visitor]:
    """A person who was let in, with one tab; at the end no page may have complained."""
    name = request.node.name
    with visitor(browser, entered, name, base_url=writing.origin) as visited:
        yield visited
        if request.node.stash.get(_FAILED, False):
            visited.keep_picture(name)

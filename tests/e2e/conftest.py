"""The embedded AWS that end-to-end tests share, with Rolekeeper deployed as the wheel does it.

The SAM CLI builds once for all, and deploys in `test_deploy.py`.
"""

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, StorageState
from tools.artifacts import collect

from fixtures.browser import ConsoleProcess, Visitor, chromium, console, enter, visitor
from fixtures.command import Command
from fixtures.wheel import Running, build, running_local
from rolekeeper_local.account import EmulatedAccount, starter_mappings
from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import EmbeddedAws
from rolekeeper_local.place import REPOSITORY
from support.buses import Bus
from support.clone import SAM, typed
from support.pages import ROOT, Shell, aws_cli_is_ready
from support.ports import free_port
from support.waiting import eventually

#: What many stories share. Those of one are played by one process, so that it starts once.
_STARTED = ("browser", "aws", "fresh", "wheel")
#: The groups that take longest, in the order in which they begin: so none of them is waited for at the end.
_LONGEST = ("wheel", "verify", "aws", "verify-ends", "browser", "chaos", "organization", "fresh")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests for xdist by what they share, and the others by their module; long groups begin."""
    ranks = {}
    for item in items:
        group = _group_of(item)
        item.add_marker(pytest.mark.xdist_group(group))
        ranks[item] = _LONGEST.index(group) if group in _LONGEST else len(_LONGEST)
    items.sort(key=ranks.__getitem__)


def _group_of(item: pytest.Item) -> str:
    if item.path.parent != Path(__file__).parent:
        return item.nodeid.partition("::")[0]
    if own := item.get_closest_marker("xdist_group"):
        return str(own.args[0])
    names = getattr(item, "fixturenames", ())
    return next((each for each in _STARTED if each in names), item.path.stem.removeprefix("test_"))


#: The deployments that stories share, in this process.
_SHARED = pytest.StashKey[list[EmulatedAccount]]()

#: What the SAM CLI keeps from one run to the next; and whoever builds has it alone.
_BUILDING = REPOSITORY / ".local/building"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `sam build` makes, once for all processes of a run."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with _alone():
        if not (folder / "build").exists():
            typed([SAM, "build", "--build-dir", str(folder / "build"), "--cache-dir", str(_BUILDING / "cache")])
    return folder / "build"


@pytest.fixture(scope="session")
def artifacts(built: Path) -> Path:
    """The same as the wheel has it, which is deployed without the SAM CLI."""
    folder = built.parent / "artifacts"
    with _alone():
        if not folder.exists():
            collect(built / "RolekeeperLayer", folder)
    return folder


@contextmanager
def _alone() -> Iterator[None]:
    _BUILDING.mkdir(parents=True, exist_ok=True)
    with (_BUILDING / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def aws(
    request: pytest.FixtureRequest, artifacts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedAws]:
    timings, directory = Timings(stopping=1, shutting_down=0.3, propagation=1), tmp_path_factory.mktemp("aws")
    with EmbeddedAws(port=free_port(), timings=timings, directory=directory, artifacts=artifacts) as embedded:
        embedded.deploy()
        _share(request, embedded)
        yield embedded


@pytest.fixture(scope="session")
def deployed(aws: EmbeddedAws) -> EmulatedAccount:
    """The deployment with the starter roles and mappings, each published."""
    world = EmulatedAccount(aws)
    world.deploy_starter_roles()
    world.seed_mappings()
    for row in starter_mappings():
        eventually(partial(world.mapping_status, row["tag_key"], row["tag_value"], "Published"))
    return world


@pytest.fixture(scope="session")
def rolekeeper(deployed: EmulatedAccount) -> Command:
    """The command, as a process."""
    return Command(deployed.aws.env)


@pytest.fixture(scope="module")
def bus(deployed: EmulatedAccount) -> Iterator[Bus]:
    """Rolekeeper's events, as a rule of anyone gets them."""
    made = Bus(deployed.aws).listen({"source": ["rolekeeper"]})
    yield made
    made.forget(made.listening)


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory, artifacts: Path) -> Iterator[EmbeddedAws]:
    """An AWS to which nothing is deployed yet."""
    # Its minutes are whole: where they are short and the machine is slow, functions start faster than they end.
    timings, directory = Timings(pending=0.1, stopping=0.5, propagation=0), tmp_path_factory.mktemp("aws")
    with EmbeddedAws(port=free_port(), timings=timings, directory=directory, artifacts=artifacts) as embedded:
        yield embedded


@pytest.fixture(scope="session")
def unlimited(request: pytest.FixtureRequest, fresh: EmbeddedAws) -> EmulatedAccount:
    """What is deployed there last: it takes over foreign roles, and changes a whole fleet at once."""
    pace = os.environ.get("ROLEKEEPER_RETAGGED_PER_SECOND") or "100"
    fresh.deploy(Mode="enforce", TakeOver="true", MaxChangesPerEdit="2000", ChangesPerSecond=pace)
    return _share(request, fresh)


@pytest.fixture(scope="session")
def wheel(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(artifacts, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def running(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The embedded AWS as the wheel alone starts it."""
    with running_local(wheel, tmp_path_factory.mktemp("home"), free_port()) as started:
        _share(request, started.aws)
        yield started


def _share(request: pytest.FixtureRequest, aws: EmbeddedAws) -> EmulatedAccount:
    world = EmulatedAccount(aws)
    request.session.stash.setdefault(_SHARED, []).append(world)
    return world


@pytest.fixture(autouse=True)
def nothing_was_changed_lately(request: pytest.FixtureRequest) -> None:
    """Each test begins with empty windows: otherwise its edits would be held for what the tests before it changed."""
    for world in request.session.stash.get(_SHARED, []):
        world.forget_changes()


@pytest.fixture(autouse=True, scope="module")
def no_instance_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each module ends with an empty fleet: limits are a share of it, so one that grows would let more pass."""
    yield
    for world in request.session.stash.get(_SHARED, []):
        left = [row["InstanceId"] for row in world.fleet() if row["State"]["Name"] != "shutting-down"]
        if left:
            world.ec2.terminate_instances(InstanceIds=left)
        eventually(lambda world=world: not list(world.fleet()))  # type: ignore[misc]  # bound at once


@pytest.fixture(scope="session")
def aws_function() -> Iterator[str]:
    with aws_cli_is_ready() as function:
        yield function


@pytest.fixture
def shell(aws: EmbeddedAws, aws_function: str, tmp_path: Path) -> Shell:
    """A terminal in the clone, in which the pages' blocks are typed."""
    made = Shell(tmp_path, aws.port)
    made(f'export PATH="{ROOT / ".venv/bin"}:$PATH"')
    made(aws_function)
    return made


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

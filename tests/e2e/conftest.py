"""One embedded AWS with Rolekeeper deployed by the real SAM CLI, for all end-to-end tests."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from socket import socket

import pytest

from fixtures.aws_cli import Aws, aws_command
from rolekeeper.storage import layout
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


@pytest.fixture(scope="session")
def aws(free_port: Callable[[], int]) -> Iterator[EmbeddedAws]:
    # Pending takes long enough for a function's cold start on a slow machine to see it.
    with EmbeddedAws(port=free_port(), timings=Timings(pending=5)) as embedded:
        embedded.deploy()
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
        world = EmulatedAccount(request.getfixturevalue("aws"))
        for pk, sk in (layout.CHANGES, layout.EDITS):
            world.dynamodb.delete_item(TableName=world.state_table, Key={"pk": {"S": pk}, "sk": {"S": sk}})


@pytest.fixture
def shell(aws: EmbeddedAws, tmp_path: Path) -> Shell:
    """A terminal in which the pages' blocks are typed."""
    return Shell(tmp_path, aws.port)

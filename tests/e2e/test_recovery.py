"""docs/recovery.md: the hub's Region is lost, and a hub is stood up in another one by what the page says to type.

The embedded AWS has no AWS Backup: what the page has it restore is a copy of the table, made here. The lost Region's
functions run nothing; that people ask nothing there until it is back is the page's doing.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import Command
from rolekeeper_local.account import EmulatedAccount, Shown
from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import EmbeddedAws
from rolekeeper_local.spokes import PRESENT, REGIONS, as_operators, deploy_organization, profiles_file
from support.pages import ROOT, Shell, bash_blocks
from support.ports import free_port
from support.waiting import eventually, stays

pytestmark = pytest.mark.emulator

LOST, OTHER = REGIONS
READ, TABLE = "s3-read", "dynamodb-app"
QUIET = 2  # seconds, in which an instance has its role


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory, artifacts: Path) -> Iterator[EmbeddedAws]:
    directory = tmp_path_factory.mktemp("aws")
    with EmbeddedAws(port=free_port(), timings=Timings(pending=1), directory=directory, artifacts=artifacts) as started:
        yield started


@pytest.fixture(scope="module")
def worlds(embedded: EmbeddedAws) -> list[EmulatedAccount]:
    return deploy_organization(embedded, 2)


@pytest.fixture
def person(worlds: list[EmulatedAccount], aws_function: str, tmp_path: Path) -> Shell:
    """Who follows the page, in a folder of their own, with the two profiles."""
    aws = worlds[0].aws
    typed = Shell(tmp_path, aws.port, folder=tmp_path)
    typed(f'export PATH="{ROOT / ".venv/bin"}:$PATH" AWS_ENDPOINT_URL={aws.endpoint}')
    typed(f"export AWS_CONFIG_FILE={profiles_file(aws)} AWS_SHARED_CREDENTIALS_FILE=/dev/null")
    typed(aws_function)
    return typed


def functions(aws: EmbeddedAws, region: str) -> tuple[Any, list[str]]:
    client = aws.session(region=region).client("lambda")
    return client, [each["FunctionName"] for each in client.list_functions()["Functions"]]


def lose(aws: EmbeddedAws) -> None:
    """No function of the old hub runs any longer; its processes ended, and the sessions that they had with them."""
    client, names = functions(aws, LOST)
    for name in names:
        client.update_function_configuration(FunctionName=name, MemorySize=1024)
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)


def find_again(aws: EmbeddedAws) -> None:
    client, names = functions(aws, LOST)
    for name in names:
        client.delete_function_concurrency(FunctionName=name)


def restore(hub: EmulatedAccount) -> None:
    """What AWS Backup restores of its copy in the other Region."""
    schema: Any = hub.dynamodb.describe_table(TableName=hub.state_table)["Table"]
    there = hub.aws.session(region=OTHER).client("dynamodb")
    there.create_table(
        TableName="rolekeeper-restored",
        BillingMode="PAY_PER_REQUEST",
        **{name: schema[name] for name in ("KeySchema", "AttributeDefinitions")},
    )
    for page in hub.dynamodb.get_paginator("scan").paginate(TableName=hub.state_table):
        for item in page["Items"]:
            there.put_item(TableName="rolekeeper-restored", Item=item)


def shown(instances: dict[EmulatedAccount, str]) -> list[Shown | None]:
    return [world.shown(each) for world, each in instances.items()]


def carry(instances: dict[EmulatedAccount, str], role: str) -> None:
    for world, each in instances.items():
        eventually(partial(world.carries, each, role))


def swept(operators: Command, region: str) -> bool:
    return all(row["last_sweep"] for row in operators.json("targets", "--region", region))


def reasons(operators: Command, account: str) -> list[str]:
    """What the old hub says of an account's targets."""
    return [row["reason"] for row in operators.json("targets") if row["account"] == account]


def looks_after(operators: Command, account: str) -> bool:
    """Whether the new hub does so in the Region that was lost."""
    rows = operators.json("targets", "--region", OTHER)
    return (account, LOST) in {(row["account"], row["region"]) for row in rows}


def test_a_hub_is_stood_up_in_another_region_by_the_page(worlds: list[EmulatedAccount], person: Shell) -> None:
    (hub, _, *spokes), aws = worlds, worlds[0].aws
    operators = Command(as_operators(aws))
    export, deploy, records, rows, spoke, trust, look, back = bash_blocks("docs/recovery.md")
    instances = {world: world.launch("web", workload="s3-reader") for world in spokes}
    carry(instances, READ)
    lent = spokes[1].launch("web", workload="s3-reader")
    carry({spokes[1]: lent}, READ)
    operators("replace", f"{spokes[1].account}/{OTHER}/{lent}", TABLE, "--wait")
    person(export)
    restore(hub)
    lose(aws)
    before = [*shown(instances), spokes[1].shown(lent)]

    for block in (deploy, records, rows, spoke, trust):
        person(block)
    person(look.partition("rolekeeper targets")[0])
    eventually(partial(swept, operators, OTHER))
    person("rolekeeper targets" + look.partition("rolekeeper targets")[2])
    stays(lambda: [*shown(instances), spokes[1].shown(lent)] == before, QUIET)

    # The new hub gives, and takes what the old one gave: its grants went over. Only events of its own Region are heard.
    west = spokes[1]
    west.tag(instances[west], workload="dynamodb-app")
    carry({west: instances[west]}, TABLE)
    west.untag(instances[west], "workload")
    eventually(lambda: west.shown(instances[west]) is None)
    assert operators.json("explain", f"{west.account}/{OTHER}/{lent}", "--region", OTHER)["pin"]["role"] == TABLE

    # The old one comes back with rows of its own, and may nothing in the spokes.
    find_again(aws)
    hub.put_mapping("workload", "s3-reader", role=TABLE)
    hub.sweep()
    (east, instance), *_ = instances.items()
    stays(lambda: east.carries(instance, READ) is not None, QUIET)
    eventually(lambda: [each for each in reasons(operators, east.account) if "sts:AssumeRole" in each][1:])

    # The page's last steps: the lost Region's spokes are the new hub's too.
    person(back)
    east.tag(instance, workload="dynamodb-app")
    carry({east: instance}, TABLE)
    aws.fire_rule(hub.account, LOST, PRESENT)
    eventually(partial(looks_after, operators, hub.account))

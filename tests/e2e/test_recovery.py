"""docs/recovery.md: the hub's Region is lost, and a hub is stood up in another one by what the page says to type.

The embedded AWS has no AWS Backup: what the page has it restore are copies of the tables, made here. The lost Region's
functions run nothing; that people ask nothing there until it is back is the page's doing.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import Command
from rolekeeper.fleet.targets import Registry
from rolekeeper.storage import Store
from rolekeeper_local.account import EmulatedAccount, Shown
from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import EmbeddedAws
from rolekeeper_local.spokes import (
    OPERATORS,
    PRESENT,
    REGIONS,
    as_operators,
    deploy_organization,
    deploy_spokes,
    profiles_file,
)
from support.buses import Bus
from support.pages import ROOT, Shell, bash_blocks
from support.ports import free_port
from support.waiting import eventually, stays

pytestmark = pytest.mark.emulator

LOST, OTHER = REGIONS
READ, TABLE = "s3-read", "dynamodb-app"
QUIET = 2  # seconds, in which an instance has its role
#: Of so many more the row is held: by the number in place of 25, and by per cent of all.
FEW, MANY = 3, 6
HELD = ("fleet", "held")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory, artifacts: Path) -> Iterator[EmbeddedAws]:
    directory = tmp_path_factory.mktemp("aws")
    with EmbeddedAws(port=free_port(), timings=Timings(pending=1), directory=directory, artifacts=artifacts) as started:
        yield started


@pytest.fixture(scope="module")
def worlds(embedded: EmbeddedAws) -> list[EmulatedAccount]:
    return deploy_organization(embedded, 2, MaxChangesPerEdit=str(FEW), MaxChangesPercent="10")


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


def ask_for_events(hub: EmulatedAccount, home: EmulatedAccount, world: EmulatedAccount) -> None:
    """Deploy an account's spoke with EventsToAccount, and wait until the hub knows it of one of its Regions."""
    registry = Registry(Store(hub.dynamodb, hub.state_table))
    operators = f"arn:aws:iam::{hub.account}:role/{OPERATORS}"
    deploy_spokes(hub.aws, [home], [operators], EventsToAccount="true")
    hub.aws.fire_rule(world.account, world.region, PRESENT)
    eventually(lambda: (known := registry.get(world.target)) and known.notifies)


def held(hub: EmulatedAccount, world: EmulatedAccount) -> list[str]:
    """Instances of a row that waits for approval."""
    instances = [world.launch("held", **dict([HELD])) for _ in range(MANY)]
    hub.put_mapping(*HELD, role=TABLE)
    eventually(partial(hub.mapping_status, *HELD, "Held"))
    return instances


def restore(hub: EmulatedAccount, former: str, name: str) -> None:
    """What AWS Backup restores of its copy of a table in the other Region."""
    schema: Any = hub.dynamodb.describe_table(TableName=former)["Table"]
    there = hub.aws.session(region=OTHER).client("dynamodb")
    keys = {name: schema[name] for name in ("KeySchema", "AttributeDefinitions")}
    there.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **keys)
    for page in hub.dynamodb.get_paginator("scan").paginate(TableName=former):
        for item in page["Items"]:
            there.put_item(TableName=name, Item=item)


def shown(instances: dict[EmulatedAccount, str]) -> list[Shown | None]:
    return [world.shown(each) for world, each in instances.items()]


def carry(instances: dict[EmulatedAccount, str], role: str) -> None:
    for world, each in instances.items():
        eventually(partial(world.carries, each, role))


def swept(operators: Command, since: datetime) -> bool:
    """Whether the new hub swept all other targets since then; of its own it notes a change, and each day."""
    _own, *others = operators.json("targets", "--region", OTHER)
    return all(row["last_sweep"] and datetime.fromisoformat(row["last_sweep"]) > since for row in others)


def is_refused_everywhere(operators: Command) -> bool:
    """Whether the new hub swept its own target, and may look into no other."""
    own, *others = operators.json("targets", "--region", OTHER)
    return own["last_sweep"] and all(row["reason"] for row in others)


def is_held(operators: Command, waiting: list[str], west: EmulatedAccount) -> bool:
    row = operators.json("mapping", "get", "=".join(HELD), "--region", OTHER)
    return row["status"] == "Held" and not any(map(west.shown, waiting))


def reasons(operators: Command, account: str) -> list[str]:
    """What the old hub says of an account's targets."""
    return [row["reason"] for row in operators.json("targets") if row["account"] == account]


def looks_after(operators: Command, account: str) -> bool:
    """Whether the new hub does so in the Region that was lost."""
    rows = operators.json("targets", "--region", OTHER)
    return (account, LOST) in {(row["account"], row["region"]) for row in rows}


def test_a_hub_is_stood_up_in_another_region_by_the_page(worlds: list[EmulatedAccount], person: Shell) -> None:
    (hub, _, *spokes), aws = worlds, worlds[0].aws
    east, west = spokes
    operators = Command(as_operators(aws))
    export, deploy, waits, spoke, trust, look, back = bash_blocks("docs/recovery.md")
    ask_for_events(hub, east, west)
    instances = {world: world.launch("web", workload="s3-reader") for world in spokes}
    carry(instances, READ)
    lent = west.launch("web", workload="s3-reader")
    carry({west: lent}, READ)
    operators("replace", f"{west.account}/{OTHER}/{lent}", TABLE, "--wait")
    waiting = held(hub, west)
    person(export)
    restore(hub, hub.mapping_table, "rolekeeper-mappings")
    restore(hub, hub.state_table, "rolekeeper-state")
    lose(aws)
    before = [*shown(instances), west.shown(lent)]

    # No spoke lets the new hub in yet, and what was held is held.
    person(deploy)
    assert "=".join(HELD) in person(waits)
    operators("sweep", "--region", OTHER)
    eventually(partial(is_refused_everywhere, operators))
    stays(partial(is_held, operators, waiting, west), QUIET)
    for block in (spoke, trust):
        person(block)
    began = datetime.now(UTC)
    person(look.partition("rolekeeper targets")[0])
    eventually(partial(swept, operators, began))
    person("rolekeeper targets" + look.partition("rolekeeper targets")[2])
    stays(lambda: [*shown(instances), west.shown(lent)] == before, QUIET)
    stays(partial(is_held, operators, waiting, west), QUIET)

    # The new hub gives, and takes what the old one gave: its grants went over. Only events of its own Region are heard.
    bus = Bus(aws, west.account, OTHER).listen({"source": ["rolekeeper"]})
    west.tag(instances[west], workload="dynamodb-app")
    carry({west: instances[west]}, TABLE)
    assert eventually(bus.heard)[0]["detail"]["instance-id"] == instances[west], "the notifier lets it in too"
    west.untag(instances[west], "workload")
    eventually(lambda: west.shown(instances[west]) is None)
    assert operators.json("explain", f"{west.account}/{OTHER}/{lent}", "--region", OTHER)["pin"]["role"] == TABLE
    operators("mapping", "approve", "=".join(HELD), "--region", OTHER, "--yes")
    for instance in waiting:
        carry({west: instance}, TABLE)

    # The old one comes back with rows of its own, and may nothing in the spokes.
    find_again(aws)
    hub.put_mapping("workload", "s3-reader", role=TABLE)
    hub.sweep()
    instance = instances[east]
    stays(lambda: east.carries(instance, READ) is not None, QUIET)
    eventually(lambda: [each for each in reasons(operators, east.account) if "sts:AssumeRole" in each][1:])

    # The page's last steps: the lost Region's spokes are the new hub's too.
    person(back)
    east.tag(instance, workload="dynamodb-app")
    carry({east: instance}, TABLE)
    aws.fire_rule(hub.account, LOST, PRESENT)
    eventually(partial(looks_after, operators, hub.account))

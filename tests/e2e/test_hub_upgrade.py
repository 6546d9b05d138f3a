"""A deployment of one account becomes a hub: what it had stays, and a spoke of a neighbouring version works with it.

There is no former release with a spoke yet, so it is this one's with another number.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import Command
from rolekeeper_cli import installed
from rolekeeper_local.account import EmulatedAccount, starter_mappings
from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import EmbeddedAws
from rolekeeper_local.spokes import deploy_spoke, register, spoke_parameters
from support.pages import Shell, bash_blocks
from support.ports import free_port
from support.waiting import eventually, stays

pytestmark = pytest.mark.emulator

READ, WRITE = "s3-read", "s3-write"
PAGE = "docs/organization.md"
VERSION = installed.version()
MAJOR, MINOR = map(int, VERSION.split(".")[:2])
NEIGHBOUR = f"{MAJOR}.{MINOR - 1 if MINOR else 1}.0"


class Upgraded:
    """A deployment before and after it became a hub: what is stored, and what people see."""

    def __init__(self, aws: EmbeddedAws, home: Path) -> None:
        aws.deploy()
        self.aws, self.world, self.rolekeeper = aws, EmulatedAccount(aws), Command(aws.env)
        self.shell = self._shell(home)
        self.world.deploy_starter_roles()
        self.world.seed_mappings()
        for row in starter_mappings():
            eventually(partial(self.world.mapping_status, row["tag_key"], row["tag_value"], "Published"))
        self.tagged = self.world.launch("tagged", workload="s3-reader")
        self.pinned = self.world.launch("pinned", workload="s3-reader")
        for instance in (self.tagged, self.pinned):
            eventually(partial(self.world.carries, instance, READ))
        self.rolekeeper("replace", self.pinned, WRITE, "--for", "8h", "--reason", "incident 42", "--yes")
        eventually(partial(self.world.carries, self.pinned, WRITE))
        self.before = self.seen()
        self.shell(bash_blocks(PAGE)[0])
        self.rolekeeper("sweep")
        self.after = self.seen()

    def _shell(self, home: Path) -> Shell:
        """A terminal in a clone, with a profile of each account."""
        (home / ".aws").mkdir()
        profiles = {"hub": (self.world.account, "us-east-1"), "web": ("222222222222", "eu-west-1")}
        text = "\n".join(
            f"[profile {profile}]\naws_access_key_id={account}\naws_secret_access_key=any\nregion={region}"
            f"\nendpoint_url={self.aws.endpoint}"
            for profile, (account, region) in profiles.items()
        )
        (home / ".aws/config").write_text(text)
        shell = Shell(home, self.aws.port)
        shell('export PATH="$PWD/.venv/bin:$PATH"')
        return shell

    def seen(self) -> dict[str, Any]:
        """Associations as EC2 has them, rows as the table has them, and what the command says of the rest."""
        instances = self.tagged, self.pinned
        return {
            "associations": [self.world.shown(each) for each in instances],
            "rows": [self.row(row["tag_key"], row["tag_value"]) for row in starter_mappings()],
            "mapping history": self.rolekeeper.json("mapping", "history", "workload=s3-reader"),
            "histories": [self.rolekeeper.json("history", each) for each in instances],
            "pins": [self.rolekeeper.json("explain", each, "--no-who")["pin"] for each in instances],
            "records": self.items("instance#"),
            "published": self.items("mapping#"),
        }

    def row(self, tag_key: str, tag_value: str) -> dict[str, Any]:
        """A row, without what the last sweep counted."""
        found = self.world.mapping(tag_key, tag_value)
        return {name: value for name, value in found.items() if name not in ("matched", "occupied")}

    def items(self, prefix: str) -> list[dict[str, Any]]:
        """What is stored in partitions that begin so, in order."""
        pages = self.world.dynamodb.get_paginator("scan").paginate(TableName=self.world.state_table)
        found = [item for page in pages for item in page["Items"] if item["pk"]["S"].startswith(prefix)]
        return sorted(found, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory, artifacts: Path) -> Iterator[Upgraded]:
    directory = tmp_path_factory.mktemp("aws")
    with EmbeddedAws(port=free_port(), timings=Timings(pending=1), directory=directory, artifacts=artifacts) as aws:
        yield Upgraded(aws, tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize(
    "what", ["associations", "rows", "mapping history", "histories", "pins", "records", "published"]
)
def test_a_deployment_that_becomes_a_hub_keeps(upgraded: Upgraded, what: str) -> None:
    assert upgraded.before[what]
    assert upgraded.after[what] == upgraded.before[what]


def test_its_own_instances_follow_their_tags_and_pins_as_before(upgraded: Upgraded) -> None:
    world = upgraded.world
    world.tag(upgraded.tagged, workload="s3-writer")
    eventually(partial(world.carries, upgraded.tagged, WRITE))
    upgraded.rolekeeper("release", upgraded.pinned)
    eventually(partial(world.carries, upgraded.pinned, READ))


def test_a_spoke_of_the_neighbouring_version_works_and_is_named(upgraded: Upgraded) -> None:
    spoke = EmulatedAccount(upgraded.aws, "111111111111", "eu-west-1")
    spoke.deploy_starter_roles()
    template = installed.file("spoke.yaml").read_text()
    former, numbers = re.subn(rf"'{re.escape(VERSION)}'", f"'{NEIGHBOUR}'", template)
    assert numbers == 2, "the reader's tag and the output"
    deploy_spoke(spoke, {**spoke_parameters(upgraded.aws), "HomeRegion": spoke.region}, former)
    register(upgraded.aws, [spoke])
    upgraded.world.sweep()

    instance = spoke.launch("web", workload="s3-reader")
    shown = eventually(partial(spoke.carries, instance, READ))
    assert f":{spoke.account}:" in shown.arn

    def swept() -> bool:
        [found] = [each for each in upgraded.rolekeeper.json("targets") if each["account"] == spoke.account]
        return bool((found["version"], found["state"]) == (NEIGHBOUR, "well"))

    eventually(swept)
    findings = json.loads(upgraded.rolekeeper("doctor", "--output", "json").stdout)["findings"]
    name = f"{spoke.account}/{spoke.region}"
    [problem] = [each["what"] for each in findings if name in each["what"]]
    assert problem.startswith(f"target {name} has version {NEIGHBOUR}, and the hub {VERSION}: neighbouring versions")


def test_what_the_organizations_page_says_can_be_typed(upgraded: Upgraded, tmp_path: Path) -> None:
    """From the hub, which made this deployment one, over the first spoke to its end."""
    aws, shell, name = upgraded.aws, upgraded.shell, "222222222222/eu-west-1"
    spokes = [EmulatedAccount(aws, "222222222222", region) for region in ("us-east-1", "eu-west-1")]
    _, first, look, units, leave = bash_blocks(PAGE)
    shell(first.replace("hub.json", str(tmp_path / "hub.json")))
    spokes[0].deploy_starter_roles()
    register(aws, spokes)
    upgraded.world.sweep()
    instances = {world: world.launch("web", workload="s3-reader") for world in spokes}
    for world, instance in instances.items():
        eventually(partial(world.carries, instance, READ))
    assert "222222222222" in shell(look)
    assert "222222222222" in shell(units.replace("hub.json", str(tmp_path / "hub.json")))

    shell(leave)
    assert name not in {f"{each['account']}/{each['region']}" for each in upgraded.rolekeeper.json("targets")}
    assert all(world.carries(instance, READ) for world, instance in instances.items()), "they keep their roles"
    for world, instance in instances.items():
        world.untag(instance, "workload")
    stays(lambda: all(world.carries(instance, READ) for world, instance in instances.items()))

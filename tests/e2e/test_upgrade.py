"""What the first edition stored is read by this one: on the embedded AWS, with data that the first edition wrote.

`tests/data/first_edition.json` has both of its tables, after it attached, pinned, left a foreign role alone, and died
once between EC2's answer and its record.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import Command
from rolekeeper.model.instance import InstanceKey
from rolekeeper.storage import layout
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import REGION
from support.waiting import eventually

pytestmark = pytest.mark.emulator

DATA = (Path(__file__).parents[1] / "data" / "first_edition.json").read_text()
ROLES = ("first-web", "first-db")


@pytest.fixture(scope="module")
def upgraded(deployed: EmulatedAccount) -> dict[str, str]:
    """The instances of the first edition by name, with what it stored of them, after one sweep of this edition."""
    world, first = deployed, json.loads(DATA)
    for role in ROLES:
        world.make_role(role)
    world.make_role("first-theirs", path="/")
    ids = {name: world.launch(name) for name in first["instances"]}
    for instance in ids.values():
        eventually(partial(is_running, world, instance), 30)
    text = DATA.replace("123456789012", world.account)
    for name, instance in ids.items():
        was = first["instances"][name]
        made = eventually(partial(associated, world, instance, was["profile"].replace("123456789012", world.account)))
        text = text.replace(was["id"], instance).replace(was["association"], made)
    stored = json.loads(text)
    for table, items in ((world.state_table, stored["state"]), (world.mapping_table, stored["mappings"])):
        for item in items:
            if item.get("pk") != {"S": "fleet"}:
                world.dynamodb.put_item(TableName=table, Item=item)
    for name, instance in ids.items():
        world.tag(instance, **first["instances"][name]["tags"])
    world.sweep()
    return ids


def is_running(world: EmulatedAccount, instance: str) -> bool:
    return world.state(instance) == "running"


def associated(world: EmulatedAccount, instance: str, profile_arn: str) -> str:
    """Attach as the first edition did, once EC2 knows the profile; returns the association's id."""
    try:
        made = world.ec2.associate_iam_instance_profile(InstanceId=instance, IamInstanceProfile={"Arn": profile_arn})
    except world.ec2.exceptions.ClientError as error:
        if error.response["Error"]["Code"] == "InvalidParameterValue":
            return ""
        raise
    return made["IamInstanceProfileAssociation"]["AssociationId"]


@pytest.fixture
def rolekeeper(deployed: EmulatedAccount) -> Command:
    return Command(deployed.aws.env)


def record(world: EmulatedAccount, instance: str) -> Mapping[str, Any]:
    pk, sk = layout.record_key(InstanceKey(world.account, REGION, instance))
    return world.dynamodb.get_item(TableName=world.state_table, Key={"pk": {"S": pk}, "sk": {"S": sk}})["Item"]


def test_mappings_keep_their_revisions_and_histories(
    upgraded: Mapping[str, str], deployed: EmulatedAccount, rolekeeper: Command
) -> None:
    assert upgraded
    web = eventually(partial(deployed.mapping_status, "1st", "web", "Published"))
    assert web["owner"] == "web team"
    kept = rolekeeper.json("mapping", "history", "1st=web")
    assert kept[-1]["revision"] == 1
    assert kept[-1]["at"].startswith("2026-03-01")
    restore = eventually(partial(deployed.mapping_status, "1st", "db", "Rejected"))
    assert "write detach or keep (revision 1 stays" in restore["status_reason"]


def test_instances_keep_their_roles_pins_and_histories(
    upgraded: Mapping[str, str], deployed: EmulatedAccount, rolekeeper: Command
) -> None:
    for name, profile in (("web", ROLES[0]), ("midway", ROLES[0]), ("pinned", ROLES[1]), ("db", "first-theirs")):
        instance = upgraded[name]
        assert deployed.carries(instance, profile), name
    eventually(partial(deployed.condition, upgraded["db"], "occupied"))
    explained = rolekeeper.json("explain", upgraded["pinned"])
    assert (explained["pin"]["role"], explained["pin"]["claimed_reason"]) == ("first-db", "incident 42")
    [*_, attached] = rolekeeper.json("history", upgraded["web"])
    assert (attached["action"], attached["at"][:10]) == ("Attach", "2026-03-01")


@pytest.mark.parametrize("name", ["web", "midway"])
def test_what_the_first_edition_attached_is_given_up_when_its_tag_goes(
    upgraded: Mapping[str, str], deployed: EmulatedAccount, name: str
) -> None:
    """An assignment explains the one, an intent whose outcome nobody recorded the other."""
    instance = upgraded[name]
    deployed.untag(instance, "1st")
    eventually(lambda: deployed.shown(instance) is None)
    names = {each.partition(":")[0] for each in record(deployed, instance)}
    assert names <= {"pk", "sk", "version", "writes", "grant", "change"}


def test_a_released_pin_gives_the_instance_back_to_its_tags(
    upgraded: Mapping[str, str], deployed: EmulatedAccount, rolekeeper: Command
) -> None:
    rolekeeper("release", upgraded["pinned"])
    eventually(lambda: deployed.carries(upgraded["pinned"], ROLES[0]))

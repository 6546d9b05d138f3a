"""From attached to in use, and the end of what was handed out: software on instances, by AWS's own answers."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fixtures.command import Command
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.software import BOTOCORE, CURL, Software
from support.grants import allow, policy
from support.waiting import eventually

pytestmark = pytest.mark.emulator

KEY, OLD, NEW = "uptake", "uptake-old", "uptake-new"
POLICY = "rolekeeper-revoked"
LISTS = policy(allow("s3:ListAllMyBuckets"))


@pytest.fixture(scope="module")
def world(deployed: EmulatedAccount) -> Iterator[EmulatedAccount]:
    for name in (OLD, NEW):
        deployed.make_role(name)
        deployed.iam.put_role_policy(RoleName=name, PolicyName="lists", PolicyDocument=json.dumps(LISTS))
        deployed.put_mapping(KEY, name, role=name)
        eventually(partial(deployed.mapping_status, KEY, name, "Published"))
    yield deployed
    for name in (OLD, NEW):
        deployed.delete_mapping(KEY, name)


@pytest.fixture
def command(world: EmulatedAccount) -> Command:
    return Command(world.aws.env)


def carrying(world: EmulatedAccount, name: str) -> str:
    instance = world.launch(name, **{KEY: OLD})
    eventually(lambda: world.carries(instance, OLD))
    return instance


def passes(software: Software) -> bool:
    """Whether S3 answers it."""
    try:
        software.calls("s3", "list_buckets")
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied":
            raise
        return False
    return True


def role_of(software: Software) -> str:
    return str(software.calls()["Arn"].split("/")[1])


def roles(command: Command, instance: str) -> dict[str, Any]:
    [document] = command.json("uptake", instance)
    return {each["role"]: each for each in document["roles"]}


def test_what_was_handed_out_of_a_former_role_is_seen_and_ended(world: EmulatedAccount, command: Command) -> None:
    app, other = carrying(world, "uptake-app"), carrying(world, "uptake-other")
    curl, botocore = (Software(world.aws, app, sdk) for sdk in (CURL, BOTOCORE))
    others = Software(world.aws, other, BOTOCORE)
    assert [role_of(each) for each in (curl, botocore, others)] == [OLD] * 3
    assert "still carries" in command("revoke", app, "--role", OLD, "--yes", code=1).stderr
    assert passes(botocore)

    said = command("replace", app, NEW, "--yes").stderr
    assert f"at the latest; to end them, once the role is taken away: rolekeeper revoke {app}" in said
    assert (role_of(curl), role_of(botocore)) == (NEW, OLD)
    waited = command.json("wait", app, "--in-use", "--every", "1", "--attempts", "20")
    assert waited["role"] == NEW
    # A record has whole seconds: a call of the first ones may have been made before the replace.
    eventually(lambda: role_of(botocore) == OLD and roles(command, app)[OLD]["status"] == "still-used")
    found = roles(command, app)
    assert (found[NEW]["status"], found[NEW]["first_use"]["agent"]) == ("in-use", "curl/8.5.0")
    assert found[OLD]["last_use"]["agent"].startswith("Boto3/")
    assert "former role" in command("explain", app).stdout
    [row] = command.json("fleet", "--tag", f"{KEY}={OLD}", "--tag", "Name=uptake-app", "--uptake")
    assert [each["status"] for each in row["uptake"]["roles"]] == ["in-use", "still-used"]

    [revoked] = command.json("revoke", app, "--yes")["revoked"]
    assert revoked["role"] == OLD
    eventually(lambda: not passes(botocore))
    assert role_of(botocore) == OLD, "the very same credentials"
    assert passes(curl)
    assert passes(others), "of the same role, on another instance"
    assert command.json("roles", "clean-revoked") == [], "it isn't over"
    document: Any = world.iam.get_role_policy(RoleName=OLD, PolicyName=POLICY)["PolicyDocument"]
    users = [each["Condition"]["StringEquals"]["aws:userid"] for each in document["Statement"]]
    assert [each.partition(":")[2] for each in users] == [app]

"""What a person is shown and asked before anything changes, and what brings things back; EC2's own answer counts."""

import re
from collections.abc import Iterator
from functools import partial

import pytest
from botocore.exceptions import ClientError

from fixtures.command import Command
from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually, stays

pytestmark = pytest.mark.emulator

MANY = 26  # one more than may change without approval


@pytest.fixture(scope="module")
def rolekeeper(deployed: EmulatedAccount) -> Command:
    return Command(deployed.aws.env)


@pytest.fixture(scope="module")
def many(deployed: EmulatedAccount) -> Iterator[list[str]]:
    """Instances with the tag `traps=many`, more than may change without approval; no mapping is for them yet."""
    ids = [deployed.launch(f"traps-{number}", traps="many") for number in range(MANY)]
    eventually(lambda: all(deployed.state(each) == "running" for each in ids), 90)
    yield ids
    deployed.ec2.terminate_instances(InstanceIds=ids)
    eventually(lambda: all(deployed.state(each) == "terminated" for each in ids))


def shown(deployed: EmulatedAccount, value: str) -> set[str]:
    """The roles that EC2 shows on the instances with `traps=value`; an empty text for none."""
    fleet = [row["InstanceId"] for row in deployed.fleet() if {"Key": "traps", "Value": value} in row.get("Tags", [])]
    return {found.profile if (found := deployed.shown(each)) else "" for each in fleet}


# ---- shown and asked ----


def test_set_shows_what_would_happen_asks_and_follows_the_instances(
    rolekeeper: Command, deployed: EmulatedAccount
) -> None:
    ids = [deployed.launch(f"few-{number}", traps="few") for number in range(2)]
    deployed.make_role("not-ours", path="/others/")
    foreign = eventually(partial(_launched_with, deployed, "not-ours"))
    eventually(lambda: all(deployed.state(each) == "running" for each in (*ids, foreign)))
    line = ("mapping", "set", "traps=few", "role=s3-read")

    said = rolekeeper.types("n", *line, code=1)
    assert "Instances: 2 to attach, 0 to replace, 0 to detach; 1 with a foreign role." in said
    assert "Permissions: gains s3:" in said
    assert "Write this into traps=few? [y/N]" in said
    assert (deployed.mapping("traps", "few"), shown(deployed, "few")) == ({}, {"", "not-ours"})

    said = rolekeeper.types("y", *line, "--wait", code=1)
    assert "2 of 3 instances carry what they should; 1 stays as it is." in said
    assert [bool(deployed.carries(each, "s3-read")) for each in ids] == [True, True]
    assert deployed.carries(foreign, "not-ours")
    document = rolekeeper.json("wait", "--mapping", "traps=few", code=1)
    assert (document["done"], [each["instance"].split()[0] for each in document["stuck"]]) == (2, [foreign])

    said = rolekeeper.types("n", "mapping", "rm", "traps=few", code=1)
    assert "Delete traps=few and take the role from 2 instances? [y/N]" in said
    assert deployed.mapping("traps", "few")
    deployed.ec2.terminate_instances(InstanceIds=[foreign])
    eventually(lambda: deployed.state(foreign) == "terminated")
    said = rolekeeper.types("y", "mapping", "rm", "traps=few", "--wait")
    assert "2 of 2 instances carry what they should." in said
    assert [deployed.shown(each) for each in ids] == [None, None]
    deployed.ec2.terminate_instances(InstanceIds=ids)


# ---- what is held ----


@pytest.mark.usefixtures("many")
def test_a_held_deletion_is_approved_as_a_deletion_or_dropped(rolekeeper: Command, deployed: EmulatedAccount) -> None:
    rolekeeper("mapping", "set", "traps=many", "role=s3-read", code=1)
    said = rolekeeper.types("y", "mapping", "approve", "traps=many", "--wait")
    assert re.search(rf"Publish revision \d+ of traps=many, which changes {MANY} instances\? \[y/N\]", said)
    assert f"{MANY} of {MANY} instances carry what they should." in said
    assert re.search(rf"\r\S*\d+ of {MANY} instances carry what they should\S*\r", said), (
        "while it came, it said how far"
    )
    assert shown(deployed, "many") == {"s3-read"}

    done = rolekeeper("mapping", "rm", "traps=many", "--yes", code=1)
    assert "rolekeeper mapping approve traps=many deletes it" in done.stderr
    row = " ".join(_line(rolekeeper("mapping", "ls").stdout, "traps=many").split())
    assert row.startswith("traps=many s3-read (its deletion waits for approval)")
    said = rolekeeper.types("y", "mapping", "rollback", "traps=many")
    assert re.search(r"Discard the deletion of traps=many \(revision \d+, Held\)\? \[y/N\]", said)
    eventually(partial(deployed.mapping_status, "traps", "many", "Published"), 20)
    stays(lambda: shown(deployed, "many") == {"s3-read"}, 3)

    rolekeeper("mapping", "rm", "traps=many", "--yes", code=1)
    said = rolekeeper.types("y", "mapping", "approve", "traps=many", "--wait")
    assert f"Delete traps=many and take the role from {MANY} instances? [y/N]" in said
    assert "Deleted." in said
    assert "serve" not in said.lower()
    assert (deployed.mapping("traps", "many"), shown(deployed, "many")) == ({}, {""})


# ---- what undoes it ----


def _launched_with(deployed: EmulatedAccount, profile: str) -> str:
    """An instance that was launched with a profile, once EC2 knows that; empty before."""
    try:
        return deployed.launch("foreign", traps="few", profile=profile)
    except ClientError as error:
        if "Invalid IAM Instance Profile name" not in str(error):
            raise
        return ""


def _line(text: str, begins: str) -> str:
    [line] = [each for each in text.splitlines() if each.startswith(begins)]
    return line

"""Who did it: `rolekeeper` names who tagged an instance and who gave it a role, as CloudTrail has it."""

from collections.abc import Iterator
from typing import Any

import pytest

from fixtures.aws_cli import Aws, aws_command, make_role, session
from fixtures.command import Command
from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually

pytestmark = pytest.mark.emulator

FOREIGN = "theirs"


def allow(*actions: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": "*"}


@pytest.fixture
def instance(deployed: EmulatedAccount) -> Iterator[str]:
    made = deployed.launch("who")
    eventually(lambda: deployed.state(made) == "running")
    yield made
    deployed.ec2.terminate_instances(InstanceIds=[made])


def test_who_tagged_it_and_who_gave_it_a_foreign_role_are_named(
    deployed: EmulatedAccount, cli: Aws, instance: str
) -> None:
    env = deployed.aws.env
    make_role(cli, FOREIGN, path="/")
    tagger = aws_command({**env, **session(cli, "tagger", "alice", allow("ec2:CreateTags"))})
    may = ("ec2:AssociateIamInstanceProfile", "ec2:ReplaceIamInstanceProfileAssociation", "iam:PassRole")
    tool = aws_command({**env, **session(cli, "other-tool", "nightly", allow(*may))})
    rolekeeper = Command(env)

    tagger("ec2", "create-tags", "--resources", instance, "--tags", "Key=workload,Value=s3-reader")
    ours = eventually(lambda: deployed.carries(instance, "s3-read"))
    [tagged] = rolekeeper.json("explain", instance)["who"]
    assert (tagged["what"], tagged["about"]) == ("tagged", "workload=s3-reader")
    assert tagged["by"]["role"] == "arn:aws:iam::000000000000:role/tagger"
    assert tagged["by"]["session"] == "alice"

    theirs = ["--association-id", ours.association_id, "--iam-instance-profile", f"Name={FOREIGN}"]
    eventually(lambda: replaced(tool, theirs))
    eventually(lambda: deployed.carries(instance, FOREIGN))
    # EC2 sends no event of a change of role.
    rolekeeper("sweep")
    eventually(lambda: rolekeeper.json("history", instance)[0]["code"] == "occupied")
    who = {each["what"]: each for each in rolekeeper.json("explain", instance)["who"]}
    assert who.keys() == {"tagged", "attached", "reverted"}
    assert who["attached"]["about"] == FOREIGN
    assert who["reverted"]["about"] == ours.association_id
    assert {each["by"]["session"] for each in (who["attached"], who["reverted"])} == {"nightly"}

    rows = rolekeeper.json("history", instance, "--who")
    did = [{(each["what"], each["by"]["session"]) for each in row["who"]} for row in rows]
    assert did[0] == {("attached", "nightly"), ("reverted", "nightly")}
    assert did[-1] == {("tagged", "alice")}


def replaced(tool: Aws, arguments: list[str]) -> bool:
    """Replace the association, once EC2 knows the profile."""
    try:
        tool("ec2", "replace-iam-instance-profile-association", *arguments)
    except AssertionError as error:
        if "Invalid IAM Instance Profile" in str(error):
            return False
        raise
    return True

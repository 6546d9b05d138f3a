"""The whole way by plain AWS CLI calls, as a person would type them: nothing of ours but the deployment."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rolekeeper_local.embedded import EmbeddedAws
from support.waiting import eventually, stays

pytestmark = pytest.mark.emulator

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
)
type Aws = Callable[..., Any]


@pytest.fixture
def cli(aws: EmbeddedAws) -> Aws:
    """The installed `aws` command, as a process."""

    def run(*arguments: str) -> Any:
        command = [str(Path(sys.executable).parent / "aws"), *arguments, "--output", "json"]
        done = subprocess.run(
            command,
            env={"PATH": os.environ["PATH"], **aws.env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    return run


def make_role(cli: Aws, name: str) -> None:
    cli("iam", "create-role", "--role-name", name, "--path", "/rolekeeper/", "--assume-role-policy-document", TRUST)
    cli("iam", "create-instance-profile", "--instance-profile-name", name, "--path", "/rolekeeper/")
    cli("iam", "add-role-to-instance-profile", "--instance-profile-name", name, "--role-name", name)


def association(cli: Aws, instance: str) -> Any:
    answer = cli(
        "ec2", "describe-iam-instance-profile-associations", "--filters", f"Name=instance-id,Values={instance}"
    )
    rows = [row for row in answer["IamInstanceProfileAssociations"] if row["State"] != "disassociated"]
    assert len(rows) <= 1, rows
    return rows[0] if rows else None


def carries(cli: Aws, instance: str, profile: str) -> Any:
    found = association(cli, instance)
    ready = found and found["State"] == "associated" and found["IamInstanceProfile"]["Arn"].endswith(f"/{profile}")
    return found if ready else None


def test_tag_retag_untag_stop_and_start_by_the_aws_cli(cli: Aws, aws: EmbeddedAws) -> None:
    table = aws.stack_outputs()["MappingTable"]
    for role in ("cli-web", "cli-batch"):
        make_role(cli, role)
        row = {"tag_key": {"S": "cli"}, "tag_value": {"S": role.removeprefix("cli-")}, "role": {"S": role}}
        cli("dynamodb", "put-item", "--table-name", table, "--item", json.dumps(row))

    tags = "ResourceType=instance,Tags=[{Key=cli,Value=web}]"
    launched = cli("ec2", "run-instances", "--image-id", "ami-12345678", "--tag-specifications", tags)
    instance = launched["Instances"][0]["InstanceId"]
    assert launched["Instances"][0]["State"]["Name"] == "pending"
    first = eventually(lambda: carries(cli, instance, "cli-web"), 30)

    cli("ec2", "create-tags", "--resources", instance, "--tags", "Key=cli,Value=batch")
    second = eventually(lambda: carries(cli, instance, "cli-batch"))
    assert second["AssociationId"] != first["AssociationId"]

    cli("ec2", "delete-tags", "--resources", instance, "--tags", "Key=cli")
    eventually(lambda: association(cli, instance) is None)

    cli("ec2", "create-tags", "--resources", instance, "--tags", "Key=cli,Value=batch")
    eventually(lambda: carries(cli, instance, "cli-batch"))
    cli("ec2", "stop-instances", "--instance-ids", instance)
    cli("ec2", "wait", "instance-stopped", "--instance-ids", instance)
    cli("ec2", "create-tags", "--resources", instance, "--tags", "Key=cli,Value=web")
    stays(lambda: carries(cli, instance, "cli-batch") is not None)
    cli("ec2", "start-instances", "--instance-ids", instance)
    eventually(lambda: carries(cli, instance, "cli-web"), 30)

"""The whole way by plain AWS CLI calls, as a person would type them: nothing of ours but the deployment."""

import json

import pytest

from fixtures.aws_cli import Aws, association, carries, make_role
from rolekeeper_local.embedded import EmbeddedAws
from support.waiting import eventually, stays

pytestmark = pytest.mark.emulator


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

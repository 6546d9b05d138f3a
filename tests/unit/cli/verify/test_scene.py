"""What a verification is played in."""

import json
from itertools import chain, repeat
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError

from fixtures.terminal import Terminal
from rolekeeper.aws.errors import NotReadyError
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.options import Options
from rolekeeper_verify.machine import Machine
from rolekeeper_verify.names import Names
from rolekeeper_verify.proof import INSTANCE, LAUNCH, Record
from rolekeeper_verify.scene import Scene, launch

NEW = "Value (arn:...) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance Profile ARN"


def ec2(refusals: int = 0, code: str = "InvalidParameterValue") -> Mock:
    """EC2 that refuses some launches first: by default, because it doesn't know a profile."""
    refusal = ClientError({"Error": {"Code": code, "Message": NEW}}, "RunInstances")
    answers = chain(repeat(refusal, refusals), repeat({"Instances": [{"InstanceId": "i-1"}]}))
    return Mock(**{"run_instances.side_effect": answers})


def asked(ec2: Mock) -> list[Any]:
    return [each.kwargs for each in ec2.run_instances.call_args_list]


def scene(terminal: Terminal, client: Mock) -> Scene:
    terminal.clients["ec2"] = client
    machine = Machine("t3.nano", "x86_64", subnets=("subnet-1", "subnet-2"), vpc="vpc-1", image="ami-1")
    return Scene(Record(Names("abc123")), Deployment(Options()), machine, {}, security_group="sg-1", events="")


def test_a_launch_waits_until_ec2_knows_the_profile(terminal: Terminal) -> None:
    client = ec2(refusals=3)
    assert launch(scene(terminal, client), profile="arn:profile") == "i-1"
    assert [each["IamInstanceProfile"] for each in asked(client)] == [{"Arn": "arn:profile"}] * 4


@pytest.mark.parametrize(
    ("given", "started"),
    [
        ({"role": "a"}, "rolekeeper-verify.timer rolekeeper-verify-calls.service"),
        ({"profile": "arn:profile"}, "rolekeeper-verify.timer"),
    ],
)
def test_an_instance_ends_itself_and_only_the_one_with_a_tag_calls(
    terminal: Terminal, given: dict[str, str], started: str
) -> None:
    client = ec2()
    launch(scene(terminal, client), **given)
    first, config = asked(client)[0]["UserData"].split("\n", 1)
    cloud = json.loads(config)
    units = {each["path"].rpartition("/")[2]: each["content"] for each in cloud["write_files"]}
    assert (first, cloud["runcmd"]) == ("#cloud-config", [f"systemctl enable --now {started}"])
    assert set(started.split()) <= set(units)
    assert "OnBootSec=45min\n" in units["rolekeeper-verify.timer"]
    assert all("Environment=AWS_REGION=us-east-1\n" in unit for name, unit in units.items() if "calls" in name)


def test_a_profile_that_ec2_never_knows_ends_the_wait(terminal: Terminal) -> None:
    with pytest.raises(NotReadyError):
        launch(scene(terminal, ec2(refusals=1000)), profile="arn:profile")


def test_a_zone_without_room_is_followed_by_the_next_one(terminal: Terminal) -> None:
    client = ec2(refusals=1, code="InsufficientInstanceCapacity")
    assert launch(scene(terminal, client), role="a") == "i-1"
    assert [each["SubnetId"] for each in asked(client)] == ["subnet-1", "subnet-2"]
    assert len({each["ClientToken"] for each in asked(client)}) == 2, "EC2 refuses a token of another request"
    with pytest.raises(CommandError, match=r"no zone has room for t3\.nano: tried subnet-1, subnet-2\n.*--subnet"):
        launch(scene(terminal, ec2(refusals=2, code="InsufficientInstanceCapacity")), role="a")


def test_a_launch_is_recorded_by_its_token_before_it_and_by_its_id_after_it(terminal: Terminal) -> None:
    """So it is proven to be the verification's, wherever the verification is killed."""
    client = Mock()
    played, kept = scene(terminal, client), list[str]()
    played.record.keep = kept.append

    def run_instances(**request: Any) -> Any:
        kept.append(request["ClientToken"])
        return {"Instances": [{"InstanceId": "i-1"}]}

    client.run_instances = run_instances
    launch(played, role="a")
    [before, token, after] = kept
    assert (LAUNCH, token) in read(before)
    assert read(after) == [(LAUNCH, token), (INSTANCE, "i-1")]
    assert len(token) <= 64, "EC2 API reference, RunInstances"


def read(text: str) -> list[tuple[str, str]]:
    return [(type_, ref) for type_, ref, _ in json.loads(text)["made"]]

"""What a verification is played in."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fixtures.terminal import Terminal
from rolekeeper.aws.errors import NotReadyError
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.options import Options
from rolekeeper_cli.verifying.machine import Machine
from rolekeeper_cli.verifying.names import Names
from rolekeeper_cli.verifying.scene import Scene, launch

NEW = "Value (arn:...) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance Profile ARN"


class Ec2:
    """EC2 that doesn't know a profile until some launches were refused."""

    def __init__(self, refusals: int) -> None:
        self.asked: list[Any] = []
        self._refusals = refusals

    def run_instances(self, **asked: Any) -> Any:
        self.asked.append(asked)
        if len(self.asked) <= self._refusals:
            raise ClientError({"Error": {"Code": "InvalidParameterValue", "Message": NEW}}, "RunInstances")
        return {"Instances": [{"InstanceId": "i-1"}]}


def scene(terminal: Terminal, ec2: Ec2) -> Scene:
    terminal.clients["ec2"] = ec2
    machine = Machine("t3.nano", "x86_64", subnet="subnet-1", vpc="vpc-1", image="ami-1")
    return Scene(Names("abc123"), Deployment(Options()), machine, {}, security_group="sg-1", events="")


def test_a_launch_waits_until_ec2_knows_the_profile(terminal: Terminal) -> None:
    ec2 = Ec2(refusals=3)
    assert launch(scene(terminal, ec2), profile="arn:profile") == "i-1"
    assert [each["IamInstanceProfile"] for each in ec2.asked] == [{"Arn": "arn:profile"}] * 4


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
    ec2 = Ec2(refusals=0)
    launch(scene(terminal, ec2), **given)
    first, config = ec2.asked[0]["UserData"].split("\n", 1)
    cloud = json.loads(config)
    units = {each["path"].rpartition("/")[2]: each["content"] for each in cloud["write_files"]}
    assert (first, cloud["runcmd"]) == ("#cloud-config", [f"systemctl enable --now {started}"])
    assert set(started.split()) <= set(units)
    assert "OnBootSec=45min\n" in units["rolekeeper-verify.timer"]
    assert all("Environment=AWS_REGION=us-east-1\n" in unit for name, unit in units.items() if "calls" in name)


def test_a_profile_that_ec2_never_knows_ends_the_wait(terminal: Terminal) -> None:
    with pytest.raises(NotReadyError):
        launch(scene(terminal, Ec2(refusals=1000)), profile="arn:profile")

"""What `rolekeeper launches` prints to be typed, typed: EC2's own answers show what it was good for."""

import json
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import Command
from rolekeeper_local.account import EmulatedAccount, Shown
from support.grants import allow, policy
from support.new_profiles import once_known
from support.pages import ROOT, Shell
from support.waiting import eventually

pytestmark = pytest.mark.emulator

KEY, OURS = "launching", "launch-web"


class Launches:
    """The templates and groups of an account, and the command."""

    def __init__(self, world: EmulatedAccount) -> None:
        self.world, self.command = world, Command(world.aws.env)
        self.ec2: Any = world.ec2
        self.groups: Any = world.aws.session().client("autoscaling")

    def template(self, name: str, profile: str = "", **tags: str) -> None:
        data: dict[str, Any] = {"ImageId": "ami-1", "InstanceType": "t3.micro"}
        if profile:
            data["IamInstanceProfile"] = {"Name": profile}
        if tags:
            given = [{"Key": key, "Value": value} for key, value in tags.items()]
            data["TagSpecifications"] = [{"ResourceType": "instance", "Tags": given}]
        self.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)

    def group(self, name: str, template: str, version: str = "$Default", **tags: str) -> None:
        given = [{"Key": key, "Value": value, "PropagateAtLaunch": True} for key, value in tags.items()]
        specified = {"LaunchTemplateName": template, "Version": version}
        make = partial(self.groups.create_auto_scaling_group, AutoScalingGroupName=name, MinSize=0, MaxSize=1)
        eventually(partial(once_known, partial(make, LaunchTemplate=specified, Tags=given)))

    def grows(self, name: str) -> str:
        """Have a group launch its instance; returns the id."""
        self.groups.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=1)
        return str(eventually(partial(self.members, name))[0]["InstanceId"])

    def members(self, name: str) -> list[Any]:
        found = self.groups.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        return list(found[0]["Instances"])

    def run(self, template: str) -> str:
        named = {"LaunchTemplateName": template}
        made = self.ec2.run_instances(MinCount=1, MaxCount=1, LaunchTemplate=named)
        return str(made["Instances"][0]["InstanceId"])

    def verdicts(self, *words: str) -> dict[str, str]:
        return {each["name"]: each["verdict"] for each in self.command.json("launches", *words)}

    def steps(self, name: str) -> list[str]:
        [found] = self.command.json("launches", "explain", name)
        return [each["command"] for each in found["steps"]]


@pytest.fixture(scope="module")
def launches(deployed: EmulatedAccount) -> Iterator[Launches]:
    deployed.make_role(OURS)
    completes = json.dumps(policy(allow("autoscaling:CompleteLifecycleAction", "arn:aws:autoscaling:*:*:*")))
    deployed.iam.put_role_policy(RoleName=OURS, PolicyName="completes", PolicyDocument=completes)
    deployed.put_mapping(KEY, "web", role=OURS)
    eventually(partial(deployed.mapping_status, KEY, "web", "Published"))
    made = Launches(deployed)
    yield made
    for each in made.groups.describe_auto_scaling_groups()["AutoScalingGroups"]:
        made.groups.delete_auto_scaling_group(AutoScalingGroupName=each["AutoScalingGroupName"], ForceDelete=True)
    for each in made.ec2.describe_launch_templates()["LaunchTemplates"]:
        made.ec2.delete_launch_template(LaunchTemplateId=each["LaunchTemplateId"])
    deployed.delete_mapping(KEY, "web")


@pytest.fixture
def cli(launches: Launches, shell: Shell) -> Shell:
    """The shell, with the AWS CLI at the embedded AWS."""
    shell.export(launches.world.aws.env)
    return shell


def _profile(shown: Shown | None) -> str:
    return shown.profile if shown else ""


def test_the_printed_commands_make_a_late_template_and_a_late_group_born_right(launches: Launches, cli: Shell) -> None:
    launches.template("fixed", **{KEY: "web"})
    launches.template("numbered")
    launches.group("fixed-group", "numbered", "1", **{KEY: "web"})
    names = ("fixed", "fixed-group")
    assert set(launches.verdicts("explain", *names).values()) == {"a-few-seconds-late"}
    for name in names:
        for step in launches.steps(name)[:2]:
            cli(step)
    assert set(launches.verdicts("explain", *names).values()) == {"born-right"}
    for instance in (launches.run("fixed"), launches.grows("fixed-group")):
        assert _profile(launches.world.shown(instance)) == OURS


def test_with_the_hook_and_the_boot_script_an_instance_is_in_service_only_with_its_role(
    launches: Launches, cli: Shell, tmp_path: Path
) -> None:
    world, name = launches.world, "traffic"
    launches.template("traffic-template")
    launches.group(name, "traffic-template", **{KEY: "web"})
    hook, boot_script = launches.steps(name)[-2:]
    cli(hook)
    script = tmp_path / "wait-for-role.sh"
    script.write_text(launches.command(*boot_script.split()[1:]).stdout)
    instance = launches.grows(name)
    env = {
        "PATH": f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}",
        "AWS_ENDPOINT_URL": world.aws.endpoint,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": world.aws.imds(instance),
        "LIFECYCLE_HOOK": "wait-for-role",
        "AUTO_SCALING_GROUP": name,
        "HOME": str(tmp_path),
    }
    with subprocess.Popen(
        ["sh", str(script), OURS, "60"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as boot:
        eventually(lambda: launches.members(name)[0]["LifecycleState"] == "InService")
        assert world.carries(instance, OURS)
        said, _ = boot.communicate(timeout=20)
    # It waited: without credentials, or without a hook that waits, the AWS CLI would have complained.
    assert (boot.returncode, said) == (0, f"wait-for-role: it has the role {OURS}\n")

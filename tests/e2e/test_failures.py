"""What goes wrong on AWS goes wrong here too, and nothing is lost: checked against EC2's own answer."""

import json
from typing import Any

import pytest

from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import STACK
from support.buses import Bus
from support.grants import deny, policy
from support.roles import make_role
from support.waiting import eventually

pytestmark = pytest.mark.emulator


def told(bus: Bus, kind: str, **detail: str) -> Any:
    fitting = (each for each in bus.heard() if each["detail-type"] == kind and detail.items() <= each["detail"].items())
    return next(fitting, None)


def attached(world: EmulatedAccount, instance: str, profile: str) -> None:
    # Later a follow-up may make any of these good.
    eventually(lambda: world.carries(instance, profile), 45)


def test_a_role_without_a_profile_gets_one_and_is_attached_once_ec2_knows_it(deployed: EmulatedAccount) -> None:
    name = "without-profile"
    make_role(deployed.aws, deployed.account, {"Service": "ec2.amazonaws.com"}, name=name)
    instance = deployed.launch("new-profile", fresh=name)
    eventually(lambda: deployed.state(instance) == "running")
    deployed.put_mapping("fresh", name, role=name)
    attached(deployed, instance, name)
    assert deployed.mapping("fresh", name)["status"] == "Published"


def test_a_missing_permission_is_told_by_action_and_resource_and_heals(deployed: EmulatedAccount, bus: Bus) -> None:
    iam = deployed.aws.session().client("iam")
    resource = deployed.cloudformation.describe_stack_resource(StackName=STACK, LogicalResourceId="OnInstanceEventRole")
    function_role = str(resource["StackResourceDetail"]["PhysicalResourceId"])
    denied = json.dumps(policy(deny("ec2:AssociateIamInstanceProfile")))
    instance = deployed.launch("denied")
    eventually(lambda: deployed.state(instance) == "running")
    iam.put_role_policy(RoleName=function_role, PolicyName="deny-for-a-test", PolicyDocument=denied)
    try:
        deployed.tag(instance, workload="s3-reader")
        event = eventually(lambda: told(bus, "Permission Missing", action="ec2:AssociateIamInstanceProfile"))
        assert instance in event["detail"]["resource"]
        assert deployed.shown(instance) is None
        shown = eventually(lambda: deployed.condition(instance, "denied"), 480)  # a redelivery takes six minutes
        assert "ec2:AssociateIamInstanceProfile" in shown.reason
    finally:
        iam.delete_role_policy(RoleName=function_role, PolicyName="deny-for-a-test")
    deployed.sweep()
    attached(deployed, instance, "s3-read")

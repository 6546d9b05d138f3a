"""What goes wrong on AWS goes wrong here too, and nothing is lost: checked against EC2's own answer."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import ACCOUNT, STACK
from support.buses import Bus
from support.grants import deny, policy
from support.roles import make_role
from support.waiting import eventually, stays

pytestmark = pytest.mark.emulator


def told(bus: Bus, kind: str, **detail: str) -> Any:
    fitting = (each for each in bus.heard() if each["detail-type"] == kind and detail.items() <= each["detail"].items())
    return next(fitting, None)


def attached(world: EmulatedAccount, instance: str, profile: str) -> None:
    # Later a follow-up may make any of these good.
    eventually(lambda: world.carries(instance, profile), 45)


def test_a_lost_running_event_is_made_good_by_the_retry_loop(deployed: EmulatedAccount) -> None:
    instance = deployed.launch("loop", workload="s3-reader")
    # The tag event of the launch has been delivered: the running event is the next, and is lost.
    deployed.aws.drop_events(instance)
    eventually(lambda: deployed.condition(instance, "changing"))
    attached(deployed, instance, "s3-read")


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


def test_the_functions_cant_attach_a_role_outside_the_path_whatever_the_table_says(deployed: EmulatedAccount) -> None:
    deployed.make_role("outside", path="/")
    deployed.make_role("ceiling")
    arn = f"arn:aws:iam::{deployed.account}:instance-profile/outside"
    deployed.put_mapping("ceiling", "x", role="ceiling")
    eventually(lambda: deployed.mapping_status("ceiling", "x", "Published"))
    # Another actor forges what is published. Even root has to lift the table's policy for that.
    forge: Any = {
        "TableName": deployed.state_table,
        "Key": {"pk": {"S": "mapping#7:ceiling#x"}, "sk": {"S": f"published#{ACCOUNT}"}},
        "UpdateExpression": "SET profile_arn = :arn",
        "ConditionExpression": "attribute_exists(pk)",
        "ExpressionAttributeValues": {":arn": {"S": arn}},
    }
    with pytest.raises(ClientError, match="explicit deny in a resource-based policy"):
        deployed.dynamodb.update_item(**forge)
    with deployed.without_table_policy():
        deployed.dynamodb.update_item(**forge)
    instance = deployed.launch("ceiling", ceiling="x")
    eventually(lambda: deployed.condition(instance, "denied"))
    stays(lambda: deployed.shown(instance) is None)

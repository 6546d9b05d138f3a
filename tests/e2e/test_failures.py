"""What goes wrong on AWS goes wrong here too, and nothing is lost: checked against EC2's own answer."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from rolekeeper.model.instance import InstanceKey
from rolekeeper.storage.table import Store
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import ACCOUNT, REGION, STACK
from support.changes import changes_of
from support.waiting import eventually, stays

pytestmark = pytest.mark.emulator

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def lets_send(service: str, queue_arn: str) -> str:
    """The policy of a queue that takes what a service sends."""
    principal = {"Service": f"{service}.amazonaws.com"}
    allow = {"Effect": "Allow", "Principal": principal, "Action": "sqs:SendMessage", "Resource": queue_arn}
    return json.dumps({"Version": "2012-10-17", "Statement": [allow]})


@pytest.fixture(scope="session")
def told(deployed: EmulatedAccount) -> Iterator[Any]:
    """The events that Rolekeeper emits, as a rule and a queue of somebody else's get them."""
    session = deployed.aws.session()
    sqs, events = session.client("sqs"), session.client("events")
    url = sqs.create_queue(QueueName="told")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": lets_send("events", arn)})
    events.put_rule(Name="told", EventPattern=json.dumps({"source": ["rolekeeper"]}))
    events.put_targets(Rule="told", Targets=[{"Id": "told", "Arn": arn}])
    seen: list[dict[str, Any]] = []

    def named(kind: str, **detail: str) -> dict[str, Any] | None:
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", ()):
            seen.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        fitting = (each for each in seen if each["detail-type"] == kind and detail.items() <= each["detail"].items())
        return next(fitting, None)

    yield named
    events.remove_targets(Rule="told", Ids=["told"])


def role(world: EmulatedAccount, *, path: str = "/rolekeeper/", trust: Any = TRUST, profile: bool = True) -> str:
    """A role of a new name, with a profile as the console makes it."""
    iam, name = world.aws.session().client("iam"), f"role-{uuid.uuid4().hex[:8]}"
    iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=json.dumps(trust))
    if profile:
        iam.create_instance_profile(InstanceProfileName=name, Path=path)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return name


def attached(world: EmulatedAccount, instance: str, profile: str, seconds: float = 30) -> None:
    eventually(lambda: world.carries(instance, profile), seconds)


def test_a_lost_running_event_is_made_good_by_the_retry_loop(deployed: EmulatedAccount) -> None:
    instance = deployed.launch("loop", workload="s3-reader")
    # The tag event of the launch has been delivered: the running event is the next, and is lost.
    deployed.aws.drop_events(instance)
    eventually(lambda: deployed.condition(instance, "changing"), 4)
    attached(deployed, instance, "s3-read")


def test_a_role_without_a_profile_gets_one_and_is_attached_once_ec2_knows_it(deployed: EmulatedAccount) -> None:
    name = role(deployed, profile=False)
    instance = deployed.launch("new-profile", fresh=name)
    eventually(lambda: deployed.state(instance) == "running")
    deployed.put_mapping("fresh", name, role=name)
    attached(deployed, instance, name)
    assert deployed.mapping("fresh", name)["status"] == "Published"


def test_a_missing_permission_is_told_by_action_and_resource_and_heals(deployed: EmulatedAccount, told: Any) -> None:
    iam = deployed.aws.session().client("iam")
    resource = deployed.cloudformation.describe_stack_resource(StackName=STACK, LogicalResourceId="OnInstanceEventRole")
    function_role = str(resource["StackResourceDetail"]["PhysicalResourceId"])
    deny = {"Effect": "Deny", "Action": "ec2:AssociateIamInstanceProfile", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    instance = deployed.launch("denied")
    eventually(lambda: deployed.state(instance) == "running")
    iam.put_role_policy(RoleName=function_role, PolicyName="deny-for-a-test", PolicyDocument=policy)
    try:
        deployed.tag(instance, workload="s3-reader")
        event = eventually(lambda: told("Permission Missing", action="ec2:AssociateIamInstanceProfile"))
        assert instance in event["detail"]["resource"]
        assert deployed.shown(instance) is None
        shown = deployed.condition(instance, "denied")
        assert shown
        assert "ec2:AssociateIamInstanceProfile" in shown.reason
    finally:
        iam.delete_role_policy(RoleName=function_role, PolicyName="deny-for-a-test")
    deployed.sweep()
    attached(deployed, instance, "s3-read")


def test_the_functions_cant_attach_a_role_outside_the_path_whatever_the_table_says(deployed: EmulatedAccount) -> None:
    outside = role(deployed, path="/")
    arn = f"arn:aws:iam::{deployed.account}:instance-profile/{outside}"
    deployed.put_mapping("ceiling", "x", role=role(deployed))
    eventually(lambda: deployed.mapping_status("ceiling", "x", "Published"))
    # Somebody with write access to our state table forges what is published.
    key = {"pk": {"S": "mapping#7:ceiling#x"}, "sk": {"S": f"published#{ACCOUNT}"}}
    deployed.dynamodb.update_item(
        TableName=deployed.state_table,
        Key=key,
        UpdateExpression="SET profile_arn = :arn",
        ConditionExpression="attribute_exists(pk)",
        ExpressionAttributeValues={":arn": {"S": arn}},
    )
    instance = deployed.launch("ceiling", ceiling="x")
    eventually(lambda: deployed.condition(instance, "denied"))
    stays(lambda: deployed.shown(instance) is None)


def test_the_history_explains_a_mutation(deployed: EmulatedAccount, told: Any) -> None:
    instance = deployed.launch("history", workload="s3-reader")
    attached(deployed, instance, "s3-read")
    store = Store(deployed.dynamodb, deployed.state_table)
    (entry,) = changes_of(store, InstanceKey(deployed.account, REGION, instance))
    shown = deployed.shown(instance)
    assert shown is not None
    assert entry["answer"]["association-id"] == shown.association_id
    assert entry["decision"]["mapping"] == "workload=s3-reader"
    assert entry["seen"]["state"] == "running"
    assert entry["cause"]
    event = eventually(lambda: told("Role Attached", **{"instance-id": instance}))
    assert event["detail"]["correlation-id"] == entry["correlation_id"]

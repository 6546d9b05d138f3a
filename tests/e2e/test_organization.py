"""A hub and its spokes on the embedded AWS: two accounts in two Regions, and a stranger that has the same spoke.

All roles are EC2's own answer in that account and Region.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fixtures.command import Command
from rolekeeper.aws.queue import Task
from rolekeeper.fleet.targets import WIRE_FORMAT, Registry, ServedTarget
from rolekeeper.mappings.account_runs import ASKED
from rolekeeper.mappings.fan_out import FEW
from rolekeeper.model.instance import InstanceKey, Target
from rolekeeper.storage import Store, layout
from rolekeeper_local.account import EmulatedAccount, Shown
from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import ACCOUNT, STACK, EmbeddedAws
from rolekeeper_local.next_steps import next_steps
from rolekeeper_local.spokes import (
    CHANGER,
    NAMES,
    OPERATORS,
    PRESENT,
    READER,
    REGIONS,
    VIEWER,
    as_operators,
    deploy_organization,
    deploy_spokes,
    role_removed,
)
from support.pages import Shell
from support.ports import free_port
from support.roles import ANYBODY, assumed, make_role
from support.waiting import eventually, stays

pytestmark = pytest.mark.emulator

STRANGER = "333333333333"
READ, TABLE = "s3-read", "dynamodb-app"
QUIET = 2  # seconds, in which an instance of the organization has its role


class Organization:
    """The administrators of its targets, the hub's own first, and that of a stranger's account."""

    def __init__(self, aws: EmbeddedAws) -> None:
        self.aws = aws
        self.worlds = deploy_organization(aws, 2)
        self.hub, self.last = self.worlds[0], self.worlds[-1]
        self.stranger = EmulatedAccount(aws, STRANGER)
        self.stranger.deploy_starter_roles()
        deploy_spokes(aws, [self.stranger])

    def launch(self, *worlds: EmulatedAccount, **tags: str) -> dict[EmulatedAccount, str]:
        """One instance in each, by default in all; they run."""
        instances = {world: world.launch("web", **tags) for world in worlds or self.worlds}
        for world, instance in instances.items():
            eventually(partial(runs, world, instance))
        return instances

    def messages(self) -> dict[str, int]:
        """What became of the messages of the work queue."""
        return self.aws.message_counts()[arn_of(self.hub, "WorkQueue")]

    def is_done(self) -> bool:
        """Whether all that was sent so far is done."""
        counts = self.messages()
        return counts["sent"] == counts["deleted"]


def runs(world: EmulatedAccount, instance: str) -> bool:
    return world.state(instance) == "running"


def arn_of(hub: EmulatedAccount, output: str) -> str:
    """The ARN of one of the hub's queues."""
    sqs, url = hub.aws.session().client("sqs"), hub.aws.stack_outputs()[output]
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def carries_own(world: EmulatedAccount, instance: str, profile: str) -> Shown | None:
    """The association, once EC2 shows this account's own profile as associated."""
    shown = world.carries(instance, profile)
    own = f"arn:aws:iam::{world.account}:instance-profile/rolekeeper/{profile}"
    return shown if shown and shown.arn == own else None


def all_carry(instances: dict[EmulatedAccount, str], profile: str) -> list[Shown]:
    return [eventually(partial(carries_own, world, each, profile)) for world, each in instances.items()]


def none_carries(instances: dict[EmulatedAccount, str]) -> bool:
    return all(world.shown(each) is None for world, each in instances.items())


@pytest.fixture(scope="module")
def organization(tmp_path_factory: pytest.TempPathFactory, artifacts: Path) -> Iterator[Organization]:
    directory = tmp_path_factory.mktemp("aws")
    with EmbeddedAws(port=free_port(), timings=Timings(pending=1), directory=directory, artifacts=artifacts) as aws:
        yield Organization(aws)


@pytest.fixture(autouse=True)
def few_changes_lately(organization: Organization) -> None:
    """No test is held back for what those before it changed."""
    for world in organization.worlds:
        world.forget_changes()


def test_a_stranger_with_the_same_spoke_is_neither_heard_nor_looked_at(organization: Organization) -> None:
    """Runs first: nothing else happens meanwhile, so whatever reached the queue would be the stranger's."""
    stranger, state = organization.stranger, organization.hub.state_table
    eventually(organization.is_done)
    before = organization.messages()["sent"]
    instances = organization.launch(stranger, workload="s3-reader")
    organization.aws.fire_rule(STRANGER, stranger.region, PRESENT)
    stays(lambda: organization.messages()["sent"] == before and none_carries(instances), QUIET)
    organization.hub.sweep()
    stays(lambda: none_carries(instances), QUIET)
    for pk in (layout.instance_pk(InstanceKey(STRANGER, stranger.region, each)) for each in instances.values()):
        found = organization.hub.dynamodb.query(
            TableName=state, KeyConditionExpression="pk = :pk", ExpressionAttributeValues={":pk": {"S": pk}}
        )
        assert found["Items"] == []
    refused = organization.aws.log.read_text().count(f"arn:aws:events:us-east-1:{STRANGER}:rule/")
    assert refused >= 3, "its state, its tags and its schedule were sent, and refused by the bus"


def test_launch_retag_and_detach_use_each_accounts_own_profiles(organization: Organization) -> None:
    instances = organization.launch(workload="s3-reader")
    before = all_carry(instances, READ)
    for world, instance in instances.items():
        world.tag(instance, workload="dynamodb-app")
    after = all_carry(instances, TABLE)
    assert not {each.association_id for each in before} & {each.association_id for each in after}, "replaced"
    for world, instance in instances.items():
        world.untag(instance, "workload")
    eventually(lambda: none_carries(instances))


def test_the_profiles_that_are_there_show_operators_every_account(organization: Organization) -> None:
    instances = organization.launch(workload="s3-reader")
    all_carry(instances, READ)
    rows = Command(as_operators(organization.aws)).json("fleet", "--tag", "workload=s3-reader")
    found = {row["instance"]: (row["account"], row["region"], row["carries"]) for row in rows}
    assert {each: found[each] for each in instances.values()} == {
        instance: (world.account, world.region, READ) for world, instance in instances.items()
    }
    other = Command({**as_operators(organization.aws), "AWS_PROFILE": NAMES[1]})
    assert "there is no stack 'rolekeeper'" in other("targets", code=253).stderr


def test_what_an_account_of_the_organization_makes_up_reaches_no_queue(organization: Organization) -> None:
    """Only as a forwarder may it send to the bus, and only in the name of AWS, in which nobody can.

    It sends of an instance whose tag nobody heard of: a message of it would have that instance get its role.
    """
    aws, world, spoke = organization.aws, organization.last, organization.last.account
    [instance] = organization.launch(world).values()
    eventually(organization.is_done)
    aws.drop_events(instance)
    world.tag(instance, workload="s3-reader")
    entry = {
        "EventBusName": aws.stack_outputs()["SpokeBus"],
        "DetailType": "EC2 Instance State-change Notification",
        "Detail": json.dumps({"instance-id": instance, "state": "running"}),
    }

    def send(sender: Any, source: str) -> Any:
        return sender.client("events").put_events(Entries=[{**entry, "Source": source}])

    sends = {"Effect": "Allow", "Action": "events:PutEvents", "Resource": "*"}
    role = make_role(aws, spoke, ANYBODY, sends, name="rolekeeper-forwarder-ap-south-1", path="/")
    forwarder = assumed(aws, role)
    [answer] = send(forwarder, "aws.ec2")["Entries"]
    assert answer["ErrorCode"] == "NotAuthorizedForSourceException"
    another = assumed(aws, make_role(aws, spoke, ANYBODY, sends))
    for each in (forwarder, another, aws.session(account=spoke), aws.session(account=STRANGER)):
        with pytest.raises(ClientError, match="AccessDeniedException"):
            send(each, "my.ec2")
    stays(lambda: world.shown(instance) is None, QUIET)


def test_a_spoke_without_its_changer_has_its_instances_wait_and_no_others(organization: Organization) -> None:
    """IAM is global: the roles of the account's other Region are the same."""
    others = [each for each in organization.worlds if each.account != organization.last.account]
    with role_removed(organization.last, CHANGER):
        waiting = organization.launch(organization.last, workload="s3-reader")
        all_carry(organization.launch(*others, workload="s3-reader"), READ)
        stays(lambda: none_carries(waiting), QUIET)
    organization.hub.sweep()
    all_carry(waiting, READ)


def delivered(operators: Command, address: str) -> bool:
    [software] = operators.json("uptake", address)
    return bool(software["roles"][0]["delivered_at"])


def test_operators_pin_and_explain_an_instance_of_another_account(organization: Organization) -> None:
    operators, world = Command(as_operators(organization.aws)), organization.last
    [instance] = organization.launch(world).values()
    address = f"{world.account}/{world.region}/{instance}"
    operators("attach", address, READ, "--wait")
    shown = carries_own(world, instance, READ)
    assert shown
    assert operators.json("explain", address)["carries"]["profile_arn"] == shown.arn
    # By the viewer of that account, which may look up its CloudTrail's events.
    eventually(lambda: delivered(operators, address))
    assert operators.json("release", address)["released"] == READ
    eventually(lambda: world.shown(instance) is None)


def events_of(world: EmulatedAccount) -> Callable[[], list[dict[str, Any]]]:
    """What comes from here on as Rolekeeper's events onto the default bus of an account and Region."""
    session = world.aws.session(account=world.account, region=world.region)
    sqs, events = session.client("sqs"), session.client("events")
    url = sqs.create_queue(QueueName="seen")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="seen", EventPattern=json.dumps({"source": ["rolekeeper"]}))
    events.put_targets(Rule="seen", Targets=[{"Id": "seen", "Arn": arn}])
    return lambda: [json.loads(each["Body"]) for each in sqs.receive_message(QueueUrl=url).get("Messages", [])]


def test_an_account_that_asks_for_it_sees_on_its_own_bus_what_is_done_to_its_instances(
    organization: Organization,
) -> None:
    home, world = organization.worlds[2:]
    operators = f"arn:aws:iam::{organization.hub.account}:role/{OPERATORS}"
    deploy_spokes(organization.aws, [home], [operators], EventsToAccount="true")
    organization.aws.fire_rule(world.account, world.region, PRESENT)
    registry = Registry(Store(world.dynamodb, world.state_table))
    eventually(lambda: (known := registry.get(world.target)) and known.notifies)
    seen = events_of(world)
    [instance] = organization.launch(world, workload="s3-reader").values()
    [event] = eventually(seen)
    assert (event["detail-type"], event["detail"]["instance-id"]) == ("Role Attached", instance)
    assert (event["account"], event["region"]) == (world.account, world.region)
    eventually(organization.is_done)
    assert seen() == [], "the hub doesn't answer its own event"


@contextmanager
def more_targets(home: EmulatedAccount, world: EmulatedAccount, number: int) -> Iterator[None]:
    """Further Regions of an account, in the registry as if its spoke were there; the account's roles know them."""
    registry, now = Registry(Store(world.dynamodb, world.state_table)), datetime.now(UTC)
    served = {each.target.region for each in registry.all()}
    others = [each for each in world.aws.session().get_available_regions("ec2") if each not in served]
    added = [Target(world.account, region) for region in others[:number]]
    assert len(added) == number
    regions = ",".join([*REGIONS, *(target.region for target in added)])
    operators = f"arn:aws:iam::{ACCOUNT}:role/{OPERATORS}"
    deploy_spokes(world.aws, [home], [operators], EventsToAccount="true", Regions=regions)
    with world.without_table_policy():
        for target in added:
            registry.add(ServedTarget(target, since=now, last_sweep=now, wire_format=WIRE_FORMAT))
    try:
        yield
    finally:
        for target in added:
            registry.remove(target)


def done_by_children(hub: EmulatedAccount, task: Task) -> list[str] | None:
    """The accounts in which a child of the accounts machine did a task, once that has ended."""
    steps = hub.aws.session().client("stepfunctions")
    found = hub.cloudformation.describe_stack_resource(StackName=STACK, LogicalResourceId="AccountsStateMachine")
    machine = str(found["StackResourceDetail"]["PhysicalResourceId"])
    executions = steps.list_executions(stateMachineArn=machine)["executions"]
    named = [each for each in executions if each["name"].startswith(f"{task}-")]
    if not named or any(each["status"] == "RUNNING" for each in named):
        return None
    runs = [run for each in named for run in steps.list_map_runs(executionArn=each["executionArn"])["mapRuns"]]
    listed = [each for run in runs for each in steps.list_executions(mapRunArn=run["mapRunArn"])["executions"]]
    children = [steps.describe_execution(executionArn=each["executionArn"]) for each in listed]
    assert {each["status"] for each in (*named, *children)} == {"SUCCEEDED"}
    return sorted(json.loads(each["input"])["account"] for each in children)


def test_an_edit_in_more_targets_than_one_run_asks_is_judged_and_sent_by_a_run_for_each_account(
    organization: Organization,
) -> None:
    hub, world = organization.hub, organization.last
    instances = organization.launch(workload="reports")
    eventually(organization.is_done)
    with more_targets(organization.worlds[2], world, max(ASKED, FEW)):
        hub.put_mapping("workload", "reports", role=READ)
        asked = eventually(partial(done_by_children, hub, Task.JUDGE))
        row = eventually(partial(hub.mapping_status, "workload", "reports", "Published"))
        assert (row["status_reason"], row["matched"]) == ("in effect in 2 accounts", len(instances))
        sent = eventually(partial(done_by_children, hub, Task.FAN_OUT))
        assert asked == sent == [hub.account, world.account]
        all_carry(instances, READ)
    hub.delete_mapping("workload", "reports")
    eventually(lambda: none_carries(instances))


def test_what_is_typed_next_gives_a_role_in_another_account(
    organization: Organization, aws_function: str, tmp_path: Path
) -> None:
    _title, block, _end = next_steps(organization.aws, 2).split("\n\n")
    shell = Shell(tmp_path, organization.aws.port)
    shell(aws_function)
    said = shell(block)
    spoke = organization.worlds[2]
    [instance] = [row["InstanceId"] for row in spoke.fleet() if {"Key": "app", "Value": "web"} in row["Tags"]]
    assert carries_own(spoke, instance, READ)
    address = f"{spoke.account}/{spoke.region}/{instance}"
    assert re.search(rf"^{address} .* ok$", said, re.MULTILINE), "of fleet"
    assert "it carries role s3-read, as app=web asks" in said, "of explain"


# ---- attacks ----


def may_be(aws: EmbeddedAws, arn: str, account: str, name: str = "rolekeeper") -> set[str]:
    """Which roles of an account's spoke a session of this role can assume, by this name."""
    sts, found = assumed(aws, arn).client("sts"), set()
    for role in (READER, CHANGER, VIEWER):
        try:
            sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/{role}", RoleSessionName=name)
            found.add(role)
        except ClientError as refusal:
            if refusal.response["Error"]["Code"] != "AccessDenied":
                raise
    return found


def test_the_hubs_functions_alone_can_be_a_spokes_reader_and_changer(organization: Organization) -> None:
    """That they can, every other test here shows; a session of their roles that isn't a function's can't."""
    aws, hub, spoke = organization.aws, organization.hub, organization.last.account
    found = hub.cloudformation.describe_stack_resource(StackName=STACK, LogicalResourceId="OnInstanceEventRole")
    name = str(found["StackResourceDetail"]["PhysicalResourceId"])
    function = f"arn:aws:iam::{hub.account}:role/{name}"
    assert may_be(aws, function, spoke) == may_be(aws, function, STRANGER) == set()
    anything = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
    others = [make_role(aws, account, ANYBODY, anything) for account in (hub.account, spoke, STRANGER)]
    others.append(make_role(aws, STRANGER, ANYBODY, anything, name=name))
    assert {each: may_be(aws, each, spoke) for each in others} == {each: set() for each in others}
    # It is the hub's own policy that refused it: the spoke trusts the role, by its sessions' names.
    hub.iam.put_role_policy(RoleName=name, PolicyName="anything", PolicyDocument=json.dumps({"Statement": [anything]}))
    try:
        assert may_be(aws, function, spoke) == {READER, CHANGER}
        assert may_be(aws, function, spoke, "test") == set()
    finally:
        hub.iam.delete_role_policy(RoleName=name, PolicyName="anything")


def test_nothing_was_lost_on_the_way(organization: Organization) -> None:
    """Runs last: of all messages none is lost or dead, and each instance's is done."""
    counts = organization.messages()
    assert (counts["lost"], counts["dead"], counts["expired"]) == (0, 0, 0), counts
    dead = organization.aws.message_counts().get(arn_of(organization.hub, "DeadLetterQueue"), {})
    assert dead.get("sent", 0) == 0

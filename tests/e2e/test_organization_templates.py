"""A hub and spokes by their templates alone: whose events reach the hub's work queue, and which roles it can be where.

The work queue's function is kept from its queue, so that a test sees what arrives there.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rolekeeper.fleet.targets import UNIT_TAG, VERSION_TAG
from rolekeeper_cli import installed
from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import STACK, EmbeddedAws
from support.roles import ANYBODY, make_role
from support.waiting import eventually, stays

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("organization")]

# Of all of them but the stranger.
ORGANIZATION = "o-embeddedaws"
HUB, SPOKE, OTHER, STRANGER = "000000000000", "111111111111", "222222222222", "333333333333"
HOME, AWAY = "us-east-1", "eu-west-1"
# Where a spoke is deployed, and in which Region of its account are its roles; of SPOKE another Region comes first.
SPOKES = [(SPOKE, HOME, AWAY), (SPOKE, AWAY, AWAY), (OTHER, HOME, HOME), (HUB, AWAY, AWAY), (STRANGER, HOME, HOME)]
UNIT = "ou-a1b2-c3d4e5f6"  # of OTHER
LOOKING = ("OnInstanceEvent", "OnRetry", "OnMappingChange", "OnSchedule")
CHANGING = ("OnInstanceEvent", "OnMappingChange", "OnSchedule")
AMI = "ami-0abcdef1234567890"
SENDS = {"Effect": "Allow", "Action": "events:PutEvents", "Resource": "*"}
#: What never comes wasn't merely late: all that does come takes less.
QUIET = 1.0


@dataclass
class Organization:
    """The embedded AWS with a hub in HOME of HUB."""

    aws: EmbeddedAws
    arrived: list[Any] = field(default_factory=list)

    def client(self, service: str, account: str = HUB, region: str = HOME) -> Any:
        session: Any = self.aws.session(account=account, region=region)
        return session.client(service)

    def resource(self, name: str) -> str:
        """The physical id of one of the hub's resources."""
        found = self.client("cloudformation").describe_stack_resource(StackName=STACK, LogicalResourceId=name)
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    def keep_messages(self) -> None:
        """Let the work queue's function take none, from now on."""
        client, queue = self.client("lambda"), self.resource("WorkQueue").rpartition("/")[2]
        sources = client.list_event_source_mappings()["EventSourceMappings"]
        [source] = [each for each in sources if each["EventSourceArn"].endswith(f":{queue}")]
        client.update_event_source_mapping(UUID=source["UUID"], Enabled=False)

    def deploy_spoke(self, account: str, region: str, home: str) -> None:
        """Deploy spoke.yaml as it is, as that account's administrator."""
        outputs = self.aws.stack_outputs()
        parameters = {
            "HubAccount": HUB,
            "HubRegion": HOME,
            "OrganizationId": ORGANIZATION,
            "HubReaders": outputs["HubReaders"],
            "HubChangers": outputs["HubChangers"],
            "HomeRegion": home,
            "OrganizationalUnit": UNIT if account == OTHER else "",
        }
        client = self.client("cloudformation", account, region)
        client.create_stack(
            StackName="rolekeeper-spoke",
            TemplateBody=installed.file("spoke.yaml").read_text(),
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )
        client.get_waiter("stack_create_complete").wait(StackName="rolekeeper-spoke", WaiterConfig={"Delay": 1})

    def launch(self, account: str, region: str) -> str:
        """Launch an instance with a tag."""
        tags: Any = [{"ResourceType": "instance", "Tags": [{"Key": "workload", "Value": "web"}]}]
        ec2 = self.client("ec2", account, region)
        made = ec2.run_instances(ImageId=AMI, MinCount=1, MaxCount=1, TagSpecifications=tags)
        return str(made["Instances"][0]["InstanceId"])

    def work(self, account: str, region: str, named: str = "") -> list[str]:
        """The sources of the events of this account and Region in the hub's work queue that name this resource."""
        client, queue = self.client("sqs"), self.resource("WorkQueue")
        while messages := client.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            for each in messages:
                self.arrived.append(json.loads(each["Body"]))
                client.delete_message(QueueUrl=queue, ReceiptHandle=each["ReceiptHandle"])
        found = [each for each in self.arrived if (each["account"], each["region"]) == (account, region)]
        return sorted(each["source"] for each in found if any(arn.endswith(named) for arn in each["resources"]))

    def function(self, name: str) -> str:
        """The ARN of a function's role."""
        return f"arn:aws:iam::{HUB}:role/{self.resource(f'{name}Role')}"

    def session(self, arn: str, *then: str) -> Any:
        """A session of a role, which its account's administrator assumes; and of those that it assumes then."""
        session = self.aws.session(account=arn.split(":")[4])
        for each in (arn, *then):
            got: Any = session.client("sts").assume_role(RoleArn=each, RoleSessionName="test")
            session = self.aws.session(credentials=got["Credentials"])
        return session

    def may_be(self, arn: str, role: str) -> bool:
        """Whether a session of the one role can assume the other."""
        session = self.session(arn)
        try:
            session.client("sts").assume_role(RoleArn=role, RoleSessionName="test")
        except ClientError as refusal:
            if refusal.response["Error"]["Code"] != "AccessDenied":
                raise
            return False
        return True


def named(account: str, role: str) -> str:
    return f"arn:aws:iam::{account}:role/rolekeeper-{role}"


@pytest.fixture(scope="module")
def organization(free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Organization]:
    directory: Path = tmp_path_factory.mktemp("organization")
    with EmbeddedAws(port=free_port(), timings=Timings(pending=0, propagation=0), directory=directory) as aws:
        aws.deploy(Mode="enforce", OrganizationId=ORGANIZATION)
        made = Organization(aws)
        made.keep_messages()
        for each in SPOKES:
            made.deploy_spoke(*each)
        yield made


@pytest.mark.parametrize(("account", "unit"), [(OTHER, UNIT), (SPOKE, None)])
def test_a_reader_says_its_accounts_unit_where_the_spoke_was_given_one(
    organization: Organization, account: str, unit: str | None
) -> None:
    role = organization.client("iam", account).get_role(RoleName="rolekeeper-reader")["Role"]
    tags = {each["Key"]: each["Value"] for each in role["Tags"]}
    assert (tags.get(UNIT_TAG), VERSION_TAG in tags) == (unit, True)


# ---- events ----


@pytest.mark.parametrize(("account", "region"), [(HUB, HOME), *((each[0], each[1]) for each in SPOKES[:-1])])
def test_what_happens_to_an_instance_reaches_the_work_queue_once(
    organization: Organization, account: str, region: str
) -> None:
    instance = organization.launch(account, region)
    assert eventually(lambda: len(found := organization.work(account, region, instance)) == 2 and found) == [
        "aws.ec2",
        "aws.tag",
    ]
    stays(lambda: len(organization.work(account, region, instance)) == 2, QUIET)


def test_nothing_comes_from_a_strangers_spoke_nor_where_there_is_none(organization: Organization) -> None:
    for account, region in ((STRANGER, HOME), (OTHER, AWAY)):
        organization.launch(account, region)
    stays(lambda: not organization.work(STRANGER, HOME) and not organization.work(OTHER, AWAY), QUIET)


def test_a_spoke_says_each_day_that_it_is_there(organization: Organization) -> None:
    for account, region in ((SPOKE, AWAY), (STRANGER, HOME)):
        organization.aws.fire_rule(account, region, "rolekeeper-present")
    rule = ":rule/rolekeeper-present"
    assert eventually(lambda: organization.work(SPOKE, AWAY, rule)) == ["aws.events"]
    stays(lambda: not organization.work(STRANGER, HOME, rule), QUIET)


def test_what_an_account_of_the_organization_makes_up_reaches_no_queue(organization: Organization) -> None:
    """Only as a forwarder may it send to the bus, and not in the name of AWS."""
    bus = organization.aws.stack_outputs()["SpokeBus"]
    instance = f"arn:aws:ec2:us-east-1:{SPOKE}:instance/i-0123456789abcdef0"
    entry = {
        "EventBusName": bus,
        "DetailType": "EC2 Instance State-change Notification",
        "Detail": json.dumps({"instance-id": "i-0123456789abcdef0", "state": "running"}),
        "Resources": [instance],
    }
    forwarder = make_role(organization.aws, OTHER, ANYBODY, SENDS, name=f"rolekeeper-forwarder-{AWAY}", path="/")
    events = organization.session(forwarder).client("events")
    assert events.put_events(Entries=[{**entry, "Source": "my.ec2"}])["FailedEntryCount"] == 0
    [answer] = events.put_events(Entries=[{**entry, "Source": "aws.ec2"}])["Entries"]
    assert answer["ErrorCode"] == "NotAuthorizedForSourceException"
    another = organization.session(make_role(organization.aws, OTHER, ANYBODY, SENDS)).client("events")
    for refused in (another, *(organization.client("events", account) for account in (OTHER, STRANGER))):
        with pytest.raises(ClientError, match="AccessDeniedException"):
            refused.put_events(Entries=[{**entry, "Source": "my.ec2"}])
    stays(lambda: not organization.work(OTHER, HOME, "i-0123456789abcdef0"), QUIET)


# ---- roles ----


@pytest.mark.parametrize("account", [SPOKE, OTHER, HUB])
def test_the_hubs_functions_can_be_a_spokes_reader_and_changer(organization: Organization, account: str) -> None:
    functions = (*LOOKING, "OnStateChange")
    for role, trusted in (("reader", LOOKING), ("changer", CHANGING), (f"forwarder-{AWAY}", ())):
        asked = {each: organization.may_be(organization.function(each), named(account, role)) for each in functions}
        assert {each for each, may in asked.items() if may} == set(trusted)


def test_nobody_else_can(organization: Organization) -> None:
    anything = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
    same_name = organization.resource("OnInstanceEventRole")
    others = [
        make_role(organization.aws, HUB, ANYBODY, anything),
        make_role(organization.aws, OTHER, ANYBODY, anything, name=same_name),
        make_role(organization.aws, SPOKE, ANYBODY, anything),
        make_role(organization.aws, STRANGER, ANYBODY, anything),
    ]
    assert not any(organization.may_be(each, named(SPOKE, role)) for each in others for role in ("reader", "changer"))


def test_a_stranger_that_trusts_the_hub_is_not_reached(organization: Organization) -> None:
    function = organization.function("OnInstanceEvent")
    assert not any(organization.may_be(function, named(STRANGER, role)) for role in ("reader", "changer"))


def test_the_sweep_may_invoke_itself_and_no_other_function_may(organization: Organization) -> None:
    name = organization.resource("OnSchedule")
    for function in LOOKING:
        client = organization.session(organization.function(function)).client("lambda")
        if function == "OnSchedule":
            answer = client.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"task": "expiries"}')
            assert answer["StatusCode"] == 202
        else:
            with pytest.raises(ClientError, match="AccessDenied"):
                client.invoke(FunctionName=name, InvocationType="Event")


def test_the_reader_sees_the_spokes_instances_and_its_own_version(organization: Organization) -> None:
    instance = organization.launch(SPOKE, HOME)
    session = organization.session(organization.function("OnRetry"), named(SPOKE, "reader"))
    answer = session.client("ec2", region_name=HOME).describe_instances(InstanceIds=[instance])
    assert answer["Reservations"][0]["OwnerId"] == SPOKE
    tags = session.client("iam").get_role(RoleName="rolekeeper-reader")["Role"]["Tags"]
    assert {"Key": "rolekeeper:version", "Value": installed.version()} in tags
    with pytest.raises(ClientError, match="not authorized"):
        session.client("ec2", region_name=HOME).create_tags(Resources=[instance], Tags=[{"Key": "a", "Value": "b"}])


def test_the_changer_gives_roles_under_the_path_and_no_other(organization: Organization) -> None:
    iam, instance = organization.client("iam", SPOKE), organization.launch(SPOKE, HOME)
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    for name, path in (("web", "/rolekeeper/"), ("admin", "/")):
        iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=document)
        iam.create_instance_profile(InstanceProfileName=name, Path=path)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    session = organization.session(organization.function("OnInstanceEvent"), named(SPOKE, "changer"))
    ec2, theirs = session.client("ec2", region_name=HOME), organization.client("ec2", SPOKE, HOME)
    eventually(
        lambda: (
            theirs.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["State"]["Name"]
            == "running"
        )
    )
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        ec2.associate_iam_instance_profile(IamInstanceProfile={"Name": "admin"}, InstanceId=instance)
    ec2.associate_iam_instance_profile(IamInstanceProfile={"Name": "web"}, InstanceId=instance)
    [found] = theirs.describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
    assert found["IamInstanceProfile"]["Arn"] == f"arn:aws:iam::{SPOKE}:instance-profile/rolekeeper/web"
    session.client("iam").create_instance_profile(InstanceProfileName="made", Path="/rolekeeper/")
    with pytest.raises(ClientError, match="AccessDenied"):
        session.client("iam").create_instance_profile(InstanceProfileName="made-outside", Path="/")

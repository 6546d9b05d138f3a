"""The embedded AWS's buses: the policy that says who may send to one, by PutPermission and by a stack."""

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rolekeeper_local.embedded import EmbeddedAws
from support.buses import Bus
from support.waiting import eventually

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

HUB, SPOKE = "000000000000", "111111111111"
ORGANIZATION: Any = {"Type": "StringEquals", "Key": "aws:PrincipalOrgID", "Value": "o-embeddedaws"}


@pytest.fixture
def bus(aws: EmbeddedAws) -> Bus:
    return Bus(aws, HUB, name=f"hub-{uuid.uuid4().hex[:8]}")


def statements(bus: Bus) -> Any:
    return json.loads(bus.events.describe_event_bus(Name=bus.name)["Policy"])["Statement"]


def test_a_permission_becomes_a_statement_of_the_policy(bus: Bus) -> None:
    assert "Policy" not in bus.events.describe_event_bus(Name=bus.name)
    put: Any = {"EventBusName": bus.name, "Action": "events:PutEvents"}
    bus.events.put_permission(**put, StatementId="one", Principal=SPOKE)
    bus.events.put_permission(**put, StatementId="all", Principal="*", Condition=ORGANIZATION)
    common = {"Effect": "Allow", "Action": "events:PutEvents", "Resource": bus.arn}
    in_organization = {"StringEquals": {"aws:PrincipalOrgID": "o-embeddedaws"}}
    assert statements(bus) == [
        {"Sid": "one", "Principal": {"AWS": f"arn:aws:iam::{SPOKE}:root"}, **common},
        {"Sid": "all", "Principal": "*", "Condition": in_organization, **common},
    ]
    bus.events.put_permission(**put, StatementId="all", Principal="*")
    assert "Condition" not in statements(bus)[1], "put again, a statement takes the place of the former"
    bus.events.remove_permission(EventBusName=bus.name, StatementId="one")
    assert [each["Sid"] for each in statements(bus)] == ["all"]
    bus.events.remove_permission(EventBusName=bus.name, RemoveAllPermissions=True)
    assert "Policy" not in bus.events.describe_event_bus(Name=bus.name)


def test_a_whole_policy_is_kept_as_it_was_given(bus: Bus) -> None:
    statement = {"Sid": "it", "Effect": "Deny", "Principal": "*", "Action": "events:*", "Resource": bus.arn}
    bus.events.put_permission(EventBusName=bus.name, Policy=json.dumps({"Statement": [statement]}))
    assert statements(bus) == [statement]


def test_what_is_not_there_or_too_long_is_refused(bus: Bus) -> None:
    put: Any = {"Action": "events:PutEvents", "StatementId": "one", "Principal": SPOKE}
    errors = bus.events.exceptions
    with pytest.raises(errors.ResourceNotFoundException):
        bus.events.put_permission(EventBusName="none", **put)
    with pytest.raises(errors.ResourceNotFoundException, match="does not have a policy"):
        bus.events.remove_permission(EventBusName=bus.name, StatementId="one")
    bus.events.put_permission(EventBusName=bus.name, **put)
    with pytest.raises(errors.ResourceNotFoundException, match="id does not exist"):
        bus.events.remove_permission(EventBusName=bus.name, StatementId="two")
    with pytest.raises(errors.PolicyLengthExceededException):
        bus.events.put_permission(EventBusName=bus.name, Policy=json.dumps({"Statement": [{"Sid": "x" * 10_300}]}))
    with pytest.raises(ClientError, match="ValidationException"):
        bus.events.put_permission(EventBusName=bus.name, Policy="no JSON")


def test_a_bus_is_named_by_its_arn_too_in_its_own_region(aws: EmbeddedAws, bus: Bus) -> None:
    assert bus.events.describe_event_bus(Name=bus.arn)["Name"] == bus.name
    bus.events.put_rule(Name="by-arn", EventBusName=bus.arn, EventPattern='{"source": ["told"]}')
    assert bus.events.describe_rule(Name="by-arn", EventBusName=bus.name)["EventBusName"] == bus.name
    with pytest.raises(ClientError, match="Cross-region API call is not allowed"):
        Bus(aws, HUB, "eu-west-1").events.put_rule(Name="no", EventBusName=bus.arn, EventPattern='{"source": ["told"]}')


def test_a_bus_that_is_made_anew_has_no_policy(bus: Bus) -> None:
    bus.events.put_permission(EventBusName=bus.name, Action="events:PutEvents", StatementId="one", Principal="*")
    bus.events.delete_event_bus(Name=bus.name)
    bus.events.create_event_bus(Name=bus.name)
    assert "Policy" not in bus.events.describe_event_bus(Name=bus.name)


def test_a_stack_gives_its_bus_statements_changes_them_and_takes_them_back(aws: EmbeddedAws) -> None:
    cloudformation = aws.session(account=HUB).client("cloudformation")
    events = aws.session(account=HUB).client("events")

    def template(condition: str) -> str:
        statement = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "events:PutEvents",
            "Resource": {"Fn::GetAtt": ["Bus", "Arn"]},
            "Condition": {"StringEquals": {"aws:PrincipalOrgID": condition}},
        }
        own = {"EventBusName": {"Ref": "Bus"}, "StatementId": "organization", "Statement": statement}
        default = {"StatementId": "of-a-stack", "Action": "events:PutEvents", "Principal": SPOKE}
        return json.dumps(
            {
                "Resources": {
                    "Bus": {"Type": "AWS::Events::EventBus", "Properties": {"Name": "of-a-stack"}},
                    "Own": {"Type": "AWS::Events::EventBusPolicy", "Properties": own},
                    "Default": {"Type": "AWS::Events::EventBusPolicy", "Properties": default},
                }
            }
        )

    def done(status: str) -> bool:
        return cloudformation.describe_stacks(StackName="buses")["Stacks"][0]["StackStatus"] == status

    def policy(name: str) -> str:
        return str(events.describe_event_bus(Name=name).get("Policy"))

    cloudformation.create_stack(StackName="buses", TemplateBody=template("o-one"))
    eventually(lambda: done("CREATE_COMPLETE"), 20)
    assert f"arn:aws:events:us-east-1:{HUB}:event-bus/of-a-stack" in policy("of-a-stack")
    assert ("o-one" in policy("of-a-stack"), SPOKE in policy("default")) == (True, True)
    cloudformation.update_stack(StackName="buses", TemplateBody=template("o-two"))
    eventually(lambda: done("UPDATE_COMPLETE"), 20)
    assert ("o-one" in policy("of-a-stack"), "o-two" in policy("of-a-stack")) == (False, True)
    cloudformation.delete_stack(StackName="buses")
    eventually(lambda: policy("default") == "None", 20)


def test_a_bus_of_a_stack_can_bring_its_policy(aws: EmbeddedAws) -> None:
    session = aws.session(account=SPOKE, region="eu-west-1")
    statement = {"Sid": "it", "Effect": "Allow", "Principal": "*", "Action": "events:PutEvents", "Resource": "*"}
    properties = {"Name": "with-policy", "Policy": {"Version": "2012-10-17", "Statement": [statement]}}
    template = json.dumps({"Resources": {"Bus": {"Type": "AWS::Events::EventBus", "Properties": properties}}})
    session.client("cloudformation").create_stack(StackName="bus", TemplateBody=template)
    events = session.client("events")
    eventually(lambda: [each for each in events.list_event_buses()["EventBuses"] if each["Name"] == "with-policy"], 20)
    described = eventually(lambda: events.describe_event_bus(Name="with-policy").get("Policy"), 20)
    assert json.loads(described)["Statement"] == [statement]


def test_a_rule_of_a_stack_has_its_bus_in_its_id_unless_that_is_the_default_one(aws: EmbeddedAws) -> None:
    session = aws.session(account=SPOKE, region="eu-west-3")
    cloudformation: Any = session.client("cloudformation")
    events = session.client("events")

    def template(*sources: str) -> str:
        rule = {"EventPattern": {"source": list(sources)}}
        own = {**rule, "EventBusName": {"Ref": "Bus"}}
        kinds = {"Bus": ("EventBus", {"Name": "of-rules"}), "Own": ("Rule", own), "Default": ("Rule", rule)}
        resources = {
            name: {"Type": f"AWS::Events::{kind}", "Properties": properties}
            for name, (kind, properties) in kinds.items()
        }
        return json.dumps({"Resources": resources})

    def ids() -> dict[str, str]:
        found = cloudformation.describe_stack_resources(StackName="rules")["StackResources"]
        return {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in found}

    def sources(rule: str, **bus: Any) -> Any:
        return json.loads(events.describe_rule(Name=rule, **bus)["EventPattern"])["source"]

    name = ""
    for given, done in ((["one"], "create"), (["one", "two"], "update")):
        getattr(cloudformation, f"{done}_stack")(StackName="rules", TemplateBody=template(*given))
        cloudformation.get_waiter(f"stack_{done}_complete").wait(StackName="rules", WaiterConfig={"Delay": 1})
        bus, _, name = ids()["Own"].partition("|")
        assert (bus, sources(name, EventBusName="of-rules")) == ("of-rules", given)
        assert sources(ids()["Default"]) == given
    cloudformation.delete_stack(StackName="rules")
    eventually(lambda: not events.list_rules()["Rules"], 20)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        events.describe_rule(Name=name, EventBusName="of-rules")

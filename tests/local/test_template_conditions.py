"""The embedded AWS's stacks in other accounts and Regions, and their conditions on where they are."""

import json
import re
import uuid
from typing import Any

import pytest

from rolekeeper_local.embedded import EmbeddedAws
from support.waiting import eventually

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

HUB, SPOKE = "000000000000", "111111111111"


def equals(name: str, value: Any) -> dict[str, Any]:
    return {"Fn::Equals": [{"Ref": name}, value]}


def queue(condition: str = "") -> dict[str, Any]:
    return {"Type": "AWS::SQS::Queue", **({"Condition": condition} if condition else {})}


#: As a spoke's: what is an account's is made in one Region only, and what is a Region's in each.
TEMPLATE = json.dumps(
    {
        "Parameters": {"HomeRegion": {"Type": "String"}},
        "Conditions": {
            "Home": equals("AWS::Region", {"Ref": "HomeRegion"}),
            "Elsewhere": {"Fn::Not": [{"Condition": "Home"}]},
            "InSpoke": equals("AWS::AccountId", SPOKE),
            "HomeOfSpoke": {"Fn::And": [{"Condition": "Home"}, {"Condition": "InSpoke"}]},
            "InChina": equals("AWS::Partition", "aws-cn"),
        },
        "Resources": {
            "Everywhere": queue(),
            "AtHome": queue("Home"),
            "AtHomeOfSpoke": queue("HomeOfSpoke"),
            "OnlyElsewhere": queue("Elsewhere"),
            "Never": queue("InChina"),
        },
        "Outputs": {
            "Queue": {"Value": {"Fn::GetAtt": ["Everywhere", "Arn"]}},
            "Where": {"Value": {"Fn::If": ["Home", "at home", "elsewhere"]}},
            "AtHome": {"Condition": "Home", "Value": {"Fn::GetAtt": ["AtHome", "Arn"]}},
        },
    }
)


def done(client: Any, name: str) -> Any:
    """The stack, once it is."""
    [stack] = client.describe_stacks(StackName=name)["Stacks"]
    return None if stack["StackStatus"].endswith("_IN_PROGRESS") else stack


@pytest.mark.parametrize(
    ("account", "region", "made"),
    [
        (SPOKE, "us-east-1", {"AtHome", "AtHomeOfSpoke"}),
        (SPOKE, "eu-west-1", {"OnlyElsewhere"}),
        (HUB, "us-east-1", {"AtHome"}),
    ],
)
def test_a_condition_knows_where_the_stack_is(aws: EmbeddedAws, account: str, region: str, made: set[str]) -> None:
    client, name = aws.session(account=account, region=region).client("cloudformation"), f"s{uuid.uuid4().hex[:8]}"
    home: Any = [{"ParameterKey": "HomeRegion", "ParameterValue": "us-east-1"}]
    client.create_stack(StackName=name, TemplateBody=TEMPLATE, Parameters=home)
    stack = eventually(lambda: done(client, name))
    assert (stack["StackStatus"], f":{region}:{account}:" in stack["StackId"]) == ("CREATE_COMPLETE", True)
    resources = client.describe_stack_resources(StackName=name)["StackResources"]
    assert {each["LogicalResourceId"] for each in resources} == {"Everywhere", *made}
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
    assert outputs["Queue"].startswith(f"arn:aws:sqs:{region}:{account}:")
    assert outputs["Where"] == ("at home" if "AtHome" in made else "elsewhere")
    assert ("AtHome" in outputs) == ("AtHome" in made)


def test_what_a_stack_names_is_another_name_in_each_region(aws: EmbeddedAws) -> None:
    """Roles are the same in all Regions: another Region's stack would take them."""
    template = json.dumps(
        {"Resources": {"Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {}}}}}
    )
    roles = set[str]()
    for region in ("us-east-1", "eu-west-1"):
        client = aws.session(account=SPOKE, region=region).client("cloudformation")
        client.create_stack(StackName="named", TemplateBody=template, Capabilities=["CAPABILITY_IAM"])
        eventually(lambda client=client: done(client, "named"))  # type: ignore[misc]  # bound at once
        made = client.describe_stack_resource(StackName="named", LogicalResourceId="Role")["StackResourceDetail"]
        roles.add(made["PhysicalResourceId"])
    assert len(roles) == 2
    assert all(re.fullmatch("named-Role-[0-9A-F]{13}", each) for each in roles)


def test_a_change_set_shows_what_a_changed_condition_makes_and_takes_away(aws: EmbeddedAws) -> None:
    client = aws.session(account=SPOKE, region="eu-west-1").client("cloudformation")
    asked: Any = {"StackName": "moves", "TemplateBody": TEMPLATE}
    for region, changes in (
        ("us-east-1", {("Add", "Everywhere"), ("Add", "OnlyElsewhere")}),
        ("eu-west-1", {("Add", "AtHome"), ("Add", "AtHomeOfSpoke"), ("Remove", "OnlyElsewhere")}),
    ):
        client.create_change_set(
            **asked,
            ChangeSetName=f"to-{region}",
            ChangeSetType="CREATE" if region == "us-east-1" else "UPDATE",
            Parameters=[{"ParameterKey": "HomeRegion", "ParameterValue": region}],
        )
        made: Any = {"StackName": "moves", "ChangeSetName": f"to-{region}"}
        client.get_waiter("change_set_create_complete").wait(**made, WaiterConfig={"Delay": 1})
        shown = [each["ResourceChange"] for each in client.describe_change_set(**made)["Changes"]]
        assert {(each["Action"], each["LogicalResourceId"]) for each in shown} == changes
        client.execute_change_set(**made)
        eventually(lambda: done(client, "moves"))
    resources = client.describe_stack_resources(StackName="moves")["StackResources"]
    there = {each["LogicalResourceId"] for each in resources if each["ResourceStatus"] != "DELETE_COMPLETE"}
    assert there == {"Everywhere", "AtHome", "AtHomeOfSpoke"}

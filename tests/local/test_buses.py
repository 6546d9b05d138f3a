"""The embedded AWS's event buses: their policies, and what arrives on one of another account or Region."""

import json
import uuid
from typing import Any
from urllib.error import HTTPError

import pytest
from botocore.exceptions import ClientError

from rolekeeper_local.embedded import EmbeddedAws
from support.buses import Bus
from support.roles import ANYBODY, assumed, make_role
from support.waiting import eventually, stays

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

HUB, SPOKE, OTHER, STRANGER = "000000000000", "111111111111", "222222222222", "333333333333"
EVENTS = {"Service": "events.amazonaws.com"}
#: What never comes wasn't merely late: all that does come takes less.
QUIET = 0.5


def may_send(*arns: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "events:PutEvents", "Resource": list(arns)}


def entry(source: str, bus: str = "default") -> Any:
    return {"Source": source, "DetailType": "Told", "Detail": '{"text": "x"}', "EventBusName": bus}


@pytest.fixture(scope="module")
def hub(aws: EmbeddedAws) -> Bus:
    """A bus that the organization may send to, and that keeps all from `told.…`."""
    bus = Bus(aws, HUB, name="hub").listen({"source": [{"prefix": "told."}]})
    bus.lets_in("*", StringEquals={"aws:PrincipalOrgID": "o-embeddedaws"})
    return bus


def heard(hub: Bus, source: str) -> list[Any]:
    return [each for each in hub.heard() if each["source"] == source]


# ---- PutEvents ----


def test_an_account_of_the_organization_sends_to_the_hubs_bus_by_its_arn(aws: EmbeddedAws, hub: Bus) -> None:
    answer = Bus(aws, SPOKE).events.put_events(Entries=[entry("told.put", hub.arn), entry("own.put")])
    assert answer["FailedEntryCount"] == 0
    (event,) = eventually(lambda: heard(hub, "told.put"))
    assert (event["id"], event["account"]) == (answer["Entries"][0]["EventId"], SPOKE)
    assert (event["region"], event["detail"]) == ("us-east-1", {"text": "x"})


def test_a_stranger_is_refused_by_the_buss_policy(aws: EmbeddedAws, hub: Bus) -> None:
    with pytest.raises(ClientError, match="AccessDeniedException") as refusal:
        Bus(aws, STRANGER).events.put_events(Entries=[entry("told.strange", hub.arn)])
    words = f"on resource: {hub.arn} because no resource-based policy allows the events:PutEvents action"
    assert refusal.value.response["Error"]["Message"].endswith(words)
    stays(lambda: not heard(hub, "told.strange"), QUIET)


def test_the_default_bus_of_another_account_lets_nobody_in_until_it_says_so(aws: EmbeddedAws) -> None:
    theirs, sender = Bus(aws, OTHER, "eu-west-2").listen({"source": ["told.default"]}), Bus(aws, SPOKE, "eu-west-2")
    with pytest.raises(ClientError, match="AccessDeniedException"):
        sender.events.put_events(Entries=[entry("told.default", theirs.arn)])
    theirs.lets_in({"AWS": SPOKE})
    sender.events.put_events(Entries=[entry("told.default", theirs.arn)])
    assert eventually(theirs.heard)[0]["account"] == SPOKE


def test_a_role_needs_its_own_permission_beside_the_buss(aws: EmbeddedAws, hub: Bus) -> None:
    for source, allowed in (("told.by-role", [may_send(hub.arn)]), ("told.by-none", [])):
        arn = make_role(aws, SPOKE, ANYBODY, *allowed)
        events = assumed(aws, arn, by=aws.session()).client("events")
        if allowed:
            events.put_events(Entries=[entry(source, hub.arn)])
            assert eventually(lambda: heard(hub, "told.by-role"))[0]["account"] == SPOKE
        else:
            with pytest.raises(ClientError, match="no identity-based policy allows"):
                events.put_events(Entries=[entry(source, hub.arn)])


def test_a_policy_can_ask_for_the_event_and_for_the_role(aws: EmbeddedAws) -> None:
    role = make_role(aws, SPOKE, ANYBODY, may_send("*"))
    picky = Bus(aws, HUB, name="picky").listen({"account": [SPOKE]})
    picky.lets_in("*", StringEquals={"events:source": "told.right", "aws:PrincipalArn": role})
    events = assumed(aws, role, by=aws.session()).client("events")
    for sender, source in ((events, "told.wrong"), (Bus(aws, SPOKE).events, "told.right")):
        with pytest.raises(ClientError, match="no resource-based policy allows"):
            sender.put_events(Entries=[entry(source, picky.arn)])
    events.put_events(Entries=[entry("told.right", picky.arn)])
    assert [each["source"] for each in eventually(picky.heard)] == ["told.right"]


def test_of_several_entries_each_has_its_own_answer(aws: EmbeddedAws, hub: Bus) -> None:
    sent = [entry("aws.ec2", hub.arn), entry("told.third", hub.arn), entry("aws.ec2"), entry("own.fourth")]
    answer = Bus(aws, SPOKE).events.put_events(Entries=sent)
    codes = [each.get("ErrorCode") for each in answer["Entries"]]
    assert codes == ["NotAuthorizedForSourceException", None, "NotAuthorizedForSourceException", None]
    assert answer["FailedEntryCount"] == 2
    assert eventually(lambda: heard(hub, "told.third"))[0]["id"] == answer["Entries"][1]["EventId"]


# ---- rules ----


def forwarder(aws: EmbeddedAws, account: str, to: Bus) -> str:
    """A role of an account that EventBridge sends to this bus with."""
    return make_role(aws, account, EVENTS, may_send(to.arn))


@pytest.mark.parametrize(
    ("account", "region"), [(SPOKE, "us-east-1"), (SPOKE, "eu-west-1"), (HUB, "eu-west-1"), (HUB, "us-east-1")]
)
def test_a_rule_sends_on_to_the_hub_what_it_matches_as_the_senders(
    aws: EmbeddedAws, hub: Bus, account: str, region: str
) -> None:
    source = f"told.{account}.{region}"
    sender = Bus(aws, account, region).listen({"source": [source]})
    sender.rule({"source": [source]}, Arn=hub.arn, RoleArn=forwarder(aws, account, hub))
    sender.events.put_events(Entries=[entry(source), entry("told.unmatched")])
    (event,) = eventually(lambda: heard(hub, source))
    assert (event["account"], event["region"], event["detail"]) == (account, region, {"text": "x"})
    (original,) = eventually(sender.heard)
    assert (event["id"] == original["id"]) == (region == "us-east-1"), "into another Region it gets an id of its own"
    assert event["time"] == original["time"]
    stays(lambda: not heard(hub, "told.unmatched"), QUIET)


def test_an_instances_events_reach_the_hub_with_its_account_and_region(aws: EmbeddedAws) -> None:
    hub = Bus(aws, HUB, name="instances").listen({"source": ["aws.ec2", "aws.tag"]})
    hub.lets_in({"AWS": SPOKE})
    spoke = Bus(aws, SPOKE, "eu-west-1")
    spoke.rule({"source": ["aws.ec2", "aws.tag"]}, Arn=hub.arn, RoleArn=forwarder(aws, SPOKE, hub))
    made = spoke.session.client("ec2").run_instances(ImageId="ami-1", MinCount=1, MaxCount=1)
    instance = made["Instances"][0]["InstanceId"]
    spoke.session.client("ec2").create_tags(Resources=[instance], Tags=[{"Key": "workload", "Value": "web"}])
    events = eventually(lambda: hub.heard() if len(hub.heard()) == 3 else None)
    assert {(each["account"], each["region"], each["source"]) for each in events} == {
        (SPOKE, "eu-west-1", "aws.ec2"),
        (SPOKE, "eu-west-1", "aws.tag"),
    }
    arn = f"arn:aws:ec2:eu-west-1:{SPOKE}:instance/{instance}"
    assert {resource for each in events for resource in each["resources"]} == {arn}


def test_a_schedules_event_reaches_the_hub_of_another_region_too(aws: EmbeddedAws) -> None:
    hub = Bus(aws, HUB, name="schedules").listen({"source": ["aws.events"]})
    hub.lets_in({"AWS": SPOKE})
    spoke = Bus(aws, SPOKE, "eu-west-1")
    rule = spoke.events.put_rule(Name="daily", ScheduleExpression="rate(1 day)")["RuleArn"]
    targets: Any = [{"Id": "1", "Arn": hub.arn, "RoleArn": forwarder(aws, SPOKE, hub)}]
    spoke.events.put_targets(Rule="daily", Targets=targets)
    stays(lambda: not hub.heard(), QUIET)
    aws.fire_rule(SPOKE, "eu-west-1", "daily")
    (event,) = eventually(hub.heard)
    assert (event["detail-type"], event["account"], event["region"]) == ("Scheduled Event", SPOKE, "eu-west-1")
    assert event["resources"] == [rule]
    stays(lambda: len(hub.heard()) == 1, QUIET)
    with pytest.raises(HTTPError, match="400"):
        aws.fire_rule(OTHER, "eu-west-1", "daily")


def test_without_a_role_neither_a_call_nor_a_stack_makes_such_a_rule(aws: EmbeddedAws, hub: Bus) -> None:
    sender = Bus(aws, SPOKE, "eu-west-1")
    with pytest.raises(ClientError, match="RoleArn is required"):
        sender.rule({"source": ["told.none"]}, Arn=hub.arn)
    properties = {"EventPattern": {"source": ["told.none"]}, "Targets": [{"Id": "1", "Arn": hub.arn}]}
    template = json.dumps({"Resources": {"Rule": {"Type": "AWS::Events::Rule", "Properties": properties}}})
    client = sender.session.client("cloudformation")
    client.create_stack(StackName="no-role", TemplateBody=template)

    def reasons() -> list[str]:
        events = client.describe_stack_events(StackName="no-role")["StackEvents"]
        return [each["ResourceStatusReason"] for each in events if each["ResourceStatus"] == "CREATE_FAILED"]

    assert "RoleArn is required" in eventually(reasons, 20)[0]


@pytest.mark.parametrize(
    "case",
    ["stranger", "no permission", "another bus", "trusts another", "role elsewhere", "trusts another in the hub"],
)
def test_what_a_role_or_the_bus_does_not_allow_never_arrives(aws: EmbeddedAws, hub: Bus, case: str) -> None:
    account = {"stranger": STRANGER, "trusts another in the hub": HUB}.get(case, SPOKE)
    trusts = {"Service": "lambda.amazonaws.com"} if case.startswith("trusts another") else EVENTS
    allowed = {"no permission": [], "another bus": [may_send(hub.arn + "-other")]}.get(case, [may_send(hub.arn)])
    role = make_role(aws, account, trusts, *allowed)
    if case == "role elsewhere":
        role = make_role(aws, OTHER, trusts, *allowed, name=role.rsplit("/", 1)[-1])
    source = f"told.refused-{case.replace(' ', '-')}"
    sender = Bus(aws, account, "us-east-1" if account == HUB else "eu-west-1").listen({"source": [source]})
    sender.rule({"source": [source]}, Arn=hub.arn, RoleArn=role)
    sender.events.put_events(Entries=[entry(source)])
    eventually(sender.heard)
    stays(lambda: not heard(hub, source), QUIET)


def test_a_policy_can_ask_for_the_rule_that_sends(aws: EmbeddedAws) -> None:
    hub = Bus(aws, HUB, name="by-rule").listen({"account": [SPOKE]})
    rule = f"arn:aws:events:us-west-2:{SPOKE}:rule/admitted"
    hub.lets_in({"AWS": SPOKE}, ArnEquals={"aws:SourceArn": rule})
    sender, role = Bus(aws, SPOKE, "us-west-2"), forwarder(aws, SPOKE, hub)
    sender.rule({"source": ["told.rule"], "detail-type": ["Told"]}, Arn=hub.arn, RoleArn=role)
    sender.events.put_events(Entries=[entry("told.rule")])
    stays(lambda: not hub.heard(), QUIET)
    sender.rule({"source": ["told.rule"]}, name="admitted", Arn=hub.arn, RoleArn=role)
    sender.events.put_events(Entries=[entry("told.rule")])
    assert len(eventually(hub.heard)) == 1


def test_what_came_from_another_bus_is_matched_there_but_not_sent_on(aws: EmbeddedAws) -> None:
    """So two accounts that send each other everything don't do it for ever."""
    pattern = {"source": ["told.round"]}
    one, two, three = (Bus(aws, account, "ap-south-1").listen(pattern) for account in (HUB, SPOKE, OTHER))
    for bus in (one, two, three):
        bus.lets_in("*")
    for sender, account, to in ((one, HUB, two), (two, SPOKE, one), (two, SPOKE, three)):
        sender.rule(pattern, Arn=to.arn, RoleArn=forwarder(aws, account, to))
    one.events.put_events(Entries=[entry("told.round")])
    assert len(eventually(two.heard)) == 1
    stays(lambda: (len(one.heard()), len(two.heard()), len(three.heard())) == (1, 1, 0), QUIET)
    one.events.put_events(Entries=[entry("told.round", two.arn)])
    eventually(lambda: len(two.heard()) == 2)
    stays(lambda: (len(one.heard()), len(three.heard())) == (1, 0), QUIET)


def test_of_three_buses_in_an_account_the_third_gets_nothing_of_the_first(aws: EmbeddedAws) -> None:
    pattern = {"source": ["told.chain"]}
    one, two, three = (Bus(aws, OTHER, name=f"chain-{number}").listen(pattern) for number in range(3))
    one.rule(pattern, Arn=two.arn)
    two.rule(pattern, Arn=three.arn)
    one.events.put_events(Entries=[entry("told.chain", one.name)])
    eventually(two.heard)
    stays(lambda: not three.heard(), QUIET)


# ---- a bus's policy ----


@pytest.fixture
def bus(aws: EmbeddedAws) -> Bus:
    return Bus(aws, HUB, name=f"hub-{uuid.uuid4().hex[:8]}")


def test_a_policy_is_shown_as_it_was_given_and_goes_with_its_bus(bus: Bus) -> None:
    assert "Policy" not in bus.events.describe_event_bus(Name=bus.name)
    bus.lets_in("*")
    [statement] = json.loads(bus.events.describe_event_bus(Name=bus.name)["Policy"])["Statement"]
    assert (statement["Principal"], statement["Resource"]) == ("*", bus.arn)
    bus.events.delete_event_bus(Name=bus.name)
    bus.events.create_event_bus(Name=bus.name)
    assert "Policy" not in bus.events.describe_event_bus(Name=bus.name)


@pytest.mark.parametrize(
    ("name", "asked", "code"),
    [
        ("none", {"Policy": "{}"}, "ResourceNotFoundException"),
        ("default", {"Policy": json.dumps({"Statement": [{"Sid": "x" * 10_300}]})}, "PolicyLengthExceededException"),
        ("default", {"Policy": "no JSON"}, "ValidationException"),
        ("default", {"Principal": SPOKE, "StatementId": "one", "Action": "events:PutEvents"}, "ValidationException"),
    ],
)
def test_what_is_no_policy_of_a_bus_is_refused(aws: EmbeddedAws, name: str, asked: Any, code: str) -> None:
    with pytest.raises(ClientError, match=code):
        Bus(aws, HUB).events.put_permission(EventBusName=name, **asked)


def test_a_stack_gives_its_bus_a_statement_changes_it_and_takes_it_back(aws: EmbeddedAws) -> None:
    cloudformation: Any = aws.session(account=HUB).client("cloudformation")
    events = aws.session(account=HUB).client("events")

    def template(condition: str) -> str:
        statement = {**may_send(), "Principal": "*", "Resource": {"Fn::GetAtt": ["Bus", "Arn"]}}
        statement["Condition"] = {"StringEquals": {"aws:PrincipalOrgID": condition}}
        own = {"EventBusName": {"Ref": "Bus"}, "StatementId": "organization", "Statement": statement}
        default = {"StatementId": "of-a-stack", "Statement": statement}
        kinds = {"Bus": ("", {"Name": "of-a-stack"}), "Own": ("Policy", own), "Default": ("Policy", default)}
        resources = {
            name: {"Type": f"AWS::Events::EventBus{kind}", "Properties": properties}
            for name, (kind, properties) in kinds.items()
        }
        return json.dumps({"Resources": resources})

    def policy(name: str) -> str:
        return str(events.describe_event_bus(Name=name).get("Policy"))

    for condition, done in (("o-one", "create"), ("o-two", "update")):
        getattr(cloudformation, f"{done}_stack")(StackName="buses", TemplateBody=template(condition))
        cloudformation.get_waiter(f"stack_{done}_complete").wait(StackName="buses", WaiterConfig={"Delay": 1})
        for name in ("of-a-stack", "default"):
            [statement] = json.loads(policy(name))["Statement"]
            assert statement["Condition"] == {"StringEquals": {"aws:PrincipalOrgID": condition}}
            assert statement["Resource"] == f"arn:aws:events:us-east-1:{HUB}:event-bus/of-a-stack"
    cloudformation.delete_stack(StackName="buses")
    eventually(lambda: policy("default") == "None", 20)


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

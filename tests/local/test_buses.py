"""The embedded AWS's event buses: their policies, and what arrives on one of another account or Region."""

import json
import uuid
from typing import Any

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


def test_without_a_role_no_call_makes_such_a_rule(aws: EmbeddedAws, hub: Bus) -> None:
    with pytest.raises(ClientError, match="RoleArn is required"):
        Bus(aws, SPOKE, "eu-west-1").rule({"source": ["told.none"]}, Arn=hub.arn)


@pytest.mark.parametrize("case", ["no role", "trusts another", "role elsewhere"])
def test_no_call_makes_a_rule_whose_role_eventbridge_cannot_assume(aws: EmbeddedAws, hub: Bus, case: str) -> None:
    trusts = {"Service": "lambda.amazonaws.com"} if case == "trusts another" else EVENTS
    role = make_role(aws, OTHER if case == "role elsewhere" else SPOKE, trusts)
    with pytest.raises(ClientError, match=r"cannot be assumed by principal 'events\.amazonaws\.com'"):
        Bus(aws, SPOKE).rule({"source": ["told.none"]}, Arn=hub.arn, RoleArn=role + "x" * (case == "no role"))


@pytest.mark.parametrize("case", ["stranger", "no permission", "another bus", "deleted role"])
def test_what_a_role_or_the_bus_does_not_allow_never_arrives(aws: EmbeddedAws, hub: Bus, case: str) -> None:
    account = STRANGER if case == "stranger" else SPOKE
    allowed = {"no permission": [], "another bus": [may_send(hub.arn + "-other")]}.get(case, [may_send(hub.arn)])
    role = make_role(aws, account, EVENTS, *allowed)
    source = f"told.refused-{case.replace(' ', '-')}"
    sender = Bus(aws, account, "eu-west-1").listen({"source": [source]})
    sender.rule({"source": [source]}, Arn=hub.arn, RoleArn=role)
    if case == "deleted role":
        iam, name = sender.session.client("iam"), role.rsplit("/", 1)[-1]
        iam.delete_role_policy(RoleName=name, PolicyName="policy")
        iam.delete_role(RoleName=name)
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
    eventually(lambda: policy("default") == "None")

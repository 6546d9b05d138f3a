"""What matters in spoke.yaml: StackSets take it, nothing collides, and it lets the hub do what it does at home."""

import fnmatch
import json
from typing import Any

import pytest
import yaml
from moto.events.models import EventPattern

from rolekeeper.fleet.targets import EVENTS_TAG, UNIT_TAG, VERSION_TAG, WIRE_FORMAT, WIRE_TAG
from rolekeeper.mappings.rows import OU, ROOT
from sessions import SESSION
from spec import permitted_in_spokes
from spec.permitted_in_spokes import DESCRIBE_LAUNCHES, HUB_ACCOUNT, HUB_BUS, HUB_REGION, OPERATORS, SESSION_NAMES
from support import templates
from support.deployment import Deployment, Place, deployment, translated

TEXT = (templates.ROOT / "spoke.yaml").read_text()
TEMPLATE = templates.load("spoke.yaml")
PARAMETERS, RESOURCES = TEMPLATE["Parameters"], TEMPLATE["Resources"]
HUB = templates.load()
HUBS_RESOURCES = HUB["Resources"]
ACCOUNT, REGION, ANOTHER_REGION = "222222222222", "us-west-2", "ap-south-1"
GIVEN = {**permitted_in_spokes.HUB, "HomeRegion": REGION}
# What each Region has, and what the account has once.
RULES, ROLES = {"StateRule", "TagRule", "PresentSchedule", "Forwarder"}, {"Reader", "Changer"}
SENDING, ACTING = RULES - {"Forwarder"}, ("Changer", "Notifier")


def deployed(account: str = ACCOUNT, region: str = REGION, **parameters: str) -> Deployment:
    return deployment(translated("spoke.yaml"), Place(account, region), **(GIVEN | parameters))


def statements(role: str, *met: str) -> dict[str, Any]:
    found = templates.chosen(RESOURCES[role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"], met)
    return {each["Sid"]: each for each in found}


def everywhere(statement: dict[str, Any]) -> Any:
    """A statement of the hub's own Region, for every Region: the account's roles are there once."""
    return json.loads(json.dumps(statement).replace(":ec2:${AWS::Region}:", ":ec2:*:"))


# ---- StackSets (docs/AWS_FACTS.md, "What StackSets refuse") ----


def test_service_managed_stack_sets_take_it() -> None:
    """Without transform or macro, nested stack, resource of others' making, or file that lies beside it."""
    assert "Transform" not in TEMPLATE
    assert "Fn::Transform" not in TEXT
    types = {each["Type"] for each in RESOURCES.values()}
    assert types == {"AWS::Events::Rule", "AWS::IAM::Role"}
    local = {"TemplateURL", "CodeUri", "ContentUri", "DefinitionUri", "BodyS3Location"}
    assert [key for each in RESOURCES.values() for key in each["Properties"] if key in local] == []


def test_its_text_can_be_given_as_it_is() -> None:
    """51,200 bytes may be sent; CloudFormation reads no aliases of YAML."""
    assert len(TEXT.encode()) < 51_200
    assert not any(isinstance(each, yaml.AliasEvent) for each in yaml.parse(TEXT))


def test_it_asks_no_account_for_secrets_and_exports_nothing() -> None:
    """A dynamic reference would be looked up in each account; an export's name is taken once in a Region."""
    assert "{{resolve:" not in TEXT
    assert not [parameter for parameter in PARAMETERS.values() if parameter["Type"].startswith("AWS::SSM")]
    assert [name for name, output in TEMPLATE["Outputs"].items() if "Export" in output] == []


# ---- one template for every account and Region ----


@pytest.mark.parametrize(("named", "regions"), [("", REGION), (f"{REGION},{ANOTHER_REGION}", [REGION, ANOTHER_REGION])])
def test_the_hub_acts_in_the_regions_that_are_named_and_unnamed_in_the_home_region_alone(
    named: str, regions: str | list[str]
) -> None:
    made = deployed(Regions=named, EventsToAccount="true").resources
    changer, notifier = (made[each]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"] for each in ACTING)
    [denied] = [each for each in changer if each["Effect"] == "Deny"]
    assert (denied["Action"], denied["Condition"]) == ("ec2:*", {"StringNotEquals": {"aws:RequestedRegion": regions}})
    assert notifier[0]["Condition"]["StringEquals"] == {"aws:RequestedRegion": regions}


@pytest.mark.parametrize(
    ("account", "region", "given", "made"),
    [
        # The account's roles are in the home Region; those for people and for its events, where that is asked for.
        (ACCOUNT, REGION, {}, RULES | ROLES),
        (ACCOUNT, REGION, {"OtherReaders": OPERATORS}, RULES | ROLES | {"Viewer"}),
        (ACCOUNT, REGION, {"EventsToAccount": "true"}, RULES | ROLES | {"Notifier"}),
        (ACCOUNT, ANOTHER_REGION, {}, RULES),
        (ACCOUNT, ANOTHER_REGION, {"OtherReaders": OPERATORS, "EventsToAccount": "true"}, RULES),
        (ACCOUNT, HUB_REGION, {"HomeRegion": HUB_REGION}, RULES | ROLES),
        # The hub's own account: where the hub is it has its own rules; the roles are for the account's other Regions.
        (HUB_ACCOUNT, HUB_REGION, {"HomeRegion": HUB_REGION}, ROLES),
        (HUB_ACCOUNT, HUB_REGION, {"HomeRegion": REGION}, set()),
        (HUB_ACCOUNT, REGION, {"HomeRegion": HUB_REGION}, RULES),
        (HUB_ACCOUNT, REGION, {"HomeRegion": REGION}, RULES | ROLES),
    ],
)
def test_an_account_and_region_gets_what_it_has_not_yet_and_asks_for(
    account: str, region: str, given: dict[str, str], made: set[str]
) -> None:
    assert deployed(account, region, **given).resources.keys() == made


def test_an_account_asks_for_its_events_by_a_tag_of_its_reader() -> None:
    asked, unasked = (deployed(EventsToAccount=each).resources["Reader"]["Properties"] for each in ("true", "false"))
    tag = {"Key": EVENTS_TAG, "Value": "true"}
    assert [tag in each["Tags"] for each in (asked, unasked)] == [True, False]
    assert PARAMETERS["EventsToAccount"]["Default"] == "false"


@pytest.mark.parametrize("region", [REGION, ANOTHER_REGION])
def test_a_regions_stack_needs_no_other_regions_in_whatever_order_they_are_made(region: str) -> None:
    """EventBridge refuses a role that isn't there (AWS_FACTS.md, "Many accounts"), and StackSets keep no order."""
    made = deployed(region=region)
    roles = {made.arns[name] for name, each in made.resources.items() if each["Type"] == "AWS::IAM::Role"}
    for name in SENDING:
        [target] = made.resources[name]["Properties"]["Targets"]
        role = f"arn:aws:iam::{ACCOUNT}:role/rolekeeper-forwarder-{region}"
        assert target == {"Id": "Hub", "Arn": HUB_BUS, "RoleArn": role}, "as it is, to the hub's bus"
        assert role in roles


def test_a_forwarders_name_fits_with_the_longest_namespace_and_region() -> None:
    """IAM takes 64 characters (IAM quotas). No two Regions of an account make a role of the same name."""
    longest = deployed(region="ap-southeast-11", Namespace="n" * 32).arns["Forwarder"]
    assert len(longest.rpartition("/")[2]) <= 64


# ---- with the hub ----


@pytest.mark.parametrize(
    ("rule", "hubs", "arriving"),
    [("StateRule", "InstanceStateRule", "SpokeStateRule"), ("TagRule", "InstanceTagRule", "SpokeTagRule")],
)
def test_a_spoke_sends_what_the_hub_itself_listens_to(rule: str, hubs: str, arriving: str) -> None:
    patterns = [
        each["Properties"]["EventPattern"] for each in (RESOURCES[rule], HUBS_RESOURCES[hubs], HUBS_RESOURCES[arriving])
    ]
    assert patterns[0] == patterns[1] == patterns[2]


@pytest.mark.parametrize("namespace", ["rolekeeper", "second"])
def test_the_hubs_bus_takes_what_each_regions_forwarder_sends(namespace: str) -> None:
    pattern = HUBS_RESOURCES["SpokeBusPolicy"]["Properties"]["Statement"]["Condition"]["ArnLike"]["aws:PrincipalArn"]
    ours = templates.filled(pattern, {"AWS::Partition": "aws", "Namespace": "rolekeeper"})
    for region in (REGION, ANOTHER_REGION):
        forwarder = deployed(region=region, Namespace=namespace).arns["Forwarder"]
        assert fnmatch.fnmatchcase(forwarder, ours) is (namespace == "rolekeeper")


@pytest.mark.parametrize("namespace", ["rolekeeper", "second"])
def test_the_hub_knows_the_daily_event_by_the_schedules_name(namespace: str) -> None:
    rule = deployed(Namespace=namespace).resources["PresentSchedule"]["Properties"]
    assert rule["ScheduleExpression"] == "rate(1 day)", "docs/organization.md says after how long a target is known"
    name = rule["Name"]
    event: Any = {
        "source": "aws.events",
        "detail-type": "Scheduled Event",
        "resources": [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{name}"],
    }
    pattern = HUBS_RESOURCES["SpokePresentRule"]["Properties"]["EventPattern"]
    for hubs in ("rolekeeper", "second"):
        ours = EventPattern.load(json.dumps(templates.filled(pattern, {"Namespace": hubs})))
        assert ours.matches_event(event) is (hubs == namespace)


def test_the_reader_sees_what_the_functions_see_at_home_and_the_viewer_what_people_ask_for_beside() -> None:
    shared = HUBS_RESOURCES["SharedPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    looking = {each["Sid"]: each for each in templates.chosen(shared) if each["Sid"].startswith("See")}
    calls = {"Sid": "LookUpCalls", "Effect": "Allow", "Action": "cloudtrail:LookupEvents", "Resource": "*"}
    launches = {"Sid": "LookAtLaunches", "Effect": "Allow", "Action": DESCRIBE_LAUNCHES.split(), "Resource": "*"}
    at_sweeps = templates.policy_statements(HUBS_RESOURCES, "OnScheduleRole")
    [all_roles] = [each for each in at_sweeps if each["Sid"] == "SeeAllRolesAtOnce"]
    sweep = HUBS_RESOURCES["OnSchedule"]["Properties"]["Environment"]["Variables"]["SPOKE_SESSION"]
    of_the_sweep = {**all_roles, "Condition": {"StringLike": {"aws:userid": f"*:{sweep}"}}}
    reader, viewer = statements("Reader"), statements("Viewer")
    assert reader["SeeInstances"].pop("Condition") == {"StringEquals": {"aws:RequestedRegion": {"Ref": "HomeRegion"}}}
    looking["SeeInstances"].pop("Condition")
    assert reader == {**looking, "SeeAllRolesAtOnce": of_the_sweep}
    assert viewer == {**looking, "LookUpCalls": calls, "LookAtLaunches": launches}
    assert (SESSION, sweep) == SESSION_NAMES


@pytest.mark.parametrize("takes_over", [(), ("MayTakeOver",)])
@pytest.mark.parametrize("makes_profiles", [(), ("MakesProfiles",)])
def test_the_changer_may_what_the_functions_may_at_home(
    takes_over: tuple[str, ...], makes_profiles: tuple[str, ...]
) -> None:
    met = (*takes_over, *makes_profiles)
    at_home = {
        each["Sid"]: everywhere(each)
        for role in ("OnInstanceEventRole", "OnMappingChangeRole")
        for each in templates.policy_statements(HUBS_RESOURCES, role, met=met)
        if each["Sid"].endswith("UnderThePath") or each["Sid"].startswith("TakeOver")
    }
    assert len(at_home) == 4 + 2 * len(takes_over) + len(makes_profiles)
    found = statements("Changer", *met)
    assert found.pop("NowhereElse")["Effect"] == "Deny"
    assert found == at_home


@pytest.mark.parametrize(
    ("role", "sessions"),
    [("Reader", [*SESSION_NAMES]), ("Changer", [*SESSION_NAMES]), ("Notifier", SESSION), ("Viewer", None)],
)
def test_the_hubs_account_is_trusted_and_a_condition_names_its_roles(role: str, sessions: object) -> None:
    """A role that is a principal has to be there, and isn't the one that is recreated. Who: permitted_in_spokes."""
    [trust] = RESOURCES[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"AWS": {"Sub": "arn:${AWS::Partition}:iam::${HubAccount}:root"}}
    assert (trust["Action"], trust["Condition"].keys()) == ("sts:AssumeRole", {"ArnEquals", "StringEquals"})
    assert trust["Condition"]["StringEquals"].get("sts:RoleSessionName") == sessions


def test_the_hubs_outputs_are_the_spokes_parameters() -> None:
    outputs = HUB["Outputs"]
    assert {"HubReaders", "HubChangers", "HubNotifiers"} <= outputs.keys() & PARAMETERS.keys()
    roles = {"OnInstanceEventRole", "OnRetryRole", "OnMappingChangeRole", "OnScheduleRole"}
    readers = {each["GetAtt"].removesuffix(".Arn") for each in outputs["HubReaders"]["Value"]["Join"][1]}
    assert readers == roles == may_assume("reader", "ServesOrganization")
    # Only these two report about an instance.
    notifiers = {each["GetAtt"].removesuffix(".Arn") for each in outputs["HubNotifiers"]["Value"]["Join"][1]}
    assert notifiers == {"OnInstanceEventRole", "OnRetryRole"} == may_assume("notifier", "ServesOrganization")
    with_profiles, alone = (templates.chosen(outputs["HubChangers"]["Value"], met) for met in (("MakesProfiles",), ()))
    changers = {each["GetAtt"].removesuffix(".Arn") for each in with_profiles["Join"][1]}
    assert changers == may_assume("changer", "ServesOrganization", "MakesProfiles")
    assert {alone["GetAtt"].removesuffix(".Arn")} == may_assume("changer", "ServesOrganization")


def may_assume(name: str, *met: str) -> set[str]:
    """The hub's roles that may be the spoke's role, as the hub's own policies say."""
    arn = f"arn:${{AWS::Partition}}:iam::*:role/${{Namespace}}-{name}"
    return {
        role
        for role, each in HUBS_RESOURCES.items()
        if each["Type"] == "AWS::IAM::Role"
        for statement in templates.policy_statements(HUBS_RESOURCES, role, met=met)
        if statement["Action"] == "sts:AssumeRole" and statement["Resource"] == {"Sub": arn}
    }


def test_who_reads_the_reader_sees_its_version_and_where_it_was_made() -> None:
    version = TEMPLATE["Outputs"]["Version"]["Value"]
    *always, unit, events = RESOURCES["Reader"]["Properties"]["Tags"]
    tags = {each["Key"]: each["Value"] for each in always}
    assert tags == {VERSION_TAG: version, WIRE_TAG: str(WIRE_FORMAT), "rolekeeper:home-region": {"Ref": "AWS::Region"}}
    tag = {"Key": UNIT_TAG, "Value": {"Ref": "OrganizationalUnit"}}
    assert unit == {"If": ["SaysItsUnit", tag, {"Ref": "AWS::NoValue"}]}
    assert events["If"][1]["Key"] == EVENTS_TAG
    assert TEMPLATE["Conditions"]["SaysItsUnit"] == {"Not": [{"Equals": [{"Ref": "OrganizationalUnit"}, ""]}]}


def test_what_passes_between_a_hub_and_its_spokes_is_that_of_the_wire_formats_number() -> None:
    """Raise WIRE_FORMAT with a change of one of these: a hub and a spoke that differ in it can't hear each other.

    Every name has the namespace, so that two hubs can look after the same account.
    """
    names = {
        name: value["Properties"][key]["Sub"]
        for name, value in RESOURCES.items()
        for key in ("Name", "RoleName", "EventBusName")
        if key in value["Properties"]
    }
    sends = {rule: RESOURCES[rule]["Properties"].get("EventPattern", {}).get("detail-type") for rule in SENDING}
    assert (WIRE_FORMAT, names, sends) == (
        1,
        {
            "StateRule": "${Namespace}-state",
            "TagRule": "${Namespace}-tags",
            "PresentSchedule": "${Namespace}-present",
            "Forwarder": "${Namespace}-forwarder-${AWS::Region}",
            **{role: f"${{Namespace}}-{role.lower()}" for role in ("Reader", "Changer", "Notifier", "Viewer")},
        },
        {
            "StateRule": ["EC2 Instance State-change Notification"],
            "TagRule": ["Tag Change on Resource"],
            "PresentSchedule": None,
        },
    )
    [target] = deployed(Namespace="second").resources["TagRule"]["Properties"]["Targets"]
    assert target["Arn"].endswith(":event-bus/second")


def test_units_are_named_as_in_a_row_and_none_by_default() -> None:
    declared = PARAMETERS["OrganizationalUnit"]
    assert (declared["Default"], declared["AllowedPattern"]) == ("", f"^$|^{OU}$|^{ROOT}(/{OU})*$")

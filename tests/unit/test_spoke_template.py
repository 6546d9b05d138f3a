"""What matters in spoke.yaml: StackSets take it, nothing collides, and it lets the hub do what it does at home."""

import fnmatch
import json
import tomllib
from typing import Any

import pytest
import yaml
from moto.events.models import EventPattern

from rolekeeper.aws.queue import SOURCE
from rolekeeper.fleet.targets import EVENTS_TAG, UNIT_TAG, VERSION_TAG, WIRE_FORMAT, WIRE_TAG
from rolekeeper.mappings.rows import OU, ROOT
from rolekeeper_cli.deploying.stack import is_allowed
from sessions import SESSION
from spec import permitted_in_spokes
from spec.permitted import ORG
from spec.permitted_in_spokes import (
    CHANGERS,
    DESCRIBE_LAUNCHES,
    HUB_ACCOUNT,
    HUB_BUS,
    HUB_REGION,
    NOTIFIERS,
    OPERATORS,
    READERS,
    SESSION_NAMES,
)
from support import templates
from support.deployment import Deployment, Place, deployment, translated

TEXT = (templates.ROOT / "spoke.yaml").read_text()
TEMPLATE = templates.load("spoke.yaml")
PARAMETERS, RESOURCES = TEMPLATE["Parameters"], TEMPLATE["Resources"]
HUB = templates.load()
HUBS_RESOURCES = HUB["Resources"]
ACCOUNT, REGION, ANOTHER_REGION = "222222222222", "us-west-2", "ap-south-1"
GIVEN, BY_DEFAULT = {**permitted_in_spokes.HUB, "HomeRegion": REGION}, {"HubNotifiers", "Regions"}
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


def test_what_is_the_accounts_is_made_in_the_home_region_only() -> None:
    assert deployed().resources.keys() == RULES | ROLES
    assert deployed(region=ANOTHER_REGION).resources.keys() == RULES
    iam = {name for name, each in RESOURCES.items() if each["Type"].startswith("AWS::IAM::")}
    assert iam == ROLES | {"Forwarder", "Notifier", "Viewer"}


def test_people_have_a_role_of_their_own_where_somebody_is_named() -> None:
    assert deployed(OtherReaders=OPERATORS).resources.keys() == RULES | ROLES | {"Viewer"}
    assert deployed(region=ANOTHER_REGION, OtherReaders=OPERATORS).resources.keys() == RULES


@pytest.mark.parametrize(("named", "regions"), [("", REGION), (f"{REGION},{ANOTHER_REGION}", [REGION, ANOTHER_REGION])])
def test_the_hub_acts_in_the_regions_that_are_named_and_unnamed_in_the_home_region_alone(
    named: str, regions: str | list[str]
) -> None:
    made = deployed(Regions=named, EventsToAccount="true").resources
    changer, notifier = (made[each]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"] for each in ACTING)
    [denied] = [each for each in changer if each["Effect"] == "Deny"]
    assert (denied["Action"], denied["Condition"]) == ("ec2:*", {"StringNotEquals": {"aws:RequestedRegion": regions}})
    assert notifier[0]["Condition"]["StringEquals"] == {"aws:RequestedRegion": regions}


def test_what_may_send_to_an_account_is_there_only_where_that_asked_for_it() -> None:
    assert deployed(EventsToAccount="true").resources.keys() == RULES | ROLES | {"Notifier"}
    assert deployed(region=ANOTHER_REGION, EventsToAccount="true").resources.keys() == RULES
    asked, unasked = (deployed(EventsToAccount=each).resources["Reader"]["Properties"] for each in ("true", "false"))
    said = {"Key": EVENTS_TAG, "Value": "true"}
    assert [said in each["Tags"] for each in (asked, unasked)] == [True, False]
    assert PARAMETERS["EventsToAccount"]["Default"] == "false"


def test_no_rule_of_a_spoke_sends_the_hubs_own_events_back() -> None:
    for rule in ("StateRule", "TagRule"):
        pattern = RESOURCES[rule]["Properties"]["EventPattern"]
        event: Any = {"source": pattern["source"][0], "detail-type": pattern["detail-type"][0], "detail": {}}
        event["detail"] = {name: each if isinstance(each, str) else each[0] for name, each in pattern["detail"].items()}
        loaded = EventPattern.load(json.dumps(pattern))
        assert loaded.matches_event(event)
        event["source"] = SOURCE
        assert not loaded.matches_event(event)


@pytest.mark.parametrize(
    ("account", "region", "home", "made"),
    [
        # The hub's own account: where the hub is it has its own rules; the roles are for the account's other Regions.
        (HUB_ACCOUNT, HUB_REGION, HUB_REGION, ROLES),
        (HUB_ACCOUNT, HUB_REGION, REGION, set()),
        (HUB_ACCOUNT, REGION, HUB_REGION, RULES),
        (HUB_ACCOUNT, REGION, REGION, RULES | ROLES),
        # Another account, in the hub's Region.
        (ACCOUNT, HUB_REGION, HUB_REGION, RULES | ROLES),
    ],
)
def test_the_hubs_own_account_and_region_gets_no_second_rules(
    account: str, region: str, home: str, made: set[str]
) -> None:
    assert deployed(account, region, HomeRegion=home).resources.keys() == made


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


def test_every_name_that_is_fixed_has_the_namespace() -> None:
    """So that two hubs can look after the same account, and a hub and its spokes share one."""
    fixed = {
        name: value["Properties"][key]
        for name, value in RESOURCES.items()
        for key in ("Name", "RoleName", "EventBusName")
        if key in value["Properties"]
    }
    assert fixed == {
        "StateRule": {"Sub": "${Namespace}-state"},
        "TagRule": {"Sub": "${Namespace}-tags"},
        "PresentSchedule": {"Sub": "${Namespace}-present"},
        "Forwarder": {"Sub": "${Namespace}-forwarder-${AWS::Region}"},
        **{role: {"Sub": f"${{Namespace}}-{role.lower()}"} for role in {*ROLES, "Notifier", "Viewer"}},
    }
    second = deployed(Namespace="second")
    assert {second.arns[each].rpartition("/")[2] for each in ROLES} == {f"second-{each.lower()}" for each in ROLES}
    [target] = second.resources["TagRule"]["Properties"]["Targets"]
    assert target["Arn"].endswith(":event-bus/second")


def test_a_permissions_boundary_bounds_every_role() -> None:
    boundary = "arn:aws:iam::222222222222:policy/bounds"
    with_one = deployed(PermissionsBoundary=boundary, EventsToAccount="true", OtherReaders=OPERATORS).resources
    roles = {*ROLES, "Forwarder", "Notifier", "Viewer"}
    assert {with_one[each]["Properties"]["PermissionsBoundary"] for each in roles} == {boundary}
    unbound = deployed(EventsToAccount="true", OtherReaders=OPERATORS).resources
    assert not any("PermissionsBoundary" in unbound[each]["Properties"] for each in roles)


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


def test_who_the_hub_says_is_trusted() -> None:
    """By their ARNs in a condition: a role that is a principal has to be there, and isn't the one that is made anew."""
    made = deployed(EventsToAccount="true", OtherReaders=OPERATORS).resources
    by_name = {"sts:RoleSessionName": [*SESSION_NAMES]}
    for role, trusted, more in (
        ("Reader", READERS, by_name),
        ("Changer", CHANGERS, by_name),
        ("Notifier", NOTIFIERS, {"sts:RoleSessionName": SESSION}),
        ("Viewer", [OPERATORS], {}),
    ):
        [trust] = made[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"AWS": f"arn:aws:iam::{HUB_ACCOUNT}:root"}
        assert trust["Action"] == "sts:AssumeRole"
        assert trust["Condition"] == {
            "ArnEquals": {"aws:PrincipalArn": list(trusted)},
            "StringEquals": {"aws:PrincipalOrgID": ORG, **more},
        }


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


def test_the_version_is_the_projects_and_who_reads_the_reader_sees_it_and_where_it_was_made() -> None:
    version = tomllib.loads((templates.ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert TEMPLATE["Outputs"]["Version"]["Value"] == version
    *always, unit, events = RESOURCES["Reader"]["Properties"]["Tags"]
    tags = {each["Key"]: each["Value"] for each in always}
    assert tags == {VERSION_TAG: version, WIRE_TAG: str(WIRE_FORMAT), "rolekeeper:home-region": {"Ref": "AWS::Region"}}
    tag = {"Key": UNIT_TAG, "Value": {"Ref": "OrganizationalUnit"}}
    assert unit == {"If": ["SaysItsUnit", tag, {"Ref": "AWS::NoValue"}]}
    assert events["If"][1]["Key"] == EVENTS_TAG
    assert TEMPLATE["Conditions"]["SaysItsUnit"] == {"Not": [{"Equals": [{"Ref": "OrganizationalUnit"}, ""]}]}


def test_what_passes_between_a_hub_and_its_spokes_is_that_of_the_wire_formats_number() -> None:
    """Raise WIRE_FORMAT with a change of one of these: a hub and a spoke that differ in it can't hear each other."""
    names = {role: RESOURCES[role]["Properties"]["RoleName"]["Sub"] for role in ("Reader", "Changer", "Notifier")}
    sends = {rule: RESOURCES[rule]["Properties"].get("EventPattern", {}).get("detail-type") for rule in SENDING}
    admits = HUBS_RESOURCES["SpokeBusPolicy"]["Properties"]["Statement"]["Condition"]["ArnLike"]
    forwarder = RESOURCES["Forwarder"]["Properties"]["RoleName"]["Sub"]
    assert (WIRE_FORMAT, names, sends, forwarder, admits, RESOURCES["PresentSchedule"]["Properties"]["Name"]) == (
        1,
        {each: f"${{Namespace}}-{each.lower()}" for each in names},
        {
            "StateRule": ["EC2 Instance State-change Notification"],
            "TagRule": ["Tag Change on Resource"],
            "PresentSchedule": None,
        },
        "${Namespace}-forwarder-${AWS::Region}",
        {"aws:PrincipalArn": {"Sub": "arn:${AWS::Partition}:iam::*:role/${Namespace}-forwarder-*"}},
        {"Sub": "${Namespace}-present"},
    )


# ---- parameters ----


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_is_described_bounded_and_in_a_group(name: str) -> None:
    parameter = PARAMETERS[name]
    assert parameter["Description"]
    assert parameter["ConstraintDescription"]
    assert parameter.keys() & {"AllowedValues", "AllowedPattern"}
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert [name in group["Parameters"] for group in groups].count(True) == 1


def test_what_says_which_hub_it_is_has_no_default() -> None:
    assert {name for name, each in PARAMETERS.items() if "Default" not in each} == GIVEN.keys() - BY_DEFAULT


@pytest.mark.parametrize("name", ["Namespace", "RolePath", "PermissionsBoundary", "TakeOver", "CreateMissingProfiles"])
def test_what_the_hub_has_too_takes_the_same_values_and_has_the_same_default(name: str) -> None:
    told = ("Type", "Default", "AllowedPattern", "AllowedValues", "MaxLength", "ConstraintDescription")
    ours, hubs = ({key: each[name].get(key) for key in told} for each in (PARAMETERS, HUB["Parameters"]))
    assert ours == hubs


ROLE_ARNS = [*READERS, "arn:aws-cn:iam::999999999999:role/some/path/role"]
NO_ROLE_ARNS = [
    # ArnEquals takes wildcards, and would then trust others too.
    *("arn:aws:iam::999999999999:role/*", "arn:aws:iam::999999999999:role/rolekeeper-OnEvent?"),
    *("arn:aws:iam::*:role/rolekeeper-OnEvent", "*"),
    *("arn:aws:iam::999999999999:root", "arn:aws:iam::999999999999:user/admin"),
]
REGIONS, NO_REGIONS = ["eu-west-1", "us-gov-east-1"], ["*", "", "eu-west"]
VALUES = {
    "HubReaders": (ROLE_ARNS, [*NO_ROLE_ARNS, ""]),
    "HubChangers": (ROLE_ARNS, [*NO_ROLE_ARNS, ""]),
    "HubNotifiers": ([*ROLE_ARNS, ""], NO_ROLE_ARNS),
    "OtherReaders": ([*ROLE_ARNS, ""], NO_ROLE_ARNS),
    "Regions": (["", "us-east-1", "us-gov-west-1"], ["us-east", "*", "eu west-1"]),
    "OrganizationId": (["o-a1b2c3d4e5", "o-embeddedaws"], ["", "*"]),
    "HubAccount": (["999999999999"], ["99999999999"]),
    "HubRegion": (REGIONS, NO_REGIONS),
    "HomeRegion": (REGIONS, NO_REGIONS),
    "OrganizationalUnit": (
        ["", "ou-a1b2-c3d4e5f6", "r-a1b2", "r-a1b2/ou-a1b2-c3d4e5f6", f"r-a1b2{'/ou-a1b2-c3d4e5f6' * 5}"],
        ["Workloads", "ou-a1b2", "ou-a1b2-c3d4e5f6/*", "ou-a1b2-c3d4e5f6/ou-a1b2-d4e5f6a7", "r-a1b2/", "x" * 257],
    ),
}


@pytest.mark.parametrize(("name", "taken", "refused"), [(name, *values) for name, values in VALUES.items()])
def test_a_parameter_takes_what_is_said_exactly(name: str, taken: list[str], refused: list[str]) -> None:
    assert [each for each in taken if not is_allowed(each, PARAMETERS[name])] == []
    assert [each for each in refused if is_allowed(each, PARAMETERS[name])] == []


def test_units_are_named_as_in_a_row_and_none_by_default() -> None:
    declared = PARAMETERS["OrganizationalUnit"]
    assert (declared["Default"], declared["AllowedPattern"]) == ("", f"^$|^{OU}$|^{ROOT}(/{OU})*$")

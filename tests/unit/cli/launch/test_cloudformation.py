"""What a CloudFormation template will launch, judged without AWS."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from textwrap import indent

import pytest

from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import NO_ROLE, MappingKey, MappingSpec, WhenOccupied
from rolekeeper_cli.launch import cloudformation, files
from rolekeeper_cli.launch.declared import Declared
from rolekeeper_cli.launch.use import Forecast
from rolekeeper_cli.launch.view import Verdict

NOW, HERE = datetime(2026, 11, 29, tzinfo=UTC), Target("111111111111", "eu-west-1")
MAPPINGS = [
    MappingSpec(MappingKey("app", "web"), "web"),
    MappingSpec(MappingKey("app", "db"), "db"),
    MappingSpec(MappingKey("app", "sealed"), NO_ROLE),
]


def read(
    resources: str, *, sections: str = "", target: Target | None = None, parameters: dict[str, str] | None = None
) -> list[Declared]:
    """What a template with these resources declares."""
    text = f"{sections}\nResources:\n{indent(resources.strip(chr(10)), '  ')}\n"
    return files.read({"template.yaml": text.encode()}, parameters or {}, target)


def forecasts(resources: str, *, sections: str = "") -> dict[str, Forecast]:
    rules, scoped = files.offline(MAPPINGS, "/rolekeeper/", target=None, now=NOW)
    found = files.forecasts(read(resources, sections=sections), rules, scoped)
    return {each.launcher.name: each for each in found}


def verdicts(resources: str, *, sections: str = "") -> dict[str, Verdict]:
    return {name: each.verdict for name, each in forecasts(resources, sections=sections).items()}


def instance(properties: str) -> str:
    return f"One:\n  Type: AWS::EC2::Instance\n  Properties: {{{properties}}}\n"


def tags_of(value: str, sections: str = "", **parameters: str) -> tuple[dict[str, str], set[str]]:
    """The tags of an instance, apart from CloudFormation's own: those that are known, and those that aren't."""
    made = instance(f"Tags: [{{Key: app, Value: {value}}}]")
    [one] = read(made, sections=sections, target=HERE, parameters=parameters)
    assert one.launcher.unclear == ""
    ours = {key: text for key, text in one.launcher.tags.items() if not key.startswith("aws:")}
    return ours, {key for key in one.launcher.unknown_tags if not key.startswith("aws:")}


# ---- each verdict, of each kind of resource ----

TEMPLATE = """
Template:
  Type: AWS::EC2::LaunchTemplate
  Properties:
    LaunchTemplateData:
      {profile}
      TagSpecifications:
      - {{ResourceType: instance, Tags: [{{Key: app, Value: {app}}}]}}
      - {{ResourceType: volume, Tags: [{{Key: app, Value: volume}}]}}
"""
NAMED = TEMPLATE.replace("{profile}", "IamInstanceProfile: {{Name: {profile}}}")
LATE = TEMPLATE.format(profile="", app="web")


@pytest.mark.parametrize(
    ("profile", "app", "verdict"),
    [
        ("web", "web", Verdict.BORN_RIGHT),
        ("", "web", Verdict.LATE),
        ("db", "web", Verdict.REPLACED),
        ("web", "sealed", Verdict.REPLACED),
        ("legacy", "web", Verdict.OCCUPIED),
        ("legacy", "other", Verdict.NO_MAPPING),
    ],
)
def test_a_launch_template_and_an_instance(profile: str, app: str, verdict: Verdict) -> None:
    own = f"IamInstanceProfile: {profile}, " if profile else ""
    template = (NAMED if profile else TEMPLATE).format(profile=profile, app=app)
    found = verdicts(template + instance(f"{own}Tags: [{{Key: app, Value: {app}}}]"))
    assert found == {"Template": verdict, "One": verdict}


def group(properties: str, tags: str = "[{Key: app, Value: db, PropagateAtLaunch: true}]") -> str:
    return f"Group:\n  Type: AWS::AutoScaling::AutoScalingGroup\n  Properties: {{{properties}, Tags: {tags}}}\n"


USED = "LaunchTemplate: {LaunchTemplateId: !Ref Template, Version: !GetAtt Template.LatestVersionNumber}"


@pytest.mark.parametrize(
    ("profile", "propagated", "verdict", "role"),
    [
        ("db", "true", Verdict.BORN_RIGHT, "db"),
        ("web", "true", Verdict.REPLACED, "db"),
        ("web", "false", Verdict.BORN_RIGHT, "web"),
    ],
)
def test_a_groups_own_tag_wins_over_its_templates_unless_it_keeps_it_to_itself(
    profile: str, propagated: str, verdict: Verdict, role: str
) -> None:
    tags = f"[{{Key: app, Value: db, PropagateAtLaunch: {propagated}}}]"
    found = forecasts(NAMED.format(profile=profile, app="web") + group(USED, tags))
    assert (found["Group"].verdict, found["Group"].should_carry.rpartition("/")[2]) == (verdict, role)
    assert found["Template"].launcher.used_by == ("Group",)


def test_a_groups_unknown_tag_hides_its_templates() -> None:
    tags = "[{Key: app, Value: !ImportValue app, PropagateAtLaunch: true}]"
    found = forecasts(LATE + group(USED, tags))["Group"]
    assert (found.verdict, "app" in found.launcher.tags) == (Verdict.UNKNOWN, False)


@pytest.mark.parametrize(("name", "known"), [("AutoScalingGroupName: g, ", ["g"]), ("", [])])
def test_a_group_tags_its_instances_with_its_name(name: str, known: list[str]) -> None:
    launcher = read(LATE + group(f"{name}{USED}"))[1].launcher
    assert [text for key, text in launcher.tags.items() if key == "aws:autoscaling:groupName"] == known
    assert ("aws:autoscaling:groupName" in launcher.unknown_tags) == (not known)


def test_a_mixed_group_is_judged_for_each_of_its_templates() -> None:
    second = NAMED.format(profile="db", app="web").replace("Template:", "Second:", 1)
    specified = "{LaunchTemplateSpecification: {LaunchTemplateId: !Ref Template}"
    override = "Overrides: [{InstanceType: a}, {LaunchTemplateSpecification: {LaunchTemplateId: !Ref Second}}]}"
    found = read(LATE + second + group(f"MixedInstancesPolicy: {{LaunchTemplate: {specified}, {override}}}"))
    assert [each.launcher.profile for each in found if each.launcher.name == "Group"] == ["", "db"]


def test_a_launch_configuration_has_no_tags_of_its_own() -> None:
    old = "Old:\n  Type: AWS::AutoScaling::LaunchConfiguration\n  Properties: {IamInstanceProfile: db}\n"
    assert verdicts(old + group("LaunchConfigurationName: !Ref Old")) == {"Group": Verdict.BORN_RIGHT}


@pytest.mark.parametrize(("type_", "app"), [("instant", "web"), ("maintain", "db")])
def test_only_an_instant_fleet_tags_its_instances(type_: str, app: str) -> None:
    fleet = f"""
Fleet:
  Type: AWS::EC2::EC2Fleet
  Properties:
    Type: {type_}
    LaunchTemplateConfigs: [{{LaunchTemplateSpecification: {{LaunchTemplateId: !Ref Template, Version: $Latest}}}}]
    TagSpecifications: [{{ResourceType: instance, Tags: [{{Key: app, Value: web}}]}}]
"""
    found = forecasts(TEMPLATE.format(profile="", app="db") + fleet)
    assert found["Fleet"].should_carry.endswith(f"/{app}")


def test_a_spot_fleet_has_templates_or_specifications_of_its_own() -> None:
    fleet = """
Fleet:
  Type: AWS::EC2::SpotFleet
  Properties:
    SpotFleetRequestConfigData:
      LaunchSpecifications:
      - IamInstanceProfile: {Arn: !Sub "arn:aws:iam::${AWS::AccountId}:instance-profile/rolekeeper/web"}
        TagSpecifications: [{ResourceType: instance, Tags: [{Key: app, Value: db}]}]
"""
    [found] = read(fleet, target=HERE)
    assert found.launcher.profile == "arn:aws:iam::111111111111:instance-profile/rolekeeper/web"
    assert found.launcher.tags == {"app": "db"}


NODES = """
Nodes:
  Type: AWS::EKS::Nodegroup
  Properties: {LaunchTemplate: {Id: !Ref Template, Version: !GetAtt Template.LatestVersionNumber}}
"""


def test_nodes_of_eks_are_left_alone_and_so_is_a_template_that_only_they_use() -> None:
    found = forecasts(LATE + NODES)
    assert {(each.verdict, str(each.mapping)) for each in found.values()} == {(Verdict.LEFT_ALONE, "app=web")}
    assert "app=web asks for role web, which they don't get" in found["Nodes"].reason
    unknown = verdicts(TEMPLATE.format(profile="", app="!ImportValue app") + NODES)
    assert {*unknown.values()} == {Verdict.UNKNOWN}, "a mapping may change the role"


def test_a_node_group_whose_role_is_taken_over_is_shown_as_replaced() -> None:
    takes_over = MappingSpec(MappingKey("app", "web"), "web", when_occupied=WhenOccupied.REPLACE)
    rules, scoped = files.offline([takes_over], "/rolekeeper/", target=None, now=NOW)
    rules = replace(rules, ownership=replace(rules.ownership, take_over=True))
    for found in files.forecasts(read(LATE + NODES), rules, scoped):
        assert (found.verdict, found.carries.rpartition("/")[2], found.steps) == (Verdict.REPLACED, "eks-*", ())


# ---- instance profiles of the same template ----


def profile(properties: str) -> str:
    return f"Profile:\n  Type: AWS::IAM::InstanceProfile\n  Properties: {{{properties}}}\n"


@pytest.mark.parametrize(
    ("declared", "verdict"),
    [
        ("Path: /rolekeeper/, InstanceProfileName: web", Verdict.BORN_RIGHT),
        ("Path: /rolekeeper/, InstanceProfileName: db", Verdict.REPLACED),
        ("Path: /rolekeeper/", Verdict.REPLACED),
        ("InstanceProfileName: legacy", Verdict.OCCUPIED),
        ("Path: !ImportValue path, InstanceProfileName: web", Verdict.UNKNOWN),
        ("InstanceProfileName: !ImportValue name", Verdict.UNKNOWN),
    ],
)
@pytest.mark.parametrize("named", ["!Ref Profile", "!GetAtt Profile.Arn", "!Sub '${Profile}'", "!Sub '${Profile.Arn}'"])
def test_a_profile_of_the_template_is_known_by_its_path(declared: str, verdict: Verdict, named: str) -> None:
    one = instance(f"IamInstanceProfile: {named}, Tags: [{{Key: app, Value: web}}]")
    assert verdicts(profile(declared) + one)["One"] == verdict


# ---- values ----

SECTIONS = """
Parameters:
  App: {Type: String, Default: web}
  Count: {Type: Number, Default: 2}
  List: {Type: CommaDelimitedList, Default: "a, b"}
  Ask: {Type: String}
  Stored: {Type: "AWS::SSM::Parameter::Value<String>", Default: /path}
Mappings:
  Apps: {eu-west-1: {name: web}}
Conditions:
  Same: !Equals [!Ref App, web]
  Other: !Not [!Condition Same]
  Both: !And [!Condition Same, !Condition Other]
  Either: !Or [!Condition Same, !Condition Maybe]
  Maybe: !Equals [!Ref Ask, web]
  AndMaybe: !And [!Condition Other, !Condition Maybe]
"""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *(("web", "web"), ("5", "5"), ("1.5", "1.5"), ("true", "true"), ("!Ref App", "web"), ("!Ref Count", "2")),
        ("!Ref AWS::Region", "eu-west-1"),
        ("!Ref AWS::AccountId", "111111111111"),
        ("!Sub '${App}-${AWS::Partition}-${!App}'", "web-aws-${App}"),
        ("!Sub ['${A}-${App}', {A: !Ref Count}]", "2-web"),
        ("!Join ['-', [a, !Ref App]]", "a-web"),
        ("!Join ['-', !Ref List]", "a-b"),
        ("!Select [1, [a, !Ref App]]", "web"),
        ("!FindInMap [Apps, !Ref AWS::Region, name]", "web"),
        ("!If [Same, web, db]", "web"),
        ("!If [Other, web, db]", "db"),
        ("!If [Both, web, db]", "db"),
        ("!If [Either, web, db]", "web"),
        ("!If [AndMaybe, web, db]", "db"),
        ("!If [Maybe, !Ref App, web]", "web"),
        ("{Fn::If: [Same, {Ref: App}, db]}", "web"),
    ],
)
def test_a_value_is_resolved(value: str, text: str) -> None:
    assert tags_of(value, SECTIONS) == ({"app": text}, set())


@pytest.mark.parametrize(
    "value",
    [
        *("!Ref Ask", "!Ref Stored", "!Ref AWS::StackName", "!Ref Elsewhere", "!Ref One", "!GetAtt One.PrivateIp"),
        *("!Sub '${Ask}'", "!Sub '${One.PrivateIp}'", "!Sub '${App'", "!Sub '${App}${!App'", "!ImportValue app"),
        *("!Join ['-', [a, !Ref Ask]]", "!Join ['-', !GetAZs '']", "!Select [9, [a]]", "!Select [!Ref Ask, [a]]"),
        *("!FindInMap [Apps, us-east-1, name]", "!If [Maybe, web, db]", "!If [Nowhere, web, db]"),
        *("'{{resolve:ssm:app}}'", "1.10", "010", "[a, b]", "{a: b}"),
    ],
)
def test_a_value_that_the_template_does_not_say_is_not_guessed(value: str) -> None:
    assert tags_of(value, SECTIONS) == ({}, {"app"})


def test_a_parameter_that_is_given_comes_before_its_default() -> None:
    assert tags_of("!Ref App", SECTIONS, App="db") == ({"app": "db"}, set())
    assert tags_of("!If [Maybe, web, db]", SECTIONS, Ask="web") == ({"app": "web"}, set())


@pytest.mark.parametrize(
    "tags",
    [
        "[!If [Maybe, {Key: app, Value: web}, !Ref AWS::NoValue], {Key: b, Value: c}]",
        "!If [Maybe, [{Key: app, Value: web}], !Ref AWS::NoValue]",
        "!If [Maybe, [{Key: app, Value: web}], [{Key: app, Value: web}]]",
    ],
)
def test_a_tag_that_depends_on_a_condition_is_not_known(tags: str) -> None:
    [one] = read(instance(f"Tags: {tags}"), sections=SECTIONS)
    assert ("app" in one.launcher.tags, "app" in one.launcher.unknown_tags) == (False, True)


def test_a_profile_that_is_written_by_its_name_is_the_templates() -> None:
    declared = profile("Path: /rolekeeper/, InstanceProfileName: other")
    one = instance("IamInstanceProfile: other, Tags: [{Key: app, Value: web}]")
    assert verdicts(declared + one)["One"] == Verdict.REPLACED


def test_a_profile_that_depends_on_a_condition_is_not_known() -> None:
    [one] = read(instance("IamInstanceProfile: !If [Maybe, web, !Ref AWS::NoValue]"), sections=SECTIONS)
    assert one.launcher.profile is None


def test_of_a_text_without_ends_of_variables_each_character_is_looked_at_once() -> None:
    [found] = cloudformation.VARIABLE.finditer("${" * 1_000)
    assert found.end() == 2_000


@pytest.mark.parametrize("tags", ["!Ref Ask", "[!Ref Ask]", "[{Key: !Ref Ask, Value: a}]", "a"])
def test_nothing_is_said_of_an_instance_whose_tag_keys_are_not_known(tags: str) -> None:
    found = forecasts(instance(f"Tags: {tags}"), sections=SECTIONS)["One"]
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, "the keys of its tags aren't known before it is deployed")


def test_an_unknown_tag_matters_only_where_mappings_ask_for_it() -> None:
    tags = "Tags: [{Key: app, Value: web}, {Key: Name, Value: !Ref AWS::StackName}]"
    unknown = "Tags: [{Key: app, Value: !Ref AWS::StackName}]"
    assert verdicts(instance(tags))["One"] == Verdict.LATE
    assert forecasts(instance(unknown))["One"].reason.startswith("the value of tag app isn't known")


VERSIONS = (
    "",
    *(f", Version: {each}" for each in ("3", "!Ref Ask", "$Default", "!GetAtt Template.DefaultVersionNumber")),
)
VERSION_UNKNOWN = "which version of Template it uses isn't known"


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ("LaunchTemplate: {LaunchTemplateName: theirs, Version: 1}", "launch template theirs isn't in the file"),
        ("LaunchTemplate: !Ref Ask", "its launch template isn't known before it is deployed"),
        ("LaunchConfigurationName: theirs", "its launch configuration isn't in the file"),
        *((f"LaunchTemplate: {{LaunchTemplateId: !Ref Template{each}}}", VERSION_UNKNOWN) for each in VERSIONS),
    ],
)
def test_a_group_that_starts_from_something_else_is_not_judged(properties: str, reason: str) -> None:
    found = forecasts(LATE + group(properties), sections=SECTIONS)["Group"]
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, reason)


@pytest.mark.parametrize(
    ("tags", "verdict"), [("", Verdict.UNKNOWN), (", Tags: [{Key: app, Value: web}]", Verdict.BORN_RIGHT)]
)
def test_of_a_launch_template_an_instance_surely_gets_the_profile(tags: str, verdict: Verdict) -> None:
    """Whether it gets the template's tags too is said nowhere."""
    assert verdicts(NAMED.format(profile="web", app="web") + instance(f"{USED}{tags}"))["One"] == verdict


@pytest.mark.parametrize(("condition", "names"), [("Same", {"One"}), ("Other", set()), ("Maybe", {"One"})])
def test_a_resource_whose_condition_is_false_is_left_out(condition: str, names: set[str]) -> None:
    found = read(f"One:\n  Type: AWS::EC2::Instance\n  Condition: {condition}\n", sections=SECTIONS)
    assert {each.launcher.name for each in found} == names


TRANSFORM = "a transform makes it (Fn::ForEach, Fn::Transform): give the processed template"
INCLUDE = "Fn::Transform: {Name: AWS::Include}"


@pytest.mark.parametrize(
    "made",
    [
        "Fn::ForEach::Many: [Id, [a, b], {'Web${Id}': {Type: AWS::EC2::Instance, Properties: {}}}]",
        "Fn::ForEach::M: [Id, [a], {'Fn::ForEach::N': [No, [b], {'${Id}${No}': {Type: AWS::EMR::Cluster}}]}]",
        f"{instance('Tags: [{Key: app, Value: web}]')}  {INCLUDE}",
        f"Included: {{{INCLUDE}}}",
        instance(f"{INCLUDE}, Tags: [{{Key: app, Value: web}}]"),
        instance(INCLUDE),
        instance(f"Tags: [{{{INCLUDE}}}]"),
        instance("Tags: [{Key: app, Value: web, 'Fn::ForEach::More': []}]"),
        TEMPLATE.format(profile=INCLUDE, app="web"),
        TEMPLATE.format(profile=f"IamInstanceProfile: {{Name: web, {INCLUDE}}}", app="web"),
    ],
)
def test_what_a_transform_makes_is_not_known(made: str) -> None:
    [found] = forecasts(made).values()
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, TRANSFORM)


RIGHT = instance("IamInstanceProfile: web, Tags: [{Key: app, Value: web}]")
CONFIGURATION = f"Made:\n  Type: AWS::AutoScaling::LaunchConfiguration\n  Properties: {{{INCLUDE}}}\n"


@pytest.mark.parametrize(
    "resources",
    [
        TEMPLATE.format(profile=INCLUDE, app="web") + group(USED),
        CONFIGURATION + group("LaunchConfigurationName: !Ref Made"),
        profile(f"InstanceProfileName: db, {INCLUDE}") + RIGHT.replace("web, Tags", "!Ref Profile, Tags"),
    ],
)
def test_what_starts_from_something_that_a_transform_makes_is_not_known(resources: str) -> None:
    assert {*verdicts(resources).values()} == {Verdict.UNKNOWN}


@pytest.mark.parametrize(
    ("section", "macro"),
    [
        ("Transform: Ours", "Ours"),
        ("Transform: [AWS::Serverless-2016-10-31, Ours]", "Ours"),
        ("Transform: {Name: AWS::Include, Parameters: {Location: s3://b/k}}", "AWS::Include"),
        ("'Fn::Transform': {Name: AWS::Include}", "Fn::Transform"),
    ],
)
def test_a_macro_of_the_whole_template_may_add_or_change_anything(section: str, macro: str) -> None:
    found = forecasts(RIGHT, sections=section)
    assert {name: each.verdict for name, each in found.items()} == {macro: Verdict.UNKNOWN, "One": Verdict.UNKNOWN}
    assert found["One"].reason == f"the macro {macro} may add or change anything: give the processed template"


def test_transforms_of_aws_that_add_no_instance_leave_the_others_known() -> None:
    assert verdicts(INCLUDE)["Fn::Transform"] == Verdict.UNKNOWN, "what is included among the resources"
    section = "Transform: [AWS::LanguageExtensions, AWS::Serverless-2016-10-31]"
    assert verdicts(RIGHT, sections=section) == {"One": Verdict.BORN_RIGHT}


OTHERS = """
AWS::Batch::ComputeEnvironment AWS::CloudFormation::Stack AWS::CloudFormation::StackSet AWS::ECS::CapacityProvider
AWS::EMR::Cluster AWS::EMR::InstanceFleetConfig AWS::EMR::InstanceGroupConfig AWS::ElasticBeanstalk::Environment
AWS::Serverless::Application AWS::ServiceCatalog::CloudFormationProvisionedProduct My::Own::Web::MODULE
"""


@pytest.mark.parametrize("type_", OTHERS.split())
def test_what_launches_instances_in_its_own_way_is_named_and_not_known(type_: str) -> None:
    [found] = forecasts(f"Other: {{Type: '{type_}'}}").values()
    assert (found.launcher.name, found.verdict, found.launcher.place) == ("Other", Verdict.UNKNOWN, "template.yaml:3")
    assert found.reason == f"{type_} may launch instances, and the file doesn't say what they start with"


def test_what_launches_no_instance_is_left_out() -> None:
    types = ("AWS::ECS::Cluster", "AWS::Lambda::Function", "AWS::EMR::SecurityConfiguration", "AWS::EC2::Subnet")
    assert forecasts("\n".join(f"R{at}: {{Type: '{each}'}}" for at, each in enumerate(types))) == {}


def test_what_is_left_out_by_a_condition_is_not_there() -> None:
    left_out = "!If [Other, {}, !Ref AWS::NoValue]"
    made = group(f"{USED}, MixedInstancesPolicy: {left_out}")
    assert verdicts(LATE + made, sections=SECTIONS)["Group"] == Verdict.LATE


# ---- where it is, and what to write ----

ARN = "arn:${AWS::Partition}:iam::${AWS::AccountId}:instance-profile"
SPOT_FLEET = """
Fleet:
  Type: AWS::EC2::SpotFleet
  Properties:
    SpotFleetRequestConfigData:
      LaunchSpecifications: [{TagSpecifications: [{ResourceType: instance, Tags: [{Key: app, Value: web}]}]}]
"""


def test_json_says_the_same_as_yaml() -> None:
    properties = {"Tags": [{"Key": "app", "Value": {"Fn::Sub": "${App}"}}, {"Key": "n", "Value": 5}]}
    document = {
        "Parameters": {"App": {"Type": "String", "Default": "web"}},
        "Resources": {"One": {"Type": "AWS::EC2::Instance", "Properties": properties}},
    }
    [one] = files.read({"t.json": json.dumps(document).encode()}, {}, None)
    assert one.launcher.place == "t.json"
    assert one.launcher.tags == {"app": "web", "n": "5", "aws:cloudformation:logical-id": "One"}


@pytest.mark.parametrize(
    ("resources", "name", "step"),
    [
        (LATE, "Template", "LaunchTemplateData: {IamInstanceProfile: {Name: web}}"),
        (instance("Tags: [{Key: app, Value: web}]"), "One", "IamInstanceProfile: web"),
        (SPOT_FLEET, "Fleet", "IamInstanceProfile: {Arn: !Sub '" + ARN + "/rolekeeper/web'}"),
    ],
)
def test_the_step_is_the_property_to_write(resources: str, name: str, step: str) -> None:
    [found] = forecasts(resources)[name].steps
    assert found.command == step
    assert found.does == f"in {name}: instances start with web; who launches it needs iam:PassRole for the role"
    of_group = forecasts(LATE + group(USED))["Group"]
    assert of_group.steps[0].does.startswith("in Template: "), "a group's is written there"

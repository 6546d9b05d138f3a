"""`rolekeeper launches`: what templates, groups and fleets will give their instances, before any is launched."""

import json
import shlex
from typing import Any

import pytest

from fakes.ec2 import client_error
from fakes.launchers import FakeLaunchers, specified, tag_rows
from fixtures.account import published_at
from fixtures.mappings import Desk
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal
from rolekeeper.model.instance import Target
from rolekeeper_cli.launch import use as launches

SPOKE = Target("111111111111", "eu-west-1")


@pytest.fixture(autouse=True)
def mapped(desk: Desk, web_and_db: None) -> None:
    """Roles web and db for their tags, and a foreign profile beside them."""
    del web_and_db
    desk.role("legacy", path="/")
    for name in ("web", "db"):
        desk.edit(f"app={name}", role=name)


@pytest.fixture
def there(desk: Desk) -> FakeLaunchers:
    return desk.world.ec2.launchers


def found(terminal: Terminal, *options: str) -> dict[str, dict[str, Any]]:
    """What is said of each, by name."""
    return {each["name"]: each for each in terminal.document("launches", *options)}


def verdicts(terminal: Terminal) -> dict[str, str]:
    return {name: each["verdict"] for name, each in found(terminal).items()}


# ---- the verdicts ----

EKS = "EKS manages the instances, and their role with them"
LATER = "software may keep the former for hours"


# Profile, tags, verdict, how the reason begins.
SAID = [
    ("web", "app=web", "born-right", "instances start with role web, as app=web asks"),
    ("", "app=web", "a-few-seconds-late", "app=web gives role web after the launch: boot scripts start without"),
    ("", "app=none", "born-right", "instances start with no role, as app=none asks"),
    ("web", "app=none", "replaced", f"instances start with web, and app=none gives no role later: {LATER}"),
    ("db", "app=web", "replaced", f"instances start with db, and app=web gives role web later: {LATER}"),
    ("legacy", "app=web", "will-stay-occupied", "instances keep the foreign legacy, and don't get role web, which"),
    ("legacy", "", "no-mapping", "no mapping for the tags; instances keep legacy, which is foreign"),
    ("web", "app=other", "no-mapping", "no mapping for the tags; instances keep web, which no mapping gives them"),
    ("", "", "no-mapping", "no mapping for its tags"),
    ("legacy", "eks:cluster-name=c", "left-alone", EKS),
    ("legacy", "eks:cluster-name=c app=web", "left-alone", f"{EKS}; app=web asks for role web, which they don't"),
    ("", "eks:cluster-name=c rolekeeper:ignore=true", "left-alone", "its tag rolekeeper:ignore says true"),
    ("legacy", "AmazonECSManaged= app=web", "left-alone", "ECS manages the instances, and their role with them"),
    ("legacy", "rolekeeper:ignore=true app=web", "left-alone", "its tag rolekeeper:ignore says true"),
    ("web", "app=web tier=gold", "blocked", "app=web (role web) and tier=gold (role db) share priority"),
    ("wbe", "app=web", "blocked", "there is no instance profile wbe, so EC2 refuses the launch"),
]


def test_each_verdict_says_what_instances_will_carry(terminal: Terminal, there: FakeLaunchers, desk: Desk) -> None:
    desk.edit("app=none", role="NONE")
    desk.edit("tier=gold", role="db")
    for number, (profile, tags, *_) in enumerate(SAID):
        there.template(str(number), profile, **dict(each.split("=") for each in tags.split()))
    seen = found(terminal)
    for number, (profile, tags, verdict, reason) in enumerate(SAID):
        one = seen[str(number)]
        assert (one["verdict"], one["reason"][: len(reason)]) == (verdict, reason), (profile, tags)
        starts_wrong = verdict in {"a-few-seconds-late", "replaced", "will-stay-occupied"}
        assert bool(one["steps"]) == (starts_wrong and tags != "app=none"), (profile, tags)


def test_a_foreign_role_to_be_taken_over_is_replaced(terminal: Terminal, there: FakeLaunchers, desk: Desk) -> None:
    terminal.parameters["TakeOver"] = "true"
    desk.edit("app=web", role="web", when_occupied="replace")
    there.template("old", "legacy", app="web")
    seen = found(terminal)["old"]
    assert seen["verdict"] == "replaced"
    assert "foreign legacy" in seen["reason"]


def test_what_a_service_made_is_known_by_its_name(terminal: Terminal, there: FakeLaunchers) -> None:
    names = ("karpenter.k8s.aws/8123", "eks-2ac5f5b0-1234-5678-9abc-0123456789ab")
    for name in names:
        there.template(name, "legacy", app="web")
    assert verdicts(terminal) == dict.fromkeys(names, "left-alone")


def test_a_node_group_that_a_mapping_would_change_is_told_as_such(terminal: Terminal, there: FakeLaunchers) -> None:
    there.template("nodes", "db", **{"eks:cluster-name": "main", "app": "web"})
    nodes = found(terminal)["nodes"]
    assert (nodes["verdict"], nodes["steps"]) == ("replaced", [])
    assert nodes["reason"].endswith("leave it, or change the role in its node group or NodeClass")


def test_what_an_aws_service_operates_is_left_alone_and_asked_for(terminal: Terminal, there: FakeLaunchers) -> None:
    operator = {"Managed": True, "Principal": "eks.amazonaws.com"}
    there.template("auto", app="web")
    there.templates["auto"][0]["Operator"] = operator
    there.template("plain", app="web")
    there.group("auto-group", "plain", Operator=operator)
    seen = found(terminal)
    assert (seen["auto-group"]["verdict"], seen["auto"]["verdict"]) == ("left-alone", "left-alone")
    assert "eks.amazonaws.com manages" in seen["auto"]["reason"]
    assert there.asked[0]["IncludeManagedResources"]


def test_a_damaged_mapping_blocks_only_what_it_matches(terminal: Terminal, there: FakeLaunchers, desk: Desk) -> None:
    desk.world.garble(published_at("app=web"))
    there.template("web", app="web")
    there.template("db", "db", app="db")
    assert verdicts(terminal) == {"web": "blocked", "db": "born-right"}


# ---- what is said comes true ----

TAGS: tuple[dict[str, str], ...] = (
    *({"app": "web"}, {"app": "db"}, {"app": "none"}, {"app": "any-other"}, {"team": "x"}, {}),
    *({"app": "web", "tier": "gold"}, {"app": "web", "rolekeeper:ignore": "true"}, {"app": "off"}, {"app": "needs"}),
    {"app": "needs", "team": "x"},
)


@pytest.mark.parametrize("take_over", ["false", "true"])
@pytest.mark.parametrize("profile", ["", "web", "db", "legacy"])
def test_what_it_says_comes_true_when_an_instance_is_launched(
    terminal: Terminal, there: FakeLaunchers, desk: Desk, profile: str, take_over: str
) -> None:
    terminal.parameters["TakeOver"] = take_over
    world = desk.world
    world.take_over = take_over == "true"
    desk.edit("app=web", role="web", when_occupied="replace")
    desk.edit("app=none", role="NONE", when_occupied="replace")
    desk.edit("tier=gold", role="db")
    desk.edit("app=off", role="db", enabled=False)
    desk.edit("app=needs", role="db", require_tags={"team": "x"})
    for number, tags in enumerate(TAGS):
        there.template(str(number), profile, **tags)
    for name, said in found(terminal).items():
        tags = TAGS[int(name)]
        instance = world.running(profile=profile or None, **tags)
        born = world.carries(instance)
        for _ in range(3):
            world.reconcile(instance)
            world.wait(60)
        after, shown = world.carries(instance), world.shows(instance)
        assert born == profile == (said["carries"] or ""), tags
        expected = {
            "born-right": after == born and not shown,
            "a-few-seconds-late": (born, after) == ("", said["should_carry"]),
            "replaced": after != born and after == (said["should_carry"] or ""),
            "will-stay-occupied": after == born and shown == "occupied" and said["should_carry"] != born,
            "blocked": after == born and shown == said["code"],
            "no-mapping": after == born and shown in {"", "unexplained"} and not said["mapping"],
            "left-alone": after == born and "rolekeeper:ignore" in tags,
        }
        assert expected[said["verdict"]], (tags, said, after, shown)


# ---- groups ----


def test_the_groups_tags_decide_and_come_before_the_templates(terminal: Terminal, there: FakeLaunchers) -> None:
    there.template("base", "web", app="db")
    there.group("front", "base", tags={"app": "web"}, own_tags={"app2": "db"})
    seen = found(terminal)
    assert seen["front"]["verdict"] == "born-right"
    assert seen["front"]["tags"]["aws:autoscaling:groupName"] == "front"
    assert seen["front"]["tags"]["aws:ec2launchtemplate:version"] == "1"
    assert "app2" not in seen["front"]["tags"]


def test_a_tag_that_stays_on_the_group_gives_no_role(terminal: Terminal, there: FakeLaunchers) -> None:
    there.template("base")
    there.group("front", "base", own_tags={"app": "web"})
    assert verdicts(terminal)["front"] == "no-mapping"


def test_the_version_that_the_group_names_counts(terminal: Terminal, there: FakeLaunchers) -> None:
    expected = {"$Default": "born-right", "$Latest": "replaced", "2": "a-few-seconds-late"}
    for profile in ("web", "", "db"):
        there.template("base", profile)
    for version in expected:
        there.group(version, "base", version, tags={"app": "web"})
    seen = verdicts(terminal)
    assert {version: seen[version] for version in expected} == expected


def test_each_template_of_mixed_instances_is_looked_at(terminal: Terminal, there: FakeLaunchers) -> None:
    there.template("x86", "web")
    there.template("arm", "db")
    overrides = [{"LaunchTemplateSpecification": specified("arm")}, {"InstanceType": "m7i.large"}]
    policy = {"LaunchTemplate": {"LaunchTemplateSpecification": specified("x86"), "Overrides": overrides}}
    there.group("front", tags={"app": "web"}, MixedInstancesPolicy=policy)
    rows = [each for each in terminal.document("launches") if each["name"] == "front"]
    assert {each["template"]["name"]: each["verdict"] for each in rows} == {"x86": "born-right", "arm": "replaced"}


def test_a_group_with_a_launch_configuration_is_looked_at(terminal: Terminal, there: FakeLaunchers) -> None:
    there.configurations = [{"LaunchConfigurationName": "old", "IamInstanceProfile": "legacy"}]
    there.group("front", tags={"app": "web"}, LaunchConfigurationName="old")
    assert verdicts(terminal) == {"front": "will-stay-occupied"}


def test_a_group_whose_template_or_version_was_deleted_is_said(terminal: Terminal, there: FakeLaunchers) -> None:
    there.template("base", "web")
    there.group("front", "gone", tags={"app": "web"})
    there.group("back", "base", "7", tags={"app": "web"})
    seen = found(terminal)
    assert (seen["front"]["verdict"], seen["front"]["code"]) == ("blocked", "broken")
    assert "no version 7 of launch template base" in seen["back"]["reason"]


def test_a_template_that_a_group_uses_is_listed_only_if_its_own_tags_match(
    terminal: Terminal, there: FakeLaunchers
) -> None:
    there.template("base")
    there.template("tagged", app="web")
    there.group("front", "base", tags={"app": "web"})
    there.group("back", "tagged")
    seen = found(terminal)
    assert (set(seen), seen["tagged"]["used_by"]) == ({"front", "back", "tagged"}, ["back"])
    assert "1 launch template isn't listed" in terminal("launches").output
    assert set(found(terminal, "explain", "base")) == {"base"}


# ---- fleets ----


def test_fleets_launch_with_the_tags_of_their_templates(terminal: Terminal, there: FakeLaunchers) -> None:
    there.template("base", app="web")
    configs = [{"LaunchTemplateSpecification": specified("base"), "Overrides": [{"InstanceType": "m7i.large"}]}]
    there.fleets = [
        {"FleetId": "fleet-1", "FleetState": "active", "LaunchTemplateConfigs": configs},
        {"FleetId": "fleet-2", "FleetState": "deleted_running", "LaunchTemplateConfigs": configs},
    ]
    tags = {"ResourceType": "instance", "Tags": tag_rows({"app": "web"})}
    launch = {"IamInstanceProfile": {"Name": "web"}, "TagSpecifications": [tags]}
    there.spot_fleets = [
        {"SpotFleetRequestId": id_, "SpotFleetRequestState": state, "SpotFleetRequestConfig": config}
        for id_, state, config in (
            ("sfr-1", "active", {"LaunchSpecifications": [launch]}),
            ("sfr-2", "cancelled", {"LaunchTemplateConfigs": configs}),
        )
    ]
    assert verdicts(terminal) == {"fleet-1": "a-few-seconds-late", "sfr-1": "born-right", "base": "a-few-seconds-late"}


# ---- what to do ----


def commands(document: dict[str, Any]) -> list[list[str]]:
    return [shlex.split(each["command"]) for each in document["steps"]]


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_a_new_version_names_the_profile_as_the_former_one_did(
    terminal: Terminal, there: FakeLaunchers, desk: Desk
) -> None:
    there.template("replaced", desk.world.profile("db"), app="web")
    [new, _] = commands(found(terminal)["replaced"])
    named = {"IamInstanceProfile": {"Arn": desk.world.profile("web")}}
    assert json.loads(option(new, "--launch-template-data")) == named


def test_a_late_group_can_wait_with_a_lifecycle_hook(terminal: Terminal, there: FakeLaunchers) -> None:
    there.template("base")
    there.group("front end", "base", "1", tags={"app": "web"})
    [_, use, hook, script] = commands(found(terminal)["front end"])
    assert [option(each, "--auto-scaling-group-name") for each in (use, hook)] == ["front end"] * 2
    assert hook[:3] == ["aws", "autoscaling", "put-lifecycle-hook"]
    assert script == shlex.split(launches.BOOT_SCRIPT)


def test_where_others_launch_from_the_template_the_group_alone_gets_the_new_version(
    terminal: Terminal, there: FakeLaunchers
) -> None:
    there.template("base")
    there.group("front", "base", tags={"app": "web"})
    there.group("back", "base", tags={"app": "db"})
    [new, use, *_] = found(terminal)["front"]["steps"]
    assert "back" not in new["does"]
    assert shlex.split(use["command"])[:3] == ["aws", "autoscaling", "update-auto-scaling-group"]


def test_a_new_latest_version_names_the_others_that_may_use_it(terminal: Terminal, there: FakeLaunchers) -> None:
    there.template("base", "db")
    there.group("front", "base", "$Latest", tags={"app": "web"})
    there.group("back", "base", "$Latest", tags={"app": "db"})
    [new] = found(terminal)["front"]["steps"]
    assert "back may use it too" in new["does"]
    assert "front, back may" not in new["does"]


def test_a_group_of_a_stack_is_changed_there(terminal: Terminal, there: FakeLaunchers) -> None:
    there.template("base")
    there.group("front", "base", tags={"app": "web", "aws:cloudformation:stack-name": "shop"})
    assert "stack shop declares front, so change it there" in found(terminal)["front"]["steps"][0]["does"]


def test_no_step_takes_the_mixed_instances_policy_from_a_group(terminal: Terminal, there: FakeLaunchers) -> None:
    """`update-auto-scaling-group --launch-template` would put the template in its place."""
    there.template("base", "db")
    policy = {"LaunchTemplate": {"LaunchTemplateSpecification": specified("base", "1")}}
    there.group("front", tags={"app": "web"}, MixedInstancesPolicy=policy)
    [new] = found(terminal)["front"]["steps"]
    assert "then name it in the group's mixed instances policy" in new["does"]


# ---- what it asks of AWS ----


def test_many_templates_are_read_in_one_paged_call_and_mappings_at_once(
    terminal: Terminal, there: FakeLaunchers, desk: Desk
) -> None:
    there.page = 50
    for number in range(100):
        there.template(f"t{number}", "web", app="web", Name=str(number))
    desk.world.calls.clear()
    assert len(found(terminal)) == 100
    made = desk.world.calls.counted()
    assert made["DescribeLaunchTemplateVersions"] == 2
    assert made["GetInstanceProfile"] == 1


def test_a_missing_permission_is_named(terminal: Terminal, there: FakeLaunchers) -> None:
    def refuse(_: str) -> None:
        raise client_error("UnauthorizedOperation")

    there.refuse = refuse
    ran = terminal("launches")
    assert (ran.exit_code, "ec2:DescribeLaunchTemplateVersions" in ran.output) == (254, True)


# ---- other accounts ----


def test_other_targets_are_read_and_one_that_cannot_be_is_left_out(
    terminal: Terminal, there: FakeLaunchers, desk: Desk
) -> None:
    spoke = SpokeFixture(terminal, desk, SPOKE)
    spoke.registered()
    spoke.copied("app=web", "web")
    there.template("here", "web", app="web")
    spoke.world.ec2.launchers.template("far", app="web")
    seen = found(terminal)
    assert (seen["far"]["account"], seen["far"]["verdict"]) == (SPOKE.account, "a-few-seconds-late")
    assert all("--region eu-west-1" in each["command"] for each in seen["far"]["steps"])
    assert f"{SPOKE}/far" in terminal("launches").output
    assert f"What to change about {SPOKE}/far (template):" in terminal("launches", "explain", f"{SPOKE}/far").output
    spoke.refuse()
    ran = terminal("launches", "--detailed-exitcode")
    assert f"{SPOKE} is left out" in ran.output
    assert ran.exit_code == 1

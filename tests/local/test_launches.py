"""Launch templates, fleets and Auto Scaling groups of the embedded AWS: what they say, and what they launch."""

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from rolekeeper_local.embedded import REGION, EmbeddedAws
from support.buses import Bus
from support.roles import assumed, make_profile, make_role
from support.waiting import eventually, stays

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

TYPES = [{"InstanceType": "t3.nano"}, {"InstanceType": "t3.large"}]


class Account:
    """An account of its own, with the instance profiles `web` and `db`."""

    def __init__(self, aws: EmbeddedAws, account: str) -> None:
        self.aws, self.id = aws, account
        self.session: boto3.Session = aws.session(account=account)
        # Calls of tests, whose parameters are plain values.
        self.ec2: Any = self.session.client("ec2")
        self.groups: Any = self.session.client("autoscaling")
        for name in ("web", "db"):
            make_profile(aws, name, account=account)

    def template(self, name: str, *, profile: str = "", **tags: str) -> str:
        """Make a launch template; returns its id."""
        data = {"ImageId": "ami-1", "InstanceType": "t3.micro", "TagSpecifications": tagged(**tags)}
        given = {"IamInstanceProfile": {"Name": profile}} if profile else {}
        made = self.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={**data, **given})
        return str(made["LaunchTemplate"]["LaunchTemplateId"])

    def version(self, name: str, source: str = "", **data: Any) -> int:
        """Make a version of a template; returns its number."""
        given = {"SourceVersion": source} if source else {}
        made = self.ec2.create_launch_template_version(LaunchTemplateName=name, LaunchTemplateData=data, **given)
        return int(made["LaunchTemplateVersion"]["VersionNumber"])

    def run(self, template: str, version: str = "", **more: Any) -> Any:
        named = {"LaunchTemplateName": template, **({"Version": version} if version else {})}
        return self.ec2.run_instances(MinCount=1, MaxCount=1, LaunchTemplate=named, **more)["Instances"][0]

    def group(self, name: str, *, size: int = 1, most: int = 5, **more: Any) -> None:
        given = more if more.keys() & {"MixedInstancesPolicy", "LaunchConfigurationName"} else {**use("web"), **more}
        self.groups.create_auto_scaling_group(
            AutoScalingGroupName=name, MinSize=0, MaxSize=most, DesiredCapacity=size, **given
        )

    def shown(self, name: str) -> Any:
        found = self.groups.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        return found[0] if found else {}

    def members(self, name: str, state: str = "InService", *, size: int = 1) -> list[Any]:
        """Wait until this number of a group's instances is in a state, and no other."""

        def look() -> list[Any]:
            found = self.shown(name)["Instances"]
            return found if [each["LifecycleState"] for each in found] == [state] * size else []

        return eventually(look)

    def instances(self, *ids: str) -> list[Any]:
        found = self.ec2.describe_instances(InstanceIds=list(ids))["Reservations"]
        return [each for row in found for each in row["Instances"]]

    def fleet(self, kind: str, template: str = "web", capacity: int = 1, overrides: Any = TYPES, **more: Any) -> Any:
        config = {"LaunchTemplateSpecification": {"LaunchTemplateName": template, "Version": "$Default"}}
        target = {"TotalTargetCapacity": capacity, "DefaultTargetCapacityType": "on-demand"}
        configs = [{**config, "Overrides": overrides}]
        return self.ec2.create_fleet(
            Type=kind, LaunchTemplateConfigs=configs, TargetCapacitySpecification=target, **more
        )


_ACCOUNTS = itertools.count(700000000000)


@pytest.fixture
def account(aws: EmbeddedAws) -> Iterator[Account]:
    made = Account(aws, str(next(_ACCOUNTS)))
    yield made
    for each in made.groups.describe_auto_scaling_groups()["AutoScalingGroups"]:
        made.groups.delete_auto_scaling_group(AutoScalingGroupName=each["AutoScalingGroupName"], ForceDelete=True)


def use(template: str, version: str = "$Default") -> dict[str, Any]:
    return {"LaunchTemplate": {"LaunchTemplateName": template, "Version": version}}


def tagged(**tags: str) -> list[dict[str, Any]]:
    return [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]


def tags_of(instance: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance["Tags"]}


def in_pages(client: Any, call: str, member: str, **asked: Any) -> list[Any]:
    """All rows, of which each page has at most two."""
    pages = client.get_paginator(call).paginate(**asked, PaginationConfig={"PageSize": 2})
    rows = [page[member] for page in pages]
    assert all(len(each) <= 2 for each in rows)
    return [each for some in rows for each in some]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value)


# ---- launch templates ----


def test_a_version_inherits_what_it_does_not_name_and_replaces_what_it_names(account: Account) -> None:
    account.template("web", profile="web", role="web", team="a")
    for source in ("$Latest", "1"):
        number = account.version("web", source, TagSpecifications=tagged(role="db"))
        data = account.ec2.describe_launch_template_versions(LaunchTemplateName="web", Versions=[str(number)])
        assert data["LaunchTemplateVersions"][0]["LaunchTemplateData"] == {
            "ImageId": "ami-1",
            "InstanceType": "t3.micro",
            "IamInstanceProfile": {"Name": "web"},
            "TagSpecifications": tagged(role="db"),
        }
    without = account.version("web", InstanceType="t3.nano")
    data = account.ec2.describe_launch_template_versions(LaunchTemplateName="web", Versions=[str(without)])
    assert data["LaunchTemplateVersions"][0]["LaunchTemplateData"] == {"InstanceType": "t3.nano"}


def test_all_default_and_latest_versions_come_in_pages_each_once(account: Account) -> None:
    for name in ("api", "batch", "cache"):
        account.template(name)
    account.version("batch", "1")
    account.version("batch", "2")
    account.version("cache", "1")
    account.ec2.modify_launch_template(LaunchTemplateName="cache", DefaultVersion="$Latest")

    def versions(**asked: Any) -> list[tuple[str, int]]:
        found = in_pages(account.ec2, "describe_launch_template_versions", "LaunchTemplateVersions", **asked)
        return [(each["LaunchTemplateName"], each["VersionNumber"]) for each in found]

    assert versions(Versions=["$Default", "$Latest"]) == [("api", 1), ("batch", 3), ("batch", 1), ("cache", 2)]
    assert versions(Versions=["$Default"]) == [("api", 1), ("batch", 1), ("cache", 2)]
    assert versions(LaunchTemplateName="batch") == [("batch", 3), ("batch", 2), ("batch", 1)]
    assert versions(LaunchTemplateName="batch", Versions=["$Default", "2"]) == [("batch", 2), ("batch", 1)]
    found = in_pages(account.ec2, "describe_launch_templates", "LaunchTemplates")
    assert [(each["LaunchTemplateName"], each["DefaultVersionNumber"]) for each in found] == [
        ("api", 1),
        ("batch", 1),
        ("cache", 2),
    ]


def test_a_template_or_a_version_that_is_not_there_is_refused(account: Account) -> None:
    account.template("web")
    versions = account.ec2.describe_launch_template_versions
    assert "(InvalidLaunchTemplateId.NotFound)" in refusal(lambda: versions(LaunchTemplateId="lt-0123456789abcdef0"))
    assert "(InvalidLaunchTemplateName.NotFoundException)" in refusal(lambda: account.run("gone"))
    for call in (
        lambda: versions(LaunchTemplateName="web", Versions=["7"]),
        lambda: account.version("web", "7"),
        lambda: account.run("web", "7"),
        lambda: account.ec2.modify_launch_template(LaunchTemplateName="web", DefaultVersion="7"),
    ):
        assert "(InvalidLaunchTemplateId.VersionNotFound)" in refusal(call)
    for asked in ({}, {"Versions": ["1"]}):
        assert "(InvalidParameterCombination)" in refusal(lambda asked=asked: versions(**asked))  # type: ignore[misc]


def test_a_launch_takes_profile_and_tags_of_its_template_from_birth(account: Account) -> None:
    template = account.template("web", profile="web", role="web", team="a")
    bus = Bus(account.aws, account.id).listen({"source": ["aws.tag"]})
    born = account.run("web", TagSpecifications=tagged(team="b"))
    assert born["IamInstanceProfile"]["Arn"].endswith(":instance-profile/rolekeeper/web")
    tags = {"role": "web", "team": "b", "aws:ec2launchtemplate:id": template, "aws:ec2launchtemplate:version": "1"}
    assert tags_of(born) == tags_of(account.instances(born["InstanceId"])[0]) == tags
    (event,) = eventually(bus.heard)
    assert event["detail"]["tags"] == tags


def test_a_launch_uses_the_version_that_it_names_and_its_own_parameters_win(account: Account) -> None:
    account.template("web", profile="web")
    arn = account.session.client("iam").get_instance_profile(InstanceProfileName="db")["InstanceProfile"]["Arn"]
    account.version("web", "1", IamInstanceProfile={"Arn": arn}, InstanceType="t3.large")
    assert account.run("web")["InstanceType"] == "t3.micro"
    latest = account.run("web", "$Latest", InstanceType="t3.nano")
    assert (latest["InstanceType"], latest["IamInstanceProfile"]["Arn"]) == ("t3.nano", arn)
    own = account.run("web", "2", IamInstanceProfile={"Name": "web"})
    assert own["IamInstanceProfile"]["Arn"].endswith("/web")


def test_a_template_whose_profile_does_not_exist_launches_nothing(account: Account) -> None:
    account.template("gone", profile="gone")
    said = "Value (gone) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
    assert said in refusal(lambda: account.run("gone"))
    text = refusal(lambda: account.group("gone", **use("gone")))
    assert "(ValidationError)" in text
    assert f"You must use a valid fully-formed launch template. {said}" in text
    fleet = account.fleet("instant", "gone")
    assert fleet["Instances"] == []
    assert [(each["ErrorCode"], each["ErrorMessage"]) for each in fleet["Errors"]] == [("InvalidParameterValue", said)]
    assert account.ec2.describe_instances()["Reservations"] == []


def test_who_launches_by_a_template_must_pass_its_role(account: Account) -> None:
    account.template("web", profile="web")
    may_run = {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}
    arn = make_role(account.aws, account.id, {"AWS": account.id}, may_run, name="launcher")
    launcher: Any = assumed(account.aws, arn).client("ec2")
    text = refusal(lambda: launcher.run_instances(MinCount=1, MaxCount=1, **use("web")))
    assert "iam:PassRole" in text


# ---- fleets ----


@pytest.mark.parametrize("kind", ["instant", "request", "maintain"])
def test_a_fleet_launches_its_capacity_by_its_template_and_overrides(account: Account, kind: str) -> None:
    template = account.template("web", profile="web", role="web")
    made = account.fleet(kind, capacity=3)
    found = [each for row in account.ec2.describe_instances()["Reservations"] for each in row["Instances"]]
    assert [each["InstanceType"] for each in found] == ["t3.nano", "t3.large", "t3.nano"]
    assert all(each["IamInstanceProfile"]["Arn"].endswith("/web") for each in found)
    assert tags_of(found[0]) == {
        "role": "web",
        "aws:ec2:fleet-id": made["FleetId"],
        "aws:ec2launchtemplate:id": template,
        "aws:ec2launchtemplate:version": "1",
    }
    (fleet,) = account.ec2.describe_fleets(FleetIds=[made["FleetId"]])["Fleets"]
    assert (fleet["Type"], fleet["FleetState"], fleet["FulfilledCapacity"]) == (kind, "active", 3)
    specification = {"LaunchTemplateName": "web", "Version": "$Default"}
    assert fleet["LaunchTemplateConfigs"] == [{"LaunchTemplateSpecification": specification, "Overrides": TYPES}]
    # An instant fleet is shown by its id only, and is alone in naming its instances.
    assert bool(account.ec2.describe_fleets()["Fleets"]) == (kind != "instant")
    assert bool(made.get("Instances")) == bool(fleet["Instances"]) == (kind == "instant")


def test_an_instant_fleet_alone_gives_tags_and_a_profile_of_its_own(account: Account) -> None:
    account.template("web", role="web", team="a")
    overrides = [{"IamInstanceProfile": {"Name": "db"}}]
    made = account.fleet("instant", overrides=overrides, TagSpecifications=tagged(team="b"))
    (instance,) = account.instances(*made["Instances"][0]["InstanceIds"])
    assert instance["IamInstanceProfile"]["Arn"].endswith("/db")
    assert tags_of(instance)["role"] == "web"
    assert tags_of(instance)["team"] == "b"
    assert "(InvalidTagSpecification)" in refusal(lambda: account.fleet("request", TagSpecifications=tagged(team="b")))
    assert account.ec2.describe_spot_fleet_requests()["SpotFleetRequestConfigs"] == []


def test_a_fleet_is_deleted_with_its_instances_or_without(account: Account) -> None:
    account.template("web")
    kept, ended = (account.fleet("request")["FleetId"] for _ in range(2))
    account.ec2.delete_fleets(FleetIds=[kept], TerminateInstances=False)
    answer = account.ec2.delete_fleets(FleetIds=[ended, "fleet-gone"], TerminateInstances=True)
    assert [each["FleetId"] for each in answer["SuccessfulFleetDeletions"]] == [ended]
    assert [each["Error"]["Code"] for each in answer["UnsuccessfulFleetDeletions"]] == ["fleetIdDoesNotExist"]
    states = [each["FleetState"] for each in account.ec2.describe_fleets(FleetIds=[kept, ended])["Fleets"]]
    assert states == ["deleted_running", "deleted_terminating"]
    found = [each for row in account.ec2.describe_instances()["Reservations"] for each in row["Instances"]]
    alive = [each["State"]["Name"] in {"pending", "running"} for each in found]
    assert [tags_of(each)["aws:ec2:fleet-id"] for each in found] == [kept, ended]
    assert alive == [True, False]


# ---- Auto Scaling groups ----


def test_a_group_launches_by_its_template_and_its_own_tags_win(account: Account) -> None:
    template = account.template("web", profile="web", role="web", team="a")
    group_tags = [("team", "b", True), ("owner", "c", False)]
    keys = ("Key", "Value", "PropagateAtLaunch")
    account.group("web", Tags=[dict(zip(keys, each, strict=True)) for each in group_tags])
    (member,) = account.members("web")
    assert member["LaunchTemplate"] == {"LaunchTemplateId": template, "LaunchTemplateName": "web", "Version": "1"}
    assert account.shown("web")["LaunchTemplate"]["Version"] == "$Default"
    (instance,) = account.instances(member["InstanceId"])
    assert instance["IamInstanceProfile"]["Arn"].endswith("/web")
    assert tags_of(instance) == {
        "role": "web",
        "team": "b",
        "aws:autoscaling:groupName": "web",
        "aws:ec2launchtemplate:id": template,
        "aws:ec2launchtemplate:version": "1",
    }


def test_a_group_replaces_what_was_terminated_by_the_version_of_then(account: Account) -> None:
    account.template("web", profile="web")
    account.group("web", **use("web", "$Latest"))
    (first,) = account.members("web")
    account.version("web", "1", IamInstanceProfile={"Name": "db"})
    stays(lambda: account.shown("web")["Instances"] == [first], 0.5)
    account.ec2.terminate_instances(InstanceIds=[first["InstanceId"]])
    (second,) = account.members("web")
    assert (first["LaunchTemplate"]["Version"], second["LaunchTemplate"]["Version"]) == ("1", "2")
    assert account.instances(second["InstanceId"])[0]["IamInstanceProfile"]["Arn"].endswith("/db")


def test_a_group_grows_shrinks_changes_what_it_launches_and_goes_with_its_instances(account: Account) -> None:
    account.template("web")
    account.template("data")
    account.group("web")
    (first,) = account.members("web")
    account.groups.update_auto_scaling_group(AutoScalingGroupName="web", MinSize=2, **use("data"))
    first_again, second = account.members("web", size=2)
    assert (first_again, second["LaunchTemplate"]["LaunchTemplateName"]) == (first, "data")
    account.groups.update_auto_scaling_group(AutoScalingGroupName="web", MinSize=0, DesiredCapacity=1)
    assert account.members("web") == [second]
    assert "(ResourceInUse)" in refusal(lambda: account.groups.delete_auto_scaling_group(AutoScalingGroupName="web"))
    account.groups.delete_auto_scaling_group(AutoScalingGroupName="web", ForceDelete=True)
    assert account.shown("web") == {}
    eventually(lambda: account.instances(second["InstanceId"])[0]["State"]["Name"] == "terminated")


def test_a_mixed_policy_uses_its_overrides_in_turn_with_their_own_templates(account: Account) -> None:
    web, data = account.template("web", profile="web"), account.template("data", profile="db")
    overrides = [TYPES[0], {**TYPES[1], "LaunchTemplateSpecification": {"LaunchTemplateId": data, "Version": "1"}}]
    specification = {"LaunchTemplateId": web, "Version": "$Latest"}
    policy = {"LaunchTemplate": {"LaunchTemplateSpecification": specification, "Overrides": overrides}}
    account.group("mixed", size=2, MixedInstancesPolicy=policy)
    shown = account.shown("mixed")["MixedInstancesPolicy"]["LaunchTemplate"]
    assert shown["LaunchTemplateSpecification"] == {**specification, "LaunchTemplateName": "web"}
    assert shown["Overrides"][1]["LaunchTemplateSpecification"]["LaunchTemplateName"] == "data"
    found = account.instances(*[each["InstanceId"] for each in account.members("mixed", size=2)])
    profiles = [each["IamInstanceProfile"]["Arn"].rpartition("/")[2] for each in found]
    assert list(zip([each["InstanceType"] for each in found], profiles, strict=True)) == [
        ("t3.nano", "web"),
        ("t3.large", "db"),
    ]


def test_groups_come_in_pages_and_by_tag(account: Account) -> None:
    account.template("web")
    for name in ("a", "b", "c"):
        account.group(name, size=0, Tags=[{"Key": "team", "Value": name, "PropagateAtLaunch": True}])

    def names(**asked: Any) -> list[str]:
        found = in_pages(account.groups, "describe_auto_scaling_groups", "AutoScalingGroups", **asked)
        return [each["AutoScalingGroupName"] for each in found]

    assert names() == ["a", "b", "c"]
    assert names(Filters=[{"Name": "tag:team", "Values": ["b", "c"]}]) == ["b", "c"]


def test_a_group_must_say_what_it_launches(account: Account) -> None:
    make = account.groups.create_auto_scaling_group
    text = refusal(lambda: make(AutoScalingGroupName="web", MinSize=1, MaxSize=1))
    assert "Valid requests must contain either LaunchTemplate" in text
    text = refusal(lambda: make(AutoScalingGroupName="web", MinSize=1, MaxSize=1, **use("gone")))
    assert "You must use a valid fully-formed launch template. The specified launch template, gone" in text


def test_a_launch_configuration_shows_its_profile_and_gives_it_to_instances(account: Account) -> None:
    account.groups.create_launch_configuration(
        LaunchConfigurationName="old", ImageId="ami-1", InstanceType="t3.nano", IamInstanceProfile="web"
    )
    (shown,) = account.groups.describe_launch_configurations()["LaunchConfigurations"]
    assert shown["IamInstanceProfile"] == "web"
    account.group("old", LaunchConfigurationName="old")
    (member,) = account.members("old")
    assert member["LaunchConfigurationName"] == "old"
    assert account.instances(member["InstanceId"])[0]["IamInstanceProfile"]["Arn"].endswith("/web")


# ---- launch lifecycle hooks ----


def hook(timeout: int = 30, result: str = "ABANDON") -> dict[str, Any]:
    launching = {"LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING", "DefaultResult": result}
    return {"LifecycleHookName": "role", **launching, "HeartbeatTimeout": timeout}


def test_a_launch_hook_holds_an_instance_until_it_is_completed(account: Account) -> None:
    account.template("web")
    account.group("web", LifecycleHookSpecificationList=[hook()])
    (held,) = account.members("web", "Pending:Wait")
    stays(lambda: account.shown("web")["Instances"] == [held], 0.5)
    asked = {"AutoScalingGroupName": "web", "LifecycleHookName": "role", "InstanceId": held["InstanceId"]}
    complete = account.groups.complete_lifecycle_action
    other = refusal(lambda: complete(**{**asked, "LifecycleHookName": "other"}, LifecycleActionResult="CONTINUE"))
    assert "No active Lifecycle Action found" in other
    complete(**asked, LifecycleActionResult="CONTINUE")
    (instance,) = account.groups.describe_auto_scaling_instances(InstanceIds=[held["InstanceId"]])[
        "AutoScalingInstances"
    ]
    assert (instance["AutoScalingGroupName"], instance["LifecycleState"]) == ("web", "InService")
    assert "No active" in refusal(lambda: complete(**asked, LifecycleActionResult="CONTINUE"))


def test_a_hook_that_is_abandoned_has_another_instance_launched(account: Account) -> None:
    account.template("web")
    account.group("web", LifecycleHookSpecificationList=[hook()])
    (held,) = account.members("web", "Pending:Wait")
    account.groups.complete_lifecycle_action(
        AutoScalingGroupName="web",
        LifecycleHookName="role",
        InstanceId=held["InstanceId"],
        LifecycleActionResult="ABANDON",
    )
    eventually(lambda: account.members("web", "Pending:Wait")[0]["InstanceId"] != held["InstanceId"])
    assert account.instances(held["InstanceId"])[0]["State"]["Name"] in ("shutting-down", "terminated")


def test_a_hook_that_times_out_ends_by_its_default_result_and_a_heartbeat_puts_that_off(account: Account) -> None:
    account.template("web")
    account.group("web", size=0)
    account.groups.put_lifecycle_hook(AutoScalingGroupName="web", **hook(1, "CONTINUE"))
    account.groups.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=1)
    (held,) = account.members("web", "Pending:Wait")
    for _ in range(3):
        stays(lambda: account.shown("web")["Instances"] == [held], 0.6)
        account.groups.record_lifecycle_action_heartbeat(
            AutoScalingGroupName="web", LifecycleHookName="role", InstanceId=held["InstanceId"]
        )
    account.members("web")


# ---- stacks ----


def test_a_stack_makes_template_and_groups_and_removes_their_instances(account: Account) -> None:
    data = {"ImageId": "ami-1", "IamInstanceProfile": {"Name": "web"}, "TagSpecifications": tagged(role="web")}
    use_it = {"LaunchTemplateId": {"Ref": "Template"}, "Version": {"Fn::GetAtt": ["Template", "LatestVersionNumber"]}}
    policy = {"LaunchTemplate": {"LaunchTemplateSpecification": use_it, "Overrides": TYPES}}
    size = {"MinSize": "1", "MaxSize": "1"}
    tags = [{"Key": "team", "Value": "a", "PropagateAtLaunch": True}]
    configuration = {"ImageId": "ami-1", "InstanceType": "t3.nano", "IamInstanceProfile": "web"}
    held = {"AutoScalingGroupName": "held", "LifecycleHookSpecificationList": [hook()]}
    groups: dict[str, Any] = {
        "Plain": {"AutoScalingGroupName": "plain", "LaunchTemplate": use_it, "Tags": tags},
        "Mixed": {"AutoScalingGroupName": "mixed", "MixedInstancesPolicy": policy},
        "Held": {**held, "LaunchConfigurationName": {"Ref": "Configuration"}},
    }
    resources = {name: ("AutoScaling::AutoScalingGroup", {**size, **each}) for name, each in groups.items()} | {
        "Template": ("EC2::LaunchTemplate", {"LaunchTemplateData": data}),
        "Configuration": ("AutoScaling::LaunchConfiguration", configuration),
    }
    body = {name: {"Type": f"AWS::{kind}", "Properties": each} for name, (kind, each) in resources.items()}
    stacks = account.session.client("cloudformation")
    stacks.create_stack(StackName="launching", TemplateBody=json.dumps({"Resources": body}))
    members = [*account.members("plain"), *account.members("mixed"), *account.members("held", "Pending:Wait")]
    found = account.instances(*[each["InstanceId"] for each in members])
    assert all(each["IamInstanceProfile"]["Arn"].endswith("/web") for each in found)
    plain = tags_of(found[0])
    assert (plain["role"], plain["team"], plain["aws:autoscaling:groupName"]) == ("web", "a", "plain")
    assert found[1]["InstanceType"] == "t3.nano"
    stacks.delete_stack(StackName="launching")

    def gone() -> bool:
        ended = account.instances(*[each["InstanceId"] for each in found])
        return {each["State"]["Name"] for each in ended} == {"terminated"}

    eventually(gone)


def test_the_event_history_says_which_template_a_launch_used(account: Account) -> None:
    template = account.template("web")
    id_ = account.ec2.run_instances(MinCount=1, MaxCount=1, LaunchTemplate={"LaunchTemplateId": template})["Instances"][
        0
    ]["InstanceId"]
    attribute: Any = {"AttributeKey": "ResourceName", "AttributeValue": id_}
    trail = account.session.client("cloudtrail")
    (event,) = eventually(lambda: trail.lookup_events(LookupAttributes=[attribute])["Events"])
    record = json.loads(event["CloudTrailEvent"])
    assert record["requestParameters"]["launchTemplate"] == {"launchTemplateId": template}
    tags = {
        tag["key"] for each in record["responseElements"]["instancesSet"]["items"] for tag in each["tagSet"]["items"]
    }
    assert "aws:ec2launchtemplate:id" in tags
    assert record["awsRegion"] == REGION

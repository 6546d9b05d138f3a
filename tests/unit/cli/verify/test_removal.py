"""What verifications left is found and removed wholly, and nothing else is: over moto's AWS."""

import re
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from fixtures.account import ACCOUNT, REGION
from fixtures.verification import VerifiedAccount
from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper_cli.errors import CommandError
from rolekeeper_verify import scene
from rolekeeper_verify.kinds import KINDS
from rolekeeper_verify.machine import Machine
from rolekeeper_verify.names import TAG, Names, id_in
from rolekeeper_verify.proof import INSTANCE, LAUNCH, PROFILE, STACK, VOLUME, Record, begin, begun
from rolekeeper_verify.removal import Deletion, Removal, find, remove
from support.deployment import translated

ID, OTHER = "abc123", "xyz789"
NAMES = ("AlarmName", "DashboardName", "LayerName", "LogGroupName", "Name", "StateMachineName")


def removed(account: VerifiedAccount, *ids: str) -> list[tuple[str, str]]:
    """How each step of the removal ended, and of what."""
    return [(each.deletion.value, each.leftover.kind.name) for each in removal(account, *ids or [ID])]


def removal(account: VerifiedAccount, *ids: str) -> list[Removal]:
    """The removal of what is found of these verifications, by the records that are in their buckets."""
    records = find(account).records
    return list(remove(account, [records[each] for each in ids if each in records]))


def kinds_left(account: VerifiedAccount) -> set[str]:
    return {each.kind.name for each in find(account).leftovers}


def failures(account: VerifiedAccount) -> list[tuple[str, str]]:
    return [(each.leftover.name, each.why) for each in removal(account, ID) if each.deletion is Deletion.FAILED]


def left(account: VerifiedAccount) -> list[str]:
    return [each.words for each in find(account).leftovers]


# ---- whose a thing is ----


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("rolekeeper-verify-abc123", ID),
        ("rolekeeper-verify-abc123-scene", ID),
        ("rolekeeper-verify-abc123/what changed today", ID),
        ("/rolekeeper-verify-abc123-foreign/", ID),
        ("/aws/lambda/rolekeeper-verify-abc123/on-retry", ID),
        ("/aws/vendedlogs/states/rolekeeper-verify-abc123/retry", ID),
        (f"arn:aws:sns:{REGION}:{ACCOUNT}:rolekeeper-verify-abc123-AlarmTopic-1", ID),
        (f"http://localhost:4566/{ACCOUNT}/rolekeeper-verify-abc123-WorkQueue-1", ID),
        ("rolekeeper-verify-production", None),
        ("rolekeeper-verify-abcdef2-x", None),
        ("rolekeeper-verify-abc12", None),
        ("rolekeeper-verify-ABC123", None),
        ("rolekeeper-verify-abc123_x", None),
        ("rolekeeper-verify-abc123\n", None),
        ("my-rolekeeper-verify-abc123", None),
        ("/team/rolekeeper-verify-abc123/", None),
        (f"arn:aws:iam::{ACCOUNT}:role/team/rolekeeper-verify-abc123", None),
    ],
)
def test_a_name_is_a_verifications_only_as_it_makes_them(name: str, id_: str | None) -> None:
    assert id_in(name) == id_


def test_every_new_id_is_found_again() -> None:
    for made in (Names.new() for _ in range(100)):
        named = (made.role("a"), made.bucket(ACCOUNT, REGION), f"/{made.stack}-foreign/")
        assert {id_in(each) for each in named} == {made.id}
        assert made.region_of(made.bucket(ACCOUNT, "eu-west-1"), ACCOUNT) == "eu-west-1"


def test_what_a_run_left_that_was_killed_is_found_in_every_service(account: VerifiedAccount) -> None:
    account.left_by_a_run(ID)
    found = find(account)
    assert {(each.id, each.kind.name) for each in found.leftovers} == {(ID, kind) for kind in MADE}
    groups = {each.name for each in found.leftovers if each.kind.name == "log group"}
    assert groups == {f"/aws/{each}/rolekeeper-verify-abc123/{of}" for each, of in LOGS.items()}
    assert (found.elsewhere, found.unproven, found.unknown) == ([], [], [])


# All kinds, and the prefixes of log groups: literally, so that one that is forgotten is missed here.
MADE = {
    *("EC2 instance", "EBS volume", "security group", "CloudFormation stack", "S3 bucket", "instance profile"),
    *("IAM role", "IAM policy", "Lambda function", "Lambda layer", "Lambda event source mapping", "EventBridge rule"),
    *("Step Functions state machine", "CloudWatch alarm", "CloudWatch dashboard", "Logs Insights query", "log group"),
    *("CloudWatch Logs resource policy", "SNS topic", "SQS queue", "DynamoDB table"),
}
LOGS = {"lambda": "on-retry", "vendedlogs/states": "retry"}
# What goes with the thing that it is a part of.
PARTS = {"AWS::IAM::Policy", "AWS::Lambda::EventInvokeConfig", "AWS::Lambda::Permission"}
PARTS |= {"AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy"}
# What a verification doesn't ask the deployment for: an organization, a key, mails.
NOT_ASKED_FOR = {"ServesOrganization", "HasKey", "MailAlarms"}
# How names begin that find what CloudFormation itself named after the stack.
OWN_NAMES = re.compile(r"(/aws/lambda/|/aws/vendedlogs/states/)?\$\{AWS::StackName\}[-/]")


def test_every_resource_of_the_deployment_is_looked_for_by_the_stacks_name() -> None:
    made = [each for each in translated()["Resources"].values() if each.get("Condition") not in NOT_ASKED_FOR]
    assert {each["Type"] for each in made} - {each.type for each in KINDS} == PARTS
    assert {each.name for each in KINDS} == MADE
    for resource in (each["Properties"] for each in made if each["Type"] not in PARTS):
        given = [resource[key] for key in NAMES if isinstance(resource.get(key), dict) and "Fn::Sub" in resource[key]]
        assert all(OWN_NAMES.match(name["Fn::Sub"]) for name in given), given
    layers = [each["Properties"] for each in made if each["Type"] == "AWS::Lambda::LayerVersion"]
    assert all("Fn::Sub" in each["LayerName"] for each in layers), "SAM's own is the same in every stack"


# What people may have that looks like it.
LOOKALIKES = ("rolekeeper-verify-production", "rolekeeper-verify-abcdef2-x", "rolekeeper-verify-abc1234")


def test_what_is_no_verifications_is_never_touched(account: VerifiedAccount) -> None:
    account.left_by_a_run(ID)
    account.artifacts(OTHER)
    for name in LOOKALIKES:
        account.make_stack(name)
        account.role(name)
        account.table(name)
        account.instance(("Name", name))
    for bucket in (f"rolekeeper-verify-{ID}-999999999999-{REGION}", f"rolekeeper-verify-{ID}", f"x-{ID}"):
        account.bucket(bucket)
    account.instance((TAG, "yes"))
    assert {each.id for each in find(account).leftovers} == {ID, OTHER}
    removed(account)
    assert {each.id for each in find(account).leftovers} == {OTHER}
    assert {*account.stacks} == {*LOOKALIKES}
    assert {*account.client("iam").get_paginator("list_roles").paginate().search("Roles[].RoleName")} == {*LOOKALIKES}
    assert {*account.client("dynamodb").list_tables()["TableNames"]} == {*LOOKALIKES}
    assert len(account.client("s3").list_buckets()["Buckets"]) == 4
    assert sorted(states(account).values()) == ["running"] * 4 + ["terminated"]


def states(account: VerifiedAccount) -> dict[str, str]:
    reservations = account.client("ec2").describe_instances()["Reservations"]
    return {each["InstanceId"]: each["State"]["Name"] for one in reservations for each in one["Instances"]}


def test_a_tag_or_a_name_proves_nothing(account: VerifiedAccount) -> None:
    """Who may tag, or deploys production under a name with six letters, has nothing of it removed."""
    account.left_by_a_run(ID)
    ours, ec2 = {*states(account)}, account.client("ec2")
    account.instance((TAG, ID), ("Name", "prod-api"))
    tagged = [{"ResourceType": "volume", "Tags": [{"Key": TAG, "Value": ID}]}]
    ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, TagSpecifications=tagged)
    account.role(f"{Names(ID).stack}-of-another", Names(ID).role_path)
    account.client("sqs").create_queue(QueueName=f"{Names(ID).stack}-another")
    ec2.create_security_group(GroupName=f"{Names(ID).stack}-another", Description="none")
    account.client("logs").create_log_group(logGroupName=f"/aws/lambda/{Names(ID).stack}/another")
    account.make_stack("rolekeeper-verify-prod01")
    account.makes_resources("prod01")
    account.bucket(Names("prod01").bucket(ACCOUNT, REGION))
    before = {*find(account).unproven}
    assert {each.id for each in before} == {ID, "prod01"}
    removed(account, ID, "prod01")
    found = find(account)
    assert (found.leftovers, {*found.unproven}) == ([], before)
    assert {*account.stacks} == {"rolekeeper-verify-prod01"}
    assert {*states(account).values()} == {"running", "terminated"}
    assert {id_ for id_, state in states(account).items() if state == "terminated"} == ours


def test_a_tag_that_was_taken_away_hides_nothing(account: VerifiedAccount) -> None:
    account.artifacts(ID)
    instance = account.instance(("app", "web"), of=ID)
    assert f"EC2 instance {instance}" in left(account)
    removed(account)
    assert states(account) == {instance: "terminated"}


@pytest.mark.parametrize("made", ["role", "stack", "profile"])
def test_what_was_there_before_or_is_made_anew_is_another_thing(account: VerifiedAccount, made: str) -> None:
    """By its own time: CloudFormation deleted ours, or the call that the record announces came later than that."""
    account.artifacts(ID)
    account.make_stack(Names(ID).stack, of=ID)
    account.happened(ID, "AWS::IAM::Role", Names(ID).role("a"))
    account.happened(ID, "AWS::IAM::Role", Names(ID).role("a"), "DELETE_COMPLETE")
    account.records[ID].add(PROFILE, Names(ID).role("probe-new"), datetime(2099, 1, 1, tzinfo=UTC))
    account.records[ID].add(STACK, Names(ID).scene, datetime(2099, 1, 1, tzinfo=UTC))
    match made:
        case "role":  # moto's has the time of today, which is later than the clock's
            account.client("iam").create_role(RoleName=Names(ID).role("a"), AssumeRolePolicyDocument="{}")
        case "stack":
            account.make_stack(Names(ID).scene, "REVIEW_IN_PROGRESS")
        case _:
            account.client("iam").create_instance_profile(InstanceProfileName=Names(ID).role("probe-new"))
    assert len(find(account).unproven) == 1
    removed(account)
    assert len(find(account).unproven) == 1


def test_a_record_can_name_no_stack_and_no_launch_of_anothers(account: VerifiedAccount) -> None:
    """Who may write to the bucket still has nothing removed that isn't a verification's by name."""
    account.artifacts(ID)
    production = account.make_stack("production")
    account.records[ID].add(STACK, production, account.now())
    account.table("orders")
    account.events[production].append(
        {"ResourceType": "AWS::DynamoDB::Table", "PhysicalResourceId": "orders", "Timestamp": account.now()}
    )
    instance = account.instance((TAG, ID))
    account.tokens[instance] = "fleet-1"
    account.records[ID].add(LAUNCH, "fleet-1", account.now())
    removed(account)
    assert ({*account.stacks}, states(account)) == ({"production"}, {instance: "running"})
    assert account.client("dynamodb").list_tables()["TableNames"] == ["orders"]


def test_a_policy_for_the_delivery_of_logs_goes_only_if_it_is_for_no_others(account: VerifiedAccount) -> None:
    account.left_by_a_run(ID)
    account.log_delivery("shared", ID, others="/aws/vendedlogs/states/orders")
    removed(account)
    policies = account.client("logs").describe_resource_policies()["resourcePolicies"]
    assert [each["policyName"] for each in policies] == ["shared"]
    [kept] = find(account).unproven
    assert kept.kind.by_hand(kept.ref) == ""


# ---- an end between a call and the record of it ----


def test_the_bucket_and_its_record_are_made_before_all_else(
    account: VerifiedAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So what a verification left is proven to be its, wherever it was killed."""
    begin_to_deploy(account, monkeypatch)
    assert left(account) == [f"S3 bucket {Names(ID).bucket(ACCOUNT, REGION)}"]
    removed(account)
    assert left(account) == []
    assert not begun(Names(ID).bucket(ACCOUNT, REGION))


def begin_to_deploy(account: VerifiedAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the first stack, which nobody may describe."""
    monkeypatch.setattr(scene, "built", lambda: nullcontext(Path()))
    monkeypatch.setattr(scene, "upload", lambda _folder, bucket: bucket.ensure())
    account.denied.add("DescribeStacks")
    account.ignored.add("PutBucketPolicy")  # moto knows no conditions, and would refuse everything
    machine = Machine("t3.nano", "x86_64", subnets=("subnet-1",), vpc="vpc-1", image="ami-1")
    with pytest.raises(AccessDeniedError):
        scene.deploy(account, Record(Names(ID)), machine)
    account.denied.clear()


@pytest.mark.parametrize("machine", ["the same", "another"])
def test_a_bucket_without_a_record_is_removed_where_it_was_begun(
    account: VerifiedAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    bucket = Names(ID).bucket(ACCOUNT, REGION)
    begin(bucket)
    account.bucket(bucket)
    if machine == "another":
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    removed(account)
    assert [each.ref for each in find(account).unproven] == ([] if machine == "the same" else [bucket])


def test_a_name_that_is_taken_ends_it_before_anything_is_changed(
    account: VerifiedAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.bucket(Names(ID).bucket(ACCOUNT, REGION))
    with pytest.raises(CommandError, match=r"there is a bucket .* already\n.*run it again"):
        begin_to_deploy(account, monkeypatch)
    assert account.calls["PutBucketPolicy"] == 0
    assert find(account).leftovers == []


def test_a_stack_that_has_made_nothing_is_proven_before_its_id_is_known(account: VerifiedAccount) -> None:
    account.artifacts(ID)
    account.records[ID].add(STACK, Names(ID).stack, account.now())
    account.make_stack(Names(ID).stack, "REVIEW_IN_PROGRESS")
    assert removed(account)[-1] == ("deleted", "S3 bucket")
    assert account.stacks == {}


def test_an_instance_that_ec2_doesn_t_show_yet_is_left_until_it_is_terminated(account: VerifiedAccount) -> None:
    """It knows the id, so it trusts no list."""
    account.artifacts(ID)
    record, hidden = account.records[ID], "i-0123456789abcdef0"
    record.add(INSTANCE, hidden, account.now())
    account.client("ec2")
    assert find(account, record).lines == [f"EC2 instance {hidden}", f"S3 bucket {Names(ID).bucket(ACCOUNT, REGION)}"]
    [(name, why)] = failures(account)
    assert (name, "InvalidInstanceID.NotFound" in why) == (hidden, True)
    assert "S3 bucket" in {each.kind.name for each in find(account, record).leftovers}
    account.clock.sleep(60 * 60)
    assert [each.kind.name for each in find(account, record).leftovers] == ["S3 bucket"]


def test_the_volumes_of_an_instance_are_proven_by_it(account: VerifiedAccount) -> None:
    """Also where the AMI says that they stay."""
    account.left_by_a_run(ID)
    [volume] = [each.ref for each in find(account).leftovers if each.kind.name == "EBS volume"]
    account.denied.add("TerminateInstances")
    assert ("not deleted", "EC2 instance") in removed(account)
    assert (VOLUME, volume) in find(account).records[ID].made


def test_what_is_global_belongs_to_the_region_that_the_bucket_names(account: VerifiedAccount) -> None:
    """From here, the roles of a verification that runs in another Region aren't seen as left."""
    account.artifacts(OTHER, "eu-west-1")
    account.role(Names(OTHER).role("a"))
    account.client("cloudwatch").put_dashboard(DashboardName=f"{Names(OTHER).stack}-x", DashboardBody='{"widgets": []}')
    found = find(account)
    assert (found.leftovers, found.unproven) == ([], [])
    assert [(each.id, each.region) for each in found.elsewhere] == [(OTHER, "eu-west-1")]


def test_a_bucket_that_anybody_made_for_another_region_hides_nothing(account: VerifiedAccount) -> None:
    account.left_by_a_run(ID)
    account.bucket(Names(ID).bucket(ACCOUNT, "eu-west-1"), "eu-west-1")
    assert kinds_left(account) == MADE
    assert find(account, account.records[ID]).lines


def test_a_refused_list_is_unknown_and_so_nothing_is_claimed(account: VerifiedAccount) -> None:
    account.denied.add("ListFunctions")
    assert find(account, Record(Names(ID))).lines == ["unknown: you aren't allowed lambda:ListFunctions on *"]


def test_a_record_that_can_t_be_read_is_unknown_too(account: VerifiedAccount) -> None:
    account.left_by_a_run(ID)
    account.denied.add("GetObject")
    found = find(account)
    assert (found.leftovers, [each.action for each in found.unknown]) == ([], ["s3:GetObject"])


def test_what_has_its_name_and_isn_t_its_own_is_told_and_what_has_its_tag_isn_t(account: VerifiedAccount) -> None:
    """Nobody knows the id before a verification begins; a tagger would otherwise have each fail."""
    account.artifacts(ID)
    account.instance((TAG, ID))
    account.role(Names(ID).role("another"))
    lines = find(account, account.records[ID]).lines
    assert [each for each in lines if "not proven" in each] == [
        f"not proven to be its own: {kind} {Names(ID).role('another')}{end}"
        for kind, end in (("instance profile", ""), ("IAM role", ""), ("IAM policy", "-policy"))
    ]


# ---- removing ----


def test_all_of_it_is_removed_and_the_bucket_last(account: VerifiedAccount) -> None:
    account.left_by_a_run(ID)
    account.asked.clear()
    steps = removed(account)
    assert left(account) == []
    assert {each for each, _ in steps} == {"deleting", "deleted"}
    kinds = [kind for deletion, kind in steps if deletion == "deleted"]
    # A role that a probe's profile still has, no stack could delete.
    assert list(dict.fromkeys(kinds))[:3] == ["EC2 instance", "instance profile", "CloudFormation stack"]
    assert kinds[-1] == "S3 bucket"
    assert account.client("s3").list_buckets()["Buckets"] == []
    changes = [(each, asked) for each, asked in account.asked if each.startswith(("Update", "DeleteTable"))]
    assert [each for each, _ in changes] == ["UpdateContinuousBackups", "UpdateTable", "DeleteTable"] * 2
    off = {"PointInTimeRecoveryEnabled": False}
    assert changes[0][1]["PointInTimeRecoverySpecification"] == off, "a table leaves no backup"
    owners = [asked["ExpectedBucketOwner"] for _, asked in account.asked if "Bucket" in asked]
    assert ({*owners}, len(owners) > 5) == ({ACCOUNT}, True)


def test_stacks_are_deleted_at_the_same_time_and_looked_at_seldom(account: VerifiedAccount) -> None:
    account.artifacts(ID)
    for each in ("", "-scene"):
        account.make_stack(f"{Names(ID).stack}{each}", "CREATE_IN_PROGRESS", of=ID)
    removed(account)
    assert account.stacks == {}
    assert account.clock.seconds < 100, "each takes a minute"
    assert account.calls["DescribeStacks"] < 20


def test_a_refusal_is_reported_once_and_stops_nothing_else(account: VerifiedAccount) -> None:
    account.left_by_a_run(ID)
    account.denied.add("DeleteTable")
    why = "you aren't allowed dynamodb:DeleteTable on rolekeeper-verify-abc123-"
    assert failures(account) == [
        (f"rolekeeper-verify-abc123-{each}Table-1", f"{why}{each}Table-1") for each in ("Mapping", "State")
    ]
    assert account.clock.seconds < timedelta(minutes=5).total_seconds(), "waiting wouldn't help"
    assert kinds_left(account) == {"DynamoDB table", "S3 bucket"}
    account.denied.clear()
    assert failures(account) == []
    assert left(account) == []


@pytest.mark.parametrize("operation", ["ListFunctions", "ListRoles"])
def test_the_bucket_stays_while_something_may_be_left(account: VerifiedAccount, operation: str) -> None:
    account.artifacts(ID)
    account.denied.add(operation)
    assert (removed(account), kinds_left(account)) == ([], {"S3 bucket"})


def test_the_bucket_stays_while_cloudformation_doesn_t_say_what_it_made(account: VerifiedAccount) -> None:
    account.left_by_a_run(ID)
    account.denied.add("DescribeStackEvents")
    removed(account)
    account.denied.clear()
    assert kinds_left(account) >= {"IAM role", "DynamoDB table", "S3 bucket"}


def test_what_another_thing_still_needs_is_asked_for_again(account: VerifiedAccount) -> None:
    account.left_by_a_run(ID)
    account.refusals["DeleteSecurityGroup"] = ["DependencyViolation"] * 3
    assert failures(account) == []
    assert left(account) == []


@pytest.mark.parametrize(("times", "stays"), [(1, False), (1_000, True)])
def test_a_stack_that_cant_be_deleted_is_tried_again_once_the_rest_is_gone(
    account: VerifiedAccount, times: int, *, stays: bool
) -> None:
    """As when an instance profile that isn't the stack's holds its role."""
    account.left_by_a_run(ID)
    account.failing[Names(ID).scene] = times
    assert failures(account) == [(Names(ID).scene, "RoleA can't be deleted")]
    bucket = f"S3 bucket {Names(ID).bucket(ACCOUNT, REGION)}"
    assert left(account) == ([f"CloudFormation stack {Names(ID).scene}", bucket] if stays else [])


def test_a_list_that_is_throttled_is_asked_for_again(account: VerifiedAccount) -> None:
    account.artifacts(ID)
    account.make_stack(Names(ID).stack, of=ID)
    records = find(account).records.values()
    account.refusals["DescribeStacks"] = ["ThrottlingException"] * 3
    assert [each.leftover.kind.name for each in remove(account, records)][-1] == "S3 bucket"
    assert account.stacks == {}


def test_it_waits_only_so_long(account: VerifiedAccount) -> None:
    account.left_by_a_run(ID)
    account.refusals["DeleteTopic"] = ["ConcurrentAccess"] * 1_000
    [(_, why)] = failures(account)
    assert why.startswith("AWS refused sns:DeleteTopic on ")
    assert account.clock.seconds < timedelta(minutes=15).total_seconds()


def test_deletions_that_are_accepted_and_never_happen_end_it_within_an_hour(account: VerifiedAccount) -> None:
    account.left_by_a_run(ID)
    account.ignored |= {"DeleteStack", "DeleteTable"}
    began = account.clock.seconds
    kept = {Names(ID).stack, Names(ID).scene, *(f"{Names(ID).stack}-{each}Table-1" for each in ("Mapping", "State"))}
    assert {name for name, why in failures(account) if why == "it is still there"} == kept
    assert account.clock.seconds - began < timedelta(minutes=65).total_seconds()
    assert f"S3 bucket {Names(ID).bucket(ACCOUNT, REGION)}" in left(account)


@pytest.mark.parametrize("when", ["before", "after"])
def test_it_may_be_interrupted_anywhere_and_begun_again(account: VerifiedAccount, when: str) -> None:
    """Ctrl-C or a kill before or after each call that removes something: the answer is lost."""
    account.left_by_a_run(ID)
    account.interrupts = when
    for attempts in count(1):
        try:
            removed(account)
            break
        except KeyboardInterrupt:
            assert attempts < 200
    assert attempts > 20
    assert (left(account), find(account).unproven) == ([], [])

"""What verifications left is found and removed wholly, and nothing else is: over moto's AWS."""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from fixtures.account import ACCOUNT, REGION
from fixtures.verification import VerifiedAccount, verified_account
from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper_cli.verifying import scene
from rolekeeper_cli.verifying.kinds import KINDS
from rolekeeper_cli.verifying.machine import Machine
from rolekeeper_cli.verifying.names import TAG, Names, id_in
from rolekeeper_cli.verifying.removal import Deletion, find, remove
from support.deployment import translated

ID, OTHER = "abc123", "xyz789"
NAMES = ("AlarmName", "DashboardName", "LayerName", "LogGroupName", "Name", "StateMachineName")


@pytest.fixture
def account() -> Iterator[VerifiedAccount]:
    with verified_account() as made:
        yield made


def removed(account: VerifiedAccount, *ids: str) -> list[tuple[str, str]]:
    """How each step of the removal ended, and of what."""
    return [(each.deletion.value, each.leftover.kind.name) for each in remove(account, ids or [ID])]


def failures(account: VerifiedAccount) -> list[tuple[str, str]]:
    return [(each.leftover.name, each.why) for each in remove(account, [ID]) if each.deletion is Deletion.FAILED]


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
        assert (
            id_in(made.role("a")) == id_in(made.bucket(ACCOUNT, REGION)) == id_in(f"/{made.stack}-foreign/") == made.id
        )
        assert made.region_of(made.bucket(ACCOUNT, "eu-west-1"), ACCOUNT) == "eu-west-1"


def test_what_a_run_left_that_was_killed_is_found_in_every_service(account: VerifiedAccount) -> None:
    account.left_by_a_run(ID)
    found = find(account)
    assert {each.kind for each in found.leftovers} == {*KINDS}
    assert {each.id for each in found.leftovers} == {ID}
    assert (found.elsewhere, found.unproven, found.unknown) == ([], [], [])


# By the type of a resource of the deployment, the kind that finds it; those without one are parts of another.
KIND_OF = {
    "AWS::CloudWatch::Alarm": "CloudWatch alarm",
    "AWS::CloudWatch::Dashboard": "CloudWatch dashboard",
    "AWS::DynamoDB::Table": "DynamoDB table",
    "AWS::Events::Rule": "EventBridge rule",
    "AWS::IAM::ManagedPolicy": "IAM policy",
    "AWS::IAM::Policy": None,
    "AWS::IAM::Role": "IAM role",
    "AWS::Lambda::EventInvokeConfig": None,
    "AWS::Lambda::EventSourceMapping": "Lambda event source mapping",
    "AWS::Lambda::Function": "Lambda function",
    "AWS::Lambda::LayerVersion": "Lambda layer",
    "AWS::Lambda::Permission": None,
    "AWS::Logs::LogGroup": "log group",
    "AWS::Logs::QueryDefinition": "Logs Insights query",
    "AWS::SNS::Topic": "SNS topic",
    "AWS::SNS::TopicPolicy": None,
    "AWS::SQS::Queue": "SQS queue",
    "AWS::SQS::QueuePolicy": None,
    "AWS::StepFunctions::StateMachine": "Step Functions state machine",
}
# What a verification doesn't ask the deployment for: an organization, a key, mails.
NOT_ASKED_FOR = {"ServesOrganization", "HasKey", "MailAlarms"}
# How names begin that find what CloudFormation itself named after the stack.
OWN_NAMES = re.compile(r"(/aws/lambda/|/aws/vendedlogs/states/)?\$\{AWS::StackName\}[-/]")


def test_every_resource_of_the_deployment_is_looked_for_by_the_stacks_name() -> None:
    made = [each for each in translated()["Resources"].values() if each.get("Condition") not in NOT_ASKED_FOR]
    assert {each["Type"] for each in made} == KIND_OF.keys()
    assert {kind for kind in KIND_OF.values() if kind} < {each.name for each in KINDS}
    for resource in (each for each in made if KIND_OF[each["Type"]]):
        names = [
            name for key in NAMES if isinstance(name := resource["Properties"].get(key), dict) and "Fn::Sub" in name
        ]
        assert all(OWN_NAMES.match(name["Fn::Sub"]) for name in names), names
    layers = [each["Properties"] for each in made if each["Type"] == "AWS::Lambda::LayerVersion"]
    assert all("Fn::Sub" in each["LayerName"] for each in layers), "SAM's own is the same in every stack"


def test_nothing_is_found_where_nothing_is_left(account: VerifiedAccount) -> None:
    account.role("web", "/rolekeeper/")
    assert find(account).lines == []


# What people may have that looks like it.
LOOKALIKES = ("rolekeeper-verify-production", "rolekeeper-verify-abcdef2-x", "rolekeeper-verify-abc1234")


def test_what_is_no_verifications_is_never_touched(account: VerifiedAccount) -> None:
    account.left_by_a_run(ID)
    account.artifacts(OTHER)
    for name in LOOKALIKES:
        account.make_stack(name, tagged=ID)
        account.role(name)
        account.table(name)
        account.instance(("Name", name))
    for bucket in (f"rolekeeper-verify-{ID}-999999999999-{REGION}", f"rolekeeper-verify-{ID}", f"x-{ID}"):
        account.bucket(bucket)
    account.instance((TAG, "yes"))
    assert {each.id for each in find(account).leftovers} == {ID, OTHER}
    removed(account)
    assert find(account, ID).lines == []
    assert {*account.stacks} == {*LOOKALIKES}
    assert {*account.client("iam").get_paginator("list_roles").paginate().search("Roles[].RoleName")} == {*LOOKALIKES}
    assert {*account.client("dynamodb").list_tables()["TableNames"]} == {*LOOKALIKES}
    assert len(account.client("s3").list_buckets()["Buckets"]) == 4
    reservations = account.client("ec2").describe_instances()["Reservations"]
    states = [each["State"]["Name"] for one in reservations for each in one["Instances"]]
    assert sorted(states) == ["running"] * 4 + ["terminated"]


def test_a_name_alone_proves_nothing(account: VerifiedAccount) -> None:
    """A person may deploy production under a name with six letters."""
    account.make_stack("rolekeeper-verify-prod01")
    account.resources("prod01")
    found = find(account)
    assert found.leftovers == []
    assert {each.id for each in found.unproven} == {"prod01"}


@pytest.mark.parametrize("proof", ["instance", "stack", "bucket"])
def test_a_tag_or_its_bucket_proves_a_verification(account: VerifiedAccount, proof: str) -> None:
    account.role(Names(ID).role("a"))
    match proof:
        case "instance":
            account.instance((TAG, ID))
        case "stack":
            account.make_stack(Names(ID).stack, "REVIEW_IN_PROGRESS", tagged=ID)
        case _:
            account.artifacts(ID)
    assert "IAM role" in {each.kind.name for each in find(account).leftovers}


def test_the_bucket_is_made_before_all_else(account: VerifiedAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    """So what a verification left is proven to be its, wherever it was killed."""
    monkeypatch.setattr(scene, "built", lambda: nullcontext(Path()))
    monkeypatch.setattr(scene, "upload", lambda _folder, bucket: bucket.ensure())
    account.denied.add("DescribeStacks")
    with pytest.raises(AccessDeniedError):
        scene.deploy(account, Names(ID), Machine("t3.nano", "x86_64", subnet="subnet-1", vpc="vpc-1", image="ami-1"))
    account.denied.clear()
    assert [each.kind.name for each in find(account).leftovers] == ["S3 bucket"]


def test_what_is_global_belongs_to_the_region_that_the_bucket_names(account: VerifiedAccount) -> None:
    """From here, the roles of a verification that runs in another Region aren't seen as left."""
    account.artifacts(OTHER, "eu-west-1")
    account.role(Names(OTHER).role("a"))
    account.client("cloudwatch").put_dashboard(DashboardName=f"{Names(OTHER).stack}-x", DashboardBody='{"widgets": []}')
    found = find(account)
    assert (found.leftovers, found.unproven) == ([], [])
    assert [(each.id, each.region) for each in found.elsewhere] == [(OTHER, "eu-west-1")]


def test_a_refused_list_is_unknown_and_so_nothing_is_claimed(account: VerifiedAccount) -> None:
    account.denied.add("ListFunctions")
    assert find(account, ID).lines == ["unknown: you aren't allowed lambda:ListFunctions on *"]


# ---- removing ----


def test_all_of_it_is_removed_and_the_bucket_last(account: VerifiedAccount) -> None:
    account.left_by_a_run(ID)
    steps = removed(account)
    assert find(account, ID).lines == []
    assert {each for each, _ in steps} == {"deleting", "deleted"}
    kinds = [kind for deletion, kind in steps if deletion == "deleted"]
    # A role that a probe's profile still has, no stack could delete.
    assert list(dict.fromkeys(kinds))[:3] == ["EC2 instance", "instance profile", "CloudFormation stack"]
    assert kinds[-1] == "S3 bucket"
    assert len(account.client("s3").list_buckets()["Buckets"]) == 0


def test_stacks_are_deleted_at_the_same_time_and_looked_at_seldom(account: VerifiedAccount) -> None:
    for each in ("", "-scene"):
        account.make_stack(f"{Names(ID).stack}{each}", "CREATE_IN_PROGRESS")
    removed(account)
    assert account.stacks == {}
    assert account.clock.seconds < 100, "each takes a minute"
    assert account.calls["DescribeStacks"] < 20


def test_a_table_leaves_no_backup(account: VerifiedAccount) -> None:
    account.table(f"{Names(ID).stack}-StateTable-1")
    account.asked.clear()
    removed(account)
    changes = [(each, asked) for each, asked in account.asked if each.startswith(("Update", "DeleteTable"))]
    assert [each for each, _ in changes] == ["UpdateContinuousBackups", "UpdateTable", "DeleteTable"]
    assert changes[0][1]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": False}


def test_every_call_to_a_bucket_says_who_has_to_own_it(account: VerifiedAccount) -> None:
    account.artifacts(ID)
    account.asked.clear()
    removed(account)
    owners = [asked["ExpectedBucketOwner"] for _, asked in account.asked if "Bucket" in asked]
    assert len(owners) > 5
    assert {*owners} == {ACCOUNT}


def test_a_refusal_is_reported_once_and_stops_nothing_else(account: VerifiedAccount) -> None:
    account.left_by_a_run(ID)
    account.denied.add("DeleteTable")
    why = "you aren't allowed dynamodb:DeleteTable on rolekeeper-verify-abc123-"
    assert failures(account) == [
        (f"rolekeeper-verify-abc123-{each}Table-1", f"{why}{each}Table-1") for each in ("Mapping", "State")
    ]
    assert account.clock.seconds < timedelta(minutes=5).total_seconds(), "waiting wouldn't help"
    assert {each.kind.name for each in find(account).leftovers} == {"DynamoDB table", "S3 bucket"}
    account.denied.clear()
    assert failures(account) == []
    assert find(account, ID).lines == []


@pytest.mark.parametrize("operation", ["ListFunctions", "ListRoles"])
def test_the_bucket_stays_while_something_may_be_left(account: VerifiedAccount, operation: str) -> None:
    account.artifacts(ID)
    account.denied.add(operation)
    assert removed(account) == []
    assert [each.kind.name for each in find(account).leftovers] == ["S3 bucket"]


def test_what_another_thing_still_needs_is_asked_for_again(account: VerifiedAccount) -> None:
    account.left_by_a_run(ID)
    account.refusals["DeleteSecurityGroup"] = ["DependencyViolation"] * 3
    assert failures(account) == []
    assert find(account, ID).lines == []


def test_a_stack_that_cant_be_deleted_is_tried_again_once_the_rest_is_gone(account: VerifiedAccount) -> None:
    """As when an instance profile that isn't the stack's holds its role."""
    account.left_by_a_run(ID)
    account.failing[Names(ID).scene] = 1
    assert failures(account) == [(Names(ID).scene, "RoleA can't be deleted")]
    assert find(account, ID).lines == []


def test_a_stack_that_never_can_be_deleted_ends_it(account: VerifiedAccount) -> None:
    account.left_by_a_run(ID)
    account.failing[Names(ID).scene] = 1000
    assert failures(account) == [(Names(ID).scene, "RoleA can't be deleted")]
    assert find(account).lines == [
        f"CloudFormation stack {Names(ID).scene}",
        f"S3 bucket {Names(ID).bucket(ACCOUNT, REGION)}",
    ]


def test_a_list_that_is_throttled_is_asked_for_again(account: VerifiedAccount) -> None:
    account.make_stack(Names(ID).stack)
    account.refusals["DescribeStacks"] = ["ThrottlingException"] * 3
    assert removed(account)[-1] == ("deleted", "CloudFormation stack")
    assert account.stacks == {}


def test_it_waits_only_so_long(account: VerifiedAccount) -> None:
    account.client("sns").create_topic(Name=f"{Names(ID).stack}-AlarmTopic-1")
    account.refusals["DeleteTopic"] = ["ConcurrentAccess"] * 1_000
    [(_, why)] = failures(account)
    assert why.startswith("AWS refused sns:DeleteTopic on ")
    assert account.clock.seconds < timedelta(minutes=5).total_seconds()


def test_it_may_be_interrupted_anywhere_and_begun_again(
    account: VerifiedAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.left_by_a_run(ID)
    sleep = account.sleep

    def interrupted(seconds: float) -> None:
        sleep(seconds + 5)
        raise KeyboardInterrupt

    monkeypatch.setattr(account, "sleep", interrupted)
    for attempts in count(1):
        try:
            removed(account)
            break
        except KeyboardInterrupt:
            assert attempts < 200
    monkeypatch.undo()
    assert find(account, ID).lines == []

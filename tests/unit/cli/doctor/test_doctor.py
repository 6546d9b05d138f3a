"""The doctor: each check of a deployment that is well, and each way in which it isn't."""

import json
import re
import shlex
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fixtures.account import ACCOUNT, REGION
from fixtures.doctor import SIMULATED, TOPIC, DoctorFixture
from fixtures.mappings import TRUSTS_LAMBDA, Desk
from fixtures.terminal import Terminal
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.doctor import work
from rolekeeper_cli.doctor.caller import NEEDS
from rolekeeper_cli.doctor.run import CHECKS, run
from rolekeeper_cli.doctor.stack import HUB_OUTPUTS, OUTPUTS
from rolekeeper_cli.options import Options
from support.templates import load

PAGE = (Path(__file__).parents[4] / "docs/security.md").read_text()
TABLE = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/rolekeeper-mappings"


@pytest.fixture
def ward(terminal: Terminal, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> DoctorFixture:
    return DoctorFixture(terminal, desk, monkeypatch)


type Finds = Callable[..., list[tuple[str, str, str]]]


@pytest.fixture
def finds(ward: DoctorFixture) -> Finds:
    """What one check finds: level, what, remedy."""
    del ward

    def found(check: str) -> list[tuple[str, str, str]]:
        documents = [each.view().as_mapping() for each in run(check, CHECKS[check], Deployment(Options()))]
        assert all(bool(each["remedy"]) == (each["level"] != "ok") for each in documents)
        return [(each["level"], each["what"], each["remedy"]) for each in documents]

    return found


def only(findings: list[tuple[str, str, str]]) -> tuple[str, str, str]:
    [finding] = findings
    return finding


def test_it_changes_nothing(terminal: Terminal, ward: DoctorFixture, desk: Desk) -> None:
    desk.edit("workload=web", role="none-such")
    desk.quiet()
    assert terminal("doctor").exit_code == 0
    assert ward.denied == set()
    assert [
        each for each in desk.world.calls.made if not re.match("Get|List|Describe|Simulate|BatchGet|Scan", each)
    ] == []


@pytest.mark.parametrize(
    ("operation", "check", "what"),
    [
        ("ListStackResources", "rules", "cloudformation:ListStackResources on rolekeeper"),
        ("GetTopicAttributes", "subscribers", f"sns:GetTopicAttributes on {TOPIC}"),
        ("ListRoles", "roles", f"iam:ListRoles on arn:aws:iam::{ACCOUNT}:role/rolekeeper/*"),
        ("SimulatePrincipalPolicy", "caller", f"iam:SimulatePrincipalPolicy on {SIMULATED}"),
        ("DescribeOrganization", "tags", "organizations:DescribeOrganization on *"),
        ("ListBuckets", "verifications", "s3:ListAllMyBuckets on *"),
    ],
)
def test_what_isn_t_allowed_is_unknown_and_stops_no_other_check(
    finds: Finds, ward: DoctorFixture, operation: str, check: str, what: str
) -> None:
    ward.denied.add(operation)
    remedy = "ask for that permission, or use another --profile"
    assert only(finds(check)) == ("unknown", f"you aren't allowed {what}", remedy)
    assert only(finds("mappings"))[0] == "ok"


def test_so_is_what_aws_can_t_answer_now_or_at_all(finds: Finds, ward: DoctorFixture) -> None:
    ward.errors = {"DescribeRule": "ThrottlingException", "DescribeTrails": "UnknownOperationException"}
    assert only(finds("rules"))[:2] == ("unknown", "AWS gave no answer to events:DescribeRule: ThrottlingException: no")
    assert only(finds("trail"))[:2] == (
        "unknown",
        "AWS refused cloudtrail:DescribeTrails on *: UnknownOperationException: no",
    )


def test_what_was_found_before_aws_refused_is_told_too(finds: Finds, ward: DoctorFixture) -> None:
    ward.rules["InstanceTagRule"] = "DISABLED"
    ward.denied.add("DescribeRule rolekeeper-OnScheduleSweep-1A2B")
    assert [each[0] for each in finds("rules")] == ["fail", "unknown"]


def test_the_doctor_knows_the_template() -> None:
    template = load()
    assert {name for name, each in template["Outputs"].items() if "Condition" not in each} == OUTPUTS
    of_a_hub = {name for name, each in template["Outputs"].items() if each.get("Condition") == "ServesOrganization"}
    assert of_a_hub == HUB_OUTPUTS


@pytest.mark.parametrize(
    ("status", "level"),
    [
        ("IMPORT_COMPLETE", "ok"),
        ("UPDATE_ROLLBACK_COMPLETE", "warn"),
        ("UPDATE_IN_PROGRESS", "warn"),
        ("UPDATE_ROLLBACK_FAILED", "fail"),
        ("ROLLBACK_COMPLETE", "fail"),
    ],
)
def test_the_stack_s_status(finds: Finds, terminal: Terminal, status: str, level: str) -> None:
    terminal.status = status
    found, what, _ = only(finds("stack"))
    assert (found, status in what) == (level, True)


@pytest.mark.parametrize(("state", "level"), [("Disabling", "fail"), ("Enabling", "warn")])
def test_a_function_that_isn_t_woken(finds: Finds, ward: DoctorFixture, state: str, level: str) -> None:
    ward.sources["OnInstanceEventWorkQueue"] = state
    found, what, _ = only(finds("sources"))
    assert (found, f"OnInstanceEventWorkQueue is {state}" in what) == (level, True)


@pytest.mark.parametrize(
    ("workers", "organization", "left", "needed"),
    [("5", "", 10, 9), ("5", "", 12, 0), ("200", "", 250, 204), ("200", "o-1", 300, 300), ("200", "o-1", 1000, 0)],
)
def test_an_account_that_leaves_too_few_runs_at_once_for_the_workers_and_a_hubs_accounts(
    finds: Finds, terminal: Terminal, ward: DoctorFixture, workers: str, organization: str, left: int, needed: int
) -> None:
    terminal.parameters |= {"Workers": workers, "OrganizationId": organization}
    ward.unreserved = left
    level, what, remedy = only(finds("concurrency"))
    assert (level, f"may take {needed}" in what) == (("warn", True) if needed else ("ok", False))
    assert not needed or "Service Quotas, Lambda, Concurrent executions" in remedy


def test_the_switches(finds: Finds, terminal: Terminal, desk: Desk) -> None:
    desk.world.control(paused=True)
    assert only(finds("mode")) == ("warn", "nothing changes: Rolekeeper is paused", "rolekeeper resume")
    desk.world.control(mode="obsreve")
    level, what, remedy = only(finds("mode"))
    assert (level, remedy) == ("fail", "set it: rolekeeper mode, pause or resume")
    assert "'obsreve'" in what
    desk.world.control()
    terminal.parameters["Mode"] = "observe"
    assert only(finds("mode"))[0] == "warn"


def test_sweeps_that_don_t_come(finds: Finds, desk: Desk) -> None:
    desk.world.clock.sleep(timedelta(hours=1).total_seconds())
    assert only(finds("sweep"))[0] == "ok"
    desk.world.clock.sleep(timedelta(hours=2).total_seconds())
    assert only(finds("sweep"))[0] == "fail"


def test_a_hubs_fleet_is_that_of_all_its_targets(finds: Finds, desk: Desk) -> None:
    desk.world.swept(1)
    assert only(finds("sweep"))[1] == "last sweep 2026-03-01 09:00 UTC, 1 instance"
    desk.world.swept(1, fleet=63)
    assert only(finds("sweep"))[1] == "last sweep 2026-03-01 09:00 UTC, 63 instances"


def test_a_stack_that_never_swept(finds: Finds, desk: Desk) -> None:
    desk.world.never_swept()
    assert only(finds("sweep")) == ("ok", "the stack is new: its first sweep is still to come", "")
    desk.app().registry.begun(desk.world.target, desk.world.clock.now())
    assert only(finds("sweep"))[0] == "ok", "nor did one that takes several runs end yet"
    desk.world.clock.sleep(timedelta(hours=2, minutes=1).total_seconds())
    assert only(finds("sweep"))[:2] == ("fail", "no sweep ever saw the whole fleet")


def test_a_row_that_nobody_judges(finds: Finds, terminal: Terminal, desk: Desk) -> None:
    desk.role("web")
    desk.put("x=y", role="web")
    desk.put_raw("w=z", {})
    found = finds("mappings")
    assert [each[0] for each in found] == ["warn", "warn"]
    assert found[1][1] == "x=y isn't judged yet: its function, on_mapping_change, didn't look at it"
    desk.delete("w=z")
    terminal.judges("x=y")
    assert only(finds("mappings"))[0] == "ok"


def test_what_waits(finds: Finds, desk: Desk, ward: DoctorFixture) -> None:
    now = desk.world.clock.now()
    desk.sqs.send_message(QueueUrl=desk.queue_url, MessageBody="{}")
    desk.sqs.receive_message(QueueUrl=desk.queue_url, VisibilityTimeout=600)
    assert "0 to do, 1 being done" in only(finds("work-queue"))[1]
    desk.sqs.send_message(QueueUrl=desk.queue_url, MessageBody="{}")
    desk.sqs.send_message(QueueUrl=desk.queue_url, MessageBody="{}", DelaySeconds=900)
    ward.ages = [(now - timedelta(minutes=20), 9000)]
    shown = "messages in the work queue: 1 to do, 1 being done, 1 delayed"
    assert only(finds("work-queue")) == (
        "unknown",
        f"{shown}; for how long isn't known yet",
        "look again in some minutes: CloudWatch learns of a queue with a delay",
    )
    # The last of them counts.
    ward.ages = [(now - timedelta(minutes=2), 90), (now - timedelta(minutes=9), 5000)]
    assert only(finds("work-queue")) == ("ok", f"{shown}; the oldest is 0:01:30 old", "")
    ward.ages.append((now - timedelta(minutes=1), 1201))
    assert only(finds("work-queue"))[0] == "warn"
    # As the alarm says, not as we remember it.
    ward.alarms["OldestMessageAlarm"]["Threshold"] = 7200.0
    assert only(finds("work-queue"))[0] == "ok"


def test_more_messages_than_there_should_be(finds: Finds, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MANY", 2)
    for at in range(3):
        desk.sqs.send_message(QueueUrl=desk.queue_url, MessageBody="{}")
        assert ("warn" in [each[0] for each in finds("work-queue")]) == (at == 2)


def test_a_role_that_a_mapping_gives_and_only_lambda_can_assume(finds: Finds, desk: Desk) -> None:
    desk.role("web", trust=TRUSTS_LAMBDA)
    desk.put("workload=web", role="web")
    level, what, remedy = only(finds("roles"))
    assert (level, what) == ("fail", "EC2 can't assume role web, which workload=web is to give")
    *command, document = shlex.split(remedy)
    assert command == ["aws", "iam", "update-assume-role-policy", "--role-name", "web", "--policy-document"]
    desk.retrust("web", json.loads(document))
    assert only(finds("roles"))[0] == "ok"
    assert json.loads(document)["Statement"][0] == TRUSTS_LAMBDA["Statement"][0]


@pytest.mark.parametrize(
    ("makes", "given", "level"),
    [("true", "", "ok"), ("true", "workload=web", "warn"), ("false", "", "warn"), ("false", "workload=web", "fail")],
)
def test_a_role_without_a_profile(
    finds: Finds, terminal: Terminal, desk: Desk, makes: str, given: str, level: str
) -> None:
    terminal.parameters["CreateMissingProfiles"] = makes
    desk.role("web", profile=False)
    desk.role("db")
    desk.role("not-ec2", trust=TRUSTS_LAMBDA, profile=False)
    if given:
        desk.put(given, role="web")
    found, what, _ = only(finds("profiles"))
    assert (found, what.startswith("role web has no ")) == (level, level != "ok")
    assert level == "ok" or (given or "no mapping gives it") in what


def test_the_page_s_needs_are_asked_for() -> None:
    section = PAGE.partition("## What the command needs\n")[2].partition("\n## ")[0]
    listed: dict[str, set[str]] = {}
    purpose = ""
    for row in re.findall(r"^\| (.*?)\|.*?\| (`.*`) \|$", section, re.MULTILINE):
        purpose = row[0].replace("`", "").strip() or purpose
        listed.setdefault(purpose, set()).update(re.findall(r"`([a-z0-9]+:\w+)`", row[1]))
    asked = {purpose: {*" ".join(needs.values()).split()} for purpose, needs in NEEDS.items()}
    # What all need was just done, and what doctor itself lacks is told by its checks.
    assert asked == {name: each for name, each in listed.items() if name not in {"everything", "doctor"}}


def test_who_may_look_into_other_accounts_matters_to_a_hub_alone(
    finds: Finds, terminal: Terminal, ward: DoctorFixture
) -> None:
    ward.decisions = {"sts:AssumeRole": {"EvalDecision": "implicitDeny"}}
    assert only(finds("caller"))[0] == "ok"
    terminal.parameters |= {"OrganizationId": "o-example0000", "Namespace": "second"}
    viewer = "arn:aws:iam::*:role/second-viewer"
    what = f"you may not, for looking into other accounts: sts:AssumeRole on {viewer}"
    assert only(finds("caller"))[:2] == ("warn", what)


def test_a_user_is_asked_for_as_it_is(finds: Finds, ward: DoctorFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    user = f"arn:aws:iam::{ACCOUNT}:user/ops/me"
    monkeypatch.setattr("fixtures.doctor.SIMULATED", user)
    ward.is_called_by(user)
    assert only(finds("caller"))[:2] == ("ok", f"{user} may do what the commands need")


@pytest.mark.parametrize(
    ("arn", "level"),
    [
        (f"arn:aws:iam::{ACCOUNT}:root", "warn"),
        (f"arn:aws:sts::{ACCOUNT}:federated-user/me", "unknown"),
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/deleted/me", "unknown"),
    ],
)
def test_who_is_neither_user_nor_role_isn_t_asked_for(
    finds: Finds, ward: DoctorFixture, desk: Desk, arn: str, level: str
) -> None:
    ward.is_called_by(arn)
    assert only(finds("caller"))[0] == level
    assert desk.world.calls["SimulatePrincipalPolicy"] == 0


# ---- what guards the tags ----

READS = {"logging": True, "EventSelectors": [{"ReadWriteType": "ReadOnly", "IncludeManagementEvents": True}]}
DATA = {"logging": True, "EventSelectors": [{"ReadWriteType": "All", "IncludeManagementEvents": False}]}


def advanced(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"logging": True, "AdvancedEventSelectors": [{"FieldSelectors": list(fields)}]}


def test_any_trail_that_keeps_writes_will_do(finds: Finds, ward: DoctorFixture) -> None:
    silent = ward.trails["all"] | {"logging": False}
    management = {"Field": "eventCategory", "Equals": ["Management"]}
    ward.trails = {"a": READS, "b": silent, "c": advanced(management)}
    assert only(finds("trail"))[:2] == ("ok", "trail c keeps who changed a tag")
    ward.trails["c"] = advanced(management, {"Field": "readOnly", "Equals": ["false"]})
    assert only(finds("trail"))[0] == "ok"


@pytest.mark.parametrize(
    ("trails", "remedy"),
    [
        ({}, "aws cloudtrail create-trail --name NAME "),
        ({"a": READS, "b": DATA}, "aws cloudtrail put-event-selectors --trail-name a "),
        (
            {
                "a": advanced(
                    {"Field": "eventCategory", "Equals": ["Management"]}, {"Field": "readOnly", "Equals": ["true"]}
                )
            },
            "aws cloudtrail put-event-selectors --trail-name a ",
        ),
        ({"a": READS, "b": {"logging": False}}, "aws cloudtrail start-logging --name b"),
    ],
)
def test_no_trail_keeps_who_changed_a_tag(
    finds: Finds, ward: DoctorFixture, trails: dict[str, Any], remedy: str
) -> None:
    ward.trails = trails
    level, what, told = only(finds("trail"))
    assert (level, told.startswith(remedy)) == ("warn", True), told
    assert what.startswith("no trail of CloudTrail keeps who changed a tag here; its event history does, for 90 days")


def guard(*keys: str) -> dict[str, Any]:
    return {
        "Statement": {
            "Effect": "Deny",
            "Action": ["ec2:CreateTags", "ec2:DeleteTags"],
            "Resource": "arn:aws:ec2:*:*:instance/*",
            "Condition": {"ForAnyValue:StringEquals": {"aws:TagKeys": list(keys)}},
        }
    }


@pytest.mark.parametrize("target", [ACCOUNT, "ou-1", "r-1"])
def test_tags_that_nothing_guards_are_named(finds: Finds, ward: DoctorFixture, desk: Desk, target: str) -> None:
    for each in ("workload=web", "workload=db", "team=a"):
        desk.put(each, role="NONE", require_tags={"environment": "production"})
    ward.policies["ou-1"] = []
    ward.policies[target].append(guard("workload", "rolekeeper:ignore"))
    remedy = "print one that does, and attach it: rolekeeper guard scp-tags --except ARN"
    assert finds("tags") == [
        ("warn", "no service control policy denies ec2:CreateTags of the tags environment, team", remedy),
        ("warn", "no service control policy denies ec2:DeleteTags of the tags environment, team", remedy),
        ("warn", "no service control policy denies ec2:DeleteTags without keys, which deletes all tags", remedy),
    ]


@pytest.mark.parametrize(
    ("ill", "level", "what", "remedy"),
    [
        ({"manager": ACCOUNT}, "warn", "the account manages its organization", "let IAM allow "),
        (
            {"denied": {"ListPoliciesForTarget"}},
            "unknown",
            "whether the tags rolekeeper:ignore are guarded: you aren't allowed organizations:ListPoliciesForTarget",
            "in account 999999999999: aws organizations list-policies-for-target --target-id ",
        ),
        (
            {"errors": {"DescribeOrganization": "AWSOrganizationsNotInUseException"}},
            "unknown",
            "the account is in no organization",
            "see that IAM allows ",
        ),
    ],
)
def test_where_no_control_policy_guards_the_tags_or_can_be_seen(
    finds: Finds, ward: DoctorFixture, ill: dict[str, Any], level: str, what: str, remedy: str
) -> None:
    vars(ward).update(ill)
    found, said, told = only(finds("tags"))
    assert (found, said.startswith(what), told.startswith(remedy)) == (level, True, True), (said, told)


def test_what_verifications_left_is_named_by_one_call(finds: Finds, ward: DoctorFixture, desk: Desk) -> None:
    ago = desk.world.clock.now() - timedelta(hours=1)
    ward.buckets = {
        f"rolekeeper-verify-abc123-{ACCOUNT}-{REGION}": ago,
        f"rolekeeper-verify-def456-{ACCOUNT}-eu-west-1": ago,
        f"rolekeeper-verify-xyz789-{ACCOUNT}-{REGION}": ago + timedelta(seconds=1),  # it may be running
        f"rolekeeper-artifacts-{ACCOUNT}-{REGION}": ago,
        f"rolekeeper-verify-production-{ACCOUNT}-{REGION}": ago,
    }
    desk.world.calls.clear()
    assert finds("verifications") == [
        (
            "warn",
            f"verification {id_} of 2026-03-01 08:00 UTC left something in {region}",
            f"rolekeeper verify --sweep --id {id_} --region {region}",
        )
        for id_, region in (("abc123", REGION), ("def456", "eu-west-1"))
    ]
    assert desk.world.calls.made == ["ListBuckets"]

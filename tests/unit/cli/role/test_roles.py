"""`rolekeeper roles`: who carries each role, what it may do, and what of that it doesn't use."""

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from fakes.last_accessed import BEGUN, LOOKED, FakeReports
from fixtures.account import ACCOUNT, refusing
from fixtures.mappings import Desk
from fixtures.roles import make_used_role
from fixtures.terminal import Terminal, lines
from support.grants import allow, policy

type Make = Callable[..., None]


@pytest.fixture
def make(desk: Desk, reports: FakeReports) -> Make:
    return partial(make_used_role, desk, reports)


def shown(terminal: Terminal, name: str, *options: str) -> Any:
    [found] = [each for each in terminal.document("roles", *options)["roles"] if each["role"] == name]
    return found


def carried(desk: Desk, role: str) -> str:
    """An instance that carries a role by a mapping."""
    desk.edit(f"app={role}", role=role)
    return desk.converged(role, app=role)


# ---- the whole ----


def test_what_it_never_called_is_left_out_of_a_smaller_policy(terminal: Terminal, make: Make) -> None:
    make("web", "s3:GetObject", "sns:Publish", used={"s3": 1, "sns": None})
    web = shown(terminal, "web")
    assert web["services_last_used"] == {"s3": "2026-02-28T09:00:00.000000Z", "sns": None}
    assert (web["unused_services"], web["unknown_because"]) == (["sns"], None)
    [smaller] = web["smaller"]
    assert (smaller["policy"], smaller["drops"]) == ("it", ["sns"])
    assert smaller["document"]["Statement"] == [allow(["s3:GetObject"])]


def test_in_one_account_each_thing_is_asked_once_and_no_account_is_named(
    terminal: Terminal, desk: Desk, make: Make
) -> None:
    make("web", "s3:GetObject", used={"s3": 1})
    carried(desk, "web")
    desk.quiet()
    terminal("roles")
    once = (
        "ListRoles ListInstanceProfiles GetAccountSummary GetRole ListAttachedRolePolicies ListRolePolicies "
        "GetRolePolicy DescribeInstances DescribeIamInstanceProfileAssociations Scan BatchGetItem"
    )
    assert desk.world.calls.counted() == dict.fromkeys([*once.split(), BEGUN], 1) | {LOOKED: 2}
    document = terminal.document("roles")
    assert list(document) == ["roles", "summary", "account", "unknown"]
    assert "account" not in document["roles"][0]


def test_only_what_nothing_uses(terminal: Terminal, desk: Desk, make: Make) -> None:
    make("web", used={})
    make("old", used={"s3": 90})
    make("used", used={"s3": 89})
    make("new", age=timedelta(days=89))
    make("mapped")
    carried(desk, "web")
    desk.edit("app=mapped", role="mapped")
    assert [each["role"] for each in terminal.document("roles", "--unused")["roles"]] == ["old"]
    assert shown(terminal, "new")["unknown_because"] == "the role is less than 90 days old"
    assert shown(terminal, "new")["unused_services"] is None


def test_an_instance_counts_by_the_profile_that_it_carries_now(terminal: Terminal, desk: Desk, make: Make) -> None:
    make("web")
    desk.iam.create_instance_profile(InstanceProfileName="theirs", Path="/elsewhere/")
    desk.iam.remove_role_from_instance_profile(InstanceProfileName="web", RoleName="web")
    desk.iam.add_role_to_instance_profile(InstanceProfileName="theirs", RoleName="web")
    desk.world.profile("theirs", path="/elsewhere/")
    instance = desk.world.running()
    desk.world.attach_by_hand(instance, "theirs")
    assert shown(terminal, "web")["instances"] == [instance]
    desk.world.wait(60)
    desk.world.detach_by_hand(instance)
    assert shown(terminal, "web")["instances"] == [], "one that it is losing it doesn't count"


# ---- IAM's reports ----


def test_a_report_that_fails_says_why(terminal: Terminal, make: Make, reports: FakeReports) -> None:
    make("web", "s3:*")
    make("other", "s3:*", used={"s3": 1})
    reports.failed = {"web"}
    web, other = shown(terminal, "web"), shown(terminal, "other")
    assert (web["unused_services"], web["unknown_because"]) == (None, "IAM's report failed: it broke")
    assert other["unused_services"] == []


def test_a_throttled_look_is_asked_again(terminal: Terminal, make: Make, reports: FakeReports) -> None:
    make("web", "s3:*", used={"s3": None})
    reports.refused, reports.times = {LOOKED: "Throttling"}, {LOOKED: 2}
    assert shown(terminal, "web")["unused_services"] == ["s3"]


def test_reports_that_iam_throttles_are_begun_later_but_not_waited_for_for_ever(
    terminal: Terminal, make: Make, reports: FakeReports, desk: Desk
) -> None:
    for name in ("one", "two"):
        make(name, "s3:*", used={"s3": None})
    reports.refused, reports.times = {BEGUN: "Throttling"}, {BEGUN: 2}
    assert [each["unused_services"] for each in terminal.document("roles")["roles"]] == [["s3"], ["s3"]]
    reports.times = {}
    before = desk.world.clock.now()
    assert shown(terminal, "one")["unknown_because"] == "IAM didn't finish its report in 120 seconds; try again"
    assert desk.world.clock.now() - before == timedelta(seconds=120)


def test_who_may_not_ask_for_reports_is_told_once_and_sees_the_rest(
    terminal: Terminal, make: Make, reports: FakeReports, desk: Desk
) -> None:
    for name in ("one", "two"):
        make(name, "s3:GetObject")
    reports.refused = {BEGUN: "AccessDenied"}
    ran = terminal("roles")
    arn = f"arn:aws:iam::{ACCOUNT}:role/rolekeeper/one"
    assert ran.exit_code == 0
    assert ran.stderr == (
        f"Warning: not everything is shown: you aren't allowed iam:GenerateServiceLastAccessedDetails on {arn}\n"
    )
    assert desk.world.calls[BEGUN] == 1
    unused = "unused: no mapping gives it, no instance here carries it, not used in 400 days"
    assert f"one 0 0 never no s3 {unused}" in lines(ran.stdout)
    reports.refused = {LOOKED: "AccessDenied"}
    assert shown(terminal, "one")["unknown_because"] == "you aren't allowed iam:GetServiceLastAccessedDetails on *"


def test_reports_need_not_be_asked_for(terminal: Terminal, make: Make, reports: FakeReports) -> None:
    make("web", "s3:GetObject")
    found = shown(terminal, "web", "--no-last-accessed")
    assert (found["unknown_because"], found["unused_services"], reports.seen) == ("not asked", None, [])


# ---- what AWS refuses ----


@pytest.mark.parametrize(
    ("operation", "action", "lacks"),
    [
        ("ListInstanceProfiles", "iam:ListInstanceProfiles", {"profiles", "instances", "unused"}),
        ("GetRole", "iam:GetRole", {"created", "last_used", "may", "broad", "services", "unused", "unused_services"}),
        ("ListRolePolicies", "iam:ListRolePolicies", {"may", "broad", "services"}),
    ],
)
def test_what_is_refused_is_unknown_and_the_rest_is_shown(
    terminal: Terminal, make: Make, reports: FakeReports, operation: str, action: str, lacks: set[str]
) -> None:
    make("old", "s3:GetObject", used={"s3": 200})
    whole = shown(terminal, "old")
    reports.refused = {operation: "AccessDenied"}
    document = terminal.document("roles")
    [found] = document["roles"]
    assert {name for name, value in whole.items() if value is not None and found[name] is None} == lacks
    assert any(f"you aren't allowed {action} on " in each for each in document["unknown"])
    assert terminal("roles").exit_code == 0


def test_without_the_mappings_nothing_is_said_to_be_unused(terminal: Terminal, make: Make, desk: Desk) -> None:
    make("old", used={"s3": 200})
    desk.world.calls.before("Scan", refusing("AccessDeniedException", "no"))
    found = shown(terminal, "old")
    assert (found["mappings"], found["unused"], found["instances"]) == (None, None, [])


# ---- smaller policies ----


def test_a_managed_policy_is_changed_only_if_it_is_the_roles_alone(terminal: Terminal, make: Make, desk: Desk) -> None:
    for name in ("own", "shared"):
        make(name, "s3:GetObject", used={"s3": 1, "sns": None, "sqs": None})
    document = json.dumps(policy(allow(["sqs:SendMessage", "s3:PutObject"]), allow("sns:Publish")))
    both = desk.iam.create_policy(PolicyName="both", PolicyDocument=document)["Policy"]["Arn"]
    desk.iam.attach_role_policy(RoleName="own", PolicyArn=both)
    found = shown(terminal, "own")["smaller"]
    [command] = [each["command"] for each in found]
    assert command.startswith(f"aws iam create-policy-version --policy-arn {both} --set-as-default --policy-document ")
    assert [each["drops"] for each in found] == [["sns", "sqs"]]
    desk.iam.attach_role_policy(RoleName="shared", PolicyArn=both)
    assert shown(terminal, "own")["smaller"] == []


def test_nothing_is_suggested_for_a_role_that_is_new_or_not_at_work(terminal: Terminal, make: Make) -> None:
    make("new", "s3:GetObject", "sns:Publish", used={"s3": 1, "sns": None}, age=timedelta(days=89))
    make("idle", "s3:GetObject", "sns:Publish", used={"s3": 91, "sns": None})
    make("busy", "s3:GetObject", "sns:Publish", used={"s3": 1, "sns": 399})
    assert [each["smaller"] for each in terminal.document("roles")["roles"]] == [[], [], []]

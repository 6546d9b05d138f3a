"""`rolekeeper verify --pre`: what keeps a deployment or a verification from an account, and what can't be known."""

from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from fixtures.account import ACCOUNT, REGION
from fixtures.mappings import Desk, session
from fixtures.preflight import Account
from fixtures.terminal import Terminal, lines
from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.doctor.run import run as run_check
from rolekeeper_cli.main import cli
from rolekeeper_cli.options import Options
from rolekeeper_verify.machine import Wanted
from rolekeeper_verify.names import TAG
from rolekeeper_verify.preflight import NEEDED, checks
from rolekeeper_verify.removal import Found
from support.deployment import deployment, translated
from support.templates import load

STACK = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/rolekeeper-verify-any/any"

type Finds = Callable[..., list[tuple[str, str, str]]]


@pytest.fixture
def account(terminal: Terminal, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Account:
    return Account(terminal, desk, monkeypatch)


@pytest.fixture
def finds(account: Account) -> Finds:
    """What one check finds: level, what, remedy."""
    del account

    def found(check: str, wanted: Wanted = Wanted()) -> list[tuple[str, str, str]]:  # noqa: B008  # a value
        shown = [each.view().as_mapping() for each in run_check(check, checks(wanted)[check][1], Deployment(Options()))]
        assert all(bool(each["remedy"]) == (each["level"] != "ok") for each in shown)
        return [(each["level"], each["what"], each["remedy"]) for each in shown]

    return found


def run() -> Any:
    return CliRunner().invoke(cli, ["verify", "--pre"])


# ---- the whole ----


@pytest.mark.usefixtures("account")
def test_nothing_is_changed(desk: Desk) -> None:
    """Each call reads, or is a dry run or a simulation."""
    desk.world.calls.clear()
    run()
    made = desk.world.calls.counted()
    assert {each for each in made if not each.startswith(("Describe", "Get", "List", "Simulate"))} == {"RunInstances"}
    assert made["RunInstances"] == 1
    assert session().client("ec2").describe_instances()["Reservations"] == []


# ---- who calls, and what they may ----


@pytest.mark.usefixtures("account")
def test_without_credentials_there_is_nothing_else_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    expired = AccessDeniedError("ExpiredToken", "The security token has expired", "sts:GetCallerIdentity", "*")
    monkeypatch.setattr(Deployment, "caller", property(Mock(side_effect=expired)))
    ran = run()
    assert (ran.exit_code, ran.stderr) == (1, "0 ok, 0 warnings, 1 failed, 0 unknown.\n")
    assert "sign in again: aws sso login; see docs/verify.md#permissions" in lines(ran.stdout)


def test_the_root_user_is_warned_and_nothing_is_guessed(account: Account) -> None:
    account.is_called_by(f"arn:aws:iam::{ACCOUNT}:root")
    ran = run()
    assert (ran.exit_code, ran.stderr) == (0, "8 ok, 1 warning, 0 failed, 3 unknown.\n")


@pytest.mark.parametrize(
    ("refused", "check", "level", "where"),
    [
        (f"cloudformation:DeleteStack {STACK}", "verify", "fail", "rolekeeper guard verifiers"),
        ("ec2:TerminateInstances", "verify", "fail", "rolekeeper guard verifiers"),
        (f"cloudformation:DeleteStack {STACK.replace('-verify-any', '')}", "deploy", "warn", "docs/deploy.md"),
        ("iam:GenerateServiceLastAccessedDetails", "operate", "warn", "docs/security.md"),
    ],
)
def test_what_the_caller_may_not(
    finds: Finds, account: Account, refused: str, check: str, level: str, where: str
) -> None:
    account.decisions = {refused: {"EvalDecision": "implicitDeny"}}
    by_check = {each: finds(each) for each in ("verify", "deploy", "operate")}
    found = by_check.pop(check)
    assert {each[0] for each in found} == {level}
    assert all(refused.split(maxsplit=1)[0] in what and where in remedy for _, what, remedy in found)
    assert {each[0] for others in by_check.values() for each in others} == {"ok"}


@pytest.mark.parametrize(
    ("denied", "levels"), [({"ListTopics", "ListRoles"}, ["fail", "unknown"]), (set(), ["unknown"])]
)
def test_without_a_simulation_the_lists_are_tried_and_the_rest_is_unknown(
    finds: Finds, account: Account, monkeypatch: pytest.MonkeyPatch, denied: set[str], levels: list[str]
) -> None:
    refused = [AccessDeniedError("AccessDenied", "no", f"any:{each}", "*") for each in denied]
    monkeypatch.setattr("rolekeeper_verify.preflight.find", lambda _: Found([], [], [], refused, {}))
    account.denied.add("SimulatePrincipalPolicy")
    found = finds("verify")
    assert [level for level, _, _ in found] == levels
    assert all(each in found[0][1] for each in denied)
    assert "iam:SimulatePrincipalPolicy" in found[-1][1]


def test_a_person_who_may_not_look_for_a_machine_can_launch_none(finds: Finds, account: Account) -> None:
    account.denied.add("DescribeSubnets")
    assert finds("machine")[0][:2] == ("fail", "you aren't allowed ec2:DescribeSubnets on *")


def test_a_request_has_the_tag_that_the_policy_asks_for(account: Account) -> None:
    run()
    asked = [each["ContextEntries"] for each in account.simulated if "ec2:TerminateInstances" in each["ActionNames"]]
    context = {(entry["ContextKeyName"], *entry["ContextKeyValues"]) for entries in asked for entry in entries}
    assert context == {("aws:RequestedRegion", REGION), (f"aws:ResourceTag/{TAG}", "any")}


def test_a_users_permissions_boundary_is_named(
    finds: Finds, account: Account, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn, user = (f"arn:aws:iam::{ACCOUNT}:{each}" for each in ("policy/limit", "user/ops/me"))
    monkeypatch.setattr("fixtures.doctor.SIMULATED", user)
    account.is_called_by(user)
    desk.iam.create_user(UserName="me", Path="/ops/")
    account.answers["GetUser"] = lambda _: {"User": {"PermissionsBoundary": {"PermissionsBoundaryArn": arn}}}
    [(level, what, remedy)] = finds("boundary")
    assert (level, arn in what) == ("warn", True)
    assert remedy.startswith(f"deploy with --permissions-boundary {arn}")


@pytest.mark.parametrize(
    ("policy", "level"),
    [
        ({TAG: {"enforced_for": {"@@assign": ["ec2:instance"]}}}, "fail"),
        ({TAG: {"tag_value": {"@@assign": ["one"]}}}, "ok"),
        ({"costcenter": {"enforced_for": ["ec2:instance"]}}, "ok"),
    ],
)
def test_a_tag_policy_bites_if_it_is_enforced_for_a_tag_of_the_verification(
    finds: Finds, account: Account, policy: dict[str, Any], level: str
) -> None:
    account.tag_policy = policy
    assert finds("tag-policy")[0][0] == level


def test_an_account_in_no_organization_has_no_tag_policy(finds: Finds, account: Account) -> None:
    account.errors["DescribeEffectivePolicy"] = "AWSOrganizationsNotInUseException"
    assert finds("tag-policy")[0][0] == "ok"


# ---- what it launches ----


def test_a_region_that_lacks_what_is_launched_fails(finds: Finds) -> None:
    [(level, what, _)] = finds("machine", Wanted(ami="ami-0123456789abcdef0"))
    assert (level, "ami-0123456789abcdef0" in what) == ("fail", True)


# ---- quotas ----


@pytest.mark.parametrize(("used", "level"), [(880, "ok"), (895, "warn"), (990, "warn"), (991, "fail")])
def test_roles_need_room(finds: Finds, account: Account, used: int, level: str) -> None:
    account.summary["Roles"] = used
    assert finds("iam")[0][0] == level


def test_what_is_needed_is_what_the_templates_make() -> None:
    scene = load("verify/rolekeeper_verify/scene.yaml")["Resources"]
    made = Counter(each["Type"] for each in (*deployment(translated()).resources.values(), *scene.values()))
    # One more profile and one more rule are made by probes.
    assert {
        "roles": made["AWS::IAM::Role"],
        "instance profiles": made["AWS::IAM::InstanceProfile"] + 1,
        "policies": made["AWS::IAM::ManagedPolicy"],
        "rules": made["AWS::Events::Rule"] + 1,
        "stacks": 2,
    } == NEEDED

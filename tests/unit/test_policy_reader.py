"""What a change of role brings, asked of IAM: each role once, and never an error."""

import json

import pytest

from fixtures.account import ACCOUNT, PATH, FakeAccount, refusing
from fixtures.mappings import Desk
from rolekeeper.aws.iam import Iam
from rolekeeper.permissions.comparison import Difference, PolicyReader
from rolekeeper.permissions.policies import TooManyRulesError
from support.grants import allow, policy

PROFILES = f"arn:aws:iam::{ACCOUNT}:instance-profile{PATH}"


class Office(Desk):
    """A desk with roles that may do things."""

    def role_with(self, name: str, *actions: str, managed: str = "") -> None:
        self.role(name)
        if actions:
            document = json.dumps(policy(allow(list(actions))))
            self.iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=document)
        if managed:
            self.iam.attach_role_policy(RoleName=name, PolicyArn=managed)

    def managed(self, name: str, *actions: str) -> str:
        document = json.dumps(policy(allow(list(actions))))
        return str(self.iam.create_policy(PolicyName=name, PolicyDocument=document)["Policy"]["Arn"])

    def reader(self) -> PolicyReader:
        self.world.calls.clear()
        return PolicyReader(Iam(self.iam, ACCOUNT))


@pytest.fixture
def office(world: FakeAccount) -> Office:
    return Office(world)


def test_from_one_role_to_another(office: Office) -> None:
    office.role_with("web", "s3:GetObject", "sqs:*")
    office.role_with("db", "dynamodb:*", "sqs:SendMessage")
    reader = office.reader()
    assert reader.difference("web", "db") == Difference(("dynamodb:* on *",), ("s3:GetObject, sqs:* on *",))
    assert reader.difference("", "db") == Difference(("dynamodb:*, sqs:SendMessage on *",), ())
    assert reader.difference("db", "") == Difference((), ("dynamodb:*, sqs:SendMessage on *",))
    assert reader.difference("", "") == reader.difference("db", "db") == Difference()
    assert reader.difference("web", "db") is reader.difference("web", "db"), "it is compared once"


def test_a_role_is_read_once_and_so_is_a_policy_that_roles_share(office: Office) -> None:
    shared = office.managed("shared", "ssm:*")
    for name in ("web", "db"):
        office.role_with(name, "s3:GetObject", managed=shared)
    reader = office.reader()
    for pair in (("web", "db"), ("db", "web"), ("web", ""), ("web", "db")):
        reader.difference(*pair)
    reader.difference(f"{PROFILES}web", f"{PROFILES}db")
    reader.difference(f"{PROFILES}db", f"{PROFILES}web")
    assert office.world.calls.counted() == {
        "GetRole": 2,
        "ListAttachedRolePolicies": 2,
        "GetPolicy": 1,
        "GetPolicyVersion": 1,
        "ListRolePolicies": 2,
        "GetRolePolicy": 2,
        "GetInstanceProfile": 2,
    }


def test_from_one_profile_to_another(office: Office) -> None:
    office.role_with("web", "s3:GetObject")
    office.role_with("db", "dynamodb:*")
    office.iam.create_instance_profile(InstanceProfileName="empty", Path=PATH)
    reader = office.reader()
    there = Difference(("dynamodb:* on *",), ("s3:GetObject on *",))
    assert reader.difference(f"{PROFILES}web", f"{PROFILES}db") == there
    gain = Difference(("dynamodb:* on *",), ())
    for nothing in ("", f"{PROFILES}empty", f"{PROFILES}gone", "arn:aws:iam::123456789012:instance-profile/web"):
        assert reader.difference(nothing, f"{PROFILES}db") == gain, nothing


def test_a_role_that_is_not_there_is_said(office: Office) -> None:
    assert office.reader().difference("gone", "") == Difference(unknown="role 'gone' doesn't exist")
    assert office.reader().difference("gone", "gone") == Difference(), "it stays as it is"


@pytest.mark.parametrize("code", ["AccessDenied", "Throttling", "Unheard"])
def test_what_iam_refuses_is_said_and_is_no_error(office: Office, code: str) -> None:
    shared = office.managed("shared", "ssm:*")
    office.role_with("web", managed=shared)
    reader = office.reader()
    office.world.calls.before("GetPolicy", refusing(code, "no"))
    said = f"IAM answers {code} to iam:GetPolicy on {shared}"
    assert reader.difference("web", "") == Difference(unknown=said)
    assert reader.difference("", "web").unknown == said, "it isn't asked again"
    office.world.calls.before("GetInstanceProfile", refusing(code, "no"))
    change = reader.difference(f"{PROFILES}web", "")
    assert change.unknown.startswith(f"IAM answers {code} to iam:GetInstanceProfile on arn:")


def test_policies_too_large_are_not_compared_and_may_hold_what_is_severe(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.role_with("web", "s3:GetObject")
    monkeypatch.setattr("rolekeeper.permissions.policies.MOST_RULES", 0)
    said = "a role's policies hold more than 0 different statements"
    for pair in (("web", ""), ("", "web")):
        assert office.reader().difference(*pair) == Difference(unknown=said)
    assert office.reader().severe_gain("", "web") == (f"what can't be known ({said})",)
    with pytest.raises(TooManyRulesError):
        office.reader().severe("web")


def test_what_is_severe_is_compared_by_the_list_and_not_by_its_spelling(office: Office) -> None:
    office.role_with("some", "iam:PutRolePolicy", "iam:PutUserPolicy", "s3:GetObject")
    office.role_with("all", "iam:Put*")
    office.role_with("none", "s3:*")
    reader = office.reader()
    assert reader.severe_gain("none", "some") == ("iam:PutRolePolicy, iam:PutUserPolicy on *",)
    assert reader.severe_gain("all", "some") == reader.severe_gain("some", "none") == ()
    assert reader.severe_gain("some", "all") == ("iam:Put* on *",)
    assert reader.severe_gain(f"{PROFILES}none", f"{PROFILES}all") == ("iam:Put* on *",)


def test_what_is_severe_only_together_is_gained_with_the_last_of_it(office: Office) -> None:
    both = ("cloudformation:CreateChangeSet", "cloudformation:ExecuteChangeSet")
    office.role_with("one", both[0])
    office.role_with("both", *both)
    reader = office.reader()
    assert reader.severe_gain("one", "both") == reader.severe_gain("", "both") == (f"{both[0]}, {both[1]} on *",)
    assert reader.severe_gain("both", "both") == reader.severe_gain("both", "one") == ()


def test_a_role_before_that_cannot_be_read_counts_as_none(office: Office) -> None:
    office.role_with("admin", "*")
    assert office.reader().severe_gain("gone", "admin") == ("administrator access (*) on *",)

"""Who may assume a role, and IAM's answers as values."""

from typing import Any

import pytest

from rolekeeper.errors import DeniedError, RetryableError
from rolekeeper.iam import Iam, trust_note, trust_problem
from support.fake_ec2 import client_error

EC2 = {"Service": "ec2.amazonaws.com"}


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(**changes: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": EC2, "Action": "sts:AssumeRole", **changes}


@pytest.mark.parametrize(
    "trust",
    [
        policy(allow()),
        {"Statement": allow()},
        policy(allow(Principal={"Service": "ec2.amazonaws.com.cn"})),
        policy(allow(Principal={"Service": ["lambda.amazonaws.com", "ec2.amazonaws.com"]})),
        policy(allow(Action="sts:*")),
        policy(allow(Action="*")),
        policy(allow(Action="STS:assumerole")),
        policy(allow(Action=["sts:TagSession", "sts:AssumeRole"])),
        policy(allow(Principal={"AWS": "*"}), allow()),
        policy(allow(), allow(Effect="Deny", Principal={"Service": "lambda.amazonaws.com"})),
        policy(allow(), allow(Effect="Deny", Action="sts:TagSession")),
    ],
)
def test_ec2_can_assume_it(trust: dict[str, Any]) -> None:
    assert trust_problem(trust) == ""
    assert trust_note(trust) == ""


@pytest.mark.parametrize(
    "trust",
    [
        {},
        policy(),
        {"Statement": "nonsense"},
        policy(allow(Principal={"Service": "lambda.amazonaws.com"})),
        policy(allow(Principal={"AWS": "arn:aws:iam::123456789012:root"})),
        policy(allow(Action="sts:AssumeRoleWithWebIdentity")),
        policy(allow(Principal={"Service": "ec2.amazonaws.com.evil.example"})),
    ],
)
def test_ec2_cannot_assume_it_and_the_reason_holds_the_statement_to_add(trust: dict[str, Any]) -> None:
    assert '"Principal": {"Service": "ec2.amazonaws.com"}' in trust_problem(trust)


@pytest.mark.parametrize("principal", [EC2, "*", {"AWS": "*"}])
def test_a_deny_for_ec2_wins(principal: Any) -> None:
    assert "denies EC2" in trust_problem(policy(allow(), allow(Effect="Deny", Principal=principal)))


def test_a_condition_is_not_evaluated_but_noted() -> None:
    conditional = allow(Condition={"StringEquals": {"aws:SourceAccount": "123456789012"}})
    assert trust_problem(policy(conditional)) == ""
    assert "condition" in trust_note(policy(conditional))
    assert trust_note(policy(conditional, allow())) == "", "the other statement allows without one"
    assert trust_problem(policy(allow(), {**conditional, "Effect": "Deny"})) == ""


class Refusing:
    """An IAM client whose every call is refused with one code."""

    def __init__(self, code: str) -> None:
        self._error = client_error(code, "no")

    def __getattr__(self, name: str) -> Any:
        def call(**_: Any) -> Any:
            raise self._error

        return call


def iam(code: str) -> Iam:
    return Iam(Refusing(code), "123456789012", "/rolekeeper/")  # type: ignore[arg-type]  # shaped like a client


def test_what_is_not_there_is_none() -> None:
    assert iam("NoSuchEntity").get_role("web") is None
    assert iam("NoSuchEntity").get_instance_profile("web") is None
    assert not iam("NoSuchEntity").may_pass("arn:aws:iam::123456789012:instance-profile/rolekeeper/web")


def test_a_missing_permission_names_the_action_and_the_resource() -> None:
    with pytest.raises(DeniedError) as denied:
        iam("AccessDenied").get_role("web")
    assert denied.value.action == "iam:GetRole"
    assert denied.value.resource == "arn:aws:iam::123456789012:role/web"


@pytest.mark.parametrize("code", ["EntityAlreadyExists", "Throttling"])
def test_a_profile_that_somebody_else_made_meanwhile_is_looked_at_again(code: str) -> None:
    with pytest.raises(RetryableError):
        iam(code).create_profile("web", "/rolekeeper/")


@pytest.mark.parametrize("code", ["LimitExceeded", "NoSuchEntity"])
def test_a_profile_that_is_full_or_not_yet_visible_is_looked_at_again(code: str) -> None:
    with pytest.raises(RetryableError):
        iam(code).add_role("web", "/rolekeeper/", "web")

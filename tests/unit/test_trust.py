"""Which trust policies let EC2 assume a role."""

from typing import Any

import pytest

from rolekeeper.permissions.roles import trust_note, trust_problem

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
    assert trust_problem(trust) is None
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
    assert '"Principal": {"Service": "ec2.amazonaws.com"}' in str(trust_problem(trust))


@pytest.mark.parametrize("principal", [EC2, "*", {"AWS": "*"}])
def test_a_deny_for_ec2_wins(principal: Any) -> None:
    assert "denies EC2" in str(trust_problem(policy(allow(), allow(Effect="Deny", Principal=principal))))


def test_a_condition_is_not_evaluated_but_noted() -> None:
    conditional = allow(Condition={"StringEquals": {"aws:SourceAccount": "123456789012"}})
    assert trust_problem(policy(conditional)) is None
    assert "condition" in trust_note(policy(conditional))
    assert trust_note(policy(conditional, allow())) == "", "the other statement allows without one"
    assert trust_problem(policy(allow(), {**conditional, "Effect": "Deny"})) is None

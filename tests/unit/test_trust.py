"""Whom a trust policy lets assume a role: EC2, and others."""

from typing import Any

import pytest

from rolekeeper.permissions.roles import RoleCheck, check_trust, trusted_besides_ec2
from support.grants import policy

EC2 = {"Service": "ec2.amazonaws.com"}
ROLE = "arn:aws:iam::123456789012:role/app/web"
MFA = {"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}}


def allow(principal: Any = EC2, action: Any = "sts:AssumeRole", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": principal, "Action": action, **more}


@pytest.mark.parametrize(
    "trust",
    [
        policy(allow()),
        {"Statement": allow()},
        policy(allow({"Service": "ec2.amazonaws.com.cn"})),
        policy(allow({"Service": ["lambda.amazonaws.com", "ec2.amazonaws.com"]})),
        policy(allow(EC2, "sts:*")),
        policy(allow(EC2, "*")),
        policy(allow(EC2, "STS:assumerole")),
        policy(allow(EC2, ["sts:TagSession", "sts:AssumeRole"])),
        policy(allow({"AWS": "*"}), allow()),
        policy(allow(), allow({"Service": "lambda.amazonaws.com"}, Effect="Deny")),
        policy(allow(), allow(EC2, "sts:TagSession", Effect="Deny")),
    ],
)
def test_ec2_can_assume_it(trust: dict[str, Any]) -> None:
    assert check_trust(trust) == RoleCheck()


@pytest.mark.parametrize(
    "trust",
    [
        {},
        policy(),
        {"Statement": "nonsense"},
        policy(allow({"Service": "lambda.amazonaws.com"})),
        policy(allow({"AWS": "arn:aws:iam::123456789012:root"})),
        policy(allow(EC2, "sts:AssumeRoleWithWebIdentity")),
        policy(allow({"Service": "ec2.amazonaws.com.evil.example"})),
    ],
)
def test_ec2_cannot_assume_it_and_the_reason_holds_the_statement_to_add(trust: dict[str, Any]) -> None:
    assert '"Principal": {"Service": "ec2.amazonaws.com"}' in str(check_trust(trust).problem)


@pytest.mark.parametrize("principal", [EC2, "*", {"AWS": "*"}])
def test_a_deny_for_ec2_wins(principal: Any) -> None:
    assert "denies EC2" in str(check_trust(policy(allow(), allow(principal, Effect="Deny"))).problem)


def test_a_condition_is_not_evaluated_but_noted() -> None:
    conditional = allow(Condition={"StringEquals": {"aws:SourceAccount": "123456789012"}})
    check = check_trust(policy(conditional))
    assert check.problem is None
    assert "condition" in check.note
    assert check_trust(policy(conditional, allow())) == RoleCheck(), "the other statement allows without one"
    assert check_trust(policy(allow(), {**conditional, "Effect": "Deny"})) == RoleCheck()


# ---- others ----


@pytest.mark.parametrize(
    ("statement", "who"),
    [
        (allow("*"), "AWS *"),
        (allow({"AWS": "*"}), "AWS *"),
        (allow({"AWS": [ROLE]}), f"AWS {ROLE}"),
        (allow({"Service": ["ec2.amazonaws.com", "lambda.amazonaws.com"]}), "Service lambda.amazonaws.com"),
        (allow({"Federated": "cognito"}, "sts:AssumeRoleWithWebIdentity"), "Federated cognito"),
        (allow({"AWS": ROLE}, ["sts:TagSession", "STS:*"]), f"AWS {ROLE}"),
        (allow({"AWS": "*"}, **MFA), "AWS *"),
        (allow({"Service": "ec2.amazonaws.com.evil.example"}), "Service ec2.amazonaws.com.evil.example"),
        ({"Effect": "Allow", "NotPrincipal": {"AWS": ROLE}, "Action": "*"}, "everyone but those of a NotPrincipal"),
        ({"Effect": "Allow", "Principal": {"AWS": ROLE}, "NotAction": "sts:TagSession"}, f"AWS {ROLE}"),
    ],
)
def test_others_that_are_let_in(statement: Any, who: str) -> None:
    assert trusted_besides_ec2(policy(allow(EC2), statement)) == (who,)


@pytest.mark.parametrize(
    "statement",
    [
        allow({"Service": "ec2.amazonaws.com.cn"}),
        allow({"AWS": "*"}, "sts:TagSession"),
        {**allow({"AWS": "*"}), "Effect": "Deny"},
    ],
)
def test_ec2_alone_is_let_in(statement: Any) -> None:
    assert trusted_besides_ec2(policy(allow(EC2), statement)) == ()
    assert trusted_besides_ec2({}) == ()

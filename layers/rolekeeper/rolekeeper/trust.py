"""Whether a role's trust policy lets EC2 assume it: pure."""

from collections.abc import Mapping
from typing import Any

from rolekeeper import patterns
from rolekeeper.policies import listed, statements

# EC2's service principal, as the partitions name it (IAM user guide, "AWS service principals"; botocore's
# partitions.json has the suffixes). The first is understood everywhere.
EC2_PRINCIPALS = frozenset(
    {
        "ec2.amazonaws.com",
        "ec2.amazonaws.com.cn",
        "ec2.amazonaws.eu",
        "ec2.c2s.ic.gov",
        "ec2.cloud.adc-e.uk",
        "ec2.csp.hci.ic.gov",
        "ec2.sc2s.sgov.gov",
    }
)
ASSUME = "sts:assumerole"
STATEMENT = '{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}'


def trust_problem(trust_policy: Mapping[str, Any]) -> str:
    """Why EC2 can't assume a role with this trust policy, with what to add; empty when it can.

    Conditions aren't evaluated: an Allow with one is taken to allow (`trust_note` says so), a Deny with one isn't
    taken to deny.
    """
    found = statements(trust_policy)
    if any(_is(each, "Deny") and not each.get("Condition") and _meets_ec2(each) for each in found):
        return "its trust policy denies EC2 sts:AssumeRole; remove that statement"
    if any(_is(each, "Allow") and _names_ec2(each) for each in found):
        return ""
    return f"its trust policy doesn't let EC2 assume it; add the statement {STATEMENT}"


def trust_note(trust_policy: Mapping[str, Any]) -> str:
    """What to look at in a trust policy that lets EC2 assume the role only under a condition; empty otherwise."""
    allowing = [each for each in statements(trust_policy) if _is(each, "Allow") and _names_ec2(each)]
    if allowing and all(each.get("Condition") for each in allowing):
        return "its trust policy has a condition, which isn't evaluated here: see that EC2 meets it"
    return ""


def _is(statement: Mapping[str, Any], effect: str) -> bool:
    return statement.get("Effect") == effect and any(
        patterns.covers(str(each).lower(), ASSUME) for each in listed(statement.get("Action"))
    )


def _names_ec2(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    services = listed(principal.get("Service")) if isinstance(principal, Mapping) else []
    return any(each in EC2_PRINCIPALS for each in services)


def _meets_ec2(statement: Mapping[str, Any]) -> bool:
    """Whether a Deny reaches EC2: by its name, or as everybody."""
    principal = statement.get("Principal")
    everybody = principal.get("AWS") if isinstance(principal, Mapping) else principal
    return "*" in listed(everybody) or _names_ec2(statement)

"""Which policies keep people from changing a tag."""

from typing import Any

import pytest

from rolekeeper_cli.doctor.guards import denies

INSTANCES = "arn:aws:ec2:eu-central-1:123456789012:instance/*"
FEW = {"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/may-tag-roles"}}


def policy(condition: Any = None, **others: Any) -> dict[str, Any]:
    statement = {"Effect": "Deny", "Action": "ec2:CreateTags", "Resource": INSTANCES, "Condition": condition, **others}
    return {"Version": "2012-10-17", "Statement": [statement]}


def keys(test: str, *values: str) -> dict[str, Any]:
    return {test: {"aws:TagKeys": list(values)}}


def denies_creating(document: dict[str, Any]) -> bool:
    return denies([document], "CreateTags", INSTANCES, "workload")


@pytest.mark.parametrize(
    "document",
    [
        policy(),
        policy(FEW),
        policy({**FEW, **keys("ForAnyValue:StringEquals", "other", "workload")}),
        policy(keys("ForAnyValue:StringLike", "work*")),
        policy({"foranyvalue:stringequals": {"AWS:tagkeys": "workload"}}),
        policy(Action="EC2:*Tags"),
        policy(Action=["ec2:RunInstances", "*"]),
        policy(Resource="*"),
        policy(Resource="arn:aws:ec2:*:*:*/*"),
        {"Statement": {"Effect": "Deny", "NotAction": ["iam:*"], "Resource": "*"}},
        {"Statement": {"Effect": "Deny", "Action": "*", "NotResource": "arn:aws:s3:::*"}},
    ],
)
def test_what_denies_creating_the_tag(document: dict[str, Any]) -> None:
    assert denies_creating(document)


@pytest.mark.parametrize(
    "document",
    [
        policy(Effect="Allow"),
        policy(Action="ec2:DeleteTags"),
        policy(Resource="arn:aws:ec2:*:*:volume/*"),
        policy(Resource="arn:aws:ec2:*:*:instance/i-0123456789abcdef0"),
        policy(keys("ForAnyValue:StringEquals", "other")),
        policy(keys("ForAnyValue:StringEquals", "work*")),
        # One more tag in the request, and these don't deny.
        policy(keys("ForAllValues:StringEquals", "workload")),
        policy(keys("Null", "true")),
        # These deny only some people.
        policy({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/intern"}}),
        # These deny only sometimes.
        policy({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}),
        policy({**keys("ForAnyValue:StringEquals", "workload"), "Bool": {"aws:SecureTransport": "false"}}),
        {"Statement": {"Effect": "Deny", "NotAction": ["ec2:*"], "Resource": "*"}},
        {"Statement": {"Effect": "Deny", "Action": "*", "NotResource": "arn:aws:ec2:*:*:instance/*"}},
        {},
    ],
)
def test_what_doesn_t(document: dict[str, Any]) -> None:
    assert not denies_creating(document)

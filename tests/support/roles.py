"""Roles of any account of the embedded AWS."""

import json
import uuid
from typing import Any

import boto3

from rolekeeper_local.embedded import EmbeddedAws
from support.grants import policy

ANYBODY, EC2 = {"AWS": "*"}, {"Service": "ec2.amazonaws.com"}


def make_role(
    aws: EmbeddedAws,
    account: str,
    trusts: Any,
    *statements: Any,
    name: str = "",
    path: str = "/rolekeeper/",
    **condition: Any,
) -> str:
    """A role of an account, with what it trusts and what it may do; its ARN."""
    iam, name = aws.session(account=account).client("iam"), name or f"role-{uuid.uuid4().hex[:8]}"
    allow = {"Effect": "Allow", "Principal": trusts, "Action": "sts:AssumeRole"}
    if condition:
        allow["Condition"] = condition
    made = iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=json.dumps(policy(allow)))
    if statements:
        iam.put_role_policy(RoleName=name, PolicyName="policy", PolicyDocument=json.dumps(policy(*statements)))
    return made["Role"]["Arn"]


def make_profile(
    aws: EmbeddedAws, name: str, *statements: Any, account: str = "000000000000", path: str = "/rolekeeper/"
) -> None:
    """Make a role that EC2 may assume, and the instance profile of its name; one that is there stays."""
    iam = aws.session(account=account).client("iam")
    if name not in [each["RoleName"] for each in iam.list_roles(PathPrefix=path)["Roles"]]:
        make_role(aws, account, EC2, *statements, name=name, path=path)
        iam.create_instance_profile(InstanceProfileName=name, Path=path)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)


def assumed(aws: EmbeddedAws, arn: str, *, name: str = "test", by: boto3.Session | None = None) -> boto3.Session:
    """A session of a role, which by default the administrator of its account assumes."""
    sts: Any = (by or aws.session(account=arn.split(":")[4])).client("sts")
    return aws.session(credentials=sts.assume_role(RoleArn=arn, RoleSessionName=name)["Credentials"])


def variables(session: boto3.Session) -> dict[str, str]:
    """The variables of a process that acts in this session."""
    keys: Any = session.get_credentials()
    return {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_SESSION_TOKEN": keys.token,
    }

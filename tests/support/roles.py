"""Roles of any account of the embedded AWS."""

import json
import uuid
from typing import Any

import boto3

from rolekeeper_local.embedded import EmbeddedAws

ANYBODY = {"AWS": "*"}


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
    trust = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    made = iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=trust)
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    if statements:
        iam.put_role_policy(RoleName=name, PolicyName="policy", PolicyDocument=document)
    return made["Role"]["Arn"]


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

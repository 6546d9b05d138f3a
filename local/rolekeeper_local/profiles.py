"""AWS profiles for a person who tries the organization here: its hub's operators, and each other account's root.

The readers of all spokes trust the operators' role (docs/organization.md), so that command and console show them the
instances of every account. A user takes that role: on AWS an account's root may take none.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import ACCOUNT, CREDENTIALS, REGION, EmbeddedAws

#: The profiles, an account each; the first is the hub's.
HUB = "hub"
NAMES = (HUB, "web", "data")
OPERATORS = "operators"
_USER = "operator"
_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def make_operators(hub: EmulatedAccount) -> tuple[str, tuple[str, str]]:
    """Make the operators' role, and a user who may assume it; returns the role's ARN and the user's access key."""
    user = hub.iam.create_user(UserName=_USER)["User"]["Arn"]
    hub.iam.put_user_policy(UserName=_USER, PolicyName=_USER, PolicyDocument=json.dumps(_ALL))
    trust = {"Effect": "Allow", "Principal": {"AWS": user}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = hub.iam.create_role(RoleName=OPERATORS, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    hub.iam.put_role_policy(RoleName=OPERATORS, PolicyName=OPERATORS, PolicyDocument=json.dumps(_ALL))
    key = hub.iam.create_access_key(UserName=_USER)["AccessKey"]
    return role, (key["AccessKeyId"], key["SecretAccessKey"])


def write_profiles(aws: EmbeddedAws, accounts: Sequence[str], role: str, key: tuple[str, str]) -> None:
    """Write the file of the profiles: `hub` is the operators', the others are the roots of the other accounts."""
    keys = {_USER: key}
    keys |= {name: (account, "any") for name, account in zip(NAMES, accounts, strict=False) if account != ACCOUNT}
    where = f"region = {REGION}\nendpoint_url = {aws.endpoint}\n"
    parts = [f"[profile {HUB}]\n{where}role_arn = {role}\nsource_profile = {_USER}\n"]
    for name, (id_, secret) in keys.items():
        parts.append(f"[profile {name}]\n{where}aws_access_key_id = {id_}\naws_secret_access_key = {secret}\n")
    profiles_file(aws).write_text("\n".join(parts))


def profiles_file(aws: EmbeddedAws) -> Path:
    """Where the profiles are, as AWS_CONFIG_FILE names it."""
    return aws.directory / "aws-profiles"


def as_operators(aws: EmbeddedAws) -> dict[str, str]:
    """The variables of a process that acts as the hub's operators."""
    # A key among the variables would come before the profile.
    others = {name: value for name, value in aws.env.items() if name not in CREDENTIALS}
    return {**others, "AWS_CONFIG_FILE": str(profiles_file(aws)), "AWS_PROFILE": HUB}

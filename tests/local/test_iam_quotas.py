"""The embedded AWS's limit on a role's inline policies."""

import json

import pytest
from botocore.exceptions import ClientError

from rolekeeper_local.embedded import EmbeddedAws
from support.grants import deny, policy
from support.roles import ANYBODY, make_role

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]


def policy_of(size: int) -> str:
    """A document of this many characters, beside its white space."""
    room = size - len(json.dumps(policy(deny("s3:*", "")), separators=(",", ":")))
    return json.dumps(policy(deny("s3:*", "r" * room)), indent=4)


def test_the_inline_policies_of_a_role_have_10240_characters_together(aws: EmbeddedAws) -> None:
    make_role(aws, "000000000000", ANYBODY, name="full")
    iam = aws.session().client("iam")
    iam.put_role_policy(RoleName="full", PolicyName="one", PolicyDocument=policy_of(10_000))
    iam.put_role_policy(RoleName="full", PolicyName="two", PolicyDocument=policy_of(240))
    with pytest.raises(ClientError) as refused:
        iam.put_role_policy(RoleName="full", PolicyName="two", PolicyDocument=policy_of(241))
    assert refused.value.response["Error"]["Code"] == "LimitExceeded"
    assert refused.value.response["Error"]["Message"] == "Maximum policy size of 10240 bytes exceeded for role full"
    assert len(json.dumps(iam.get_role_policy(RoleName="full", PolicyName="two")["PolicyDocument"])) < 300
    iam.put_role_policy(RoleName="full", PolicyName="one", PolicyDocument=policy_of(9_999))

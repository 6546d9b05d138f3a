"""The embedded AWS's organization: who is in it, and what a policy's condition on it lets through."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from rolekeeper_local.embedded import EmbeddedAws
from support.roles import ANYBODY, make_role

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

MANAGEMENT, MEMBER, STRANGER = "000000000000", "111111111111", "333333333333"


def organizations(aws: EmbeddedAws, account: str) -> Any:
    return aws.session(account=account).client("organizations")


def test_the_embedded_accounts_are_in_one_organization_and_a_stranger_in_none(aws: EmbeddedAws) -> None:
    seen = [organizations(aws, each).describe_organization()["Organization"] for each in (MEMBER, MANAGEMENT)]
    assert seen[0] == seen[1]
    assert (seen[0]["Id"], seen[0]["MasterAccountId"]) == ("o-embeddedaws", MANAGEMENT)
    with pytest.raises(ClientError, match="AWSOrganizationsNotInUseException"):
        organizations(aws, STRANGER).describe_organization()


def test_its_accounts_are_listed_in_pages_for_the_one_that_manages_it(aws: EmbeddedAws) -> None:
    pages = organizations(aws, MANAGEMENT).get_paginator("list_accounts").paginate(PaginationConfig={"PageSize": 2})
    found = [[each["Id"] for each in page["Accounts"] if each["State"] == "ACTIVE"] for page in pages]
    assert found == [[MANAGEMENT, MEMBER], ["222222222222"]]
    with pytest.raises(ClientError, match="AccessDeniedException"):
        organizations(aws, MEMBER).list_accounts()


@pytest.mark.parametrize("account", [MANAGEMENT, MEMBER])
def test_no_tag_policy_applies(aws: EmbeddedAws, account: str) -> None:
    with pytest.raises(ClientError, match="EffectivePolicyNotFoundException"):
        organizations(aws, account).describe_effective_policy(PolicyType="TAG_POLICY")


def may_assume(sts: Any, role: str) -> bool:
    """Whether STS lets the caller assume a role; any other error is raised."""
    try:
        return bool(sts.assume_role(RoleArn=role, RoleSessionName="test")["AssumedRoleUser"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied":
            raise
        return False


@pytest.mark.parametrize("account", [MANAGEMENT, MEMBER, STRANGER])
def test_a_condition_on_the_organization_holds_for_its_accounts_only(aws: EmbeddedAws, account: str) -> None:
    arn = make_role(aws, MANAGEMENT, ANYBODY, StringEquals={"aws:PrincipalOrgID": "o-embeddedaws"})
    sts = aws.session(account=account).client("sts")
    assert may_assume(sts, arn) is (account != STRANGER)


@pytest.mark.parametrize("account", [MEMBER, STRANGER])
def test_a_condition_on_whose_a_role_is_holds_for_those_of_the_organization(aws: EmbeddedAws, account: str) -> None:
    role, sts = make_role(aws, account, ANYBODY), aws.session().client("sts")
    ours: Any = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "arn:aws:iam::*:role/rolekeeper/*"}
    ours["Condition"] = {"StringEquals": {"aws:ResourceOrgID": "o-embeddedaws"}}
    hub = make_role(aws, MANAGEMENT, ANYBODY, ours)
    as_hub: Any = sts.assume_role(RoleArn=hub, RoleSessionName="hub")["Credentials"]
    sts = aws.session(credentials=as_hub).client("sts")
    assert may_assume(sts, role) is (account != STRANGER)

"""The embedded AWS's IAM: the list of all roles, with what they may do and what holds them."""

from typing import Any

import pytest

from rolekeeper_local.embedded import EmbeddedAws
from support.roles import ANYBODY, make_role

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

ACCOUNT = "000000000000"


def test_all_roles_come_in_pages_with_policies_boundary_and_profiles(aws: EmbeddedAws) -> None:
    iam: Any = aws.session().client("iam")
    may = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    for name in ("listed-a", "listed-b", "listed-c"):
        make_role(aws, ACCOUNT, ANYBODY, may, name=name)
    iam.create_instance_profile(InstanceProfileName="listed-b", Path="/app/")
    iam.add_role_to_instance_profile(InstanceProfileName="listed-b", RoleName="listed-b")
    boundary = "arn:aws:iam::aws:policy/ReadOnlyAccess"
    iam.put_role_permissions_boundary(RoleName="listed-b", PermissionsBoundary=boundary)
    asked = iam.get_paginator("get_account_authorization_details").paginate(
        Filter=["Role"], PaginationConfig={"PageSize": 2}
    )
    pages = [page["RoleDetailList"] for page in asked]
    assert [len(page) for page in pages[:-1]] == [2] * (len(pages) - 1)
    found = {role["RoleName"]: role for page in pages for role in page}
    assert {"listed-a", "listed-b", "listed-c"} <= found.keys()
    role, alone = found["listed-b"], iam.get_role(RoleName="listed-b")["Role"]
    assert all(role[name] == alone[name] for name in ("Arn", "Path", "CreateDate", "AssumeRolePolicyDocument"))
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary
    assert [each["PolicyDocument"]["Statement"] for each in role["RolePolicyList"]] == [[may]]
    profile = iam.get_instance_profile(InstanceProfileName="listed-b")["InstanceProfile"]
    assert [each["InstanceProfileId"] for each in role["InstanceProfileList"]] == [profile["InstanceProfileId"]]
    assert "PermissionsBoundary" not in found["listed-a"]
    assert found["listed-a"]["InstanceProfileList"] == []

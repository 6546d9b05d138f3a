"""IAM's answers as values, and its refusals as what to do about them."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from operator import methodcaller
from typing import Any

import boto3
import pytest
from botocore import xform_name
from botocore.stub import Stubber
from moto.iam.models import iam_backends

from fakes.ec2 import client_error
from fixtures.account import ACCOUNT, PATH
from fixtures.mappings import Desk
from rolekeeper.aws.errors import AccessDeniedError, RetryableError
from rolekeeper.aws.iam import Document, Iam, Role
from support.grants import allow, policy


class Refuses:
    """An IAM client that refuses one operation with a code, or all, and hands all else to another client."""

    def __init__(self, code: str, operation: str = "", client: Any = None) -> None:
        self._client, self._code, self._operation = client, code, operation

    def __getattr__(self, name: str) -> Any:
        if self._operation in ("", name):
            return self._refuse
        return getattr(self._client, name)

    def get_paginator(self, operation: str) -> Any:
        """Refuse to page as well."""
        if operation == self._operation:
            self._refuse()
        return self._client.get_paginator(operation)

    def _refuse(self, **_: Any) -> Any:
        raise client_error(self._code, "no")


def iam(code: str) -> Iam:
    return Iam(Refuses(code), ACCOUNT)  # type: ignore[arg-type]  # shaped like a client


CREATE = methodcaller("create_profile", "web", PATH)
ADD = methodcaller("add_role", "web", PATH, "web")


@pytest.mark.parametrize(
    ("code", "call"),
    [
        *(("EntityAlreadyExists", CREATE), ("Throttling", CREATE)),  # another actor made it meanwhile
        *(("LimitExceeded", ADD), ("NoSuchEntity", ADD)),  # it is full, or not visible yet
    ],
)
def test_a_profile_that_changes_while_it_is_made_is_looked_at_again(code: str, call: Callable[[Iam], object]) -> None:
    with pytest.raises(RetryableError):
        call(iam(code))


pytestmark = pytest.mark.desk(roles=["web"])


@pytest.fixture(autouse=True)
def policies(desk: Desk) -> None:
    """The role has a managed policy of two versions, one inline, and a boundary."""
    for name in ("ssm", "limit"):
        desk.iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(policy(allow(f"{name}:Old"))))
        desk.iam.create_policy_version(
            PolicyArn=managed(name), PolicyDocument=json.dumps(policy(allow(f"{name}:*"))), SetAsDefault=True
        )
    desk.iam.attach_role_policy(RoleName="web", PolicyArn=managed("ssm"))
    desk.iam.put_role_policy(
        RoleName="web", PolicyName="mine", PolicyDocument=json.dumps(policy(allow("s3:*", "arn:aws:s3:::é/*")))
    )
    desk.iam.put_role_permissions_boundary(RoleName="web", PermissionsBoundary=managed("limit"))


def managed(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:policy/{name}"


WEB = Role("web", f"arn:aws:iam::{ACCOUNT}:role{PATH}web", PATH, {}, managed("limit"))


def test_a_role_says_when_it_was_made_and_last_used(desk: Desk) -> None:
    read = Iam(desk.iam, ACCOUNT).get_role("web")
    assert read
    assert (read.created, read.last_used) == (desk.iam.get_role(RoleName="web")["Role"]["CreateDate"], None)
    desk.role("used")
    used = datetime(2026, 2, 1, 8, tzinfo=UTC)
    iam_backends[ACCOUNT]["aws"].get_role("used").last_used = used
    read = Iam(desk.iam, ACCOUNT).get_role("used")
    assert read
    assert read.last_used == used


def test_every_page_of_policies_is_read() -> None:
    client = boto3.client("iam", region_name="us-east-1")
    with Stubber(client) as answers:  # moto has no pages here
        for names, more in ((["one"], {"IsTruncated": True, "Marker": "next"}), (["two"], {"IsTruncated": False})):
            attached = [{"PolicyName": name, "PolicyArn": managed(name)} for name in names]
            answers.add_response("list_attached_role_policies", {"AttachedPolicies": attached, **more})
        for names, more in ((["a"], {"IsTruncated": True, "Marker": "next"}), (["b"], {"IsTruncated": False})):
            answers.add_response("list_role_policies", {"PolicyNames": names, **more})
        for name in ("a", "b"):
            document = json.dumps(policy(allow(f"{name}:*")))
            answers.add_response("get_role_policy", {"RoleName": "web", "PolicyName": name, "PolicyDocument": document})
        known: dict[str, Document] = {managed(name): policy(allow(f"{name}:*")) for name in ("one", "two")}
        read = Iam(client, ACCOUNT, managed=known).policies(replace(WEB, boundary_arn=""))
        answers.assert_no_pending_responses()
    assert read.documents[2:] == (policy(allow("one:*")), policy(allow("two:*")))


@pytest.mark.parametrize(
    "action", ["ListRolePolicies", "GetRolePolicy", "ListAttachedRolePolicies", "GetPolicy", "GetPolicyVersion"]
)
def test_each_read_of_policies_names_its_permission_and_is_retried_if_its_policy_goes_meanwhile(
    desk: Desk, action: str
) -> None:
    resource = WEB.arn if "Role" in action else managed("ssm")
    for code, kind in (("AccessDenied", AccessDeniedError), ("NoSuchEntity", RetryableError)):
        client: Any = Refuses(code, xform_name(action), desk.iam)
        with pytest.raises(kind) as refused:
            Iam(client, ACCOUNT, managed={managed("limit"): {}}).policies(WEB)
        assert (refused.value.action, refused.value.resource) == (f"iam:{action}", resource)


def test_a_policy_that_cannot_be_decoded_says_nothing(desk: Desk) -> None:
    class Garbled(Refuses):
        def get_role_policy(self, **asked: Any) -> Any:
            return {**desk.iam.get_role_policy(**asked), "PolicyDocument": "{not json"}

    client: Any = Garbled("", "none", desk.iam)
    read = Iam(client, ACCOUNT).policies(WEB)
    assert read.documents == ({}, policy(allow("ssm:*")))

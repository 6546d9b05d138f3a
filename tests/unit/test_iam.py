"""IAM's answers as values, and its refusals as what to do about them."""

from typing import Any

import pytest

from rolekeeper.errors import DeniedError, RetryableError
from rolekeeper.iam import Iam
from support.fake_ec2 import client_error


class Refusing:
    """An IAM client whose every call is refused with one code."""

    def __init__(self, code: str) -> None:
        self._error = client_error(code, "no")

    def __getattr__(self, name: str) -> Any:
        def call(**_: Any) -> Any:
            raise self._error

        return call


def iam(code: str) -> Iam:
    return Iam(Refusing(code), "123456789012", "/rolekeeper/")  # type: ignore[arg-type]  # shaped like a client


def test_what_is_not_there_is_none() -> None:
    assert iam("NoSuchEntity").get_role("web") is None
    assert iam("NoSuchEntity").get_instance_profile("web") is None
    assert not iam("NoSuchEntity").may_pass("arn:aws:iam::123456789012:instance-profile/rolekeeper/web")


def test_a_missing_permission_names_the_action_and_the_resource() -> None:
    with pytest.raises(DeniedError) as denied:
        iam("AccessDenied").get_role("web")
    assert denied.value.action == "iam:GetRole"
    assert denied.value.resource == "arn:aws:iam::123456789012:role/web"


@pytest.mark.parametrize("code", ["EntityAlreadyExists", "Throttling"])
def test_a_profile_that_somebody_else_made_meanwhile_is_looked_at_again(code: str) -> None:
    with pytest.raises(RetryableError):
        iam(code).create_profile("web", "/rolekeeper/")


@pytest.mark.parametrize("code", ["LimitExceeded", "NoSuchEntity"])
def test_a_profile_that_is_full_or_not_yet_visible_is_looked_at_again(code: str) -> None:
    with pytest.raises(RetryableError):
        iam(code).add_role("web", "/rolekeeper/", "web")

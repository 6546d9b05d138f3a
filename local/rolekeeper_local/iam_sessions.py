"""Sessions of a role end with it: a role that is made anew under its name is another one.

What is refused then is the token itself (seen on AWS by users of its SDK: aws/aws-sdk-java-v2 #5545), as IAM tells
roles apart by their ids (IAM user guide, "IAM identifiers"). ministack goes by the name.
"""
# ruff: noqa: SLF001 - ministack has no public API inside its process; the release is pinned

from collections.abc import Callable
from typing import Any

from ministack.core import iam_evaluator  # type: ignore[import-not-found]
from ministack.services import iam, sts  # type: ignore[import-not-found]

#: How a role's id begins (IAM user guide, "Understanding unique ID prefixes").
_ROLE = "AROA"


def install() -> None:
    """Correct this process; call once, before the first request."""
    resolve = _of_a_living_role(iam_evaluator.resolve_credential)
    for module in (iam_evaluator, sts):
        module.resolve_credential = resolve


def _of_a_living_role(original: Callable[..., Any]) -> Callable[..., Any]:
    def resolve_credential(*arguments: Any, **named: Any) -> Any:
        credential = original(*arguments, **named)
        if getattr(credential, "principal_type", "") != "AssumedRole":
            return credential
        role_id = credential.principal_id.partition(":")[0]
        name = iam_evaluator._role_name_from_assumed_arn(credential.principal_arn)
        role = iam._roles.get_scoped(credential.account_id, None, name) or {}
        if role_id.startswith(_ROLE) and role.get("RoleId") != role_id:
            return iam_evaluator._unknown_access_key()
        return credential

    return resolve_credential

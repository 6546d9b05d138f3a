"""Who a role trusts: a principal is named exactly, exists when it is named, and a service is nobody's root.

A part of a name or ARN can't be a wildcard, and the ARN of a role or user means the one that has it when the policy is
saved (IAM user guide, "AWS JSON policy elements: Principal"). A missing one is refused with "Invalid principal in
policy" (an article by a user who tried each kind, Classmethod, 2022-12-30). ministack compares a role's name without
its path, takes wildcards and any ARN, and lets every account's root pass for any service; in the role's own account it
still may, as the administrator plays the services.

On AWS a recreated role is another one, which older policies don't mean; here it is the same. But the sessions of the
former end: their tokens are refused (aws/aws-sdk-java-v2 #5545), as IAM tells roles apart by their ids (IAM user guide,
"IAM identifiers"). ministack goes by the name.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from ministack.core import iam_evaluator
from ministack.services import iam, sts

from rolekeeper_local.corrections import correct

_ENTITY = re.compile(r"arn:aws:iam::(\d{12}):(role|user)/(?:.*/)?([^/]+)")
#: How a role's id begins (IAM user guide, "Understanding unique ID prefixes").
_ROLE_ID = "AROA"


def install() -> None:
    correct(_principal_matches, "_principal_matches", iam_evaluator)
    correct(_evaluate_trust_policy, "evaluate_trust_policy", iam_evaluator)
    correct(_principal_error, "_trust_policy_not_principal_error", iam)
    correct(_resolve_credential, "resolve_credential", iam_evaluator, sts)


def role_of(arn: str) -> dict[str, Any] | None:
    """The role that has exactly this ARN, in whatever account."""
    found = _ENTITY.fullmatch(arn)
    role: dict[str, Any] | None = found and iam._roles.get_scoped(found[1], None, found[3])
    return role if role and role["Arn"] == arn else None


def trusts_service(role: dict[str, Any], service: str) -> bool:
    """Whether a role lets a service assume it; conditions aren't asked."""
    return any(
        each.get("Effect") == "Allow" and iam_evaluator._service_principal_matches(each.get("Principal"), service)
        for each in _statements(role["AssumeRolePolicyDocument"])
    )


def _resolve_credential(original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    credential = original(*arguments, **named)
    if getattr(credential, "principal_type", "") != "AssumedRole":
        return credential
    role_id = credential.principal_id.partition(":")[0]
    name = iam_evaluator._role_name_from_assumed_arn(credential.principal_arn)
    role = iam._roles.get_scoped(credential.account_id, None, name) or {}
    if role_id.startswith(_ROLE_ID) and role.get("RoleId") != role_id:
        return iam_evaluator._unknown_access_key()
    return credential


def _principal_matches(original: Callable[[Any, str], bool], principal: Any, caller_arn: str) -> bool:
    if isinstance(principal, dict) and "AWS" in principal:
        principal = {**principal, "AWS": [each for each in _names(principal) if _means_one(each)]}
    return original(principal, caller_arn)


def _evaluate_trust_policy(original: Callable[..., bool], document: Any, caller_arn: str, context: Any = None) -> bool:
    if context is None or context.action == "sts:AssumeRoleWithWebIdentity":
        return original(document, caller_arn, context)
    role = role_of(context.resource_arn)
    if role is None:
        return False
    account = role["Arn"].split(":")[4]
    if context.principal_account != account:
        document = {"Statement": [_without_services(each) for each in _statements(document)]}
    elif context.principal_type == "Root":
        # As the service of this account's functions, which it plays.
        context = replace(context, service_context={**context.service_context, "aws:sourceaccount": account})
    return original(document, caller_arn, context)


def _principal_error(original: Callable[[Any], str | None], document: Any) -> str | None:
    if refused := original(document):
        return refused
    for statement in _statements(document):
        for name in _names(statement.get("Principal")):
            if not _means_one(name) or not _exists(name):
                return f'Invalid principal in policy: "AWS":"{name}"'
    return None


def _statements(document: Any) -> list[dict[str, Any]]:
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError:
            return []
    found = document.get("Statement", []) if isinstance(document, dict) else []
    return found if isinstance(found, list) else [found]


def _names(principal: Any) -> Iterator[str]:
    names = principal.get("AWS", []) if isinstance(principal, dict) else []
    yield from [names] if isinstance(names, str) else names


def _means_one(name: str) -> bool:
    return name == "*" or not ("*" in name or "?" in name or (":role/" in name and role_of(name) is None))


def _exists(name: str) -> bool:
    found = _ENTITY.fullmatch(name)
    if found is None or found[2] == "role":
        return True
    user = iam._users.get_scoped(found[1], None, found[3])
    return bool(user) and user["Arn"] == name


def _without_services(statement: dict[str, Any]) -> dict[str, Any]:
    principal = statement.get("Principal")
    if not isinstance(principal, dict):
        return statement
    return {**statement, "Principal": {kind: names for kind, names in principal.items() if kind != "Service"}}

"""AWS Organizations: the embedded accounts are one organization; any other account is a stranger.

ministack gives each account that asks an organization of its own. Here there is one, with a fixed id and 000000000000
as its management account. Each account of it may ask what the organization is; what is in it is the management
account's to see (Organizations API reference, "API operations by account"). `aws:PrincipalOrgID` is known of its
accounts' callers only, and `aws:ResourceOrgID` of what its accounts own (IAM user guide, "AWS global condition context
keys"); ministack doesn't know the latter.
"""
# ruff: noqa: SLF001 - see `corrections`

import json
from collections.abc import Awaitable, Callable
from typing import Any

from ministack.core import iam_evaluator  # type: ignore[import-not-found]
from ministack.core.responses import (  # type: ignore[import-not-found]
    error_response_json,
    get_account_id,
    get_region,
    request_scope,
)
from ministack.services import organizations  # type: ignore[import-not-found]

from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_wire import Response
from rolekeeper_local.settings import ACCOUNTS, ORGANIZATION

MANAGEMENT = ACCOUNTS[0]
_STORES = (organizations._orgs, organizations._roots, organizations._accounts)
#: What a member may ask; the rest is the management account's (a delegated administrator isn't known here).
_ANYBODYS = "DescribeOrganization"


def install() -> None:
    correct(_ensure_org, "_ensure_org", organizations)
    correct(_handle_request, "handle_request", organizations)
    iam_evaluator._principal_org_id = organization_of
    correct(_resolve_condition_key, "_resolve_condition_key", iam_evaluator)


def organization_of(account: str) -> str | None:
    """The organization that an account is in, as `aws:PrincipalOrgID` has it."""
    return ORGANIZATION if account in ACCOUNTS else None


def _resolve_condition_key(original: Callable[[str, Any], Any], key: str, context: Any) -> Any:
    if key.lower() == "aws:resourceorgid":
        return organization_of(original("aws:ResourceAccount", context))
    return original(key, context)


def _ensure_org(original: Callable[[], None]) -> None:
    """Make ministack's organization ours when it makes it: our id, and the other members beside the first."""
    if "self" in organizations._orgs:
        return
    original()
    made = organizations._orgs["self"]["Id"]
    for store in _STORES:
        for key, record in store.items():
            store[key] = json.loads(json.dumps(record).replace(made, ORGANIZATION))
    first = organizations._accounts[MANAGEMENT]
    for number, account in enumerate(ACCOUNTS[1:], 1):
        organizations._accounts[account] = {
            **first,
            "Id": account,
            "Arn": first["Arn"].removesuffix(MANAGEMENT) + account,
            "Email": first["Email"].replace(MANAGEMENT, account),
            "Name": f"Member Account {number}",
        }


async def _handle_request(
    original: Callable[..., Awaitable[Response]], method: str, path: str, headers: dict[str, str], *rest: Any
) -> Response:
    account = get_account_id()
    if account not in ACCOUNTS:
        return _refusal("AWSOrganizationsNotInUseException", "Your account is not a member of an organization.")
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    if account != MANAGEMENT and operation != _ANYBODYS:
        return _refusal("AccessDeniedException", "You don't have permissions to access this resource.")
    with request_scope(MANAGEMENT, get_region()):
        return await original(method, path, headers, *rest)


def _refusal(code: str, message: str) -> Response:
    refused: Response = error_response_json(code, message, 400)
    return refused

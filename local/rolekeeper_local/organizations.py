"""AWS Organizations: the embedded accounts are one organization; any other account is a stranger.

ministack gives each account that asks an organization of its own. Here there is one, with a fixed id and 000000000000
as its management account, and each account of it may ask for it. `aws:PrincipalOrgID` is known of its accounts'
callers only, and `aws:ResourceOrgID` of what its accounts own (IAM user guide, "AWS global condition context keys");
ministack doesn't know the latter.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import error_response_json, get_account_id, get_region, request_scope
from ministack.services import organizations

from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_wire import Response
from rolekeeper_local.settings import ACCOUNTS, ORGANIZATION


def install() -> None:
    correct(_handle_request, "handle_request", organizations)
    organizations._DISPATCH["DescribeEffectivePolicy"] = _no_effective_policy
    iam_evaluator._principal_org_id = organization_of
    correct(_resolve_condition_key, "_resolve_condition_key", iam_evaluator)


def organization_of(account: str) -> str | None:
    """The organization that an account is in, as `aws:PrincipalOrgID` has it."""
    return ORGANIZATION if account in ACCOUNTS else None


def _resolve_condition_key(original: Callable[[str, Any], Any], key: str, context: Any) -> Any:
    if key.lower() == "aws:resourceorgid":
        return organization_of(original("aws:ResourceAccount", context))
    return original(key, context)


def _no_effective_policy(_asked: Any) -> Response:
    """Nobody attaches a policy to this organization; ministack doesn't know the call."""
    refused: Response = error_response_json("EffectivePolicyNotFoundException", "There is no effective policy.", 400)
    return refused


async def _handle_request(original: Callable[..., Awaitable[Response]], *request: Any) -> Response:
    if get_account_id() not in ACCOUNTS:
        text = "Your account is not a member of an organization."
        refused: Response = error_response_json("AWSOrganizationsNotInUseException", text, 400)
        return refused
    with request_scope(ACCOUNTS[0], get_region()):
        status, headers, body = await original(*request)
        made = str(organizations._orgs.get("self", {"Id": ORGANIZATION})["Id"])  # made when it is first asked for
    return status, headers, body.replace(made.encode(), ORGANIZATION.encode())

"""AWS Organizations: the embedded accounts are one organization; any other account is a stranger.

ministack gives each account that asks an organization of its own. Here there is one, with a fixed id and 000000000000
as its management account, and each account of it may ask for it. `aws:PrincipalOrgID` is known of its accounts'
callers only, and `aws:ResourceOrgID` of what its accounts own (IAM user guide, "AWS global condition context keys");
ministack doesn't know the latter. Its accounts are listed for the management account alone, in pages of at most 20
(Organizations API reference, "ListAccounts").
"""

from collections.abc import Awaitable, Callable
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import error_response_json, get_account_id, get_region, json_response, request_scope
from ministack.services import organizations

from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_wire import Response
from rolekeeper_local.settings import ACCOUNTS, ORGANIZATION

_LISTED = 20


def install() -> None:
    correct(_handle_request, "handle_request", organizations)
    organizations._DISPATCH["DescribeEffectivePolicy"] = _no_effective_policy
    organizations._DISPATCH["ListAccounts"] = _list_accounts
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
    return _refused("EffectivePolicyNotFoundException", "There is no effective policy.")


def _refused(code: str, text: str) -> Response:
    refused: Response = error_response_json(code, text, 400)
    return refused


def _list_accounts(asked: dict[str, Any]) -> Response:
    first = int(asked.get("NextToken") or 0)
    last = first + min(int(asked.get("MaxResults") or _LISTED), _LISTED)
    page = [{"Id": each, "Name": f"Embedded {each}", "State": "ACTIVE"} for each in ACCOUNTS[first:last]]
    answer: Response = json_response({"Accounts": page, **({"NextToken": str(last)} if last < len(ACCOUNTS) else {})})
    return answer


async def _handle_request(original: Callable[..., Awaitable[Response]], *request: Any) -> Response:
    if get_account_id() not in ACCOUNTS:
        return _refused("AWSOrganizationsNotInUseException", "Your account is not a member of an organization.")
    target = next((text for name, text in request[2].items() if name.lower() == "x-amz-target"), "")
    if target.endswith(".ListAccounts") and get_account_id() != ACCOUNTS[0]:
        return _refused("AccessDeniedException", "You don't have permissions to access this resource.")
    with request_scope(ACCOUNTS[0], get_region()):
        status, headers, body = await original(*request)
        made = str(organizations._orgs.get("self", {"Id": ORGANIZATION})["Id"])  # made when it is first asked for
    return status, headers, body.replace(made.encode(), ORGANIZATION.encode())

"""Who may send to an event bus: a caller of another account, and a rule with its role.

Across accounts the sender's own policy and the bus's both have to allow `events:PutEvents`; in the bus's own account
one of them is enough (EventBridge user guide, "Permissions for event buses in Amazon EventBridge"; IAM user guide,
"Cross-account policy evaluation logic"). ministack asks no bus.
"""
# ruff: noqa: SLF001 - see `corrections`

from collections.abc import Callable, Mapping
from typing import Any

from ministack.core import iam_actions, iam_evaluator  # type: ignore[import-not-found]
from ministack.core.arn import Arn  # type: ignore[import-not-found]
from ministack.core.responses import get_account_id, get_region  # type: ignore[import-not-found]
from ministack.services import eventbridge, iam  # type: ignore[import-not-found]

from rolekeeper_local import bus_policies
from rolekeeper_local.corrections import correct
from rolekeeper_local.iam_trust import role_of

SENDING = "events:PutEvents"
_SERVICE = "events.amazonaws.com"


def install() -> None:
    """Correct this process, after the other corrections of IAM."""
    eventbridge.bus_policy_for_arn = bus_policies.policy_of
    iam_evaluator._RESOURCE_POLICY_LOOKUPS["events"] = ("eventbridge", "bus_policy_for_arn")
    check = _BusCheck()
    correct(check.combine, "combine_resource_policy", iam_evaluator)
    correct(check.enforce, "enforce", iam_evaluator)
    correct(check.access_denied_response, "access_denied_response", iam_actions)


def refusal(role_arn: str, rule_arn: str, event: Mapping[str, Any], bus: Arn) -> str:
    """Why a rule may not send an event to a bus with this role; empty if it may.

    The caller is a session of the role; `aws:SourceArn` is the rule (EventBridge user guide, "Example policy: Send
    events from specific rules to a bus in a different Region").
    """
    account, role = rule_arn.split(":")[4], role_of(role_arn)
    if role is None or role_arn.split(":")[4] != account:
        return f"{role_arn or 'no role'} is no role of {account}"
    keys = {
        "aws:sourcearn": rule_arn,
        "aws:sourceaccount": account,
        "events:source": event["Source"],
        "events:detail-type": event["DetailType"],
    }
    if not _trusts_events(role, keys):
        return f"{role_arn} doesn't trust {_SERVICE}"
    session = f"arn:aws:sts::{account}:assumed-role/{role['RoleName']}/events"
    caller = iam_evaluator.EvalContext(
        principal_arn=session,
        principal_type="AssumedRole",
        principal_account=account,
        action=SENDING,
        resource_arn=str(bus),
        region=bus.region,
        service_context=keys,
        principal_keys={"aws:userid": f"{role['RoleId']}:events"},
    )
    limits = iam_evaluator._permissions_boundary(iam._roles, role["RoleName"], account)
    own = iam_evaluator.evaluate(caller, iam_evaluator._gather_role_policies(role["RoleName"], account), *limits)
    policy, owner = bus_policies.policy_of(str(bus)) or (None, bus.account_id)
    result = iam_evaluator.combine_resource_policy(own, caller, policy, owner_account=owner, limits=limits)
    if result.decision == "Allow":
        return ""
    whose = "the bus's policy" if own.decision == "Allow" else "its own policy"
    return f"{session} isn't allowed {SENDING} by {whose}"


def _trusts_events(role: dict[str, Any], keys: dict[str, str]) -> bool:
    context = iam_evaluator.EvalContext(
        principal_arn=_SERVICE,
        principal_type="AWSService",
        principal_account="",
        action="sts:AssumeRole",
        resource_arn=role["Arn"],
        region=get_region(),
        service_context=keys,
    )
    trust = role["AssumeRolePolicyDocument"]
    return bool(iam_evaluator.evaluate_resource_policy(trust, context, service=_SERVICE).decision == "Allow")


class _BusCheck:
    """The check of a bus's policy where ministack's has none, and its answer, which names that policy."""

    def __init__(self) -> None:
        self._refused_by_bus = False

    def combine(self, original: Callable[..., Any], identity: Any, context: Any, *rest: Any, **named: Any) -> Any:
        """Note when a caller's own policy would allow it, and the bus's doesn't."""
        result = original(identity, context, *rest, **named)
        if context.action == SENDING and identity.decision == "Allow" and result.decision == "ImplicitDeny":
            self._refused_by_bus = True
        return result

    def enforce(self, original: Callable[..., Any], *request: str, **named: Any) -> Any:
        """Ask the bus for the root of another account too, whom ministack lets do everything everywhere."""
        access_key_id, iam_action, _service, region = request
        self._refused_by_bus = False
        refused = original(*request, **named)
        resource, account = named.get("resource_arn", "*"), get_account_id()
        found = bus_policies.policy_of(resource) if refused is None and iam_action == SENDING else None
        if found is None or found[1] == account:
            return refused
        caller = iam_evaluator.resolve_principal(access_key_id or "", account)
        if caller.policies is not None:
            return None
        given = named.get("service_context") or {}
        context = iam_evaluator.EvalContext(
            principal_arn=caller.arn,
            principal_type=caller.type,
            principal_account=caller.account,
            action=iam_action,
            resource_arn=resource,
            region=region,
            service_context={key.lower(): value for key, value in given.items()},
            principal_keys=caller.keys,
        )
        own = iam_evaluator.EvalResult("Allow", caller.arn)
        result = iam_evaluator.combine_resource_policy(own, context, *found)
        result.principal_arn = caller.arn
        return None if result.decision == "Allow" else result

    def access_denied_response(
        self, original: Callable[..., Any], service: str, action: str, principal_arn: str, *rest: Any, **named: Any
    ) -> Any:
        """Say in AWS's words that the bus refused (IAM user guide, "Troubleshoot access denied error messages")."""
        if self._refused_by_bus and action == SENDING:
            self._refused_by_bus = False
            named["message"] = (
                f"User: {principal_arn} is not authorized to perform: {action} on resource: "
                f"{named['resource_arn']} because no resource-based policy allows the {action} action"
            )
        return original(service, action, principal_arn, *rest, **named)

"""Event buses between accounts and Regions: who may send to one, and what arrives there.

- A bus has a policy (EventBridge API reference, "PutPermission": here a whole `Policy`), or a statement of a stack's
  `AWS::Events::EventBusPolicy`, which ministack doesn't know.
- Across accounts the sender's own policy and the bus's both have to allow `events:PutEvents`; in the bus's own account
  one of them is enough (EventBridge user guide, "Permissions for event buses in Amazon EventBridge"; IAM user guide,
  "Cross-account policy evaluation logic"). ministack asks no bus.
- PutEvents takes a bus's ARN, and a rule's target may be a bus of another account or Region. `account` stays the
  sender's; an event from another bus isn't sent on to a third one, so none goes round in circles (EventBridge user
  guide, "Sending and receiving events between AWS accounts"). `region` stays the sender's too, and so does the event's
  id within a Region (seen on AWS by LocalStack, localstack #11027). ministack knows only the buses of the current
  account and Region.
- PutTargets refuses a role that EventBridge can't assume (AWS_FACTS.md, Many accounts); ministack takes any.

An event that may not be sent is dropped, with a line in the log; dead-letter queues of targets aren't filled.
"""

import json
import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.core.arn import Arn, ArnParseError, parse_arn
from ministack.core.responses import (
    error_response_json,
    get_account_id,
    get_region,
    json_response,
    new_uuid,
    request_scope,
)
from ministack.services import eventbridge, iam
from ministack.services.cloudformation import provisioners

from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_wire import Response
from rolekeeper_local.service_roles import assumable

type Event = dict[str, Any]
type Policy = dict[str, Any]

SENDING = "events:PutEvents"
_SERVICE = "events.amazonaws.com"
#: EventBridge API reference, "PutPermission": a bus's policy can't exceed 10 KB.
_LONGEST = 10_240
_BUS = "event-bus/"
_MOST_ENTRIES = 10
#: The role of the target that is being invoked: ministack doesn't hand it on.
_role: ContextVar[str] = ContextVar("rolekeeper_local_target_role", default="")

logger = logging.getLogger(__name__)


def install() -> None:
    """Correct this process, after the other corrections of IAM, and before PutEvents is limited."""
    eventbridge._put_permission = _put_permission
    correct(_delete_event_bus, "_delete_event_bus", eventbridge)
    provisioners._RESOURCE_HANDLERS["AWS::Events::EventBusPolicy"] = {
        "create": _create_statement,
        "update": _update_statement,
        "delete": _delete_statement,
    }
    eventbridge.bus_policy_for_arn = policy_of
    iam_evaluator._RESOURCE_POLICY_LOOKUPS["events"] = ("eventbridge", "bus_policy_for_arn")
    check = _BusCheck()
    correct(check.combine, "combine_resource_policy", iam_evaluator)
    correct(check.enforce, "enforce", iam_evaluator)
    correct(check.access_denied_response, "access_denied_response", iam_actions)
    correct(_put_events, "_put_events", eventbridge)
    correct(_put_targets, "_put_targets", eventbridge)
    correct(_invoke_target, "_invoke_target", eventbridge)
    correct(_dispatch, "_dispatch_to_event_bus", eventbridge)


# ---- a bus's policy ----


def bus_of(arn: str) -> Arn | None:
    """The parts of an event bus's ARN; None if it is none."""
    try:
        parsed = parse_arn(arn)
    except ArnParseError:
        return None
    return parsed if parsed.service == "events" and parsed.resource.startswith(_BUS) else None


def name_of(bus: Arn) -> str:
    return str(bus.resource).removeprefix(_BUS)


def policy_of(arn: str) -> tuple[Policy | None, str] | None:
    """A bus's policy, if it has one, and whose it is; None for an ARN of something else."""
    if (bus := bus_of(arn)) is None:
        return None
    policy = eventbridge._event_bus_policies.get_scoped(bus.account_id, bus.region, name_of(bus))
    return policy, str(bus.account_id)


def _put_permission(asked: dict[str, Any]) -> Response:
    try:
        _put_policy(asked.get("EventBusName", "default"), json.loads(asked.get("Policy", "")))
    except LookupError as error:
        code, message = "ResourceNotFoundException", str(error)
    except json.JSONDecodeError:
        code, message = "ValidationException", "Here a bus takes a whole Policy only, as valid JSON."
    except ValueError as error:
        code, message = "PolicyLengthExceededException", str(error)
    else:
        answer: Response = json_response({})
        return answer
    refused: Response = error_response_json(code, message, 400)
    return refused


def _delete_event_bus(original: Callable[..., Response], asked: dict[str, Any]) -> Response:
    answer = original(asked)
    if asked.get("Name") not in eventbridge._event_buses:
        eventbridge._event_bus_policies.pop(asked.get("Name"), None)
    return answer


def _create_statement(_logical_id: str, props: dict[str, Any], _stack: str) -> tuple[str, dict[str, Any]]:
    name, sid = props.get("EventBusName", "default"), props["StatementId"]
    _set_statements(name, sid, {**props["Statement"], "Sid": sid})
    return f"{name}|{sid}", {}


def _update_statement(
    physical_id: str, _old: dict[str, Any], new: dict[str, Any], stack: str
) -> tuple[str, dict[str, Any]]:
    made = _create_statement("", new, stack)
    if made[0] != physical_id:
        _delete_statement(physical_id, {})
    return made


def _delete_statement(physical_id: str, _props: dict[str, Any]) -> None:
    name, _, sid = physical_id.partition("|")
    if name in eventbridge._event_buses:
        _set_statements(name, sid)


def _set_statements(name: str, sid: str, *statements: dict[str, Any]) -> None:
    """Put these in the place of the statement with this Sid."""
    former = (eventbridge._event_bus_policies.get(name) or {}).get("Statement", [])
    kept = [*(each for each in former if each.get("Sid") != sid), *statements]
    _put_policy(name, {"Version": "2012-10-17", "Statement": kept} if kept else None)


def _put_policy(name: str, policy: Policy | None) -> None:
    """Set or remove a bus's policy; LookupError if there is no such bus, ValueError if the policy is too long."""
    eventbridge._ensure_default_bus()
    if name not in eventbridge._event_buses:
        raise LookupError(f"Event bus {name} does not exist.")
    if policy is None:
        eventbridge._event_bus_policies.pop(name, None)
    elif len(json.dumps(policy)) > _LONGEST:
        raise ValueError("The size of the policy exceeds the limit of 10 KB.")
    else:
        eventbridge._event_bus_policies[name] = policy


# ---- who may send ----


def _may_not(role_arn: str, rule_arn: str, event: Mapping[str, Any], bus: Arn) -> str:
    """Why a rule may not send an event to a bus with this role; empty if it may.

    The caller is a session of the role; `aws:SourceArn` is the rule (EventBridge user guide, "Example policy: Send
    events from specific rules to a bus in a different Region").
    """
    account = rule_arn.split(":")[4]
    keys = {
        "aws:sourcearn": rule_arn,
        "aws:sourceaccount": account,
        "events:source": event["Source"],
        "events:detail-type": event["DetailType"],
    }
    if (role := assumable(role_arn, _SERVICE, rule_arn)) is None:
        return f"{role_arn or 'no role'} cannot be assumed for {rule_arn}"
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
    policy, owner = policy_of(str(bus)) or (None, bus.account_id)
    result = iam_evaluator.combine_resource_policy(own, caller, policy, owner_account=owner, limits=limits)
    if result.decision == "Allow":
        return ""
    whose = "the bus's policy" if own.decision == "Allow" else "its own policy"
    return f"{session} isn't allowed {SENDING} by {whose}"


def _put_targets(original: Callable[..., Response], asked: dict[str, Any]) -> Response:
    key = eventbridge._rule_key(asked.get("Rule"), asked.get("EventBusName", "default"))
    rule = eventbridge._rules.get(key)
    for role in (each["RoleArn"] for each in asked.get("Targets", []) if each.get("RoleArn")):
        if rule is None or assumable(role, _SERVICE, rule["Arn"]) is None:
            text = f"Provided role '{role}' cannot be assumed by principal '{_SERVICE}'."
            refused: Response = error_response_json("ValidationException", text, 400)
            return refused
    return original(asked)


class _BusCheck:
    """The check of a bus's policy, which ministack lacks, and the error that names the policy."""

    def __init__(self) -> None:
        self._refused_by_bus = False

    def combine(self, original: Callable[..., Any], identity: Any, context: Any, *rest: Any, **named: Any) -> Any:
        """Note that the caller's own policy allows the call, and the bus's doesn't."""
        result = original(identity, context, *rest, **named)
        if context.action == SENDING and identity.decision == "Allow" and result.decision == "ImplicitDeny":
            self._refused_by_bus = True
        return result

    def enforce(self, original: Callable[..., Any], *request: str, **named: Any) -> Any:
        self._refused_by_bus = False
        return original(*request, **named)

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


# ---- what arrives ----


def _put_events(original: Callable[..., Response], asked: dict[str, Any], *arguments: Any, **named: Any) -> Response:
    """PutEvents, also to buses of other accounts in this Region; permissions were checked before."""
    entries = asked.get("Entries", [])
    buses = [_elsewhere(entry) for entry in entries]
    if not any(buses) or len(entries) > _MOST_ENTRIES:
        return original(asked, *arguments, **named)
    answers = []
    for entry, bus in zip(entries, buses, strict=True):
        if bus is None or str(entry.get("Source")).startswith("aws."):
            # ministack refuses AWS's own sources, and validates the rest.
            here = {key: value for key, value in entry.items() if bus is None or key != "EventBusName"}
            answers += json.loads(original({"Entries": [here]}, *arguments, **named)[2])["Entries"]
        else:
            event = _event(entry)
            _arrive(event, bus, "PutEvents")
            answers.append({"EventId": event["EventId"]})
    failed = sum("ErrorCode" in each for each in answers)
    answer: Response = json_response({"FailedEntryCount": failed, "Entries": answers})
    return answer


def _elsewhere(entry: dict[str, Any]) -> Arn | None:
    bus = bus_of(str(entry.get("EventBusName", "")))
    return bus if bus and bus.account_id != get_account_id() and bus.region == get_region() else None


def _event(entry: dict[str, Any]) -> Event:
    return {
        "EventId": new_uuid(),
        "Source": entry.get("Source", ""),
        "DetailType": entry.get("DetailType", ""),
        "Detail": entry.get("Detail", "{}"),
        "Time": int(eventbridge._now_ts()),
        "Resources": entry.get("Resources", []),
        "Account": get_account_id(),
        "Region": get_region(),
    }


def _invoke_target(original: Callable[..., None], target: dict[str, Any], *rest: Any) -> None:
    token = _role.set(target.get("RoleArn", ""))
    try:
        original(target, *rest)
    finally:
        _role.reset(token)


def _dispatch(  # noqa: PLR0913, PLR0917  # ministack's own, and its parameters
    original: Callable[..., None],
    bus: Arn,
    event: Event,
    rule: dict[str, Any],
    path: set[str],
    payload: str | None = None,
) -> None:
    here = (bus.account_id, bus.region) == (get_account_id(), get_region())
    role = _role.get()
    if path:
        logger.info("rule %s doesn't send on what came from another bus", rule["Arn"])
    elif (role or not here) and (reason := _may_not(role, rule["Arn"], event, bus=bus)):
        logger.warning("rule %s doesn't send to %s: %s", rule["Arn"], bus, reason)
    elif here:
        original(bus, event, rule, event_path=path, target_input_payload=payload)
    else:
        given = {} if payload is None else {"Detail": payload}
        anew = {} if bus.region == get_region() else {"EventId": new_uuid()}
        _arrive({**event, **given, **anew}, bus, rule["Arn"])


def _arrive(event: Event, bus: Arn, by: str) -> None:
    """Deliver an event to a bus of another account or Region; `by` marks it as received from another bus."""
    with request_scope(bus.account_id, bus.region):
        eventbridge._ensure_default_bus()
        name = name_of(bus)
        if name not in eventbridge._event_buses:
            logger.warning("there is no %s for an event by %s", bus, by)
            return
        arrived = {**event, "EventBusName": name}
        eventbridge._events_log_list().append(arrived)
        view = eventbridge._pattern_event_view(arrived)
        eventbridge._dispatch_event({**arrived, "_DispatchPath": [by]}, view)
        eventbridge._archive_event(arrived, view)

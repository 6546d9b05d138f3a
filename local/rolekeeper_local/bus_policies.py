"""The policies of event buses, as EventBridge keeps and shows them, and a bus by its ARN where it takes a name.

PutPermission's account and condition become a statement (EventBridge API reference, "PutPermission", "DescribeEventBus"
with an example of one); ministack keeps them in a form that is no policy. CloudFormation gives a bus a policy by
`Policy` of `AWS::Events::EventBus` or a statement by `AWS::Events::EventBusPolicy`, which ministack doesn't know. What
they let through is in ``bus_senders``.

The calls on rules, targets and the bus itself accept a bus's ARN too (EventBridge user guide, "Permissions for event
buses in Amazon EventBridge"). One of another Region is refused (users met it:
aws-samples/amazon-eventbridge-resource-policy-samples #10). A rule on another account's bus, which a policy can allow
on AWS, isn't known here: such a bus isn't found.
"""
# ruff: noqa: SLF001 - see `corrections`

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ministack.core.arn import Arn, ArnParseError, parse_arn  # type: ignore[import-not-found]
from ministack.core.responses import (  # type: ignore[import-not-found]
    error_response_json,
    get_account_id,
    get_region,
    json_response,
    new_uuid,
)
from ministack.services import eventbridge  # type: ignore[import-not-found]
from ministack.services.cloudformation import provisioners  # type: ignore[import-not-found]

from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_wire import Response

type Policy = dict[str, Any]
type Statement = dict[str, Any]
type Made = tuple[str, dict[str, Any]]

#: EventBridge API reference, "PutPermission": a bus's policy can't exceed 10 KB.
_LONGEST = 10_240
_BUS = "event-bus/"
#: Where a request names a bus. PutEvents does so in each entry, and has its own ways (``bus_forwarding``).
_FIELDS = ("EventBusName", "Name")


def install() -> None:
    eventbridge._put_permission, eventbridge._remove_permission = _put_permission, _remove_permission
    correct(_delete_event_bus, "_delete_event_bus", eventbridge)
    correct(_by_name, "handle_request", eventbridge)
    handlers = provisioners._RESOURCE_HANDLERS
    correct(_create_bus, "create", handlers["AWS::Events::EventBus"])
    correct(_update_bus, "update", handlers["AWS::Events::EventBus"])
    handlers["AWS::Events::EventBusPolicy"] = {
        "create": _create_statement,
        "update": _update_statement,
        "delete": _delete_statement,
    }


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


async def _by_name(
    handle: Callable[..., Awaitable[Response]],
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    *rest: Any,
) -> Response:
    try:
        asked = json.loads(body) if b":event-bus/" in body else {}
    except ValueError:
        return await handle(method, path, headers, body, *rest)
    named = [field for field in _FIELDS if field in asked]
    for field in named:
        bus = bus_of(str(asked.get(field, "")))
        if bus and bus.region != get_region():
            return _refusal("ValidationException", "Cross-region API call is not allowed.")
        if bus and bus.account_id == get_account_id():
            asked[field] = name_of(bus)
    return await handle(method, path, headers, json.dumps(asked).encode() if named else body, *rest)


# ---- EventBridge's calls ----


def _put_permission(asked: dict[str, Any]) -> Response:
    name = asked.get("EventBusName", "default")
    try:
        if "Policy" in asked:
            _put_policy(name, json.loads(asked["Policy"]))
        else:
            _put_statement(name, _statement_of(name, asked))
    except LookupError as error:
        return _refusal("ResourceNotFoundException", str(error))
    except json.JSONDecodeError:
        return _refusal("ValidationException", "Parameter Policy is not valid JSON.")
    except ValueError as error:
        return _refusal("PolicyLengthExceededException", str(error))
    answer: Response = json_response({})
    return answer


def _remove_permission(asked: dict[str, Any]) -> Response:
    name = asked.get("EventBusName", "default")
    if asked.get("RemoveAllPermissions"):
        eventbridge._event_bus_policies.pop(name, None)
    elif not _statements(name):
        return _refusal("ResourceNotFoundException", "EventBus does not have a policy.")
    elif not _remove_statement(name, asked.get("StatementId", "")):
        return _refusal("ResourceNotFoundException", "Statement with the provided id does not exist.")
    answer: Response = json_response({})
    return answer


def _delete_event_bus(original: Callable[..., Response], asked: dict[str, Any]) -> Response:
    answer = original(asked)
    if asked.get("Name") not in eventbridge._event_buses:
        eventbridge._event_bus_policies.pop(asked.get("Name"), None)
    return answer


# ---- CloudFormation ----


def _create_bus(original: Callable[..., Made], logical_id: str, props: dict[str, Any], stack_name: str) -> Made:
    name, attributes = original(logical_id, props, stack_name)
    if "Policy" in props:
        _put_policy(name, props["Policy"])
    return name, attributes


def _update_bus(
    original: Callable[..., Made], physical_id: str, old: dict[str, Any], new: dict[str, Any], *rest: str
) -> Made:
    name, attributes = original(physical_id, old, new, *rest)
    if old.get("Policy") != new.get("Policy"):
        _put_policy(name, new.get("Policy"))
    return name, attributes


def _create_statement(_logical_id: str, props: dict[str, Any], _stack_name: str) -> Made:
    name, sid = props.get("EventBusName", "default"), props["StatementId"]
    given = props.get("Statement")
    _put_statement(name, {**given, "Sid": sid} if given else _statement_of(name, props))
    return f"{name}|{sid}", {}


def _update_statement(physical_id: str, old: dict[str, Any], new: dict[str, Any], stack_name: str) -> Made:
    made = _create_statement("", new, stack_name)
    if made[0] != physical_id:
        _delete_statement(physical_id, old)
    return made


def _delete_statement(physical_id: str, _props: dict[str, Any]) -> None:
    name, _, sid = physical_id.partition("|")
    if name in eventbridge._event_buses:
        _remove_statement(name, sid)


# ---- the policy of a bus of the account and Region at hand ----


def _put_statement(name: str, statement: Statement) -> None:
    """Put a statement into a bus's policy, in the place of one with its Sid."""
    kept = [each for each in _statements(name) if each["Sid"] != statement["Sid"]]
    _put_policy(name, {"Version": "2012-10-17", "Statement": [*kept, statement]})


def _remove_statement(name: str, sid: str) -> bool:
    """Take one out; say whether it was there."""
    before = _statements(name)
    kept = [each for each in before if each["Sid"] != sid]
    _put_policy(name, {"Version": "2012-10-17", "Statement": kept} if kept else None)
    return len(kept) < len(before)


def _put_policy(name: str, policy: Policy | None) -> None:
    """Give a bus this policy, or none; LookupError where there is no such bus, ValueError for one that is too long."""
    eventbridge._ensure_default_bus()
    if name not in eventbridge._event_buses:
        raise LookupError(f"Event bus {name} does not exist.")
    if policy is None:
        eventbridge._event_bus_policies.pop(name, None)
    elif len(json.dumps(policy)) > _LONGEST:
        raise ValueError("The size of the policy exceeds the limit of 10 KB.")
    else:
        eventbridge._event_bus_policies[name] = policy


def _statement_of(name: str, asked: Mapping[str, Any]) -> Statement:
    """The statement that PutPermission's parameters mean, in the form in which DescribeEventBus shows it."""
    principal, condition = asked["Principal"], asked.get("Condition")
    made = {
        "Sid": asked.get("StatementId") or new_uuid(),
        "Effect": "Allow",
        "Principal": "*" if principal == "*" else {"AWS": f"arn:aws:iam::{principal}:root"},
        "Action": asked.get("Action", "events:PutEvents"),
        "Resource": f"arn:aws:events:{get_region()}:{get_account_id()}:{_BUS}{name}",
    }
    return {**made, "Condition": {condition["Type"]: {condition["Key"]: condition["Value"]}}} if condition else made


def _statements(name: str) -> list[Statement]:
    policy = eventbridge._event_bus_policies.get(name) or {}
    found = policy.get("Statement", [])
    return [{"Sid": "", **each} for each in (found if isinstance(found, list) else [found])]


def _refusal(code: str, message: str) -> Response:
    refused: Response = error_response_json(code, message, 400)
    return refused

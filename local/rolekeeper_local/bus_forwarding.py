"""Events that go to a bus of another account or Region: by PutEvents with its ARN, and by rules whose target it is.

EventBridge user guide, "Sending and receiving events between AWS accounts": `account` stays the sender's; what was
received from another bus isn't sent on to a third one, whatever the rules there say. So no event goes round in circles.
`region` stays the sender's too, and the event's id within a Region, not into another one (seen on AWS by LocalStack,
localstack #11027). ministack knows no bus but those of the account and Region at hand.

An event that may not be sent is dropped, with a line in the log: no dead-letter queue of a target is filled here.
"""
# ruff: noqa: SLF001 - see `corrections`

import json
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ministack.core.arn import Arn  # type: ignore[import-not-found]
from ministack.core.responses import (  # type: ignore[import-not-found]
    get_account_id,
    get_region,
    json_response,
    new_uuid,
    request_scope,
)
from ministack.services import eventbridge  # type: ignore[import-not-found]

from rolekeeper_local import bus_policies, bus_senders
from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_wire import Response

type Event = dict[str, Any]

_MOST_ENTRIES = 10
#: The role of the target that is being invoked: ministack doesn't hand it on.
_role: ContextVar[str] = ContextVar("rolekeeper_local_target_role", default="")

logger = logging.getLogger(__name__)


def install() -> None:
    """Correct this process, before PutEvents is limited."""
    correct(_put_events, "_put_events", eventbridge)
    correct(_invoke_target, "_invoke_target", eventbridge)
    correct(_dispatch, "_dispatch_to_event_bus", eventbridge)


def _put_events(original: Callable[..., Response], asked: dict[str, Any], *arguments: Any, **named: Any) -> Response:
    """PutEvents, also to buses of other accounts in this Region. Who may was asked before."""
    entries = asked.get("Entries", [])
    buses = [_elsewhere(entry) for entry in entries]
    if not any(buses) or len(entries) > _MOST_ENTRIES:
        return original(asked, *arguments, **named)
    answers = []
    for entry, bus in zip(entries, buses, strict=True):
        if bus is None or str(entry.get("Source")).startswith("aws."):
            # ministack refuses a source of AWS's wherever it is sent, and tells what it thinks of the rest.
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
    bus = bus_policies.bus_of(str(entry.get("EventBusName", "")))
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
    elif (role or not here) and (reason := bus_senders.refusal(role, rule["Arn"], event, bus=bus)):
        logger.warning("rule %s doesn't send to %s: %s", rule["Arn"], bus, reason)
    elif here:
        original(bus, event, rule, event_path=path, target_input_payload=payload)
    else:
        given = {} if payload is None else {"Detail": payload}
        anew = {} if bus.region == get_region() else {"EventId": new_uuid()}
        _arrive({**event, **given, **anew}, bus, rule["Arn"])


def _arrive(event: Event, bus: Arn, by: str) -> None:
    """Let an event reach a bus of another account or Region, where `by` tells that it came from elsewhere."""
    with request_scope(bus.account_id, bus.region):
        eventbridge._ensure_default_bus()
        name = bus_policies.name_of(bus)
        if name not in eventbridge._event_buses:
            logger.warning("there is no %s for an event by %s", bus, by)
            return
        arrived = {**event, "EventBusName": name}
        eventbridge._events_log_list().append(arrived)
        view = eventbridge._pattern_event_view(arrived)
        eventbridge._dispatch_event({**arrived, "_DispatchPath": [by]}, view)
        eventbridge._archive_event(arrived, view)

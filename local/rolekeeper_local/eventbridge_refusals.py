"""What EventBridge refuses and ministack takes: a rate in the wrong number, and more bytes than a request may have.

A rule that CloudFormation makes is refused as one that PutRule and PutTargets make: `cron(0 * * * * *)`, which says
both a day of the month and a day of the week, fails the stack (EventBridge user guide, "Cron expressions": one of the
two has to be `?`), and so does a bus of another account or Region as a target without a role (AWS_FACTS.md, Events
between accounts and Regions).
"""
# ruff: noqa: SLF001 - ministack has no public API inside its process; the release is pinned

import json
import re
from collections.abc import Callable
from typing import Any

from ministack.services import eventbridge  # type: ignore[import-not-found]
from ministack.services.cloudformation import provisioners  # type: ignore[import-not-found]

#: AWS_FACTS.md, Limits and names.
PUT_EVENTS_BYTES = 262_144
_RATE = re.compile(r"rate\((1 (minute|hour|day)|([2-9]|[1-9][0-9]+) (minutes|hours|days))\)")


def install() -> None:
    """Correct ministack's EventBridge in this process; call once, before the first request."""
    eventbridge._validate_schedule_expression = _with_rates(eventbridge._validate_schedule_expression)
    eventbridge._put_events = _with_a_limit(eventbridge._put_events)
    rule = provisioners._RESOURCE_HANDLERS["AWS::Events::Rule"]
    create, update = rule["create"], rule["update"]
    rule["create"] = lambda logical_id, props, stack: create(logical_id, _refused(props), stack)
    rule["update"] = lambda made, old, props, stack, *rest: update(made, old, _refused(props), stack, *rest)


def _with_rates(original: Callable[[str], bool]) -> Callable[[str], bool]:
    def valid(expression: str) -> bool:
        if expression.startswith("rate("):
            return _RATE.fullmatch(expression) is not None
        return original(expression)

    return valid


def _refused(props: dict[str, Any]) -> dict[str, Any]:
    """A rule's properties, unless EventBridge would refuse them."""
    if not eventbridge._validate_schedule_expression(props.get("ScheduleExpression", "")):
        raise ValueError("Parameter ScheduleExpression is not valid.")
    for target in props.get("Targets", []):
        if refused := eventbridge._validate_target_arn(target):
            raise ValueError(json.loads(refused[2])["message"])
    return props


def _with_a_limit(original: Callable[..., Any]) -> Callable[..., Any]:
    def put_events(data: dict[str, Any], *arguments: Any, **named: Any) -> Any:
        if sum(map(_size, data.get("Entries", []))) > PUT_EVENTS_BYTES:
            words = "Total size of the entries in the request is over the limit."
            return eventbridge.error_response_json("ValidationException", words, 400)
        return original(data, *arguments, **named)

    return put_events


def _size(entry: dict[str, Any]) -> int:
    texts = [entry.get(name) or "" for name in ("Source", "DetailType", "Detail")] + (entry.get("Resources") or [])
    return sum(len(str(text).encode()) for text in texts) + (14 if entry.get("Time") else 0)

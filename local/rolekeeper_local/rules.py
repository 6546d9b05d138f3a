"""EventBridge's rules where ministack has them otherwise: their times, what is refused, and their ids in a stack.

- ministack looks at its schedules every ten seconds, and gives a Lambda target its event once. Here it looks every
  quarter of a second, and a target is invoked asynchronously, with the function's retries and its on-failure
  destination. A rate's first time is one rate after the rule was made, as on AWS; its minute can be shortened.
  `cron(...)` goes by the clock.
- A rate in the wrong number is refused, and a request with too many bytes.
- CloudFormation's rules are refused as those of PutRule and PutTargets: `cron(0 * * * * *)`, with both a day of the
  month and a day of the week, fails the stack (EventBridge user guide, "Cron expressions": one of the two has to be
  `?`), and so does a bus of another account or Region as a target without a role (AWS_FACTS.md, Events between accounts
  and Regions).
- CloudFormation's id of a rule that isn't on the default bus is `BUS|NAME` (described by users,
  aws-cloudformation/cloudformation-coverage-roadmap #1131, #1949); others have their name. With ministack's name alone
  EventBridge doesn't find a rule of another bus.
"""

import json
import logging
import re
from collections.abc import Callable
from typing import Any

from ministack.services import eventbridge, lambda_svc
from ministack.services.cloudformation import provisioners

from rolekeeper_local.corrections import correct

LOOK_SECONDS = 0.25
#: AWS_FACTS.md, Limits and names.
PUT_EVENTS_BYTES = 262_144
_RATE = re.compile(r"rate\((1 (minute|hour|day)|([2-9]|[1-9][0-9]+) (minutes|hours|days))\)")

logger = logging.getLogger(__name__)


def install(minute_seconds: float) -> None:
    """Correct this process; a minute of `rate(...)` takes these seconds."""

    def rate_seconds(original: Callable[[str], int | None], expression: str) -> float | None:
        found = original(expression)
        return None if found is None else found * minute_seconds / 60

    eventbridge._SCHEDULER_TICK_INTERVAL = LOOK_SECONDS
    eventbridge._dispatch_to_lambda = _invoke
    correct(rate_seconds, "_parse_rate_seconds", eventbridge)
    correct(_is_valid, "_validate_schedule_expression", eventbridge)
    correct(_put_events, "_put_events", eventbridge)
    rule = provisioners._RESOURCE_HANDLERS["AWS::Events::Rule"]
    for change, ours in (("create", _create), ("update", _update), ("delete", _delete)):
        correct(ours, change, rule)


def let_fire(account: str, region: str, rule: str) -> None:
    """Fire a `rate(...)` rule of a default bus at the next look; KeyError if there is no such rule."""
    key = account, region, eventbridge._rule_key(rule, "default")
    if key not in eventbridge._rules._data:
        raise KeyError(f"there is no rule {rule} in {account}, {region}")
    eventbridge._rule_last_fired[key] = 0.0


def _invoke(arn: str, payload: str) -> None:
    function, config, name = lambda_svc._get_func_record_for_ref(arn)
    if not function or not config:
        logger.warning("a rule's target, function %s, is not there", name)
        return
    lambda_svc.invoke_async_with_retry(lambda_svc._execution_record_for_config(function, config), json.loads(payload))


def _is_valid(original: Callable[[str], bool], expression: str) -> bool:
    return _RATE.fullmatch(expression) is not None if expression.startswith("rate(") else original(expression)


def _put_events(original: Callable[..., Any], asked: dict[str, Any], *arguments: Any, **named: Any) -> Any:
    if sum(map(_size, asked.get("Entries", []))) > PUT_EVENTS_BYTES:
        text = "Total size of the entries in the request is over the limit."
        return eventbridge.error_response_json("ValidationException", text, 400)
    return original(asked, *arguments, **named)


def _size(entry: dict[str, Any]) -> int:
    texts = [entry.get(name) or "" for name in ("Source", "DetailType", "Detail")] + (entry.get("Resources") or [])
    return sum(len(str(text).encode()) for text in texts) + (14 if entry.get("Time") else 0)


# ---- CloudFormation ----


def _create(original: Callable[..., Any], logical_id: str, props: dict[str, Any], *rest: Any) -> tuple[str, Any]:
    _check(props)
    name, attributes = original(logical_id, props, *rest)
    return _id(name, props), attributes


def _update(original: Callable[..., Any], made: str, old: Any, props: dict[str, Any], *rest: Any) -> tuple[str, Any]:
    _check(props)
    name, attributes = original(_name(made), old, props, *rest)
    return _id(name, props), attributes


def _delete(original: Callable[..., Any], made: str, props: dict[str, Any]) -> None:
    original(_name(made), props)


def _check(props: dict[str, Any]) -> None:
    if not eventbridge._validate_schedule_expression(props.get("ScheduleExpression", "")):
        raise ValueError("Parameter ScheduleExpression is not valid.")
    for target in props.get("Targets", []):
        if refused := eventbridge._validate_target_arn(target):
            raise ValueError(json.loads(refused[2])["message"])


def _id(name: str, props: dict[str, Any]) -> str:
    bus = provisioners._eb_rule_bus_name(props)
    return name if bus == "default" else f"{bus}|{name}"


def _name(made: str) -> str:
    return made.rpartition("|")[2]

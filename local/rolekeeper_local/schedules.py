"""EventBridge's scheduled rules: nearer to their time than ministack's, with a minute that can be shortened.

ministack looks at its rules every ten seconds, and hands a Lambda target its event once. Here they are looked at every
quarter of a second, and a target is invoked as AWS does it: asynchronously, with the function's retries and its
on-failure destination. A rate's first time is one rate after the rule was made, as on AWS; `cron(...)` goes by the
clock, so its minutes stay minutes.
"""
# ruff: noqa: SLF001 - ministack has no public API inside its process; the release is pinned

import json
import logging
from collections.abc import Callable

from ministack.services import eventbridge, lambda_svc  # type: ignore[import-not-found]

LOOK_SECONDS = 0.25

logger = logging.getLogger(__name__)


def install(minute_seconds: float) -> None:
    """Correct ministack's schedules in this process; call once, before the first request.

    Args:
        minute_seconds: how long a minute of `rate(...)` takes.
    """
    eventbridge._SCHEDULER_TICK_INTERVAL = LOOK_SECONDS
    eventbridge._parse_rate_seconds = _scaled(eventbridge._parse_rate_seconds, minute_seconds / 60)
    eventbridge._dispatch_to_lambda = _invoke


def let_fire(account: str, region: str, rule: str) -> None:
    """Let the time of a `rate(...)` rule on a default bus be now.

    Raises:
        KeyError: there is no such rule.
    """
    key = account, region, eventbridge._rule_key(rule, "default")
    if key not in eventbridge._rules._data:
        raise KeyError(f"there is no rule {rule} in {account}, {region}")
    eventbridge._rule_last_fired[key] = 0.0


def _scaled(seconds_of: Callable[[str], int | None], factor: float) -> Callable[[str], float | None]:
    def seconds(expression: str) -> float | None:
        found = seconds_of(expression)
        return None if found is None else found * factor

    return seconds


def _invoke(arn: str, payload: str) -> None:
    function, config, name = lambda_svc._get_func_record_for_ref(arn)
    if not function or not config:
        logger.warning("a rule's target, function %s, is not there", name)
        return
    lambda_svc.invoke_async_with_retry(lambda_svc._execution_record_for_config(function, config), json.loads(payload))

"""What EventBridge refuses and ministack takes: a rate in the wrong number, and more bytes than a request may have."""
# ruff: noqa: SLF001 - ministack has no public API inside its process; the release is pinned

import re
from collections.abc import Callable
from typing import Any

from ministack.services import eventbridge  # type: ignore[import-not-found]

#: AWS_FACTS.md, Limits and names.
PUT_EVENTS_BYTES = 262_144
_RATE = re.compile(r"rate\((1 (minute|hour|day)|([2-9]|[1-9][0-9]+) (minutes|hours|days))\)")


def install() -> None:
    """Correct ministack's EventBridge in this process; call once, before the first request."""
    eventbridge._validate_schedule_expression = _with_rates(eventbridge._validate_schedule_expression)
    eventbridge._put_events = _with_a_limit(eventbridge._put_events)


def _with_rates(original: Callable[[str], bool]) -> Callable[[str], bool]:
    def valid(expression: str) -> bool:
        if expression.startswith("rate("):
            return _RATE.fullmatch(expression) is not None
        return original(expression)

    return valid


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

"""Lambda's recursion detection, where messages go through SQS: ministack has it for direct invocations only.

The trace header counts how often a chain of messages has invoked each function (`Lineage`). A call of a running
function passes the header on; a message whose chain has invoked the same function 16 times goes to the queue's
dead-letter queue, or nowhere (AWS_FACTS.md, "Lambda, SQS, DynamoDB streams, Step Functions").
"""
# ruff: noqa: SLF001 - ministack has no public API inside its process; the release is pinned

import contextvars
import logging
import re
import sys
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from ministack.services import lambda_svc, sqs  # type: ignore[import-not-found]

#: How often a chain may invoke the same function.
MOST = 16
_HEADER = "AWSTraceHeader"
_LINEAGE = re.compile(r"Lineage=([^;]+)")
_sender: contextvars.ContextVar[str] = contextvars.ContextVar("trace header of the request", default="")

logger = logging.getLogger(__name__)

type Lineage = dict[str, int]
"""How often each function was invoked, by a short hash of its ARN."""


def install() -> None:
    """Correct ministack in this process; call once, before the first request."""
    sqs.handle_request = _with_sender(sqs.handle_request)
    sqs._build_send_sys_attrs = _with_header(sqs._build_send_sys_attrs)
    lambda_svc._run_sqs_batch = _without_loops(lambda_svc._run_sqs_batch)


def lineage(header: str) -> Lineage:
    """Read a trace header's lineage: `Lineage=1:<hash>:<count>`, several joined by `|`, which the SDK quotes."""
    found = _LINEAGE.search(unquote(header))
    parts = [each.split(":") for each in found[1].split("|")] if found else []
    return {part[1]: int(part[2]) for part in parts if len(part) == 3 and part[2].isdigit()}  # noqa: PLR2004 - as above


def lineage_text(counts: Mapping[str, int]) -> str:
    """Write what `lineage` reads."""
    return "Lineage=" + "|".join(f"1:{name}:{count}" for name, count in counts.items())


def name_of(function_arn: str) -> str:
    """The name of a function in a lineage."""
    return f"{zlib.crc32(function_arn.encode()):08x}"


def invoked(function_arn: str, event: Any) -> Lineage:
    """The lineage of an invocation by this event: the longest of its messages, and one more for the function itself."""
    counts: Lineage = {}
    for record in event.get("Records", ()) if isinstance(event, dict) else ():
        for name, count in lineage(str(record.get("attributes", {}).get(_HEADER, ""))).items():
            counts[name] = max(count, counts.get(name, 0))
    me = name_of(function_arn)
    return {**counts, me: counts.get(me, 0) + 1}


def _with_sender(handle: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def handle_request(method: str, path: str, headers: dict[str, str], *rest: Any) -> Any:
        token = _sender.set(headers.get("x-amzn-trace-id", ""))
        try:
            return await handle(method, path, headers, *rest)
        finally:
            _sender.reset(token)

    return handle_request


def _with_header(build: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def attributes(now: float, given: Any) -> dict[str, Any]:
        header = _sender.get()
        return ({_HEADER: header} if lineage(header) else {}) | build(now, given)

    return attributes


def _without_loops(run: Callable[..., None]) -> Callable[..., None]:
    def run_batch(
        mapping: Any, function: Any, event: dict[str, Any], batch: Sequence[Any], url: str, *rest: Any
    ) -> None:
        allowed = function.get("recursive_loop") == "Allow"
        stopped = [] if allowed else [each for each in batch if _loops(each, function)]
        if stopped:
            _put_aside(stopped, url)
            ids = {each["id"] for each in stopped}
            batch = [each for each in batch if each["id"] not in ids]
            event = {"Records": [each for each in event["Records"] if each["messageId"] not in ids]}
        if batch:
            run(mapping, function, event, batch, url, *rest)

    return run_batch


def _loops(message: Mapping[str, Any], function: Mapping[str, Any]) -> bool:
    counts = lineage(str((message.get("sys") or {}).get(_HEADER, "")))
    return counts.get(name_of(function["config"]["FunctionArn"]), 0) >= MOST


def _put_aside(messages: Sequence[dict[str, Any]], url: str) -> None:
    """Move them to the queue's dead-letter queue, or where it has none drop them."""
    logger.warning("stopped as a recursive loop: %s", ", ".join(each["id"] for each in messages))
    for each in messages:
        each["receive_count"], each["visible_at"] = sys.maxsize, 0.0
    sqs._dlq_sweep(sqs._get_q(url))
    sqs._delete_messages_for_esm(url, {each["receipt_handle"] for each in messages})

"""Which process runs which invocation of a function, and when a chain of invocations is a loop.

Each invocation has a trace id, which SDKs send with every call (Lambda developer guide, "Using environment variables":
`_X_AMZN_TRACE_ID`, "changes with each invocation"); ministack gives one only with X-Ray. It also counts how often a
chain of messages has invoked each function (`Lineage`). ministack detects loops of direct invocations only; here a
message whose chain has invoked the same function 16 times goes to the dead-letter queue, or is dropped if there is none
(AWS_FACTS.md, "Lambda, SQS, DynamoDB streams, Step Functions").

A function that names its log group writes into it only while it is there: to make one takes a permission that the
function's role has to have, and ours have not.
"""

import logging
import re
import secrets
import sys
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from itertools import chain
from typing import Any
from urllib.parse import unquote

from ministack.core import lambda_runtime
from ministack.services import cloudwatch_logs, lambda_svc, sqs

from rolekeeper_local.corrections import correct

type Lineage = dict[str, int]
"""How often each function was invoked, by a short hash of its ARN."""

#: How often a chain may invoke the same function.
MOST = 16
_HEADER = "AWSTraceHeader"
# `Lineage=1:<hash>:<count>`, several joined by `|`.
_LINEAGE = re.compile(r"Lineage=([^;]+)")
_PART = re.compile(r"1:([^:|]+):(\d+)")
#: The trace id of the request to SQS at hand.
_sender: ContextVar[str] = ContextVar("rolekeeper_local_sender", default="")

logger = logging.getLogger(__name__)


class Invocations:
    """The invocations that run now."""

    def __init__(self) -> None:
        # Written by ministack's threads, read by its event loop: each step is one atomic access.
        self._workers: dict[str, Any] = {}

    def invoke(
        self, original: Callable[..., dict[str, Any]], worker: Any, event: Any, request_id: str, **rest: Any
    ) -> dict[str, Any]:
        """`Worker.invoke`, with a trace id of its own for each invocation."""
        counts = _invoked(worker.config["FunctionArn"], event)
        lineage = "|".join(f"1:{name}:{count}" for name, count in counts.items())
        root = f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)}"
        trace_id = f"{root};Parent={secrets.token_hex(8)};Sampled=0;Lineage={lineage}"
        self._workers[trace_id] = worker
        try:
            return original(worker, event, request_id, **{**rest, "trace_id": trace_id})
        except (RuntimeError, OSError, ValueError, AttributeError) as error:
            # Its process didn't start. At an exception ministack would end those of all other invocations.
            return {"status": "error", "error": f"the process did not start: {error}"}
        finally:
            del self._workers[trace_id]

    def runs(self, trace_id: str) -> bool:
        return trace_id in self._workers

    def kill(self, trace_id: str) -> None:
        """Kill the process that runs it, as if it had run out of memory."""
        _kill(self._workers.get(trace_id))

    def restart(self) -> None:
        """Kill every function's processes; the next invocations start others."""
        for worker in list(chain.from_iterable(lambda_runtime._workers.values())):
            _kill(worker)


def install() -> Invocations:
    """Correct this process, after `queues`: what is stopped here is a dead letter there."""
    invocations = Invocations()
    correct(invocations.invoke, "invoke", lambda_runtime.Worker)
    correct(_handle_request, "handle_request", sqs)
    correct(_build_send_sys_attrs, "_build_send_sys_attrs", sqs)
    correct(_run_sqs_batch, "_run_sqs_batch", lambda_svc)
    correct(_emit_lambda_logs, "_emit_lambda_logs", lambda_svc)
    return invocations


def _emit_lambda_logs(original: Callable[..., None], function: dict[str, Any], *output: Any, **named: Any) -> None:
    group = (function.get("config", {}).get("LoggingConfig") or {}).get("LogGroup")
    if not group or group in cloudwatch_logs._log_groups:
        original(function, *output, **named)


def _kill(worker: Any) -> None:
    process = getattr(worker, "_proc", None)
    if process is not None:
        process.kill()


# ---- loops ----


def _lineage(header: str) -> Lineage:
    found = _LINEAGE.search(unquote(header))  # the SDK quotes it
    return {part[1]: int(part[2]) for part in _PART.finditer(found[1])} if found else {}


def _name_of(function_arn: str) -> str:
    return f"{zlib.crc32(function_arn.encode()):08x}"


def _invoked(function_arn: str, event: Any) -> Lineage:
    """The lineage of an invocation by this event: the highest counts of its messages, plus one for the function."""
    counts: Lineage = {}
    for record in event.get("Records", ()) if isinstance(event, dict) else ():
        for name, count in _lineage(str(record.get("attributes", {}).get(_HEADER, ""))).items():
            counts[name] = max(count, counts.get(name, 0))
    me = _name_of(function_arn)
    return {**counts, me: counts.get(me, 0) + 1}


async def _handle_request(
    original: Callable[..., Awaitable[Any]], method: str, path: str, headers: dict[str, str], *rest: Any
) -> Any:
    token = _sender.set(headers.get("x-amzn-trace-id", ""))
    try:
        return await original(method, path, headers, *rest)
    finally:
        _sender.reset(token)


def _build_send_sys_attrs(original: Callable[..., dict[str, Any]], now: float, given: Any) -> dict[str, Any]:
    header = _sender.get()
    return ({_HEADER: header} if _lineage(header) else {}) | original(now, given)


def _run_sqs_batch(original: Callable[..., None], *batch_and_its_queue: Any) -> None:
    mapping, function, event, batch, url, name = batch_and_its_queue
    allowed = function.get("recursive_loop") == "Allow"
    stopped = [] if allowed else [each for each in batch if _loops(each, function)]
    if stopped:
        _put_aside(stopped, url)
        ids = {each["id"] for each in stopped}
        batch = [each for each in batch if each["id"] not in ids]
        event = {"Records": [each for each in event["Records"] if each["messageId"] not in ids]}
    if batch:
        original(mapping, function, event, batch=batch, queue_url=url, queue_name=name)


def _loops(message: Mapping[str, Any], function: Mapping[str, Any]) -> bool:
    counts = _lineage(str((message.get("sys") or {}).get(_HEADER, "")))
    return counts.get(_name_of(function["config"]["FunctionArn"]), 0) >= MOST


def _put_aside(messages: Sequence[dict[str, Any]], url: str) -> None:
    """Move them to the queue's dead-letter queue, or drop them if it has none."""
    logger.warning("stopped as a recursive loop: %s", ", ".join(each["id"] for each in messages))
    for each in messages:
        each["receive_count"], each["visible_at"] = sys.maxsize, 0.0
    sqs._dlq_sweep(sqs._get_q(url))
    sqs._delete_messages_for_esm(url, {each["receipt_handle"] for each in messages})

"""Which process runs which invocation of a function.

Lambda gives each invocation a trace id, and SDKs send it along with every call (Lambda developer guide, "Using
environment variables": `_X_AMZN_TRACE_ID`, "changes with each invocation"). ministack gives one only where X-Ray is on;
here each has one, and by it a call is known to belong to an invocation. It carries the chain too (`recursion`).
"""
# ruff: noqa: SLF001 - ministack has no public API inside its process; the release is pinned

import secrets
import time
from collections.abc import Callable
from typing import Any

from ministack.core import lambda_runtime  # type: ignore[import-not-found]

from rolekeeper_local import recursion

type Invoke = Callable[..., dict[str, Any]]


def install() -> "Invocations":
    """Follow the invocations in this process; call once, before the first request."""
    invocations = Invocations()
    lambda_runtime.Worker.invoke = invocations.followed(lambda_runtime.Worker.invoke)
    return invocations


class Invocations:
    """The invocations that run now.

    Begun and ended by ministack's threads, asked by its event loop: each step is one atomic access to a dictionary.
    """

    def __init__(self) -> None:
        self._workers: dict[str, Any] = {}

    def followed(self, invoke: Invoke) -> Invoke:
        """`Worker.invoke`, with a trace id of its own for each invocation."""

        def with_trace_id(worker: Any, event: Any, request_id: str, **rest: Any) -> dict[str, Any]:
            chain = recursion.lineage_text(recursion.invoked(worker.config["FunctionArn"], event))
            root = f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)}"
            trace_id = f"{root};Parent={secrets.token_hex(8)};Sampled=0;{chain}"
            self._workers[trace_id] = worker
            try:
                return invoke(worker, event, request_id, **{**rest, "trace_id": trace_id})
            except (RuntimeError, OSError, ValueError, AttributeError) as error:
                # Its process didn't come up. Told by an exception, ministack would end those of all other invocations.
                return {"status": "error", "error": f"the process did not start: {error}"}
            finally:
                del self._workers[trace_id]

        return with_trace_id

    def runs(self, trace_id: str) -> bool:
        """Whether this invocation is running."""
        return trace_id in self._workers

    def kill(self, trace_id: str) -> None:
        """Kill the process that runs it, as if it had run out of memory."""
        _kill(self._workers.get(trace_id))

    def restart(self) -> None:
        """Kill every function's processes, whatever they are at; the next invocations start others."""
        for workers in list(lambda_runtime._workers.values()):
            for worker in list(workers):
                _kill(worker)


def _kill(worker: Any) -> None:
    process = getattr(worker, "_proc", None)
    if process is not None:
        process.kill()

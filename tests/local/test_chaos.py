"""Faults on purpose: whom they meet, in which words, and that none happens unasked.

What each fault does is test_faults.py's.
"""

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest

from rolekeeper_local.asgi import App
from support.chaos_faults import Chaos, disturbed

OURS = "Root=1-00000000-000000000000000000000000;Parent=0000000000000000;Sampled=0"


class Functions:
    """One invocation runs."""

    def __init__(self) -> None:
        self.killed: list[str] = []

    def runs(self, trace_id: str) -> bool:
        return trace_id == OURS

    def kill(self, trace_id: str) -> None:
        self.killed.append(trace_id)


class Called:
    """One call through the chaos: what the client gets, whether AWS did it, and who was killed."""

    def __init__(self, chaos: Chaos, service: str = "ec2", trace_id: str = OURS) -> None:
        self.done = False
        self.sent: list[MutableMapping[str, Any]] = []
        self.functions = Functions()
        authorization = (
            f"AWS4-HMAC-SHA256 Credential=ASIA1/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host"
        )
        headers = [(b"authorization", authorization.encode()), (b"x-amzn-trace-id", trace_id.encode())]
        asyncio.run(self._through(disturbed(self._aws, chaos, self.functions), headers))

    async def _through(self, app: App, headers: list[tuple[bytes, bytes]]) -> None:
        await app({"type": "http", "headers": headers}, self._receive, self._send)

    async def _aws(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.done = True
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    async def _receive(self) -> MutableMapping[str, Any]:
        return {"type": "http.request"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> str:
        return str(self.sent[1]["body"].decode())


def always(fault: str, service: str = "*") -> Chaos:
    chaos = Chaos()
    chaos.steer({"calls": {service: {fault: 1}}})
    return chaos


def test_nothing_goes_wrong_unasked() -> None:
    chaos = Chaos()
    called = Called(chaos)
    assert (called.done, called.body, called.functions.killed) == (True, "done", [])
    assert chaos.arrivals() == (0.0,)
    assert not chaos.counts


def test_nobody_but_functions_meets_a_fault() -> None:
    chaos = always("error")
    assert Called(chaos, trace_id="Root=1-somebody-else").body == "done"
    assert not chaos.counts


@pytest.mark.parametrize(
    ("service", "status", "code"),
    [
        ("ec2", 503, "RequestLimitExceeded"),
        ("dynamodb", 400, "ProvisionedThroughputExceededException"),
        ("sqs", 400, "RequestThrottled"),
        ("iam", 400, "Throttling"),
        ("states", 400, "ThrottlingException"),
    ],
)
def test_a_throttled_call_is_refused_in_its_services_words(service: str, status: int, code: str) -> None:
    called = Called(always("throttle"), service)
    assert (called.done, called.status) == (False, status)
    if service in ("ec2", "iam"):
        assert f"<Code>{code}</Code>" in called.body
    else:
        assert json.loads(called.body)["__type"] == code


def test_a_service_that_is_named_goes_by_its_own_shares() -> None:
    chaos = Chaos()
    chaos.steer({"calls": {"ec2": {"error": 1}, "*": {"throttle": 1}}})
    assert Called(chaos, "ec2").status == 500
    assert Called(chaos, "dynamodb").status == 400
    assert chaos.counts == {"error ec2": 1, "throttle dynamodb": 1}


@pytest.mark.parametrize(
    "asked",
    [
        {"cals": {}},
        {"calls": {"ec2": {"explode": 0.1}}},
        {"calls": {"ec2": {"throttle": 0.6, "error": 0.6}}},
        {"events": {"drop": -0.1}},
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(asked: dict[str, Any]) -> None:
    chaos = always("error")
    with pytest.raises(ValueError, match=r"unknown|not a valid|shares"):
        chaos.steer(asked)
    assert Called(chaos).status == 500

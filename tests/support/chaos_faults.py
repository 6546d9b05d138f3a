"""Faults on purpose: what can go wrong between AWS and the functions, for a share of their calls and of EC2's events.

A plug-in of the embedded AWS (`FILE`), which loads it in its own process and environment. Nothing goes wrong until
`steer` says how much. It knows a function's call by the invocation that it belongs to (`rolekeeper_local.invocations`);
nobody else's calls are touched. The throws of one seed are always the same; which call meets which throw depends on the
machine.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from rolekeeper_local.asgi import App, Message, Receive, Scope, Send, respond

if TYPE_CHECKING:  # neither is in every process that reads this
    from rolekeeper_local.embedded import EmbeddedAws
    from rolekeeper_local.front import Control
    from rolekeeper_local.invocations import Invocations

FILE = Path(__file__)
ANY_SERVICE = "*"
# Seconds by which an event may be late, or come a second time.
LATE = (0.2, 8.0)
_SERVICE = re.compile(rb"Credential=[^/,\s]+/\d+/[^/]+/([a-z0-9-]+)/aws4_request")
# How each service says that it is asked too much (EC2 and DynamoDB developer guides "Error codes"; botocore 1.43
# `retries/standard.py` has all of them).
_THROTTLES = {
    "ec2": (503, "RequestLimitExceeded"),
    "dynamodb": (400, "ProvisionedThroughputExceededException"),
    "sqs": (400, "RequestThrottled"),
    "iam": (400, "Throttling"),
    "lambda": (429, "TooManyRequestsException"),
}
_XML = {
    "ec2": "<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors></Response>",
    "iam": "<ErrorResponse><Error><Code>{}</Code><Message>{}</Message></Error></ErrorResponse>",
}


def plug(app: App, control: "Control") -> App:
    """Let the control door steer chaos, and have calls and events meet it."""
    chaos = Chaos()
    control.asked["chaos"], control.told["chaos"] = lambda: dict(chaos.counts), chaos.steer
    control.ec2_api.arrivals = chaos.arrivals
    return disturbed(app, chaos, control.invocations)


def steer(aws: "EmbeddedAws", **asked: Any) -> None:
    """From now on let so much go wrong (see ``Chaos.steer``); with nothing named, nothing."""
    aws.control("chaos", asked)


def counts(aws: "EmbeddedAws") -> dict[str, int]:
    """What went wrong on purpose so far, by kind and service."""
    return dict(aws.control("chaos"))


class CallFault(StrEnum):
    """What becomes of a function's call."""

    THROTTLE = "throttle"  # refused; nothing happened
    ERROR = "error"  # HTTP 500; nothing happened
    LOSE_ANSWER = "lose-answer"  # it happened, and the connection closes
    KILL_BEFORE = "kill-before"  # the function's process dies; nothing happened
    KILL_AFTER = "kill-after"  # it happened, and the function's process dies


class EventFault(StrEnum):
    """What becomes of an event of EC2 on its way to EventBridge."""

    DROP = "drop"
    REPEAT = "repeat"
    DELAY = "delay"


class Chaos:
    """How much goes wrong now, and in `counts` what did so far, as `throttle ec2` or `drop event`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._rng = random.Random(0)
        self._calls: dict[str, dict[CallFault, float]] = {}
        self._events: dict[EventFault, float] = {}

    def steer(self, asked: Mapping[str, Any]) -> None:
        """From now on do this, and nothing else.

        Args:
            asked: `{"seed": 7, "calls": {"ec2": {"throttle": 0.1}, "*": {…}}, "events": {"drop": 0.05}}`, all optional:
                shares from 0 to 1 by fault, and by service as clients sign for it (`*`: any that isn't named). A seed
                restarts its throws.
        """
        calls = asked.get("calls", {})
        self._calls = {each: {CallFault(name): share for name, share in calls[each].items()} for each in calls}
        self._events = {EventFault(name): share for name, share in asked.get("events", {}).items()}
        if "seed" in asked:
            self._rng = random.Random(int(asked["seed"]))

    def of_call(self, service: str) -> CallFault | None:
        """Throw for one call of a function."""
        fault = self._throw(self._calls.get(service) or self._calls.get(ANY_SERVICE, {}))
        if fault:
            self.counts[f"{fault} {service}"] += 1
        return fault

    def arrivals(self) -> Sequence[float]:
        """Throw for one event: after how many seconds it arrives, each time that it does."""
        fault = self._throw(self._events)
        if fault is None:
            return (0.0,)
        self.counts[f"{fault} event"] += 1
        late = self._rng.uniform(*LATE)
        return {EventFault.DROP: (), EventFault.REPEAT: (0.0, late), EventFault.DELAY: (late,)}[fault]

    def _throw[F: StrEnum](self, shares: Mapping[F, float]) -> F | None:
        if not shares:
            return None
        thrown = self._rng.random()
        for fault, share in shares.items():
            thrown -= share
            if thrown < 0:
                return fault
        return None


def disturbed(app: App, chaos: Chaos, functions: "Invocations") -> App:
    """Wrap an ASGI application: calls of functions meet their faults, all others pass."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        trace_id = unquote(headers.get(b"x-amzn-trace-id", b"").decode("latin-1"))
        if not functions.runs(trace_id):
            await app(scope, receive, send)
            return
        signed = _SERVICE.search(headers.get(b"authorization", b""))
        service = signed[1].decode() if signed else "unsigned"
        match chaos.of_call(service):
            case None:
                await app(scope, receive, send)
            case CallFault.THROTTLE:
                await _refuse(send, service, *_THROTTLES.get(service, (400, "ThrottlingException")))
            case CallFault.ERROR:
                await _refuse(send, service, 500, code="InternalError")
            case CallFault.LOSE_ANSWER:
                await app(scope, receive, _nowhere)
                # Short of its promised length: the server closes the connection, and the client learns nothing.
                await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
            case CallFault.KILL_BEFORE:
                functions.kill(trace_id)
            case CallFault.KILL_AFTER:
                await app(scope, receive, _nowhere)
                functions.kill(trace_id)

    return answer


async def _nowhere(_message: Message) -> None:
    pass


async def _refuse(send: Send, service: str, status: int, code: str) -> None:
    """Answer with an error as the service words it: XML from EC2 and IAM, else JSON."""
    message = "chaos: refused on purpose"
    if service in _XML:
        kind, body = b"text/xml", _XML[service].format(code, escape(message)).encode()
    else:
        kind, body = b"application/x-amz-json-1.0", json.dumps({"__type": code, "message": message}).encode()
    headers = [(b"content-type", kind), (b"x-amzn-errortype", code.encode())]
    await respond(send, status, body, headers=headers)


# ---- how much goes wrong at each moment: mild, with storms, and an outage that fills the dead letters ----

EVENTS = {"drop": 0.05, "repeat": 0.1, "delay": 0.1}
MILD = {"throttle": 0.04, "error": 0.03, "lose-answer": 0.03, "kill-before": 0.004, "kill-after": 0.004}
# Four sendings of one call in a row must fail before a function sees it: botocore's attempts.
STORMS: tuple[Mapping[str, Mapping[str, float]], ...] = (
    {"ec2": {"throttle": 0.6}},
    {"dynamodb": {"throttle": 0.4, "error": 0.2}},
    {"sqs": {"throttle": 0.3, "error": 0.3}},
    {"ec2": {"lose-answer": 0.4}},
    {"dynamodb": {"lose-answer": 0.4}},
    {"*": {"kill-before": 0.03, "kill-after": 0.03}},
)
OUTAGE = {"dynamodb": {"error": 1.0}}


def mild() -> dict[str, Any]:
    """A little goes wrong everywhere."""
    return {"calls": {"*": MILD}, "events": EVENTS}


def storm(rng: random.Random) -> dict[str, Any]:
    """The weather for a while: mostly mild everywhere, or one storm in the midst of it."""
    calls = {"*": MILD, **(rng.choice(STORMS) if rng.random() < 0.6 else {})}
    return {"calls": calls, "events": EVENTS}


def outage() -> dict[str, Any]:
    """DynamoDB answers nobody."""
    return {"calls": {"*": MILD, **OUTAGE}, "events": EVENTS}

"""One outside call: the way there, whatever strikes it, the effect, and the way back."""

from collections.abc import Callable
from dataclasses import dataclass

from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from fakes.ec2 import client_error
from simulation.engine import Engine
from simulation.faults import CRASHES_AFTER, CRASHES_BEFORE, Fault, Kind, Weather

# Each service's own word for it (AWS_FACTS.md "Errors"; the API references' "Common errors").
THROTTLED = {
    "ec2": "RequestLimitExceeded",
    "dynamodb": "ProvisionedThroughputExceededException",
    "iam": "Throttling",
    "sqs": "RequestThrottled",
    "stepfunctions": "ThrottlingException",
    "lambda": "TooManyRequestsException",
    "events": "ThrottlingException",
    "sns": "Throttled",
}
# A function may run for 15 minutes, but the SDK gives up long before; so late a call may still land.
LATEST = 25.0


@dataclass(frozen=True)
class Call[Answer]:
    """A call to AWS.

    Attributes:
        service: boto3's name of the service.
        operation: for the story.
        kind: what can go wrong at it.
        act: what it does in the world; may refuse with a `ClientError`.
        text: says what it is about, for the story; None keeps it out unless something strikes it.
        part: what it does when it is done in part, if it can be.
    """

    service: str
    operation: str
    kind: Kind
    act: Callable[[], Answer]
    text: Callable[[], str] | None = None
    part: Callable[[], Answer] | None = None

    def __str__(self) -> str:
        return f"{self.operation} {self.text()}" if self.text else self.operation


class Outside:
    """The border between the functions and AWS."""

    def __init__(self, engine: Engine, weather: Weather, struck: Callable[[], None] = lambda: None) -> None:
        """`struck` is told of each call that something strikes."""
        self._engine = engine
        self._weather = weather
        self._struck = struck

    def call[Answer](self, call: Call[Answer]) -> Answer:
        """Make a call, as boto3 would: its answer, or botocore's exception."""
        if self._engine.running is None:
            return call.act()  # somebody who only looks
        self._engine.pause(self._weather.latency())
        fault = self._weather.strike(call.kind)
        if fault is Fault.PARTIAL_BATCH and call.part is None:
            fault = None
        if fault:
            self._weather.count(fault)
            self._struck()
        if self._engine.tells and (call.text or fault):
            self._engine.say(f"{call}{f' [{fault}]' if fault else ''}")
        if fault:
            self._before(call, fault)
        answer = self._effect(call, fault)
        if fault in CRASHES_AFTER:
            self._engine.kill()
        if fault is Fault.TIMEOUT_AFTER_SUCCESS:
            raise ReadTimeoutError(endpoint_url=call.service)
        self._engine.pause(self._weather.latency())
        return answer

    def _before[Answer](self, call: Call[Answer], fault: Fault) -> None:
        """What keeps a call from having its effect now."""
        rng = self._weather.rng
        if fault in CRASHES_BEFORE:
            self._engine.kill()
        elif fault is Fault.THROTTLE:
            raise possibly_applied(client_error(THROTTLED[call.service], "slow down"), rng.choice((0, 2)))
        elif fault is Fault.SERVER_ERROR:
            raise possibly_applied(client_error("InternalError", "a fault", status=500), rng.choice((0, 2)))
        elif fault is Fault.TIMEOUT_BEFORE:
            raise ConnectTimeoutError(endpoint_url=call.service)
        elif fault is Fault.DENIED:
            raise client_error("UnauthorizedOperation", "encoded", status=403)
        elif fault is Fault.CONFLICT:
            raise conflict(call.operation)
        elif fault is Fault.LANDS_LATE:
            self._engine.after(rng.uniform(0.1, LATEST), lambda: self._late(call))
            if rng.random() < 0.5:
                self._engine.kill()
            raise ReadTimeoutError(endpoint_url=call.service)

    def _late[Answer](self, call: Call[Answer]) -> None:
        try:
            call.act()
        except ClientError as error:
            self._engine.say(f"late: {call} is refused: {error}")
        else:
            self._engine.say(f"late: {call} happens")

    def _effect[Answer](self, call: Call[Answer], fault: Fault | None) -> Answer:
        if fault is Fault.PARTIAL_BATCH:
            assert call.part
            return call.part()
        if fault is not Fault.SENT_TWICE:
            return self._told(call.act, 0)
        try:
            call.act()
        except ClientError as error:
            self._engine.say(f"the first of two is refused: {error}")
        if self._weather.rng.random() < 0.3:
            raise possibly_applied(client_error(THROTTLED[call.service], "slow down"), 3)
        self._engine.pause(self._weather.latency())
        return self._told(call.act, 1)

    def _told[Answer](self, act: Callable[[], Answer], retries: int) -> Answer:
        """The answer, or a refusal once it has come all the way back."""
        try:
            return act()
        except ClientError as error:
            self._engine.say(f"is refused: {error}")
            self._engine.pause(self._weather.latency())
            raise possibly_applied(error, retries) from None


def possibly_applied(error: ClientError, times: int) -> ClientError:
    """The same error after botocore sent the call so many times more (`endpoint.py`, `_send_request`)."""
    error.response["ResponseMetadata"]["RetryAttempts"] = times
    return error


def conflict(operation: str) -> ClientError:
    """Another transaction is at the same item (DynamoDB developer guide, "Transactions")."""
    if operation != "TransactWriteItems":
        return client_error("TransactionConflictException", "Transaction is ongoing for the item")
    error = client_error("TransactionCanceledException", "Transaction cancelled")
    error.response["CancellationReasons"] = [{"Code": "TransactionConflict"}]
    return error

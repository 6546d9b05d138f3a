"""The work queue, which takes names of instances to reconcile; and the scheduled function's tasks."""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from itertools import batched
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rolekeeper.aws.errors import ConflictError, RetryableError, classified
from rolekeeper.model.instance import InstanceKey, ReconcileRequest, Target

if TYPE_CHECKING:
    from types_boto3_lambda.client import LambdaClient
    from types_boto3_sqs.client import SQSClient
    from types_boto3_sqs.literals import QueueAttributeNameType
    from types_boto3_stepfunctions.client import SFNClient

SOURCE = "rolekeeper"  # of our events and messages
RECONCILE_REQUESTED = "Reconcile Requested"
ENTRIES = 10  # of one SendMessageBatch (SQS API reference)
LONGEST_DELAY = 900  # seconds (SQS API reference, `SendMessageBatchRequestEntry`)
_WAITING: "Sequence[QueueAttributeNameType]" = "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"


@dataclass(frozen=True)
class WorkQueue:
    """The one queue that every request to reconcile goes through; a `group` delays nothing but itself."""

    client: "SQSClient"
    url: str
    now: Callable[[], datetime]
    group: str = ""

    def send(
        self, instances: Iterable[InstanceKey], cause: str, correlation_id: str, *, loop_over: bool = False
    ) -> int:
        """Ask for these instances to be reconciled; returns how many were sent."""
        at, named = self.now(), {"loop-over": True} if loop_over else {}
        return self._send((request(key, cause, correlation_id, at=at, **named), 0) for key in instances)

    def send_later(self, delayed: Iterable[tuple[int, InstanceKey]], cause: str, correlation_id: str) -> int:
        """Send each after its seconds, at most `LONGEST_DELAY`."""
        at = self.now()
        return self._send((request(key, cause, correlation_id, at=at), seconds) for seconds, key in delayed)

    def put_back(self, requests: Iterable[tuple[ReconcileRequest, int]]) -> None:
        """Send requests back, each delayed by its seconds, so that a worker needn't wait for their turn."""
        messages = []
        for of, delay in requests:
            named = {"put-back": of.put_back, "loop-over": of.loop_over, "changed-tag-keys": sorted(of.changed_tags)}
            messages.append((request(of.instance, of.cause, of.correlation_id, at=of.at, **named), delay))
        self._send(messages)

    def _send(self, messages: Iterable[tuple[dict[str, Any], int]]) -> int:
        sent = 0
        for batch in batched(messages, ENTRIES):
            entries = [
                {
                    "Id": str(at),
                    "MessageBody": json.dumps(message),
                    # A fair queue (AWS_FACTS.md, "Lambda, SQS, ..."): one account's backlog delays no other's messages.
                    "MessageGroupId": quote(self.group, errors="replace")[:128] or message["account"],
                    **({"DelaySeconds": delay} if delay else {}),
                }
                for at, (message, delay) in enumerate(batch)
            ]
            with classified("sqs:SendMessage", self.url):
                answer = self.client.send_message_batch(QueueUrl=self.url, Entries=entries)  # type: ignore[arg-type]  # built above
            if first := next(iter(answer.get("Failed", ())), None):
                # Sending all again is harmless: a message is only a hint.
                raise RetryableError(first["Code"], first.get("Message", ""), "sqs:SendMessage", resource=self.url)
            sent += len(batch)
        return sent

    def waiting(self) -> int:
        """Return about how many messages wait, including those put back: SQS counts them within a minute."""
        with classified("sqs:GetQueueAttributes", self.url):
            answer = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=_WAITING)
        return sum(int(answer["Attributes"][name]) for name in _WAITING)


def request(key: InstanceKey, cause: str, correlation_id: str, at: datetime, **named: Any) -> dict[str, Any]:
    """Write a message that names one instance, in the shape of an EventBridge event; `named` are further details."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "source": SOURCE,
        "detail-type": RECONCILE_REQUESTED,
        "account": key.account,
        "region": key.region,
        "time": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "resources": [key.arn],
        "detail": {"instance-id": key.id, "cause": cause, "correlation-id": correlation_id, **named},
    }


class Task(StrEnum):
    """The scheduled function's tasks, by the `task` of its event; an event without one means a sweep."""

    SWEEP = "sweep"
    EXPIRIES = "expiries"
    FAN_OUT = "fan-out"
    ACCOUNTS = "accounts"  # names the accounts for the accounts machine
    JUDGE = "judge"  # asks an account what judging a batch of rows asks there
    JUDGED = "judged"  # judges them by what was found
    APPROVED = "approved"  # judges a row of which a person approved what is held


def event_of(task: Task, correlation_id: str, *, target: Target | None = None, **arguments: Any) -> dict[str, Any]:
    """Write the event of a task, which may be in another target than the hub's own."""
    return {"task": task.value, "id": correlation_id, **({"target": asdict(target)} if target else {}), **arguments}


def resumable(task: Task, correlation_id: str, progress: Any, *, target: Target | None = None) -> dict[str, Any]:
    """Write a task's answer, which is also the event of its next run; `progress` is a dataclass with `finished`."""
    return event_of(task, correlation_id, target=target, **asdict(progress))


@dataclass(frozen=True)
class Tasks:
    """Starts tasks of the scheduled function."""

    client: "LambdaClient"
    function: str

    def start(self, task: Task, correlation_id: str, target: Target | None = None, **arguments: Any) -> None:
        """Start a task without waiting for it; starting it twice is harmless."""
        payload = json.dumps(event_of(task, correlation_id, target=target, **arguments)).encode()
        with classified("lambda:InvokeFunction", self.function):
            self.client.invoke(FunctionName=self.function, InvocationType="Event", Payload=payload)


def digest(name: str) -> str:
    """Shorten a name to 32 of the 80 characters that an execution's may have, and to none that it may not have."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True)
class Machine:
    """A state machine whose task is the scheduled function.

    The resume machine invokes it with an event again and again, from where it stopped, until it is finished. The
    accounts machine has it do an event's task once for each account, many at once; each of these runs is given the
    event as `of`, and its `account` (statemachines/accounts.asl.json).
    """

    client: Callable[[], "SFNClient"]
    machine_arn: str

    def start(self, name: str, event: dict[str, Any]) -> None:
        """Start an execution; a second one under the same `name` isn't started."""
        text, unique = json.dumps(event, ensure_ascii=False), f"{event['task']}-{digest(name)}"
        with suppress(ConflictError), classified("states:StartExecution", self.machine_arn):
            self.client().start_execution(stateMachineArn=self.machine_arn, name=unique, input=text)

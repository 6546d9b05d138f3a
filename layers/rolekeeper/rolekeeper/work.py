"""The work queue: sending the names of instances to reconcile."""

import json
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import batched
from typing import TYPE_CHECKING, Any

from rolekeeper.announce import SOURCE, instance_arn
from rolekeeper.errors import RetryableError, classified
from rolekeeper.model import InstanceKey

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

RECONCILE_REQUESTED = "Reconcile Requested"
# SendMessageBatch takes at most 10 entries (SQS API reference).
ENTRIES = 10
# The longest that SQS keeps a message back, in seconds (SQS API reference, `SendMessageBatchRequestEntry`).
LONGEST_DELAY = 900


class WorkQueue:
    """The one queue that every request to reconcile goes through."""

    def __init__(self, client: "SQSClient", url: str, now: Callable[[], datetime]) -> None:
        self._client = client
        self._url = url
        self._now = now

    def send(self, instances: Iterable[InstanceKey], cause: str, correlation_id: str, *, delay_seconds: int = 0) -> int:
        """Ask for these instances to be reconciled; returns how many were sent.

        Args:
            instances: which.
            cause: why, for logs and history.
            correlation_id: ties together what one event caused.
            delay_seconds: how long the queue keeps the messages back, 0 to 900.

        Raises:
            RetryableError: SQS took only some. Sending all again is harmless: a message is only a hint.
        """
        sent = 0
        for batch in batched(instances, ENTRIES, strict=False):
            bodies = [json.dumps(request(key, cause, correlation_id, self._now())) for key in batch]
            delay = {"DelaySeconds": delay_seconds} if delay_seconds else {}
            entries = [{"Id": str(at), "MessageBody": body, **delay} for at, body in enumerate(bodies)]
            with classified("sqs:SendMessage", self._url):
                answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)  # type: ignore[arg-type]  # built above
            if failed := answer.get("Failed"):
                first = failed[0]
                raise RetryableError(first["Code"], first.get("Message", ""), "sqs:SendMessage", self._url)
            sent += len(batch)
        return sent


def request(key: InstanceKey, cause: str, correlation_id: str, at: datetime) -> dict[str, Any]:
    """A message that names one instance, in the shape of an EventBridge event."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "source": SOURCE,
        "detail-type": RECONCILE_REQUESTED,
        "account": key.account,
        "region": key.region,
        "time": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "resources": [instance_arn(key)],
        "detail": {"instance-id": key.id, "cause": cause, "correlation-id": correlation_id},
    }

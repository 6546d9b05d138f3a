"""The work queue in moto, which takes what Rolekeeper sends past the SDK: botocore's own part takes longest."""

from functools import cached_property
from typing import Any

import boto3
from moto.sqs.models import SQSBackend

from fakes.calls import Calls


class WorkQueue:
    """A client of SQS, made when more than sending is asked of it; `calls` counts all the same."""

    def __init__(self, session: boto3.Session, queues: SQSBackend, calls: Calls) -> None:
        self._session, self._queues, self._calls = session, queues, calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    @cached_property
    def _client(self) -> Any:
        client = self._session.client("sqs")
        self._calls.watch(client)
        return client

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803  # boto3's own names
        self._calls.starts("SendMessageBatch")
        entries = {entry["Id"]: {"MessageAttributes": {}, "DelaySeconds": None, **entry} for entry in Entries}
        sent, failed = self._queues.send_message_batch(QueueUrl.rpartition("/")[2], entries)
        self._calls.ends("SendMessageBatch")
        return {"Successful": [{"Id": each.user_id} for each in sent], "Failed": failed}  # type: ignore[attr-defined]  # moto's own

"""The dead letters: reading them, each in words, and sending all of them to the work queue again."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import batched
from typing import Any

from rolekeeper.aws.errors import classified
from rolekeeper.instances.requests import DroppedError, parse
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.control.view import LetterView
from rolekeeper_cli.errors import CommandError, WaitTimeoutError

# The most that are read: they show what happened, and a redrive takes all of them anyway.
_LOOKED_AT = 500
# SQS: messages in one call; seconds for which nobody else sees what we read, and for which we wait for more.
_BATCH, _HIDDEN, _LONG_POLL = 10, 60, 1
_POLL_SECONDS, _PATIENCE_SECONDS = 1.0, 300


class DeadLetters:
    """The dead-letter queue of a deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._url = deployment.stack.outputs["DeadLetterQueue"]
        self._arn = self._attribute(self._url, "QueueArn")

    def count(self) -> int:
        return int(self._attribute(self._url, "ApproximateNumberOfMessages"))

    @contextmanager
    def looked_at(self) -> Iterator[list[Any]]:
        """The messages, each once, at most `_LOOKED_AT`. Afterwards everyone sees them again."""
        found: dict[str, Any] = {}
        try:
            with self._deployment.progress(None, "dead letters looked at") as progress:
                while len(found) < _LOOKED_AT and (some := self._receive()):
                    found |= {each["MessageId"]: each for each in some}
                    progress.at(len(found))
            yield list(found.values())
        finally:
            for page in batched(found.values(), _BATCH):
                entries = [
                    {"Id": str(at), "ReceiptHandle": each["ReceiptHandle"], "VisibilityTimeout": 0}
                    for at, each in enumerate(page)
                ]
                with classified("sqs:ChangeMessageVisibility", self._url):
                    sqs = self._deployment.client("sqs")
                    sqs.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)

    def move(self) -> str:
        """Start to move all of them; returns the task's handle."""
        to = self._attribute(self._deployment.stack.outputs["WorkQueue"], "QueueArn")
        asked = {"SourceArn": self._arn, "DestinationArn": to}
        answer = self._deployment.ask("sqs:StartMessageMoveTask", self._arn, **asked)
        return str(answer["TaskHandle"])

    def wait(self, task: str, there: int) -> int:
        """Wait until they are moved; returns how many were. Raises CommandError (SQS stopped), WaitTimeoutError."""
        with self._deployment.progress(there, "sent to the work queue") as progress:
            for left in self._deployment.looks(_POLL_SECONDS, _PATIENCE_SECONDS):
                asked = {"SourceArn": self._arn, "MaxResults": 10}
                answer = self._deployment.ask("sqs:ListMessageMoveTasks", self._arn, **asked)
                # A task that has ended is listed without its handle (SQS API reference): then it is the newest.
                [newest, *_] = sorted(answer["Results"], key=lambda each: -each["StartedTimestamp"])
                mine = next((each for each in answer["Results"] if each.get("TaskHandle") == task), newest)
                moved = int(mine.get("ApproximateNumberOfMessagesMoved", 0))
                progress.at(moved)
                if mine["Status"] == "COMPLETED":
                    return moved
                if mine["Status"] not in {"RUNNING", "CANCELLING"}:
                    why = mine.get("FailureReason", mine["Status"])
                    raise CommandError(f"SQS stopped after {moved:,} of them: {why}", "run rolekeeper redrive again")
                if left.is_over:
                    what = f"SQS has moved {moved:,} of {there:,} after {_PATIENCE_SECONDS} s, and goes on"
                    raise WaitTimeoutError(what, f"see: aws sqs list-message-move-tasks --source-arn {self._arn}")
        raise AssertionError("a look ends it")

    def _receive(self) -> list[Any]:
        answer = self._deployment.ask(
            "sqs:ReceiveMessage",
            self._url,
            QueueUrl=self._url,
            MaxNumberOfMessages=_BATCH,
            VisibilityTimeout=_HIDDEN,
            WaitTimeSeconds=_LONG_POLL,
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        found: list[Any] = answer.get("Messages", [])
        return found

    def _attribute(self, url: str, name: str) -> str:
        answer = self._deployment.ask("sqs:GetQueueAttributes", url, QueueUrl=url, AttributeNames=[name])
        return str(answer["Attributes"][name])


def letter_view(message: Mapping[str, Any], deployment: Deployment) -> LetterView:
    """One dead letter: what it is, what it is about, and why it is there, if it says so."""
    sent = int(message.get("Attributes", {}).get("SentTimestamp", 0)) / 1_000
    what, about, why = _read(message["Body"], deployment)
    return LetterView(
        since=datetime.fromtimestamp(sent, UTC).replace(microsecond=0),
        what=what,
        of=about,
        why=why,
        message_id=message["MessageId"],
        body=message["Body"],
    )


def _read(text: str, deployment: Deployment) -> tuple[str, str, str]:
    try:
        body = json.loads(text)
    except ValueError:
        return "not JSON", "", text[:100]
    if not isinstance(body, dict):
        return "no JSON object", "", text[:100]
    try:
        request = parse(body, only=deployment.settings.sole_target, now=deployment.now())
    except DroppedError as dropped:
        return _other(body, str(dropped))
    return "an instance to look at", request.instance.id, request.cause


def _other(body: Mapping[str, Any], dropped: str) -> tuple[str, str, str]:
    """What names no instance (docs/runbook.md#dead-letters); the work queue's function drops it, and logs that."""
    context = body.get("requestContext", {})
    condition = str(context.get("condition", "")) if isinstance(context, Mapping) else ""
    if "DDBStreamBatchInfo" in body:
        table = str(body["DDBStreamBatchInfo"].get("streamArn", "")).partition(":table/")[2].partition("/")[0]
        return "edits that weren't worked on; the sweep does it", table, condition
    if "requestPayload" in body:
        said = body.get("responsePayload") or {}
        why = said.get("errorMessage", "") if isinstance(said, Mapping) else said
        task = body["requestPayload"].get("task", "sweep") if isinstance(body["requestPayload"], Mapping) else "sweep"
        return "a scheduled run that failed; the next one does it", str(task), str(why or condition)
    kind = body.get("detail-type")
    return (f"an event: {kind}" if kind else "something else"), str(body.get("source", "")), dropped

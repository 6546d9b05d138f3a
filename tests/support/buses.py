"""An event bus of the embedded AWS, with a queue that takes what a rule on it matches."""

import json
import uuid
from typing import Any, Self

from rolekeeper_local.embedded import EmbeddedAws


class Bus:
    """A bus of an account and Region, as its administrator sees it.

    Args:
        aws: where.
        account: whose, and
        region: of which Region.
        name: the bus's; one that isn't `default` is made.
    """

    def __init__(self, aws: EmbeddedAws, account: str, region: str = "us-east-1", name: str = "default") -> None:
        self.session = aws.session(account=account, region=region)
        self.events = self.session.client("events")
        self.name = name
        self.arn = f"arn:aws:events:{region}:{account}:event-bus/{name}"
        if name != "default":
            self.events.create_event_bus(Name=name)
        self._sqs = self.session.client("sqs")
        self._queue = ""
        self._heard: list[Any] = []

    def rule(self, pattern: dict[str, Any], *, name: str = "", **target: str) -> None:
        """Make a rule on it with one target."""
        name = name or f"rule-{uuid.uuid4().hex[:8]}"
        self.events.put_rule(Name=name, EventBusName=self.name, EventPattern=json.dumps(pattern))
        targets: Any = [{"Id": "1", **target}]
        self.events.put_targets(Rule=name, EventBusName=self.name, Targets=targets)

    def listen(self, pattern: dict[str, Any]) -> Self:
        """Keep from now on what the pattern matches."""
        self._queue = self._sqs.create_queue(QueueName=f"heard-{uuid.uuid4().hex[:8]}")["QueueUrl"]
        answer = self._sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])
        self.rule(pattern, Arn=answer["Attributes"]["QueueArn"])
        return self

    def heard(self) -> list[Any]:
        for message in self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages", []):
            self._heard.append(json.loads(message["Body"]))
            self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
        return self._heard

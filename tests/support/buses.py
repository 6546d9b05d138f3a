"""A queue of the embedded AWS that takes what is sent to it, and an event bus with such a queue behind a rule."""

import json
import uuid
from typing import Any, Self, cast

import boto3

from rolekeeper_local.embedded import EmbeddedAws


class Queue:
    """A queue of a session's account and Region; `attributes` are those of SQS."""

    def __init__(self, session: boto3.Session, **attributes: Any) -> None:
        self.sqs, asked = session.client("sqs"), cast("Any", attributes)
        self.url = self.sqs.create_queue(QueueName=f"queue-{uuid.uuid4().hex[:8]}", Attributes=asked)["QueueUrl"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        self.arn = answer["Attributes"]["QueueArn"]
        self._taken: list[str] = []

    def lets_send(self, service: str, **condition: Any) -> Self:
        """Have it take what a service sends, for which the real AWS needs a policy."""
        allow = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sqs:SendMessage"}
        statement = {**allow, "Resource": self.arn, **({"Condition": condition} if condition else {})}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.sqs.set_queue_attributes(QueueUrl=self.url, Attributes={"Policy": policy})
        return self

    def sends(self, body: str, **more: Any) -> None:
        self.sqs.send_message(QueueUrl=self.url, MessageBody=body, **more)

    def receive(self, **how: Any) -> list[Any]:
        """At most ten messages, which stay there."""
        found = self.sqs.receive_message(QueueUrl=self.url, **{"MaxNumberOfMessages": 10, **how})
        return list(found.get("Messages", []))

    def taken(self) -> list[str]:
        for message in self.receive():
            self._taken.append(message["Body"])
            self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return self._taken


class Bus:
    """A bus of an account and Region, as its administrator sees it; one that isn't `default` is made."""

    def __init__(self, aws: EmbeddedAws, account: str = "", region: str = "us-east-1", name: str = "default") -> None:
        self.session = aws.session(account=account, region=region)
        self.events = self.session.client("events")
        self.name = name
        self.arn = f"arn:aws:events:{region}:{account}:event-bus/{name}"
        if name != "default":
            self.events.create_event_bus(Name=name)

    def rule(self, pattern: dict[str, Any], *, name: str = "", **target: Any) -> str:
        """Make a rule on it with one target; returns its name."""
        name = name or f"rule-{uuid.uuid4().hex[:8]}"
        self.events.put_rule(Name=name, EventBusName=self.name, EventPattern=json.dumps(pattern))
        targets: Any = [{"Id": "1", **target}]
        self.events.put_targets(Rule=name, EventBusName=self.name, Targets=targets)
        return name

    def lets_in(self, principal: object, **condition: Any) -> None:
        """Have its policy let this principal send to it, under a condition if one is given."""
        statement = {"Sid": "it", "Effect": "Allow", "Principal": principal, "Action": "events:PutEvents"}
        statement |= {"Resource": self.arn, **({"Condition": condition} if condition else {})}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.events.put_permission(EventBusName=self.name, Policy=policy)

    def forget(self, rule: str) -> None:
        self.events.remove_targets(Rule=rule, EventBusName=self.name, Ids=["1"])
        self.events.delete_rule(Name=rule, EventBusName=self.name)

    def listen(self, pattern: dict[str, Any]) -> Self:
        """Keep from now on what the pattern matches."""
        self._queue = Queue(self.session).lets_send("events")
        self.listening = self.rule(pattern, Arn=self._queue.arn)
        return self

    def heard(self) -> list[Any]:
        return [json.loads(each) for each in self._queue.taken()]

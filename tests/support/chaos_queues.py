"""The two queues as an operator sees them: whether work waits, what the dead letters are, and the redrive."""

import json
import time
from typing import Any

from rolekeeper.aws.queue import Task
from rolekeeper.storage import layout
from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually

# Messages that ask for nothing, with the reason for which they are dropped.
POISON = {
    "no JSON at all": "not JSON",
    '{"requestPayload": "written by hand"}': "unknown kind of event",
    '{"resources": [], "detail": {}}': "unknown kind of event",
}


class Queues:
    """The work queue, the dead-letter queue and the retry loops.

    Attributes:
        tries: after how many a message becomes a dead letter.
        poisoned: ids of the messages that `poison` put among the dead letters.
    """

    def __init__(self, world: EmulatedAccount, tries: int) -> None:
        self._world = world
        session, outputs = world.aws.session(), world.aws.stack_outputs()
        self._sqs, self._steps = session.client("sqs"), session.client("stepfunctions")
        self._machine = outputs["RetryStateMachine"]
        self.work, self.dead = outputs["WorkQueue"], outputs["DeadLetterQueue"]
        self.tries = tries
        self.poisoned: set[str] = set()

    def arn(self, url: str) -> str:
        return self._attributes(url)["QueueArn"]

    def set_patience(self, visible_after: int) -> None:
        """How soon a message comes again whose function failed, in seconds."""
        policy = {"deadLetterTargetArn": self.arn(self.dead), "maxReceiveCount": self.tries}
        attributes: Any = {"VisibilityTimeout": str(visible_after), "RedrivePolicy": json.dumps(policy)}
        self._sqs.set_queue_attributes(QueueUrl=self.work, Attributes=attributes)

    def poison(self) -> None:
        """Put messages among the dead letters that name no instance."""
        for body in POISON:
            self.poisoned.add(self._sqs.send_message(QueueUrl=self.dead, MessageBody=body)["MessageId"])

    def waiting(self, url: str) -> int:
        """Messages there, hidden and delayed ones too."""
        return sum(int(n) for name, n in self._attributes(url).items() if name.startswith("ApproximateNumberOf"))

    def become_quiet(self, seconds: float) -> None:
        """Wait until no message waits or is worked on, and no retry loop runs, several looks in a row."""
        looks = [1, 1, 1]

        def quiet() -> bool:
            loops = self._steps.list_executions(stateMachineArn=self._machine, statusFilter="RUNNING")["executions"]
            looks[:] = [*looks[1:], self.waiting(self.work) + len(loops)]
            time.sleep(0.5)
            return not any(looks)

        eventually(quiet, seconds)

    def settle(self, seconds: float) -> None:
        """Wait until nothing that was written of an instance has yet to be followed, either.

        Follow-ups wait in the state table. The minute's task is run at once, instead of at its next minute.
        """
        minute = self._world.aws.function_name("OnSchedule")

        def settled() -> bool:
            self.become_quiet(seconds)
            if following := self._following():
                self._world.lambda_.invoke(FunctionName=minute, Payload=json.dumps({"task": Task.EXPIRIES}).encode())
            return not following

        eventually(settled, seconds)

    def _following(self) -> int:
        answer = self._world.dynamodb.query(
            TableName=self._world.state_table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": layout.FOLLOW_UPS}},
            Select="COUNT",
            ConsistentRead=True,
        )
        return int(answer["Count"])

    def letters(self) -> list[Any]:
        """Every dead letter, each as it is received first."""
        found: dict[str, Any] = {}
        while got := self._sqs.receive_message(
            QueueUrl=self.dead, MaxNumberOfMessages=10, VisibilityTimeout=5, AttributeNames=["All"]
        ).get("Messages"):
            found = {each["MessageId"]: each for each in got} | found
        return list(found.values())

    def redrive(self) -> int:
        """Send all dead letters to the work queue, as docs/runbook.md says; how many that were."""
        eventually(lambda: self._attributes(self.dead)["ApproximateNumberOfMessagesNotVisible"] == "0")
        number = self.waiting(self.dead)
        self._sqs.start_message_move_task(SourceArn=self.arn(self.dead), DestinationArn=self.arn(self.work))
        return number

    def _attributes(self, url: str) -> dict[Any, str]:
        return self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]

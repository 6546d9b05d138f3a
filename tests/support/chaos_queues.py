"""The two queues as an operator sees them: whether work waits, what the dead letters are, and the redrive."""

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rolekeeper.aws.queue import Task
from rolekeeper.model.instance import InstanceKey, Target, Timer
from rolekeeper.storage import layout
from rolekeeper.storage.state import State, Store
from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually

# Messages that ask for nothing, with the reason for which they are dropped.
POISON = {
    "no JSON at all": "not JSON",
    '{"requestPayload": "written by hand"}': "unknown kind of event",
    '{"resources": [], "detail": {}}': "unknown kind of event",
}


class Queues:
    """The work queue, the dead-letter queue and the retry loops; a message becomes a dead letter after so many `tries`.

    `poisoned` are the ids of the messages that `poison` put among the dead letters.
    """

    def __init__(self, world: EmulatedAccount, tries: int) -> None:
        self._world = world
        session, outputs = world.aws.session(), world.aws.stack_outputs()
        self._sqs, self._steps = session.client("sqs"), session.client("stepfunctions")
        self._machine = outputs["RetryStateMachine"]
        home = Target(world.account, world.region)
        self._state = State(Store(world.dynamodb, world.state_table), home, home, lambda pin: pin)
        self.work, self.dead = outputs["WorkQueue"], outputs["DeadLetterQueue"]
        self.tries = tries
        self.poisoned: set[str] = set()

    def arn(self, url: str) -> str:
        return self._attributes(url)["QueueArn"]

    def set_patience(self, visible_after: int) -> None:
        """After how many seconds a message is received again whose function failed."""
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
        """Wait until no message waits or is worked on, and no retry loop runs, three looks in a row."""
        deadline, quiet = time.monotonic() + seconds, 0
        while quiet < 3:
            loops = self._steps.list_executions(stateMachineArn=self._machine, statusFilter="RUNNING")["executions"]
            quiet = 0 if loops or self.waiting(self.work) else quiet + 1
            assert time.monotonic() < deadline, f"not quiet within {seconds} s"
            time.sleep(0.5)

    def settle(self, seconds: float) -> None:
        """Wait until no change has yet to be followed up, either.

        Follow-ups wait for a minute in the state table. Here they are due at once: no function runs meanwhile, so none
        can write what a follow-up would have to find later. Those of changes that wait for their turn stay: a reconcile
        before its turn changes nothing, and then nothing would come back to it.
        """
        minute, deadline = self._world.aws.function_name("OnSchedule"), time.monotonic() + seconds
        self.become_quiet(seconds)
        while waiting := [*self._state.timers_due(datetime.max.replace(tzinfo=UTC), layout.FOLLOW_UPS)]:
            assert time.monotonic() < deadline, f"not settled within {seconds} s: {waiting}"
            timers = [each for each in waiting if isinstance(each, Timer) and not self._waits_for_turn(each)]
            with self._world.without_table_policy():
                for timer in timers:
                    self._state.arm(replace(timer, due=timer.due - timedelta(hours=1)))
                self._state.clear_timers(*timers)
            self._world.lambda_.invoke(FunctionName=minute, Payload=json.dumps({"task": Task.EXPIRIES}).encode())
            self.become_quiet(seconds)

    def _waits_for_turn(self, timer: Timer) -> bool:
        assert isinstance(timer.subject, InstanceKey)
        condition = self._state.read([timer.subject], ()).record(timer.subject).condition
        return bool(condition and condition.watched_until and condition.watched_until > datetime.now(UTC))

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


def explanation(message: Mapping[str, Any], *, ours: Collection[str], fleet: Collection[str], tries: int) -> str:
    """Why it is a dead letter, by the table in docs/runbook.md, as ReceiveMessage first gives it; empty: unexplained.

    `ours` and `fleet` are ids: of the messages that the story put there, and of all instances that there were. `tries`
    is the work queue's maxReceiveCount.
    """
    if message["MessageId"] in ours:
        return "put there by the story"
    try:
        body = json.loads(message["Body"])
    except ValueError:
        return ""
    if "DDBStreamBatchInfo" in body:
        return "an edit that could not be checked: the sweep does"
    if "requestPayload" in body:
        return "a sweep or a minute that failed twice"
    named = {resource.rpartition("/")[2] for resource in body.get("resources", ())}
    if not named or not named <= set(fleet):
        return ""
    if body["source"] == "rolekeeper" and body["detail"].get("loop-failed"):
        return "a retry loop whose function failed"
    # Read here once more than it was tried there.
    if body["source"] in ("aws.ec2", "aws.tag", "rolekeeper"):
        tried = int(message["Attributes"]["ApproximateReceiveCount"]) - 1
        return f"tried {tries} times" if tried == tries else ""
    return ""

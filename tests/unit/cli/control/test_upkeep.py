"""sweep and redrive: having missed work done now."""

import io
import json
from typing import Any

import pytest

from fixtures.mappings import Desk
from fixtures.terminal import Terminal, lines
from rolekeeper.aws.queue import request
from rolekeeper.model.instance import ReconcileRequest

# ---- sweep ----


class FakeLambda:
    """Lambda's Invoke of one function."""

    def __init__(self, answer: Any, error: str = "") -> None:
        self.asked: list[dict[str, Any]] = []
        self._answer = answer
        self._error = error

    def invoke(self, **asked: Any) -> dict[str, Any]:
        self.asked.append({**asked, "Payload": json.loads(asked["Payload"])})
        failed = {"FunctionError": self._error} if self._error else {}
        return {"Payload": io.BytesIO(json.dumps(self._answer).encode()), **failed}


SWEPT = {"instances": 1200, "sent": 3, "mappings": 7, "mappings_changed": 1, "finished": True, "problems": []}


def test_the_scheduled_function_sweeps_and_nobody_must_wait(terminal: Terminal) -> None:
    terminal.clients["lambda"] = invoked = FakeLambda(SWEPT)
    for options in ((), ("--no-wait",)):
        assert terminal("sweep", *options).exit_code == 0
    assert [each["InvocationType"] for each in invoked.asked] == ["RequestResponse", "Event"]
    assert {(each["FunctionName"], each["Payload"]["task"]) for each in invoked.asked} == {("OnSchedule", "sweep")}


@pytest.mark.parametrize(
    ("swept", "code", "said"),
    [
        ({"withheld": 4_000}, 0, "4,000 more differ, and weren't sent: the work queue is full"),
        ({"problems": ["app=web: throttled"]}, 1, "! app=web: throttled"),
        ({"finished": False}, 1, "takes more than one run"),
    ],
)
def test_what_a_sweep_did_not_do_is_told(terminal: Terminal, swept: dict[str, Any], code: int, said: str) -> None:
    terminal.clients["lambda"] = FakeLambda(SWEPT | swept)
    ran = terminal("sweep")
    assert (ran.exit_code, said in ran.stderr) == (code, True), ran.output


def test_a_function_that_fails_is_told_with_its_words(terminal: Terminal) -> None:
    terminal.clients["lambda"] = FakeLambda({"errorMessage": "no table", "errorType": "X"}, "Unhandled")
    ran = terminal("sweep")
    assert (ran.exit_code, "the sweep failed: no table" in ran.stderr) == (1, True)
    terminal.clients["lambda"] = FakeLambda({})
    assert "Error: the sweep reported no finished" in terminal("sweep").stderr


# ---- redrive ----


class FakeMoves:
    """SQS with its move tasks: each look moves some of what is in the dead-letter queue. The rest is moto's."""

    def __init__(self, sqs: Any, source: str, to: str, *, step: int = 10, fails: str = "") -> None:
        self._sqs = sqs
        self._queues = source, to
        self._step = step
        self._fails = fails
        self.moved: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sqs, name)

    def start_message_move_task(self, *, SourceArn: str, DestinationArn: str) -> dict[str, str]:  # noqa: N803  # boto3's own
        assert (SourceArn.endswith(":dead"), DestinationArn.endswith(":work")) == (True, True)
        self.moved = 0
        return {"TaskHandle": "task"}

    def list_message_move_tasks(self, *, SourceArn: str, MaxResults: int) -> dict[str, Any]:  # noqa: N803, ARG002  # the same
        assert self.moved is not None
        source, to = self._queues
        some = self._sqs.receive_message(QueueUrl=source, MaxNumberOfMessages=self._step).get("Messages", [])
        for each in some:
            self._sqs.send_message(QueueUrl=to, MessageBody=each["Body"])
            self._sqs.delete_message(QueueUrl=source, ReceiptHandle=each["ReceiptHandle"])
        self.moved += len(some)
        status = "FAILED" if self._fails else "RUNNING" if some else "COMPLETED"
        task = {"Status": status, "StartedTimestamp": 2, "ApproximateNumberOfMessagesMoved": self.moved}
        named = {"TaskHandle": "task"} if status == "RUNNING" else {}
        why = {"FailureReason": self._fails} if self._fails else {}
        older = {"Status": "COMPLETED", "StartedTimestamp": 1, "ApproximateNumberOfMessagesMoved": 99}
        return {"Results": [older, {**task, **named, **why}]}


@pytest.fixture
def dead(terminal: Terminal, desk: Desk) -> str:
    """The dead-letter queue's URL."""
    url: str = desk.sqs.create_queue(QueueName="dead")["QueueUrl"]
    terminal.outputs["DeadLetterQueue"] = url
    terminal.clients["sqs"] = FakeMoves(desk.sqs, url, desk.queue_url)
    return url


def letter(desk: Desk, dead: str, body: str = "x") -> None:
    desk.sqs.send_message(QueueUrl=dead, MessageBody=body)


def test_what_lies_there_is_shown_and_all_of_it_is_sent_again(terminal: Terminal, desk: Desk, dead: str) -> None:
    ids = [f"i-{number:017x}" for number in range(1, 13)]
    for each in ids:
        wake: ReconcileRequest = desk.world.wake(each)
        letter(desk, dead, json.dumps(request(wake.instance, "sweep", "c", desk.world.clock.now())))
    ran = terminal("redrive", "--yes")
    assert sorted(row.split()[1] for row in lines(ran.stdout)[1:]) == ids, "more than one message brings"
    assert ran.stderr == "Sent to the work queue: 12.\n"
    assert desk.sent_ids() == ids


def test_a_move_that_fails_or_takes_too_long_is_told(terminal: Terminal, desk: Desk, dead: str) -> None:
    letter(desk, dead)
    terminal.clients["sqs"] = FakeMoves(desk.sqs, dead, desk.queue_url, fails="AccessDenied")
    ran = terminal("redrive", "--yes")
    assert (ran.exit_code, "SQS stopped after 1 of them: AccessDenied" in ran.stderr) == (1, True)

    class Slow(FakeMoves):
        def list_message_move_tasks(self, **_: Any) -> dict[str, Any]:
            return {"Results": [{"TaskHandle": "task", "Status": "RUNNING", "StartedTimestamp": 3}]}

    letter(desk, dead)
    terminal.clients["sqs"] = Slow(desk.sqs, dead, desk.queue_url)
    ran = terminal("redrive", "--yes")
    assert (ran.exit_code, "SQS has moved 0 of 1 after 300 s, and goes on" in ran.stderr) == (255, True)
    assert terminal("redrive", "--yes", "--no-wait").exit_code == 0

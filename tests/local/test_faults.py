"""The embedded AWS when things go wrong on purpose, and its queues: what is lost, what comes again, what is counted."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fakes.listener import Listener, make_table
from rolekeeper_local.embedded import EmbeddedAws
from rolekeeper_local.place import REPOSITORY
from support.ports import free_port
from support.waiting import eventually

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]


# The SDK tries ten times by itself otherwise, which takes its time.
ONCE = {"AWS_RETRY_MODE": "standard", "AWS_MAX_ATTEMPTS": "1"}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    with EmbeddedAws(port=free_port(), directory=tmp_path_factory.mktemp("aws")) as embedded:
        make_table(embedded, "heard")
        yield embedded


@pytest.fixture(autouse=True)
def calm_again(aws: EmbeddedAws) -> Iterator[None]:
    yield
    aws.steer_chaos()


def invoke(aws: EmbeddedAws, listener: Listener, event: Any = None) -> str:
    """Have it run; its error, empty for none."""
    answer = aws.session().client("lambda").invoke(FunctionName=listener.name, Payload=json.dumps(event or {}))
    said = json.loads(answer["Payload"].read())
    return str(said["errorMessage"]) if answer.get("FunctionError") else ""


# ---- calls of functions ----


def test_a_function_that_gets_no_answer_has_done_it_all_the_same(aws: EmbeddedAws) -> None:
    listener = Listener(aws, **ONCE)
    assert invoke(aws, listener) == ""
    aws.steer_chaos(calls={"dynamodb": {"lose-answer": 1}})
    assert "Connection was closed before we received a valid response" in invoke(aws, listener)
    assert len(listener.heard()) == 2


@pytest.mark.parametrize(("fault", "code"), [("throttle", "ProvisionedThroughput"), ("error", "InternalError")])
def test_a_function_that_is_refused_has_done_nothing(aws: EmbeddedAws, fault: str, code: str) -> None:
    listener, before = Listener(aws, **{**ONCE, "AWS_MAX_ATTEMPTS": "2"}), aws.chaos_counts()
    aws.steer_chaos(calls={"*": {fault: 1}})
    assert code in invoke(aws, listener)
    assert listener.heard() == []
    kind = f"{fault} dynamodb"
    assert aws.chaos_counts()[kind] == before.get(kind, 0) + 2, "the SDK tries again"


@pytest.mark.parametrize(("fault", "done"), [("kill-before", 0), ("kill-after", 1)])
def test_a_function_dies_in_its_call_and_the_next_invocation_has_a_process_of_its_own(
    aws: EmbeddedAws, fault: str, done: int
) -> None:
    listener = Listener(aws)
    aws.steer_chaos(calls={"dynamodb": {fault: 1}})
    assert invoke(aws, listener) == "Worker process died"
    assert len(listener.heard()) == done
    aws.steer_chaos()
    assert invoke(aws, listener) == ""


def test_restarted_functions_lose_what_they_were_at_and_work_again(aws: EmbeddedAws) -> None:
    listener, lambda_ = Listener(aws, TAKES="45"), aws.session().client("lambda")
    lambda_.put_function_event_invoke_config(FunctionName=listener.name, MaximumRetryAttempts=1)
    began = time.monotonic()
    lambda_.invoke(FunctionName=listener.name, InvocationType="Event", Payload=b"{}")
    eventually(listener.heard)
    aws.restart_functions()
    # Killed in its sleep, it is tried again long before it would have ended.
    eventually(lambda: len(listener.heard()) == 2, 40)
    assert time.monotonic() - began < 45


def test_chaos_that_makes_no_sense_is_refused_with_a_reason(aws: EmbeddedAws) -> None:
    with pytest.raises(OSError, match="400"):
        aws.steer_chaos(calls={"ec2": {"explode": 1}})


# ---- queues ----


class Pair:
    """A queue and the one for its dead letters."""

    def __init__(self, aws: EmbeddedAws, tries: int = 1, visible_after: int = 1) -> None:
        self._aws, self.sqs = aws, aws.session().client("sqs")
        name = uuid.uuid4().hex
        self.dead = self.sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
        policy = json.dumps({"deadLetterTargetArn": self.arn(self.dead), "maxReceiveCount": tries})
        attributes: Any = {"RedrivePolicy": policy, "VisibilityTimeout": str(visible_after)}
        self.work = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def arn(self, url: str) -> str:
        return self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def bodies(self, url: str) -> set[str]:
        found = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        return {each["Body"] for each in found.get("Messages", ())}

    def counts(self, url: str) -> dict[str, int]:
        return self._aws.message_counts().get(self.arn(url), {})


def test_dead_letters_go_back_to_where_they_came_from_as_new_messages(aws: EmbeddedAws) -> None:
    pair = Pair(aws)
    for body in ("one", "two"):
        pair.sqs.send_message(QueueUrl=pair.work, MessageBody=body)
    pair.sqs.receive_message(QueueUrl=pair.work, MaxNumberOfMessages=10)
    eventually(lambda: not pair.bodies(pair.work) and pair.bodies(pair.dead) == {"one", "two"})
    pair.sqs.start_message_move_task(SourceArn=pair.arn(pair.dead))
    (task,) = pair.sqs.list_message_move_tasks(SourceArn=pair.arn(pair.dead))["Results"]
    assert (task["Status"], task["ApproximateNumberOfMessagesMoved"]) == ("COMPLETED", 2)
    again = pair.sqs.receive_message(QueueUrl=pair.work, MaxNumberOfMessages=10, AttributeNames=["All"])["Messages"]
    assert {each["Body"] for each in again} == {"one", "two"}
    assert {each["Attributes"]["ApproximateReceiveCount"] for each in again} == {"1"}
    assert pair.bodies(pair.dead) == set()
    assert pair.counts(pair.dead)["redriven"] == 2


# ministack's own order: dead letters go, and while others have the lock a message becomes visible.
DUE_IN_BETWEEN = """
from rolekeeper_local import queues
from ministack.services import sqs
queues.install()
policy = '{"deadLetterTargetArn": "arn:dead", "maxReceiveCount": "3"}'
message = {"id": "spent", "receive_count": 3, "visible_at": 0.0}
queue = {"is_fifo": False, "attributes": {"QueueArn": "arn:work", "RedrivePolicy": policy}, "messages": [message]}
print(len(sqs._collect_msgs(queue, 10, 30)), message["receive_count"], message["visible_at"])
"""


def test_a_message_is_received_no_more_often_than_its_queue_says() -> None:
    python = [str(REPOSITORY / ".envs/emulator/bin/python"), "-c", DUE_IN_BETWEEN]
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY / "local")}
    done = subprocess.run(python, env=environ, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split()[-3:] == ["0", "3", "0.0"]


def test_only_dead_letters_can_be_redriven(aws: EmbeddedAws) -> None:
    pair = Pair(aws)
    with pytest.raises(ClientError, match="no dead-letter queue"):
        pair.sqs.start_message_move_task(SourceArn=pair.arn(pair.work))


def test_each_message_that_was_received_is_accounted_for(aws: EmbeddedAws) -> None:
    pair, listener = Pair(aws, visible_after=5), Listener(aws, **ONCE)
    invoke(aws, listener)
    aws.session().client("lambda").create_event_source_mapping(
        FunctionName=listener.name,
        EventSourceArn=pair.arn(pair.work),
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    for number in range(5):
        pair.sqs.send_message(QueueUrl=pair.work, MessageBody=str(number))
    eventually(lambda: pair.counts(pair.work).get("deleted") == 5)
    aws.steer_chaos(calls={"dynamodb": {"error": 1}})
    pair.sqs.send_message(QueueUrl=pair.work, MessageBody="fails")
    eventually(lambda: pair.bodies(pair.dead) == {"fails"}, 30)
    counts = pair.counts(pair.work)
    assert {name: counts[name] for name in ("sent", "received", "deleted", "dead", "lost")} == {
        "sent": 6,
        "received": 6,
        "deleted": 5,
        "dead": 1,
        "lost": 0,
    }

"""The embedded AWS when things go wrong on purpose, and its queues: what is lost, what comes again, what is counted."""

import json
import os
import subprocess
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from rolekeeper_local.embedded import EmbeddedAws
from rolekeeper_local.place import REPOSITORY
from support import chaos_faults
from support.buses import Queue
from support.listener import Listener, make_table
from support.ports import free_port
from support.waiting import eventually

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

# The SDK tries ten times by itself otherwise, which takes its time.
ONCE = {"AWS_RETRY_MODE": "standard", "AWS_MAX_ATTEMPTS": "1"}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    with EmbeddedAws(port=free_port(), directory=tmp_path_factory.mktemp("aws"), plugin=chaos_faults.FILE) as embedded:
        make_table(embedded, "heard")
        yield embedded


@pytest.fixture(autouse=True)
def calm_again(aws: EmbeddedAws) -> Iterator[None]:
    yield
    chaos_faults.steer(aws)


def invoke(aws: EmbeddedAws, listener: Listener) -> str:
    """Have it run; its error, empty for none."""
    answer = aws.session().client("lambda").invoke(FunctionName=listener.name, Payload="{}")
    said = json.loads(answer["Payload"].read())
    return str(said["errorMessage"]) if answer.get("FunctionError") else ""


# ---- calls of functions ----


@pytest.mark.parametrize(
    ("fault", "said", "done"),
    [
        ("lose-answer", "Connection was closed before we received a valid response", 1),
        ("throttle", "ProvisionedThroughput", 0),
        ("error", "InternalError", 0),
        ("kill-before", "Worker process died", 0),
        ("kill-after", "Worker process died", 1),
    ],
)
def test_a_functions_call_meets_its_fault_and_the_next_invocation_none(
    aws: EmbeddedAws, fault: str, said: str, done: int
) -> None:
    listener, kind = Listener(aws, **ONCE), f"{fault} dynamodb"
    before = chaos_faults.counts(aws).get(kind, 0)
    chaos_faults.steer(aws, calls={"*": {fault: 1}})
    assert said in invoke(aws, listener)
    assert len(listener.heard()) == done
    assert chaos_faults.counts(aws)[kind] == before + 1
    chaos_faults.steer(aws)
    assert invoke(aws, listener) == ""


# ---- queues ----


class Pair:
    """A queue and the one for its dead letters, after one try."""

    def __init__(self, aws: EmbeddedAws, visible_after: int = 1) -> None:
        self._aws, self.dead = aws, Queue(aws.session())
        policy = json.dumps({"deadLetterTargetArn": self.dead.arn, "maxReceiveCount": 1})
        self.work = Queue(aws.session(), RedrivePolicy=policy, VisibilityTimeout=str(visible_after))

    def counts(self, queue: Queue) -> dict[str, int]:
        return self._aws.message_counts().get(queue.arn, {})


def bodies(queue: Queue) -> set[str]:
    return {each["Body"] for each in queue.receive(VisibilityTimeout=0)}


def test_dead_letters_go_back_to_where_they_came_from_as_new_messages(aws: EmbeddedAws) -> None:
    pair = Pair(aws)
    work, dead, sqs = pair.work, pair.dead, pair.work.sqs
    for body in ("one", "two"):
        work.sends(body)
    work.receive()
    eventually(lambda: not bodies(work) and bodies(dead) == {"one", "two"})
    with pytest.raises(ClientError, match="no dead-letter queue"):
        sqs.start_message_move_task(SourceArn=work.arn)
    sqs.start_message_move_task(SourceArn=dead.arn)
    (task,) = sqs.list_message_move_tasks(SourceArn=dead.arn)["Results"]
    assert (task["Status"], task["ApproximateNumberOfMessagesMoved"]) == ("COMPLETED", 2)
    again = work.receive(AttributeNames=["All"])
    assert {each["Body"] for each in again} == {"one", "two"}
    assert {each["Attributes"]["ApproximateReceiveCount"] for each in again} == {"1"}
    assert bodies(dead) == set()
    assert pair.counts(dead)["redriven"] == 2


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


def test_each_message_that_was_received_is_accounted_for(aws: EmbeddedAws) -> None:
    # Long enough for the slowest machine: one that is still being done would be a dead letter by then.
    pair, listener = Pair(aws, visible_after=300), Listener(aws, **ONCE)
    invoke(aws, listener)
    listener.reads(pair.work.arn, FunctionResponseTypes=["ReportBatchItemFailures"])
    for number in range(5):
        pair.work.sends(str(number))
    eventually(lambda: pair.counts(pair.work).get("deleted") == 5)
    chaos_faults.steer(aws, calls={"dynamodb": {"error": 1}})
    pair.work.sqs.set_queue_attributes(QueueUrl=pair.work.url, Attributes={"VisibilityTimeout": "1"})
    pair.work.sends("fails")
    eventually(lambda: bodies(pair.dead) == {"fails"})
    counts = pair.counts(pair.work)
    assert [counts[name] for name in ("sent", "received", "deleted", "dead", "lost")] == [6, 6, 5, 1, 0]

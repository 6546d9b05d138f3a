"""The work queue, and the tasks and machines that are started: what each is sent, and what a refusal means."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from fixtures.account import FakeAccount, refusing
from rolekeeper.app import App
from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, RetryableError
from rolekeeper.aws.queue import Task, WorkQueue, resumable
from rolekeeper.instances.retry import RetryLoop
from rolekeeper.mappings.fan_out import FanOut, Unsent
from rolekeeper.model.instance import InstanceKey, ReconcileRequest, Target
from rolekeeper.model.mapping import MappingKey
from strategies.values import KEY, NOW

URL = "https://sqs.us-east-1.amazonaws.com/123456789012/work"


def _queue(**answers: Any) -> tuple[Any, WorkQueue]:
    """A queue, and its client, which takes every message or gives another answer."""
    client = Mock()
    client.send_message_batch.return_value = {"Successful": [], **answers}
    return client.send_message_batch, WorkQueue(client, URL, lambda: NOW)


def _fleet(count: int) -> list[InstanceKey]:
    return [InstanceKey(KEY.account, KEY.region, f"i-{number:017x}") for number in range(count)]


@pytest.mark.parametrize(("count", "batches"), [(0, []), (1, [1]), (10, [10]), (11, [10, 1]), (25, [10, 10, 5])])
def test_names_go_out_in_tens(count: int, batches: list[int]) -> None:
    sent, queue = _queue()
    assert queue.send(_fleet(count), "sweep", "correlation-1") == count
    entries = [call.kwargs["Entries"] for call in sent.call_args_list]
    assert [len(batch) for batch in entries] == [len({entry["Id"] for entry in batch}) for batch in entries] == batches
    assert {call.kwargs["QueueUrl"] for call in sent.call_args_list} <= {URL}


@pytest.mark.parametrize("name", ["event-1", "", "a b \N{SNOWMAN}", "\ud800", "x" * 500])
def test_a_group_has_a_name_that_sqs_takes(name: str) -> None:
    sent, queue = _queue()
    replace(queue, group=name).send(_fleet(11), "sweep", "correlation-1")
    (group,) = {entry["MessageGroupId"] for call in sent.call_args_list for entry in call.kwargs["Entries"]}
    assert re.fullmatch(r"[!-~]{1,128}", group)  # SQS API reference, SendMessage


def test_a_queue_that_takes_only_some_has_failed() -> None:
    _, queue = _queue(Failed=[{"Id": "0", "Code": "InternalError", "Message": "later", "SenderFault": False}])
    with pytest.raises(RetryableError) as refused:
        queue.send(_fleet(3), "sweep", "c")
    assert (refused.value.code, refused.value.action) == ("InternalError", "sqs:SendMessage")


# ---- the machine that goes on with one ----

ODD = MappingKey("team \N{SNOWMAN}", "a/b" * 85)
REST = resumable(
    Task.FAN_OUT, "edit-1", FanOut(ODD, (Unsent(Target("123456789012", "us-east-1"), "page 2"),), sent=200)
)  # no secret


# ---- what a refusal means ----

WAKE = ReconcileRequest(KEY, "instance pending", "correlation-1", NOW)
STARTS: dict[str, tuple[Callable[[App], object], str]] = {
    "SendMessageBatch": (lambda app: app.queue.send([KEY], "sweep", "c"), "sqs:SendMessage"),
    "Invoke": (lambda app: app.tasks.start(Task.SWEEP, "event-1"), "lambda:InvokeFunction"),
    "StartExecution": (lambda app: app.machine.start("edit-1", REST), "states:StartExecution"),
    "StartExecution of a loop": (
        lambda app: RetryLoop(app.client("stepfunctions"), "machine", 30).start(WAKE, NOW, NOW),
        "states:StartExecution",
    ),
}


@pytest.mark.parametrize(
    ("code", "kind"), [("ThrottlingException", RetryableError), ("AccessDeniedException", AccessDeniedError)]
)
@pytest.mark.parametrize("operation", STARTS)
def test_a_start_that_is_refused_says_what_to_do(
    world: FakeAccount, operation: str, code: str, kind: type[AwsRefusalError]
) -> None:
    start, action = STARTS[operation]
    world.calls.before(operation.split(maxsplit=1)[0], refusing(code))
    with pytest.raises(kind) as refused:
        start(world.app())
    assert refused.value.action == action
    assert refused.value.resource

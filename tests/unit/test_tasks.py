"""Starting a task of the scheduled function before its time."""

import json
from typing import Any

import pytest

from fakes.ec2 import client_error
from rolekeeper.aws.errors import AccessDeniedError, RetryableError
from rolekeeper.aws.queue import Task, Tasks


class FakeLambda:
    """Lambda's Invoke; `error` is what it raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.invoked: list[dict[str, Any]] = []

    def invoke(self, **arguments: Any) -> dict[str, Any]:
        self.invoked.append(arguments)
        if self.error:
            raise self.error
        return {"StatusCode": 202}


@pytest.mark.parametrize("task", Task)
def test_a_task_is_started_and_not_waited_for(task: Task) -> None:
    client = FakeLambda()
    Tasks(client, "sweeper").start(task, "event-1")  # type: ignore[arg-type]  # shaped like a client
    (invoked,) = client.invoked
    assert (invoked["FunctionName"], invoked["InvocationType"]) == ("sweeper", "Event")
    assert json.loads(invoked["Payload"]) == {"task": task.value, "id": "event-1"}


@pytest.mark.parametrize(
    ("code", "kind"), [("TooManyRequestsException", RetryableError), ("AccessDeniedException", AccessDeniedError)]
)
def test_a_refusal_says_what_to_do(code: str, kind: type[Exception]) -> None:
    tasks = Tasks(FakeLambda(client_error(code, "no")), "sweeper")  # type: ignore[arg-type]  # shaped like a client
    with pytest.raises(kind) as refused:
        tasks.start(Task.SWEEP, "event-1")
    assert vars(refused.value)["action"] == "lambda:InvokeFunction"

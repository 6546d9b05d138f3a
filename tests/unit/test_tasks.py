"""Starting a task of the scheduled function before its time, and having the machine go on with one."""

import json
import re
from typing import Any

import pytest

from fakes.calls import Calls
from fakes.ec2 import client_error
from fakes.others import FakeStepFunctions
from rolekeeper.aws.errors import AccessDeniedError, RetryableError
from rolekeeper.aws.queue import ResumeMachine, Task, Tasks, resumable
from rolekeeper.mappings.accounts import FanOut, Unsent
from rolekeeper.model.mapping import MappingKey


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


# ---- the machine that goes on with one ----

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:rolekeeper-resume"
KEY = MappingKey("team \N{SNOWMAN}", "a/b" * 85)
REST = resumable(
    Task.FAN_OUT, "edit-1", FanOut(KEY, "edited", (Unsent("123456789012", "us-east-1", "page 2"),), sent=200)
)  # no secret


def test_the_machine_takes_over_what_the_last_run_answered() -> None:
    client = FakeStepFunctions(Calls())
    ResumeMachine(lambda: client, MACHINE).take_over(f"edit-1 {KEY}", REST)  # type: ignore[arg-type, return-value]  # shaped like a client
    (started,) = client.started
    assert started["stateMachineArn"] == MACHINE
    assert started["input"] == {
        "task": "fan-out",
        "id": "edit-1",
        "mapping": {"tag_key": KEY.tag_key, "tag_value": KEY.tag_value},
        "cause": "edited",
        "left": [{"account": "123456789012", "region": "us-east-1", "token": "page 2"}],
        "sent": 200,
        "restarts": 0,
        "finished": False,
    }
    # What Step Functions takes for a name, whatever it is made of (API reference, `StartExecution`).
    assert re.fullmatch("fan-out-[0-9a-f]{32}", started["name"])


def test_no_client_is_made_before_there_is_something_to_take_over() -> None:
    def none() -> Any:
        raise AssertionError("made")

    ResumeMachine(none, MACHINE)


@pytest.mark.parametrize(
    ("code", "kind"), [("ThrottlingException", RetryableError), ("AccessDeniedException", AccessDeniedError)]
)
def test_a_machine_that_cant_be_started_says_what_to_do(code: str, kind: type[Exception]) -> None:
    calls = Calls()

    def refuse() -> None:
        raise client_error(code, "no")

    calls.before("StartExecution", refuse)
    with pytest.raises(kind) as refused:
        ResumeMachine(lambda: FakeStepFunctions(calls), MACHINE).take_over("edit-1", REST)  # type: ignore[arg-type, return-value]  # shaped like a client
    assert vars(refused.value)["action"] == "states:StartExecution"

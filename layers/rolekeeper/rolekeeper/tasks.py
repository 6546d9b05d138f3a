"""The scheduled function's tasks, and starting one of them before its time."""

import json
from enum import StrEnum
from typing import TYPE_CHECKING

from rolekeeper.errors import classified

if TYPE_CHECKING:
    from types_boto3_lambda.client import LambdaClient


class Task(StrEnum):
    """What the scheduled function can be asked for, in the `task` of its event; a scheduled event means a sweep."""

    SWEEP = "sweep"
    EXPIRIES = "expiries"


class Tasks:
    """Starts tasks of the scheduled function."""

    def __init__(self, client: "LambdaClient", function: str) -> None:
        self._client = client
        self._function = function

    def start(self, task: Task, correlation_id: str) -> None:
        """Start a task now, and don't wait for it.

        Raises:
            RetryableError: Lambda took no more. Starting twice is harmless.
        """
        payload = json.dumps({"task": task.value, "id": correlation_id}).encode()
        with classified("lambda:InvokeFunction", self._function):
            self._client.invoke(FunctionName=self._function, InvocationType="Event", Payload=payload)

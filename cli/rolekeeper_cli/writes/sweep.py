"""Sweeping now: the scheduled function is invoked, as its schedule does."""

import json
import uuid
from typing import Any

from botocore.config import Config

from rolekeeper.aws.errors import classified
from rolekeeper.aws.queue import Task
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError

# The longest that a function may run (Lambda quotas); the answer comes at its end. Asked once: a second sweep beside
# the first would do no harm, and no good.
_CONFIG = Config(read_timeout=910, retries={"total_max_attempts": 1})


def scheduled_function(deployment: Deployment) -> str:
    """The name of the function that sweeps."""
    return deployment.resource("OnSchedule")


def sweep(deployment: Deployment, function: str, *, wait: bool) -> dict[str, Any] | None:
    """Sweep, and return what was seen and sent, as the function says it; None if it isn't waited for.

    Raises:
        CommandError: the function failed.
    """
    client = deployment.client("lambda", _CONFIG)
    with classified("lambda:InvokeFunction", function):
        answer = client.invoke(
            FunctionName=function,
            InvocationType="RequestResponse" if wait else "Event",
            Payload=json.dumps({"task": Task.SWEEP.value, "id": str(uuid.uuid4())}).encode(),
        )
        text = answer["Payload"].read()
    if not wait:
        return None
    swept = json.loads(text)
    if answer.get("FunctionError"):
        said = swept.get("errorMessage", swept) if isinstance(swept, dict) else swept
        raise CommandError(f"the sweep failed: {said}", "see its log: the saved query 'errors and retries'")
    return dict(swept)

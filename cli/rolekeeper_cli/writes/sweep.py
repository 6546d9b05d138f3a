"""Sweeping now: the scheduled function is invoked, as its schedule does."""

import json
import uuid

from botocore.config import Config

from rolekeeper.aws.errors import classified
from rolekeeper.aws.queue import Task
from rolekeeper_cli import output, render
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, ExitCode

# The longest that a function may run (Lambda quotas); the answer comes at its end. Asked once: a second sweep beside
# the first would do no harm, and no good.
_CONFIG = Config(read_timeout=910, retries={"total_max_attempts": 1})


def sweep(deployment: Deployment, *, wait: bool) -> ExitCode:
    """Sweep, and show what was seen and sent.

    Raises:
        CommandError: the function failed.
    """
    function = deployment.resource("OnSchedule")
    client = deployment.client("lambda", _CONFIG)
    output.say("Sweeping the fleet and the mappings." + (" It may take minutes." if wait else ""))
    with classified("lambda:InvokeFunction", function):
        answer = client.invoke(
            FunctionName=function,
            InvocationType="RequestResponse" if wait else "Event",
            Payload=json.dumps({"task": Task.SWEEP.value, "id": str(uuid.uuid4())}).encode(),
        )
        text = answer["Payload"].read()
    if not wait:
        return ExitCode.DONE
    swept = json.loads(text)
    if answer.get("FunctionError"):
        said = swept.get("errorMessage", swept) if isinstance(swept, dict) else swept
        raise CommandError(f"the sweep failed: {said}", "see its log: the saved query 'errors and retries'")
    render.show(swept, lambda: output.line(_in_words(swept)))
    output.bad(swept["problems"])
    # A function that is older than this command doesn't say it.
    if withheld := swept.get("withheld"):
        output.warn(f"{withheld:,} more differ, and weren't sent: the work queue is full (docs/runbook/work-waits.md)")
    if not swept["finished"]:
        output.warn("it takes more than one run: the rest goes on by itself, from here on (docs/operations.md)")
    return ExitCode.NO if swept["problems"] or not swept["finished"] else ExitCode.DONE


def _in_words(swept: dict[str, int]) -> str:
    return (
        f"Instances looked at: {swept['instances']:,}, of which {swept['sent']:,} differ and are looked at again. "
        f"Mappings checked: {swept['mappings']:,}, with news of {swept['mappings_changed']:,}."
    )

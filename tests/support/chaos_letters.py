"""Why a message lies in the dead-letter queue, by the table in docs/runbook.md: what isn't there is unexplained."""

import json
from collections.abc import Collection, Mapping
from typing import Any


def explanation(message: Mapping[str, Any], *, ours: Collection[str], fleet: Collection[str], tries: int) -> str:
    """Explain one dead letter; empty when nothing does.

    Args:
        message: as ReceiveMessage gives it, with its attributes, the first time that it is read there.
        ours: ids of those that the story itself put there.
        fleet: ids of all instances that there were.
        tries: maxReceiveCount of the work queue.
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

"""The decisions in the functions' logs, where every decision is a line, no-ops too."""

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from rolekeeper.aws.errors import classified
from rolekeeper.model.instance import Action, InstanceKey
from rolekeeper.storage import layout
from rolekeeper.storage.layout import DONE, REFUSED
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.views.history import entry_document

# The functions that decide about instances, by their log groups in the stack.
_GROUPS = ("OnInstanceEventLogs", "OnRetryLogs")
# A line may come to CloudWatch later than its own time says; it is looked for so long.
_LATE = timedelta(seconds=60)
_REMEMBERED = 10_000
# Those of the parameter LogLevel at which decisions are logged.
_LEVELS = frozenset({"DEBUG", "INFO"})


class DecisionLog:
    """The decisions in the log groups, each given once, in the order of their times as far as they came."""

    def __init__(self, deployment: Deployment, since: datetime, *, late: timedelta = _LATE, pause: float = 0.0) -> None:
        """Nothing is asked yet.

        Args:
            deployment: whose functions.
            since: from when on.
            late: how much later than its own time a line may come and is still found.
            pause: seconds between two calls, for who goes on for long and shares the quota.
        """
        self._client = deployment.client("logs")
        self._deployment = deployment
        self._groups = [deployment.resource(each) for each in _GROUPS]
        self._since = since
        self._late = late
        self._pause = pause
        self._seen: OrderedDict[str, None] = OrderedDict()

    def news(self) -> Iterator[dict[str, Any]]:
        """What came since the last time."""
        begin = self._deployment.now()
        found = [event for group in self._groups for event in self._events(group)]
        for event in sorted(found, key=lambda each: (each["timestamp"], each["eventId"])):
            self._seen[event["eventId"]] = None
            if decision := _decision(event["message"]):
                yield decision
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        self._since = max(self._since, begin - self._late)

    def _events(self, group: str) -> Iterator[Any]:
        start: dict[str, str] = {}
        with classified("logs:FilterLogEvents", group):
            while True:
                answer = self._client.filter_log_events(
                    logGroupName=group,
                    startTime=int(self._since.timestamp() * 1_000),
                    filterPattern='"decided"',
                    **start,
                )
                for event in answer["events"]:
                    if event["eventId"] not in self._seen:
                        yield event
                if "nextToken" not in answer:
                    return
                start = {"nextToken": answer["nextToken"]}
                if self._pause:
                    self._deployment.sleep(self._pause)


def level_missing(deployment: Deployment) -> str:
    """Why the functions log no decisions, and what to do; empty where they do."""
    level = deployment.stack.parameters.get("LogLevel", "INFO")
    if level in _LEVELS:
        return ""
    return f"the functions log from {level} on, and decisions are logged at INFO: deploy with LogLevel=INFO"


def _decision(message: str) -> dict[str, Any] | None:
    """The decision in a line of the log; None for any other line."""
    try:
        line = json.loads(message)
    except ValueError:
        return None
    if not isinstance(line, dict) or line.get("message") != "decided":
        return None
    # As Powertools writes it: 2026-01-01 00:00:00,000+0000.
    logged = datetime.strptime(line["timestamp"], "%Y-%m-%d %H:%M:%S,%f%z")
    entry = {**line, "at": layout.timestamp(logged), "outcome": _outcome(line)}
    return entry_document(InstanceKey(line["account"], line["region"], line["instance-id"]), entry)


def _outcome(line: Mapping[str, Any]) -> str | None:
    """What the history says of it: a decision is logged once EC2 answered, if it was asked."""
    if "code" in line["answer"]:
        return REFUSED
    return DONE if Action(line["decision"]["action"]).mutates else None

"""Decisions as they happen: read from the functions' logs, where every decision is a line, no-ops too."""

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from rolekeeper.aws.errors import classified
from rolekeeper.model.instance import Action
from rolekeeper.storage import layout
from rolekeeper.storage.layout import DONE, REFUSED
from rolekeeper_cli import output, render
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.fleet_plan import ACTION_COLOURS
from rolekeeper_cli.history import at
from rolekeeper_cli.instances import find_instance
from rolekeeper_cli.tables import Column, Layout, Listing
from rolekeeper_cli.views.history import answered, entry_document, why

# The functions that decide about instances, by their log groups in the stack.
_GROUPS = ("OnInstanceEventLogs", "OnRetryLogs")
# FilterLogEvents: 5 calls a second in an account and Region (CloudWatch Logs quotas); we make one for each group.
_POLL_SECONDS = 2.0
# A line may come to CloudWatch later than its own time says; it is looked for so long.
_LATE = timedelta(seconds=60)
_REMEMBERED = 10_000
# What there is to do when nothing came.
_NONE = (
    "See further back with --since 1h, those that change nothing with --all, or how instances stand: rolekeeper fleet"
)
_NONE_ALL = "See further back with --since 1h, or how instances stand: rolekeeper fleet"
# Those of the parameter LogLevel at which decisions are logged.
_LEVELS = frozenset({"DEBUG", "INFO"})
LAYOUT = Layout(
    (
        Column("at", at),
        Column("instance"),
        Column("action"),
        Column("from", lambda each: each["from"] or "none", folds=True),
        Column("to", lambda each: each["to"] or "none", folds=True),
        Column("code", wide=True),
        Column("mapping", wide=True),
        Column("answer", lambda each: answered(each["answer"], each["outcome"]), wide=True),
        Column("correlation id", wide=True),
    ),
    note=why,
    note_name="why",
    colour=lambda each: ACTION_COLOURS.get(each["action"], ""),
)
# What columns are at least as wide as: nobody knows what comes.
_WIDEST = {
    "at": "2026-01-01T00:00:00",
    "instance": "i-0123456789abcdef0",
    "action": "Replace",
    "code": "unoccupied",
    "from": "a-profile",
    "to": "a-profile",
    "mapping": "workload=web",
    "answer": {"association-id": "iip-assoc-0123456789abcdef0"},
    "correlation_id": "c9a7f0c2-0000-0000-0000-000000000000",
    "cause": "",
    "reason": "",
    "outcome": None,
}


def watch(
    deployment: Deployment, text: str | None, since: timedelta, length: timedelta | None, *, all_: bool
) -> ExitCode:
    """Show decisions until the time is over, or Ctrl-C.

    Args:
        deployment: where.
        text: the one instance to watch; None for all.
        since: how far back it begins.
        length: how long it goes on; None for ever.
        all_: also those that change nothing.
    """
    wanted = find_instance(deployment.app.ec2, text).key.id if text else ""
    now = deployment.now()
    end = now + length if length else None
    level = deployment.stack.parameters.get("LogLevel", "INFO")
    if level not in _LEVELS:
        output.warn(f"the functions log from {level} on, and decisions are logged at INFO: deploy with LogLevel=INFO")
    log = _Log(deployment, now - since)
    listing, show_line = Listing(LAYOUT, [_WIDEST]), render.line_shower()
    if not length:
        output.say("Watching; Ctrl-C ends it.")
    shown = 0
    while True:
        for each in log.news():
            if wanted in ("", each["instance"]) and (all_ or each["action"] != "Nothing"):
                show_line(each, partial(listing.draw, each))
                shown += 1
        if end and deployment.now() >= end:
            break
        deployment.sleep(_POLL_SECONDS)
    if not shown:
        output.say(f"No decision came{' about ' + wanted if wanted else ''}. {_NONE_ALL if all_ else _NONE}")
    return ExitCode.DONE


class _Log:
    """The decisions in the log groups, each given once, in the order of their times as far as they came."""

    def __init__(self, deployment: Deployment, since: Any) -> None:
        self._client = deployment.client("logs")
        self._deployment = deployment
        self._groups = [deployment.resource(each) for each in _GROUPS]
        self._since = since
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
        self._since = max(self._since, begin - _LATE)

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
    return entry_document(line["instance-id"], entry)


def _outcome(line: Mapping[str, Any]) -> str | None:
    """What the history says of it: a decision is logged once EC2 answered, if it was asked."""
    if "code" in line["answer"]:
        return REFUSED
    return DONE if Action(line["decision"]["action"]).mutates else None

"""Decisions as they happen, for people and programs that watch."""

from datetime import timedelta
from functools import partial

from rolekeeper_cli import output, render
from rolekeeper_cli.decision_log import DecisionLog, level_missing
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.fleet_plan import ACTION_COLOURS
from rolekeeper_cli.history import at
from rolekeeper_cli.instances import find_instance
from rolekeeper_cli.tables import Column, Layout, Listing
from rolekeeper_cli.views.history import answered, why

# FilterLogEvents: 5 calls a second in an account and Region (CloudWatch Logs quotas); we make one for each group.
_POLL_SECONDS = 2.0
# What there is to do when nothing came.
_NONE = (
    "See further back with --since 1h, those that change nothing with --all, or how instances stand: rolekeeper fleet"
)
_NONE_ALL = "See further back with --since 1h, or how instances stand: rolekeeper fleet"
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
    if missing := level_missing(deployment):
        output.warn(missing)
    log = DecisionLog(deployment, now - since)
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

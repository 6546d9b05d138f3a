"""`rolekeeper watch`: decisions as they happen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import click

import rolekeeper_cli
from rolekeeper_cli import render, terminal, uses
from rolekeeper_cli.arguments import Duration, completes, takes_targets
from rolekeeper_cli.command import command, deployment
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.history import at
from rolekeeper_cli.layout import ACTION_COLOURS, Column, Layout

if TYPE_CHECKING:
    from rolekeeper.model.instance import Target
    from rolekeeper_cli.deployment import Deployment


@command(
    "watch", "rolekeeper watch", "rolekeeper watch --instance web-1 --since 10m", "rolekeeper watch --for 5m --all"
)
@click.option(
    "--instance", metavar="ID", help="Only this one, by id or Name tag.", shell_complete=completes("instances")
)
@click.option("--since", type=Duration(), default="10s", metavar="DURATION", help="Begin this long ago (default: 10s).")
@click.option("--for", "length", type=Duration(), metavar="DURATION", help="End after this time (default: at Ctrl-C).")
@click.option("--all", "all_", is_flag=True, help="Also decisions that change nothing.")
@takes_targets
def watch(
    instance: str | None, since: timedelta, length: timedelta | None, targets: tuple[str, ...], *, all_: bool
) -> ExitCode:
    """Show decisions as they happen.

    They come from the functions' logs, some seconds late. As JSON, each is one line.
    """
    return show_decisions(deployment(), Wanted(instance, targets, all_), since, length=length)


# ---- how they are shown ----


# FilterLogEvents: 5 calls a second in an account and Region (CloudWatch Logs quotas); we make one for each group.
_POLL_SECONDS = 2.0
# What there is to do when nothing came.
_NONE = (
    "See further back with --since 1h, those that change nothing with --all, or how instances stand: rolekeeper fleet"
)
_NONE_ALL = "See further back with --since 1h, or how instances stand: rolekeeper fleet"
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


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which decisions are shown.

    Attributes:
        instance: of this one only, by id or name.
        targets: of these targets only.
        all: also those that change nothing.
    """

    instance: str | None = None
    targets: Sequence[str] = ()
    all: bool = False


def show_decisions(deployment: Deployment, wanted: Wanted, since: timedelta, *, length: timedelta | None) -> ExitCode:
    """Show decisions until the time is over, or Ctrl-C.

    Args:
        length: how long it goes on; None for ever.
    """
    only = _where(deployment, wanted.instance) if wanted.instance else {}
    places = uses.targets.Places.chosen(deployment, wanted.targets).all if wanted.targets else ()
    chosen = {(each.settings.account, each.settings.region) for each in places}
    now = deployment.now()
    end = now + length if length else None
    if missing := uses.history.level_missing(deployment):
        terminal.warn(missing)
    log = uses.history.DecisionLog(deployment, now - since)
    widest = {**_WIDEST, "account": deployment.home.account, "region": deployment.home.region}
    listing, show_line = rolekeeper_cli.tables.Listing(layout(deployment.home), widest), render.line_shower()
    if not length:
        terminal.say("Watching; Ctrl-C ends it.")
    shown = 0
    while True:
        for each in log.news():
            asked = only.items() <= each.items() and (not chosen or (each["account"], each["region"]) in chosen)
            if asked and (wanted.all or each["action"] != "Nothing"):
                show_line(each, partial(listing.draw, [each]))
                shown += 1
        if end and deployment.now() >= end:
            break
        deployment.sleep(_POLL_SECONDS)
    if not shown:
        terminal.say(
            f"No decision came{f' about {only["instance"]}' if only else ''}. {_NONE_ALL if wanted.all else _NONE}"
        )
    return ExitCode.DONE


def _where(deployment: Deployment, text: str) -> dict[str, str]:
    """Which instance a text names; by its id, one of another target needs no look there."""
    place, name = uses.instances.located(deployment, text)
    if place.elsewhere and uses.instances.ID.fullmatch(name):
        return {"instance": name, "account": place.settings.account, "region": place.settings.region}
    return uses.instances.where(uses.instances.find_instance(place, name).key)


def layout(home: Target) -> Layout:
    """How decisions are drawn where the deployment's own target is that."""
    return Layout(
        (
            Column("at", at),
            Column("instance", lambda each: uses.instances.address(each, home)),
            Column("action"),
            Column("from", lambda each: each["from"] or "none", folds=True),
            Column("to", lambda each: each["to"] or "none", folds=True),
            Column("code", wide=True),
            Column("mapping", wide=True),
            Column("answer", lambda each: uses.history.answered(each["answer"], each["outcome"]), wide=True),
            Column("correlation id", wide=True),
        ),
        note=uses.history.why,
        note_name="why",
        colour=lambda each: ACTION_COLOURS.get(each["action"], ""),
    )

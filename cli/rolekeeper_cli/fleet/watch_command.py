"""`rolekeeper watch`: decisions as they happen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import click

from rolekeeper import model
from rolekeeper_cli.instance.history_command import layout
from rolekeeper_cli.instance.history_view import EntryView
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import Duration, completes, takes_targets
from rolekeeper_cli.shell.command import command, deployment, prints

with lazily():
    from rolekeeper_cli.instance import history
    from rolekeeper_cli.instance import use as instances
    from rolekeeper_cli.shell import tables
    from rolekeeper_cli.target import use as target_use

if TYPE_CHECKING:
    from rolekeeper.model.instance import InstanceKey
    from rolekeeper_cli.aws.deployment import Deployment


@prints(decision=EntryView)
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
) -> None:
    """Show decisions as they happen.

    They come from the functions' logs, some seconds late. As JSON, each is one line.
    """
    there = deployment()
    only = _key(there, instance) if instance else None
    places = target_use.Places.chosen(there, targets).all if targets else ()
    chosen = {place.settings.target for place in places}
    if missing := history.level_missing(there):
        terminal.warn(missing)
    listing = tables.Listing(layout(there.home), _LEAST)
    if not length:
        terminal.say("Watching; Ctrl-C ends it.")
    shown = 0
    for each in _decisions(there, since, length):
        key = model.instance.InstanceKey(each.account, each.region, each.instance)
        asked = only in {None, key} and (not chosen or key.target in chosen)
        if asked and (all_ or each.action != "Nothing"):
            render.show(each, partial(listing.draw, [each]), follows=True)
            shown += 1
    if not shown:
        about = f" about {only.id}" if only else ""
        others = "" if all_ else ", include those that change nothing with --all"
        where = f"Look further back with a longer --since{others}, or see each instance's status: rolekeeper fleet"
        terminal.say(f"There was no decision{about}. {where}")


# FilterLogEvents: 5 calls a second in an account and Region (CloudWatch Logs quotas); we make one for each group.
_POLL_SECONDS = 2.0


def _decisions(deployment: Deployment, since: timedelta, length: timedelta | None) -> Iterator[EntryView]:
    """The decisions since then, and those until `length` is over, or forever."""
    now = deployment.now()
    log = history.DecisionLog(deployment, now - since)
    while True:
        yield from log.news()
        if length and deployment.now() >= now + length:
            return
        deployment.sleep(_POLL_SECONDS)


def _key(deployment: Deployment, text: str) -> InstanceKey:
    """The key of the instance that a text names; an id in another target isn't looked up there."""
    place, name = instances.located(deployment, text)
    by_id = place.elsewhere and instances.ID.fullmatch(name)
    return instances.key_of(place, name) if by_id else instances.find_instance(place, name).key


# The least width of columns, as the rows that follow aren't known.
_LEAST = {"instance": 19, "decided": 20, "from": 9, "to": 9, "mapping": 12, "answer": 27, "correlation id": 36}

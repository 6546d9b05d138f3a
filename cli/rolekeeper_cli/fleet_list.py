"""`rolekeeper fleet`: the instances as a table, and below it what they come to."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

from rolekeeper.model.instance import Target
from rolekeeper_cli import known, output, render
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.instances import address
from rolekeeper_cli.left_out import warn_of_unseen, without_damaged
from rolekeeper_cli.tables import Column, Layout
from rolekeeper_cli.views.fleet import BLOCKED, DRIFT, OK, WAITS, Count, Filters
from rolekeeper_cli.views.looking import Enforced, pages, withheld
from rolekeeper_cli.views.places import Places

# In the order in which a person looks at them.
_TOTALS = {OK: "ok", DRIFT: "in drift", WAITS: "waiting", BLOCKED: "blocked"}


def show(deployment: Deployment, filters: Filters, targets: Sequence[str] = ()) -> ExitCode:
    """List the instances of all targets, or of those that are named.

    Raises:
        UsageError: a filter names a role, a mapping or a target that there isn't.
    """
    if filters.mapping:
        known.require_mapping(deployment, filters.mapping)
    count, places = Count(), Places.chosen(deployment, targets)
    seen = places.look(partial(pages, tags=filters.tags), Enforced.of)
    rows = count.listed(without_damaged(seen), filters)
    if filters.role and not known.is_known_role(deployment, filters.role):
        # It may have been deleted while instances still carry it: only they can tell.
        first = next(rows, None)
        if first is None:
            raise known.no_such_role(deployment, filters.role, count.roles)
        rows = chain([first], rows)
    render.show_list(
        layout(deployment.home),
        rows,
        empty=lambda: _empty(places, filters, count.instances),
        total=lambda: _total(count),
    )
    warn_of_unseen(places)
    if why := withheld(deployment):
        output.say(f"Nothing is changed now: {why}.")
    return ExitCode.DONE


def _total(count: Count) -> str:
    listed = count.stands.total()
    many = "1 instance" if listed == 1 else f"{listed:,} instances"
    parts = (f"{count.stands[stands]:,} {words}" for stands, words in _TOTALS.items() if count.stands[stands])
    others = f" Not listed: {count.instances - listed:,}." if count.instances > listed else ""
    todo = "" if listed == count.stands[OK] else "\nWhat to do about one: rolekeeper explain INSTANCE"
    return f"{many}: {', '.join(parts)}.{others}{todo}"


def _empty(places: Places, filters: Filters, instances: int) -> str:
    """That there is nothing to list, and what to do."""
    looked_into = [each.settings.target for each in places.all if each.settings.target not in places.unseen]
    if not looked_into:
        return "No instance is listed: none of these targets could be looked into."
    [first, *others] = looked_into
    where = f"{len(looked_into):,} targets" if others else f"account {first.account}, {first.region}"
    if not instances and not filters.tags:
        return f"There are no instances in {where}. Look elsewhere with --region or --profile, or launch one."
    if filters == Filters(drift=True):
        return f"No instance is in drift, waiting or blocked: all {instances:,} are as they should be."
    looked = f"of {instances:,} in {where}"
    if not instances:
        tags = " and ".join(str(each).removesuffix("=*") for each in filters.tags)
        looked = f"none in {where} has the tag {tags}"
    return f"No instance passes these filters: {looked}. See all of them: rolekeeper fleet"


def _reason(row: Mapping[str, Any]) -> str:
    return "" if row["stands"] == OK else row["reason"]


def layout(home: Target) -> Layout:
    """How it is drawn where the deployment's own target is that."""
    return Layout(
        (
            Column("instance", lambda row: address(row, home)),
            Column("name", folds=True),
            Column("state"),
            Column("carries", lambda row: row["carries"] or "none", folds=True),
            Column("should carry", lambda row: row["should_carry"] or "none", folds=True),
            Column("stands"),
            Column("mapping", wide=True),
            Column("association", wide=True),
        ),
        note=_reason,
        brief=True,
    )

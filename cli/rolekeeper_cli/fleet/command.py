"""`rolekeeper fleet`: the instances and their status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import click

from rolekeeper_cli.errors import CommandError, ExitCode
from rolekeeper_cli.fleet.view import FleetRowView
from rolekeeper_cli.instance.view import UptakeView
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import OneOf, completes, takes_targets
from rolekeeper_cli.shell.command import command, deployment, lists, prints
from rolekeeper_cli.shell.layout import Column, Layout, amount, second

with lazily():
    from rolekeeper_cli.fleet import use
    from rolekeeper_cli.instance import seen as instances_seen
    from rolekeeper_cli.instance import use as instance_use
    from rolekeeper_cli.row import effect, names
    from rolekeeper_cli.target import use as target_use

if TYPE_CHECKING:
    from rolekeeper.instances.observe import Unreadable
    from rolekeeper.model.instance import Target
    from rolekeeper_cli.aws.deployment import Deployment


_STATES = ("pending", "running", "stopping", "stopped")
# Written out because importing them would take too long for the help.
_STATUSES = ("ok", "drift", "waiting", "blocked", "foreign")


@lists()
@prints(ExitCode.CHANGES, fleet=list[FleetRowView])
@command(
    "fleet",
    "rolekeeper fleet",
    "rolekeeper fleet --drift -o wide",
    "rolekeeper fleet --drift --detailed-exitcode",
    "rolekeeper fleet --tag workload=web --state running --output json",
    "rolekeeper fleet --role web --query '[].instance'",
    "rolekeeper fleet --sort -status --limit 20 --watch",
    "rolekeeper fleet --tag workload=web --uptake",
)
@click.option("--drift", is_flag=True, help="Only those in drift, as --status drift.")
@click.option(
    "--status",
    "statuses",
    type=OneOf(_STATUSES),
    metavar="STATUS",
    multiple=True,
    help="Only those with this status, as drift or blocked; may be given again.",
)
@click.option("--tag", "tags", metavar="KEY[=VALUE]", multiple=True, help="Only with this tag; may be given again.")
@click.option(
    "--role",
    default="",
    metavar="NAME",
    help="Only those that carry this profile, or should; or NONE.",
    shell_complete=completes("roles_or_none"),
)
@click.option("--state", type=OneOf(_STATES), metavar="STATE", help="Only those in this state, as running or stopped.")
@click.option(
    "--mapping",
    metavar="KEY",
    help="Only those that this mapping governs, as tag_key=tag_value.",
    shell_complete=completes("mappings"),
)
@click.option("--uptake", "ask_uptake", is_flag=True, help="Ask CloudTrail whether software uses the roles.")
@takes_targets
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when an instance that is listed is in drift.")
def fleet(
    tags: tuple[str, ...],
    role: str,
    state: str | None,
    mapping: str | None,
    targets: tuple[str, ...],
    *,
    drift: bool,
    statuses: tuple[str, ...],
    ask_uptake: bool,
    detailed_exitcode: bool,
) -> ExitCode:
    """List instances with their role and the one they should carry.

    The status is ok, drift (Rolekeeper is to change it), waiting, blocked, or foreign (its role is outside the role
    path), with the reason. Edits of its mappings that aren't in effect are named below. Use -o wide for all columns.
    A hub lists the instances of each target that you may read.

    With --uptake it also shows whether EC2 delivered the role and software uses it, and until when former roles'
    credentials are valid. 1,000 instances take a minute or two, because CloudTrail answers two calls a second.
    """
    key = names.mapping_key(mapping) if mapping else None
    wanted = frozenset({*statuses, *([instances_seen.InstanceStatus.DRIFT] if drift else [])})
    filters = instances_seen.Filters(tuple(map(names.tag_filter, tags)), role, state, mapping=key, statuses=wanted)
    there, count = deployment(), instances_seen.Count()
    if key:
        names.require_mapping(there, key)
    places, edits = target_use.Places.chosen(there, targets), effect.Rows(there)
    seen = places.look(
        partial(instances_seen.pages, tags=filters.tags),
        lambda place: instances_seen.Enforced.of(place, {}, rows=edits),
    )
    listed = _of_known_role(there, count.accepted(without_damaged(seen), filters), role, count=count)
    asked = with_uptake(places, list(listed)) if ask_uptake else []
    rows, empty = asked or map(use.row_view, listed), partial(_empty, places, filters, count)
    render.show_list(
        layout(there.home, uptake=ask_uptake), rows, empty=empty, total=lambda: _total(count) + _use_in_words(asked)
    )
    warn_of_unseen(places)
    warn_of_unknown(asked, edits.unknown)
    if why := effect.withheld(there):
        terminal.say(f"Nothing is changed now: {why}.")
    return _drift(count, places) if detailed_exitcode else ExitCode.DONE


def _of_known_role(
    there: Deployment, listed: Iterator[instances_seen.Seen], role: str, *, count: instances_seen.Count
) -> Iterator[instances_seen.Seen]:
    """The same instances; CommandError if there is no such role. It may be deleted while instances still carry it."""
    if not role or names.is_known_role(there, role):
        return listed
    first = next(listed, None)
    if first is None:
        raise names.no_such_role(there, role, count.roles)
    return chain([first], listed)


def _drift(count: instances_seen.Count, places: target_use.Places) -> ExitCode:
    if count.stands[instances_seen.InstanceStatus.DRIFT]:
        return ExitCode.CHANGES
    require_known(places)
    return ExitCode.DONE


NARROW = "narrow it to those that you see: --target"


def without_damaged(found: Iterable[instances_seen.Seen | Unreadable]) -> Iterator[instances_seen.Seen]:
    """The instances that can be decided on; warns of the others."""
    for each in found:
        if isinstance(each, instances_seen.Seen):
            yield each
        else:
            terminal.warn(instances_seen.left_out(each))


def warn_of_unseen(places: target_use.Places) -> None:
    for each in places.unseen_in_words():
        terminal.warn(f"{each}; what the last sweep saw there: rolekeeper targets")


def require_known(places: target_use.Places) -> None:
    """Refuse to say that nothing would change if it isn't known of all targets."""
    if places.unseen:
        raise CommandError("whether anything would change isn't known: targets are left out", NARROW)


def with_uptake(places: target_use.Places, listed: Sequence[instances_seen.Seen]) -> list[FleetRowView]:
    found = use.uptakes(places, listed)
    return [use.row_view(seen).but(uptake=found[seen.instance.key.id]) for seen in listed]


def role_use(uptake: UptakeView) -> str:
    role = uptake.carried
    if role is None or (role.status == "not-seen" and uptake.unknown_because):
        return "unknown" if uptake.unknown_because else ""
    # Only if calls were looked for, and all of them, is it known that none is there.
    more = ", no call seen" if role.status == "delivered" and uptake.looked_through else ""
    refused = role.last_use and not role.last_accepted_use
    return f"{role.status.replace('-', ' ')}{', refused' if refused else more}"


def former_roles(uptake: UptakeView) -> str:
    """The former roles of an instance whose credentials may be valid, in a cell."""
    found = []
    for role in uptake.former:
        used = " still used," if role.status == "still-used" else ""
        ends = "cut off" if role.status == "cut-off" else f"valid until {second(role.valid_until)}"
        found.append(f"{role.role}{used} {ends}")
    return "; ".join(found) or ("unknown" if uptake.unknown_because else "")


def warn_of_unknown(rows: Sequence[FleetRowView], edits: str) -> None:
    """Warn of what isn't known of software, once for each target and reason; and of `edits`."""
    unknown = Counter((row.account, row.region, row.uptake.unknown_because) for row in rows if row.uptake)
    for (account, region, because), count in unknown.items():
        if because:
            terminal.warn(f"role use isn't fully known of {amount(count, 'instance')} in {account}/{region}: {because}")
    if edits:
        terminal.warn(edits)


# ---- the table, and the totals below it ----


def _total(count: instances_seen.Count) -> str:
    listed = count.stands.total()
    parts = (f"{count.stands[each]:,} {each}" for each in instances_seen.InstanceStatus if count.stands[each])
    others = f" Not listed: {count.instances - listed:,}." if count.instances > listed else ""
    well = listed == count.stands[instances_seen.InstanceStatus.OK]
    todo = "" if well else "\nWhat to do about one: rolekeeper explain INSTANCE"
    return f"{amount(listed, 'instance')}: {', '.join(parts)}.{others}{_edits(count)}{todo}"


# The most edits that are named below the table.
_NAMED = 5


def _edits(count: instances_seen.Count) -> str:
    lines = [f"\nNot in effect on {amount(number, 'instance')}: {edit}" for edit, number in count.edits.most_common()]
    more = len(lines) - _NAMED
    return "".join(lines[:_NAMED]) + (f"\nand {amount(more, 'more edit')}: rolekeeper mapping ls" if more > 0 else "")


def _note(row: FleetRowView) -> str:
    """Why an instance has its status; of one that is ok, what leaves it alone or without a mapping."""
    if row.stands != instances_seen.InstanceStatus.OK:
        return row.reason
    missing = (each for each in row.not_in_effect or () if each.code != "deleted")
    return "; ".join(each.reason for each in missing if row.code == "unmatched" or not each.mapping)


def _use_in_words(rows: Sequence[FleetRowView]) -> str:
    if not rows:
        return ""
    asked, most = sum(bool(row.uptake and row.uptake.looked_since) for row in rows), use.ASKED
    others = (
        f" On others, whose role didn't change in seven hours or that are beyond {most} in a target, 'delivered' "
        "doesn't say whether it is used."
    )
    return (
        f"\nCalls were looked for on {asked:,} of {amount(len(rows), 'instance')}."
        f"{others if asked < len(rows) else ''} Nothing seen isn't 'unused': not all calls are recorded.\n"
        "What one called, what isn't recorded, and how to end a former role's credentials: rolekeeper uptake INSTANCE"
    )


def _empty(places: target_use.Places, filters: instances_seen.Filters, count: instances_seen.Count) -> str:
    instances = count.instances
    looked_into = [each.settings.target for each in places.all if each.settings.target not in places.unseen]
    if not looked_into:
        return "No instance is listed: none of these targets could be looked into."
    [first, *others] = looked_into
    where = f"{len(looked_into):,} targets" if others else f"account {first.account}, {first.region}"
    if not instances and not filters.tags:
        return f"There are no instances in {where}. Look elsewhere with --region or --profile, or launch one."
    if filters == instances_seen.Filters(statuses=frozenset({instances_seen.InstanceStatus.DRIFT})):
        return f"No instance of {instances:,} is in drift."
    looked = f"none of {instances:,} in {where}"
    if not instances:
        tags = " and ".join(str(each).removesuffix("=*") for each in filters.tags)
        looked = f"none in {where} has the tag {tags}"
    return f"No instance passes these filters: {looked}. See all of them: rolekeeper fleet"


def layout(home: Target, *, uptake: bool = False) -> Layout:
    """The table; `home` is the deployment's own target. With `uptake` the rows have that too."""
    of_uptake = (
        Column("role use", lambda row: role_use(row.uptake)),
        Column("former roles", lambda row: former_roles(row.uptake)),
    )
    return Layout(
        (
            Column("instance", lambda row: instance_use.address_of(row, home), kind="key"),
            Column("name", kind="name"),
            Column("state"),
            Column("carries", lambda row: row.carries or "none", kind="name"),
            Column("should carry", lambda row: row.should_carry or "none", kind="name"),
            Column("status", lambda row: row.stands),
            *(of_uptake if uptake else ()),
            Column("mapping", wide=True),
            Column("association", wide=True),
        ),
        note=_note,
        brief=True,
    )

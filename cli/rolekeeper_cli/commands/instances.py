"""`rolekeeper fleet`, `explain`, `history`, `watch` and `wait`: how instances stand, and why."""

from typing import TYPE_CHECKING

import click

from rolekeeper_cli.arguments import Duration, OneOf
from rolekeeper_cli.command import command
from rolekeeper_cli.commands.arguments import INSTANCE, instance_argument, takes_targets
from rolekeeper_cli.completion import instances, mappings, roles_or_none
from rolekeeper_cli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from datetime import timedelta

_STATES = ("pending", "running", "stopping", "stopped", "shutting-down")


@command(
    "fleet",
    "rolekeeper fleet",
    "rolekeeper fleet --drift -o wide",
    "rolekeeper fleet --tag workload=web --state running --output csv",
    "rolekeeper fleet --role web --query '[].instance'",
)
@click.option("--drift", is_flag=True, help="Only those that aren't as they should be.")
@click.option("--tag", "tags", metavar="KEY[=VALUE]", multiple=True, help="Only with this tag; may be given again.")
@click.option(
    "--role",
    default="",
    metavar="NAME",
    help="Only those that carry this profile, or should; or NONE.",
    shell_complete=roles_or_none,
)
@click.option("--state", type=OneOf(_STATES), metavar="STATE", help="Only those in this state, as running or stopped.")
@click.option(
    "--mapping",
    metavar="KEY",
    help="Only those that this mapping governs, as tag_key=tag_value.",
    shell_complete=mappings,
)
@takes_targets
def fleet(
    tags: tuple[str, ...],
    role: str,
    state: str | None,
    mapping: str | None,
    targets: tuple[str, ...],
    *,
    drift: bool,
) -> ExitCode:
    """List instances with the role that they carry and the one that they should carry.

    They stand ok, in drift (Rolekeeper would change them), waiting, or blocked; of those that aren't ok, why. All
    columns, the mapping too: -o wide. A hub lists those of all its targets into which you may look.
    """
    from rolekeeper.model.instance import InstanceState
    from rolekeeper_cli import fleet_list
    from rolekeeper_cli.arguments import mapping_key, tag_filter
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.views.fleet import Filters

    filters = Filters(
        tags=tuple(map(tag_filter, tags)),
        role=role,
        state=InstanceState(state) if state else None,
        mapping=mapping_key(mapping) if mapping else None,
        drift=drift,
    )
    return fleet_list.show(deployment(), filters, targets)


@command("explain", "rolekeeper explain i-0123456789abcdef0", "rolekeeper explain web-1 --output json")
@instance_argument
@click.option(
    "--who/--no-who", "ask_who", default=True, help="Whether to ask CloudTrail who did it. It is asked by default."
)
def explain(instance: str, *, ask_who: bool) -> ExitCode:
    """Explain why an instance has its role.

    The role it has and the one it should have, the mapping that governs it and those that don't, what woke Rolekeeper
    last, what AWS answered, and how to undo it. CloudTrail's event history says who set or removed the tag that
    decides, who attached a role that isn't Rolekeeper's, and who reverted one that is.
    """
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.explain import explain as explain_instance

    return explain_instance(deployment(), instance, ask_who=ask_who)


@command(
    "history",
    "rolekeeper history i-0123456789abcdef0",
    "rolekeeper history web-1 --limit 5 --who",
    "rolekeeper history --control",
)
@click.argument("instance", required=False, shell_complete=instances, help=f"{INSTANCE} Of one that is gone, its id.")
@click.option("--control", is_flag=True, help="Every write of the control item instead: pause, resume, mode.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000), default=20, show_default=True, help="The newest ones: this number."
)
@click.option("--who", "ask_who", is_flag=True, help="Ask CloudTrail who changed its tags and its role before each.")
def history(instance: str | None, limit: int, *, control: bool, ask_who: bool) -> ExitCode:
    """Show what Rolekeeper did to an instance.

    Newest first: every change, every wait, what blocked it and who pinned it, what caused that, and what AWS answered.
    """
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.history import control_history
    from rolekeeper_cli.history import history as show_history

    if control == bool(instance) or (control and ask_who):
        raise UsageError("history is of an instance, or of the control item", "name the instance, or say --control")
    return (
        control_history(deployment(), limit)
        if control
        else show_history(deployment(), str(instance), limit, ask_who=ask_who)
    )


@command(
    "watch", "rolekeeper watch", "rolekeeper watch --instance web-1 --since 10m", "rolekeeper watch --for 5m --all"
)
@click.option("--instance", metavar="ID", help="Only this one, by id or Name tag.", shell_complete=instances)
@click.option("--since", type=Duration(), default="10s", metavar="DURATION", help="Begin this long ago (default: 10s).")
@click.option("--for", "length", type=Duration(), metavar="DURATION", help="End after this time (default: at Ctrl-C).")
@click.option("--all", "all_", is_flag=True, help="Also decisions that change nothing.")
@takes_targets
def watch(
    instance: str | None, since: "timedelta", length: "timedelta | None", targets: tuple[str, ...], *, all_: bool
) -> ExitCode:
    """Show decisions as they happen.

    They come from the functions' logs, some seconds late. As JSON, each is one line.
    """
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.watch import Wanted
    from rolekeeper_cli.watch import watch as show_decisions

    return show_decisions(deployment(), Wanted(instance, targets, all_), since, length)


@command(
    "wait",
    "rolekeeper wait web-1 --role web",
    "rolekeeper wait web-1 --role NONE --every 5 --attempts 12",
    "rolekeeper wait --mapping workload=web",
    "rolekeeper wait --mapping workload=web --target 111111111111",
)
@click.argument("instance", required=False, help=INSTANCE, shell_complete=instances)
@click.option("--role", metavar="ROLE", help="The role to wait for; NONE for none.", shell_complete=roles_or_none)
@click.option(
    "--mapping",
    metavar="KEY",
    help="Wait for all instances with this mapping's tag, as tag_key=tag_value.",
    shell_complete=mappings,
)
@click.option(
    "--every",
    type=click.FloatRange(0.1),
    default=15,
    metavar="SECONDS",
    help="Seconds between two looks (default: 15).",
)
@click.option("--attempts", type=click.IntRange(1), default=40, show_default=True, help="The number of looks.")
@takes_targets
def wait(
    instance: str | None,
    role: str | None,
    mapping: str | None,
    targets: tuple[str, ...],
    *,
    every: float,
    attempts: int,
) -> ExitCode:
    """Wait until EC2 shows a role on an instance, or on each instance of a mapping the role that it should carry.

    A hub looks at the mapping's instances in all its targets, and says in which of them which are still missing.

    Exits with 255 when it didn't come in time, and with 1 when instances of the mapping are blocked, or wait for their
    start.
    """
    from rolekeeper_cli import outcomes, output, render
    from rolekeeper_cli.arguments import mapping_key
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.wait import wait as wait_for
    from rolekeeper_cli.writes.follow import wait_for_mapping

    if role == "":
        raise UsageError("--role is empty", "name a role, or NONE")
    if mapping and not (instance or role):
        key = mapping_key(mapping)
        found = wait_for_mapping(deployment(), key, every, attempts=attempts, targets=targets)
        render.show({"mapping": str(key), **found.document()}, lambda: output.line(outcomes.in_words(found)))
        return outcomes.tell_rest(found)
    if targets:
        raise UsageError(
            "--target is for a mapping's instances", "name an instance of another target as ACCOUNT/REGION/ID"
        )
    if mapping or not (instance and role):
        raise UsageError(
            "wait is for an instance, or for a mapping", "name the instance with --role, or --mapping alone"
        )
    return wait_for(deployment(), instance, role, every, attempts)


COMMANDS = (fleet, explain, history, watch, wait)

"""`rolekeeper wait`: until EC2 shows a role on an instance, or on all of a mapping."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import click

from rolekeeper import model
from rolekeeper_cli import render, terminal, uses
from rolekeeper_cli.arguments import INSTANCE, completes, takes_targets
from rolekeeper_cli.command import command, deployment
from rolekeeper_cli.errors import ExitCode, UsageError, WaitTimeoutError

if TYPE_CHECKING:
    from rolekeeper.model.instance import Association, Instance
    from rolekeeper_cli.deployment import Deployment


@command(
    "wait",
    "rolekeeper wait web-1 --role web",
    "rolekeeper wait web-1 --role NONE --every 5 --attempts 12",
    "rolekeeper wait --mapping workload=web",
    "rolekeeper wait --mapping workload=web --target 111111111111",
)
@click.argument("instance", required=False, help=INSTANCE, shell_complete=completes("instances"))
@click.option(
    "--role", metavar="ROLE", help="The role to wait for; NONE for none.", shell_complete=completes("roles_or_none")
)
@click.option(
    "--mapping",
    metavar="KEY",
    help="Wait for all instances with this mapping's tag, as tag_key=tag_value.",
    shell_complete=completes("mappings"),
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
    """Wait until instances carry the role that they should.

    Until EC2 shows a role on one instance, or on each instance of a mapping the role that it should carry.
    A hub looks at the mapping's instances in all its targets, and says in which of them which are still missing.

    Exits with 255 when it didn't come in time, and with 1 when instances of the mapping are blocked, or wait for their
    start.
    """
    if role == "":
        raise UsageError("--role is empty", "name a role, or NONE")
    if mapping and not (instance or role):
        key = uses.names.mapping_key(mapping)
        found = uses.follow.wait_for_mapping(deployment(), key, every, attempts=attempts, targets=targets)
        render.show({"mapping": str(key), **found.document()}, lambda: terminal.line(in_words(found)))
        return tell_rest(found)
    if targets:
        raise UsageError("--target needs --mapping", "name an instance of another target as ACCOUNT/REGION/ID")
    if mapping or not (instance and role):
        raise UsageError(
            "wait is for an instance, or for a mapping", "name the instance with --role, or --mapping alone"
        )
    return wait_for_role(deployment(), instance, role, every=every, attempts=attempts)


# ---- what is shown of instances that are followed ----


_NAMED = 10


def tell_followed(found: uses.follow.Followed) -> ExitCode:
    terminal.say(in_words(found))
    return tell_rest(found)


def tell_rest(found: uses.follow.Followed) -> ExitCode:
    """Show which targets couldn't be looked into, and which instances stay as they are, and why."""
    for each in found.unseen:
        terminal.warn(each)
    terminal.bad(f"{name}: {why}" for name, why in found.stuck[:_NAMED])
    return ExitCode.NO if found.stuck else ExitCode.DONE


def in_words(found: uses.follow.Followed) -> str:
    if not found.total:
        return "No instance carries the tag."
    stay = "1 stays as it is" if len(found.stuck) == 1 else f"{len(found.stuck):,} stay as they are"
    stuck = f"; {stay}" if found.stuck else ""
    return f"{found.done:,} of {found.total:,} instances carry what they should{stuck}."


# ---- an instance ----


def wait_for_role(deployment: Deployment, text: str, role: str, *, every: float, attempts: int) -> ExitCode:
    """Look until EC2 shows the role, `NONE` for no role.

    Raises:
        CommandError: there is no such role.
        WaitTimeoutError: EC2 showed something else each time.
    """
    deployment, text = uses.instances.located(deployment, text)
    instance = uses.instances.find_instance(deployment, text)
    if not uses.names.is_known_role(deployment, role):
        raise uses.names.no_such_role(deployment, role)
    shown = None
    with deployment.progress(attempts, "looks at EC2") as progress:
        for number, _ in zip(range(1, attempts + 1), deployment.looks(every, inf), strict=False):
            came, shown = _watch(deployment, instance, role)
            if came:
                return _show(instance, role, shown)
            stopped = instance.state is model.instance.InstanceState.STOPPED
            if number == 1 and stopped and shown and role != model.mapping.NO_ROLE:
                terminal.say(
                    "The instance is stopped, and EC2 replaces the role of a running one only, unless its mapping says "
                    "when_stopped=swap. To have it done, type in another terminal: "
                    f"{uses.instances.starts(deployment, instance)}"
                )
            progress.at(number)
    has = f"{uses.fleet.profile_name(shown.profile_arn)} ({shown.state})" if shown else "no role"
    wanted = "no role" if role == model.mapping.NO_ROLE else role
    looks = f"{attempts:,} look{'' if attempts == 1 else 's'}"
    raise WaitTimeoutError(
        f"{uses.instances.title(instance)} carries {has} and not {wanted}, after {looks}",
        f"to see what blocks it: rolekeeper explain {uses.instances.addressed(deployment, instance.key.id)}",
    )


def _watch(deployment: Deployment, instance: Instance, role: str) -> tuple[bool, Association | None]:
    """Whether EC2 shows the role on an instance, and is done with it; and the association that it shows."""
    shown = deployment.app.ec2.associations([instance.key.id]).get(instance.key.id)
    if shown is None:
        return role == model.mapping.NO_ROLE, None
    if shown.state is not model.instance.AssociationState.ASSOCIATED:
        return False, shown
    profile = deployment.app.iam.get_instance_profile(shown.profile_arn.rsplit("/", 1)[-1])
    return (profile.role_name if profile else "") == role, shown


def _show(instance: Instance, role: str, shown: Association | None) -> ExitCode:
    document = {
        **uses.instances.where(instance.key),
        "role": role if shown else None,
        "instance_profile": uses.fleet.profile_name(shown.profile_arn) if shown else None,
        "association": shown.id if shown else None,
    }
    render.show(
        document, lambda: terminal.line(f"{uses.instances.title(instance)} carries {document['role'] or 'no role'}.")
    )
    return ExitCode.DONE

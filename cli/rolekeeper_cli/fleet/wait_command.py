"""`rolekeeper wait`: until EC2 shows a role on an instance, or on all of a mapping, or until software uses it."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import click

from rolekeeper import model
from rolekeeper_cli.errors import CommandError, ExitCode, UsageError, WaitTimeoutError
from rolekeeper_cli.fleet.view import CarriedView, FollowedView, InUseView
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import INSTANCE, completes, takes_targets
from rolekeeper_cli.shell.command import command, deployment, prints
from rolekeeper_cli.shell.layout import amount, second

with lazily():
    from rolekeeper_cli.fleet import follow
    from rolekeeper_cli.instance import facts, seen, uptake
    from rolekeeper_cli.instance import use as instances
    from rolekeeper_cli.row import names

if TYPE_CHECKING:
    from rolekeeper.model.instance import Association, Instance
    from rolekeeper_cli.aws.deployment import Deployment
    from rolekeeper_cli.instance.view import CallView, RoleUseView
    from rolekeeper_cli.row.effect import Effect, NotInEffect


@prints(ExitCode.REJECTED, ExitCode.HELD, waited=CarriedView | InUseView | FollowedView)
@command(
    "wait",
    "rolekeeper wait web-1",
    "rolekeeper wait web-1 --role NONE --every 5 --attempts 12",
    "rolekeeper wait web-1 --role web --in-use --attempts 120",
    "rolekeeper wait --mapping workload=web",
    "rolekeeper wait --mapping workload=web --target 111111111111",
)
@click.argument("instance", required=False, help=INSTANCE, shell_complete=completes("instances"))
@click.option(
    "--role",
    metavar="ROLE",
    help="The role to wait for; NONE for none. Default: what its tags, mappings and pin say.",
    shell_complete=completes("roles_or_none"),
)
@click.option(
    "--mapping",
    metavar="KEY",
    help="Wait for all instances with this mapping's tag, as tag_key=tag_value.",
    shell_complete=completes("mappings"),
)
@click.option(
    "--in-use", is_flag=True, help="Until CloudTrail shows a call with the role, by default the one that it carries."
)
@click.option(
    "--every",
    type=click.FloatRange(0.1),
    default=15,
    metavar="SECONDS",
    help="Seconds between two looks (default: 15).",
)
@click.option(
    "--attempts", type=click.IntRange(1), metavar="N", default=40, show_default=True, help="The number of looks."
)
@takes_targets
def wait(
    instance: str | None,
    role: str | None,
    mapping: str | None,
    targets: tuple[str, ...],
    *,
    in_use: bool,
    every: float,
    attempts: int,
) -> ExitCode:
    """Wait until instances carry the role that they should.

    Until EC2 shows it on one instance, or on each instance of a mapping. A hub looks at the mapping's instances in all
    its targets, and says in which of them which are still missing.

    With --in-use it also waits until AWS accepted a call of software on the instance with the role. CloudTrail shows
    calls up to 15 minutes late, and never those on data, as on S3's objects and DynamoDB's items.

    Exits with 255 on timeout, and with 1 when instances are blocked, or wait for their start, or when AWS refused each
    call with the role that CloudTrail shows. When a mapping's row isn't in effect as it is written, it says so, and
    exits with 3 (rejected or in conflict), 4 (held), or 1 (not judged yet, or AWS gives no answer).
    """
    if role == "":
        raise UsageError("--role is empty", "name a role, or NONE")
    if role == model.mapping.NO_ROLE and in_use:
        raise UsageError("NONE is no role that software can use", "name a role, or leave out --in-use")
    if mapping and not (instance or role or in_use):
        key = names.mapping_key(mapping)
        found = follow.wait_for_mapping(deployment(), key, every, attempts=attempts, targets=targets)
        render.show(found.view(key), lambda: terminal.line(in_words(found)))
        return tell_rest(found)
    if targets:
        raise UsageError("--target needs --mapping", "name an instance of another target as ACCOUNT/REGION/ID")
    if mapping or not instance:
        raise UsageError("wait is for an instance, or for a mapping", "name the instance, or --mapping alone")
    if role or in_use:
        return wait_for_role(deployment(), instance, role, in_use=in_use, every=every, attempts=attempts)
    return wait_for_own_role(deployment(), instance, every=every, attempts=attempts)


_NAMED = 10


def tell_followed(found: follow.Followed) -> ExitCode:
    terminal.say(in_words(found))
    return tell_rest(found)


def tell_rest(found: follow.Followed) -> ExitCode:
    """Show which targets couldn't be looked into, what stays as it is and why, and what isn't in effect."""
    for each in found.unseen:
        terminal.warn(each)
    terminal.bad(f"{name}: {why}" for name, why in found.stuck[:_NAMED])
    terminal.bad(str(missing) for missing in found.effect.missing if missing is not _idle(found.effect))
    return ExitCode.NO if found.stuck else follow.exit_code(found.effect)


def _idle(effect: Effect) -> NotInEffect | None:
    """Why a mapping governs no instance of any target."""
    return effect.idle if effect.idle and effect.idle.code != "out-of-scope" else None


def in_words(found: follow.Followed) -> str:
    if idle := _idle(found.effect):
        return f"{idle.brief}, so it governs no instance."
    if not found.total:
        return "No instance carries the tag."
    stay = "1 stays as it is" if len(found.stuck) == 1 else f"{len(found.stuck):,} stay as they are"
    stuck = f"; {stay}" if found.stuck else ""
    carry, they = ("carries", "it") if found.total == 1 else ("carry", "they")
    what, effect = f"{they} should", found.effect
    if effect.missing:
        what = f"revision {effect.in_effect.revision} says" if effect.in_effect else "is in effect"
    return f"{found.done:,} of {amount(found.total, 'instance')} {carry} what {what}{stuck}."


def wait_for_own_role(deployment: Deployment, text: str, *, every: float, attempts: int) -> ExitCode:
    """Look until an instance carries what its tags, mappings and pin say. Raises as `follow.follow`."""
    place, text = instances.located(deployment, text)
    key = instances.find_instance(place, text).key
    found = follow.follow(deployment, key, every=every, attempts=attempts)
    if not found.stuck:
        # It may have ended meanwhile.
        instance = instances.find_instance(place, key.id)
        shown = place.app.ec2.associations([key.id]).get(key.id)
        role = instances.role_in(place, shown.profile_arn) if shown else model.mapping.NO_ROLE
        _show(instance, shown, role=role, held=None)
    return tell_rest(found)


def wait_for_role(
    deployment: Deployment, text: str, role: str | None, *, in_use: bool, every: float, attempts: int
) -> ExitCode:
    """Look until EC2 shows the role, `NONE` for no role; and, `in_use`, CloudTrail a call with it.

    None is the role that the instance carries. CommandError if there is no such role, it carries none, or AWS refused
    each call with it; WaitTimeoutError if EC2 or CloudTrail showed something else each time.
    """
    deployment, text = instances.located(deployment, text)
    instance = instances.find_instance(deployment, text)
    role = role or _carried(deployment, instance)
    if not names.is_known_role(deployment, role):
        raise names.no_such_role(deployment, role)
    came, shown, held = False, None, None
    with deployment.progress(attempts, "looks at AWS") as progress:
        for number, _ in zip(range(1, attempts + 1), deployment.looks(every, inf), strict=False):
            came, shown = _watch(deployment, instance, role)
            # The first look shows whether CloudTrail may be asked at all.
            if in_use and (came or number == 1):
                # It may still carry another role, or CloudTrail give no answer this time.
                found = uptake.carried_by(deployment, instance.key)
                held = found if found and found.role == role else held
            if came and (not in_use or (held and held.last_accepted_use)):
                return _show(instance, shown, role=role, held=held)
            if number == 1 and in_use:
                terminal.say(f"Not every call is seen: {facts.NOT_RECORDED}.")
            if number == 1 and not came and shown and role != model.mapping.NO_ROLE:
                _say_if_stopped(deployment, instance)
            progress.at(number)
    if came and held and held.last_use:
        raise _refused(deployment, instance, held.last_use, role=role)
    raise _timeout(deployment, instance, shown, role=role, came=came, attempts=attempts)


def _carried(deployment: Deployment, instance: Instance) -> str:
    shown = deployment.app.ec2.associations([instance.key.id]).get(instance.key.id)
    role = instances.role_in(deployment, shown.profile_arn) if shown else ""
    if not role:
        raise CommandError(f"{instances.title(instance)} carries no role", "name the one to wait for with --role")
    return role


def _watch(deployment: Deployment, instance: Instance, role: str) -> tuple[bool, Association | None]:
    """Whether EC2 shows the role on an instance, and is done with it; and the association that it shows."""
    shown = deployment.app.ec2.associations([instance.key.id]).get(instance.key.id)
    if shown is None:
        return role == model.mapping.NO_ROLE, None
    if shown.state is not model.instance.AssociationState.ASSOCIATED:
        return False, shown
    return instances.role_in(deployment, shown.profile_arn) == role, shown


def _say_if_stopped(deployment: Deployment, instance: Instance) -> None:
    if instance.state is model.instance.InstanceState.STOPPED:
        terminal.say(
            "The instance is stopped, and EC2 replaces the role of a running one only, unless its mapping says "
            "when_stopped=swap. To have it done, type in another terminal: "
            f"{instances.starts(deployment, instance)}"
        )


def _refused(deployment: Deployment, instance: Instance, last: CallView, *, role: str) -> CommandError:
    return CommandError(
        f"{instances.title(instance)} carries {role} and software calls with it, but AWS refused each call that "
        f"CloudTrail shows: the last one was {last.action} at {second(last.at)} ({last.refused})",
        f"see what the role lacks, or wait on; to look again: "
        f"rolekeeper uptake {instances.addressed(deployment, instance.key.id)}",
    )


def _timeout(
    deployment: Deployment, instance: Instance, shown: Association | None, *, role: str, came: bool, attempts: int
) -> WaitTimeoutError:
    address = instances.addressed(deployment, instance.key.id)
    if came:
        what = f"carries {role}, and CloudTrail shows no call with it"
        remedy = f"that isn't unused, as not every call is seen; to look again: rolekeeper uptake {address}"
    else:
        has = f"{seen.profile_name(shown.profile_arn)} ({shown.state})" if shown else "no role"
        what = f"still carries {has}" if role == model.mapping.NO_ROLE else f"carries {has} and not {role}"
        remedy = f"to see what blocks it: rolekeeper explain {address}"
    return WaitTimeoutError(f"{instances.title(instance)} {what}, after {amount(attempts, 'look')}", remedy)


def _show(instance: Instance, shown: Association | None, *, role: str, held: RoleUseView | None) -> ExitCode:
    carried = CarriedView(
        **instances.where(instance.key),
        role=role if shown else None,
        instance_profile=seen.profile_name(shown.profile_arn) if shown else None,
        association=shown.id if shown else None,
    )
    text = f"{instances.title(instance)} carries {carried.role or 'no role'}"
    if held and (accepted := held.last_accepted_use):
        used = {name: getattr(held, name) for name in InUseView.fields if name not in CarriedView.fields}
        carried = InUseView(**vars(carried), **used)
        text += f", and software uses it: {accepted.action} at {second(accepted.at)}"
    render.show(carried, lambda: terminal.line(f"{text}."))
    return ExitCode.DONE

"""`rolekeeper wait`: until EC2 shows a role on an instance, or on all of a mapping."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import click

from rolekeeper import model
from rolekeeper_cli import outcomes, render, terminal, uses
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
    """Wait until EC2 shows a role on an instance, or on each instance of a mapping the role that it should carry.

    A hub looks at the mapping's instances in all its targets, and says in which of them which are still missing.

    Exits with 255 when it didn't come in time, and with 1 when instances of the mapping are blocked, or wait for their
    start.
    """
    if role == "":
        raise UsageError("--role is empty", "name a role, or NONE")
    if mapping and not (instance or role):
        key = uses.names.mapping_key(mapping)
        found = uses.follow.wait_for_mapping(deployment(), key, every, attempts=attempts, targets=targets)
        render.show({"mapping": str(key), **found.document()}, lambda: terminal.line(outcomes.in_words(found)))
        return outcomes.tell_rest(found)
    if targets:
        raise UsageError(
            "--target is for a mapping's instances", "name an instance of another target as ACCOUNT/REGION/ID"
        )
    if mapping or not (instance and role):
        raise UsageError(
            "wait is for an instance, or for a mapping", "name the instance with --role, or --mapping alone"
        )
    return wait_for_role(deployment(), instance, role, every=every, attempts=attempts)


# ---- an instance ----


def wait_for_role(deployment: Deployment, text: str, role: str, *, every: float, attempts: int) -> ExitCode:
    """Look every so often, so many times; `role` is `NONE` for no role.

    Raises:
        UsageError: there is no such role, so it can't come.
        WaitTimeoutError: EC2 showed something else each time.
    """
    deployment, text = uses.instances.located(deployment, text)
    instance = uses.instances.find_instance(deployment, text)
    if not uses.names.is_known_role(deployment, role):
        raise uses.names.no_such_role(deployment, role)
    watched = _Watched(deployment, instance, role)
    shown = watched.shown()
    if (
        shown
        and instance.state is model.instance.InstanceState.STOPPED
        and role != model.mapping.NO_ROLE
        and not watched.came(shown)
    ):
        terminal.say(
            "The instance is stopped, and EC2 replaces the role of a running one only, unless its mapping says "
            "when_stopped=swap. To have it done, type in another terminal: "
            f"{uses.instances.starts(deployment, instance)}"
        )
    with deployment.progress(attempts, "looks at EC2") as progress:
        for number in range(1, attempts + 1):
            if watched.came(shown):
                return _show(instance, role, shown)
            if number == attempts:
                break
            progress.at(number)
            deployment.sleep(every)
            shown = watched.shown()
    has = f"{uses.fleet.profile_name(shown.profile_arn)} ({shown.state})" if shown else "no role"
    wanted = "no role" if role == model.mapping.NO_ROLE else role
    raise WaitTimeoutError(
        f"{uses.instances.title(instance)} carries {has} and not {wanted}, "
        f"after {attempts:,} look{'' if attempts == 1 else 's'}",
        f"to see what blocks it: rolekeeper explain {uses.instances.addressed(deployment, instance.key.id)}",
    )


@dataclass(frozen=True, eq=False)
class _Watched:
    """An instance that is to show a role."""

    deployment: Deployment
    instance: Instance
    role: str

    def shown(self) -> Association | None:
        id_ = self.instance.key.id
        return self.deployment.app.ec2.associations([id_]).get(id_)

    def came(self, shown: Association | None) -> bool:
        """Whether that is the role, and EC2 has finished."""
        if shown is None:
            return self.role == model.mapping.NO_ROLE
        return (
            shown.state is model.instance.AssociationState.ASSOCIATED and self._role_in(shown.profile_arn) == self.role
        )

    @cache  # noqa: B019  # it lives as long as the command
    def _role_in(self, profile_arn: str) -> str:
        profile = self.deployment.app.iam.get_instance_profile(profile_arn.rsplit("/", 1)[-1])
        return profile.role_name if profile else ""


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

"""Waiting until EC2 shows a role on an instance, as the AWS CLI's waiters do."""

from functools import cache

from rolekeeper.model.instance import Association, AssociationState, InstanceState
from rolekeeper.model.mapping import NO_ROLE
from rolekeeper_cli import known, output, render
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import ExitCode, WaitTimeoutError
from rolekeeper_cli.instances import addressed, find_instance, located, starts, title, where
from rolekeeper_cli.views.looking import profile_name


def wait(deployment: Deployment, text: str, role: str, every: float, attempts: int) -> ExitCode:
    """Look every so often, so many times.

    Args:
        deployment: where.
        text: the instance's id or name.
        role: the role's name; `NONE` for no role.
        every: the pause between two looks, in seconds.
        attempts: how many looks.

    Raises:
        UsageError: there is no such role, so it can't come.
        WaitTimeoutError: EC2 showed something else each time.
    """
    deployment, text = located(deployment, text)
    instance = find_instance(deployment, text)
    if not known.is_known_role(deployment, role):
        raise known.no_such_role(deployment, role)

    @cache
    def role_in(profile_arn: str) -> str:
        profile = deployment.app.iam.get_instance_profile(profile_arn.rsplit("/", 1)[-1])
        return profile.role_name if profile else ""

    def came(shown: Association | None) -> bool:
        if shown is None:
            return role == NO_ROLE
        return shown.state is AssociationState.ASSOCIATED and role_in(shown.profile_arn) == role

    if instance.state is InstanceState.STOPPED and role != NO_ROLE:
        carried = deployment.app.ec2.associations([instance.key.id]).get(instance.key.id)
        if carried and not came(carried):
            output.say(
                "The instance is stopped, and EC2 replaces the role of a running one only, unless its mapping says "
                f"when_stopped=swap. To have it done, type in another terminal: {starts(deployment, instance)}"
            )
    looks = 1
    with deployment.progress(attempts, "looks at EC2") as progress:
        while not came(shown := deployment.app.ec2.associations([instance.key.id]).get(instance.key.id)):
            if looks == attempts:
                has = f"{profile_name(shown.profile_arn)} ({shown.state})" if shown else "no role"
                wanted = "no role" if role == NO_ROLE else role
                after = f"after {attempts:,} look{'' if attempts == 1 else 's'}"
                raise WaitTimeoutError(
                    f"{title(instance)} carries {has} and not {wanted}, {after}",
                    f"see what hinders it: rolekeeper explain {addressed(deployment, instance.key.id)}",
                )
            progress.at(looks)
            looks += 1
            deployment.sleep(every)
    document = {
        **where(instance.key),
        "role": role if shown else None,
        "instance_profile": profile_name(shown.profile_arn) if shown else None,
        "association": shown.id if shown else None,
    }
    render.show(document, lambda: output.line(f"{title(instance)} carries {document['role'] or 'no role'}."))
    return ExitCode.DONE

"""What may be pinned: whether a role can be used, and whether an instance is as the verb takes it."""

from dataclasses import dataclass, replace
from datetime import timedelta

from rolekeeper.mappings.rows.cells import Cell, CellError
from rolekeeper.mappings.rows.columns import COLUMNS
from rolekeeper.model.instance import Association, Instance
from rolekeeper.model.mapping import NO_ROLE, MappingKey, MappingSpec
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper.permissions import PolicyReader, Roles
from rolekeeper_cli import known
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.instances import addressed, in_its_account, title
from rolekeeper_cli.views.looking import profile_name


@dataclass(frozen=True, slots=True)
class Wish:
    """What the person asks for. `verb` is the command: `attach`, `replace` or `detach`."""

    verb: str
    role: str
    instance_profile: str = ""
    length: timedelta | None = None
    reason: str = ""
    allow_broad: bool = False


@dataclass(frozen=True, slots=True)
class UsableProfile:
    """The profile to attach, by ARN, empty for none; and what is to be known of its role, each a sentence."""

    arn: str = ""
    warnings: tuple[str, ...] = ()


def usable_profile(deployment: Deployment, wish: Wish) -> UsableProfile:
    """Check that the role may be used.

    It needs no instance, so that the commoner slip is seen first.

    Raises:
        CommandError: it can't be used.
    """
    if wish.verb == "detach":
        return UsableProfile()
    texts = {"role": wish.role, "instance_profile": wish.instance_profile}
    for column in COLUMNS:
        if text := texts.get(column.name):
            try:
                column.kind.read(Cell("S", text, deployment.app.home))
            except CellError as error:
                raise UsageError(f"{column.name}: {error}", "nothing was changed") from error
    if wish.role == NO_ROLE:
        raise UsageError(f"{NO_ROLE} is no role", "to let an instance carry none: rolekeeper detach")
    # The command makes nothing in IAM: the profile has to be there.
    settings = replace(deployment.settings, create_missing_profiles=False)
    roles = Roles(PolicyReader(deployment.app.iam), settings)
    spec = MappingSpec(MappingKey("", ""), wish.role, wish.instance_profile, allow_broad=wish.allow_broad)
    check = roles.check(spec)
    if check.problem:
        meant = known.role_meant(deployment, wish.role)
        remedy = f"did you mean {meant}?" if meant else check.problem.remedy or "nothing was changed"
        raise CommandError(check.problem.what, remedy)
    return UsableProfile(check.profile_arn, (f"role '{wish.role}': {check.note}",) if check.note else ())


def refuse_wrong_verb(deployment: Deployment, instance: Instance, wish: Wish, shown: Association | None) -> None:
    """As the console does: who means to attach doesn't expect to take something away."""
    meant = addressed(deployment, instance.key.id), wish.role
    if wish.verb == "attach" and shown:
        carried = profile_name(shown.profile_arn)
        same = carried == (wish.instance_profile or wish.role)
        why = "to have it kept whatever its tags say: " if same else "to take that away: "
        remedy = advice(why, Remedy(Kind.REPLACE, meant))
        raise CommandError(f"{title(instance)} carries {carried} already", remedy)
    if wish.verb == "replace" and not shown:
        remedy = advice("to give it one: ", Remedy(Kind.ATTACH, meant))
        raise CommandError(f"{title(instance)} carries no role", remedy)


def refuse_foreign(deployment: Deployment, instance: Instance, shown: Association | None) -> None:
    """IAM lets Rolekeeper take away only what is under the role path, unless the deployment says otherwise."""
    ownership = deployment.settings.ownership
    if shown and not ownership.manages(shown.profile_arn) and not ownership.take_over:
        detach = in_its_account(deployment, f"aws ec2 disassociate-iam-instance-profile --association-id {shown.id}")
        raise CommandError(
            f"{title(instance)} carries the foreign {shown.profile_arn}, which Rolekeeper may not take away",
            f"detach it by hand ({detach}), or deploy with TakeOver=true",
        )

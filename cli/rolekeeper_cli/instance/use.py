"""Instances by id or Name tag: found, and named in texts."""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from rolekeeper.aws.ec2 import Ec2
from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.model.instance import Association, AssociationState, Instance, InstanceKey, Target
from rolekeeper.model.mapping import MappingKey
from rolekeeper.model.problem import Advice, Kind, Remedy, advice
from rolekeeper.model.text import escaped
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.shell.layout import arn_name, several
from rolekeeper_cli.shell.suggest import near

# ACCOUNT/REGION, and what follows it.
TARGET = re.compile(r"([0-9]{12})/([a-z]{2,5}(?:-[a-z]+)+-[0-9]{1,2})(?:/(.+))?", re.ASCII | re.DOTALL)
# The states of an association that stands.
STANDS = frozenset({AssociationState.ASSOCIATING, AssociationState.ASSOCIATED})
ID = re.compile(r"i-[0-9a-f]{8,17}", re.ASCII)


class SeveralNamedError(CommandError):
    """Several instances have the `name`."""

    def __init__(self, name: str, ids: Sequence[str]) -> None:
        super().__init__(f"{len(ids):,} instances are named {name}: {several(ids)}", "give the id of one")
        self.name = name


def located(deployment: Deployment, text: str) -> tuple[Deployment, str]:
    """The target of the instance that a text names, and its id or name there.

    `ACCOUNT/REGION/` before an id or a name is another target; without it, it is the deployment's own.
    """
    found = TARGET.fullmatch(text)
    if found is None or found[3] is None:
        return deployment, text
    return deployment.at(Target(found[1], found[2])), found[3]


def addressed(deployment: Deployment, id_: str) -> str:
    """An instance as a command names it: by its id, after its target if that isn't the deployment's own."""
    return address(key_of(deployment, id_), deployment.home)


def address(key: InstanceKey, home: Target) -> str:
    """The same, from a key."""
    return key.id if key.target == home else f"{key.target}/{key.id}"


def address_of(view: Any, home: Target) -> str:
    """The same, from a view."""
    return address(InstanceKey(view.account, view.region, view.instance), home)


def where(key: InstanceKey) -> dict[str, Any]:
    """The fields of a view that name its instance."""
    return {"instance": key.id, "account": key.account, "region": key.region}


def key_of(deployment: Deployment, id_: str) -> InstanceKey:
    return InstanceKey(deployment.settings.account, deployment.settings.region, id_)


def find_instance(deployment: Deployment, text: str) -> Instance:
    """The instance of the target, by id or name. CommandError if there is none, or several have the name."""
    try:
        ec2 = deployment.app.ec2
        found = ec2.instances([text]).get(text) if ID.fullmatch(text) else _named(ec2, text)
    except AccessDeniedError:
        if _is_target(deployment):
            raise
        what = f"there is no target {deployment.settings.target}"
        raise CommandError(what, advice("see: ", Remedy(Kind.TARGETS))) from None
    if found is None:
        raise CommandError(f"there is no instance {addressed(deployment, text)}", _meant(deployment, text))
    if found.ended:
        raise CommandError(f"{found.key.id} is {found.state}", "name an instance that isn't ending")
    return found


def known_or_ended(deployment: Deployment, text: str) -> tuple[InstanceKey, str]:
    """The key and name of an instance; an id that EC2 lacks is an ended one's. CommandError if none has the name."""
    if not ID.fullmatch(text):
        found = find_instance(deployment, text)
        return found.key, name_of(found)
    shown = deployment.app.ec2.instances([text]).get(text)
    return key_of(deployment, text), name_of(shown) if shown else ""


def name_of(instance: Instance) -> str:
    return instance.tags.get("Name", "")


def title(instance: Instance) -> str:
    """An instance in a sentence: its id, and its name if it has one."""
    return titled(instance.key.id, name_of(instance))


def titled(id_: str, name: str) -> str:
    return f"{id_} ({escaped(name)})" if name else id_


def starts(deployment: Deployment, instance: Instance) -> str:
    return f"aws ec2 start-instances --instance-ids {instance.key.id}{account_options(deployment)}"


def account_options(deployment: Deployment) -> str:
    """The Region and credentials that a command of the AWS CLI needs in another target; empty for the own."""
    target = deployment.settings.target
    return f" --region {target.region} --profile profile-of-{target.account}" if deployment.elsewhere else ""


def role_in(deployment: Deployment, profile_arn: str) -> str:
    """The name of the role that an instance profile holds now; empty for none."""
    profile = deployment.app.iam.get_instance_profile(arn_name(profile_arn))
    return profile.role_name if profile else ""


def shows(association: Association | None, profile_arn: str) -> bool:
    """Whether an instance carries this profile, or none if that is empty, and EC2 has finished the change."""
    if not profile_arn or association is None:
        return not profile_arn and association is None
    return association.profile_arn == profile_arn and association.state is AssociationState.ASSOCIATED


def _named(ec2: Ec2, name: str) -> Instance | None:
    # A name is matched like a mapping's tag: a * within it is literal, but `*` alone matches any name.
    key = MappingKey("Name", name)
    found = [each for page in ec2.tagged(key) for each in page if each.tags["Name"] == name]
    if len(found) > 1:
        raise SeveralNamedError(name, sorted(each.key.id for each in found))
    return found[0] if found else None


def _is_target(deployment: Deployment) -> bool:
    """Whether a place is a target, or the caller may not see that."""
    with suppress(AccessDeniedError):
        return not deployment.elsewhere or deployment.app.registry.get(deployment.settings.target) is not None
    return True


def _meant(deployment: Deployment, text: str) -> Advice:
    """What else could be meant, and where to look."""
    found: list[str] = []
    # Page by page, so that the fleet's size doesn't matter.
    for page in deployment.app.ec2.fleet():
        names = {name for each in page for name in (each.key.id, name_of(each)) if name}
        # A whole id is no typo of another.
        found = [] if ID.fullmatch(text) else near(text, {*found, *names})
    meant = f"did you mean {' or '.join(found)}?" if found else ""
    fleet = Remedy(Kind.FLEET)
    if deployment.elsewhere:
        target = deployment.settings.target
        if not _is_target(deployment):
            return advice(f"{meant} {target} is no target; see: ".lstrip(), Remedy(Kind.TARGETS))
        return advice(f"{meant} see: ".lstrip(), fleet, f" --target {target}")
    if deployment.settings.organization:
        other = f"; an instance of another target is named ACCOUNT/REGION/{text}"
        return advice(f"{meant} see: ".lstrip(), fleet, other)
    return advice(meant) if found else advice("see: ", fleet, "; maybe it is in another --region")

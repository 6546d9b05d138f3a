"""What there is to see of each role under the path, as documents; what draws them is elsewhere.

What AWS refuses is left out, never guessed: it is None in the documents, and the reason is in `unknown`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rolekeeper.aws.iam import Role
from rolekeeper_cli.doctor_deployment import DoctorDeployment
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.roles.inventory import look
from rolekeeper_cli.suggest import did_you_mean


def document(
    deployment: DoctorDeployment,
    names: Sequence[str] = (),
    *,
    unused: bool = False,
    ask_last_accessed: bool = True,
    ask_instances: bool = True,
) -> dict[str, Any]:
    """The roles under the path: all, those that are named, or those that nothing uses; and what they come to.

    Without `ask_instances` it isn't known who carries them, and the fleet isn't read.

    Raises:
        UsageError: there is no role of a name under the path.
    """
    roles = named(deployment, names) if names else list(deployment.path_roles)
    found = look(deployment, roles, ask_last_accessed=ask_last_accessed, ask_instances=ask_instances)
    now = deployment.now()
    documents = [each.document(now) for each in found.views if not unused or each.is_unused(now)]
    return {
        "roles": documents,
        "summary": summary(documents),
        "account": found.account,
        "unknown": found.unknown,
    }


def summary(documents: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What the documents of roles come to."""
    return {
        "roles": len(documents),
        "broad": sum(bool(each["broad"]) for each in documents),
        "unused": sum(bool(each["unused"]) for each in documents),
        "with_unused_services": sum(bool(each["unused_services"]) for each in documents),
        "could_be_smaller": sum(bool(each["smaller"]) for each in documents),
    }


def named(deployment: DoctorDeployment, names: Iterable[str]) -> list[Role]:
    """The roles under the path of these names, each once.

    Raises:
        UsageError: there is none of a name.
    """
    there = {each.name: each for each in deployment.path_roles}
    for each in names:
        if each not in there:
            remedy = did_you_mean(each, there) or "see: rolekeeper roles"
            raise UsageError(f"there is no role {each} under {deployment.settings.role_path}", remedy)
    return [there[each] for each in dict.fromkeys(names)]

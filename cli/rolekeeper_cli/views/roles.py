"""What there is to see of each role under the path, as documents; what draws them is elsewhere.

What AWS refuses is left out, never guessed: it is None in the documents, and the reason is in `unknown`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rolekeeper.aws.iam import Role
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper_cli import known
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.doctor_deployment import DoctorDeployment
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.reports import Silent
from rolekeeper_cli.roles.inventory import Inventory, RoleUsers, look, look_elsewhere
from rolekeeper_cli.suggest import did_you_mean
from rolekeeper_cli.views.places import Places, some


@dataclass(frozen=True, slots=True)
class Asked:
    """Which roles are shown, and what is asked of AWS about them.

    Attributes:
        names: these; all without any.
        unused: only those that nothing uses.
        last_accessed: IAM is asked for its reports of last use.
        instances: the fleet is read; else it isn't known who carries them.
    """

    names: Sequence[str] = ()
    unused: bool = False
    last_accessed: bool = True
    instances: bool = True


def document(deployment: DoctorDeployment, places: Places, asked: Asked) -> dict[str, Any]:
    """The roles under the path in the accounts of these targets, and what they come to.

    Of a hub each says of which account it is, and `unseen` are the targets that couldn't be looked into.

    Raises:
        UsageError: there is no role of a name under the path.
    """
    is_hub = bool(deployment.settings.organization)
    users = RoleUsers(deployment, places, ask_instances=asked.instances)
    if is_hub:
        users.read()

    def inventory(place: Deployment) -> Iterator[Inventory]:
        if place.elsewhere:
            yield look_elsewhere(place, asked.names, users, ask_last_accessed=asked.last_accessed)
        else:
            roles = _named(deployment, asked.names, all_here=not is_hub) if asked.names else deployment.path_roles
            yield look(deployment, roles, users, ask_last_accessed=asked.last_accessed)

    with (deployment.progress if is_hub else Silent)(None, "accounts whose roles were read") as progress:
        found = list(progress.over(places.ask_accounts(inventory)))
    there = {view.role.name for each in found for view in each.views}
    # Of what couldn't be looked into nothing is said.
    if found and (missing := next((each for each in asked.names if each not in there), "")):
        where = f" in {some([each.of for each in found], 'account')}"
        raise _no_such_role(deployment, missing, known.path_roles(deployment), where=where)
    documents = list(_documents(found, deployment.now(), unused=asked.unused, is_hub=is_hub))
    return {
        "roles": documents,
        "summary": summary(documents),
        "account": users.own.account,
        "unknown": _unknown([users.own, *(each for each in found if each is not users.own)], is_hub=is_hub),
        **({"unseen": places.unseen_documents()} if is_hub else {}),
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


def _documents(found: Iterable[Inventory], now: datetime, *, unused: bool, is_hub: bool) -> Iterator[dict[str, Any]]:
    for inventory in found:
        for each in inventory.views:
            if not unused or each.is_unused(now):
                said = each.document(now)
                yield {"role": said["role"], "account": inventory.of, **said} if is_hub else said


def _unknown(found: Iterable[Inventory], *, is_hub: bool) -> list[str]:
    """What couldn't be read and why; of a hub, in which accounts."""
    reasons: dict[str, list[str]] = {}
    for inventory in found:
        for each in inventory.unknown:
            reasons.setdefault(each, []).append(inventory.of)
    if not is_hub:
        return list(reasons)
    return [
        f"{why} ({'account' if len(accounts) == 1 else 'accounts'} {some(accounts, 'account')})"
        for why, accounts in reasons.items()
    ]


def _named(deployment: DoctorDeployment, names: Iterable[str], *, all_here: bool) -> list[Role]:
    """The own roles under the path of these names, each once.

    Raises:
        UsageError: they are to be `all_here`, and there is none of a name.
    """
    there = {each.name: each for each in deployment.path_roles}
    if all_here and (missing := next((each for each in names if each not in there), "")):
        raise _no_such_role(deployment, missing, there)
    return [there[each] for each in dict.fromkeys(names) if each in there]


def _no_such_role(deployment: Deployment, name: str, near: Iterable[str], where: str = "") -> UsageError:
    what = f"there is no role {name} under {deployment.settings.role_path}{where}"
    return UsageError(what, did_you_mean(name, near) or advice("see: ", Remedy(Kind.ROLES)))

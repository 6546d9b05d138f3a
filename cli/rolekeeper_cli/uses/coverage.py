"""The accounts and Regions of the organization that have no spoke, and the instances that are there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError
from rolekeeper.model.instance import Target
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, ConfigurationError
from rolekeeper_cli.uses.targets import few_at_once

_ACTIVE = "ACTIVE"
# What EC2 answers in a Region that the account hasn't enabled (AWS_FACTS.md, "Many accounts").
_NOT_ENABLED = frozenset({"AuthFailure", "OptInRequired"})


@dataclass(frozen=True, slots=True)
class Uncovered:
    """An account and Region without a registered target; `name` is the account's."""

    target: Target
    name: str


def registered(deployment: Deployment) -> set[Target]:
    """The deployment's targets, its own too."""
    return {deployment.home, *(each.target for each in deployment.app.registry.all())}


def uncovered(deployment: Deployment, known: set[Target], regions: Sequence[str] = ()) -> list[Uncovered]:
    """Those of the organization's active accounts, by default in the Regions that the known targets are in.

    Raises:
        CommandError: the deployment has no organization, or the caller may not list its accounts.
    """
    if not deployment.settings.organization:
        raise ConfigurationError(
            f"stack '{deployment.stack.name}' looks after its own account and Region only",
            "deploy it with --organization-id first: rolekeeper deploy --organization-id o-…",
        )
    accounts = _accounts(deployment)
    asked = regions or sorted({each.region for each in known})
    return [
        Uncovered(target, name)
        for account, name in accounts
        for target in (Target(account, region) for region in asked)
        if target not in known
    ]


def documents(deployment: Deployment, regions: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The same as documents, with the number of instances; None where nobody here can know it.

    In an account with a spoke in another Region the spoke's reader counts them, for a caller that may be it. A Region
    that isn't enabled there has none, and is left out.
    """
    known = registered(deployment)
    found = uncovered(deployment, known, regions)
    readable = {each.account for each in known if each != deployment.home}
    with deployment.progress(len(found), "accounts and Regions without a spoke looked at") as progress:
        for _, each in progress.over(few_at_once(found, partial(_document, deployment, readable))):
            if each:
                yield each


def _document(deployment: Deployment, readable: set[str], place: Uncovered) -> dict[str, Any] | None:
    """One of them; None if its Region isn't enabled."""
    target = place.target
    named = {"account": target.account, "account_name": place.name, "region": target.region}
    if target.account not in readable:
        return {**named, "instances": None}
    try:
        pages = deployment.at(target).app.ec2.pages()
        return {**named, "instances": sum(not each.ended for page, _ in pages for each in page)}
    except AwsRefusalError as error:
        return None if error.code in _NOT_ENABLED else {**named, "instances": None}


def _accounts(deployment: Deployment) -> list[tuple[str, str]]:
    """Id and name of the organization's active accounts."""
    try:
        pages = deployment.pages("organizations:ListAccounts", "*")
    except AccessDeniedError as error:
        raise CommandError(
            f"the organization's accounts can't be listed: you aren't allowed {error.action}",
            "allow it in your own policy; and, unless this account manages the organization or is a delegated "
            'administrator, in the organization\'s delegation policy: docs/organization.md, "Accounts without a spoke"',
        ) from error
    # `Status` until AWS retires it (AWS_FACTS.md, "Many accounts").
    return sorted(
        (each["Id"], each.get("Name", ""))
        for page in pages
        for each in page["Accounts"]
        if each.get("State", each.get("Status")) == _ACTIVE
    )

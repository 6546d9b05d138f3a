"""The organization of an account: a hub and its spokes work in their own only, and each account may ask for its own."""

from collections.abc import Callable
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, classified
from rolekeeper_cli import output, prompts
from rolekeeper_cli.errors import ConfigurationError

_ACTION = "organizations:DescribeOrganization"


def organization_of(client: Any) -> str:
    """The id of the organization that the caller's account is in; empty: none.

    Raises:
        AwsRefusalError: it isn't known, as the caller may not ask, or gets no answer.
    """
    try:
        with classified(_ACTION, "*"):
            return str(client.describe_organization()["Organization"]["Id"])
    except AwsRefusalError as error:
        if error.code != "AWSOrganizationsNotInUseException":
            raise
        return ""


def check_hub(client: Callable[[], Any], wanted: str, former: str, *, dry_run: bool) -> None:
    """Refuse to make a hub of an organization that its account isn't in.

    If that can't be asked, a new hub is made with a warning. A live hub would shut out its spokes: a person has to type
    the id of the other organization, --yes or not.

    Args:
        client: makes a client of AWS Organizations in the hub's account.
        wanted: the organization's id; empty for none.
        former: the same, as it is deployed.
        dry_run: nothing is changed.

    Raises:
        CommandError: the account is in another organization; or nobody can say that it isn't.
    """
    if wanted in {"", former}:
        return
    try:
        own = organization_of(client())
    except AwsRefusalError as error:
        _unchecked(wanted, former, error, dry_run=dry_run)
        return
    if own != wanted:
        there = f"in the organization {own}" if own else "in no organization"
        remedy = f"its own: --organization-id {own}" if own else f"have it join {wanted} first"
        raise ConfigurationError(f"this account is {there}, and can't be the hub of {wanted}", remedy)


def _unchecked(wanted: str, former: str, error: AwsRefusalError, *, dry_run: bool) -> None:
    why = "you aren't allowed" if isinstance(error, AccessDeniedError) else f"{error.code} is the answer to"
    output.warn(f"whether this account is in {wanted} isn't checked: {why} {_ACTION}")
    if not former or dry_run:
        return
    what = f"this hub looks after {former}, and its spokes would be shut out"
    if not output.is_terminal():
        raise ConfigurationError(what, f"deploy as someone who is allowed {_ACTION}, or at a terminal")
    prompts.confirm_word(wanted, f"{what}.", None)

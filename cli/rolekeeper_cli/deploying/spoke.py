"""`rolekeeper spoke deploy`: the stack by which a hub looks after this account, in each of its Regions.

What is the account's, the hub's reader and changer, is made in one Region, the home. It is deployed first, so that the
hub can look into the others as soon as they are there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rolekeeper.aws import Ec2
from rolekeeper.aws.errors import AwsRefusalError, NotFoundError, classified
from rolekeeper.model.instance import Target
from rolekeeper.settings import Access, Ownership
from rolekeeper_cli import installed, render, terminal
from rolekeeper_cli.deploying.change_set import Template
from rolekeeper_cli.deploying.deploy import PATIENT, organization_of
from rolekeeper_cli.deploying.destroy import Carried, carrying
from rolekeeper_cli.deploying.hub import ALLOWED, Hub
from rolekeeper_cli.deploying.parameters import option_of
from rolekeeper_cli.deploying.rollout import Changed, Rollout, delete, document
from rolekeeper_cli.deploying.stack import (
    NEVER_WORKED,
    SPOKE,
    Parameters,
    Present,
    declared,
    existing,
    merged,
    ordered,
    refuse_downgrade,
    refused,
    versions,
)
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import ConfigurationError, ExitCode, UsageError
from rolekeeper_cli.tables import show_table

STACK = "rolekeeper-spoke"
# Its roles have names of their own, by which the hub finds them.
_CAPABILITIES = ("CAPABILITY_NAMED_IAM",)
# Parameters that only the account's roles have to do with, and their options.
_OF_ROLES = {
    **{name: option_of(name) for name in ALLOWED},
    "OrganizationalUnit": "--unit",
    "OtherReaders": "--reader",
}
# What the reader role says of itself (spoke.yaml).
_HOME_TAG = "rolekeeper:home-region"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for.

    Attributes:
        hub: what the hub says of itself; None: as it is deployed.
        parameters: others of the template's, as given; those that aren't stay as they are deployed.
        yes: don't ask whether to do it.
        dry_run: only show it.
        allow_downgrade: an older version may replace a newer one.
    """

    hub: Hub | None = None
    parameters: Parameters = field(default_factory=dict)
    yes: bool = False
    dry_run: bool = False
    allow_downgrade: bool = False


def deploy(places: Sequence[Deployment], wanted: Wanted) -> ExitCode:
    """Show what would change in each Region, ask, and change it, the home Region first.

    Args:
        places: the account's Regions, as deployments of the spoke's stack.
        wanted: what was asked for.

    Raises:
        CommandError: it can't be done, or it failed; the message says why.
    """
    known = declared(installed.file("spoke.yaml"))
    template = Template({"TemplateBody": installed.file("spoke.yaml").read_text()}, _CAPABILITIES)
    present = {region_of(each): _present(each) for each in places}
    for each in present.values():
        refuse_downgrade(each, allowed=wanted.allow_downgrade)
    hub = dict(wanted.hub.parameters) if wanted.hub else {}
    _warn_of_version(wanted.hub)
    asked = {**hub, **wanted.parameters}
    home = asked["HomeRegion"] = _home(places[0], present, asked)
    given = {region: _given(each, asked, wanted.parameters) for region, each in present.items()}
    parameters = {region: _parameters(known, each, given[region]) for region, each in present.items()}
    _say_what_is_kept(hub, given.get(home, hub), parameters.get(home, hub))
    _refuse_stranger(places[0], parameters[region_of(places[0])]["OrganizationId"])
    if home not in present and (only_there := sorted(_OF_ROLES.keys() & wanted.parameters.keys())):
        what = " and ".join(map(_OF_ROLES.__getitem__, only_there))
        terminal.warn(f"about the account's roles: {what} takes effect once you deploy in {home} too")
    documents = []
    for place in sorted(places, key=lambda each: region_of(each) != home):
        region = region_of(place)
        changed = _deploy(place, template, present[region], values=(parameters[region], given[region]), wanted=wanted)
        documents.append({"region": region, **document(present[region], changed)})
    render.show(documents, lambda: None)
    if any(each["outcome"] == "deployed" for each in documents):
        account = parameters[region_of(places[0])]["HubAccount"]
        terminal.say(f"The hub in account {account} looks after it from its first event on: rolekeeper targets")
    return ExitCode.DONE


def _given(present: Present, asked: Parameters, own: Parameters) -> Parameters:
    """What one stack is given of what is asked for. What the account allows stays until its `own` word is another."""
    kept = {name for name in ALLOWED if name in present.parameters and name not in own}
    return {name: value for name, value in asked.items() if name not in kept}


def _say_what_is_kept(hub: Parameters, given: Parameters, parameters: Parameters) -> None:
    for name in sorted(hub.keys() - given.keys()):
        if hub[name] != parameters[name]:
            kept = f"{name}={parameters[name]}"
            terminal.say(f"The account keeps {kept}, and the hub has {hub[name]}: {option_of(name)} {hub[name]}")


def _present(place: Deployment) -> Present:
    return Present.read(place.client("cloudformation", PATIENT), place.stack_name, SPOKE)


def _deploy(
    place: Deployment, template: Template, present: Present, values: tuple[Parameters, Parameters], wanted: Wanted
) -> Changed:
    client, stack = place.client("cloudformation", PATIENT), place.stack_name
    terminal.say(f"Stack {stack} in {region_of(place)}, account {place.caller.account}: {versions(present)}")
    parameters, given = values
    if parameters["HubAccount"] == place.caller.account and parameters["HubRegion"] == region_of(place):
        terminal.say("It is the hub's own account and Region, which has no rules of a spoke.")
    rollout = Rollout(client, stack, place.sleep, yes=wanted.yes, dry_run=wanted.dry_run)
    if present.status == NEVER_WORKED:
        rollout.remove_what_failed(present)
        present = Present()
    return rollout.change(template, present, parameters, given=given)


def _parameters(known: Mapping[str, Any], present: Present, given: Parameters) -> Parameters:
    """All parameters of one stack."""
    parameters = merged(known, present.parameters, given)
    if missing := [name for name in known if name not in parameters]:
        raise UsageError(
            f"the hub isn't named, so {missing[0]} isn't known",
            "give --hub-profile; or, with a file that rolekeeper spoke parameters wrote: --hub hub.json",
        )
    if wrong := refused(known, parameters):
        raise UsageError("; ".join(wrong), "see: rolekeeper spoke deploy --help")
    return parameters


def _home(place: Deployment, present: Mapping[str, Present], given: Parameters) -> str:
    """The Region of the account's roles: where they are, else where they are asked for, else the first one given.

    Raises:
        CommandError: they are elsewhere than they are asked for, or where they are isn't known.
    """
    asked = given.get("HomeRegion")
    there = _home_there(place, present, given)
    if there and asked and there != asked:
        raise UsageError(
            f"the account's roles are in {there} already, not in {asked}",
            f"leave --home-region out; or remove the spoke in {there} first",
        )
    home = there or asked or region_of(place)
    if not there and home not in present:
        raise UsageError(f"there are no roles in {home} yet", f"deploy it there too: --region {home}")
    return home


def _home_there(place: Deployment, present: Mapping[str, Present], given: Parameters) -> str | None:
    """Where the account's roles are; None where there are none."""
    for each in present.values():
        if each.parameters:
            return each.parameters["HomeRegion"]
    namespace = given.get("Namespace", "rolekeeper")
    name = f"{namespace}-{Access.READER}"
    try:
        with classified("iam:GetRole", name):
            tags = place.client("iam").get_role(RoleName=name)["Role"].get("Tags", ())
    except NotFoundError:
        return None
    home = next((each["Value"] for each in tags if each["Key"] == _HOME_TAG), None)
    if not home and not given.get("HomeRegion"):
        raise ConfigurationError(
            f"the account has the role {name} already, which doesn't say in which Region it was made",
            "give that Region: --home-region",
        )
    return home or given["HomeRegion"]


def _refuse_stranger(place: Deployment, organization: str) -> None:
    """Refuse an account that is known to be outside of the hub's organization: the hub would never hear of it."""
    try:
        own = organization_of(place.client("organizations"))
    except AwsRefusalError:
        return  # The caller may not ask, and need not: what the hub's bus refuses, it refuses all the same.
    if own != organization:
        there = f"the organization {own}" if own else "no organization"
        raise ConfigurationError(
            f"account {place.caller.account} is in {there}, and the hub looks after {organization}",
            f"have it join {organization} first; or name another hub",
        )


def _warn_of_version(hub: Hub | None) -> None:
    """Say it where hub and spoke would be of different versions."""
    ours = installed.version()
    if hub and hub.version and ordered(hub.version)[:2] != ordered(ours)[:2]:
        newer = ordered(hub.version) > ordered(ours)
        what = "upgrade this command" if newer else "upgrade the hub"
        terminal.warn(f"the hub is version {hub.version}, and the spoke would be {ours}: {what}")


def region_of(place: Deployment) -> str:
    """The Region of a spoke's stack."""
    return str(place.session.region_name)


# ---- `rolekeeper spoke remove` ----


@dataclass(frozen=True, slots=True)
class Spoke:
    """One Region's stack that is to be deleted."""

    place: Deployment
    id: str
    parameters: Mapping[str, str]
    carried: Carried

    @property
    def region(self) -> str:
        """Where it is."""
        return region_of(self.place)

    @property
    def target(self) -> str:
        """What the hub calls it."""
        return str(Target(self.place.caller.account, self.region))

    @property
    def is_home(self) -> bool:
        """Whether the account's roles go with it."""
        return self.parameters.get("HomeRegion") == self.region


def remove(places: Sequence[Deployment], *, yes: bool) -> list[Spoke]:
    """Say what would happen, ask, and delete the stacks, the home Region's last; returns what was removed.

    Raises:
        CommandError: it can't be done, or it failed; the message says why.
    """
    spokes = sorted((_found(each) for each in places), key=lambda each: each.is_home)
    account = places[0].caller.account
    terminal.say(f"Stack {places[0].stack_name} in account {account}.")
    _show_removal(spokes)
    terminal.confirm(f"Delete it in {', '.join(each.region for each in spokes)}?", yes=yes)
    for each in spokes:
        client = each.place.client("cloudformation", PATIENT)
        delete(client, each.id, each.place.sleep, what=f"the deletion in {each.region}")
    documents = [
        {"region": each.region, "outcome": "removed", "carrying": [instance.key.id for instance, _ in each.carried]}
        for each in spokes
    ]
    render.show(documents, lambda: None)
    carry = sum(len(each.carried) for each in spokes)
    terminal.say(
        f"Removed. {_many(carry, 'keeps', 'keep')} a role that Rolekeeper manages; nobody changes it from then on."
    )
    return spokes


def _found(place: Deployment) -> Spoke:
    client = place.client("cloudformation", PATIENT)
    found = existing(client, place.stack_name, SPOKE)
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", ())}
    caller = place.caller
    prefix = (
        f"arn:{caller.partition}:iam::{caller.account}:instance-profile{parameters.get('RolePath', '/rolekeeper/')}"
    )
    ec2 = Ec2(place.client("ec2"), caller.account, region_of(place))
    return Spoke(place, found["StackId"], parameters, carried=list(carrying(ec2, Ownership(prefix))))


def _many(number: int, one: str, several: str) -> str:
    """That this many instances do something."""
    return f"1 instance {one}" if number == 1 else f"{number:,} instances {several}"


def _kept(spoke: Spoke) -> str:
    """That they keep their roles, where there are any."""
    return f" and {'keeps' if len(spoke.carried) == 1 else 'keep'} it" if spoke.carried else ""


def _show_removal(spokes: Sequence[Spoke]) -> None:
    if not terminal.options().for_people:
        return
    rows = [
        (
            each.region,
            f"{_many(len(each.carried), 'carries', 'carry')} a managed role{_kept(each)}; its rules are deleted",
        )
        for each in spokes
    ]
    if any(each.is_home for each in spokes):
        what = "the hub's reader and changer are deleted; a spoke in another Region doesn't work without them"
        rows.append(("account", what))
    show_table(("where", "what would happen"), rows)

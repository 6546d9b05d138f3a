"""`rolekeeper spoke`: the stack by which a hub looks after this account, in each of its Regions.

What is the account's, the hub's and people's roles, is made in one Region, the home. It is deployed first, so that the
hub can look into the others as soon as they are there.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolekeeper.aws import Ec2
from rolekeeper.aws.errors import AwsRefusalError, NotFoundError
from rolekeeper.model.instance import Target
from rolekeeper.settings import Access, Ownership
from rolekeeper_cli import installed
from rolekeeper_cli.aws.deployment import Deployment, parameters_of
from rolekeeper_cli.aws.explained import refusal
from rolekeeper_cli.deploy.deploy import PATIENT
from rolekeeper_cli.deploy.destroy import carrying
from rolekeeper_cli.deploy.parameters import option_of
from rolekeeper_cli.deploy.rollout import NAMED_ROLES, Rollout, Template
from rolekeeper_cli.deploy.stack import (
    SPOKE,
    Parameters,
    Present,
    declared,
    existing,
    merged,
    refuse_downgrade,
    refused,
    require_fits,
    versions,
)
from rolekeeper_cli.deploy.view import DeployedView, RemovedSpokeView
from rolekeeper_cli.errors import CommandError, ConfigurationError, UsageError
from rolekeeper_cli.row.files import content
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.tables import show_table

# ---- what a spoke has to know of its hub: parameters of spoke.yaml ----

# What an account allows the hub to do; a new spoke begins with what the hub has.
ALLOWED = ("TakeOver", "CreateMissingProfiles")
# What the hub's own parameters of these names say holds in its spokes too.
_ALIKE = ("OrganizationId", "Namespace", "RolePath", *ALLOWED)
_OUTPUTS = ("HubReaders", "HubChangers", "HubNotifiers")
# What isn't said by the hub, but by those who ask it, if they do.
_ASKED = ("HomeRegion", "Regions", "OrganizationalUnit", "OtherReaders", "EventsToAccount")
NAMES = frozenset({"HubAccount", "HubRegion", *_ALIKE, *_OUTPUTS, *_ASKED})
# Only the organization's managers may ask (Organizations API reference, `ListParents`).
_PARENTS, _PATH = "organizations:ListParents", "--unit r-…/ou-…/ou-…"
# The separator of a list of CloudFormation's, and of one that people read.
_COMMA, _AND = ",", ", "


@dataclass(frozen=True, slots=True)
class Hub:
    """The parameters, and the hub's version where it was asked."""

    parameters: Parameters
    version: str | None = None


def ask_hub(hub: Deployment, asked: Parameters | None = None) -> Hub:
    """Ask the hub. `asked` are parameters that it doesn't know; an empty one is left out."""
    said = {name: value for name, value in (asked or {}).items() if value}
    if wrong := refused(declared(installed.file("spoke.yaml")), said):
        raise UsageError("; ".join(wrong.values()), "see: rolekeeper spoke parameters --help")
    if named := said.get("OrganizationalUnit"):
        said["OrganizationalUnit"] = _from_root(hub, named)
    hub.require_organization()
    stack = hub.stack
    if missing := [each for each in _OUTPUTS if each not in stack.outputs]:
        what = f"stack '{stack.name}' has no output {missing[0]}"
        raise ConfigurationError(what, "deploy this version: rolekeeper deploy")
    parameters = {
        "HubAccount": hub.caller.account,
        "HubRegion": hub.region,
        **{name: stack.parameters[name] for name in _ALIKE},
        **{name: stack.outputs[name] for name in _OUTPUTS},
    }
    require_fits(installed.file("spoke.yaml"), parameters | said)
    return Hub(parameters | said, stack.outputs.get("Version"))


def _from_root(hub: Deployment, unit: str) -> str:
    """A unit after those that it is below, from the root, where the caller may ask the organization."""
    path = unit.split("/")
    try:
        while not path[0].startswith("r-"):
            [parent] = hub.ask(_PARENTS, path[0], ChildId=path[0])["Parents"]
            path.insert(0, parent["Id"])
    except AwsRefusalError as error:
        terminal.warn(f"which units {unit} is below isn't known: {refusal(error).what}; to say it: {_PATH}")
        return unit
    return "/".join(path)


def listed(values: Iterable[str]) -> str:
    """ARNs or Regions as CloudFormation takes a list; an empty one is none."""
    return _COMMA.join(each for each in values if each)


def read_hub(name: str) -> Hub:
    """Read them from a file of that form; `-` is stdin."""
    remedy = "write it with the hub's credentials: rolekeeper spoke parameters > hub.json"
    try:
        found = json.loads(content(name, remedy))
        parameters: dict[str, object] = {each["ParameterKey"]: each["ParameterValue"] for each in found}
    except (ValueError, TypeError, KeyError) as error:
        raise CommandError(f"{name} holds no parameters of a hub", remedy) from error
    texts = {key: value for key, value in parameters.items() if isinstance(value, str)}
    if others := sorted(parameters.keys() - NAMES | (parameters.keys() - texts.keys())):
        raise CommandError(f"{name} says what no hub does: {_AND.join(others)}", remedy)
    if missing := sorted(NAMES - {*_ASKED} - texts.keys()):
        raise CommandError(f"{name} lacks {_AND.join(missing)}", remedy)
    return Hub(texts)


# ---- `rolekeeper spoke deploy` ----

STACK = "rolekeeper-spoke"
# Parameters that only the account's roles have to do with, and their options.
_OF_ROLES = {
    **{name: option_of(name) for name in ALLOWED},
    "OrganizationalUnit": "--unit",
    "OtherReaders": "--reader",
    "Regions": "--regions",
    "EventsToAccount": "--events-to-account",
}
# What the reader role says of itself (spoke.yaml).
_HOME_TAG = "rolekeeper:home-region"


@dataclass(frozen=True, slots=True)
class Planned:
    """One Region's stack: as it is, and the parameters that it is to have, of which some are `given`."""

    place: Deployment
    present: Present
    given: Parameters
    parameters: Parameters


def deploy(places: Sequence[Deployment], hub: Hub | None, own: Parameters, *, yes: bool, allow_downgrade: bool) -> None:
    """Show what would change in each Region, ask, and change it, the home Region first.

    `places` are the account's Regions, as deployments of the spoke's stack. Parameters that neither the `hub` has nor
    are the account's `own` stay as they are deployed.
    """
    present = {each.region: _present(each, allow_downgrade=allow_downgrade) for each in places}
    ours = installed.version()
    if hub and hub.version and installed.ordered(hub.version)[:2] != installed.ordered(ours)[:2]:
        what = "upgrade this command" if installed.ordered(hub.version) > installed.ordered(ours) else "upgrade the hub"
        terminal.warn(f"the hub is version {hub.version}, and the spoke would be {ours}: {what}")
    of_the_hub = dict(hub.parameters) if hub else {}
    asked = {**of_the_hub, **own}
    home = asked["HomeRegion"] = _home(places[0], present, asked)
    asked["Regions"] = _regions(present, home, asked.get("Regions"))
    known = declared(installed.file("spoke.yaml"))
    planned = [_planned(each, present[each.region], known, asked=asked, own=own) for each in places]
    at_home = next((each for each in planned if each.place.region == home), None)
    if at_home:
        _say_what_is_kept(of_the_hub, at_home)
    _refuse_stranger(places[0], planned[0].parameters["OrganizationId"])
    if not at_home and (only_there := sorted(_OF_ROLES.keys() & own.keys())):
        what = " and ".join(map(_OF_ROLES.__getitem__, only_there))
        terminal.warn(f"about the account's roles, and without effect until you deploy in {home} too: {what}")
    home_first = sorted(planned, key=lambda each: each.place.region != home)
    done = [_deploy(each, yes=yes) for each in home_first]
    render.show(done)
    if any(deployed.outcome == "deployed" for deployed in done):
        account = planned[0].parameters["HubAccount"]
        terminal.say(f"The hub in account {account} looks after it from its first event on: rolekeeper targets")


def _present(place: Deployment, *, allow_downgrade: bool) -> Present:
    present = Present.read(place.client("cloudformation", PATIENT), place.stack_name, SPOKE)
    refuse_downgrade(present, allowed=allow_downgrade)
    return present


def _planned(
    place: Deployment, present: Present, known: Mapping[str, Any], *, asked: Parameters, own: Parameters
) -> Planned:
    """One stack is given what is asked for; but what the account allows stays until its `own` word is another."""
    kept = {name for name in ALLOWED if name in present.parameters and name not in own}
    given = {name: value for name, value in asked.items() if name not in kept}
    parameters = merged(known, present.parameters, given)
    if missing := [name for name in known if name not in parameters]:
        raise UsageError(
            f"the hub isn't named, so {missing[0]} isn't known",
            "give --hub-profile; or, with a file that rolekeeper spoke parameters wrote: --hub hub.json",
        )
    if wrong := refused(known, parameters):
        raise UsageError("; ".join(wrong.values()), "see: rolekeeper spoke deploy --help")
    require_fits(installed.file("spoke.yaml"), parameters)
    return Planned(place, present, given=given, parameters=parameters)


def _say_what_is_kept(hub: Parameters, planned: Planned) -> None:
    for name in sorted(hub.keys() - planned.given.keys()):
        if hub[name] != planned.parameters[name]:
            kept = f"{name}={planned.parameters[name]}"
            terminal.say(f"The account keeps {kept}, and the hub has {hub[name]}: {option_of(name)} {hub[name]}")


def _deploy(planned: Planned, *, yes: bool) -> DeployedView:
    """Deploy in one Region; returns what is shown of it."""
    place, present, parameters = planned.place, planned.present, planned.parameters
    stack, account = place.stack_name, place.caller.account
    terminal.say(f"Stack {stack} in {planned.place.region}, account {account}: {versions(present)}")
    if (parameters["HubAccount"], parameters["HubRegion"]) == (account, planned.place.region):
        terminal.say("It is the hub's own account and Region, which has no rules of a spoke.")
    rollout = _rollout(place, yes=yes)
    template = Template({"TemplateBody": installed.file("spoke.yaml").read_text()}, NAMED_ROLES)
    present = rollout.without_what_failed(present)
    return rollout.change(template, present, parameters, given=planned.given).but(region=planned.place.region)


def _rollout(place: Deployment, *, yes: bool = False) -> Rollout:
    return Rollout(place.client("cloudformation", PATIENT), place.stack_name, place.sleep, yes=yes)


def _home(place: Deployment, present: Mapping[str, Present], given: Parameters) -> str:
    """The Region of the account's roles: where they are, or where they are asked for, or the first one given."""
    asked = given.get("HomeRegion")
    there = _home_there(place, present, given)
    if there and asked and there != asked:
        what = f"the account's roles are in {there} already, not in {asked}"
        raise UsageError(what, f"leave --home-region out; or remove the spoke in {there} first")
    home = there or asked or place.region
    if not there and home not in present:
        raise UsageError(f"there are no roles in {home} yet", f"deploy it there too: --region {home}")
    return home


def _regions(present: Mapping[str, Present], home: str, given: str | None) -> str:
    """List the Regions where the hub may act: those given; else those that the roles know, and those deployed now."""
    lists = [given] if given else [each.parameters.get("Regions", "") for each in present.values()]
    known = {region for each in lists for region in each.split(_COMMA) if region}
    if (given or home not in present) and (new := sorted(present.keys() - known)):
        if given:
            raise UsageError(f"{new[0]} isn't among the Regions {given}", f"name it too: --regions {given},{new[0]}")
        raise UsageError(
            f"the account's roles are in {home}, and don't let the hub act in {new[0]} yet",
            f"deploy it together with that Region: --region {home} --region {new[0]}; or name all that have a spoke: "
            "--regions",
        )
    return listed(sorted(known | present.keys()))


def _home_there(place: Deployment, present: Mapping[str, Present], given: Parameters) -> str | None:
    """Where the account's roles are; None where there are none."""
    for each in present.values():
        if each.parameters:
            return each.parameters["HomeRegion"]
    namespace = given.get("Namespace", "rolekeeper")
    name = f"{namespace}-{Access.READER}"
    try:
        tags = place.ask("iam:GetRole", name, RoleName=name)["Role"].get("Tags", ())
    except NotFoundError:
        return None
    home = next((each["Value"] for each in tags if each["Key"] == _HOME_TAG), None)
    if not home and not given.get("HomeRegion"):
        what = f"the account has the role {name} already, which doesn't say in which Region it was made"
        raise ConfigurationError(what, "give that Region: --home-region")
    return home or given["HomeRegion"]


def _refuse_stranger(place: Deployment, organization: str) -> None:
    """Refuse an account that is known to be outside of the hub's organization: the hub would never hear of it."""
    try:
        own = place.organization().get("Id", "")
    except AwsRefusalError:
        return  # The caller may not ask, and need not: what the hub's bus refuses, it refuses all the same.
    if own != organization:
        there = f"the organization {own}" if own else "no organization"
        what = f"account {place.caller.account} is in {there}, and the hub looks after {organization}"
        raise ConfigurationError(what, f"have it join {organization} first; or name another hub")


# ---- `rolekeeper spoke remove` ----


@dataclass(frozen=True, slots=True)
class Spoke:
    """A stack that is to be deleted, and the instances that keep a managed role."""

    place: Deployment
    id: str
    parameters: Parameters
    carrying: list[str]

    @property
    def is_home(self) -> bool:
        return self.parameters.get("HomeRegion") == self.place.region


def remove(places: Sequence[Deployment], *, yes: bool) -> list[Target]:
    """Say what would happen, ask, and delete the stacks, the home Region's last; returns what was removed."""
    spokes = sorted((_found(each) for each in places), key=lambda each: each.is_home)
    account = places[0].caller.account
    terminal.say(f"Stack {places[0].stack_name} in account {account}.")
    _show_removal(spokes)
    terminal.confirm(f"Delete it in {', '.join(each.place.region for each in spokes)}?", yes=yes)
    for each in spokes:
        _rollout(each.place).delete(each.id, f"the deletion in {each.place.region}")
    removed = [RemovedSpokeView(region=each.place.region, outcome="removed", carrying=each.carrying) for each in spokes]
    render.show(removed)
    left = sum(len(each.carrying) for each in spokes)
    terminal.say(f"Removed. Instances that keep a managed role, which nobody changes from then on: {left:,}.")
    if not spokes[-1].is_home and (home := spokes[-1].parameters.get("HomeRegion")):
        deploy_there = f"rolekeeper spoke deploy --region {home} --regions …"
        terminal.say(
            f"The account's changer may still act there, until you name the Regions that are left: {deploy_there}"
        )
    return [Target(account, each.place.region) for each in spokes]


def _found(place: Deployment) -> Spoke:
    stack = existing(place.client("cloudformation", PATIENT), place.stack_name, SPOKE)
    parameters, caller, region = parameters_of(stack), place.caller, place.region
    path = parameters.get("RolePath", "/rolekeeper/")
    ownership = Ownership(f"arn:{caller.partition}:iam::{caller.account}:instance-profile{path}")
    found = carrying(Ec2(place.client("ec2"), caller.account, region), ownership)
    return Spoke(place, stack["StackId"], parameters=parameters, carrying=[instance.key.id for instance, _ in found])


def _show_removal(spokes: Sequence[Spoke]) -> None:
    if not terminal.options().for_people:
        return
    rows = [
        (each.place.region, f"its rules are deleted; instances that keep a managed role: {len(each.carrying):,}")
        for each in spokes
    ]
    if any(each.is_home for each in spokes):
        what = "the hub's reader and changer are deleted; a spoke in another Region doesn't work without them"
        rows.append(("account", what))
    show_table(("where", "what would happen"), rows)

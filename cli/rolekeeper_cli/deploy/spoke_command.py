"""`rolekeeper spoke`: registering this account with a hub."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from rolekeeper_cli.deploy.view import DeployedView, RemovedSpokeView
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import allow_downgrade, dry_run, together, yes
from rolekeeper_cli.shell.command import Group, command, deployment, prints

with lazily():
    from rolekeeper_cli.deploy import parameters as deploy_parameters
    from rolekeeper_cli.deploy import rollout, spoke
    from rolekeeper_cli.shell import documents
    from rolekeeper_cli.target import use as targets

if TYPE_CHECKING:
    from rolekeeper_cli.aws.deployment import Deployment

_TRUTH = click.Choice(["true", "false"])
_READER = click.option(
    "--reader",
    "readers",
    metavar="ARN",
    multiple=True,
    help="A role of the hub's account that may look at instances here too, such as your operators' role; may be given "
    "again. '' for none.",
)
_REGIONS = click.option(
    "--regions", metavar="LIST", help="The account's Regions with a spoke, where alone the hub may change instances."
)
_UNIT = click.option(
    "--unit",
    "organizational_unit",
    metavar="OU",
    help="The organizational unit of the account, by id or with those above it (r-a1b2/ou-…/ou-…), for mappings that "
    "name one; '' for none.",
)
_EVENTS = click.option(
    "--events-to-account",
    type=_TRUTH,
    help="Whether the hub puts its events about instances here onto this account's own default buses too.",
)

_hub_options = together(
    click.option("--hub-profile", metavar="NAME", help="An AWS profile of the hub's account."),
    click.option("--hub-region", metavar="REGION", help="The hub's Region (or AWS_REGION, or its profile's)."),
    click.option("--hub-stack", metavar="NAME", help="The hub's stack (or ROLEKEEPER_STACK; 'rolekeeper')."),
)


@click.group(
    "spoke",
    cls=Group,
    examples=[
        "rolekeeper spoke parameters > hub.json",
        "rolekeeper spoke deploy --hub hub.json --region eu-west-1 --region us-east-1",
    ],
)
def group() -> None:
    """Register this account with a hub.

    A hub is a deployment with --organization-id. A spoke is a stack in each other account and Region that the hub is to
    look after: two rules, and roles once in the account.
    """


@command(
    "parameters",
    "rolekeeper spoke parameters > hub.json",
    "rolekeeper spoke parameters --home-region eu-west-1 --regions eu-west-1,us-east-1 > stack-set.json",
    "rolekeeper spoke parameters --unit ou-a1b2-c3d4e5f6 > web-accounts.json",
    "rolekeeper spoke parameters --reader arn:aws:iam::123456789012:role/operators > hub.json",
)
@click.option("--home-region", metavar="REGION", help="For StackSets: where each account's roles are to be made.")
@_REGIONS
@_READER
@_UNIT
@_EVENTS
def parameters(readers: tuple[str, ...], **given: str | None) -> None:
    """Print the parameters by which a spoke knows its hub.

    Run it with the hub's credentials. It prints JSON as CloudFormation takes it: for rolekeeper spoke deploy --hub, for
    aws cloudformation deploy --parameter-overrides file://hub.json, and for aws cloudformation create-stack-set
    --parameters file://stack-set.json.
    """
    if (home := given["home_region"]) and not given["regions"]:
        terminal.warn(f"the hub may change instances in {home} alone: name all Regions with --regions")
    asked = deploy_parameters.given_parameters(given)
    hub = spoke.ask_hub(deployment(), {**asked, "OtherReaders": spoke.listed(readers)})
    document = rollout.as_asked(hub.parameters)
    render.show(document, lambda: terminal.line(documents.as_json(document)))


@prints(deployed_spokes=list[DeployedView])
@command(
    "deploy",
    "rolekeeper spoke deploy --hub hub.json",
    "rolekeeper spoke deploy --hub-profile hub --profile web --region eu-west-1 --region us-east-1",
    "rolekeeper spoke deploy --take-over false --dry-run",
)
@click.option("--hub", metavar="FILE", type=click.Path(), help="What rolekeeper spoke parameters wrote; - is stdin.")
@_hub_options
@_READER
@click.option("--home-region", metavar="REGION", help="Where the account's roles are made. The first --region, if new.")
@_REGIONS
@click.option("--take-over", type=_TRUTH, help="Whether foreign roles may be taken away, where the hub may too.")
@click.option("--create-missing-profiles", type=_TRUTH, help="Whether the hub may make instance profiles here.")
@click.option("--permissions-boundary", metavar="ARN", help="A policy that bounds what the spoke's roles may do.")
@_UNIT
@_EVENTS
@dry_run
@allow_downgrade
@yes
def deploy(*, hub: str | None, readers: tuple[str, ...], allow_downgrade: bool, yes: bool, **given: str | None) -> None:
    """Deploy a spoke, or change one.

    Run it with this account's own credentials; give --region again for another Region. It shows what would change, and
    asks. Name the hub by an AWS profile of its account, or by the file that rolekeeper spoke parameters wrote; without
    either, each parameter stays as it is deployed. --stack names the spoke's stack: 'rolekeeper-spoke'.
    """
    terminal.require_answer(yes=yes)
    named = _hub(hub, _hub_deployment(given))
    own = deploy_parameters.given_parameters(given)
    if readers:
        own["OtherReaders"] = spoke.listed(readers)
    spoke.deploy(_places(), named, own, yes=yes, allow_downgrade=allow_downgrade)


@prints(removed_spokes=list[RemovedSpokeView])
@command(
    "remove",
    "rolekeeper spoke remove --region us-east-1",
    "rolekeeper spoke remove --region eu-west-1 --region us-east-1 --hub-profile hub --yes",
)
@_hub_options
@yes
def remove(*, yes: bool, **named: str | None) -> None:
    """Delete the spoke in each --region.

    Run it with this account's own credentials. It says which instances keep their roles, and asks. The account's roles
    are deleted last, with the Region in which they were made. With a profile of the hub's account, the hub forgets the
    target too.
    """
    terminal.require_answer(yes=yes)
    hub = _hub_deployment(named)
    if hub:
        _ = hub.stack  # before anything is deleted: a slip in its name is no reason to stop between the two
    for target in spoke.remove(_places(), yes=yes):
        if hub:
            targets.forget(hub, str(target))
        else:
            terminal.say(f"With the hub's credentials: rolekeeper targets forget {target}")


def _places() -> list[Deployment]:
    options = terminal.options()
    regions = dict.fromkeys(options.regions or (options.region,))
    return [deployment(replace(options, region=each, stack=options.stack or spoke.STACK)) for each in regions]


def _hub_deployment(given: dict[str, str | None]) -> Deployment | None:
    """The hub's deployment; None where none is named. Its options are taken out of those given."""
    profile, region, stack = (given.pop(f"hub_{name}") for name in ("profile", "region", "stack"))
    if not (profile or region or stack):
        return None
    options = terminal.options()
    return deployment(replace(options, profile=profile or options.profile, region=region, stack=stack))


def _hub(file: str | None, deployed: Deployment | None) -> spoke.Hub | None:
    if file and deployed:
        raise UsageError("--hub is a file that says all of the hub", "leave the other options about the hub out")
    if file:
        return spoke.read_hub(file)
    return spoke.ask_hub(deployed) if deployed else None


for each in (parameters, deploy, remove):
    group.add_command(each)

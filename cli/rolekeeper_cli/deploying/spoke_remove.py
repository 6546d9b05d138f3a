"""`rolekeeper spoke remove`: delete a spoke's stacks, after saying which instances keep their roles.

Deleting detaches nothing. What is the account's, its roles, goes with the home Region's stack, which is deleted last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rolekeeper.aws import Ec2
from rolekeeper.model.instance import Target
from rolekeeper.settings import Ownership
from rolekeeper_cli import output, prompts, render
from rolekeeper_cli.deploying.deploy import PATIENT
from rolekeeper_cli.deploying.deployed_stack import SPOKE, existing
from rolekeeper_cli.deploying.managed_roles import Carried, carrying
from rolekeeper_cli.deploying.rollout import delete
from rolekeeper_cli.deploying.spoke_deploy import region_of
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.tables import show_table


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
    output.say(f"Stack {places[0].stack_name} in account {account}.")
    _show_removal(spokes)
    prompts.confirm(f"Delete it in {', '.join(each.region for each in spokes)}?", yes=yes)
    for each in spokes:
        client = each.place.client("cloudformation", PATIENT)
        delete(client, each.id, each.place.sleep, what=f"the deletion in {each.region}")
    documents = [
        {"region": each.region, "outcome": "removed", "carrying": [instance.key.id for instance, _ in each.carried]}
        for each in spokes
    ]
    render.show(documents, lambda: None)
    carry = sum(len(each.carried) for each in spokes)
    output.say(
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
    if not output.options().for_people:
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

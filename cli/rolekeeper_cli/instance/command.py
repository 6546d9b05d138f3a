"""`rolekeeper explain` and `uptake`: why an instance has its role, and what software does with its roles."""

from __future__ import annotations

from collections.abc import Iterator

import click

from rolekeeper_cli.instance.view import ExplanationView, UptakeView
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell import render
from rolekeeper_cli.shell.arguments import INSTANCE, completes, instance_argument
from rolekeeper_cli.shell.command import command, deployment, prints

with lazily():
    from rolekeeper_cli.instance import explanation, facts, use
    from rolekeeper_cli.instance import uptake as instance_uptake
    from rolekeeper_cli.shell import tables


@prints(explanation=ExplanationView)
@command("explain", "rolekeeper explain i-0123456789abcdef0", "rolekeeper explain web-1 --output json")
@instance_argument
@click.option(
    "--who/--no-who", "ask_who", default=True, help="Whether to ask CloudTrail who did it. It is asked by default."
)
@click.option(
    "--uptake/--no-uptake",
    "ask_uptake",
    default=True,
    help="Whether to ask CloudTrail if software uses the role. It is asked by default.",
)
def explain(instance: str, *, ask_who: bool, ask_uptake: bool) -> None:
    """Explain why an instance has its role.

    The role it has and the one it should have, the mapping that governs it and those that don't, what woke Rolekeeper
    last, what AWS answered, and how to undo it. CloudTrail's event history says who set or removed the tag that
    decides, who attached a role that isn't Rolekeeper's, who reverted one that is, and whether software uses the role.
    """
    there = deployment()
    view = explanation.explanation(there, instance, ask_who=ask_who, ask_uptake=ask_uptake).view
    address = use.address_of(view, there.home)
    render.show(view, lambda: tables.show_table(("", ""), _lines(view, address, there.caller.account)))


def _lines(view: ExplanationView, address: str, account: str) -> Iterator[facts.Line]:
    yield from facts.of_instance(view, address)
    yield from facts.of_who(view.who, account)
    if view.uptake:
        yield from facts.of_uptake(view.uptake, address, brief=True)
    yield from facts.of_last_change(view)


@prints(uptake=list[UptakeView])
@command("uptake", "rolekeeper uptake web-1", "rolekeeper uptake i-0123456789abcdef0 i-0fedcba9876543210 -o json")
@click.argument("instances", nargs=-1, required=True, help=INSTANCE, shell_complete=completes("instances"))
def uptake(instances: tuple[str, ...]) -> None:
    """Show whether software on instances uses their roles.

    Whether EC2 got credentials of the attached role (delivered), and software called with them (in use); whether a
    former role is still used, and until when its credentials are valid at the latest. It is read from CloudTrail's
    event history, which is up to 15 minutes late, and lacks the calls on S3's objects, DynamoDB's items and other data.
    """
    there = deployment()
    found = [instance_uptake.uptake(there, instance) for instance in instances]

    def draw() -> None:
        for each in found:
            address = use.address_of(each, there.home)
            shown = ("instance", use.titled(address, each.name))
            tables.show_table(("", ""), [shown, *facts.of_uptake(each, address)])

    render.show(found, draw)

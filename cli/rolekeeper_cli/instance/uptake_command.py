"""`rolekeeper uptake`: what software on instances does with its roles."""

from __future__ import annotations

import click

from rolekeeper_cli.instance.view import UptakeView
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell import render
from rolekeeper_cli.shell.arguments import INSTANCE, completes
from rolekeeper_cli.shell.command import command, deployment, prints

with lazily():
    from rolekeeper_cli.instance import facts, use
    from rolekeeper_cli.instance import uptake as instance_uptake
    from rolekeeper_cli.shell import tables


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
            address = use.address(each, there.home)
            shown = ("instance", use.titled(address, each.name))
            tables.show_table(("", ""), [shown, *facts.of_uptake(each, address)])

    render.show(found, draw)

"""`rolekeeper attach`, `replace`, `detach` and `release`: one instance by hand, as the console's Modify IAM role."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from rolekeeper_cli.arguments import Duration
from rolekeeper_cli.command import command
from rolekeeper_cli.commands.arguments import instance_argument, yes_to_all
from rolekeeper_cli.completion import roles
from rolekeeper_cli.errors import ExitCode

_ROLE = "The role's name, under the role path."


def _pins(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command writes a pin. But for `wait`, the options are fields of a `Wish`, as those of `_role` are."""
    for option in (
        click.option(
            "--wait/--no-wait",
            default=None,
            help="Wait until EC2 shows the change. The default is to wait if it can come now; else you are asked.",
        ),
        click.option("--reason", default="", metavar="TEXT", help="Why, for those who come after."),
        click.option(
            "--for",
            "length",
            type=Duration(),
            metavar="DURATION",
            help="How long, as 30m, 8h or 7d; else until release.",
        ),
    ):
        function = option(function)
    return function


def _role(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command names a role."""
    for option in (
        click.option(
            "--allow-broad",
            is_flag=True,
            help="Also where the role is broad, as an administrator's; it needs the stack's AllowBroadRoles too.",
        ),
        click.option(
            "--instance-profile",
            metavar="NAME",
            default="",
            help="The profile that holds the role, if named otherwise.",
        ),
    ):
        function = option(function)
    return function


@command(
    "attach", "rolekeeper attach i-0123456789abcdef0 web", "rolekeeper attach web-1 web --for 8h --reason 'incident 42'"
)
@instance_argument
@click.argument("role", help=_ROLE, shell_complete=roles)
@_role
@_pins
@yes_to_all
def attach(instance: str, role: str, *, wait: bool | None, yes: bool, **wished: Any) -> ExitCode:
    """Give a role to an instance without one.

    It keeps it whatever its tags say, until the time is over or it is released: a pin. On a terminal it shows first
    what would happen, and asks.
    """
    from rolekeeper_cli.deployment import deployment
    from rolekeeper_cli.writes.pins import Wish, pin

    return pin(deployment(), instance, Wish("attach", role, **wished), wait=wait, yes=yes)


@command("replace", "rolekeeper replace i-0123456789abcdef0 web", "rolekeeper replace web-1 web-debug --for 30m")
@instance_argument
@click.argument("role", help=_ROLE, shell_complete=roles)
@_role
@_pins
@yes_to_all
def replace(instance: str, role: str, *, wait: bool | None, yes: bool, **wished: Any) -> ExitCode:
    """Give an instance another role.

    It keeps it whatever its tags say, until the time is over or it is released: a pin. On a terminal it shows first
    what would happen, and asks.
    EC2 replaces the role of a running instance only; on a stopped one it is replaced at its start.
    """
    from rolekeeper_cli.deployment import deployment
    from rolekeeper_cli.writes.pins import Wish, pin

    return pin(deployment(), instance, Wish("replace", role, **wished), wait=wait, yes=yes)


@command("detach", "rolekeeper detach i-0123456789abcdef0", "rolekeeper detach web-1 --for 7d --confirm Detach")
@instance_argument
@click.option("--confirm", metavar="Detach", help="Instead of typing it when asked; needed where there is no terminal.")
@_pins
def detach(instance: str, confirm: str | None, length: timedelta | None, reason: str, *, wait: bool | None) -> ExitCode:
    """Take the role from an instance.

    It carries none whatever its tags say, until the time is over or it is released: a pin.
    """
    from rolekeeper.model.mapping import NO_ROLE
    from rolekeeper_cli import prompts
    from rolekeeper_cli.deployment import deployment
    from rolekeeper_cli.writes.pins import Wish, pin

    prompts.require_word("Detach", confirm)
    return pin(deployment(), instance, Wish("detach", NO_ROLE, "", length, reason), wait=wait, confirm=confirm)


@command("release", "rolekeeper release i-0123456789abcdef0", "rolekeeper release web-1")
@instance_argument
def release(instance: str) -> ExitCode:
    """Take the pin from an instance.

    It goes back to what its tags say, or to no role if they say nothing. One that Rolekeeper leaves alone because
    another actor kept reverting its change is taken up again.
    """
    from rolekeeper_cli.deployment import deployment
    from rolekeeper_cli.writes.pins import release as release_pin

    return release_pin(deployment(), instance)


COMMANDS = (attach, replace, detach, release)

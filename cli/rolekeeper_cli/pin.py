"""`rolekeeper attach`, `replace`, `detach` and `release`: one instance by hand, as the console's Modify IAM role."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from rolekeeper import model
from rolekeeper_cli import render, terminal, uses
from rolekeeper_cli.arguments import Duration, completes, instance_argument, together, yes_to_all
from rolekeeper_cli.command import command, deployment, prints
from rolekeeper_cli.views.pins import PinnedView, ReleasedView

if TYPE_CHECKING:
    from rolekeeper_cli.deployment import Deployment


_writes = together(
    click.option("--reason", default="", metavar="TEXT", help="Why, for those who come after."),
    click.option(
        "--wait/--no-wait",
        default=None,
        help="Wait until EC2 shows the change. The default is to wait if it can come now; else you are asked.",
    ),
)
# Except `wait` and `yes`, the options of those who pin are fields of a `Wish`.
_pins = together(
    click.option(
        "--for",
        "length",
        type=Duration(),
        metavar="DURATION",
        help="Duration, for example 30m, 8h or 7d. Default: until it is released.",
    ),
    _writes,
)
_gives = together(
    instance_argument,
    click.argument("role", help="The role's name, under the role path.", shell_complete=completes("roles")),
    click.option(
        "--instance-profile", metavar="NAME", default="", help="The profile that holds the role, if named otherwise."
    ),
    click.option(
        "--allow-broad",
        is_flag=True,
        help="Also where the role is broad, as an administrator's; it needs the stack's AllowBroadRoles too.",
    ),
    _pins,
    yes_to_all,
)


@prints(pinned=PinnedView)
@command(
    "attach", "rolekeeper attach i-0123456789abcdef0 web", "rolekeeper attach web-1 web --for 8h --reason 'incident 42'"
)
@_gives
def attach(instance: str, role: str, *, wait: bool | None, yes: bool, **wished: Any) -> None:
    """Give a role to an instance without one.

    It keeps it whatever its tags say, until the time is over or it is released: a pin. On a terminal it shows first
    what would happen, and asks.
    """
    _pin(instance, uses.pins.Wish("attach", role, **wished), wait=wait, yes=yes)


@prints(pinned=PinnedView)
@command("replace", "rolekeeper replace i-0123456789abcdef0 web", "rolekeeper replace web-1 web-debug --for 30m")
@_gives
def replace(instance: str, role: str, *, wait: bool | None, yes: bool, **wished: Any) -> None:
    """Give an instance another role.

    It keeps it whatever its tags say, until the time is over or it is released: a pin. On a terminal it shows first
    what would happen, and asks.
    EC2 replaces the role of a running instance only; on a stopped one it is replaced at its start.
    """
    _pin(instance, uses.pins.Wish("replace", role, **wished), wait=wait, yes=yes)


@prints(pinned=PinnedView)
@command("detach", "rolekeeper detach i-0123456789abcdef0", "rolekeeper detach web-1 --for 7d --confirm Detach")
@instance_argument
@click.option("--confirm", metavar="Detach", help="Instead of typing it when asked; needed where there is no terminal.")
@_pins
def detach(instance: str, confirm: str | None, *, wait: bool | None, **wished: Any) -> None:
    """Take the role from an instance.

    It carries none whatever its tags say, until the time is over or it is released: a pin.
    """
    terminal.require_word("Detach", confirm)
    _pin(instance, uses.pins.Wish("detach", model.mapping.NO_ROLE, **wished), wait=wait, confirm=confirm)


@prints(released=ReleasedView)
@command(
    "release", "rolekeeper release i-0123456789abcdef0", "rolekeeper release web-1 --reason 'incident 42 is over' --yes"
)
@instance_argument
@_writes
@yes_to_all
def release(instance: str, reason: str, *, wait: bool | None, yes: bool) -> None:
    """Take the pin from an instance.

    It goes back to what its tags say, or to no role if they say nothing. One that Rolekeeper leaves alone because
    another actor kept reverting its change is taken up again. On a terminal it shows first what would happen, and asks.
    """
    there, instance = uses.instances.located(deployment(), instance)
    found = uses.pins.to_release(there, instance)
    name, pin = uses.instances.title(found.instance), found.pin
    if not (pin or found.contested):
        render.show(found.document(), lambda: terminal.line(f"{name} has no pin; its tags rule."))
        return
    role = pin.role if pin and pin.role not in {"", model.mapping.NO_ROLE} else "its pin"
    question = f"Release {name} from {role}?" if pin else f"Have Rolekeeper try {name} again?"
    terminal.agree(lambda: (uses.pins.expected_of_release(there, found).lines(), question), yes=yes)
    uses.pins.release(there, found, reason)
    said = f"is released from {role} and goes back to its tags" if pin else "has no pin; its tags rule"
    render.show(found.document(), lambda: terminal.line(f"{name} {said}."))
    if found.contested:
        terminal.say("Another actor kept reverting Rolekeeper's change to it; Rolekeeper tries again.")
    if wait is False:
        return
    awaited = uses.pins.after_release(there, found)
    if awaited.delay:
        terminal.say(awaited.delay)
    _wait(there, awaited, wait=wait)


def _pin(text: str, wish: uses.pins.Wish, *, wait: bool | None, yes: bool = False, confirm: str | None = None) -> None:
    """Pin an instance, once a person at a terminal has seen what that would do, and agreed.

    `wait` is None to wait if it can be done now, and else to ask. `confirm` is the word that a detach asks for.
    """
    there, text = uses.instances.located(deployment(), text)
    plan = uses.pins.planned(there, text, wish)
    if plan.warning:
        terminal.warn(plan.warning)
    _ask(there, plan, yes=yes, confirm=confirm)
    pinned = uses.pins.write(there, plan)
    _show(there, pinned)
    _wait(there, pinned.awaited, wait=wait)


def _wait(there: Deployment, awaited: uses.pins.Awaited, *, wait: bool | None) -> None:
    if wait is None:
        wait = not awaited.delay or terminal.offer("Wait for it?")
    if not wait:
        return
    if awaited.delay:
        do = f" To have it done, type in another terminal: {awaited.remedy}" if awaited.remedy else ""
        terminal.say(f"Waiting, at most {awaited.patience // 60} minutes; Ctrl-C ends only the wait.{do}")
    uses.pins.wait(there, awaited)
    terminal.say(f"EC2 shows {uses.fleet.profile_name(awaited.profile_arn) or 'no role'} on it.")


def _ask(there: Deployment, plan: uses.pins.PlannedPin, *, yes: bool, confirm: str | None) -> None:
    name, verb = uses.instances.title(plan.instance), plan.wish.verb
    if terminal.asks(yes=yes or confirm is not None):
        for line in uses.pins.expected(there, plan).lines():
            terminal.say(line)
    if former := uses.pins.outlives(there, plan):
        terminal.say(str(former))
    if verb == "detach":
        carries = f"carries {plan.carries}" if plan.carries else "carries no role already, and is to carry none"
        terminal.confirm_word("Detach", f"{name} {carries}.", confirm)
    elif terminal.asks(yes=yes):
        terminal.confirm(f"{verb.capitalize()}: pin {name} to {plan.wish.role}?", yes=False)


def _show(there: Deployment, pinned: uses.pins.Pinned) -> None:
    former, pin = pinned.former, pinned.pin
    if former:
        terminal.say(f"It was pinned to {former.role or 'something unclear'}{_until(former.expires_at)} before.")
    to = "to no role" if pin.role == model.mapping.NO_ROLE else f"to {pin.role}"
    render.show(
        pinned.document(),
        lambda: terminal.line(f"{uses.instances.title(pinned.instance)} is pinned {to}{_until(pin.expires_at)}."),
    )
    terminal.say(
        f"  rolekeeper release {uses.instances.addressed(there, pinned.instance.key.id)} gives it back to its tags"
    )
    if pinned.awaited.delay:
        terminal.say(pinned.awaited.delay)


def _until(expires_at: datetime | None) -> str:
    return f" until {expires_at:%Y-%m-%dT%H:%M:%SZ}" if expires_at else ""

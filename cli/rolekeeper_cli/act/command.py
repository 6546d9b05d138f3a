"""`rolekeeper attach`, `replace`, `detach` and `release`: one instance by hand, as the console's Modify IAM role."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from rolekeeper import model
from rolekeeper_cli.act.view import PinnedView, ReleasedView
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import Duration, completes, dry_runs, instance_argument, together, yes_to_all
from rolekeeper_cli.shell.command import command, deployment, prints

with lazily():
    from rolekeeper_cli.act import pins, use
    from rolekeeper_cli.instance import seen
    from rolekeeper_cli.instance import use as instances

if TYPE_CHECKING:
    from rolekeeper_cli.act.use import Act, Planned


_writes = together(
    dry_runs,
    click.option("--reason", default="", metavar="TEXT", help="Why, for those who come after."),
    click.option(
        "--wait/--no-wait",
        default=None,
        help="Wait until EC2 shows the change. The default is to wait if it can come now; else you are asked.",
    ),
)
# Except `wait` and `yes`, the options of those who pin are fields of `acts.Pin`.
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
def attach(instance: str, role: str, *, wait: bool | None, yes: bool, **asked: Any) -> None:
    """Give a role to an instance without one.

    It keeps it whatever its tags say, until the time is over or it is released: a pin. On a terminal it shows first
    what would happen, and asks.
    """
    _act(instance, use.Pin(role, verb="attach", **asked), wait=wait, yes=yes)


@prints(pinned=PinnedView)
@command("replace", "rolekeeper replace i-0123456789abcdef0 web", "rolekeeper replace web-1 web-debug --for 30m")
@_gives
def replace(instance: str, role: str, *, wait: bool | None, yes: bool, **asked: Any) -> None:
    """Give an instance another role.

    It keeps it whatever its tags say, until the time is over or it is released: a pin. On a terminal it shows first
    what would happen, and asks.
    EC2 replaces the role of a running instance only; on a stopped one it is replaced at its start.
    """
    _act(instance, use.Pin(role, verb="replace", **asked), wait=wait, yes=yes)


@prints(pinned=PinnedView)
@command("detach", "rolekeeper detach i-0123456789abcdef0", "rolekeeper detach web-1 --for 7d --confirm Detach")
@instance_argument
@click.option("--confirm", metavar="Detach", help="Instead of typing it when asked; needed without a terminal.")
@_pins
def detach(instance: str, confirm: str | None, *, wait: bool | None, **asked: Any) -> None:
    """Take the role from an instance.

    It carries none whatever its tags say, until the time is over or it is released: a pin.
    """
    terminal.require_word("Detach", confirm)

    def ask(one: Planned) -> None:
        carries = f"carries {one.carries}" if one.carries else "carries no role; this pins it to none"
        terminal.confirm_word("Detach", f"{one.title} {carries}.", confirm)

    act = use.Pin(model.mapping.NO_ROLE, verb="detach", **asked)
    _act(instance, act, wait=wait, yes=confirm is not None, ask=ask)


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
    _act(instance, use.Release(reason), wait=wait, yes=yes)


def _act(text: str, act: Act, *, wait: bool | None, yes: bool, ask: Callable[[Planned], None] | None = None) -> None:
    """Do it to an instance, once a person at a terminal has seen what that would do, and agreed.

    `wait` is None to wait if it can be done now, and else to ask. `ask` asks for more than a yes.
    """
    there, text = instances.located(deployment(), text)
    found, asks = instances.find_instance(there, text), terminal.asks(yes=yes)
    try:
        plan = use.plan(there, act, {found.key.id: found.key.target}, foresee=asks)
    except use.NoPinError as error:
        nothing = f"{error.what}; {error.remedy}."
        view = ReleasedView(**instances.where(found.key), released=None, contested=False)
        render.show(view, lambda: terminal.line(nothing))
        return
    [one] = plan.planned
    for line in plan.preview.lines() if asks else ():
        terminal.say(line)
    for warning in plan.warnings:
        terminal.warn(str(warning))
    question = terminal.Question(f"{use.title(act, one.title)}?", show=lambda: render.show(one.view(), lambda: None))
    terminal.confirm(question, yes=not asks or ask is not None)
    if ask:
        ask(one)
    one.place.write([one.now])
    render.show(one.view(), lambda: terminal.line(f"{one.outcome}."))
    _follow(one, wait=wait, yes=yes)


def _follow(one: Planned, *, wait: bool | None, yes: bool) -> None:
    """Say what comes next, and wait for it if asked."""
    there, pin = one.place.deployment, one.place.pin
    if pin:
        terminal.say(f"  rolekeeper release {instances.addressed(there, one.id)} gives it back to its tags")
    awaited = pins.awaited(there, one.then, pin)
    if awaited.delay:
        terminal.say(awaited.delay)
    if wait is None:
        wait = not awaited.delay or (not yes and terminal.offer("Wait for it?"))
    if not wait:
        return
    if awaited.delay:
        do = f" To have it done, type in another terminal: {awaited.remedy}" if awaited.remedy else ""
        terminal.say(f"Waiting, at most {awaited.patience // 60} minutes; Ctrl-C ends only the wait.{do}")
    pins.wait(there, awaited)
    terminal.say(f"EC2 shows {seen.profile_name(awaited.profile_arn) or 'no role'} on it.")

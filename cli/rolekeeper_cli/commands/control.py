"""`rolekeeper pause`, `resume` and `mode`: the switches of the whole deployment."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from rolekeeper_cli.command import command
from rolekeeper_cli.commands.arguments import yes_to_all
from rolekeeper_cli.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from rolekeeper.model.mapping import Control
    from rolekeeper_cli.deployment import Deployment

_AS_DEPLOYED = "deployed"
# Who has to stop everything at once can't wait until a large fleet is counted.
_COUNTED_SECONDS = 5.0


def _switches(function: Callable[..., ExitCode]) -> Callable[..., ExitCode]:
    for option in (
        click.option(
            "--wait",
            is_flag=True,
            help="Wait for what follows: until instances carry what they should, or, where changes stop, until EC2 has "
            "finished those that it began.",
        ),
        yes_to_all,
        click.option("--reason", default="", metavar="TEXT", help="Why, for the mail and the history."),
    ):
        function = option(function)
    return function


@command("pause", "rolekeeper pause", "rolekeeper pause --yes --reason 'wrong roles on web'")
@_switches
def pause(reason: str, *, yes: bool, wait: bool) -> ExitCode:
    """Stop all changes at once.

    Rolekeeper goes on deciding and recording; nothing is lost. On a terminal it shows first how many instances wait for
    a change, and asks.
    """
    return _switch({"paused": True}, "Pause Rolekeeper?", reason, yes=yes, wait=wait)


@command("resume", "rolekeeper resume")
@_switches
def resume(reason: str, *, yes: bool, wait: bool) -> ExitCode:
    """Go on after a pause.

    What was withheld meanwhile is done now. On a terminal it shows that first, and asks.
    """
    return _switch({"paused": False}, "Resume Rolekeeper?", reason, yes=yes, wait=wait)


@command("mode", "rolekeeper mode", "rolekeeper mode observe", "rolekeeper mode deployed")
@click.argument(
    "mode",
    required=False,
    type=click.Choice(["observe", "enforce", _AS_DEPLOYED]),
    help="observe: decide and record, change nothing. enforce: act. deployed: as the stack's parameter says.",
)
@_switches
def mode(mode: str | None, reason: str, *, yes: bool, wait: bool) -> ExitCode:
    """Show or set the mode.

    It holds for the whole deployment. Without a word it shows the mode, and whether Rolekeeper is paused. On a terminal
    it shows first what setting it would do to instances, and asks.
    """
    if mode is None:
        from rolekeeper_cli.deployment import deployment

        return _show(deployment())
    value = None if mode == _AS_DEPLOYED else mode
    return _switch({"mode": value}, f"Set the mode to {mode}?", reason, yes=yes, wait=wait)


def _switch(change: Mapping[str, Any], question: str, reason: str, *, yes: bool, wait: bool) -> ExitCode:
    """Change one attribute of the control item, None removes it, and leave the other; then show how things stand.

    Who does it, and why, is written beside it: a claim, as anybody may write there what they like.
    """
    from rolekeeper.storage import layout
    from rolekeeper.storage.table import Update
    from rolekeeper_cli import prompts
    from rolekeeper_cli.deployment import deployment
    from rolekeeper_cli.fleet import withheld
    from rolekeeper_cli.writes import follow

    there = deployment()
    if prompts.asks(yes=yes):
        _show_expected(there, change)
        prompts.confirm(question, yes=False)
    told = {name: value for name, value in change.items() if value is not None}
    update = Update().set({**told, "by": there.caller.arn, "reason": reason}).remove(*(change.keys() - told.keys()))
    there.app.store.write(there.app.store.update(layout.CONTROL, update))
    code = _show(there)
    if not wait:
        return code
    return follow.until_still(there) if withheld(there) else follow.follow_fleet(there)


def _show_expected(there: "Deployment", change: Mapping[str, Any]) -> None:
    """Show what the change would do, where it stops changes or lets them through."""
    from math import inf

    from rolekeeper_cli import output, preview

    before, after = _controls(there, change)
    mode = there.settings.mode
    stops, stopped = after.withholds(mode), before.withholds(mode)
    if bool(stops) == bool(stopped):
        output.say(f"Nothing else changes by that: {stops.reason if stops else 'changes are made as before'}.")
        return
    for line in preview.of_switch(there, after, _COUNTED_SECONDS if stops else inf).lines():
        output.say(line)


def _controls(there: "Deployment", change: Mapping[str, Any]) -> "tuple[Control, Control]":
    """The control item as it is read now, and as it would be."""
    from dataclasses import replace

    from rolekeeper.storage import codec, layout

    before = there.app.state.read([], []).control
    item = {**there.app.store.get([layout.CONTROL]).get(layout.CONTROL, {}), **change}
    return before, replace(codec.control_from(item), swept=before.swept)


def _show(there: "Deployment") -> ExitCode:
    from rolekeeper_cli import render, tables

    control = there.app.state.read([], []).control
    if control.unclear:
        raise CommandError(f"nothing is changed, as {control.unclear}", "set it: rolekeeper mode, pause or resume")
    deployed = there.settings.mode
    chosen = control.mode or deployed
    origin = "set" if control.mode else "as deployed"
    row = chosen.value, origin, "yes" if control.paused else "no"
    render.show(
        {"mode": chosen.value, "deployed": deployed.value, "paused": control.paused},
        lambda: tables.show_table(("mode", "is", "paused"), [row]),
    )
    return ExitCode.DONE


COMMANDS = (pause, resume, mode)

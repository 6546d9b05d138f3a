"""`rolekeeper pause`, `resume` and `mode`: the switches of the whole deployment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from rolekeeper_cli import render, terminal, uses
from rolekeeper_cli.arguments import together, yes_to_all
from rolekeeper_cli.command import command, deployment
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.wait import tell_followed

_AS_DEPLOYED = "deployed"


_switches = together(
    click.option("--reason", default="", metavar="TEXT", help="Why, for the mail and the history."),
    yes_to_all,
    click.option(
        "--wait",
        is_flag=True,
        help="Wait for what follows: until instances carry what they should, or, if changes stop, until EC2 has "
        "finished those that it began.",
    ),
)


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
        _show(uses.control.status(deployment()))
        return ExitCode.DONE
    value = None if mode == _AS_DEPLOYED else mode
    return _switch({"mode": value}, f"Set the mode to {mode}?", reason, yes=yes, wait=wait)


def _switch(change: Mapping[str, Any], question: str, reason: str, *, yes: bool, wait: bool) -> ExitCode:
    """Change one attribute of the control item, and show the status then."""
    there = deployment()

    def expected() -> tuple[Iterable[str], str]:
        found = uses.control.expected(there, change)
        return [found] if isinstance(found, str) else found.lines(), question

    terminal.agree(expected, yes=yes)
    _show(uses.control.switch(there, change, reason))
    if not wait:
        return ExitCode.DONE
    if not uses.fleet.withheld(there):
        return tell_followed(uses.follow.follow(there, None))
    uses.follow.until_still(there)
    terminal.say("No change is under way.")
    return ExitCode.DONE


def _show(status: Mapping[str, Any]) -> None:
    paused = "paused" if status["paused"] else "not paused"
    render.show(
        {name: status[name] for name in ("mode", "deployed", "paused")},
        lambda: terminal.line(f"mode: {status['mode']} ({status['is']}), {paused}"),
    )

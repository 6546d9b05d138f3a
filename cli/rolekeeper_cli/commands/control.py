"""`rolekeeper pause`, `resume` and `mode`: the switches of the whole deployment."""

from typing import Any

import click

from rolekeeper_cli.command import command
from rolekeeper_cli.errors import CommandError, ExitCode

_AS_DEPLOYED = "deployed"


_REASON = click.option("--reason", default="", metavar="TEXT", help="Why, for the mail and the history.")


@command("pause", "rolekeeper pause", "rolekeeper pause --reason 'wrong roles on web'")
@_REASON
def pause(reason: str) -> ExitCode:
    """Stop all changes at once.

    Rolekeeper goes on deciding and recording; nothing is lost.
    """
    from rolekeeper.storage.table import Update

    return _switch(Update().set({"paused": True}), reason)


@command("resume", "rolekeeper resume")
@_REASON
def resume(reason: str) -> ExitCode:
    """Go on after a pause.

    What was withheld meanwhile is done now.
    """
    from rolekeeper.storage.table import Update

    return _switch(Update().set({"paused": False}), reason)


@command("mode", "rolekeeper mode", "rolekeeper mode observe", "rolekeeper mode deployed")
@click.argument(
    "mode",
    required=False,
    type=click.Choice(["observe", "enforce", _AS_DEPLOYED]),
    help="observe: decide and record, change nothing. enforce: act. deployed: as the stack's parameter says.",
)
@_REASON
def mode(mode: str | None, reason: str) -> ExitCode:
    """Show or set the mode.

    It holds for the whole deployment. Without a word it shows the mode, and whether Rolekeeper is paused.
    """
    from rolekeeper.storage.table import Update

    if mode is None:
        return _switch(None, "")
    return _switch(Update().remove("mode") if mode == _AS_DEPLOYED else Update().set({"mode": mode}), reason)


def _switch(update: Any, reason: str) -> ExitCode:
    """Change one attribute of the control item, and leave the other; then show how things stand.

    Who does it, and why, is written beside it: a claim, as anybody may write there what they like.
    """
    from rolekeeper.storage import layout
    from rolekeeper_cli import render, tables
    from rolekeeper_cli.deployment import deployment

    there = deployment()
    if update is not None:
        update.set({"by": there.caller.arn, "reason": reason})
        there.app.store.write(there.app.store.update(layout.CONTROL, update))
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

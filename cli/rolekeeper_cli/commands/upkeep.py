"""`rolekeeper sweep` and `redrive`: having missed work done now."""

from collections.abc import Mapping
from typing import Any

import click

from rolekeeper_cli.command import command
from rolekeeper_cli.commands.arguments import yes
from rolekeeper_cli.errors import ExitCode


@command("sweep", "rolekeeper sweep", "rolekeeper sweep --no-wait")
@click.option("--wait/--no-wait", default=True, help="Wait for its end and show what it saw. It waits by default.")
def sweep(*, wait: bool) -> ExitCode:
    """Look at the whole fleet and every mapping now.

    As the schedule does: instances that differ are looked at again, whatever events said. A hub's sweep starts one for
    each other target, and waits for none of those.
    """
    from rolekeeper_cli import output, render
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.writes.sweep import scheduled_function
    from rolekeeper_cli.writes.sweep import sweep as sweep_now

    there = deployment()
    function = scheduled_function(there)
    output.say("Sweeping the fleet and the mappings." + (" It may take minutes." if wait else ""))
    swept = sweep_now(there, function, wait=wait)
    if swept is None:
        return ExitCode.DONE
    render.show(swept, lambda: output.line(_in_words(swept)))
    output.bad(swept["problems"])
    if there.settings.organization:
        output.say("Each other target is swept in a run of its own: see rolekeeper targets")
    # A function that is older than this command doesn't say it.
    if withheld := swept.get("withheld"):
        output.warn(f"{withheld:,} more differ, and weren't sent: the work queue is full (docs/runbook.md#work-waits)")
    if not swept["finished"]:
        output.warn("it takes more than one run: the rest goes on by itself, from here on (docs/operations.md)")
    return ExitCode.NO if swept["problems"] or not swept["finished"] else ExitCode.DONE


def _in_words(swept: Mapping[str, Any]) -> str:
    return (
        f"Instances looked at: {swept['instances']:,}, of which {swept['sent']:,} differ and are looked at again. "
        f"Mappings checked: {swept['mappings']:,}, of which {swept['mappings_changed']:,} changed."
    )


@command("redrive", "rolekeeper redrive --dry-run", "rolekeeper redrive", "rolekeeper redrive --yes --output json")
@click.option("--dry-run", is_flag=True, help="Show what is there, and leave it.")
@yes
@click.option("--wait/--no-wait", default=True, help="Wait until all of them are sent. It waits by default.")
def redrive(*, dry_run: bool, yes: bool, wait: bool) -> ExitCode:
    """Send dead letters to the work queue again.

    First it shows what is there, and asks. It is always safe: a message is a hint, and the truth is read again.
    """
    from rolekeeper_cli import prompts
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.dead_letters import redrive as send_again

    if not dry_run:
        prompts.require_answer(yes=yes)
    return send_again(deployment(), yes=yes, dry_run=dry_run, wait=wait)


COMMANDS = (sweep, redrive)

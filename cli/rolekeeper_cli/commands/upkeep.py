"""`rolekeeper sweep` and `redrive`: having missed work done now."""

import click

from rolekeeper_cli.command import command
from rolekeeper_cli.commands.arguments import yes
from rolekeeper_cli.errors import ExitCode


@command("sweep", "rolekeeper sweep", "rolekeeper sweep --no-wait")
@click.option("--wait/--no-wait", default=True, help="Wait for its end and show what it saw. It waits by default.")
def sweep(*, wait: bool) -> ExitCode:
    """Look at the whole fleet and every mapping now.

    As the schedule does: instances that differ are looked at again, whatever events said.
    """
    from rolekeeper_cli.deployment import deployment
    from rolekeeper_cli.writes.sweep import sweep as sweep_now

    return sweep_now(deployment(), wait=wait)


@command("redrive", "rolekeeper redrive --dry-run", "rolekeeper redrive", "rolekeeper redrive --yes --output json")
@click.option("--dry-run", is_flag=True, help="Show what is there, and leave it.")
@yes
@click.option("--wait/--no-wait", default=True, help="Wait until all of them are sent. It waits by default.")
def redrive(*, dry_run: bool, yes: bool, wait: bool) -> ExitCode:
    """Send dead letters to the work queue again.

    First it shows what is there, and asks. It is always safe: a message is a hint, and the truth is read again.
    """
    from rolekeeper_cli import prompts
    from rolekeeper_cli.dead_letters import redrive as send_again
    from rolekeeper_cli.deployment import deployment

    if not dry_run:
        prompts.require_answer(yes=yes)
    return send_again(deployment(), yes=yes, dry_run=dry_run, wait=wait)


COMMANDS = (sweep, redrive)

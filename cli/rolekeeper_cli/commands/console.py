"""`rolekeeper console`: the same as web pages."""

import click

from rolekeeper_cli.command import command
from rolekeeper_cli.errors import ExitCode


@command("console", "rolekeeper console", "rolekeeper console --write")
@click.option("--write", "writes", is_flag=True, help="Let the pages change things too; else they only show.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="PORT",
    help="Where it listens; by default any free one.",
)
def console(port: int, *, writes: bool) -> ExitCode:
    """Show the fleet, instances, mappings and roles as web pages, on this machine.

    They act as you: with the same credentials as every command.
    """
    from rolekeeper_cli.commands.deployment import silent_deployment
    from rolekeeper_cli.console.server import serve

    serve(silent_deployment(), writes=writes, port=port)
    return ExitCode.DONE


COMMANDS = (console,)

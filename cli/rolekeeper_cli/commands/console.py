"""`rolekeeper console`: the same as web pages."""

import click

from rolekeeper_cli.command import command
from rolekeeper_cli.errors import ExitCode


@command("console", "rolekeeper console", "rolekeeper console --write", "rolekeeper console --no-browser --port 8080")
@click.option("--write", "writes", is_flag=True, help="Let the pages change things too; else they only show.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="PORT",
    help="Where it listens on this machine; by default any free one.",
)
@click.option("--no-browser", is_flag=True, help='Open no browser; say "console:" and the link, once it listens.')
def console(port: int, *, writes: bool, no_browser: bool) -> ExitCode:
    """Show the fleet, instances, mappings and roles as web pages, on this machine.

    They act as you: with the same credentials as every command. Only the browser that opens the link is let in, and the
    link works once. The console runs until Ctrl-C, or until it wasn't used for 30 minutes.
    """
    from rolekeeper_cli.commands.deployment import silent_deployment
    from rolekeeper_cli.console.server import serve

    serve(silent_deployment(), writes=writes, port=port, browser=not no_browser)
    return ExitCode.DONE


COMMANDS = (console,)

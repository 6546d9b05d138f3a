"""`rolekeeper console`, `local` and `demo`: what runs on this machine until it is ended."""

from __future__ import annotations

import gc

import click

from rolekeeper_cli.errors import ExitCode, UsageError
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.progress import Silent
from rolekeeper_cli.shell.command import command, deployment, prints

with lazily():
    from rolekeeper_cli import site
    from rolekeeper_cli.console import addresses, server


@command(
    "console",
    "rolekeeper console",
    "rolekeeper console --write",
    "rolekeeper console --open i-0123456789abcdef0",
    "rolekeeper console --no-browser --port 8080",
)
@click.option("--write", "writes", is_flag=True, help="Let the pages change things too. Default: they only show.")
@click.option(
    "--open",
    "page",
    default="/",
    metavar="PAGE",
    help="Begin at a page: an instance's id or name, a path, or the address that a colleague sent. Default: the fleet.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="The port on this machine; 0 is any free one. Default: the one that this stack's console had before.",
)
@click.option("--no-browser", is_flag=True, help='Open no browser; say "console:" and the link, once it listens.')
def console(page: str, port: int | None, *, writes: bool, no_browser: bool) -> None:
    """Show fleet, mappings and roles as web pages, on this machine.

    They act as you: with the same credentials as every command. Only the browser that opens the link is let in, and the
    link works once. The console runs until Ctrl-C, or until it wasn't used for 30 minutes.
    """
    if not site.has_page(to := addresses.page_at(page)):
        raise UsageError(f"the console has no page at {to}", "give an instance, or the address of a page")
    made = site.Site(deployment(progress=Silent), writes=writes)
    made.fleet.ask()  # it is read while the server starts
    pages = site.application(made)
    server.serve(made, pages, has_page=site.has_page, port=port, browser=not no_browser, to=to)


_PORT = click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="The port to listen on (or ROLEKEEPER_LOCAL_PORT; 4566).",
)

_ACCOUNTS = click.option(
    "--accounts",
    type=click.IntRange(1, 3),
    metavar="NUMBER",
    help="The number of accounts, each with two Regions (or ROLEKEEPER_LOCAL_ACCOUNTS; 1, with one Region).",
)


@prints(asks_aws=False)
@command("local", "rolekeeper local", "rolekeeper local --port 4577", "rolekeeper local --accounts 3")
@_PORT
@_ACCOUNTS
def local(port: int | None, accounts: int | None) -> ExitCode:
    """Run an AWS on this machine, with Rolekeeper deployed to it.

    It runs until Ctrl-C. Once it can be used, it says "ready:" with its endpoint, and what to type next. Any
    credentials do. It needs no AWS account and no Docker. Starter roles are there. With several accounts Rolekeeper is
    the hub of an organization, and starter mappings are there too.
    """
    from rolekeeper_local.__main__ import main  # noqa: PLC0415  # of the extra `local`

    return _ended(main(port, accounts))


@prints(asks_aws=False)
@command("demo", "rolekeeper demo", "rolekeeper demo --console", "rolekeeper demo --accounts 3")
@_PORT
@_ACCOUNTS
@click.option("--console", is_flag=True, help="Open the console on it too; its link is shown before the story begins.")
def demo(port: int | None, accounts: int | None, *, console: bool) -> ExitCode:
    """Watch the whole story on an AWS on this machine.

    Each step is checked against EC2's own answer. It needs no AWS account and no Docker, and leaves nothing behind.
    With several accounts the story is another one: one table of mappings, and each account's own roles.
    """
    from rolekeeper_local.demo import main  # noqa: PLC0415  # the same

    return _ended(main(port, accounts, with_console=console))


def _ended(code: int) -> ExitCode:
    """The command's exit code for a process's: the emulator may end with any."""
    # At its end Python looks once more through all that the SDK made, for a second or more, unless that is frozen.
    gc.freeze()
    return {0: ExitCode.DONE, 130: ExitCode.INTERRUPTED}.get(code, ExitCode.NO)

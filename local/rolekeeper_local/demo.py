"""`rolekeeper demo`: the whole story on the embedded AWS, each step checked against EC2's own answer."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from rich.console import Console

from rolekeeper_cli.errors import CommandError
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.demo_account import FOREIGN, AccountDemo
from rolekeeper_local.demo_organization import OrganizationDemo
from rolekeeper_local.embedded import EmbeddedAws, leave_by_interrupt
from rolekeeper_local.place import EmbeddedAwsError
from rolekeeper_local.settings import accounts_from
from rolekeeper_local.spokes import as_operators, deploy_organization
from rolekeeper_local.story import Story, printed, without_the_persons

_SAYS = "console: "


def main(port: int | None = None, accounts: int | None = None, *, with_console: bool = False) -> int:
    """Play the demo, beside the console if wanted; 1 when any step did not come true."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    leave_by_interrupt()
    try:
        accounts = accounts_from(os.environ) if accounts is None else accounts
        failed = _play(console, port, accounts, with_console=with_console)
    except KeyboardInterrupt:
        console.print("stopped; nothing is left running")
        return 130
    except (EmbeddedAwsError, CommandError, ValueError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    if failed:
        console.print(f"{len(failed)} of the steps did not come true:", style="bold red")
        for failure in failed:
            console.print(f"  {failure}", markup=False)
        return 1
    console.print("Every step came true, by EC2's own answer.", style="bold green")
    return 0


def _play(console: Console, port: int | None, accounts: int, *, with_console: bool) -> list[str]:
    several = accounts > 1
    story: Story = OrganizationDemo(console) if several else AccountDemo(console)
    with EmbeddedAws(port=port, progress=story.says) as aws, ExitStack() as beside:
        worlds = deploy_organization(aws, accounts) if several else [_deploy(aws, story)]
        story.begin(worlds)
        env = without_the_persons(as_operators(aws) if several else aws.env)
        link = ""
        if with_console:
            link = beside.enter_context(_console(aws, env))
            story.does(f"open the console in a browser, and watch there too: {link}")
        story.play()
        for command in ("fleet", "targets") if several else ("fleet",):
            console.print(f"\n$ rolekeeper {command}")
            console.print(printed(env, command), markup=False, soft_wrap=True)
        if link:
            _stay_open(console, link)
    return story.failed


def _deploy(aws: EmbeddedAws, story: Story) -> EmulatedAccount:
    aws.deploy()
    world = EmulatedAccount(aws)
    world.deploy_starter_roles()
    # Made early: EC2 takes a while to know a new profile.
    world.make_role(FOREIGN, path="/")
    story.says(f"{world.seed_mappings()} mappings written")
    return world


@contextmanager
def _console(aws: EmbeddedAws, env: Mapping[str, str]) -> Iterator[str]:
    """The link to a console that may write, a process of its own as a person would start it; it ends with this context.

    Raises:
        EmbeddedAwsError: it doesn't start; with what it said.
    """
    log = aws.directory / "console.log"
    with (
        log.open("wb") as said,
        subprocess.Popen(
            [sys.executable, "-m", "rolekeeper_cli", "console", "--no-browser", "--write", "--port", "0"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            # Ctrl-C in the terminal is the demo's: it ends the console in its own order.
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout
        try:
            line = process.stdout.readline().decode()
            if not line.startswith(_SAYS):
                raise EmbeddedAwsError(f"the console didn't start:\n{log.read_text()}")
            yield line.removeprefix(_SAYS).strip()
        finally:
            process.kill()


def _stay_open(console: Console, link: str) -> None:
    """Let a person at a terminal look around in the console, until they have seen enough."""
    if not (console.is_terminal and sys.stdin.isatty()):
        return
    console.print(f"\nThe console is still open, in the browser that opened {link}", markup=False, soft_wrap=True)
    console.print("Press Enter to end it.")
    with suppress(EOFError, KeyboardInterrupt):
        input()


if __name__ == "__main__":
    sys.exit(main())

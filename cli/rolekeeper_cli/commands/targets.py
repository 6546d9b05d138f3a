"""`rolekeeper targets`: the accounts and Regions that the deployment looks after."""

import click

from rolekeeper_cli import completion
from rolekeeper_cli.command import Group, command
from rolekeeper_cli.commands.arguments import yes
from rolekeeper_cli.errors import ExitCode


@click.group(
    "targets",
    cls=Group,
    invoke_without_command=True,
    examples=["rolekeeper targets", "rolekeeper targets -o wide", "rolekeeper targets --query \"[?state!='well']\""],
)
@click.pass_context
def group(context: click.Context) -> ExitCode:
    """List the accounts and Regions that the deployment looks after.

    Its own first, then each that a spoke reports from: whether all is well there, the spoke's version (marked where it
    isn't the hub's), the last event and the last sweep, how many instances that saw, and how many were in drift. An
    account or Region without a spoke that sends events to the hub is "unknown": they are dropped.
    """
    if context.invoked_subcommand is None:
        from rolekeeper_cli import target_list
        from rolekeeper_cli.commands.deployment import deployment

        target_list.show(deployment())
    return ExitCode.DONE


@command("forget", "rolekeeper targets forget 111111111111/eu-west-1 --yes")
@click.argument(
    "target",
    metavar="ACCOUNT/REGION",
    shell_complete=completion.one_target,
    help="The target, as 111111111111/eu-west-1.",
)
@yes
def forget(target: str, *, yes: bool) -> ExitCode:
    """Take a target out of the list.

    For one whose spoke is removed: nothing is changed or swept there from then on. Its instances keep their roles, and
    their history is kept. A spoke that is still there comes back with its next event, at the latest within a day, as a
    new one: its instances get roles after its first sweep.
    """
    from rolekeeper_cli import output, prompts, render
    from rolekeeper_cli.commands.deployment import deployment
    from rolekeeper_cli.writes import targets

    prompts.require_answer(yes=yes)
    there = deployment()
    known = targets.forgettable(there, target)
    seen = f"; its last sweep saw {known['instances']:,} instances" if known["instances"] else ""
    output.say(f"{target} is {known['state']}{seen}. Its instances keep their roles; nobody changes them from then on.")
    prompts.confirm(f"Forget {target}?", yes=yes)
    targets.forget(there, target)
    render.show({"forgotten": target}, lambda: output.line(f"{target} is forgotten."))
    return ExitCode.DONE


COMMANDS = (forget,)

"""`rolekeeper roles`: what the roles under the path are, and which of them lack a baseline."""

import click

from rolekeeper_cli.command import Group, command
from rolekeeper_cli.commands.arguments import takes_targets
from rolekeeper_cli.errors import ExitCode, UsageError


@click.group(
    "roles",
    cls=Group,
    invoke_without_command=True,
    examples=[
        "rolekeeper roles",
        "rolekeeper roles --role web",
        "rolekeeper roles --target 111111111111",
        "rolekeeper roles --unused --query 'roles[].role'",
        "rolekeeper roles must-include AmazonSSMManagedInstanceCore",
    ],
)
@click.option("--role", "names", metavar="NAME", multiple=True, help="Only this one, whole; may be given again.")
@click.option("--unused", is_flag=True, help="Only those that nothing uses.")
@click.option(
    "--last-accessed/--no-last-accessed",
    "ask_last_accessed",
    default=True,
    help="Whether to ask IAM which services each one called. It is asked by default.",
)
@takes_targets
@click.pass_context
def group(
    context: click.Context, names: tuple[str, ...], targets: tuple[str, ...], *, unused: bool, ask_last_accessed: bool
) -> ExitCode:
    """Show the roles under the role path.

    Of each: the instances that carry it, the mappings that give it, when it was last used, what it may do, whether it
    is broad, which services it didn't use in 90 days, and a smaller policy where that is certain. Then how many
    instance profiles and roles the account has, and may have.

    A hub shows those of all its accounts into which you may look; of another account than its own, the roles that a
    mapping gives or an instance carries, without what they don't use.
    """
    if context.invoked_subcommand is not None:
        if names or unused or targets:
            raise UsageError("--role, --unused and --target are about the list", "leave them out")
        return ExitCode.DONE
    from rolekeeper_cli.commands.deployment import doctor_deployment
    from rolekeeper_cli.roles import listing
    from rolekeeper_cli.views.roles import Asked

    asked = Asked(names, unused=unused, last_accessed=ask_last_accessed)
    return listing.show(doctor_deployment(), asked, targets)


@command(
    "must-include",
    "rolekeeper roles must-include AmazonSSMManagedInstanceCore",
    "rolekeeper roles must-include baseline.json --query '[?!includes].[role, lacks]'",
)
@click.argument("policy", help="A managed policy by name or ARN, or a file with a policy document; - is stdin.")
def must_include(policy: str) -> ExitCode:
    """Find the mapped roles that lack a baseline.

    Whatever the policy allows, each role that a mapping gives has to be allowed by its own policies, on the same
    resources, and not denied. Exits with 1 when a role lacks something, or that can't be known.
    """
    from rolekeeper_cli.commands.deployment import doctor_deployment
    from rolekeeper_cli.roles import must_include as baseline

    return baseline.must_include(doctor_deployment(), policy)


COMMANDS = (must_include,)

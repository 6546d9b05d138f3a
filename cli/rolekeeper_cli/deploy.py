"""`rolekeeper deploy`, `upgrade` and `destroy`: the deployment itself, without a clone."""

from typing import Any

import click

from rolekeeper_cli.arguments import yes
from rolekeeper_cli.command import command
from rolekeeper_cli.deploying.options import WithParameters, named
from rolekeeper_cli.errors import ExitCode

_BUCKET = click.option(
    "--bucket", metavar="NAME", help="A bucket of yours to take, in the same Region; else one is made."
)
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Show what would change, and leave it.")
_DOWNGRADE = click.option("--allow-downgrade", is_flag=True, help="Let an older version replace a newer one.")


@click.command(
    "deploy",
    cls=WithParameters,
    examples=[
        "rolekeeper deploy --guided",
        "rolekeeper deploy --mode enforce",
        "rolekeeper deploy --yes --max-changes-per-edit 50 --region eu-west-1",
    ],
)
@click.option("--guided", is_flag=True, help="Ask for each parameter.")
@_BUCKET
@_DRY_RUN
@_DOWNGRADE
@yes
def deploy(**given: Any) -> ExitCode:
    """Deploy Rolekeeper, or change what is deployed.

    It shows what would change, and asks. Each parameter stays as it is deployed until you give another value.
    """
    return _deploy(upgrade=False, **given)


@command("upgrade", "rolekeeper upgrade", "rolekeeper upgrade --dry-run", "rolekeeper upgrade --yes")
@_BUCKET
@_DRY_RUN
@_DOWNGRADE
@yes
def upgrade(**given: Any) -> ExitCode:
    """Deploy this version over the one that is deployed.

    It says which version that is, shows what would change, and asks. Every parameter stays as it is.
    """
    return _deploy(upgrade=True, guided=False, **given)


def _deploy(
    *,
    upgrade: bool,
    guided: bool,
    bucket: str | None,
    dry_run: bool,
    allow_downgrade: bool,
    yes: bool,
    **parameters: str | None,
) -> ExitCode:
    from rolekeeper_cli import terminal
    from rolekeeper_cli.command import deployment
    from rolekeeper_cli.deploying.deploy import Wanted
    from rolekeeper_cli.deploying.deploy import deploy as deploy_now

    if guided or not dry_run:
        terminal.require_answer(yes=yes and not guided)
    wanted = Wanted(
        parameters=named(parameters),
        bucket=bucket,
        guided=guided,
        yes=yes,
        dry_run=dry_run,
        upgrade=upgrade,
        allow_downgrade=allow_downgrade,
    )
    return deploy_now(deployment(), wanted)


@command(
    "destroy",
    "rolekeeper destroy",
    "rolekeeper destroy --export mappings.yaml --no-detach --confirm rolekeeper",
)
@click.option("--export", metavar="FILE", type=click.Path(), help="Write the mappings to a new file first.")
@click.option(
    "--detach/--no-detach", default=None, help="Whether to detach the managed roles first. They stay unless told."
)
@click.option("--confirm", metavar="NAME", help="The stack's name; needed where there is no terminal.")
def destroy(export: str | None, *, detach: bool | None, confirm: str | None) -> ExitCode:
    """Delete the deployment.

    It says what happens to instances, tables and mappings, offers to export the mappings and to detach the roles that
    Rolekeeper attached, and asks for the stack's name. Both tables are kept.
    """
    from rolekeeper_cli.command import deployment
    from rolekeeper_cli.deploying.destroy import Wanted
    from rolekeeper_cli.deploying.destroy import destroy as destroy_now

    return destroy_now(deployment(), Wanted(export, detach, confirm))

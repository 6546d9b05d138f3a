"""`rolekeeper deploy` and `destroy`: the deployment itself, without a clone."""

from __future__ import annotations

from typing import Any

import click

from rolekeeper_cli.deploy.view import DeployedView, DestroyedView
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell import terminal
from rolekeeper_cli.shell.arguments import allow_downgrade, dry_run, yes
from rolekeeper_cli.shell.command import Command, command, deployment, prints

with lazily():
    from rolekeeper_cli.deploy import deploy as deploy_deploy
    from rolekeeper_cli.deploy import destroy as deploy_destroy
    from rolekeeper_cli.deploy import parameters

_ALLOWED_SHOWN = 4

# What people set; the help shows the others with --help-all.
OFTEN_SET = ("--mode", "--role-path", "--take-over", "--max-changes-per-edit", "--alarm-email", "--organization-id")
HELP_ALL = f"{__name__}.help_all"


class ParameterOption(click.Option):
    """A parameter of the template."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        return super().get_help_record(ctx) if self.opts[0] in OFTEN_SET or HELP_ALL in ctx.meta else None


def _help_all(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:  # noqa: FBT001  # click's own
    if wanted:
        context.meta[HELP_ALL] = True
        click.echo(context.get_help())
        context.exit()


class WithParameters(Command):
    """Takes the template's parameters as options."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *(_option(name, each) for name, each in parameters.parameters().items())]


def _option(name: str, parameter: dict[str, Any]) -> click.Option:
    allowed = [str(each) for each in parameter.get("AllowedValues", ())]
    few = allowed and len(allowed) <= _ALLOWED_SHOWN
    return ParameterOption(
        [parameters.option_of(name)],
        metavar="|".join(allowed) if few else parameter["Type"].upper(),
        help=f"{parameter['Description']} ({name})",
        shell_complete=lambda _context, _parameter, begun: [each for each in allowed if each.startswith(begun)],
    )


@prints(deployed=DeployedView)
@click.command(
    "deploy",
    cls=WithParameters,
    examples=[
        "rolekeeper deploy --guided",
        "rolekeeper deploy",
        "rolekeeper deploy --mode enforce",
        "rolekeeper deploy --yes --max-changes-per-edit 50 --region eu-west-1",
    ],
)
@click.option("--guided", is_flag=True, help="Ask for each parameter.")
@click.option("--bucket", metavar="NAME", help="Your own bucket in the same Region. Default: one is created.")
@click.option(
    "--revert-drift",
    is_flag=True,
    help="Also recreate what was deleted, and undo what was changed, outside CloudFormation.",
)
@click.option(
    "--import-tables", "tables", nargs=2, metavar="MAPPINGS STATE", help="Begin with two tables restored from backups."
)
@dry_run
@allow_downgrade
@yes
@click.option(
    "--help-all",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_help_all,
    help="Show this message with all parameters, and exit.",
)
def deploy(*, guided: bool, yes: bool, **asked: Any) -> None:
    """Deploy Rolekeeper, upgrade it, or change its parameters.

    It says which version is deployed, shows what would change, and asks. Each parameter stays as it is deployed until
    you give another value.
    """
    terminal.require_answer(yes=yes, typed=guided)
    deploy_deploy.deploy(deployment(), guided=guided, yes=yes, **asked)


@prints(destroyed=DestroyedView)
@command("destroy", "rolekeeper destroy", "rolekeeper destroy --export mappings.yaml --no-detach --confirm rolekeeper")
@click.option("--export", metavar="FILE", type=click.Path(), help="Write the mappings to a new file first.")
@click.option(
    "--detach/--no-detach", default=None, help="Whether to detach the managed roles first. Default: keep them."
)
@click.option("--confirm", metavar="NAME", help="The stack's name; needed without a terminal.")
def destroy(export: str | None, *, detach: bool | None, confirm: str | None) -> None:
    """Delete the deployment.

    It says what happens to instances, tables and mappings, offers to export the mappings and to detach the roles that
    Rolekeeper attached, and asks for the stack's name. Both tables are kept.
    """
    deploy_destroy.destroy(deployment(), export, detach=detach, confirm=confirm)

"""`rolekeeper schema`: what editors check a file of mappings with."""

import click

from rolekeeper_cli.command import command
from rolekeeper_cli.errors import ExitCode


@command("schema", "rolekeeper schema > mappings.schema.json")
def schema() -> ExitCode:
    """Write the JSON Schema of mapping files.

    Beside a file that `rolekeeper mapping export` made, as mappings.schema.json, editors complete and check with it.
    """
    from rolekeeper_cli.schema import text

    click.echo(text(), nl=False)
    return ExitCode.DONE


COMMANDS = (schema,)

"""`rolekeeper schema`: what editors check a file of mappings with, and what a column means."""

import click

from rolekeeper_cli.command import command
from rolekeeper_cli.completion import columns
from rolekeeper_cli.errors import ExitCode


@command("schema", "rolekeeper schema > mappings.schema.json", "rolekeeper schema when_stopped")
@click.argument(
    "column", required=False, shell_complete=columns, help="A column of the mapping table, to have it explained."
)
def schema(column: str | None) -> ExitCode:
    """Write the JSON Schema of mapping files, or explain a column.

    Beside a file that `rolekeeper mapping export` made, as mappings.schema.json, editors complete and check with it.
    """
    if column:
        from rolekeeper_cli.column_help import explain

        return explain(column)
    from rolekeeper_cli.schema import text

    click.echo(text(), nl=False)
    return ExitCode.DONE


COMMANDS = (schema,)

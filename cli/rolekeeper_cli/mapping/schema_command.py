"""`rolekeeper schema`: the fields of what commands print, of mapping files, and of the mapping table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.row.view import ColumnView
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.command import Command, Group, command, prints
from rolekeeper_cli.shell.view import document_schema

with lazily():
    from rolekeeper_cli.row import schema as row_schema
    from rolekeeper_cli.shell import completion, tables
    from rolekeeper_cli.shell import documents as shell_documents


@prints(asks_aws=False, column=ColumnView, schema=Mapping[str, Any])
@command(
    "schema", "rolekeeper schema fleet", "rolekeeper schema when_stopped", "rolekeeper schema > mappings.schema.json"
)
@click.argument(
    "words",
    metavar="[NOUN|COMMAND|COLUMN]",
    nargs=-1,
    shell_complete=lambda context, _, typed: completion.words(
        sorted([*printed(context.find_root().command), *row_schema.column_names(keys=True)]), typed
    ),
    help="What is printed with -o json, or the command that does; or a column of mappings, to have it explained.",
)
def schema(words: tuple[str, ...]) -> None:
    """Show the fields of -o json, or explain a column.

    With a NOUN, which the help of each command names, as a JSON Schema. Without an argument it is the schema of mapping
    files, and the nouns are listed on stderr. Beside a file that `rolekeeper mapping export` made, as
    mappings.schema.json, editors complete and check with it.
    """
    documents, name = printed(click.get_current_context().find_root().command), " ".join(words)
    if not words:
        render.show(row_schema.schema(), lambda: click.echo(row_schema.text(), nl=False))
        terminal.say("This is the schema of mapping files. What commands print: rolekeeper schema NOUN, one of")
        for noun, (_, paths) in documents.items():
            terminal.say(f"{noun}: {', '.join(paths)}", indent=2)
        return
    of_command = [noun for noun, (_, paths) in documents.items() if f"rolekeeper {name}" in paths]
    if name not in documents and len(of_command) > 1:
        raise UsageError(f"rolekeeper {name} prints several documents", f"name one: {', '.join(of_command)}")
    if name in documents or of_command:
        [noun] = [name] if name in documents else of_command
        found = document_schema(noun, documents[noun][0])
        render.show(found, lambda: click.echo(shell_documents.as_json(found)))
    else:
        column = row_schema.column(name, nouns=documents)
        render.show(column, lambda: _draw(column))


def printed(command: click.Command, path: str = "rolekeeper") -> dict[str, tuple[Any, list[str]]]:
    """Return the type of each document that a command or a command of it prints, and these commands, by its noun."""
    found = {noun: (of, [path]) for noun, of in command.prints.items()} if isinstance(command, Command) else {}
    for name, subcommand in command.all().items() if isinstance(command, Group) else ():
        for noun, (of, paths) in printed(subcommand, f"{path} {name}").items():
            found[noun] = of, [*found.get(noun, (of, []))[1], *paths]
    return dict(sorted(found.items()))


def _draw(column: ColumnView) -> None:
    lines = [(key.replace("_", " "), value) for key, value in column.as_mapping().items() if value is not None]
    tables.show_table(("", ""), [line for line in lines if line[0] != "example"])
    if column.example:
        terminal.line(f"example:\n  {column.example}")

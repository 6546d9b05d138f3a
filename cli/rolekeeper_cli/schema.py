"""`rolekeeper schema`: what editors check a file of mappings with, and what a column means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from rolekeeper_cli import render, terminal, uses
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
        return explain(column)

    click.echo(uses.schema.text(), nl=False)
    return ExitCode.DONE


# ---- a column explained ----


def explain(name: str) -> ExitCode:
    document = uses.schema.column_document(name)
    render.show(document, lambda: _draw(document))
    return ExitCode.DONE


def _draw(document: Mapping[str, Any]) -> None:
    """Below what is to be read, what is to be copied, in one piece."""
    lines = [(key.replace("_", " "), value) for key, value in document.items() if value is not None]
    render.tables().show_table(("", ""), [line for line in lines if line[0] != "example"])
    if document.get("example"):
        terminal.line(f"example:\n  {document['example']}")

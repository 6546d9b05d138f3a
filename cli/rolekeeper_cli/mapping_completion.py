"""What a shell is offered in the place of a mapping's columns and their values."""

import click

from rolekeeper_cli import completion
from rolekeeper_cli.completion import Offered
from rolekeeper_cli.uses import schema


def key_and_columns(context: click.Context, incomplete: str) -> Offered:
    """One mapping, then columns, each with a `=`; then the roles, or the values of a column that takes only some."""
    if not completion.names_a_key(context):
        return completion.mappings(context, incomplete)
    column, equals, typed = incomplete.partition("=")
    if not equals:
        return completion.offered({f"{each}=": "" for each in schema.column_names(keys=False)}, incomplete)
    is_role = column == "role"
    values = completion.roles_and_none(context, typed) if is_role else dict.fromkeys(schema.choices(column), "")
    return completion.offered({f"{column}={each}": about for each, about in values.items()}, incomplete)


def columns(_context: click.Context, incomplete: str) -> Offered:
    return completion.offered(dict.fromkeys(schema.column_names(keys=True), ""), incomplete)

"""Documents for programs, as JSON, and what a `--query` (JMESPath) finds in one."""

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import click
import jmespath
from jmespath.exceptions import JMESPathError

from rolekeeper.model.text import escaped, escaped_json
from rolekeeper.storage.layout import timestamp
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.shell import tables
from rolekeeper_cli.shell.queries import refuse_unknown, schema_like
from rolekeeper_cli.shell.terminal import printable
from rolekeeper_cli.shell.view import Schema, View


def as_json(document: Any, indent: int | None = 2) -> str:
    return escaped_json(json.dumps(document, indent=indent, default=_plain, ensure_ascii=False))


def _cell(value: Any) -> str:
    """A value as a cell: a text as it is, None as nothing, and anything else as JSON."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Values that JSON has no word for, such as DynamoDB's numbers and sets."""
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case set() | frozenset():
            return sorted(value)
        case datetime():
            # So that all read the same.
            return timestamp(value)
        case Mapping():
            return dict(value)
    if isinstance(value, View):
        return value.as_mapping()
    return str(value)


def found_in(document: Any, query: str, schema: Schema | None) -> Any:
    """Return what a query finds; without a schema, what the document has says which fields there are.

    UsageError if it fails, or asks for a field that the output doesn't have.
    """
    simple = json.loads(json.dumps(document, default=_plain))
    refuse_unknown(query, [schema_like(simple) if schema is None else schema])
    try:
        return jmespath.search(query, simple)
    except JMESPathError as error:
        raise UsageError(f"--query failed: {escaped(str(error))}", "see https://jmespath.org") from error


def draw(found: Any) -> None:
    """Draw what a query finds for people, who know its form."""
    rows = found if isinstance(found, list) else [] if found is None else [found]
    if rows and all(isinstance(each, Mapping) and each for each in rows):
        names = list(dict.fromkeys(name for each in rows for name in each))
        tables.show_table(names, [[_cell(each.get(name)) for name in names] for each in rows])
    elif rows and all(isinstance(each, list) and len(each) == len(rows[0]) for each in rows):
        tables.show_table([""] * len(rows[0]), [[_cell(cell) for cell in each] for each in rows])
    else:
        for each in rows:
            click.echo(printable(_cell(each)))

"""Documents for programs, as JSON, and what a `--query` (JMESPath) finds in one."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import click
import jmespath
from jmespath.exceptions import JMESPathError

from rolekeeper.model.text import escaped, escaped_json
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.options import TABLE, WIDE
from rolekeeper_cli.shell import tables
from rolekeeper_cli.shell.queries import refuse_unknown, schema_like
from rolekeeper_cli.shell.terminal import printable
from rolekeeper_cli.shell.view import Schema, View


def write(document: Any, *, follows: bool = False) -> None:
    """Write a document; one of several that follow each other is a line."""
    click.echo(as_json(document, indent=None if follows else 2))


def as_json(document: Any, indent: int | None = 2) -> str:
    return escaped_json(json.dumps(document, indent=indent, default=_plain, ensure_ascii=False))


def _cell(value: Any) -> str:
    """A value as a cell: a text as it is, None as nothing, and anything else as JSON."""
    simple = _simple(value)
    if simple is None:
        return ""
    return simple if isinstance(simple, str) else json.dumps(simple, ensure_ascii=False)


def _simple(document: Any) -> Any:
    return json.loads(json.dumps(document, default=_plain))


def _plain(value: Any) -> Any:
    """Values that JSON has no word for, such as DynamoDB's numbers and sets."""
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case set() | frozenset():
            return sorted(value)
        case datetime():
            # As times are stored, so that all read the same.
            return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        case Mapping():
            return dict(value)
    if isinstance(value, View):
        return value.as_mapping()
    return str(value)


def show_found(query: str, document: Any, form: str, *, schema: Schema | None = None, follows: bool = False) -> None:
    """Show what a query finds, in any form; `follows` as `write`.

    UsageError if it fails, or asks for a field that the output doesn't have: by its schema, or as it is.
    """
    simple = _simple(document)
    refuse_unknown(query, [schema_like(simple) if schema is None else schema])
    try:
        found = jmespath.search(query, simple)
    except JMESPathError as error:
        raise UsageError(f"--query failed: {escaped(str(error))}", "see https://jmespath.org") from error
    if form in {TABLE, WIDE}:
        _draw_found(found)
    else:
        write(found, follows=follows)


def _draw_found(found: Any) -> None:
    rows = found if isinstance(found, list) else [found]
    if rows and all(isinstance(each, Mapping) and each for each in rows):
        names = list(dict.fromkeys(name for each in rows for name in each))
        tables.show_table(names, [[_cell(each.get(name)) for name in names] for each in rows])
    elif rows and all(isinstance(each, list) and len(each) == len(rows[0]) for each in rows):
        tables.show_table([""] * len(rows[0]), [[_cell(cell) for cell in each] for each in rows])
    else:
        for each in rows:
            click.echo(printable(_cell(each)))

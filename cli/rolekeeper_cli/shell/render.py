"""Data on stdout in the form that was asked for: a table for people, or JSON for programs.

People see a long list while it is read. Programs get one document, which is held until it is whole, as the AWS CLI
does; so does a `--query` (JMESPath).
"""

from collections.abc import Callable, Iterable
from typing import Any

import click

from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.options import TABLE, WIDE
from rolekeeper_cli.shell import terminal
from rolekeeper_cli.shell.layout import Layout
from rolekeeper_cli.shell.view import Schema, View, schema_of

with lazily():
    from rolekeeper_cli.shell import documents, tables


def show(document: Any, draw: Callable[[], object] = lambda: None, *, of: Any = None, follows: bool = False) -> None:
    """Show one document; `draw` shows it to people, who else see what the command says.

    `of` is its type, if it isn't a view and the command has documents of several types. Those that follow each other
    are a line of JSON each.
    """
    options = terminal.options()
    if options.for_people:
        draw()
        return
    if options.query:
        schema = _schema(type(document) if isinstance(document, View) else of)
        document = documents.found_in(document, options.query, schema)
    if options.output in {TABLE, WIDE}:
        documents.draw(document)
    else:
        click.echo(documents.as_json(document, indent=None if follows else 2))


def _schema(of: Any) -> Schema | None:
    """The schema of a document; None if only the document itself says what it has, as one of another program's."""
    if of is not None:
        return schema_of(of)
    # The command refused already what none of its documents has.
    return {} if getattr(click.get_current_context().command, "prints", {}) else None


def show_list(
    layout: Layout,
    rows: Iterable[Any],
    *,
    empty: Callable[[], str],
    total: Callable[[], str] = lambda: "",
    of: Any = None,
) -> None:
    """Show a list while it comes: `of` is the type of its rows, as in `show`.

    `empty` is what people read if there are none, with what they can do; `total` what they read below the rows.
    """
    if not terminal.options().for_people:
        show(list(rows), of=list[of] if of else None)
        return
    message = total if tables.stream_list(layout, rows) else empty
    if text := message():
        terminal.say(text)

"""Data on stdout in the form that was asked for: a table for people, or JSON, YAML or CSV for programs.

People see a long list while it is read. Programs get one document, which is held until it is whole, as the AWS CLI
does; so does a `--query` (JMESPath).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell import terminal
from rolekeeper_cli.shell.layout import Layout
from rolekeeper_cli.shell.view import Schema, View, schema_of

with lazily():
    from rolekeeper_cli.shell import documents as shell_documents
    from rolekeeper_cli.shell import tables

type Document = Mapping[str, Any]


def show(document: Any, draw: Callable[[], object] = lambda: None, *, of: Any = None) -> None:
    """Show one document; `draw` shows it to people, who else see what the command says.

    `of` is its type, if it isn't a view and the command has documents of several types.
    """
    options = terminal.options()
    if options.query:
        found = _schema(type(document) if isinstance(document, View) else of)
        shell_documents.show_found(options.query, document, options.output, schema=found)
    elif options.for_people:
        draw()
    else:
        shell_documents.write(document, options.output)


def _schema(of: Any) -> Schema | None:
    """The schema of a document; None if only the document itself says what it has, as one of another program's."""
    if of is not None:
        return schema_of(of)
    # The command refused already what none of its documents has.
    return {} if getattr(click.get_current_context().command, "prints", {}) else None


def show_list(
    layout: Layout,
    documents: Iterable[Any],
    *,
    empty: Callable[[], str],
    total: Callable[[], str] = lambda: "",
    of: Any = None,
) -> None:
    """Show a list while it comes: `of` is the type of its rows, as in `show`.

    `empty` is what people read if there are none, with what they can do; `total` what they read below the rows.
    """
    if not terminal.options().for_people:
        show(list(documents), of=list[of] if of else None)
        return
    message = total if tables.stream_list(layout, documents) else empty
    if text := message():
        terminal.say(text)


def show_with_rows(
    documents: Iterable[Any],
    whole: Callable[[Sequence[Any]], Any],
    draw: Callable[[Iterable[Any]], None],
) -> None:
    """Show a document with a long list, which CSV has alone.

    `whole` makes the document, once the list is read. `draw` shows the list to people; the caller what follows it.
    """
    options = terminal.options()
    if options.for_people:
        draw(documents)
        return
    rows = list(documents)
    if options.output == "csv" and not options.query:
        show(rows)
    else:
        show(whole(rows))


def line_shower() -> Callable[[Any, Callable[[], None]], None]:
    """A function that shows the next document of an endless list: as a line of JSON, a YAML document or a row.

    It takes the document, and the function that draws it for people.
    """
    options = terminal.options()
    header = True

    def show_line(document: Any, draw: Callable[[], None]) -> None:
        nonlocal header
        if options.query:
            found = _schema(type(document) if isinstance(document, View) else None)
            shell_documents.show_found(options.query, document, options.output, schema=found, follows=True)
        elif options.for_people:
            draw()
        elif options.output == "csv":
            shell_documents.write_csv([document], header=header)
            header = False
        else:
            shell_documents.write(document, options.output, follows=True)

    return show_line

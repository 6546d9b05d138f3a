"""Data on stdout in the form that was asked for: a table for people, or JSON, YAML or CSV for programs.

People see a long list while it is read. Programs get one document, which is held until it is whole, as the AWS CLI
does; so does a `--query` (JMESPath).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import rolekeeper_cli
from rolekeeper_cli import terminal
from rolekeeper_cli.layout import Layout

type Document = Mapping[str, Any]


def show(document: Any, draw: Callable[[], object]) -> None:
    """Show one document; `draw` shows it to people."""
    options = terminal.options()
    if options.query:
        rolekeeper_cli.documents.show_found(options.query, document, options.output)
    elif options.for_people:
        draw()
    else:
        rolekeeper_cli.documents.write(document, options.output)


def show_list(
    layout: Layout,
    documents: Iterable[Document],
    *,
    empty: Callable[[], str],
    total: Callable[[], str] = lambda: "",
) -> None:
    """Show a list while it comes.

    Args:
        documents: the rows, all with the same fields.
        empty: says to people, of a list without rows, that it has none and what they can do.
        total: says to people, below the rows, what they come to.
    """
    if not terminal.options().for_people:
        show(list(documents), lambda: None)
    elif rolekeeper_cli.tables.stream_list(layout, documents):
        if said := total():
            terminal.say(said)
    else:
        terminal.say(empty())


def show_with_rows(
    name: str, documents: Iterable[Document], rest: Callable[[], Document], draw: Callable[[Iterable[Document]], None]
) -> None:
    """Show a document one of whose fields is a long list: that comes first, and the rest once the list has ended.

    Args:
        name: the list's field; of the document, CSV has the list alone.
        rest: gives the other fields.
        draw: shows the list to people; what is to follow it is the caller's.
    """
    options = terminal.options()
    if options.for_people:
        draw(documents)
        return
    rows = list(documents)
    show(rows if options.output == "csv" and not options.query else {name: rows, **rest()}, lambda: None)


def line_shower() -> Callable[[Document, Callable[[], None]], None]:
    """What shows one after the other of an endless list, at once: a line of JSON, a YAML document, a row.

    The function takes the document, and what draws it for people.
    """
    options = terminal.options()
    header = True

    def show_line(document: Document, draw: Callable[[], None]) -> None:
        nonlocal header
        if options.query:
            rolekeeper_cli.documents.show_found(options.query, document, options.output, follows=True)
        elif options.for_people:
            draw()
        elif options.output == "csv":
            rolekeeper_cli.documents.write_csv([document], header=header)
            header = False
        else:
            rolekeeper_cli.documents.write_one(document, options.output)

    return show_line

"""Data on stdout in the form that was asked for: a table for people, or JSON, YAML or CSV for programs.

People see a long list while it is read. Programs get one document, which is held until it is whole, as the AWS CLI
does; so does a `--query` (JMESPath).
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from types import ModuleType
from typing import Any

import click

from rolekeeper.model import escaped_json
from rolekeeper_cli import terminal, uses
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.layout import Layout
from rolekeeper_cli.options import TABLE, WIDE
from rolekeeper_cli.terminal import one_line, printable

type Document = Mapping[str, Any]


def tables() -> ModuleType:
    """What draws tables; importing rich takes longer than a `--help` may."""
    from rolekeeper_cli import tables  # noqa: PLC0415  # it imports rich

    return tables


def query_language() -> ModuleType:
    """JMESPath, which only `--query` needs."""
    import jmespath  # noqa: PLC0415  # only --query needs it

    return jmespath


def show(document: Any, draw: Callable[[], object]) -> None:
    """Show one document; `draw` shows it to people."""
    options = terminal.options()
    if options.query:
        _show_found(options.query, document, options.output)
    elif options.for_people:
        draw()
    else:
        _write(document, options.output)


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
    options = terminal.options()
    if not options.for_people:
        show(list(documents), lambda: None)
    elif tables().stream_list(layout, documents):
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
    header = options.output == "csv" and not options.query

    def show_line(document: Document, draw: Callable[[], None]) -> None:
        nonlocal header
        if options.query:
            _show_found(options.query, document, options.output, compact=True)
        elif options.for_people:
            draw()
        elif options.output == "json":
            click.echo(escaped_json(json.dumps(document, default=_plain, ensure_ascii=False)))
        elif options.output == "yaml":
            click.echo(f"---\n{_yaml(document)}", nl=False)
        else:
            _csv([document], header=header)
            header = False

    return show_line


# ---- the forms for programs ----


def _write(document: Any, form: str) -> None:
    if form == "csv":
        _csv(document if isinstance(document, list) else [document])
    elif form == "yaml":
        click.echo(_yaml(document), nl=False)
    else:
        click.echo(as_json(document))


def as_json(document: Any) -> str:
    """A document as JSON, for a file."""
    return escaped_json(json.dumps(document, indent=2, default=_plain, ensure_ascii=False))


def _yaml(document: Any) -> str:
    # YAML ends a lone scalar with a line of its own.
    return uses.files.dumped(_simple(document)).removesuffix("...\n")


def _csv(rows: Sequence[Any], *, header: bool = True) -> None:
    """A line for each: an object's values, below their names; a list's members; or anything else by itself."""
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    if header and rows and isinstance(rows[0], Mapping):
        lines.writerow(rows[0])
    for row in rows:
        cells = row.values() if isinstance(row, Mapping) else row if isinstance(row, list) else [row]
        lines.writerow(map(_cell, cells))
    click.echo(text.getvalue(), nl=False)


def _cell(value: Any) -> str:
    """A value as a cell: a text as it is, nothing of None, JSON of anything that holds more."""
    simple = _simple(value)
    if simple is None:
        return ""
    return simple if isinstance(simple, str) else json.dumps(simple, ensure_ascii=False)


def _show_found(query: str, document: Any, form: str, *, compact: bool = False) -> None:
    """What a query finds, in any form."""
    jmespath = query_language()
    try:
        found = jmespath.search(query, _simple(document))
    except jmespath.exceptions.JMESPathError as error:
        raise UsageError(f"--query can't be asked: {one_line(str(error))}", "see https://jmespath.org") from error
    if form in {TABLE, WIDE}:
        _draw_found(found)
    elif compact and form == "json":
        click.echo(escaped_json(json.dumps(found, ensure_ascii=False)))
    else:
        _write(found, form)


def _draw_found(found: Any) -> None:
    rows = found if isinstance(found, list) else [found]
    if rows and all(isinstance(each, Mapping) and each for each in rows):
        names = list(dict.fromkeys(name for each in rows for name in each))
        tables().show_table(names, [[_cell(each.get(name)) for name in names] for each in rows])
    elif rows and all(isinstance(each, list) and len(each) == len(rows[0]) for each in rows):
        tables().show_table([""] * len(rows[0]), [[_cell(cell) for cell in each] for each in rows])
    else:
        for each in rows:
            click.echo(printable(_cell(each)))


def _simple(document: Any) -> Any:
    """A document of plain values only."""
    return json.loads(json.dumps(document, default=_plain))


def _plain(value: Any) -> Any:
    """What JSON has no word for, as DynamoDB's numbers and sets."""
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case set() | frozenset():
            return sorted(value)
        case datetime():
            # As what is stored, so that every time reads the same.
            return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        case Mapping():
            return dict(value)
    return str(value)

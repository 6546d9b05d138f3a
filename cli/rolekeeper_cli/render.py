"""Data on stdout in the form that was asked for: a table for people, or JSON, YAML or CSV for programs.

Lists stream: rows go out while the next ones are read, so a large fleet is never held in memory. A `--query`
(JMESPath, as in the AWS CLI) is asked of the whole document, which is then held, as the AWS CLI holds it.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import click

from rolekeeper.model import escaped_json
from rolekeeper_cli import output
from rolekeeper_cli.csv_lines import csv_line
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.output import one_line, printable
from rolekeeper_cli.tables import show_table, stream_table

type Document = Mapping[str, Any]
type Cells = Callable[[Document], Sequence[object]]


def show(document: Any, draw: Callable[[], None]) -> None:
    """Show one document; `draw` shows it to people."""
    options = output.options()
    if options.query:
        _show_found(options.query, document, options.output)
    elif options.output == "table":
        draw()
    else:
        _write(document, options.output)


def show_rows(head: Sequence[str], documents: Iterable[Document], cells: Cells) -> None:
    """Show a list while it comes.

    Args:
        head: the names of a table's columns.
        documents: the rows, all with the same fields.
        cells: a table's row.
    """
    options = output.options()
    if options.query:
        _show_found(options.query, list(documents), options.output)
    elif options.output == "table":
        stream_table(head, (cells(each) for each in documents))
    elif options.output == "csv":
        _stream_csv(documents)
    elif options.output == "yaml":
        _stream_yaml(documents, "")
    else:
        _stream_json(documents, "")
        click.echo()


def show_with_rows(
    name: str, documents: Iterable[Document], rest: Callable[[], Document], draw: Callable[[Iterable[Document]], None]
) -> None:
    """Show a document one of whose fields is a long list: that comes first, and the rest once the list has ended.

    Args:
        name: the list's field.
        documents: the list.
        rest: gives the other fields.
        draw: shows the list to people; what is to follow it is the caller's.
    """
    options = output.options()
    if options.query:
        rows = list(documents)
        _show_found(options.query, {name: rows, **rest()}, options.output)
    elif options.output == "table":
        draw(documents)
    elif options.output == "csv":
        _stream_csv(documents)
    elif options.output == "yaml":
        click.echo(f"{name}:")
        _stream_yaml(documents, "  ")
        _write(rest(), "yaml")
    else:
        click.echo(f'{{\n  "{name}": ', nl=False)
        _stream_json(documents, "  ")
        others = _json(rest()).removeprefix("{\n").removesuffix("\n}")
        click.echo(f",\n{others}\n}}")


def show_line(document: Document, draw: Callable[[], None]) -> None:
    """Show one of an endless list, at once: as a line of JSON, a YAML document, a CSV row."""
    options = output.options()
    if options.query:
        _show_found(options.query, document, options.output, compact=True)
    elif options.output == "table":
        draw()
    elif options.output == "json":
        click.echo(escaped_json(json.dumps(document, default=_plain, ensure_ascii=False)))
    elif options.output == "yaml":
        click.echo(f"---\n{_yaml(document)}", nl=False)
    else:
        _csv_rows([document], header=False)


# ---- the forms for programs ----


def _write(document: Any, form: str) -> None:
    if form == "csv":
        _csv_rows(document if isinstance(document, list) else [document])
    elif form == "yaml":
        click.echo(_yaml(document), nl=False)
    else:
        click.echo(_json(document))


def _json(document: Any) -> str:
    return escaped_json(json.dumps(document, indent=2, default=_plain, ensure_ascii=False))


def _yaml(document: Any) -> str:
    from rolekeeper_cli.files import yaml_form

    # YAML ends a lone scalar with a line of its own.
    return yaml_form.dumped(_simple(document)).removesuffix("...\n")


def _stream_json(documents: Iterable[Document], indent: str) -> None:
    before = "["
    for each in documents:
        block = _json(each).replace("\n", f"\n{indent}  ")
        click.echo(f"{before}\n{indent}  {block}", nl=False)
        before = ","
    click.echo(f"\n{indent}]" if before == "," else "[]", nl=False)


def _stream_yaml(documents: Iterable[Document], indent: str) -> None:
    empty = True
    for each in documents:
        empty = False
        block = _yaml([each]).replace("\n", f"\n{indent}").removesuffix(indent)
        click.echo(f"{indent}{block}", nl=False)
    if empty:
        click.echo(f"{indent}[]")


def _stream_csv(documents: Iterable[Document]) -> None:
    header = True
    for each in documents:
        _csv_rows([each], header=header)
        header = False


def _csv_rows(rows: Sequence[Any], *, header: bool = True) -> None:
    """Objects with their first one's fields at the top, lists as they are, anything else as a row of one cell."""
    if header and rows and isinstance(rows[0], Mapping):
        click.echo(csv_line(rows[0]), nl=False)
    for row in rows:
        values = list(row.values()) if isinstance(row, Mapping) else row if isinstance(row, list) else [row]
        click.echo(csv_line(_csv_cell(each) for each in values), nl=False)


def _csv_cell(value: Any) -> str:
    simple = _simple(value)
    if isinstance(simple, str):
        return simple
    return "" if simple is None else json.dumps(simple, ensure_ascii=False)


def _show_found(query: str, document: Any, form: str, *, compact: bool = False) -> None:
    """What a query finds, in any form."""
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        found = jmespath.search(query, _simple(document))
    except JMESPathError as error:
        raise UsageError(f"--query can't be asked: {one_line(str(error))}", "see https://jmespath.org") from error
    if form == "table":
        _draw_found(found)
    elif compact and form == "json":
        click.echo(escaped_json(json.dumps(found, ensure_ascii=False)))
    else:
        _write(found, form)


def _draw_found(found: Any) -> None:
    rows = found if isinstance(found, list) else [found]
    if rows and all(isinstance(each, Mapping) and each for each in rows):
        names = list(dict.fromkeys(name for each in rows for name in each))
        show_table(names, [[_csv_cell(each.get(name)) for name in names] for each in rows])
    elif rows and all(isinstance(each, list) and len(each) == len(rows[0]) for each in rows):
        show_table([""] * len(rows[0]), [[_csv_cell(cell) for cell in each] for each in rows])
    else:
        for each in rows:
            click.echo(printable(_csv_cell(each)))


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
            return value.isoformat().replace("+00:00", "Z")
        case Mapping():
            return dict(value)
    return str(value)

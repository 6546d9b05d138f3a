"""Data on stdout in the form that was asked for: a table for people, or JSON for programs.

People see a long list while it is read. Programs get one document, which is held until it is whole, as the AWS CLI
does; so does a `--query` (JMESPath). With `--sort` all rows are read before the first is shown.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from math import inf
from operator import attrgetter
from typing import Any, get_args

import click

from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.options import TABLE, WIDE
from rolekeeper_cli.shell import terminal
from rolekeeper_cli.shell.layout import Layout
from rolekeeper_cli.shell.suggest import did_you_mean
from rolekeeper_cli.shell.view import Schema, View, json_name, schema_of

with lazily():
    from rolekeeper_cli.shell import documents, tables


def show(document: Any, draw: Callable[[], object] = lambda: None, *, of: Any = None) -> None:
    """Show one document; `draw` shows it to people, who else see what the command says.

    `of` is its type, if it isn't a view and the command has documents of several types.
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
        click.echo(documents.as_json(document, indent=None if options.watch else 2))


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
    arranged = Arranged(layout, rows, of)
    if not terminal.options().for_people:
        show(list(arranged), of=list[of] if of else None)
        return
    message = total if tables.stream_list(layout, arranged) else empty
    if text := message():
        terminal.say(text)
    arranged.say_rest()


def to_read() -> int:
    """How many rows to read for a list that can end early: one more than is shown, so that more can be announced."""
    return (terminal.options().limit or 0) + 1


class Arranged[Row]:
    """The rows that --sort and --limit leave of a list; all are read, as sums and exit codes are about all.

    Args:
        of: the type of the rows, if the command's document isn't a list of them alone.
    """

    def __init__(self, layout: Layout, rows: Iterable[Row], of: Any = None) -> None:
        self._rows, self._options, self._left_out = rows, terminal.options(), 0
        if (name := self._options.sort) is not None:
            command: Any = click.get_current_context().command
            [of] = [of] if of else get_args(next(iter(command.prints.values())))
            self._rows = _sorted(rows, _value(name, layout, of), name)

    def __iter__(self) -> Iterator[Row]:
        most = self._options.limit
        for number, row in enumerate(self._rows):
            if most is None or number < most:
                yield row
            else:
                self._left_out += 1

    def say_rest(self) -> None:
        if self._left_out:
            terminal.say(f"There are more rows than the {self._options.limit:,} of --limit.")


def _value(name: str, layout: Layout, of: Any) -> Callable[[Any], Any]:
    """What to sort by: a field's own value if there is one, else what the column shows. UsageError without either."""
    columns = {_plain(column.name): column.of for column in layout.columns if column.name}
    fields = {json_name(field): attrgetter(field) for field in of.fields}
    asked = _plain(name.removeprefix("-"))
    if found := (columns | fields).get(asked):
        return found
    names = [*columns, *(field for field in fields if field not in columns)]
    remedy = f"{did_you_mean(asked, names)} name one of {', '.join(names)}".lstrip()
    raise UsageError(f"--sort: the list has no column {name.removeprefix('-')!r}", remedy)


def _plain(name: str) -> str:
    return name.casefold().replace(" ", "_").replace("-", "_")


def _sorted[Row](rows: Iterable[Row], value: Callable[[Row], Any], name: str) -> list[Row]:
    """Sort rows; those without a value come last, from whichever end."""
    held = [(_comparable(value(row)), row) for row in rows]
    found = [pair for pair in held if pair[0] is not None]
    found.sort(key=lambda pair: pair[0] or (), reverse=name.startswith("-"))
    return [row for _, row in found] + [row for key, row in held if key is None]


def _comparable(value: Any) -> tuple[float, str] | None:
    """A number by its size, a list by its length, anything else by its text; None for what is absent."""
    if value is None or value == "":
        return None
    # Not isinstance: DynamoDB's numbers are decimals, and importing those would take too long for the help.
    if hasattr(value, "__float__"):
        return float(value), ""
    if isinstance(value, Collection) and not isinstance(value, str):
        return float(len(value)), ""
    return inf, str(value).casefold()

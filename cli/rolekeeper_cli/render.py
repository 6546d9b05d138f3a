"""Data on stdout in the form that was asked for: a table for people, or JSON, YAML or CSV for programs.

People see a long list while it is read. Programs get one document, which is held until it is whole, as the AWS CLI
does; so does a `--query` (JMESPath).
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import batched, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import click

from rolekeeper.model import escaped_json
from rolekeeper_cli import terminal
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.options import TABLE, WIDE
from rolekeeper_cli.terminal import one_line, printable

if TYPE_CHECKING:
    from rich.console import Console


# ---- tables for people, on stdout ----


# The rows that are drawn at once.
_PAGE = 200
_MARGIN = 2
# What a column that gives way keeps, and the terminal in which notes have a column of their own.
_LEAST, _ROOM = 10, 120


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a list.

    Attributes:
        name: as it stands at the top.
        cell: takes it out of a document; by its name unless told.
        folds: it gives way where the terminal is narrow; others stay whole.
        wide: only `-o wide` has it.
    """

    name: str
    cell: Callable[[Any], object] | None = None
    folds: bool = False
    wide: bool = False

    def of(self, document: Any) -> object:
        """The cell of one row."""
        return self.cell(document) if self.cell else document[self.name.replace(" ", "_").replace("-", "_")]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a list is drawn.

    Attributes:
        columns: its columns.
        note: what there is to say of a row, if anything; empty of one that is fine.
        note_name: as it stands at the top of the notes.
        brief: whether only a note's first clause goes below a row: what follows it, to do, is the same for many rows.
        colour: a row's.
        head: whether the columns' names are drawn.
    """

    columns: Sequence[Column]
    note: Callable[[Any], str] | None = None
    note_name: str = "reason"
    brief: bool = False
    colour: Callable[[Any], str] = lambda _: ""
    head: bool = True


class Listing:
    """Draws a list by pages; its columns are as wide as the pages so far need.

    Args:
        layout: how.
        widest: a document that the columns are made wide enough for beforehand, where rows come one by one.
    """

    def __init__(self, layout: Layout, widest: Any = None) -> None:
        self._layout, self._room = layout, _room()
        wide, below = terminal.options().output == WIDE, self._room is not None and self._room < _ROOM
        self._columns = [each for each in layout.columns if wide or not each.wide]
        self._note = layout.note if below else None
        if layout.note and not below:
            self._columns.append(Column(layout.note_name, layout.note, folds=True))
        self._needs = [len(each.name) if layout.head else 0 for each in self._columns]
        self._has_head = layout.head
        if widest is not None:
            self._widen([self._cells(widest)])

    def draw(self, documents: Sequence[Any]) -> None:
        """Draw a page of rows, the first one below the columns' names."""
        rows = [self._cells(each) for each in documents]
        self._widen(rows)
        for number, lines in groupby(self._lines(rows), itemgetter(0)):
            colour = "" if number is None else self._layout.colour(documents[number])
            for _, text in lines:
                click.echo(click.style(text, fg=colour or None, bold=number is None or None))
            if number is not None and self._note:
                self._draw_note(self._note(documents[number]))
        self._has_head = False

    def _draw_note(self, note: str) -> None:
        from rich.text import Text

        width = (self._room or _ROOM) - _MARGIN
        text = Text(one_line(note.partition("; ")[0] if self._layout.brief else note))
        for line in text.wrap(_console(width), width, overflow="fold") if text else ():
            click.echo(f"{'':{_MARGIN}}{line.plain.rstrip()}")

    def _cells(self, document: Any) -> list[str]:
        return [_table_cell(each.of(document)) for each in self._columns]

    def _widen(self, rows: Iterable[Sequence[str]]) -> None:
        from rich.cells import cell_len

        for row in rows:
            self._needs = [max(need, cell_len(cell)) for need, cell in zip(self._needs, row, strict=True)]

    def _lines(self, rows: Iterable[Sequence[str]]) -> Iterator[tuple[int | None, str]]:
        """The lines of a page, each with its row's number; those of the head have none."""
        from rich.style import Style
        from rich.table import Table
        from rich.text import Text

        folds = [each.folds and self._room is not None for each in self._columns]
        least = [min(need, _LEAST) if fold else need for need, fold in zip(self._needs, folds, strict=True)]
        table = Table(box=None, pad_edge=False, padding=(0, _MARGIN, 0, 0), show_header=self._has_head)
        for column, fold, width in zip(self._columns, folds, least, strict=True):
            table.add_column(Text(column.name.upper()), no_wrap=not fold, overflow="fold", min_width=width)
        for number, row in enumerate(rows):
            table.add_row(*map(Text, row), style=Style(meta={"row": number}))
        # What stays whole may be wider than the terminal.
        console = _console(max(self._room or 0, sum(least) + _MARGIN * (len(least) - 1)))
        for line in console.render_lines(table, pad=False):
            style = line[0].style if line else None
            yield style.meta.get("row") if style else None, "".join(each.text for each in line).rstrip()


def stream_list(layout: Layout, documents: Iterable[Any]) -> int:
    """Draw a list of any length, a page when it is there. Returns how many rows it had."""
    listing, count = Listing(layout), 0
    for page in batched(documents, _PAGE):
        listing.draw(page)
        count += len(page)
    return count


def show_table(head: Sequence[str], rows: Iterable[Sequence[object]], whole: int = 1) -> None:
    """A short table; on a terminal, all but its first columns give way.

    Args:
        head: the names of the columns; none are written where all are empty.
        rows: the rows.
        whole: the number of the columns that stay whole.
    """
    columns = [Column(name, itemgetter(at), folds=at >= whole) for at, name in enumerate(head)]
    Listing(Layout(columns, head=any(head))).draw(list(rows))


def _room() -> int | None:
    """The columns that a table has room in; None for as many as it takes."""
    return None if terminal.options().output == WIDE else terminal.width()


def _console(width: int) -> "Console":
    from rich.console import Console

    return Console(width=width, color_system=None, legacy_windows=False)


def _table_cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
    return one_line(str(value))


# ---- data on stdout in the form that was asked for ----


type Document = Mapping[str, Any]


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
        layout: how people see it.
        documents: the rows, all with the same fields.
        empty: says to people, of a list without rows, that it has none and what they can do.
        total: says to people, below the rows, what they come to.
    """
    options = terminal.options()
    if not options.for_people:
        show(list(documents), lambda: None)
    elif stream_list(layout, documents):
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
        documents: the list.
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
    from rolekeeper_cli.uses import files

    # YAML ends a lone scalar with a line of its own.
    return files.dumped(_simple(document)).removesuffix("...\n")


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
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        found = jmespath.search(query, _simple(document))
    except JMESPathError as error:
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
        show_table(names, [[_cell(each.get(name)) for name in names] for each in rows])
    elif rows and all(isinstance(each, list) and len(each) == len(rows[0]) for each in rows):
        show_table([""] * len(rows[0]), [[_cell(cell) for cell in each] for each in rows])
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

"""Mappings as a CSV file, for spreadsheets: a line of column names, then a line for each mapping.

Spreadsheets change what they take for a number, a date or a formula: 007 becomes 7, 1-2 becomes a day, and
=HYPERLINK(…) runs (OWASP, "CSV Injection"). So a text that might be one is written with an apostrophe before it, which
keeps it a text there; one apostrophe is taken off when a file is read. Cells are as `text_cells` says; an empty cell is
no value. Spreadsheets of some countries write semicolons between cells, or tabs: the first line tells.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping

from rolekeeper.mappings.rows.cells import CellError
from rolekeeper.model.problem import Problem
from rolekeeper_cli.csv_lines import csv_line
from rolekeeper_cli.files.entry import FILE_COLUMNS, Entry, FileError
from rolekeeper_cli.files.text_cells import Attribute, from_text, to_text

_DELIMITERS = ",;\t"
_REQUIRED = ("tag_key", "tag_value", "role")
_MARK = "'"
_MONTH = re.compile(r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[-. /]?\d", re.IGNORECASE)
_BYTE_ORDER_MARK = "\ufeff"


def read(text: str, name: str) -> Iterator[Entry]:
    """The rows of a file.

    Raises:
        FileError: it isn't CSV, or its first line doesn't name the columns.
    """
    first = text.lstrip("\r\n").splitlines()[0]
    delimiter = max(_DELIMITERS, key=first.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    head: list[str] = []
    before = 0
    try:
        for cells in lines:
            # A cell may hold line ends; a row is where it begins.
            line, before = before + 1, lines.line_num
            if not any(each.strip() for each in cells):
                continue
            if head:
                yield _entry(head, cells, line)
            else:
                head = _head(cells, f"{name}:{line}")
    except csv.Error as error:
        raise FileError(f"{name}:{lines.line_num}: isn't CSV: {error}", "look at the quotes in that line") from error


def write(rows: Iterable[Mapping[str, Attribute]]) -> str:
    """A file of these rows, in DynamoDB's form, in their order."""
    lines = [csv_line(FILE_COLUMNS)]
    lines += [csv_line(_cell(row[name]) if name in row else "" for name in FILE_COLUMNS) for row in rows]
    written = "".join(lines)
    # Excel takes a file for UTF-8 only with the mark; plain ASCII needs none.
    return written if written.isascii() else _BYTE_ORDER_MARK + written


def _head(cells: list[str], place: str) -> list[str]:
    head = [each.strip() for each in cells]
    if missing := [each for each in _REQUIRED if each not in head]:
        raise FileError(
            f"{place}: the first line doesn't name the column {missing[0]}",
            f"begin with a line of column names: {','.join(FILE_COLUMNS)}",
        )
    if twice := [each for each in head if each and head.count(each) > 1]:
        raise FileError(f"{place}: the first line names {twice[0]} twice", "keep one")
    return head


def _entry(head: list[str], cells: list[str], line: int) -> Entry:
    entry = Entry(line)
    if any(each.strip() for each in cells[len(head) :]):
        what = f"has {len(cells)} cells, and the first line names {len(head)} columns"
        entry.problems.append((line, Problem(what)))
    for name, cell in zip(head, cells, strict=False):
        column = FILE_COLUMNS.get(name)
        if not cell.strip() or not name:
            continue
        try:
            entry.attributes[name] = from_text(column, cell.removeprefix(_MARK)) if column else {"NULL": True}
        except CellError as error:
            entry.problems.append((line, Problem(str(error), column=name)))
    return entry


def _cell(attribute: Attribute) -> str:
    text = to_text(attribute)
    return text if attribute.keys() & {"N", "BOOL"} else _protected(text)


def _protected(text: str) -> str:
    """A text that no spreadsheet takes for anything else."""
    plain = text in {"", "*"} or (
        text[0].isalpha() and not _MONTH.match(text) and text.casefold() not in {"true", "false"}
    )
    return text if plain else f"{_MARK}{text}"

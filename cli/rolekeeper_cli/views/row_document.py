"""A row of the mapping table as a document: plain values, as in a YAML file and in JSON."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rolekeeper.mappings.rows.cells import HomeAccount
from rolekeeper.mappings.rows.columns import COLUMNS, KEYS, Attributes
from rolekeeper.mappings.rows.reader import read_row, row_of
from rolekeeper.model.problem import Problem
from rolekeeper.storage import codec


def plain(attribute: Any) -> Any:
    """A DynamoDB value as YAML and JSON know it; sets are sorted lists."""
    return _simple(codec.from_attributes({"it": attribute})["it"])


def file_row(row: Attributes, home: HomeAccount) -> tuple[Attributes, tuple[Problem, ...]]:
    """A row as it goes into a file: what it says, without defaults. One that can't be read, as it is, and why."""
    verdict = read_row(row, home)
    said = row_of(verdict.spec) if verdict.spec else row
    return {column.name: said[column.name] for column in (*KEYS, *COLUMNS) if column.name in said}, verdict.problems


def row_document(row: Attributes) -> dict[str, Any]:
    """A row as `get` and `ls` show it; what Rolekeeper didn't write, or not so, is null."""
    values = {name: plain(attribute) for name, attribute in row.items()}
    return {
        "mapping": f"{values['tag_key']}={values['tag_value']}",
        "columns": {column.name: values[column.name] for column in (*KEYS, *COLUMNS) if column.name in values},
        **{name: _ours(values.get(name), str) or None for name in ("status", "status_reason")},
        **{name: _ours(values.get(name), int) for name in ("status_revision", "held_revision", "matched")},
    }


def _ours(value: Any, kind: type) -> Any:
    """One of our columns: whoever may write the table may have put anything there, which is nothing of ours."""
    return value if type(value) is kind else None


def _simple(value: Any) -> Any:
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case set():
            return sorted(map(_simple, value))
        case Mapping():
            return {name: _simple(each) for name, each in sorted(value.items())}
        case list():
            return [_simple(each) for each in value]
        case str() | bool() | None:
            return value
    return "(Binary that can't be shown)"

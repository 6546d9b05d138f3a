"""Reading a row of the mapping table: a mapping with warnings, or everything that is wrong with it. Pure."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from rolekeeper.mappings.rows.cells import CellError, HomeAccount, cell_of, quote
from rolekeeper.mappings.rows.columns import ASKS, COLUMNS, KEYS, OURS, Attributes, Column
from rolekeeper.model import ANY_VALUE, RESERVED, MappingKey, MappingSpec

KNOWN = tuple(column.name for column in (*KEYS, *COLUMNS, *ASKS))
# What the mapping itself says is in the other columns.
_BESIDE = frozenset({*OURS, *(column.name for column in ASKS)})
# A row may hold thousands of unknown columns; the first few tell what happened.
_UNKNOWN_SHOWN = 5
_SHORTEST_WORD, _LONGEST_NAME = 3, 64
_SETS = frozenset({"SS", "NS", "BS"})


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """What a row says: a mapping, or all the problems that keep it from being one.

    Warnings go with either, and so does what people ask: `approve` is the revision that may be served (0: none),
    `edited_by` who made the edit.
    """

    spec: MappingSpec | None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    approve: int = 0
    edited_by: str = ""


def read_row(attributes: Attributes, home: HomeAccount) -> ParsedRow:
    """Read a row as DynamoDB's low-level API gives it.

    Args:
        attributes: the item, as `{"role": {"S": "web"}, …}`.
        home: our own account and partition, to tell whose an ARN is.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    warnings: list[str] = []
    for column in (*KEYS, *COLUMNS):
        if column.name not in attributes:
            if column.default == "required":
                problems.append(f"{column.name}: is missing; give {column.kind.range}")
            continue
        try:
            values[column.name] = _read(column, attributes[column.name], home, warnings)
        except CellError as error:
            problems.append(f"{column.name}: {error}")
    asks: dict[str, Any] = {}
    for column in ASKS:
        if column.name in attributes:
            try:
                asks[column.name] = _read(column, attributes[column.name], home, warnings)
            except CellError as error:
                warnings.append(f"{column.name}: {error}")
    warnings += _about_unknown(attributes)
    if problems:
        return ParsedRow(None, tuple(problems), tuple(warnings), **asks)
    key = MappingKey(values.pop("tag_key"), values.pop("tag_value"))
    spec = MappingSpec(key=key, **values)
    return ParsedRow(spec, (), (*warnings, *_about_sense(spec)), **asks)


def _read(column: Column, attribute: Any, home: HomeAccount, warnings: list[str]) -> Any:
    cell = cell_of(attribute, home)
    value = column.kind.value(cell)
    warnings += [f"{column.name}: {each}" for each in cell.warnings]
    return value


def _about_unknown(attributes: Attributes) -> list[str]:
    unknown = sorted(attributes.keys() - set(KNOWN) - set(OURS))
    said = []
    for name in unknown[:_UNKNOWN_SHOWN]:
        close = _close_to(name)
        meant = f"; did you mean {close}?" if close else ""
        said.append(f"unknown column {quote(name)} is not used{meant}")
    if more := len(unknown) - _UNKNOWN_SHOWN:
        said += [f"and {more:,} more unknown columns"] if more > 0 else []
    return said


def _close_to(name: str) -> str:
    """The column that was probably meant: the only one that holds the word, or the most alike; empty for none."""
    word = name.casefold()[:_LONGEST_NAME]
    holding = [known for known in KNOWN if word in known or known in word] if len(word) >= _SHORTEST_WORD else []
    return holding[0] if len(holding) == 1 else next(iter(get_close_matches(word, KNOWN, n=1)), "")


def _about_sense(spec: MappingSpec) -> list[str]:
    """What is allowed and yet surely not meant."""
    said = []
    if spec.instance_profile and not spec.carries_role:
        said.append(f"instance_profile: is not used, as role is {spec.role}")
    if ANY_VALUE in spec.key.tag_key:
        said.append(f"tag_key: {quote(spec.key.tag_key)} is that very key: only a value takes * for any")
    if starred := sorted(each for each in spec.require_tags if ANY_VALUE in each):
        said.append(f"require_tags: {quote(starred[0])} is that very key: only a value takes * for any")
    if reserved := sorted(each for each in spec.require_tags if each.startswith(RESERVED)):
        said.append(f"require_tags: {quote(reserved[0])} is a tag for Rolekeeper itself, and means no role")
    asked = spec.require_tags.get(spec.key.tag_key, ANY_VALUE)
    if ANY_VALUE not in (asked, spec.key.tag_value) and asked != spec.key.tag_value:
        said.append(f"require_tags: asks for {spec.key.tag_key}={asked} beside {spec.key}, which no instance can carry")
    return said


def row_of(spec: MappingSpec) -> dict[str, Any]:
    """The row that says this mapping, its defaults left out: `read_row` gives the mapping back.

    Returns:
        The item as DynamoDB's low-level API takes it.
    """
    plain = MappingSpec(spec.key, spec.role)
    row: dict[str, Any] = {"tag_key": {"S": spec.key.tag_key}, "tag_value": {"S": spec.key.tag_value}}
    for column in COLUMNS:
        value = getattr(spec, column.name)
        if column.default == "required" or value != getattr(plain, column.name):
            row[column.name] = {column.kind.type: _written(value)}
    return row


def _written(value: Any) -> Any:
    """A column's value as it stands under its DynamoDB type."""
    match value:
        case bool():
            return value
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case frozenset():
            return sorted(value)
        case Mapping():
            return {name: {"S": each} for name, each in value.items()}
    return str(value)


def content(attributes: Attributes) -> dict[str, Any]:
    """What the mapping itself says, sets in order: without our columns and what people ask beside it."""
    return {name: _ordered(value) for name, value in attributes.items() if name not in _BESIDE}


def _ordered(attribute: Any) -> Any:
    """An attribute value with every set in order; DynamoDB promises none."""
    if not isinstance(attribute, Mapping):
        return attribute
    return {
        kind: sorted(value, key=repr)
        if kind in _SETS
        else {name: _ordered(each) for name, each in value.items()}
        if kind == "M"
        else [_ordered(each) for each in value]
        if kind == "L"
        else value
        for kind, value in attribute.items()
    }


def fingerprint(attributes: Attributes) -> str:
    """A short text that is equal for two rows with equal `content`."""
    text = json.dumps(content(attributes), sort_keys=True, default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

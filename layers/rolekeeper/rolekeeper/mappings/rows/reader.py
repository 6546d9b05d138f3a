"""Reading a row of the mapping table: a mapping with warnings, or everything that is wrong with it. Pure."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

from rolekeeper.mappings.rows.columns import (
    ASKS,
    COLUMNS,
    KEYS,
    OURS,
    Attributes,
    CellError,
    Column,
    HomeAccount,
    cell_of,
    quote,
)
from rolekeeper.model.mapping import ANY_VALUE, NO_ROLE, RESERVED, MappingKey, MappingSpec, PublishedMapping
from rolekeeper.model.problem import Problem

_KNOWN = tuple(column.name for column in (*KEYS, *COLUMNS, *ASKS))
# What the mapping itself says is in the other columns.
_BESIDE = frozenset({*OURS, *(column.name for column in ASKS)})
# A row may hold thousands of unknown columns; the first few tell what happened.
_UNKNOWN_SHOWN = 5
_SHORTEST_WORD, _LONGEST_NAME = 3, 64
_SETS = ("SS", "NS", "BS")
# The longest value of a column that a change shows whole.
SHOWN = 80
# An item has 400 KB (DynamoDB, "Service quotas"): in a row of more bytes than this our columns may have no room.
ITEM_KB = 400
FULL = (ITEM_KB - 8) * 1024


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """What a row says: a mapping, or all the problems that keep it from being one; and what people ask for."""

    spec: MappingSpec | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    approve: int = 0
    approved_by: str = ""
    discard: int = 0
    edited_by: str = ""


def read_row(attributes: Attributes, home: HomeAccount) -> ParsedRow:
    """Read a row as DynamoDB's low-level API gives it; an empty one, where there is none, has problems."""
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for column in (*KEYS, *COLUMNS, *ASKS):
        if column.name not in attributes:
            if column.default == "required":
                problems.append(Problem("is missing", f"give {column.kind.range}", column=column.name))
            continue
        try:
            cell = cell_of(attributes[column.name], home)
            values[column.name] = column.kind.read(cell)
            warnings += [Problem(each, column=column.name) for each in cell.warnings]
        except CellError as error:
            said = warnings if column in ASKS else problems
            said.append(Problem(str(error), column=column.name))
    warnings += _about_unknown(attributes)
    if (size := size_of(attributes)) > FULL:
        what = f"the row has {size / 1024:.0f} KB, and with {ITEM_KB} it has no room for its status"
        remedy = f"shorten it to at most {FULL // 1024} KB: rolekeeper mapping get shows the status until then"
        problems.append(Problem(what, remedy))
    asks = {column.name: values.pop(column.name) for column in ASKS if column.name in values}
    if problems:
        return ParsedRow(None, tuple(problems), tuple(warnings), **asks)
    key = MappingKey(values.pop("tag_key"), values.pop("tag_value"))
    spec = MappingSpec(key=key, **values)
    return ParsedRow(spec, (), (*warnings, *_about_sense(spec)), **asks)


def size_of(value: Any) -> int:
    """About how many bytes DynamoDB counts for a row, never fewer."""
    match value:
        case str():
            return len(value.encode("utf-8", "surrogatepass"))
        case bytes():
            return len(value)
        case Mapping():
            return sum(size_of(name) + size_of(each) for name, each in value.items())
        case list():
            return sum(1 + size_of(each) for each in value)
    return 1


def _about_unknown(attributes: Attributes) -> list[Problem]:
    unknown = sorted(attributes.keys() - set(_KNOWN) - set(OURS))
    said = []
    for name in unknown[:_UNKNOWN_SHOWN]:
        word = name.casefold()[:_LONGEST_NAME]
        # The only column that holds the word was meant, or else the most alike.
        holding = [known for known in _KNOWN if word in known or known in word] if len(word) >= _SHORTEST_WORD else []
        close = holding if len(holding) == 1 else get_close_matches(word, _KNOWN, n=1)
        meant = f"did you mean {close[0]}?" if close else ""
        said.append(Problem(f"unknown column {quote(name)} is not used", meant))
    if len(unknown) > _UNKNOWN_SHOWN:
        said.append(Problem(f"and {len(unknown) - _UNKNOWN_SHOWN:,} more unknown columns"))
    return said


def _about_sense(spec: MappingSpec) -> list[Problem]:
    """Warnings about what is allowed but probably a mistake."""
    said = list[tuple[str, str]]()
    if spec.instance_profile and spec.role == NO_ROLE:
        said.append(("instance_profile", f"is not used, as role is {spec.role}"))
    if ANY_VALUE in spec.key.tag_key:
        said.append(("tag_key", f"{quote(spec.key.tag_key)} is that very key: only a value takes * for any"))
    if starred := sorted(each for each in spec.require_tags if ANY_VALUE in each):
        said.append(("require_tags", f"{quote(starred[0])} is that very key: only a value takes * for any"))
    if reserved := sorted(each for each in spec.require_tags if each.startswith(RESERVED)):
        said.append(("require_tags", f"{quote(reserved[0])} is a tag for Rolekeeper itself, and means no role"))
    asked = spec.require_tags.get(spec.key.tag_key, ANY_VALUE)
    if ANY_VALUE not in (asked, spec.key.tag_value) and asked != spec.key.tag_value:
        what = f"asks for {spec.key.tag_key}={asked} beside {spec.key}, which no instance can carry"
        said.append(("require_tags", what))
    return [Problem(what, column=column) for column, what in said]


def row_of(spec: MappingSpec) -> dict[str, Any]:
    """The low-level item that says this mapping, its defaults left out: `read_row` gives the mapping back."""
    row: dict[str, Any] = {"tag_key": {"S": spec.key.tag_key}, "tag_value": {"S": spec.key.tag_value}}
    for column, _, value in _differing(MappingSpec(spec.key, ""), spec):
        row[column.name] = {column.kind.type: _written(value)}
    return row


def _written(value: Any) -> Any:
    match value:
        case bool():
            return value
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case frozenset():
            return sorted(value)
        case Mapping():
            return {name: {"S": each} for name, each in value.items()}
    return str(value)


def content(attributes: Attributes) -> dict[str, Any]:
    """The mapping's own columns, with sets in order: without ours, and without what people ask for."""
    return {name: _ordered(value) for name, value in attributes.items() if name not in _BESIDE}


def _ordered(value: Any) -> Any:
    """An attribute value with every set in order; DynamoDB promises none."""
    if isinstance(value, list):
        return [_ordered(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    # Under an attribute of that name in a map there is no list, but its type and value.
    return {
        name: sorted(each, key=repr) if name in _SETS and isinstance(each, list) else _ordered(each)
        for name, each in value.items()
    }


def fingerprint(attributes: Attributes) -> str:
    """A short text that is equal for two rows with equal `content`."""
    text = json.dumps(content(attributes), sort_keys=True, default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def changes(before: PublishedMapping | None, after: PublishedMapping) -> list[str]:
    """The columns that differ between two revisions or tombstones, each as `role: web → db`; None before the first."""
    if after.deleted:
        return ["the row was deleted"]
    if before is None or before.deleted:
        said = ["a new row" if before is None else "the row is back"]
        plain = MappingSpec(after.key, "")
        return said + [f"{column.name}: {_shown(now)}" for column, _, now in _differing(plain, after.spec)]
    differing = _differing(before.spec, after.spec)
    said = [f"{column.name}: {_shown(was)} → {_shown(now)}" for column, was, now in differing]
    if before.profile_arn != after.profile_arn and before.spec.profile_name == after.spec.profile_name:
        said.append(f"the instance profile: {before.profile_arn or 'none'} → {after.profile_arn or 'none'}")
    return said


def _differing(before: MappingSpec, after: MappingSpec) -> list[tuple[Column, Any, Any]]:
    both = [(column, getattr(before, column.name), getattr(after, column.name)) for column in COLUMNS]
    return [(column, was, now) for column, was, now in both if was != now]


def _shown(value: Any) -> str:
    match value:
        case bool():
            text = str(value).lower()
        case frozenset():
            text = ", ".join(_written(value))
        case Mapping():
            text = ", ".join(f"{key}={each}" for key, each in sorted(value.items()))
        case _:
            text = "" if value is None else _written(value)
    return (text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…") or "none"

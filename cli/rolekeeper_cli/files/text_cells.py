r"""A column's value as text: in `mapping set`, in the console's forms, and where a difference is shown.

Sets are words between semicolons; what is read may as well have blanks, commas or line ends between them. Tags are
`key=value` between semicolons, with a backslash before a semicolon, a backslash, or a `=` within a key.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rolekeeper.mappings.rows.cells import CellError, quote
from rolekeeper.mappings.rows.columns import Column

type Attribute = Mapping[str, Any]
"""A low-level DynamoDB value, as `{"S": "web"}`."""

_BETWEEN = re.compile(r"[;,\s]+")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# A run of characters and backslash pairs up to a semicolon that stands for itself.
_TAG = re.compile(r"(?:[^;\\]|\\.)+", re.DOTALL)
_KEY = re.compile(r"(?:[^=\\]|\\.)*", re.DOTALL)


def from_text(column: Column, text: str) -> Attribute:
    """What a text says in a column; whether the column takes it is for `read_row`.

    Raises:
        CellError: it has no meaning there.
    """
    match column.kind.type:
        case "BOOL":
            if text.casefold() not in {"true", "false"}:
                raise CellError(f"is {quote(text)}; write true or false")
            return {"BOOL": text.casefold() == "true"}
        case "SS":
            return {"SS": [each for each in _BETWEEN.split(text) if each]}
        case "M":
            return {"M": dict(_tags(text))}
    return {column.kind.type: text}


def to_text(attribute: Attribute) -> str:
    """The text of a value: what `from_text` reads back, for the types that columns have."""
    ((kind, value),) = attribute.items()
    match kind:
        case "BOOL":
            return "true" if value else "false"
        case "SS" | "NS":
            return ";".join(sorted(value))
        case "M" if all(set(each) == {"S"} for each in value.values()):
            tags = sorted((key, each["S"]) for key, each in value.items())
            return ";".join(f"{_escape(key, ';=')}={_escape(each, ';')}" for key, each in tags)
        case "S" | "N":
            return str(value)
    return json.dumps(value, default=repr, ensure_ascii=False)


def _tags(text: str) -> Iterator[tuple[str, Attribute]]:
    if (len(text) - len(text.rstrip("\\"))) % 2:
        raise CellError("ends with a backslash that stands before nothing; write two for one")
    seen = set()
    for each in _TAG.findall(text):
        if not each.strip():
            continue
        key = _KEY.match(each)
        assert key  # it matches nothing, too
        if len(key[0]) == len(each):
            raise CellError(f"holds {quote(each)}; write key=value, with ; between them")
        # No tag of an instance begins or ends with a blank, so those beside a separator are the writer's.
        name, value = (_ESCAPED.sub(r"\1", part.strip()) for part in (key[0], each[len(key[0]) + 1 :]))
        if name in seen:
            raise CellError(f"names {quote(name)} twice")
        seen.add(name)
        yield name, {"S": value}


def _escape(text: str, special: str) -> str:
    return "".join(f"\\{each}" if each in f"\\{special}" else each for each in text)

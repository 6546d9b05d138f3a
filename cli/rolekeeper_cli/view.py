"""Views: what is known of a noun, as a frozen dataclass. `-o json` is its fields; the help and a schema list them.

A field that has a default is left out of JSON while its value is that. A name that Python keeps for itself ends with
`_`, which JSON leaves away. Each field says in its type, by `Annotated`, what it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAliasType, Union, get_args, get_origin

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

type Schema = Mapping[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}


def mapping_of(view: DataclassInstance) -> dict[str, Any]:
    """Return a view's fields by name, as JSON has them."""
    found = ((each, getattr(view, each.name)) for each in fields(view))
    return {json_name(each): value for each, value in found if each.default is MISSING or value != each.default}


def json_name(field: Field[Any]) -> str:
    return field.name.removesuffix("_")


def shapes(document: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield each object of a document, by its path such as `[]` or `roles[]`, with the names of its fields."""
    yield from _shapes("", document)


def _shapes(path: str, hint: Any) -> Iterator[tuple[str, list[str]]]:
    for each in _alternatives(hint):
        if is_dataclass(each):
            yield path, [json_name(field) for field in fields(each)]
            for field in fields(each):
                yield from _shapes(f"{path}.{json_name(field)}".removeprefix("."), field.type)
        elif isinstance(origin := get_origin(each), type) and issubclass(origin, Mapping):
            yield from _shapes(f"{path}.*", get_args(each)[1])
        elif isinstance(origin, type):
            yield from _shapes(f"{path}[]", get_args(each)[0])


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the types of which a value may be, without their descriptions."""
    if isinstance(hint, TypeAliasType):
        return _alternatives(hint.__value__)
    if get_origin(hint) is Annotated:
        return _alternatives(get_args(hint)[0])
    if get_origin(hint) in {Union, UnionType}:
        return tuple(kind for each in get_args(hint) for kind in _alternatives(each))
    return (hint,)


def schema_of(hint: Any) -> dict[str, Any]:
    """Return the JSON Schema of a type, of a view or of a list of views."""
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        return {**schema_of(inner), "description": notes[0]}
    kinds = [_schema(each) for each in _alternatives(hint)]
    if len(kinds) == 1:
        return kinds[0]
    if all(each.keys() == {"type"} for each in kinds):
        return {"type": [each["type"] for each in kinds]}
    return {"anyOf": kinds}


def _schema(kind: Any) -> dict[str, Any]:
    origin = get_origin(kind) or kind
    if kind is Any:
        return {}
    if origin is Literal:
        return {"enum": list(get_args(kind))}
    if is_dataclass(kind) and isinstance(kind, type):
        return object_schema(kind)
    if origin is datetime:
        return {"type": "string", "format": "date-time"}
    if issubclass(origin, Enum):
        return {"enum": [each.value for each in origin]}
    if origin in _TYPES:
        return {"type": _TYPES[origin]}
    if issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": schema_of(get_args(kind)[1])}
    if issubclass(origin, Collection):
        return {"type": "array", "items": schema_of(get_args(kind)[0])}
    # A value that is shown by its text, such as a mapping's key.
    return {"type": "string"}


def document_schema(noun: str, document: Any) -> dict[str, Any]:
    """Return the schema of a document as a whole, for other programs."""
    return {"$schema": DRAFT, "title": f"rolekeeper: {noun}", **schema_of(document)}


@cache
def object_schema(view: type[Any]) -> dict[str, Any]:
    """Return the schema of a view: of all its fields, and of no other."""
    return {
        "type": "object",
        "properties": {json_name(each): schema_of(each.type) for each in fields(view)},
        "required": [json_name(each) for each in fields(view) if each.default is MISSING],
        "additionalProperties": False,
    }

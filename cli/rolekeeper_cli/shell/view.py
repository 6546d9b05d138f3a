"""Views: what is known of a noun. `-o json` is a view's fields; the help and a JSON Schema list them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Self, Union, dataclass_transform, get_args, get_origin

type Schema = Mapping[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}


@dataclass_transform(kw_only_default=True, frozen_default=True)
class View:
    """Values with declared fields: for a type checker a frozen dataclass. By `Annotated` each field says what it is.

    A field that has a default is left out of JSON while its value is that. A name that Python keeps for itself ends
    with `_`, which JSON leaves away. `dataclass` itself compiles code for each class, for a millisecond, and the help
    of a command that lists fields would need thirty.
    """

    fields: ClassVar[Mapping[str, Any]] = {}
    defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        cls.fields = {**cls.fields, **cls.__annotations__}
        cls.defaults = {name: getattr(cls, name) for name in cls.fields if hasattr(cls, name)}

    def __init__(self, **values: Any) -> None:
        given = self.defaults | values
        if wrong := given.keys() ^ self.fields.keys():
            raise TypeError(f"{type(self).__name__} lacks, or doesn't have, {', '.join(wrong)}")
        self.__dict__.update(given)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} can't become {value!r}: a view doesn't change")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # its values may be lists

    def __repr__(self) -> str:
        return f"{type(self).__name__}({vars(self)})"

    @classmethod
    def of_nothing(cls) -> Self:
        """Return one of which nothing is known."""
        nothing: dict[str, Any] = dict.fromkeys(cls.fields)
        return cls(**nothing)

    def but(self, **changes: Any) -> Self:
        """Return the same with other values of some fields."""
        return type(self)(**vars(self) | changes)

    def as_mapping(self) -> dict[str, Any]:
        """Return the fields by name, as JSON has them."""
        found = {name: getattr(self, name) for name in self.fields}
        left_out = {name for name, value in self.defaults.items() if value == found[name]}
        return {json_name(name): value for name, value in found.items() if name not in left_out}


def json_name(name: str) -> str:
    return name.removesuffix("_")


def shapes(document: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield each object of a type of document, by its path such as `[]` or `roles[]`, with the names of its fields."""
    for kind in _alternatives(document):
        origin = get_origin(kind)
        if _is_view(kind):
            yield path, list(map(json_name, kind.fields))
            for name, of_field in kind.fields.items():
                yield from shapes(of_field, f"{path}.{json_name(name)}".removeprefix("."))
        elif isinstance(origin, type) and issubclass(origin, Mapping):
            yield from shapes(get_args(kind)[1], f"{path}.*")
        elif isinstance(origin, type):
            yield from shapes(get_args(kind)[0], f"{path}[]")


def _is_view(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, View)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the types of which a value may be, without their descriptions."""
    if get_origin(hint) is Annotated:
        return _alternatives(get_args(hint)[0])
    if get_origin(hint) in {Union, UnionType}:
        return tuple(kind for each in get_args(hint) for kind in _alternatives(each))
    return (hint,)


def document_schema(noun: str, document: Any) -> dict[str, Any]:
    return {"$schema": DRAFT, "title": f"rolekeeper: {noun}", **schema_of(document)}


def schema_of(hint: Any) -> dict[str, Any]:
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        return {**schema_of(inner), "description": notes[0]}
    kinds = [_schema(kind) for kind in _alternatives(hint)]
    if len(kinds) == 1:
        return kinds[0]
    if all(kind.keys() == {"type"} for kind in kinds):
        return {"type": [kind["type"] for kind in kinds]}
    return {"anyOf": kinds}


def _schema(kind: Any) -> dict[str, Any]:
    origin = get_origin(kind) or kind
    if kind is Any:
        return {}
    if _is_view(kind):
        return {
            "type": "object",
            "properties": {json_name(name): schema_of(of_field) for name, of_field in kind.fields.items()},
            "required": [json_name(name) for name in kind.fields if name not in kind.defaults],
            "additionalProperties": False,
        }
    if origin is datetime:
        return {"type": "string", "format": "date-time"}
    if issubclass(origin, Enum):
        return {"enum": [member.value for member in origin]}
    if issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": schema_of(get_args(kind)[1])}
    if origin is not str and issubclass(origin, Collection):
        return {"type": "array", "items": schema_of(get_args(kind)[0])}
    return {"type": _TYPES[origin]}

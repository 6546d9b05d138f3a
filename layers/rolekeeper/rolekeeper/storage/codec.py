"""How the domain's values are stored in the state table: DynamoDB attribute values, and back.

A value is stored field by field, by its type hints. Items have the version of their format.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from decimal import Context, Decimal, Inexact, InvalidOperation
from enum import StrEnum
from functools import cache, partial
from typing import Any

from rolekeeper.model import escaped
from rolekeeper.model.instance import AppliedChange, Condition, Grant, InstanceKey, InstanceRecord, Timer
from rolekeeper.model.mapping import Held, MappingKey, Pin, PublishedMapping
from rolekeeper.storage import layout

type Item = dict[str, Any]

VERSION = 2  # of the format, in each record and each mapping that is published or held
# Up to 38 significant digits, and nothing that is rounded (DynamoDB developer guide, "Data types").
_number = Context(prec=38, traps=[Inexact, InvalidOperation]).create_decimal


def attribute(value: Any) -> dict[str, Any]:
    """A plain value as DynamoDB's; TypeError or a decimal's ArithmeticError for one that it doesn't know."""
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case int() | Decimal():
            return {"N": str(_number(value))}
        case str():
            return {"S": value}
        case bytes():
            return {"B": value}
        case Mapping():
            return {"M": to_attributes(value)}
        case list() | tuple():
            return {"L": [attribute(each) for each in value]}
        case set() | frozenset():
            members = [member for each in value for member in attribute(each).items()]
            kinds = {kind for kind, _ in members}
            if len(kinds) == 1 and kinds < {"S", "N", "B"}:
                return {f"{kinds.pop()}S": [each for _, each in members]}
    raise TypeError(f"DynamoDB has no value like {value!r:.40}")


def plain(stored: Mapping[str, Any]) -> Any:
    """A value of DynamoDB's as a plain one: numbers as Decimal, sets as sets."""
    ((kind, value),) = stored.items()
    match kind:
        case "S" | "B" | "BOOL":
            return value
        case "N":
            return _number(value)
        case "NULL":
            return None
        case "M":
            return from_attributes(value)
        case "L":
            return [plain(each) for each in value]
        case "SS" | "BS":
            return set(value)
        case "NS":
            return set(map(_number, value))
    raise TypeError(f"{kind!r:.40} is no type of DynamoDB's")


def to_attributes(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: attribute(value) for name, value in item.items()}


def from_attributes(attributes: Mapping[str, Any]) -> Item:
    return {name: plain(value) for name, value in attributes.items()}


def encode(value: Any) -> Any:
    """A value as DynamoDB stores it: a map for a dataclass, without its fields that aren't set."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return {name: encode(each) for name, each in named.items() if each is not None}
    match value:
        case StrEnum():
            return value.value
        case datetime():
            return layout.timestamp(value)
        case Mapping():
            return {name: encode(each) for name, each in value.items()}
        case frozenset():
            return sorted(value)
    return value


def decode[T](kind: type[T], item: Mapping[str, Any]) -> T:
    """What `encode` wrote, absent fields by their defaults; KeyError, TypeError or ValueError where it isn't that."""
    hints = _hints(kind)  # type: ignore[arg-type]  # a class is hashable
    return kind(**{name: _reader(hint)(item[name]) for name, hint in hints.items() if name in item})


_hints = cache(typing.get_type_hints)


@cache
def _reader(hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        # The only unions are with None.
        (inner,) = (_reader(each) for each in arguments if each is not types.NoneType)
        return lambda value: None if value is None else inner(value)
    if origin in (frozenset, list, tuple):  # a tuple of any length, of one kind
        member = _reader(arguments[0])
        return lambda value: origin(map(member, _list(value)))
    if origin is not None and issubclass(origin, Mapping):
        return lambda value: {_text(name): _text(each) for name, each in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return partial(decode, hint)
    return {datetime: datetime.fromisoformat, bool: _boolean, str: _text}.get(hint, hint)  # an enum reads itself


def _checked(kind: type, name: str, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.40} is no {name}")
    return value


_text, _list = partial(_checked, str, "text"), partial(_checked, list, "list")
_boolean = partial(_checked, bool, "Boolean")


def record_from(item: Mapping[str, Any]) -> InstanceRecord:
    grants = [decode(Grant, each) for each in _under(item, layout.GRANT)]
    changes = [decode(AppliedChange, each) for each in _under(item, layout.CHANGE)]
    shown = item.get(layout.CONDITION)
    return InstanceRecord(
        grants={each.profile_arn: each for each in grants},
        condition=decode(Condition, shown) if shown else None,
        changes=tuple(sorted(changes, key=lambda each: each.at)),
        pin=decode(Pin, item.get(layout.PIN, {"role": ""})),
        writes=int(item.get(layout.WRITES, 0)),
    )


def _under(item: Mapping[str, Any], prefix: str) -> list[Any]:
    return [value for name, value in item.items() if name.startswith(prefix)]


def published_item(mapping: PublishedMapping, account: str) -> Item:
    return {**layout.key_attributes(layout.published_key(mapping.key, account)), **mapping_attributes(mapping)}


def mapping_attributes(mapping: PublishedMapping) -> Item:
    """A mapping as its items hold it, whatever their keys."""
    return {"version": VERSION, **encode(mapping)}


def published_from(item: Mapping[str, Any]) -> PublishedMapping:
    return decode(PublishedMapping, item)


def held_item(held: Held) -> Item:
    """As its mapping would be published, under its own key and with who wrote it."""
    key = layout.key_attributes(layout.held_key(held.mapping.key))
    return {**key, **mapping_attributes(held.mapping), "at": layout.timestamp(held.at), "by": escaped(held.by)}


def held_from(item: Mapping[str, Any]) -> Held:
    return Held(
        published_from(item), datetime.fromisoformat(item["at"]), item["by"], outcome=item.get(layout.OUTCOME, "")
    )


def timer_item(timer: Timer) -> Item:
    kind = "instance" if isinstance(timer.subject, InstanceKey) else "mapping"
    key = layout.key_attributes(layout.timer_key(timer))
    return {**key, "due": layout.timestamp(timer.due), kind: encode(timer.subject)}


def timer_from(item: Mapping[str, Any]) -> Timer:
    subject = decode(InstanceKey, item["instance"]) if "instance" in item else decode(MappingKey, item["mapping"])
    return Timer(datetime.fromisoformat(item["due"]), subject, follows=item["pk"] == layout.FOLLOW_UPS)

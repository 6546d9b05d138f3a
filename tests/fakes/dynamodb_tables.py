"""DynamoDB's tables in memory: the items by key, each partition in the order of its sort keys.

Source: DynamoDB developer guide, "Core components" and "Constraints"; the words of the errors are DynamoDB's.
"""

import operator
import zlib
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fakes.dynamodb_expressions import KeyCondition, Names, Values
from fakes.dynamodb_values import Item, RefusedError, Value, stored_item, text_size

type Key = tuple[str, ...]
"""The key's values in the order of the table's key attributes."""

KEY_BYTES = (2_048, 1_024)


@dataclass(frozen=True, slots=True)
class Row:
    """An item, and how many bytes it takes. It is never changed, only replaced."""

    item: Item
    size: int


# How a sort key may compare with what a query asks for.
MATCHES: dict[str, Callable[[str, str], bool]] = {"<=": operator.le, "begins_with": str.startswith}


@dataclass(slots=True)
class Partition:
    """The items under one partition key, by sort key; `order` has the sort keys in order."""

    name: str
    items: dict[str, Row] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    def at(self, sort: str) -> int:
        """How many sort keys are below this one."""
        return bisect_left(self.order, sort)

    def behind(self, sort: str) -> int:
        """How many sort keys are this one or below."""
        return bisect_right(self.order, sort)

    def range(self, comparison: str, sort: str) -> tuple[int, int]:
        """From where to where in the order the sort keys compare so."""
        if comparison == "begins_with":
            return self.at(sort), bisect_right(self.order, sort, key=lambda each: each[: len(sort)])
        return 0, self.behind(sort)

    def rows(self, low: int = 0, high: int | None = None) -> Iterator[Row]:
        return (self.items[sort] for sort in self.order[low:high])


class Items:
    """A table's items, by partition."""

    def __init__(self) -> None:
        self._partitions: dict[str, Partition] = {}

    def partition(self, pk: str) -> Partition:
        """The items under a partition key; an empty one where there are none."""
        return self._partitions.get(pk) or Partition(pk)

    def find(self, key: Key) -> Row | None:
        partition = self._partitions.get(key[0])
        return partition.items.get(key[-1]) if partition else None

    def keep(self, key: Key, row: Row | None) -> None:
        pk, sort = key[0], key[-1]
        partition = self._partitions.setdefault(pk, Partition(pk))
        if row:
            if sort not in partition.items:
                insort(partition.order, sort)
            partition.items[sort] = row
        elif partition.items.pop(sort, None):
            del partition.order[partition.at(sort)]
        if not partition.items:
            del self._partitions[pk]

    def rows(self, after: Key | None) -> Iterator[Row]:
        for pk in sorted(self._partitions, key=_scattered):
            partition = self._partitions[pk]
            if after is None or _scattered(pk) > _scattered(after[0]):
                yield from partition.rows()
            elif pk == after[0]:
                yield from partition.rows(partition.behind(after[-1]))


class Table:
    """One table. `keys` are the names of its key attributes, the partition's first.

    `past` has each of its items as it was before the last write to it.
    """

    def __init__(self, name: str, keys: tuple[str, ...]) -> None:
        self.name = name
        self.keys = keys
        self.present, self.past = Items(), Items()

    def seen(self, *, consistent: bool) -> Items:
        """The items as a read sees them.

        An eventually consistent read "might not reflect the results of a recently completed write operation" (DynamoDB
        developer guide, "DynamoDB read consistency"): here it never does, so nobody can rely on one.
        """
        return self.present if consistent else self.past

    def keep(self, key: Key, row: Row | None) -> None:
        self.past.keep(key, self.present.find(key))
        self.present.keep(key, row)

    def key(self, given: Mapping[str, Any]) -> Key:
        item = stored_item(given)
        self.refuse_empty(item)
        if item.keys() != set(self.keys):
            raise RefusedError("The provided key element does not match the schema")
        return self.key_in(item)

    def key_in(self, item: Mapping[str, Value]) -> Key:
        for name in self.keys:
            if name not in item:
                raise RefusedError(f"One or more parameter values were invalid: Missing the key {name} in the item")
            if "S" not in item[name]:
                (actual,) = item[name]
                raise RefusedError(
                    "One or more parameter values were invalid: "
                    f"Type mismatch for key {name} expected: S actual: {actual}"
                )
        key = tuple(item[name]["S"] for name in self.keys)
        for part, most, what in zip(key, KEY_BYTES, ("hashkey", "range key"), strict=False):
            if text_size(part) > most:
                raise RefusedError(
                    f"One or more parameter values were invalid: Size of {what} has exceeded the maximum size limit of "
                    f"{most} bytes"
                )
        return key

    def refuse_empty(self, item: Mapping[str, Value]) -> None:
        """Refuse an empty key: input validation does, before a transaction runs (dynamodb-conformance, pull 46)."""
        for name in self.keys:
            if item.get(name) == {"S": ""}:
                raise RefusedError(
                    "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain "
                    f"an empty string value. Key: {name}"
                )

    def asked(self, condition: KeyCondition, names: Names, values: Values) -> tuple[str, str, str]:
        """The partition key that a query is about, and the comparison of its sort keys and with what."""
        tests = {names.get(path, path): (comparison, values[slot]) for path, comparison, slot in condition.conditions}
        equals, pk = tests.pop(self.keys[0], ("", {}))
        comparison, sort = tests.pop(self.keys[-1], ("begins_with", {"S": ""}))
        if equals != "=" or comparison not in MATCHES or tests:
            raise NotImplementedError(f"KeyConditionExpression {condition.conditions}")
        for name, value in ((self.keys[0], pk), *([(self.keys[-1], sort)] if len(condition.conditions) == 2 else ())):
            self.refuse_empty({name: value})
        return pk["S"], comparison, sort["S"]


def _scattered(pk: str) -> tuple[int, str]:
    return zlib.crc32(pk.encode()), pk

"""The state table as DynamoDB gives it: items read and written, with classified errors. What they mean is elsewhere.

`State` (instances), `Revisions` (mappings), `Timers` and `ChangeLimiter` share one store.
"""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import batched
from typing import TYPE_CHECKING, Any

from rolekeeper.aws.errors import CorruptItemError, RetryableError, classified
from rolekeeper.storage import codec, layout
from rolekeeper.storage.codec import Item
from rolekeeper.storage.layout import Key

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient


# BatchGetItem takes at most 100 keys (DynamoDB API reference).
BATCH_KEYS = 100
# UnprocessedKeys are asked for again, never taken for absent; after these waits (seconds) the read has failed.
UNPROCESSED_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)

type Write = dict[str, Any]
"""One write of a transaction, as `Store.put`, `Store.update` and `Store.entry` make it."""


class Store:
    """The state table of one deployment.

    Args:
        client: DynamoDB's.
        table: the table's name.
        history_days: after how many days a history entry expires.
        sleep: waits between attempts, in seconds.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        history_days: int = 90,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._table = table
        self._keep = timedelta(days=history_days)
        self._sleep = sleep

    # ---- reading, always strongly consistent ----

    def get(self, keys: Sequence[Key]) -> dict[Key, Item]:
        """The items under these keys; absent ones are absent.

        Raises:
            RetryableError: some keys stayed unread; they are never taken for absent.
        """
        found: dict[Key, Item] = {}
        for chunk in batched(keys, BATCH_KEYS, strict=False):
            wanted: Any = [_key(key) for key in chunk]
            for wait in (*UNPROCESSED_WAITS, None):
                answer = self._call(
                    "BatchGetItem",
                    self._client.batch_get_item,
                    RequestItems={self._table: {"Keys": wanted, "ConsistentRead": True}},
                )
                for attributes in answer.get("Responses", {}).get(self._table, ()):
                    item = codec.from_attributes(attributes)
                    found[layout.key_of(item)] = item
                wanted = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
                if not wanted:
                    break
                if wait is None:
                    raise RetryableError(
                        "UnprocessedKeys",
                        f"{len(wanted)} keys were not read after {len(UNPROCESSED_WAITS)} more attempts",
                        "dynamodb:BatchGetItem",
                        self._table,
                    )
                self._sleep(wait)
        return found

    def decode[T](self, decode: Callable[[Item], T], item: Item) -> T:
        """What an item means.

        Raises:
            CorruptItemError: it isn't what we wrote.
        """
        try:
            return decode(item)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptItemError(
                "Damaged", f"{item['pk']} {item['sk']}: {error!r}", "dynamodb:BatchGetItem", self._table
            ) from error

    def first(self, pk: str, until: str, limit: int, after: str = "") -> list[Item]:
        """The first items of a partition, in order, up to and including the sort key `until`; those after `after`."""
        arguments: dict[str, Any] = {"KeyConditionExpression": "pk = :pk AND sk <= :sk"}
        if after:
            arguments["ExclusiveStartKey"] = _key((pk, after))
        return self._query(pk, until, ScanIndexForward=True, Limit=limit, **arguments)

    def last(self, pk: str, prefix: str, limit: int) -> list[Item]:
        """The last items of a partition whose sort key begins so, newest first."""
        condition = {"KeyConditionExpression": "pk = :pk AND begins_with(sk, :sk)"}
        return self._query(pk, prefix, ScanIndexForward=False, Limit=limit, **condition)

    def history(self, pk: str, limit: int = 50) -> list[Item]:
        """The newest history entries of an instance or a mapping (`layout.instance_pk`, `layout.mapping_pk`)."""
        return self.last(pk, "history#", limit)

    def _query(self, pk: str, sk: str, **arguments: Any) -> list[Item]:
        values = codec.to_attributes({":pk": pk, ":sk": sk})
        answer = self._call(
            "Query",
            self._client.query,
            TableName=self._table,
            ExpressionAttributeValues=values,
            ConsistentRead=True,
            **arguments,
        )
        return [codec.from_attributes(each) for each in answer["Items"]]

    # ---- writes, to be made alone or in one transaction ----

    def put(self, item: Mapping[str, Any], *, if_higher: str = "", if_same: str = "") -> Write:
        """Put an item.

        Args:
            item: the item.
            if_higher: names a number that must be higher than the one in the item that is replaced.
            if_same: names an attribute that must be equal there, or absent from both.
        """
        put: dict[str, Any] = {"TableName": self._table, "Item": codec.to_attributes(item)}
        if if_higher:
            names, values = {"#number": if_higher}, {":number": item[if_higher]}
            condition = "#number < :number"
            if if_same:
                names["#same"] = if_same
                condition += " AND #same = :same" if if_same in item else " AND attribute_not_exists(#same)"
                values |= {":same": item[if_same]} if if_same in item else {}
            put |= {
                "ConditionExpression": f"attribute_not_exists(pk) OR ({condition})",
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": codec.to_attributes(values),
            }
        return {"Put": put}

    def update(self, key: Key, update: "Update") -> Write:
        """Change attributes of an item, and make it where there is none."""
        return {"Update": {"TableName": self._table, "Key": _key(key), **update.expression()}}

    def delete(self, key: Key) -> Write:
        """Delete an item."""
        return {"Delete": {"TableName": self._table, "Key": _key(key)}}

    def entry(self, pk: str, entry: Mapping[str, Any], at: datetime) -> Write:
        """Put a history entry; it expires."""
        item = {
            **entry,
            "pk": pk,
            "sk": f"history#{layout.timestamp(at)}#{uuid.uuid4().hex[:8]}",
            "at": layout.timestamp(at),
            "expires": int((at + self._keep).timestamp()),
        }
        return self.put(item)

    def write(self, *writes: Write) -> None:
        """Make these writes: one by itself, several in one transaction.

        Raises:
            ConflictError: a condition of one of them doesn't hold; nothing was written.
        """
        if len(writes) > 1:
            self._call("TransactWriteItems", self._client.transact_write_items, TransactItems=list(writes))
            return
        ((kind, arguments),) = writes[0].items()
        if kind == "Put":
            self._call("PutItem", self._client.put_item, **arguments)
        elif kind == "Update":
            self._call("UpdateItem", self._client.update_item, **arguments)
        else:
            self._call("DeleteItem", self._client.delete_item, **arguments)

    def _call(self, operation: str, call: Callable[..., Any], **arguments: Any) -> Any:
        with classified(f"dynamodb:{operation}", self._table):
            return call(**arguments)


def _key(key: Key) -> dict[str, Any]:
    pk, sk = key
    return codec.to_attributes({"pk": pk, "sk": sk})


class Update:
    """A DynamoDB update expression over top-level attributes, with a condition if one is given."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self._clauses: dict[str, list[str]] = {"SET": [], "REMOVE": [], "ADD": [], "DELETE": []}
        self._conditions: list[str] = []

    def __bool__(self) -> bool:
        return any(self._clauses.values())

    def set(self, name: str, value: Any) -> "Update":
        """Set an attribute."""
        self._clauses["SET"].append(f"{self._name(name)} = {self._value(value)}")
        return self

    def add(self, name: str, more: int | frozenset[str]) -> "Update":
        """Add to a number or to a set; an absent one counts as 0, or as empty."""
        self._clauses["ADD"].append(f"{self._name(name)} {self._value(more)}")
        return self

    def discard(self, name: str, fewer: frozenset[str]) -> "Update":
        """Take away from a set; an empty one is gone."""
        self._clauses["DELETE"].append(f"{self._name(name)} {self._value(fewer)}")
        return self

    def remove(self, name: str) -> "Update":
        """Remove an attribute."""
        self._clauses["REMOVE"].append(self._name(name))
        return self

    def only_if(self, name: str, comparison: str, value: Any, *, or_absent: bool = False) -> "Update":
        """Only if an attribute compares so; several must all hold."""
        slot = self._name(name)
        holds = f"{slot} {comparison} {self._value(value)}"
        self._conditions.append(f"(attribute_not_exists({slot}) OR {holds})" if or_absent else holds)
        return self

    def only_if_absent(self, name: str) -> "Update":
        """Only if there is no such attribute."""
        self._conditions.append(f"attribute_not_exists({self._name(name)})")
        return self

    def only_if_present(self, name: str) -> "Update":
        """Only if there is such an attribute, whatever it is."""
        self._conditions.append(f"attribute_exists({self._name(name)})")
        return self

    def expression(self) -> dict[str, Any]:
        """The arguments of `UpdateItem`."""
        clauses = " ".join(f"{verb} {', '.join(each)}" for verb, each in self._clauses.items() if each)
        return {"UpdateExpression": clauses, **self.condition()}

    def condition(self) -> dict[str, Any]:
        """The arguments of `DeleteItem`: the conditions alone."""
        parts: dict[str, Any] = {"ExpressionAttributeNames": self._names}
        if self._values:
            parts["ExpressionAttributeValues"] = codec.to_attributes(self._values)
        if self._conditions:
            parts["ConditionExpression"] = " AND ".join(self._conditions)
        return parts

    def _name(self, name: str) -> str:
        for slot, known in self._names.items():
            if known == name:
                return slot
        slot = f"#n{len(self._names)}"
        self._names[slot] = name
        return slot

    def _value(self, value: Any) -> str:
        slot = f":v{len(self._values)}"
        self._values[slot] = value
        return slot

"""The state table: ours alone. One strongly consistent batch read holds all that a reconcile needs.

Writes to an instance's record are commutative: every intent and every assignment is an attribute of its own, set or
removed by its id. So two racing reconciles can't overwrite each other's, and need no lock beyond the association id.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import batched
from typing import TYPE_CHECKING, Any

from rolekeeper import codec
from rolekeeper.codec import ASSIGNMENT, INTENT, Item, Key
from rolekeeper.errors import DamagedError, RetryableError, classified
from rolekeeper.model import (
    Assignment,
    Control,
    InstanceKey,
    InstanceRecord,
    Intent,
    MappingKey,
    PublishedMapping,
    Standing,
)

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

# BatchGetItem takes at most 100 keys (DynamoDB API reference).
BATCH_KEYS = 100
# UnprocessedKeys are asked for again, never taken for absent; after these waits (seconds) the read has failed.
UNPROCESSED_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent read of the state table."""

    control: Control = field(default_factory=Control)
    records: Mapping[InstanceKey, InstanceRecord] = field(default_factory=dict)
    published: Mapping[MappingKey, PublishedMapping] = field(default_factory=dict)

    def record(self, key: InstanceKey) -> InstanceRecord:
        """An instance's record; an empty one when there is none."""
        return self.records.get(key, InstanceRecord())


class State:
    """The state table of one deployment. Errors come classified."""

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

    # ---- reading ----

    def read(self, instances: Iterable[InstanceKey], mappings: Iterable[MappingKey]) -> Snapshot:
        """Read the control item, the instances' records and the published mappings under these keys.

        Raises:
            DamagedError: one of them isn't what we wrote.
            RetryableError: some keys stayed unread; they are never taken for absent.
        """
        records = {codec.record_key(key): key for key in instances}
        published = {codec.published_key(key): key for key in mappings}
        items = self._get([codec.CONTROL, *records, *published])
        return Snapshot(
            control=codec.control_from(items.get(codec.CONTROL, {})),
            records={key: self._decode(codec.record_from, items[at]) for at, key in records.items() if at in items},
            published={
                key: self._decode(codec.published_from, items[at]) for at, key in published.items() if at in items
            },
        )

    def published(self, key: MappingKey) -> PublishedMapping | None:
        """One published mapping or its tombstone, as it is now."""
        items = self._get([codec.published_key(key)])
        return self._decode(codec.published_from, items[codec.published_key(key)]) if items else None

    def _decode[T](self, decode: Callable[[Item], T], item: Item) -> T:
        try:
            return decode(item)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DamagedError(
                "Damaged", f"{item['pk']} {item['sk']}: {error!r}", "dynamodb:BatchGetItem", self._table
            ) from error

    def _get(self, keys: Sequence[Key]) -> dict[Key, Item]:
        found: dict[Key, Item] = {}
        for chunk in batched(keys, BATCH_KEYS, strict=False):
            wanted: Any = [codec.to_attributes({"pk": pk, "sk": sk}) for pk, sk in chunk]
            for wait in (*UNPROCESSED_WAITS, None):
                answer = self._call(
                    "BatchGetItem",
                    self._client.batch_get_item,
                    RequestItems={self._table: {"Keys": wanted, "ConsistentRead": True}},
                )
                for attributes in answer.get("Responses", {}).get(self._table, ()):
                    item = codec.from_attributes(attributes)
                    found[codec.key_of(item)] = item
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

    def history(self, pk: str, limit: int = 50) -> list[Item]:
        """The newest history entries of an instance or a mapping (`codec.instance_pk`, `codec.mapping_pk`)."""
        answer = self._call(
            "Query",
            self._client.query,
            TableName=self._table,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :history)",
            ExpressionAttributeValues=codec.to_attributes({":pk": pk, ":history": "history#"}),
            ScanIndexForward=False,
            Limit=limit,
            ConsistentRead=True,
        )
        return [codec.from_attributes(each) for each in answer["Items"]]

    # ---- an instance's record ----

    def open_intent(
        self, key: InstanceKey, intent: Intent, settled: Iterable[Intent] = (), adopted: Assignment | None = None
    ) -> None:
        """Write an intent before its call; close those that are settled. One write.

        `adopted` is the assignment that a settled intent became: without it, closing that intent would lose it.
        """
        update = _Update().set(INTENT + intent.id, codec.intent_item(intent))
        for each in settled:
            update.remove(INTENT + each.id)
        if adopted:
            update.set(ASSIGNMENT + adopted.association_id, codec.assignment_item(adopted))
        self._call("UpdateItem", self._client.update_item, **self._update(codec.record_key(key), update))

    def record_outcome(  # noqa: PLR0913  # one write says all that changed
        self,
        key: InstanceKey,
        entry: Mapping[str, Any],
        at: datetime,
        *,
        closed: Iterable[Intent] = (),
        assignment: Assignment | None = None,
        forgotten: Iterable[str] = (),
        standing: Standing | None = None,
        clears_standing: bool = False,
    ) -> None:
        """Write what became of a decision, with its history entry, in one transaction.

        Args:
            key: the instance.
            entry: the history entry (see `reconcile`).
            at: when; orders the history.
            closed: intents whose call has ended.
            assignment: the association that we made.
            forgotten: ids of associations that are no more.
            standing: what the instance shows from now on.
            clears_standing: whether it no longer shows anything.
        """
        update = _Update()
        for intent in closed:
            update.remove(INTENT + intent.id)
        for association_id in forgotten:
            update.remove(ASSIGNMENT + association_id)
        if assignment:
            update.set(ASSIGNMENT + assignment.association_id, codec.assignment_item(assignment))
        if standing:
            update.set("standing", codec.standing_item(standing))
        elif clears_standing:
            update.remove("standing")
        writes = [{"Put": self._history_put(codec.instance_pk(key), entry, at)}]
        if update:
            writes.append({"Update": self._update(codec.record_key(key), update)})
        self._transact(writes)

    def settle(self, key: InstanceKey, *, closed: Iterable[Intent] = (), forgotten: Iterable[str] = ()) -> None:
        """Clear what no longer holds from a record, and its standing: the instance is as it should be."""
        update = _Update().remove("standing")
        for intent in closed:
            update.remove(INTENT + intent.id)
        for association_id in forgotten:
            update.remove(ASSIGNMENT + association_id)
        self._call("UpdateItem", self._client.update_item, **self._update(codec.record_key(key), update))

    def forget(self, key: InstanceKey) -> None:
        """Drop the record of an instance that is gone. Its history stays until it expires."""
        pk, sk = codec.record_key(key)
        self._call(
            "DeleteItem",
            self._client.delete_item,
            TableName=self._table,
            Key=codec.to_attributes({"pk": pk, "sk": sk}),
        )

    # ---- mappings ----

    def publish(self, mapping: PublishedMapping, entry: Mapping[str, Any], at: datetime) -> None:
        """Serve a mapping from now on, and keep it as a revision with its history entry, in one transaction.

        Raises:
            ObserveAgainError: somebody published another revision meanwhile.
        """
        item = codec.published_item(mapping)
        revision = {**item, "sk": f"revision#{mapping.revision:08d}", "at": codec.timestamp(at)}
        put: dict[str, Any] = {"TableName": self._table, "Item": codec.to_attributes(item)}
        put |= {
            "ConditionExpression": "attribute_not_exists(pk) OR #revision < :revision",
            "ExpressionAttributeNames": {"#revision": "revision"},
            "ExpressionAttributeValues": codec.to_attributes({":revision": mapping.revision}),
        }
        self._transact(
            [
                {"Put": put},
                {"Put": {"TableName": self._table, "Item": codec.to_attributes(revision)}},
                {"Put": self._history_put(codec.mapping_pk(mapping.key), entry, at)},
            ]
        )

    def suspend(self, mapping: PublishedMapping, why: str, entry: Mapping[str, Any], at: datetime) -> None:
        """Mark a published mapping as not servable for now (or, with an empty reason, servable again).

        Raises:
            ObserveAgainError: another revision was published meanwhile.
        """
        update = self._update(codec.published_key(mapping.key), _Update().set("suspended", why))
        update["ConditionExpression"] = "#revision = :revision"
        update["ExpressionAttributeNames"]["#revision"] = "revision"
        update["ExpressionAttributeValues"] |= codec.to_attributes({":revision": mapping.revision})
        history = self._history_put(codec.mapping_pk(mapping.key), entry, at)
        self._transact([{"Update": update}, {"Put": history}])

    def note(self, pk: str, entry: Mapping[str, Any], at: datetime) -> None:
        """Write a history entry alone."""
        self._call("PutItem", self._client.put_item, **self._history_put(pk, entry, at))

    # ---- how ----

    def _history_put(self, pk: str, entry: Mapping[str, Any], at: datetime) -> dict[str, Any]:
        item = {
            **entry,
            "pk": pk,
            "sk": f"history#{codec.timestamp(at)}#{uuid.uuid4().hex[:8]}",
            "at": codec.timestamp(at),
            "expires": int((at + self._keep).timestamp()),
        }
        return {"TableName": self._table, "Item": codec.to_attributes(item)}

    def _update(self, key: Key, update: "_Update") -> dict[str, Any]:
        return {
            "TableName": self._table,
            "Key": codec.to_attributes({"pk": key[0], "sk": key[1]}),
            **update.expression(),
        }

    def _transact(self, writes: list[Any]) -> None:
        self._call("TransactWriteItems", self._client.transact_write_items, TransactItems=writes)

    def _call(self, operation: str, call: Callable[..., Any], **arguments: Any) -> Any:
        with classified(f"dynamodb:{operation}", self._table):
            return call(**arguments)


class _Update:
    """A DynamoDB update expression that sets and removes top-level attributes."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self._sets: list[str] = []
        self._removes: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._names)

    def set(self, name: str, value: Any) -> "_Update":
        slot = self._slot(name)
        self._values[f":v{slot}"] = value
        self._sets.append(f"#n{slot} = :v{slot}")
        return self

    def remove(self, name: str) -> "_Update":
        slot = self._slot(name)
        self._removes.append(f"#n{slot}")
        return self

    def expression(self) -> dict[str, Any]:
        clauses = [("SET", self._sets), ("REMOVE", self._removes)]
        parts: dict[str, Any] = {
            "UpdateExpression": " ".join(f"{verb} {', '.join(each)}" for verb, each in clauses if each),
            "ExpressionAttributeNames": self._names,
        }
        if self._values:
            parts["ExpressionAttributeValues"] = codec.to_attributes(self._values)
        return parts

    def _slot(self, name: str) -> int:
        slot = len(self._names)
        self._names[f"#n{slot}"] = name
        return slot

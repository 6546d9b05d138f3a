"""The state table: its reads and writes, what is remembered of instances there, and their timers.

One strongly consistent batch read gets all that a reconcile needs. Writes to an instance's record commute, because
every grant and every change is an attribute of its own: two racing reconciles don't overwrite each other, and need no
lock beyond the association id. A corrupt item is returned as an error beside the sound ones.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import batched, chain, islice
from typing import TYPE_CHECKING, Any, Self

from rolekeeper.aws.errors import AwsRefusalError, CorruptItemError, PermanentError, RetryableError, classified
from rolekeeper.model.instance import InstanceKey, InstanceRecord, RecordChange, Target, Timer
from rolekeeper.model.mapping import Control, MappingKey, Pin, PublishedMapping
from rolekeeper.model.text import escaped
from rolekeeper.model.waves import Progress
from rolekeeper.storage import layout
from rolekeeper.storage.layout import Item, Key

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

BATCH_KEYS = 100  # of one BatchGetItem (DynamoDB API reference)
PAGE = 400  # items of one Query: a reader that stops early has paid for no more
# Of one read: with more that are refused the reason isn't in them. Each costs a few calls to be found.
MOST_REFUSED = 5
# UnprocessedKeys aren't absent: they are asked for again after these waits (seconds), and then the read fails.
UNPROCESSED_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
MOST_WRITES = 100  # of a transaction (DynamoDB API reference)
ACTIVITY_KEPT = timedelta(days=31)
QUEUED = timedelta(days=4)  # how long the work queue keeps a message (template.yaml)
ABSENT, PRESENT = "attribute_not_exists({0})", "attribute_exists({0})"
_CLAUSES = {"SET": "{} = {}", "ADD": "{} {}", "DELETE": "{} {}", "REMOVE": "{}"}

type Write = dict[str, Any]  # one write, as `Store` makes it


@dataclass(frozen=True)
class Store:
    """The state table of one deployment, read with strong consistency. History entries expire after `history_days`."""

    client: "DynamoDBClient"
    table: str
    history_days: int = 90
    sleep: Callable[[float], None] = time.sleep

    def get(self, keys: Iterable[Key], refused: dict[Key, PermanentError] | None = None) -> dict[Key, Item]:
        """Read the items under these keys, as far as they exist; don't ask for one that can't exist.

        With `refused`, at most MOST_REFUSED keys for which AWS refuses a batch are put there, and the others are read.
        """
        found: dict[Key, Item] = {}
        wanted = list(keys)
        partitions = {pk for pk in {pk for pk, _ in wanted} if layout.is_partition(pk)}
        possible = (key for key in wanted if key[0] in partitions)
        batches = [list(batch) for batch in batched(possible, BATCH_KEYS)][::-1]
        while batches:
            batch = batches.pop()
            try:
                items = batch_get(self.client.batch_get_item, self.table, list(map(_key, batch)), sleep=self.sleep)
                found |= {(item["pk"], item["sk"]): item for item in map(layout.from_attributes, items)}
            except PermanentError as error:
                if refused is None or len(refused) == MOST_REFUSED:
                    raise
                if len(batch) == 1:
                    refused[batch[0]] = error
                else:
                    half = len(batch) // 2
                    batches += [batch[half:], batch[:half]]
        return found

    def decode[T](self, decode: Callable[[Item], T], item: Item) -> T:
        """Decode an item; CorruptItemError if it isn't what we wrote."""
        try:
            return decode(item)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            which = f"{item['pk']} {item['sk']}: {error!r}"
            raise CorruptItemError("Damaged", which, "dynamodb:BatchGetItem", resource=self.table) from error

    def items(self, pk: str, until: str, after: str = "") -> Iterator[Item]:
        """Yield a partition's items in order, those after the sort key `after`, up to and including `until`."""
        start = {"ExclusiveStartKey": _key((pk, after))} if after else {}
        return self._query("sk <= :sk", pk, until, ScanIndexForward=True, Limit=PAGE, **start)

    def last(self, pk: str, prefix: str, limit: int) -> list[Item]:
        """Read the last items of a partition whose sort key begins with `prefix`, newest first."""
        found = self._query("begins_with(sk, :sk)", pk, prefix, ScanIndexForward=False, Limit=limit)
        return list(islice(found, limit))

    def history(self, pk: str, limit: int = 50) -> list[Item]:
        """Read the newest history entries of an instance or a mapping, newest first."""
        return self.last(pk, "history#", limit)

    def _query(self, which: str, pk: str, sk: str, **arguments: Any) -> Iterator[Item]:
        """Yield all that a query finds."""
        if not layout.is_partition(pk):
            return
        arguments["KeyConditionExpression"] = f"pk = :pk AND {which}"
        arguments["ExpressionAttributeValues"] = layout.to_attributes({":pk": pk, ":sk": sk})
        for page in pages("Query", self.client.query, self.table, **arguments):
            yield from map(layout.from_attributes, page)

    def put(self, item: Mapping[str, Any], *, if_higher: str = "", if_same: Sequence[str] = ()) -> Write:
        """Put an item; it replaces one only if its `if_higher` number is lower there, and its `if_same` are equal."""
        put: dict[str, Any] = {"TableName": self.table, "Item": layout.to_attributes(item)}
        if if_higher:
            older = Update().only_if(if_higher, "<", item[if_higher])
            put |= older.only_as(item, *if_same).arguments()
            put["ConditionExpression"] = f"attribute_not_exists(pk) OR ({put['ConditionExpression']})"
        return {"Put": put}

    def update(self, key: Key, update: "Update") -> Write:
        """Change attributes of an item; make it if there is none."""
        return {"Update": {"TableName": self.table, "Key": _key(key), **update.arguments()}}

    def delete(self, key: Key, only: "Update | None" = None) -> Write:
        """Delete an item, on the conditions of `only`."""
        return {"Delete": {"TableName": self.table, "Key": _key(key), **(only or Update()).arguments()}}

    def entry(self, pk: str, entry: Mapping[str, Any], at: datetime, id_: str = "") -> Write:
        """Put a history entry, under its own id or a new one; it expires."""
        written, expires = layout.timestamp(at), int((at + timedelta(days=self.history_days)).timestamp())
        _, sk = layout.history_key(pk, at, id_ or uuid.uuid4().hex[:8])
        words = {name: escaped(value) if isinstance(value, str) else value for name, value in entry.items()}
        return self.put({**words, "pk": pk, "sk": sk, "at": written, "expires": expires})

    def write(self, *writes: Write) -> None:
        """Make all these writes, or none: ConflictError if a condition of one doesn't hold."""
        if len(writes) > 1:
            with classified("dynamodb:TransactWriteItems", self.table):
                self.client.transact_write_items(TransactItems=list[Any](writes))
            return
        ((kind, arguments),) = writes[0].items()
        calls: Any = {"Put": self.client.put_item, "Update": self.client.update_item, "Delete": self.client.delete_item}
        with classified(f"dynamodb:{kind}Item", self.table):
            calls[kind](**arguments)


def batch_get(
    call: Callable[..., Any], table: str, keys: Sequence[dict[str, Any]], sleep: Callable[[float], None]
) -> list[dict[str, Any]]:
    """Read the items under at most `BATCH_KEYS` keys by `call`, a BatchGetItem; RetryableError if some stay unread."""
    found: list[dict[str, Any]] = []
    wanted = list(keys)
    for wait in (0, *UNPROCESSED_WAITS):
        if wait:
            sleep(wait)
        asked = {table: {"Keys": wanted, "ConsistentRead": True}}
        with classified("dynamodb:BatchGetItem", table):
            answer = call(RequestItems=asked)
        found += answer.get("Responses", {}).get(table, ())
        wanted = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
        if not wanted:
            return found
    unread = f"{len(wanted)} keys were not read after {len(UNPROCESSED_WAITS)} more attempts"
    raise RetryableError("UnprocessedKeys", unread, "dynamodb:BatchGetItem", resource=table)


def pages(operation: str, call: Callable[..., Any], table: str, **arguments: Any) -> Iterator[list[dict[str, Any]]]:
    """Yield the items that a query or a scan finds. A page ends at 1 MB, however many items were asked for."""
    while True:
        with classified(f"dynamodb:{operation}", table):
            answer = call(TableName=table, ConsistentRead=True, **arguments)
        yield answer["Items"]
        if "LastEvaluatedKey" not in answer:
            return
        arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _key(key: Key) -> dict[str, Any]:
    # Both are texts. The general serializer would take a fifth of a sweep to find that out.
    return {"pk": {"S": key[0]}, "sk": {"S": key[1]}}


class Update:
    """A DynamoDB update expression over top-level attributes, with the conditions, if any, that must all hold."""

    def __init__(self) -> None:
        # Each a clause, or comparisons of which one has to hold; an attribute; and the value in that, if there is one.
        self.changes: list[tuple[str, str, tuple[Any, ...]]] = []
        self.conditions: list[tuple[tuple[str, ...], str, tuple[Any, ...]]] = []

    def set(self, values: Mapping[str, Any]) -> Self:
        self.changes += [("SET", name, (value,)) for name, value in values.items()]
        return self

    def add(self, name: str, more: int | frozenset[str]) -> Self:
        """Add to a number or to a set; an absent one counts as 0, or as empty."""
        self.changes.append(("ADD", name, (more,)))
        return self

    def discard(self, name: str, fewer: frozenset[str]) -> Self:
        """Take away from a set; an empty one is gone."""
        self.changes.append(("DELETE", name, (fewer,)))
        return self

    def remove(self, *names: str) -> Self:
        self.changes += [("REMOVE", name, ()) for name in names]
        return self

    def only_if(self, name: str, comparison: str, value: Any, *, or_absent: bool = False) -> Self:
        self.conditions.append(((ABSENT, comparison) if or_absent else (comparison,), name, (value,)))
        return self

    def only_as(self, item: Mapping[str, Any], *names: str) -> Self:
        """Require these attributes to be as in an item: equal, or absent from both."""
        for name in names:
            self.conditions.append((("=",), name, (item[name],)) if name in item else ((ABSENT,), name, ()))
        return self

    def only_if_present(self, name: str) -> Self:
        self.conditions.append(((PRESENT,), name, ()))
        return self

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of a write; those of `PutItem` and `DeleteItem` are conditions alone."""
        names: dict[str, str] = {}
        values: dict[str, Any] = {}
        clauses: dict[str, list[str]] = {}
        parts = [(clause, name, value, _CLAUSES[clause]) for clause, name, value in self.changes]
        for comparisons, name, value in self.conditions:
            texts = [test if test in (ABSENT, PRESENT) else f"{{0}} {test} {{1}}" for test in comparisons]
            # DynamoDB refuses redundant parentheses.
            parts.append(("", name, value, f"({' OR '.join(texts)})" if texts[1:] else texts[0]))
        for clause, name, value, text in parts:
            slot, value_slot = names.setdefault(name, f"#n{len(names)}"), f":v{len(values)}"
            if value:
                (values[value_slot],) = value
            clauses.setdefault(clause, []).append(text.format(slot, value_slot))
        arguments = {
            "ConditionExpression": " AND ".join(clauses.pop("", ())),
            "UpdateExpression": " ".join(f"{clause} {', '.join(texts)}" for clause, texts in clauses.items()),
            "ExpressionAttributeNames": {slot: name for name, slot in names.items()},
            "ExpressionAttributeValues": layout.to_attributes(values),
        }
        return {name: argument for name, argument in arguments.items() if argument}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent read of the state table; an item of `counters` that doesn't exist is empty.

    `damaged` are items that are corrupt or were refused, and pins that IAM refused to check.
    """

    control: Control = field(default_factory=Control)
    records: Mapping[InstanceKey, InstanceRecord] = field(default_factory=dict)
    pins: Mapping[InstanceKey, Pin] = field(default_factory=dict)
    published: Mapping[MappingKey, PublishedMapping] = field(default_factory=dict)
    damaged: Mapping[InstanceKey | MappingKey, AwsRefusalError] = field(default_factory=dict)
    counters: Mapping[layout.Key, layout.Item] = field(default_factory=dict)
    rollouts: Mapping[MappingKey, Progress | None] = field(default_factory=dict)

    def record(self, key: InstanceKey) -> InstanceRecord:
        return self.records.get(key, InstanceRecord())


def read_rollouts(store: Store, mappings: Iterable[PublishedMapping]) -> dict[MappingKey, Progress | None]:
    """Read how far the rollouts of these mappings have come; None of one that is lost, or can't be read."""
    at = {layout.rollout_key(mapping.key): mapping for mapping in mappings}
    found = dict[MappingKey, Progress | None].fromkeys(mapping.key for mapping in at.values())
    for place, item in store.get(list(at)).items():
        with suppress(CorruptItemError):
            progress = store.decode(layout.rollout_from, item)
            found[at[place].key] = progress if progress.revision == at[place].revision else None
    return found


@dataclass(frozen=True)
class State:
    """The state table's instances and timers, and the read that a reconcile needs.

    `check_pin` asks IAM, and returns a pin that can't be used as `unclear`. With `remembers` each published mapping is
    read only once: decisions by it are hints. `target` has the instances. The same read brings its item of the registry
    and the one of `home`, the deployment's own target.
    """

    store: Store
    target: Target
    home: Target
    check_pin: Callable[[Pin], Pin]
    remembers: dict[MappingKey, PublishedMapping] | None = None

    def read(
        self,
        instances: Iterable[InstanceKey] = (),
        mappings: Iterable[MappingKey] = (),
        *,
        checked: bool = False,
        counters: Sequence[layout.Key] = (),
    ) -> Snapshot:
        """Read the control item, the instances' records and pins, which are `checked`, and these published mappings."""
        keys, wanted, known = list(instances), list(mappings), {} if self.remembers is None else self.remembers
        unknown = (key for key in wanted if key not in known)
        records: dict[InstanceKey, InstanceRecord] = {}
        pins: dict[InstanceKey, Pin] = {}
        damaged: dict[InstanceKey | MappingKey, AwsRefusalError] = {}

        def read_pin(item: Item) -> Pin:
            # People write pins: what can't be read of one holds its instance alone, and says why.
            return self.check_pin(Pin.read(item)) if checked else Pin.read(item)

        # What each item is about, how it is read, and where it goes.
        decoded: dict[Key, tuple[Any, Callable[[Item], Any], dict[Any, Any]]] = {
            **{layout.record_key(key): (key, layout.record_from, records) for key in keys},
            **{layout.pin_key(key): (key, read_pin, pins) for key in keys},
            **{layout.published_key(key, self.target.account): (key, layout.published_from, known) for key in unknown},
        }
        registered = [layout.target_key(target) for target in (self.home, self.target)]
        single = dict.fromkeys([layout.CONTROL, *registered, *counters])
        refused: dict[Key, PermanentError] = {}
        items = self.store.get([*single, *decoded], refused)
        for needed in single.keys() & refused.keys():
            raise refused[needed]
        for at, (subject, decode, found) in decoded.items():
            if at in refused:
                damaged[subject] = refused[at]
            elif at in items:
                try:
                    found[subject] = self.store.decode(decode, items[at])
                except AwsRefusalError as error:
                    damaged[subject] = error
        control = _control(items.get(layout.CONTROL, {}), *map(items.get, registered))
        published = {key: known[key] for key in wanted if key in known}
        rolling = [mapping for mapping in published.values() if mapping.former]
        counted = {key: items.get(key, {}) for key in counters}
        snapshot = Snapshot(control, records, pins, published=published, damaged=damaged, counters=counted)
        return replace(snapshot, rollouts=read_rollouts(self.store, rolling)) if rolling else snapshot

    def note_sent(self, target: Target, number: int, last: Sequence[str], *, at: datetime) -> None:
        """Note how many instances a target's sweeps sent that may still wait, and the ids of the `last` of them."""
        item = {"number": number, "last": list(last), "expires": int((at + QUEUED).timestamp())}
        self.store.write(self.store.put({**layout.key_attributes(layout.sent_key(target)), **item}))

    def waiting(self, target: Target) -> tuple[datetime, int, list[str]]:
        """Read when the line of a target's changes ends, and what `note_sent` noted."""
        line, sent = layout.pace_key(target), layout.sent_key(target)
        items = self.store.get([line, sent])
        ends, noted = datetime.fromtimestamp(int(items.get(line, {}).get("ends", 0)) / 1000, UTC), items.get(sent, {})
        return ends, int(noted.get("number", 0)), list(noted.get("last", ()))

    def note_activity(self, target: Target, update: "Update", at: datetime) -> None:
        """Update what happened in a target's hour."""
        update.set({"expires": int((at + ACTIVITY_KEPT).timestamp())})
        self.store.write(self.store.update(layout.activity_key(target, at), update))

    def save(
        self,
        key: InstanceKey,
        change: RecordChange,
        at: datetime,
        *,
        entry: Mapping[str, Any] | None = None,
        also: Iterable[Write] = (),
    ) -> layout.Key:
        """Write what changes in an instance's record, with its history, in one transaction; nothing if all is empty.

        `entry` is a new history entry; this returns its key, for its `completion`. `also` are other writes. A
        ConflictError says that the record, or another item with a condition, changed meanwhile.
        """
        writes: list[Write] = []
        at_key: layout.Key = ("", "")
        if entry is not None:
            pk = layout.instance_pk(key)
            put = self.store.entry(pk, entry, at)
            at_key = pk, put["Put"]["Item"]["sk"]["S"]
            writes.append(put)
        if update := _update(change):
            write = self.store.delete if change.ends else self.store.update
            writes.append(write(layout.record_key(key), update))
        if change.unpins:
            writes.append(self.store.delete(layout.pin_key(key)))
        writes += [self.store.put(layout.timer_item(timer)) for timer in change.timers]
        if writes := [*writes, *also]:
            self.store.write(*writes)
        return at_key

    def completion(self, started: layout.Key, known: Mapping[str, Any]) -> Write:
        """Add the outcome to a history entry that was started."""
        # Only once: if the SDK sends this write again, it must not give the room back twice.
        return self.store.update(started, Update().set(known).only_if("outcome", "=", layout.STARTED))

    def arm(self, timer: Timer) -> None:
        self.store.write(self.store.put(layout.timer_item(timer)))

    def timers_due(self, until: datetime, of: Iterable[str] = (layout.TIMERS,)) -> Iterator[Timer | CorruptItemError]:
        """Yield the timers of partitions that ring before `until`, in order; for one that can't be read, its error."""
        for item in chain.from_iterable(self.store.items(partition, layout.timestamp(until)) for partition in of):
            try:
                yield self.store.decode(layout.timer_from, item)
            except CorruptItemError as damaged:
                yield damaged

    def clear_timers(self, *timers: Timer) -> None:
        """Delete timers that have rung. One that is gone already is no error."""
        for some in batched(timers, MOST_WRITES):
            self.store.write(*(self.store.delete(layout.timer_key(timer)) for timer in some))


def _control(item: Item, marker: Item | None, own: Item | None) -> Control:
    """Read the control item, with what the registry says of the deployment's own target and of the one that is read."""
    return replace(
        Control.read(item),
        swept=all(item is not None and layout.LAST_SWEEP in item for item in (marker, own)),
        # Before the deployment itself is registered, by its first sweep, nothing changes anyway.
        registered=marker is None or own is not None,
        notifies=own is not None and own.get(layout.NOTIFIES) is True,
    )


def _update(change: RecordChange) -> Update | None:
    """Update what changes in a record, if anything; only if the record is the `expected` one, if there is one.

    A slow reconcile must not undo or delete what a newer one wrote, or restore a record that ended with its instance.
    """
    values = {layout.grant_name(grant.profile_arn): layout.encode(grant) for grant in change.grants}
    if change.applied:
        values[layout.change_name(change.applied)] = layout.encode(change.applied)
    if change.condition:
        values[layout.CONDITION] = layout.encode(change.condition)
    if change.pin:
        values[layout.PIN] = layout.encode(change.pin)
    removed = {*map(layout.grant_name, change.revoked), *map(layout.change_name, change.lapsed)}
    if change.clears and not change.condition:
        removed.add(layout.CONDITION)
    update = Update()
    if values or removed:
        update.set({**values, "version": layout.VERSION}).remove(*sorted(removed)).add(layout.WRITES, 1)
    elif not change.ends:
        return None
    if change.expected is not None:
        writes = change.expected.writes
        update.only_as({layout.WRITES: writes} if writes else {}, layout.WRITES)
    return update

"""What we remember of instances, and their timers. One strongly consistent batch read gets all that a reconcile needs.

Writes to an instance's record commute, as every grant and every change is an attribute of its own. So two racing
reconciles don't overwrite each other, and need no lock beyond the association id. A corrupt item is returned as an
error beside the sound ones, so the other instances are still read.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import batched
from typing import Any

from rolekeeper.aws.errors import AwsRefusalError, CorruptItemError, PermanentError
from rolekeeper.model.instance import InstanceKey, InstanceRecord, RecordChange, Target, Timer
from rolekeeper.model.mapping import Control, MappingKey, Pin, PublishedMapping
from rolekeeper.storage import codec, layout
from rolekeeper.storage.table import Store, Update, Write

MOST_WRITES = 100  # of a transaction (DynamoDB API reference)
FLEET_NEWS = timedelta(days=1)  # after which the same size of the fleet is written again: the sweeps still count


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent read of the state table. `damaged`: corrupt items, or refused; and pins that IAM refused to check.

    `counters` are the items that were asked for by that name; one that doesn't exist is empty.
    """

    control: Control = field(default_factory=Control)
    records: Mapping[InstanceKey, InstanceRecord] = field(default_factory=dict)
    pins: Mapping[InstanceKey, Pin] = field(default_factory=dict)
    published: Mapping[MappingKey, PublishedMapping] = field(default_factory=dict)
    damaged: Mapping[InstanceKey | MappingKey, AwsRefusalError] = field(default_factory=dict)
    counters: Mapping[layout.Key, codec.Item] = field(default_factory=dict)

    def record(self, key: InstanceKey) -> InstanceRecord:
        return self.records.get(key, InstanceRecord())


@dataclass(frozen=True, slots=True)
class _Found:
    """The items of one read, some of which were refused; `damaged` gets those, and what can't be decoded."""

    store: Store
    items: Mapping[layout.Key, codec.Item]
    refused: Mapping[layout.Key, PermanentError]
    damaged: dict[InstanceKey | MappingKey, AwsRefusalError] = field(default_factory=dict)

    def decoded[Subject: (InstanceKey, MappingKey), Value](
        self, decode: Callable[[codec.Item], Value], wanted: Mapping[layout.Key, Subject]
    ) -> dict[Subject, Value]:
        found: dict[Subject, Value] = {}
        for at, subject in wanted.items():
            if at in self.refused:
                self.damaged[subject] = self.refused[at]
            elif at in self.items:
                try:
                    found[subject] = self.store.decode(decode, self.items[at])
                except AwsRefusalError as error:
                    self.damaged[subject] = error
        return found


@dataclass(frozen=True, slots=True)
class SweepNote:
    """Whether a sweep ever `ended` on this state table, and `until` when the schedule waits for one that goes on."""

    ended: bool
    until: str

    def goes_on(self, now: datetime) -> bool:
        return self.until > layout.timestamp(now)


@dataclass(frozen=True)
class State:
    """The state table's instances and timers, and the read that a reconcile needs. Errors come classified.

    `check_pin` asks IAM, and returns a pin that can't be used as `unclear`. With `remembers` each published mapping is
    read only once: decisions by it are hints. `account` is the instances', for which mappings are published. `target`
    is their account and Region, if not the deployment's own: the same read brings its item of the registry; and if it
    `waits_for_sweep`, nothing counts as swept before the target is.
    """

    store: Store
    account: str
    check_pin: Callable[[Pin], Pin]
    remembers: dict[MappingKey, PublishedMapping] | None = None
    target: Target | None = None
    waits_for_sweep: bool = False

    def read(
        self,
        instances: Iterable[InstanceKey] = (),
        mappings: Iterable[MappingKey] = (),
        *,
        checked: bool = False,
        counters: Sequence[layout.Key] = (),
    ) -> Snapshot:
        """Read the control item, the instances' records and pins, which are `checked`, and these published mappings."""
        keys = list(instances)
        records = {layout.record_key(key): key for key in keys}
        pins = {layout.pin_key(key): key for key in keys}
        wanted, known = list(mappings), {} if self.remembers is None else self.remembers
        published = {layout.published_key(key, self.account): key for key in wanted if key not in known}
        registry = [layout.target_key(self.target)] if self.target else []
        single = dict.fromkeys([layout.CONTROL, layout.FLEET, *registry, *counters])
        refused: dict[layout.Key, PermanentError] = {}
        items = self.store.get([*single, *records, *pins, *published], refused)
        for needed in single.keys() & refused.keys():
            raise refused[needed]
        found = _Found(self.store, items, refused)
        known |= found.decoded(codec.published_from, published)

        def pin(item: codec.Item) -> Pin:
            # People write pins: what can't be read of one holds its instance alone, and says why.
            return self.check_pin(Pin.read(item)) if checked else Pin.read(item)

        return Snapshot(
            control=self._control(items, registry),
            records=found.decoded(codec.record_from, records),
            pins=found.decoded(pin, pins),
            published={key: known[key] for key in wanted if key in known},
            damaged=found.damaged,
            counters={key: items.get(key, {}) for key in counters},
        )

    def _control(self, items: Mapping[layout.Key, codec.Item], registry: Sequence[layout.Key]) -> Control:
        swept = "mappings" in items.get(layout.FLEET, {})
        if self.waits_for_sweep:
            # What is published for an account may be outdated, as nobody writes it while that isn't registered.
            swept = swept and all(layout.LAST_SWEEP in items.get(key, {}) for key in registry)
        control = Control.read(items.get(layout.CONTROL, {}))
        return replace(control, swept=swept, registered=all(key in items for key in registry))

    def last_sweep(self) -> SweepNote:
        item = self.store.get([layout.FLEET]).get(layout.FLEET, {})
        return SweepNote(ended="mappings" in item, until=str(item.get(layout.GOES_ON_UNTIL, "")))

    def sweep_goes_on(self, until: datetime | None) -> None:
        """Note until when the schedule starts no other sweep, as one takes several runs; None once that ended."""
        name, update = layout.GOES_ON_UNTIL, Update()
        update = update.set({name: layout.timestamp(until)}) if until else update.remove(name)
        self.store.write(self.store.update(layout.FLEET, update))

    def note_sweep(self, instances: int, mappings: int, at: datetime, elsewhere: int = 0) -> None:
        """Note how many instances and mappings a whole sweep saw, if that changed, and once a day; limits depend on it.

        `elsewhere` is how many instances the last sweeps of the other targets counted.
        """
        item = self.store.get([layout.FLEET]).get(layout.FLEET, {})
        seen = {"instances": instances, "mappings": mappings}
        if elsewhere or layout.ELSEWHERE in item:
            seen[layout.ELSEWHERE] = elsewhere
        if not (item.items() >= seen.items() and str(item.get("at")) > layout.timestamp(at - FLEET_NEWS)):
            fleet = {**layout.key_attributes(layout.FLEET), **seen, "at": layout.timestamp(at)}
            self.store.write(self.store.put(fleet))

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

        `entry` is a new history entry; this returns its key, to complete it later (`completion`). `also` is that, and
        the room that a change takes in the window.

        Raises:
            ConflictError: the record, or another item with a condition, changed meanwhile; nothing was written.
        """
        writes: list[Write] = []
        at_key: layout.Key = ("", "")
        if entry is not None:
            put = self.store.entry(layout.instance_pk(key), entry, at)
            at_key = layout.instance_pk(key), put["Put"]["Item"]["sk"]["S"]
            writes.append(put)
        if change.ends:
            writes.append(self.store.delete(layout.record_key(key)))
        elif update := _update(change):
            writes.append(self.store.update(layout.record_key(key), update))
        if change.unpins:
            writes.append(self.store.delete(layout.pin_key(key)))
        writes += [self.store.put(codec.timer_item(timer)) for timer in change.timers]
        if writes := [*writes, *also]:
            self.store.write(*writes)
        return at_key

    def completion(self, started: layout.Key, known: Mapping[str, Any]) -> Write:
        """Add what is known now to a history entry that was started."""
        # Only once: if the SDK sends this write again, it must not give the room back twice.
        return self.store.update(started, Update().set(known).only_if("outcome", "=", layout.STARTED))

    def arm(self, timer: Timer) -> None:
        """Have its subject reconciled when it is due. Arming it again changes nothing."""
        self.store.write(self.store.put(codec.timer_item(timer)))

    def timers_due(self, until: datetime, partition: str = layout.TIMERS) -> Iterator[Timer | CorruptItemError]:
        """The timers that ring before `until`, in order; for one that can't be read, its error."""
        for item in self.store.items(partition, layout.timestamp(until)):
            try:
                yield self.store.decode(codec.timer_from, item)
            except CorruptItemError as damaged:
                yield damaged

    def clear_timers(self, *timers: Timer) -> None:
        """Delete timers that have rung. One that is gone already is no error."""
        for some in batched(timers, MOST_WRITES):
            self.store.write(*(self.store.delete(layout.timer_key(timer)) for timer in some))


def _update(change: RecordChange) -> Update | None:
    """What changes in a record, if anything; guarded, where it says over which record."""
    values = {layout.grant_name(each.profile_arn): codec.encode(each) for each in change.grants}
    if change.applied:
        values[layout.change_name(change.applied)] = codec.encode(change.applied)
    if change.condition:
        values[layout.CONDITION] = codec.encode(change.condition)
    if change.pin:
        values[layout.PIN] = codec.encode(change.pin)
    removed = {*map(layout.grant_name, change.revoked), *map(layout.change_name, change.lapsed)}
    if change.clears and not change.condition:
        removed.add(layout.CONDITION)
    if not values and not removed:
        return None
    update = Update().set({**values, "version": codec.VERSION}).remove(*sorted(removed)).add(layout.WRITES, 1)
    if change.expected:
        # A slow reconcile must not undo what a newer one wrote, or restore a record that ended with its instance.
        writes = change.expected.writes
        update.only_as({layout.WRITES: writes} if writes else {}, layout.WRITES)
    return update

"""What we remember of instances. One strongly consistent batch read holds all that a reconcile needs.

Writes to an instance's record are commutative: every intent and every assignment is an attribute of its own, set or
removed by its id. So two racing reconciles can't overwrite each other's, and need no lock beyond the association id.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rolekeeper import codec
from rolekeeper.codec import ASSIGNMENT, INTENT
from rolekeeper.contest import Evidence
from rolekeeper.model import (
    Assignment,
    Control,
    InstanceKey,
    InstanceRecord,
    Intent,
    MappingKey,
    Pin,
    PublishedMapping,
    Standing,
    Timer,
)
from rolekeeper.store import Store, Update, Write

NO_EVIDENCE = Evidence()

# After so long the size of the fleet is written again though it is the same: it shows that somebody still counts.
FLEET_NEWS = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent read of the state table."""

    control: Control = field(default_factory=Control)
    records: Mapping[InstanceKey, InstanceRecord] = field(default_factory=dict)
    pins: Mapping[InstanceKey, Pin] = field(default_factory=dict)
    published: Mapping[MappingKey, PublishedMapping] = field(default_factory=dict)

    def record(self, key: InstanceKey) -> InstanceRecord:
        """An instance's record; an empty one when there is none."""
        return self.records.get(key, InstanceRecord())


class State:
    """The instances' part of the state table, and the read that a reconcile needs. Errors come classified."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, instances: Iterable[InstanceKey], mappings: Iterable[MappingKey]) -> Snapshot:
        """Read the control item, the instances' records and pins, and the published mappings under these keys.

        Raises:
            DamagedError: one of them isn't what we wrote.
            RetryableError: some keys stayed unread; they are never taken for absent.
        """
        keys = list(instances)
        records = {codec.record_key(key): key for key in keys}
        pins = {codec.pin_key(key): key for key in keys}
        published = {codec.published_key(key): key for key in mappings}
        items = self._store.get([codec.CONTROL, *records, *pins, *published])
        decode = self._store.decode
        return Snapshot(
            control=codec.control_from(items.get(codec.CONTROL, {})),
            records={key: decode(codec.record_from, items[at]) for at, key in records.items() if at in items},
            # People write pins: what can't be read of one holds its instance alone, and says why.
            pins={key: codec.pin_from(items[at]) for at, key in pins.items() if at in items},
            published={key: decode(codec.published_from, items[at]) for at, key in published.items() if at in items},
        )

    def pin(self, key: InstanceKey) -> Pin | None:
        """An instance's pin alone."""
        items = self._store.get([codec.pin_key(key)])
        return codec.pin_from(items[codec.pin_key(key)]) if items else None

    # ---- the fleet ----

    def note_fleet(self, instances: int, at: datetime) -> None:
        """Keep how many instances there are, which limits are a share of. Written when it changed, and once a day."""
        item = self._store.get([codec.FLEET]).get(codec.FLEET)
        if item and item.get("instances") == instances and str(item.get("at")) > codec.timestamp(at - FLEET_NEWS):
            return
        self._store.write(self._store.put(codec.fleet_item(instances, at)))

    # ---- an instance's record ----

    def open_intent(  # noqa: PLR0913  # one write says all that changes
        self,
        key: InstanceKey,
        intent: Intent,
        settled: Iterable[Intent] = (),
        *,
        adopted: Assignment | None = None,
        alongside: Iterable[Write] = (),
        entry: Mapping[str, object] | None = None,
    ) -> None:
        """Write an intent before its call; close those that are settled. One write.

        `adopted` is the assignment that a settled intent became: without it, closing that intent would lose it.
        `alongside` is written with it or not at all: the room that the change takes in its mapping's window.
        `entry` is the history entry that tells of those that are settled.

        Raises:
            ObserveAgainError: a condition of what goes alongside doesn't hold; nothing was written.
        """
        update = Update().set(INTENT + intent.id, codec.intent_item(intent))
        for each in settled:
            update.remove(INTENT + each.id)
        if adopted:
            update.set(ASSIGNMENT + adopted.association_id, codec.assignment_item(adopted))
        told = [self._store.entry(codec.instance_pk(key), entry, intent.at)] if entry else []
        self._store.write(self._store.update(codec.record_key(key), update), *told, *alongside)

    def record_outcome(  # noqa: PLR0913  # one write says all that changed
        self,
        key: InstanceKey,
        entry: Mapping[str, object],
        at: datetime,
        *,
        closed: Iterable[Intent] = (),
        assignment: Assignment | None = None,
        forgotten: Iterable[str] = (),
        standing: Standing | None = None,
        clears_standing: bool = False,
        evidence: Evidence = NO_EVIDENCE,
        timer: Timer | None = None,
        alongside: Iterable[Write] = (),
        read: InstanceRecord | None = None,
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
            evidence: our change, and who undid ours.
            timer: when it is to be looked at again.
            alongside: what else belongs to it: the room that a refused change gives back.
            read: the record as it was read, if the standing may take the place of no other than the one in it.

        Raises:
            ObserveAgainError: the instance shows something else by now; nothing was written.
        """
        update = _clearing(closed, forgotten, evidence)
        if assignment:
            update.set(ASSIGNMENT + assignment.association_id, codec.assignment_item(assignment))
        if standing:
            update.set("standing", codec.standing_item(standing))
        elif clears_standing and (read is None or read.standing):
            update.remove("standing")
        if read and (standing or read.standing):
            _over(update, read.standing)
        if evidence.made:
            update.set("made", codec.made_item(evidence.made))
        if evidence.undone:
            update.set(codec.undone_name(evidence.undone), codec.undone_item(evidence.undone))
        writes = [self._store.entry(codec.instance_pk(key), entry, at)]
        if update:
            writes.append(self._store.update(codec.record_key(key), update))
        if timer:
            writes.append(self._store.put(codec.timer_item(timer)))
        self._store.write(*writes, *alongside)

    def settle(
        self,
        key: InstanceKey,
        *,
        closed: Iterable[Intent] = (),
        forgotten: Iterable[str] = (),
        evidence: Evidence = NO_EVIDENCE,
        read: InstanceRecord | None = None,
    ) -> None:
        """Clear what no longer holds from a record, and its standing: the instance is as it should be.

        `read` is the record as it was read: only the standing in it is cleared.

        Raises:
            ObserveAgainError: the instance shows something else by now; nothing was written.
        """
        update = _clearing(closed, forgotten, evidence)
        if read is None or read.standing:
            update.remove("standing")
        if read and read.standing:
            _over(update, read.standing)
        if update:
            self._store.write(self._store.update(codec.record_key(key), update))

    def forget(
        self,
        key: InstanceKey,
        *,
        pinned: bool = False,
        entry: Mapping[str, object] | None = None,
        at: datetime | None = None,
    ) -> None:
        """Drop the record of an instance that is gone, and its pin. Its history stays until it expires.

        `entry` is the history entry, of `at`, that tells of changes which were still open.
        """
        keys = [codec.record_key(key), *([codec.pin_key(key)] if pinned else [])]
        told = [self._store.entry(codec.instance_pk(key), entry, at)] if entry and at else []
        self._store.write(*told, *(self._store.delete(each) for each in keys))


def _over(update: Update, standing: Standing | None) -> None:
    """Let an update through only over this standing: a slow reconcile must not hide what a newer one saw."""
    if standing is None:
        update.only_if_absent("standing")
    else:
        update.only_if("standing", "=", dict(standing.item) or codec.standing_item(standing))


def _clearing(closed: Iterable[Intent], forgotten: Iterable[str], evidence: Evidence) -> Update:
    update = Update()
    for intent in closed:
        update.remove(INTENT + intent.id)
    for association_id in forgotten:
        update.remove(ASSIGNMENT + association_id)
    for undone in evidence.lapsed:
        update.remove(codec.undone_name(undone))
    if evidence.over:
        update.remove("made")
    return update

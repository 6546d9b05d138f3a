"""Published mappings and their revisions, in the state table: the last one is in effect, all are kept."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from rolekeeper.aws.errors import ConflictError, CorruptItemError
from rolekeeper.model.instance import Target, Timer
from rolekeeper.model.mapping import ANY_VALUE, Approval, Control, Held, MappingKey, PublishedMapping
from rolekeeper.model.waves import Progress
from rolekeeper.storage import Store, Update, layout
from rolekeeper.storage.state import Write, read_rollouts

# What the history says of a mapping at one time; the event carries the same.
type Entry = dict[str, Any]

# Attributes of what is in effect: the rows in conflict with it, by partition; whether instances are still unsent, and
# whether it was reported that the mapping will soon expire.
BLOCKS, UNSENT, END_REPORTED = "blocks", "unsent", "end_reported"
# In a revision's budget: the changes that are left for accounts which gave no answer when they were counted, when that
# was, and whether a person approved them.
UNSEEN, COUNTED_AT, APPROVED, _LONG_AGO = "unseen", "counted_at", "approved", "2000-01-01T00:00:00Z"
# Attributes of a record, one for each Region of its account but the deployment's own: what its last sweep counted.
COUNTS = "counts:"
# How long after a deletion its mapping is judged again: no sweep looks for tombstones that a crash kept from other
# accounts. A run that publishes takes less (template.yaml).
FOLLOWED_UP = timedelta(minutes=5)
# The most rows that are noted as in conflict with one mapping; the sweep sees all.
ROWS = 20

type Counts = Mapping[str, tuple[int, int]]
"""By Region: how many instances a mapping governs, and how many of them are occupied."""


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """What is published of a mapping for one account; `missing` says what of its profile has to be made first."""

    mapping: PublishedMapping
    counts: Counts = field(default_factory=dict, compare=False)
    missing: str = ""

    @property
    def content(self) -> layout.Item:
        return layout.mapping_attributes(self.mapping) | _counts_item(self.counts)

    def is_stored(self, before: "AccountRecord | None") -> bool:
        """Return whether it is as the one stored `before`, and nothing has to be made."""
        return before is not None and before.content == self.content and not self.missing

    def with_scan(self, region: str, profile_ids: AbstractSet[str], counts: tuple[int, int] | None) -> "AccountRecord":
        """Return the same with what was found in a Region; its counts stay if they are None."""
        mapping = self.mapping.with_profile_id(self.mapping.profile_id, profile_ids)
        return replace(self, mapping=mapping, counts={**self.counts, region: counts} if counts else self.counts)

    def tombstone(self, of: PublishedMapping) -> "AccountRecord":
        mapping = replace(self.mapping, spec=of.spec, revision=of.revision, deleted=True, former=None)
        return replace(self, mapping=mapping.suspended_for(None), missing="")

    def matters(self, before: "AccountRecord | None") -> bool:
        """Return whether it may change a decision on an instance, compared with the record before."""
        mapping, former = self.mapping, before.mapping if before else None
        if former is None:
            return not mapping.deleted
        known, now = ((one, one.former_profile_ids, one.former) for one in (former, mapping))
        return known != now

    def needs_nothing(self, published: PublishedMapping, region: str, *, in_scope: bool) -> bool:
        """Return whether it is up to date and usable, and governed nothing in a Region when that was last counted."""
        mapping = self.mapping
        wanted = (published.revision, published.deleted, in_scope, published.former is None)
        same = (mapping.revision, mapping.deleted, mapping.in_scope, mapping.former is None) == wanted
        return same and not mapping.suspended_because and self.counts.get(region) == (0, 0)


@dataclass(frozen=True)
class StoredMapping:
    """All that is stored of a mapping, from one consistent read.

    `records` are what is published, by account: that of the deployment's own, `home`, is what is in effect; those of
    others are read separately. `held` is the last revision held, and may be approved or overtaken since. `any_value` is
    what is published for the same tag key and any value; `in_conflict` are rows. `unsent`: not all instances of what is
    published have been sent, and in the accounts that are `publishing` it may not be written yet. `end_reported`: that
    it expires soon. `edits` counts what all edits change (`layout.EDITS`); of what is published `unseen` changes are
    left for accounts that gave no answer, `counted_at` a time if no person approved them. `progress` is how far its
    rollout has come.
    """

    home: str
    records: Mapping[str, AccountRecord] = field(default_factory=dict)
    held: Held | None = None
    any_value: PublishedMapping | None = None
    control: Control = field(default_factory=Control)
    in_conflict: frozenset[MappingKey] = frozenset()
    unsent: bool = False
    publishing: frozenset[str] = frozenset()
    end_reported: bool = False
    edits: Mapping[str, Any] = field(default_factory=dict, compare=False)
    unseen: int = field(default=0, compare=False)
    counted_at: datetime | None = field(default=None, compare=False)
    progress: Progress | None = field(default=None, compare=False)

    @cached_property
    def published(self) -> PublishedMapping | None:
        """The last revision that was published, or its tombstone."""
        return self.records[self.home].mapping if self.home in self.records else None

    def is_stale(self, account: str, *, in_scope: bool) -> bool:
        """Return whether a record is missing, older than what is published, or written while out of all its units."""
        record = self.records.get(account)
        if record is None or self.published is None:
            return in_scope and record is None
        return record.mapping.revision < self.published.revision or (in_scope and not record.mapping.in_scope)

    @cached_property
    def pending(self) -> PublishedMapping | None:
        """The revision that waits for approval; not one that was discarded, published or overtaken since."""
        held, published = self.held, self.published
        if held is None or held.outcome or held.mapping.revision <= (published.revision if published else 0):
            return None
        return held.mapping

    @cached_property
    def held_again(self) -> bool:
        """Whether what is published is held once more, for accounts where it isn't in effect yet."""
        held, published = self.pending, self.published
        return bool(held and published and (held.spec, held.deleted) == (published.spec, published.deleted))

    @cached_property
    def last(self) -> int:
        """The highest revision number so far: of what was published for any account, or held."""
        given = [record.mapping.revision for record in self.records.values()]
        return max([*given, *([self.held.mapping.revision] if self.held else [])], default=0)

    @cached_property
    def overtaken(self) -> bool:
        """Whether a record has a higher number than what is published, which was lost once and began again."""
        number = self.published.revision if self.published else 0
        return any(record.mapping.revision > number for record in self.records.values())


@dataclass(frozen=True)
class Revisions:
    """The mappings' part of the state table. An item that isn't as we wrote it raises CorruptItemError.

    Each write is atomic. It raises ConflictError if another actor wrote meanwhile. `home` is the deployment's account.
    `_copies` are the records of accounts that were read in this invocation.
    """

    store: Store
    home: str
    _copies: dict[tuple[str, MappingKey], StoredMapping] = field(default_factory=dict)

    def read(self, key: MappingKey, account: str = "") -> StoredMapping:
        """Return what is stored, with the record of one other account, if one is named."""
        stored = self._stored(key, self.store.get(sorted(self._read_of(key))))
        record = self.record(key, account) if account not in {"", self.home} else None
        return replace(stored, records={account: record, **stored.records}) if record else stored

    def read_all(self, keys: Iterable[MappingKey]) -> dict[MappingKey, StoredMapping]:
        """Return the same of several, read together; a damaged one is left out."""
        # Without the budgets: who needs one reads the mapping by itself.
        wanted = {at for key in keys for at in self._read_of(key) - {layout.budget_key(key)}}
        items = self.store.get(sorted(wanted))
        return self._undamaged(keys, lambda key: self._stored(key, items))

    def in_account(self, keys: Sequence[MappingKey], account: str, *, again: bool) -> dict[MappingKey, StoredMapping]:
        """Read the records of several for this account and the deployment's own together; not damaged ones.

        Unless they are read `again`, those that were read in this invocation are as they were then.
        """
        known = {} if again else {key: self._copies[account, key] for key in keys if (account, key) in self._copies}
        read = self._read_in_account([key for key in keys if key not in known], account)
        self._copies.update({(account, key): stored for key, stored in read.items()})
        return known | read

    def _read_in_account(self, keys: Iterable[MappingKey], account: str) -> dict[MappingKey, StoredMapping]:
        places = {key: {of: layout.published_key(key, of) for of in (self.home, account)} for key in keys}
        items = self.store.get(sorted({at for of_key in places.values() for at in of_key.values()}))

        def stored(key: MappingKey) -> StoredMapping:
            found = {of: self._decoded(_record_from, items.get(at)) for of, at in places[key].items()}
            return StoredMapping(self.home, {of: record for of, record in found.items() if record})

        return self._undamaged(keys, stored)

    def _undamaged[T](self, keys: Iterable[MappingKey], read: Callable[[MappingKey], T]) -> dict[MappingKey, T]:
        found: dict[MappingKey, T] = {}
        for key in keys:
            with suppress(CorruptItemError):
                found[key] = read(key)
        return found

    def _read_of(self, key: MappingKey) -> set[layout.Key]:
        any_at = self._at(MappingKey(key.tag_key, ANY_VALUE))
        return {layout.CONTROL, layout.EDITS, layout.budget_key(key), self._at(key), layout.held_key(key), any_at}

    def _stored(self, key: MappingKey, items: Mapping[layout.Key, layout.Item]) -> StoredMapping:
        held_at, published_at = layout.held_key(key), self._at(key)
        unsent_in = items.get(published_at, {}).get(UNSENT)
        any_at = self._at(MappingKey(key.tag_key, ANY_VALUE))
        record = self._decoded(_record_from, items.get(published_at))
        budget = items.get(layout.budget_key(key), {})
        ours = record is not None and int(budget.get("credit_revision", 0)) == record.mapping.revision
        return StoredMapping(
            self.home,
            {self.home: record} if record else {},
            held=self._decoded(layout.held_from, items.get(held_at)),
            any_value=self._decoded(layout.published_from, items.get(any_at)),
            control=Control.read(items.get(layout.CONTROL, {})),
            in_conflict=self._decoded(_in_conflict, items.get(published_at)) or frozenset(),
            unsent=unsent_in is not None,
            publishing=frozenset(unsent_in if isinstance(unsent_in, set | frozenset) else ()),
            end_reported=END_REPORTED in items.get(published_at, {}),
            edits=self._decoded(_numbers, items.get(layout.EDITS)) or {},
            unseen=int(budget.get(UNSEEN, 0)) if ours else 0,
            counted_at=None if budget.get(APPROVED) else datetime.fromisoformat(budget.get(COUNTED_AT, _LONG_AGO)),
            progress=read_rollouts(self.store, [record.mapping])[key] if record and record.mapping.former else None,
        )

    def _at(self, key: MappingKey) -> layout.Key:
        """Return where what is in effect is: all that there is once of a mapping is noted there."""
        return layout.published_key(key, self.home)

    def records(self, key: MappingKey) -> dict[str, AccountRecord]:
        """Return what is published for each account, also for those that have left the registry.

        One that can't be read is left out, and so is written again.
        """
        found: dict[str, AccountRecord] = {}
        prefix = layout.PUBLISHED_FOR
        for item in self.store.items(layout.mapping_pk(key), f"{prefix}~", prefix):
            with suppress(CorruptItemError):
                found[item["sk"].removeprefix(prefix)] = self.store.decode(_record_from, item)
        return found

    def with_records(self, key: MappingKey, stored: StoredMapping) -> StoredMapping:
        return replace(stored, records={**self.records(key), **stored.records})

    def keys(self) -> Iterator[MappingKey]:
        """Yield the mappings that are published, tombstones apart, also those whose rows are gone; no damaged one."""
        for item in self.store.items(layout.INDEX, "~"):
            if "deleted" not in item:
                with suppress(CorruptItemError):
                    yield self.store.decode(lambda found: layout.mapping_of(found["mapping"]), item)

    def record(self, key: MappingKey, account: str) -> AccountRecord | None:
        """Return what is published for one account; None also if that can't be read."""
        at = layout.published_key(key, account)
        with suppress(CorruptItemError):
            return self._decoded(_record_from, self.store.get([at]).get(at))
        return None

    def profiles(self, key: MappingKey) -> frozenset[str]:
        """Return the profiles of all revisions, by the ARN in the hub's account: what it may have given."""
        revisions = self.store.items(layout.mapping_pk(key), "revision$", "revision#")
        return frozenset(str(revision.get("profile_arn", "")) for revision in revisions) - {""}

    def write(self, account: str, record: AccountRecord, *counts: Write) -> None:
        """Publish for another account; ConflictError if a newer revision is published there, or `counts` fail."""
        update = Update().set(record.content).only_if("revision", "<=", record.mapping.revision, or_absent=True)
        update.remove(*({"former"} - record.content.keys()))
        written = self.store.update(layout.published_key(record.mapping.key, account), update)
        self.store.write(written, *counts)

    def fleet(self, home: Target) -> int:
        """Return how many instances all targets have, as the last sweeps counted them."""
        at = layout.target_key(home)
        return int(self.store.get([at]).get(at, {}).get(layout.FLEET, 0))

    def take_unseen(self, mapping: PublishedMapping, changes: int) -> Write:
        update = Update().add(UNSEEN, -changes).only_if(UNSEEN, ">=", changes)
        return self.store.update(
            layout.budget_key(mapping.key), update.only_if("credit_revision", "=", mapping.revision)
        )

    def _decoded[T](self, decode: Callable[[layout.Item], T], item: layout.Item | None) -> T | None:
        return self.store.decode(decode, item) if item else None

    def approvals(self, held: Held | None) -> tuple[Approval, ...]:
        """Read what the signers of a held revision wrote, each in a partition of their own."""
        signers = held.signers if held and not held.outcome else ()
        at = {layout.approval_key(by, held.mapping.key): by for by in signers} if held else {}
        return tuple(Approval.read(at[key], item) for key, item in sorted(self.store.get(sorted(at)).items()))

    def note_signer(self, key: MappingKey, by: str) -> None:
        """Note who signed an approval of what is held of a mapping; ConflictError if nothing ever was."""
        update = Update().add(layout.SIGNERS, frozenset({by})).only_if("revision", ">", 0)
        self.store.write(self.store.update(layout.held_key(key), update))

    def publish(  # noqa: PLR0913  # one transaction says all that changes
        self,
        mapping: PublishedMapping,
        entry: Entry,
        at: datetime,
        *,
        budget: int = 0,
        unseen: int = 0,
        approved: bool = False,
        accounts: Iterable[str] = (),
        blocks: Iterable[MappingKey] = (),
        held: bool = False,
        regions: Counts | None = None,
        also: Iterable[Write] = (),
    ) -> None:
        """Put a mapping in effect, and keep it as a revision with its history entry, in one transaction.

        `budget`: the roles to take that a person `approved`; `unseen`: the changes counted for accounts that gave no
        answer; `accounts`: for which it is published; `blocks`: rows in conflict, as read; `held`: it was held under
        this number, and mustn't have been discarded; `regions`: the record's counts; `also`: other writes.
        """
        item = layout.published_item(mapping, self.home)
        revision = {**entry, **item, "sk": layout.revision_sk(mapping.revision), "at": layout.timestamp(at)}
        revision.pop("former", None)
        blocked = {layout.mapping_pk(key) for key in blocks}
        item |= {UNSENT: {self.home, *accounts}} | _counts_item(regions or {})
        item |= {BLOCKS: blocked} if blocked else {}
        writes = [
            *also,
            self.store.put(item, if_higher="revision", if_same=[BLOCKS]),
            self.store.put(revision),
            self.store.entry(layout.mapping_pk(mapping.key), entry, at),
            self.store.put(layout.index_item(mapping, at)),
        ]
        due = at + FOLLOWED_UP if mapping.deleted else mapping.spec.expires_at
        if due and due > at:
            writes.append(self.store.put(layout.timer_item(Timer(due, mapping.key))))
        if budget or unseen:
            left = {UNSEEN: unseen, COUNTED_AT: layout.timestamp(at), APPROVED: approved}
            writes.append(self.store.put(layout.budget_item(mapping, budget) | left))
        if held:
            writes.append(self._outcome(mapping, layout.PUBLISHED))
        self.store.write(*writes)

    def rolling(self, key: MappingKey, progress: Progress, at: datetime) -> tuple[Write, Write]:
        """Begin a rollout, and have each minute's task look at it."""
        return self.store.put(layout.rollout_item(key, progress)), self.watching(key, at)

    def taken_back(self, key: MappingKey) -> Write:
        """Let a rollout that another revision ends move nothing, where that isn't published yet either."""
        return self.store.update(layout.rollout_key(key), Update().set({"may": 0}))

    def watching(self, key: MappingKey, at: datetime) -> Write:
        """Have the next minute's task look at a mapping's rollout."""
        return self.store.put(layout.timer_item(Timer(at, key, follows=True)))

    def roll(self, key: MappingKey, before: Progress, now: Progress, *history: Write) -> None:
        """Write that a rollout comes to another wave, halts or goes on; ConflictError if another run did that."""
        was, item = layout.encode(before), layout.encode(now)
        update = Update().set({name: item[name] for name in ("wave", "may", "next_at", "halted")})
        if now.failed != before.failed:
            update.set({f"failed:{now.revision}": now.failed})
        update.only_as(was, "revision", "wave", "may", "halted")
        self.store.write(self.store.update(layout.rollout_key(key), update), *history)

    def end_rollout(self, mapping: PublishedMapping, progress: Progress) -> None:
        """End a rollout, unless it was halted: what was published before governs no instance any longer."""
        ends = Update().remove("former").set({UNSENT: True}).only_if("revision", "=", mapping.revision)
        over = replace(progress, wave=progress.wave + 1)
        self.roll(mapping.key, progress, over, self.store.update(self._at(mapping.key), ends))

    def hold(self, held: Held, entry: Entry, at: datetime) -> None:
        """Keep a revision that waits for approval, with its history entry, in one transaction."""
        history = self.store.entry(layout.mapping_pk(held.mapping.key), entry, at)
        self.store.write(self.store.put(layout.held_item(held), if_higher="revision"), history)

    def discard(self, held: PublishedMapping, entry: Entry, at: datetime) -> None:
        """Drop a held revision, with its history entry, in one transaction; ConflictError if it was published."""
        history = self.store.entry(layout.mapping_pk(held.key), entry, at)
        self.store.write(self._outcome(held, layout.DISCARDED), history)

    def _outcome(self, held: PublishedMapping, outcome: str) -> Write:
        """Write how a held revision ended, once: a second writer gets a ConflictError."""
        update = Update().set({layout.OUTCOME: outcome}).only_if("revision", "=", held.revision)
        return self.store.update(layout.held_key(held.key), update.only_as({}, layout.OUTCOME))

    def refresh(self, mapping: PublishedMapping, entry: Entry | None, at: datetime) -> None:
        """Write whether IAM says that a published revision can be used, and its profile's ids."""
        item = layout.mapping_attributes(mapping)
        found = {
            name: item[name]
            for name in ("suspended_because", "suspended_in", "remedy", "profile_id", "former_profile_ids")
        }
        history = [self.store.entry(layout.mapping_pk(mapping.key), entry, at)] if entry else []
        self._write(mapping, Update().set(found | ({UNSENT: True} if entry else {})), *history)

    def note_unsent(self, mapping: PublishedMapping) -> None:
        self._write(mapping, Update().set({UNSENT: True}))

    def note_sent(self, mapping: PublishedMapping) -> None:
        self._write(mapping, Update().remove(UNSENT))

    def report_end(self, mapping: PublishedMapping, entry: Entry, at: datetime) -> None:
        """Note, once for each revision, that it was reported to expire soon, with its history entry."""
        history = self.store.entry(layout.mapping_pk(mapping.key), entry, at)
        self._write(mapping, Update().set({END_REPORTED: True}).only_as({}, END_REPORTED), history)

    def count(self, mapping: PublishedMapping, region: str, counts: tuple[int, int]) -> None:
        """Note how many instances a published mapping governs in another Region of the deployment's account."""
        self._write(mapping, Update().set({f"{COUNTS}{region}": list(counts)}))

    def note_conflict(self, row: MappingKey, other: PublishedMapping, *, elsewhere: bool = False) -> None:
        """Note a row's conflict at what is published; a ConflictError says that it is published anew."""
        stored = self.read(other.key)
        # The record of another account may be older than what is published.
        if not (elsewhere or (stored.published and stored.published.revision == other.revision)):
            # The conflict may be over: judge the row again.
            raise ConflictError("OtherChanged", f"{other.key} is published anew")
        if stored.published and row not in stored.in_conflict and len(stored.in_conflict) < ROWS:
            self._write(stored.published, Update().add(BLOCKS, frozenset({layout.mapping_pk(row)})))

    def _write(self, mapping: PublishedMapping, update: Update, *history: Write) -> None:
        """Update what is in effect if it is still this revision, in one transaction with its history entry, if any."""
        update.only_if("revision", "=", mapping.revision)
        self.store.write(self.store.update(self._at(mapping.key), update), *history)

    def remove_conflicts(self, key: MappingKey, rows: Iterable[MappingKey]) -> None:
        # Only where it is published: an update would make an item that means nothing.
        update = Update().discard(BLOCKS, frozenset(map(layout.mapping_pk, rows))).only_if("revision", ">", 0)
        self.store.write(self.store.update(self._at(key), update))

    def note(self, key: MappingKey, entry: Entry, at: datetime) -> None:
        """Keep a history entry; none of a row whose key can have no partition, as its mapping can't be published."""
        if layout.is_partition(pk := layout.mapping_pk(key)):
            self.store.write(self.store.entry(pk, entry, at))

    def history(self, key: MappingKey, limit: int = 50) -> list[layout.Item]:
        return self.store.history(layout.mapping_pk(key), limit)


def _counts_item(counts: Counts) -> layout.Item:
    return {f"{COUNTS}{region}": list(pair) for region, pair in counts.items()}


def _counts(item: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    counted = {name.removeprefix(COUNTS): value for name, value in item.items() if name.startswith(COUNTS)}
    return {region: (int(matched), int(occupied)) for region, (matched, occupied) in counted.items()}


def _record_from(item: Mapping[str, Any]) -> AccountRecord:
    return AccountRecord(layout.published_from(item), _counts(item))


def _numbers(item: Mapping[str, Any]) -> dict[str, Any]:
    numbers: dict[str, Any] = {name: int(value) for name, value in item.items() if name not in ("pk", "sk", "later")}
    if "later" in item:
        numbers["later"] = {str(int(minute)): int(number) for minute, number in dict(item["later"]).items()}
    return numbers


def _in_conflict(item: Mapping[str, object]) -> frozenset[MappingKey]:
    rows = item.get(BLOCKS, frozenset())
    if not isinstance(rows, set | frozenset):
        raise TypeError(f"{BLOCKS} is no set")
    return frozenset(layout.mapping_of(pk) for pk in rows)

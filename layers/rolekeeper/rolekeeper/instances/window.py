"""Limits how many instances of a target change within a window, over all mappings together.

So people notice a wrong edit or a wrong tagging script before it reaches the whole fleet, over however many rows. Each
target has room of its own, and so have its detaches to `NONE`.

Items count by the minute: two for each target count the roles that are replaced or detached, and those that a mapping
to `NONE` takes away (`changes_key`); `layout.EDITS` counts what edits without approval change. An item holds a `total`,
and `m<minute>` for each minute's share of it, which leaves once the window has passed since that minute. The write of
the grant, or of the revision, also counts, and fails without room; the read of the instances also reads the counters.
`later` of the edits' item counts, by the minute, what they change at later moments, until those have passed.

`version` of the edits' item is a lock: each edit that concerns instances raises it, if it is as it was before they
were read. Otherwise each of two edits could leave the same instances to what the other one replaces.

A change without room gets a turn: the first minute in which room becomes free that no other change waits for.
`w<minute>` counts the changes that wait for a minute. Each has a minute of its own, so it waits about once, however
many there are. A change that no longer waits, because its tag is taken back or changes are paused, gives its turn back.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from rolekeeper.aws import errors
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import MappingKey, PublishedMapping
from rolekeeper.model.waves import Progress
from rolekeeper.settings import Limits
from rolekeeper.storage import Store, Update, layout
from rolekeeper.storage.layout import Key
from rolekeeper.storage.state import Write

MINUTE = 60
# How far ahead turns are given, in minutes: a week. After that a change asks again.
HORIZON = 7 * 24 * 60
# Seconds over which the changes that wait for the same minute are spread.
SPREAD = 20
# Minutes after its turn in which a change that waited is counted: it is made by the next minute, at the workers' pace.
LATE = 1
# The most minutes that leave an item in one write: an expression has at most 4 KB (DynamoDB, "Service quotas").
LEAVING = 100


def counted(item: Mapping[str, Any], minutes: int, now: datetime) -> int:
    """Return how many changes an item counts in the last `minutes`."""
    return int(item.get("total", 0)) - sum(_over(item, minutes, now).values())


def counted_with(item: Mapping[str, Any], minutes: int, now: datetime, *, moments: Iterable[datetime]) -> int:
    """Return how many changes an item counts within `minutes` of now, or of the later moment that has the most."""

    def near(at: datetime) -> int:
        later = item.get("later", {}).items()
        return sum(number for minute, number in later if abs(int(minute) - _minute(at)) <= minutes)

    return max([counted(item, minutes, now) + near(now), *map(near, moments)])


def approved_budget(item: Mapping[str, Any], revision: int) -> int:
    """Return how many of the changes are left that a person approved for this revision of a mapping."""
    return int(item.get(layout.credit_of(revision), 0)) if int(item.get("credit_revision", 0)) == revision else 0


def counting(  # noqa: PLR0913  # what is counted, against what
    item: Mapping[str, Any],
    number: int,
    allowed: int,
    minutes: int,
    now: datetime,
    *,
    later: Mapping[datetime, int] | None = None,
) -> Update:
    """Count `number` more if that makes at most `allowed`, and `later` ones; drop what has left the window."""
    over = _over(item, minutes, now)
    leaving = dict(list(over.items())[:LEAVING])
    counts, oldest = Counter[str](item.get("later", {})), _minute(now) - minutes
    for at, changes in (later or {}).items():
        counts[str(_minute(at))] += changes
    ahead = {minute: number for minute, number in counts.items() if int(minute) >= oldest}
    last = datetime.fromtimestamp(max(map(int, ahead), default=0) * MINUTE, UTC)
    update = _adding(number, minutes, now, left=sum(leaving.values()), until=last)
    if ahead or "later" in item:
        update.set({"later": ahead})
    update.only_if("total", "<=", allowed - number + sum(over.values()), or_absent=number <= allowed)
    for name, share in leaving.items():
        update.remove(name).only_if(name, "=", share)
    if len(over) > LEAVING:
        update.only_if("total", "=", item["total"])
    return update.remove(*list(_over(item, 0, now, kind="w"))[:LEAVING])


def counted_anew(changes: int, minutes: int, *, since: datetime, now: datetime) -> Update:
    """Have changes that were counted at a time, and still count, count from now on."""
    update = _adding(changes, minutes, now, left=changes)
    return update.add(f"m{_minute(since)}", -changes) if _minute(since) != _minute(now) else Update()


def locked(edits: Mapping[str, Any], update: Update) -> Update:
    """Write to the edits' item only if no other edit that concerns instances was published since it was read."""
    return update.add("version", 1).only_as(edits, "version")


def _over(item: Mapping[str, Any], minutes: int, now: datetime, kind: str = "m") -> dict[str, int]:
    """Return the shares of the minutes that have left the window, the oldest first."""
    last = _minute(now) - minutes - 1  # its share leaves now
    names = (name for name in sorted(item) if name[0] == kind and name[1:].isdigit())
    return {name: int(item[name]) for name in names if int(name[1:]) <= last}


def _adding(number: int, minutes: int, now: datetime, left: int = 0, *, until: datetime | None = None) -> Update:
    # The item is of no use after its window, and the one of its last later changes.
    expires = int((max(now, until or now) + timedelta(minutes=2 * minutes, days=1)).timestamp())
    return Update().add("total", number - left).add(f"m{_minute(now)}", number).set({"expires": expires})


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room for one change: `reserve` counts it, if there is some; `release` undoes that.

    `counted` is the item that counts it; None if its revision's approval pays for it.
    """

    reserve: Write
    release: Write
    counted: Key | None = None


def counted_in_wave(store: Store, mapping: PublishedMapping, progress: Progress) -> Write:
    """Count a move of a rollout, if as many may have moved by now; nothing moves once it is halted or overtaken.

    It is never given back: by its grant an instance whose change was refused has moved, and is tried again.
    """
    moved, seen = f"moved:{progress.revision}", {"may": progress.may, "revision": progress.revision}
    more = Update().add(moved, 1).only_if(moved, "<", progress.may).only_as(seen, *seen)
    return store.update(layout.rollout_key(mapping.key), more)


def failed_in_wave(store: Store, mapping: PublishedMapping) -> Write:
    """Count an instance that ended anything but converged."""
    return store.update(layout.rollout_key(mapping.key), Update().add(f"failed:{mapping.revision}", 1))


@dataclass
class ChangeLimiter:
    """Lets a limited number of a target's changes through within the window; beyond that, what a person approved.

    It relies on the counters that the last read of instances brought, `known` by the `keys`, until a write fails
    because they changed: then none is known. `turns` are those given since the last write.
    """

    store: Store
    limits: Limits
    target: Target
    known: dict[Key, Mapping[str, Any]] = field(default_factory=dict)
    turns: Counter[tuple[Key, str]] = field(default_factory=Counter)

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys of the counters, apart from approvals; the last counts the target's instances."""
        changes, quarantines = (layout.changes_key(self.target, quarantines=to_none) for to_none in (False, True))
        return changes, quarantines, layout.target_key(self.target)

    def note_reserved(self, room: Reservation, now: datetime) -> None:
        if room.counted is None:
            self.known = {}
        elif item := self.known.get(room.counted):
            taken = {name: int(item.get(name, 0)) + 1 for name in ("total", f"m{_minute(now)}")}
            self.known[room.counted] = {**item, **taken}

    def count_turns(self) -> None:
        """Count the changes that wait, or no longer do, all in one write."""
        updates: dict[Key, Update] = {}
        for (key, name), number in self.turns.items():
            updates.setdefault(key, Update()).add(name, number)
        # A turn is a hint: two may wait for the same.
        with suppress(errors.AwsRefusalError):
            self.store.write(*(self.store.update(key, update) for key, update in updates.items()))
        self.turns.clear()

    def give_back(self, turn: datetime) -> None:
        """Let others have a turn. It isn't known which window was full then, so each that counts the turn gives one."""
        name = f"w{_minute(turn)}"
        for key in self.known:
            if name in self.known[key] and int(self.known[key][name]) + self.turns[key, name] > 0:
                self.turns[key, name] -= 1

    def _allowed(self) -> int:
        return self.limits.allowed(int(self.known.get(self.keys[-1], {}).get("instances", 0)))

    def _by_number(self, key: Key, now: datetime) -> Reservation | None:
        if key not in self.known or counted(self.known[key], self.limits.minutes, now) >= self._allowed():
            return None
        return self.room(now, key)

    def room(self, now: datetime, key: Key) -> Reservation:
        minutes = self.limits.minutes
        more = counting(self.known.get(key, {}), 1, self._allowed(), minutes=minutes, now=now)
        return Reservation(self.store.update(key, more), self.store.update(key, _adding(-1, minutes, now)), key)

    def reserve_or_wait(
        self, mapping: MappingKey, revision: int, now: datetime, *, quarantines: bool = False
    ) -> Reservation | datetime:
        """Reserve room by the counters, read again if need be, or by this revision's approval; or return a turn."""
        key, budget = layout.changes_key(self.target, quarantines=quarantines), layout.budget_key(mapping)
        room = self._by_number(key, now)
        if not room and budget not in self.known:
            keys = *self.keys, budget
            found = self.store.get(keys)
            self.known |= {counter: found.get(counter, {}) for counter in keys}
            room = self._by_number(key, now)
        if room:
            return room
        if approved_budget(self.known[budget], revision) > 0:
            credit = layout.credit_of(revision)
            used = Update().add(credit, -1).only_if(credit, ">", 0).only_if("credit_revision", "=", revision)
            return Reservation(self.store.update(budget, used), self.store.update(budget, Update().add(credit, 1)))
        return self._turn(key, now)

    def _turn(self, key: Key, now: datetime) -> datetime:
        """Reserve the first minute with room that no other change waits for, a little spread."""
        this, item = _minute(now), self.known[key]

        def waiting(minute: int) -> int:
            return int(item.get(f"w{minute}", 0)) + self.turns[key, f"w{minute}"]

        def has_room(turn: int) -> bool:
            left = turn - 1 - self.limits.minutes  # the minute whose share leaves then
            leaving = int(item.get(f"m{left}", 0)) if left <= this else waiting(left - LATE)
            return leaving > waiting(turn)

        turn = next(filter(has_room, range(this + 1, this + 1 + HORIZON)), None)
        if turn:
            self.turns[key, f"w{turn}"] += 1
        spread = random.Random().uniform(0, SPREAD)  # noqa: S311  # spreads load, guards nothing
        return datetime.fromtimestamp((turn or this + 1 + self.limits.minutes) * MINUTE + spread, UTC)


def _minute(at: datetime) -> int:
    return int(at.timestamp()) // MINUTE

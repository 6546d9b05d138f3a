"""How many roles one mapping replaces and detaches in a while: a burst beyond the limit waits.

So a wrong edit, or a wrong script that tags, is noticed before it reached the whole fleet.

Changes are counted by the minute, in one item for each mapping: `total`, and `m<minute>` for each minute's share of it,
which leaves when the whole window has passed since its end. A change is counted in the transaction that writes its
grant: without room it isn't begun, and it costs no further call.

What finds no room gets a turn: the first minute in which some leaves that nobody else waits for. `w<minute>` counts
those who wait for it, and their room leaves a window later in turn. So each waits about once, however many they are.
"""

import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rolekeeper.aws.errors import ConflictError, RetryableError
from rolekeeper.model.mapping import MappingKey
from rolekeeper.settings import Limits
from rolekeeper.storage import Store, Update, layout
from rolekeeper.storage.table import Write

MINUTE = 60
# How far ahead turns are given, in minutes: a week. What would wait for longer asks again.
HORIZON = 7 * 24 * 60
# Seconds over which those who wait for the same minute are spread.
SPREAD = 20


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room for one change: `take` counts it, if there is some; `back` undoes that in the same minute, or credit."""

    take: Write
    back: Write


@dataclass(frozen=True)
class ChangeLimiter:
    """The windows of all mappings, each of so many `minutes`."""

    store: Store
    limits: Limits
    minutes: int

    def room(self, mapping: MappingKey, now: datetime) -> Reservation:
        return self._taking(layout.window_key(mapping), now, self.limits.per_edit)

    def reserve_or_wait(self, mapping: MappingKey, revision: int, now: datetime) -> Reservation | datetime:
        """After a refusal: room by the fleet's size at the last sweep or by this revision's approval, or a turn."""
        key = layout.window_key(mapping)
        found = self.store.get([key, layout.FLEET])
        item, fleet = found.get(key, {}), found.get(layout.FLEET, {})
        total = int(item.get("total", 0)) - self._forget(key, item, now)
        if total < (allowed := self.limits.allowed(int(fleet.get("instances", 0)))):
            return self._taking(key, now, allowed)
        if int(item.get("credit", 0)) > 0 and int(item.get("credit_revision", 0)) == revision:
            used = Update().add("credit", -1).only_if("credit", ">", 0).only_if("credit_revision", "=", revision)
            return Reservation(self.store.update(key, used), self.store.update(key, Update().add("credit", 1)))
        return self._turn(key, item, now)

    def _taking(self, key: layout.Key, now: datetime, allowed: int) -> Reservation:
        update = self._counting(now, 1).only_if("total", "<", allowed, or_absent=allowed > 0)
        return Reservation(self.store.update(key, update), self.store.update(key, self._counting(now, -1)))

    def _counting(self, now: datetime, number: int) -> Update:
        # The item is of use for a window and no longer; what DynamoDB drops late is forgotten by the next burst.
        expires = now + timedelta(minutes=2 * self.minutes, days=1)
        counting = Update().add("total", number).add(f"m{_minute(now)}", number)
        return counting.set({"expires": int(expires.timestamp())})

    def _forget(self, key: layout.Key, item: Mapping[str, Any], now: datetime) -> int:
        """Take the minutes that are over out of the total; how many changes left, 0 also when another worker did it."""
        last = _minute(now) - self.minutes - 1  # its share leaves now
        over = {name: int(item[name]) for name in item if _is_minute(name) and int(name[1:]) <= last}
        if not over:
            return 0
        left = sum(over.values())
        update = Update().add("total", -left)
        for name, number in over.items():
            update.remove(name).only_if(name, "=", number)
        for name in item:
            if _is_minute(name, "w") and int(name[1:]) < _minute(now):
                update.remove(name)
        try:
            self.store.write(self.store.update(key, update))
        except ConflictError:
            return 0
        return left

    def _turn(self, key: layout.Key, item: Mapping[str, Any], now: datetime) -> datetime:
        """The first minute with room that nobody waits for yet, a little spread; counts one more who waits for it."""
        this = _minute(now)
        for turn in range(this + 1, this + 1 + HORIZON):
            left = turn - 1 - self.minutes  # the minute whose share leaves then
            leaving = int(item.get(f"m{left}" if left <= this else f"w{left}", 0))
            if leaving > int(item.get(f"w{turn}", 0)):
                with suppress(RetryableError):
                    # Others count here too, and DynamoDB lets one through. A turn is a hint: two may wait for the same.
                    self.store.write(self.store.update(key, Update().add(f"w{turn}", 1)))
                break
        else:
            turn = this + 1 + self.minutes
        spread = random.Random().uniform(0, SPREAD)  # noqa: S311  # spreads load, guards nothing
        return datetime.fromtimestamp(turn * MINUTE + spread, UTC)


def _minute(at: datetime) -> int:
    return int(at.timestamp()) // MINUTE


def _is_minute(name: str, kind: str = "m") -> bool:
    return name[0] == kind and name[1:].isdigit()

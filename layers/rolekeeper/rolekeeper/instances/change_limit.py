"""How many instances change in a while, over all mappings together: a burst beyond the limit waits.

So a wrong edit, or script that tags, is noticed before it reached the whole fleet, however it is split over rows.

Two items count by the minute: `layout.CHANGES` the roles that are replaced and detached, `layout.EDITS` what edits
without approval change. They hold a `total`, and `m<minute>` for each minute's share of it, which leaves when the whole
window has passed since its end. It is counted in the transaction that writes the grant, or the revision: without room
that isn't begun, and it costs no further call.

A change without room gets a turn: the first minute in which some leaves that nobody else waits for. `w<minute>` counts
those who wait for it, and their room leaves a window later in turn. So each waits about once, however many they are.
"""

import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rolekeeper.aws.errors import RetryableError
from rolekeeper.model.mapping import MappingKey
from rolekeeper.settings import Limits
from rolekeeper.storage import Store, Update, layout
from rolekeeper.storage.table import Write

MINUTE = 60
# How far ahead turns are given, in minutes: a week. What would wait for longer asks again.
HORIZON = 7 * 24 * 60
# Seconds over which those who wait for the same minute are spread.
SPREAD = 20
# The most minutes that leave an item in one write: an expression has at most 4 KB (DynamoDB, "Service quotas").
LEAVING = 100


def counted(item: Mapping[str, Any], minutes: int, now: datetime) -> int:
    """How many an item counts in the last `minutes`."""
    return int(item.get("total", 0)) - sum(_over(item, minutes, now).values())


def counting(item: Mapping[str, Any], number: int, allowed: int, minutes: int, now: datetime) -> Update:
    """Count so many more, if that makes at most `allowed`, without what is over in an item as read; empty: unread."""
    over = _over(item, minutes, now)
    leaving = dict(list(over.items())[:LEAVING])
    update = _adding(number, minutes, now, left=sum(leaving.values()))
    update.only_if("total", "<=", allowed - number + sum(over.values()), or_absent=number <= allowed)
    for name, share in leaving.items():
        update.remove(name).only_if(name, "=", share)
    if len(over) > LEAVING:
        update.only_if("total", "=", item["total"])
    return update.remove(*list(_over(item, 0, now, "w"))[:LEAVING])


def _over(item: Mapping[str, Any], minutes: int, now: datetime, kind: str = "m") -> dict[str, int]:
    """The minutes that have left a window of so many, the oldest first, each with its share."""
    last = _minute(now) - minutes - 1  # its share leaves now
    names = (name for name in sorted(item) if name[0] == kind and name[1:].isdigit())
    return {name: int(item[name]) for name in names if int(name[1:]) <= last}


def _adding(number: int, minutes: int, now: datetime, left: int = 0) -> Update:
    # The item is of use for a window and no longer.
    expires = int((now + timedelta(minutes=2 * minutes, days=1)).timestamp())
    return Update().add("total", number - left).add(f"m{_minute(now)}", number).set({"expires": expires})


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room for one change: `take` counts it, if there is some; `back` undoes that in the same minute, or credit."""

    take: Write
    back: Write


@dataclass(frozen=True)
class ChangeLimiter:
    """Lets so many changes of instances through in a while; beyond that, what somebody approved."""

    store: Store
    limits: Limits

    def room(self, now: datetime, item: Mapping[str, Any] | None = None, fleet: int = 0) -> Reservation:
        """Room by the number alone; after a refusal, by what was read: the window's `item`, and the fleet's size."""
        minutes = self.limits.minutes
        take, back = counting(item or {}, 1, self.limits.allowed(fleet), minutes, now), _adding(-1, minutes, now)
        return Reservation(self.store.update(layout.CHANGES, take), self.store.update(layout.CHANGES, back))

    def reserve_or_wait(self, mapping: MappingKey, revision: int, now: datetime) -> Reservation | datetime:
        """After a refusal: room by the fleet's size at the last sweep or by this revision's approval, or a turn."""
        budget = layout.budget_key(mapping)
        found = self.store.get([layout.CHANGES, budget, layout.FLEET])
        item, approved = found.get(layout.CHANGES, {}), found.get(budget, {})
        fleet = int(found.get(layout.FLEET, {}).get("instances", 0))
        if counted(item, self.limits.minutes, now) < self.limits.allowed(fleet):
            return self.room(now, item, fleet)
        if int(approved.get("credit", 0)) > 0 and int(approved.get("credit_revision", 0)) == revision:
            used = Update().add("credit", -1).only_if("credit", ">", 0).only_if("credit_revision", "=", revision)
            return Reservation(self.store.update(budget, used), self.store.update(budget, Update().add("credit", 1)))
        return self._turn(item, now)

    def _turn(self, item: Mapping[str, Any], now: datetime) -> datetime:
        """The first minute with room that nobody waits for yet, a little spread; counts one more who waits for it."""
        this = _minute(now)
        for turn in range(this + 1, this + 1 + HORIZON):
            left = turn - 1 - self.limits.minutes  # the minute whose share leaves then
            leaving = int(item.get(f"m{left}" if left <= this else f"w{left}", 0))
            if leaving > int(item.get(f"w{turn}", 0)):
                with suppress(RetryableError):
                    # Others count here too, and DynamoDB lets one through. A turn is a hint: two may wait for the same.
                    self.store.write(self.store.update(layout.CHANGES, Update().add(f"w{turn}", 1)))
                break
        else:
            turn = this + 1 + self.limits.minutes
        spread = random.Random().uniform(0, SPREAD)  # noqa: S311  # spreads load, guards nothing
        return datetime.fromtimestamp(turn * MINUTE + spread, UTC)


def _minute(at: datetime) -> int:
    return int(at.timestamp()) // MINUTE

"""Timers: when an instance or a mapping has to be looked at again, though nothing happens to it.

They lie in one partition of the state table, in the order in which they ring. A timer is a hint like every event: who
rings it reads again what is true, so one that was overtaken does no harm.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import batched

from rolekeeper import codec
from rolekeeper.errors import DamagedError
from rolekeeper.model import Timer
from rolekeeper.store import Store

# A transaction holds at most 100 writes (DynamoDB API reference); a page of timers is as long.
PAGE = 100


class Timers:
    """The timers' part of the state table. Errors come classified."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def arm(self, timer: Timer) -> None:
        """Have its subject looked at when it is due. Arming it again changes nothing."""
        self._store.write(self._store.put(codec.timer_item(timer)))

    def due(self, until: datetime) -> Iterator[Timer | DamagedError]:
        """The timers that ring before `until`, in order, read as they are asked for.

        One that can't be read comes as the error that says so: it must not hide the others.
        """
        after = ""
        while True:
            items = self._store.first(codec.TIMERS, codec.timestamp(until), PAGE, after)
            for item in items:
                try:
                    yield self._store.decode(codec.timer_from, item)
                except DamagedError as damaged:
                    yield damaged
            if len(items) < PAGE:
                return
            after = items[-1]["sk"]

    def clear(self, *timers: Timer) -> None:
        """Delete timers that have rung. One that is gone already is no error."""
        for some in batched(timers, PAGE, strict=False):
            keys = (codec.key_of(codec.timer_item(timer)) for timer in some)
            self._store.write(*(self._store.delete(key) for key in keys))

"""What all tabs share: read once for all who ask at the same time, or kept under an id, for a while."""

import secrets
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from math import inf
from threading import Lock

# What takes long to read is read for at most a fifth of the time.
_PACE = 5


@dataclass(eq=False)
class _Entry[T]:
    reading: Lock = field(default_factory=Lock)
    value: T | None = None
    until: float = -inf
    failed: tuple[float, Exception] | None = None


class Cache[T]:
    """Values by key or by a random id; the oldest go. Threads may share it.

    Args:
        seconds: for how long a value that was read is given out.
        most: how many are kept.
        clock: seconds, that only go on.
        stale: whether the value of before is given out while another thread reads.
    """

    def __init__(
        self,
        seconds: float = inf,
        most: int = 100,
        *,
        clock: Callable[[], float] = time.monotonic,
        stale: bool = False,
    ) -> None:
        self._seconds, self._most, self._clock, self._stale = seconds, most, clock, stale
        self._entries: dict[Hashable, _Entry[T]] = {}
        self._lock = Lock()

    def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """The value. An error of `read` is that of all who waited for it; the next one reads again."""
        asked = time.monotonic()
        entry = self._entry(key, _Entry())
        known = entry.value
        if not entry.reading.acquire(blocking=not self._stale or known is None):
            assert known is not None
            return known
        try:
            if entry.failed and entry.failed[0] >= asked:
                raise entry.failed[1]
            if entry.value is None or self._clock() >= entry.until:
                self._read(entry, read)
            assert entry.value is not None
            return entry.value
        finally:
            entry.reading.release()

    def keep(self, value: T) -> str:
        id_ = secrets.token_urlsafe(16)
        self._entry(id_, _Entry(value=value, until=inf))
        return id_

    def known(self, key: Hashable) -> T | None:
        """The value of a key or an id; None where there is none, or no longer."""
        with self._lock:
            return entry.value if (entry := self._entries.get(key)) else None

    def take(self, id_: Hashable) -> T | None:
        """The same, for one who asks: it is gone then."""
        with self._lock:
            return entry.value if (entry := self._entries.pop(id_, None)) else None

    def forget(self) -> None:
        """Have the next one read: something was just changed."""
        with self._lock:
            self._entries = {}

    def _entry(self, key: Hashable, new: _Entry[T]) -> _Entry[T]:
        with self._lock:
            entry = self._entries.setdefault(key, new)
            while len(self._entries) > self._most:
                del self._entries[next(iter(self._entries))]
            return entry

    def _read(self, entry: _Entry[T], read: Callable[[], T]) -> None:
        began = self._clock()
        try:
            entry.value = read()
        except Exception as error:
            entry.value, entry.failed = None, (time.monotonic(), error)
            raise
        entry.until = began + max(self._seconds, _PACE * (self._clock() - began))

"""What all tabs share: read once for all who ask at the same time, or kept under an id, for a while."""

import secrets
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from math import inf
from threading import Lock
from typing import Any

# What takes long to read is read for at most a fifth of the time.
_PACE = 5


@dataclass(eq=False)
class _Entry:
    reading: Lock = field(default_factory=Lock)
    value: Any = None
    until: float = -inf
    failed: tuple[float, Exception] | None = None


class Cache:
    """Values by key or by a random id, at most so many: the oldest go. Threads may share it.

    `clock` gives seconds that only go on.
    """

    def __init__(self, most: int = 200, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._entries: dict[Hashable, _Entry] = {}
        self._lock = Lock()

    def get[T](self, key: Hashable, read: Callable[[], T], seconds: float = inf, *, stale: bool = False) -> T:
        """The value, at most so many `seconds` old. `stale`: while another thread reads, the former one will do.

        An error of `read` is raised for all who waited for it; the next one reads again.
        """
        asked = time.monotonic()
        entry = self._entry(key)
        former: T = entry.value
        if not entry.reading.acquire(blocking=not stale or former is None):
            return former
        try:
            if entry.failed and entry.failed[0] >= asked:
                raise entry.failed[1]
            if entry.value is None or self._clock() >= entry.until:
                self._read(entry, read, seconds)
            found: T = entry.value
            return found
        finally:
            entry.reading.release()

    def keep(self, value: object) -> str:
        id_ = secrets.token_urlsafe(16)
        self.get(id_, lambda: value)
        return id_

    def known(self, key: Hashable) -> Any:
        """The value of a key or an id; None where there is none, or no longer."""
        with self._lock:
            return entry.value if (entry := self._entries.get(key)) else None

    def take(self, id_: Hashable) -> Any:
        """The same, for the only one who gets it."""
        with self._lock:
            return entry.value if (entry := self._entries.pop(id_, None)) else None

    def forget(self, *keys: Hashable) -> None:
        """Have the next one read: something was just changed."""
        with self._lock:
            for key in keys:
                self._entries.pop(key, None)

    def _entry(self, key: Hashable) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            while len(self._entries) > self._most:
                del self._entries[next(iter(self._entries))]
            return entry

    def _read(self, entry: _Entry, read: Callable[[], Any], seconds: float) -> None:
        began = self._clock()
        try:
            entry.value = read()
        except Exception as error:
            entry.value, entry.failed = None, (time.monotonic(), error)
            raise
        entry.until = began + max(seconds, _PACE * (self._clock() - began))

"""What was read, shared by all tabs."""

import secrets
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import inf
from threading import Lock
from typing import Any

from rolekeeper_cli.console.jobs import Beside, in_thread

# What takes long to read is read for at most a fifth of the time.
_PACE = 5
# So long after its time a value will do while it is read again.
_STALE_SECONDS = 60.0


@dataclass(eq=False)
class _Entry:
    reading: Lock = field(default_factory=Lock)
    value: Any = None
    until: float = -inf
    failed: tuple[float, Exception] | None = None


class Cache:
    """Values by key or by a random id, at most so many: the oldest go. Threads may share it.

    `clock` gives seconds that only go on; `beside` runs something.
    """

    def __init__(
        self, most: int = 200, clock: Callable[[], float] = time.monotonic, beside: Beside = in_thread
    ) -> None:
        self._most, self._clock, self._beside = most, clock, beside
        self._entries: dict[Hashable, _Entry] = {}
        self._lock = Lock()

    def get[T](self, key: Hashable, read: Callable[[], T], seconds: float = inf, *, stale: bool = False) -> T:
        """The value, at most so many `seconds` old. `stale`: one of a minute ago will do, and another thread reads.

        An error of `read` is raised for all who waited for it; the next one reads again.
        """
        asked = time.monotonic()
        entry = self._entry(key)
        if stale and entry.value is not None and 0 <= self._clock() - entry.until < _STALE_SECONDS:
            if not entry.reading.locked():
                self.begin(key, read, seconds)
            former: T | None = entry.value
            if former is not None:
                return former
        with entry.reading:
            if entry.failed and entry.failed[0] >= asked:
                raise entry.failed[1]
            if entry.value is None or self._clock() >= entry.until:
                began = self._clock()
                try:
                    entry.value = read()
                except Exception as error:
                    entry.value, entry.failed = None, (time.monotonic(), error)
                    raise
                entry.until = began + max(seconds, _PACE * (self._clock() - began))
            found: T = entry.value
            return found

    def begin(self, key: Hashable, read: Callable[[], object], seconds: float) -> None:
        """Have it read by another thread."""
        self._beside(partial(self._refresh, key, read, seconds))

    def _refresh(self, key: Hashable, read: Callable[[], object], seconds: float) -> None:
        with suppress(Exception):  # the next one who asks reads it again, and has it raised
            self.get(key, read, seconds)

    def keep(self, value: object) -> str:
        id_ = secrets.token_urlsafe(16)
        self.get(id_, lambda: value)
        return id_

    def known(self, key: Hashable) -> Any:
        """The value of a key or an id; None if there is none, or no longer."""
        with self._lock:
            return entry.value if (entry := self._entries.get(key)) else None

    def forget(self, *keys: Hashable) -> None:
        """A value was just changed: the next one who asks reads it."""
        with self._lock:
            for key in keys:
                self._entries.pop(key, None)

    def _entry(self, key: Hashable) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            while len(self._entries) > self._most:
                del self._entries[next(iter(self._entries))]
            return entry

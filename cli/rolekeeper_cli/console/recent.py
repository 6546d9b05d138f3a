"""What all tabs look at together: read once, and for some seconds shown to whoever asks.

What takes long to read is kept longer: reading it takes no more than a fifth of the time.
"""

import time
from collections.abc import Callable
from threading import Lock

_PACE = 5


class Recent[T]:
    """A value that is never older than some seconds when it is given out. Of several that ask at once, one reads."""

    def __init__(self, read: Callable[[], T], seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._seconds = seconds
        self._clock = clock
        self._lock = Lock()
        self._held: tuple[float, T] | None = None
        self._failed: tuple[float, Exception] | None = None

    def get(self) -> T:
        """The value. An error of the reading is that of who waited for it too; the next one reads again."""
        asked = time.monotonic()
        with self._lock:
            if self._failed and self._failed[0] >= asked:
                raise self._failed[1]
            now = self._clock()
            if self._held is None or now >= self._held[0]:
                self._held = self._freshly()
            return self._held[1]

    def _freshly(self) -> tuple[float, T]:
        """Until when it may be shown, and the value."""
        began = self._clock()
        try:
            value = self._read()
        except Exception as error:
            self._failed = (time.monotonic(), error)
            raise
        return began + max(self._seconds, _PACE * (self._clock() - began)), value

    def forget(self) -> None:
        """Have the next one read: something was just changed."""
        with self._lock:
            self._held = None

"""What all tabs look at together: read once, and for some seconds shown to whoever asks."""

import time
from collections.abc import Callable
from threading import Lock


class Recent[T]:
    """A value that is never older than some seconds when it is given out. Of several that ask at once, one reads."""

    def __init__(self, read: Callable[[], T], seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._seconds = seconds
        self._clock = clock
        self._lock = Lock()
        self._held: tuple[float, T] | None = None

    def get(self) -> T:
        """The value. An error of the reading is the asker's; the next one reads again."""
        with self._lock:
            now = self._clock()
            if self._held is None or now - self._held[0] >= self._seconds:
                self._held = (now, self._read())
            return self._held[1]

    def forget(self) -> None:
        """Have the next one read: something was just changed."""
        with self._lock:
            self._held = None

"""Waiting for something in another process, bounded."""

import time
from collections.abc import Callable


def eventually[T](look: Callable[[], T | None], seconds: float = 20) -> T:
    """Wait until `look` gives something true, and give that."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s; last seen: {seen!r}"
        time.sleep(0.05)
    return seen


def stays(holds: Callable[[], bool], seconds: float = 2) -> None:
    """Watch for a while that something holds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert holds(), "it stopped holding"
        time.sleep(0.05)

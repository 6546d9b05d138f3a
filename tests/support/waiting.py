"""Waiting for something in another process, bounded."""

import time
from collections.abc import Callable


def eventually[T](look: Callable[[], T | None], seconds: float = 120) -> T:
    """Wait until `look` gives something true, and give that; much longer than it takes, as a machine may be slow."""
    began = time.monotonic()
    deadline = began + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s; last seen: {seen!r}"
        began = _rest(began)
    return seen


def stays(holds: Callable[[], bool], seconds: float = 2) -> None:
    """Watch for a while that something holds."""
    began = time.monotonic()
    deadline = began + seconds
    while time.monotonic() < deadline:
        assert holds(), "it stopped holding"
        began = _rest(began)


def _rest(began: float) -> float:
    """Three times as long as the look took: looking must not take the time of what is looked at."""
    took = time.monotonic() - began
    time.sleep(min(max(0.05, 3 * took), 2))
    return time.monotonic()

"""Shows that a silent step goes on."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Seconds between two lines about one step.
BEAT = 10.0


@contextmanager
def beating(show: Callable[[float], None], every: float) -> Iterator[None]:
    """Call `show` every so many seconds with those that have passed, until this context ends."""
    began, over = time.monotonic(), threading.Event()

    def beat() -> None:
        while not over.wait(every):
            show(time.monotonic() - began)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()

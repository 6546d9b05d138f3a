"""The fleet for all pages: ten tabs cost what one does, and while no page asks, nothing is read."""

import time
from collections.abc import Callable
from threading import Event, Lock, Thread

from rolekeeper.model.instance import Target
from rolekeeper_cli.console.ec2_calls import Calls
from rolekeeper_cli.console.fleet_known import Fleet, KnownFleet
from rolekeeper_cli.console.fleet_reader import FleetReader
from rolekeeper_cli.console.fleet_rows import FleetRow
from rolekeeper_cli.console.fleet_worker import FleetWorker
from rolekeeper_cli.deployment import Deployment

# A page asks every second. A browser lets a tab in the background ask once a minute: that tab costs 15 s of it.
ASKED_SECONDS = 15.0
# The most pages of single instances that are kept fresh; each is looked at every second, all by the same two calls.
OPEN = 50


class FleetCache:
    """See the module; `fleet_worker` has what the thread does, and its bounds.

    Args:
        look: gives a deployment that has asked nothing yet.
        clock: seconds, that only go on.
    """

    def __init__(self, look: Callable[[], Deployment], clock: Callable[[], float] = time.monotonic) -> None:
        self.calls = Calls(clock)
        self._clock = clock
        self._known = KnownFleet()
        self._look = look
        self._worker = FleetWorker(self._known, self._reader, self._opened, clock=clock)
        self._lock = Lock()
        self._wake = Event()
        self._asked, self._ended = float("-inf"), False
        self._open: dict[str, float] = {}
        self._thread: Thread | None = None

    def ask(self, patience: float = 0.0) -> Fleet:
        """What is known now; of the first read, as much as comes within `patience` seconds.

        The thread works for the next 15 seconds, and is started where there is none.
        """
        self._called_for()
        return self._known.picture(patience)

    def row(self, instance: str) -> FleetRow | None:
        """An instance whose page is open: it is looked at every second while that page asks."""
        self._called_for(instance)
        return self._known.row(instance)

    def target(self, text: str) -> Target | None:
        """Where the instance is that a text, its id or its name, names; None where that isn't known."""
        return self._known.target(text)

    def stamp(self, instance: str) -> int:
        """Another number once the instance changed, or was decided about; 0 where it isn't known. As `row` does."""
        self._called_for(instance)
        return self._known.stamp(instance)

    def read_again(self) -> None:
        """Have the whole fleet read, at most every ten seconds."""
        self._worker.again()
        self._called_for()
        self._wake.set()

    @property
    def reading(self) -> bool:
        """Whether the whole fleet is being read."""
        return self._worker.reading

    @property
    def working(self) -> bool:
        """Whether the thread is there."""
        return self._thread is not None

    def close(self) -> None:
        """End the thread, and wait until it has ended."""
        with self._lock:
            self._ended, thread = True, self._thread
        self._wake.set()
        if thread:
            thread.join()

    def _reader(self) -> FleetReader:
        return FleetReader(self._look(), self.calls, self._known.target)

    def _called_for(self, instance: str = "") -> None:
        with self._lock:
            self._asked = self._clock()
            if instance:
                self._open[instance] = self._asked
        self._start()

    def _start(self) -> None:
        """Have the thread work, where it doesn't."""
        with self._lock:
            if self._thread is None and not self._ended:
                self._thread = Thread(target=self._work, name="fleet", daemon=True)
                self._thread.start()

    def _opened(self) -> list[str]:
        """The instances whose pages asked lately, the newest first."""
        with self._lock:
            since = self._clock() - ASKED_SECONDS
            newest = sorted(self._open.items(), key=lambda each: -each[1])[:OPEN]
            self._open = {instance: at for instance, at in newest if at > since}
            return list(self._open)

    def _work(self) -> None:
        while self._goes_on():
            self._wake.wait(self._worker.step())
            self._wake.clear()

    def _goes_on(self) -> bool:
        with self._lock:
            if self._ended or self._clock() - self._asked > ASKED_SECONDS:
                self._thread = None
                return False
            return True

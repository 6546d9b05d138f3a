"""Virtual time, and functions that run side by side in it: one thread, and the seed alone decides what comes next.

Each run of a function is a greenlet. It gives way at every outside call, for as long as the call takes; whoever is next
in virtual time goes on. So any two runs can meet between any two of their calls, and a seed always plays the same.
"""

import heapq
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import greenlet

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


class KilledError(BaseException):
    """The process of this run ends here: nothing of ours catches it."""


@dataclass(eq=False)
class Run:
    """One run of a function.

    Attributes:
        name: for the story.
        began: when, in virtual seconds.
        ends_by: when its time is out.
        skew: how far its clock is off, in seconds.
        dead: whether it was killed: what its `finally` blocks still try has no effect.
        notes: what the promises remember of it.
    """

    name: str
    began: float
    ends_by: float
    skew: float
    dead: bool = False
    notes: dict[str, Any] = field(default_factory=dict)
    thread: greenlet.greenlet | None = None


type Ended = Callable[[str, Any], None]
"""Told how a run ended: `answered` with its answer, `failed` with its exception, or `killed`."""


class Engine:
    """The clock of one schedule, what is planned in it, and the story of what happened.

    Args:
        seed: decides everything.
        tells: whether to keep the story; thousands of schedules without a violation need none.
    """

    def __init__(self, seed: int, *, tells: bool) -> None:
        self.rng = random.Random(seed)
        self.tells = tells
        self.seconds = 0.0
        self.story: list[str] = []
        self.running: Run | None = None
        self.active: set[Run] = set()
        self._hub = greenlet.getcurrent()
        self._planned: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0

    # ---- time ----

    def now(self) -> datetime:
        """The time as whoever is running sees it."""
        return START + timedelta(seconds=self.seconds + (self.running.skew if self.running else 0))

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        self._count += 1
        heapq.heappush(self._planned, (self.seconds + seconds, self._count, action))

    def play(self, until: float) -> None:
        """Let everything happen that is planned up to a moment."""
        while self._planned and self._planned[0][0] <= until:
            at, _, action = heapq.heappop(self._planned)
            self.seconds = max(self.seconds, at)
            action()
        self.seconds = max(self.seconds, until)

    def say(self, text: str) -> None:
        if not self.tells:
            return
        who = f"{self.running.name}: " if self.running else ""
        self.story.append(f"{self.seconds:10.3f} {who}{text}")

    # ---- functions ----

    def start(
        self,
        name: str,
        body: Callable[[], Any],
        *,
        limit: float,
        ended: Ended,
        skew: float = 0,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin a run of a function now, in a thread of its own; `limit` is its timeout in seconds."""
        run = Run(name, self.seconds, self.seconds + limit, skew, notes=dict(notes or {}))
        run.thread = greenlet.greenlet(lambda: self._body(run, body, ended), self._hub)
        self.active.add(run)
        self._resume(run)

    def pause(self, seconds: float) -> None:
        """Give way: the run that calls this goes on after so many seconds, if it still has the time."""
        run = self.running
        if run is None:
            return
        if run.dead:
            raise KilledError
        if self.seconds + seconds > run.ends_by:
            self.after(run.ends_by - self.seconds, lambda: self._time_out(run))
        else:
            self.after(seconds, lambda: self._resume(run))
        self._hub.switch()

    def kill(self) -> None:
        """End the process of whoever is running."""
        assert self.running
        self.running.dead = True
        raise KilledError

    def stop(self) -> None:
        """End the processes of all runs where they wait."""
        for run in sorted(self.active, key=lambda run: (run.began, run.name)):
            self._end(run)

    def _body(self, run: Run, body: Callable[[], Any], ended: Ended) -> None:
        try:
            how, answer = "answered", body()
        except KilledError:
            how, answer = "killed", None
        except Exception as error:  # noqa: BLE001  # what Lambda does with whatever a handler raises
            how, answer = "failed", error
        run.dead = True
        self.active.discard(run)
        if how != "answered":
            self.say(f"{how}{f': {answer!r:.200}' if answer else ''}")
        # Not in this thread: it is the function's, and may start no other.
        self.after(0, lambda: ended(how, answer))

    def _resume(self, run: Run) -> None:
        if run.dead:
            return
        assert run.thread is not None
        self.running = run
        run.thread.switch()
        self.running = None

    def _time_out(self, run: Run) -> None:
        if run.dead:
            return
        self.say(f"{run.name} timed out")
        self._end(run)

    def _end(self, run: Run) -> None:
        assert run.thread is not None
        run.dead = True
        self.running = run
        run.thread.throw(KilledError)
        self.running = None

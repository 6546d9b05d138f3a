"""Longer looks at AWS, beside the page that asks for them: it shows how far they are, and what they have found.

Nothing is changed by them. All tabs share one of a name, and it is kept for a while: ten tabs that open a page ask AWS
once.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event, Lock, Thread
from typing import Any

from rolekeeper_cli.checks.deployment import DoctorDeployment
from rolekeeper_cli.console.errors import EXPLAINED
from rolekeeper_cli.progress import Silent

_KEPT = timedelta(minutes=10)
# What failed is tried again by a page that is open.
_RETRIED = timedelta(seconds=15)
_MOST = 50
# A look that takes no longer is shown at once, instead of a page that says to wait.
PATIENCE_SECONDS = 1.0


@dataclass(eq=False)
class Job:
    """One look. What it found grows while it runs.

    Attributes:
        began: when it began.
        found: what it found until now.
        step: how far it is, as people say it; empty where that isn't known.
        error: why it found no more.
        version: another one each time anything changed.
        outdated: whether what it finds may have changed since it looked.
        end: set once it has come to its end.
    """

    began: datetime
    found: list[Any] = field(default_factory=list)
    step: str = ""
    error: Exception | None = None
    version: int = 0
    outdated: bool = False
    end: Event = field(default_factory=Event)

    @property
    def ended(self) -> bool:
        """Whether it has come to its end."""
        return self.end.is_set()

    def result(self) -> list[Any]:
        """What it found until now.

        Raises:
            Exception: what kept it from finding more, as AWS said it.
        """
        if self.ended and self.error:
            raise self.error
        return list(self.found)


type Work = Callable[[DoctorDeployment], Iterator[Any]]


class Jobs:
    """The looks of one console, by name.

    Args:
        look: makes a deployment that has asked nothing yet.
        now: the time.
        beside: runs something beside the page.
    """

    def __init__(
        self,
        look: Callable[[], DoctorDeployment],
        now: Callable[[], datetime],
        beside: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._look, self._now = look, now
        self._beside = beside or _in_a_thread
        self._jobs: dict[str, Job] = {}
        self._lock = Lock()

    def get(self, name: str, work: Work, *, anew: bool = False, polls: bool = False) -> Job:
        """The look of this name: the one that runs, or another where the last is old, failed, or isn't wanted (`anew`).

        It is waited for a moment. A page that `polls` for it has one that failed begun again only some seconds later.
        """
        with self._lock:
            job = self._jobs.get(name)
            begins = job is None or (job.ended and (anew or self._is_over(job, polls=polls)))
            if job is None or begins:
                job = self._jobs[name] = Job(self._now())
                while len(self._jobs) > _MOST:
                    del self._jobs[next(iter(self._jobs))]
        if begins:
            self._beside(lambda: self._run(job, work))
        job.end.wait(PATIENCE_SECONDS)
        return job

    def _is_over(self, job: Job, *, polls: bool) -> bool:
        age = self._now() - job.began
        return job.outdated or age > _KEPT or (bool(job.error) and (not polls or age > _RETRIED))

    def known(self, name: str) -> Job | None:
        """The look of this name, if there is one."""
        with self._lock:
            return self._jobs.get(name)

    def forget(self) -> None:
        """Begin anew for the next page: a write may have changed what was found. One that runs ends before that."""
        with self._lock:
            self._jobs = {name: job for name, job in self._jobs.items() if not job.ended}
            for job in self._jobs.values():
                job.outdated = True

    def _run(self, job: Job, work: Work) -> None:
        there = self._look()
        there.progress = lambda total, what: _Step(job, total, what)
        try:
            for each in work(there):
                job.found.append(each)
                job.version += 1
        except Exception as error:  # it is raised again by the page that shows the result
            job.error = error
            if not isinstance(error, EXPLAINED):
                logging.getLogger(__name__).exception("a look at AWS failed")
        finally:
            job.version += 1
            job.end.set()


class _Step(Silent):
    """Writes down how far a look is."""

    def __init__(self, job: Job, total: int | None, what: str) -> None:
        super().__init__(total, what)
        self._job, self._total, self._what = job, total, what
        self.at(0)

    def at(self, done: int, total: int | None = None, rest: str = "") -> None:
        most = self._total if total is None else total
        self._job.step = f"{done:,}{'' if most is None else f' of {most:,}'} {self._what}{f'; {rest}' if rest else ''}"
        self._job.version += 1


def _in_a_thread(run: Callable[[], None]) -> None:
    Thread(target=run, daemon=True).start()


# ---- what all tabs look at together: read once, and for some seconds shown to whoever asks ----


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

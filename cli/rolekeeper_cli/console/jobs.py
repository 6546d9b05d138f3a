"""Longer looks at AWS, beside the page that asks for them: it shows how far they are, and what they have found.

Nothing is changed by them. All tabs share one of a name, and it is kept for a while: ten tabs that open a page ask AWS
once.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event, Lock, Thread
from typing import Any

from starlette.requests import Request

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

    `step` says how far it is, where that is known; `error` why it found no more; `version` is another one each time
    anything changed. It is `outdated` where what it finds may have changed since it looked.
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
        return self.end.is_set()

    def result(self) -> list[Any]:
        """What it found until now.

        Raises:
            Exception: what kept it from finding more, as AWS said it.
        """
        if self.ended and self.error:
            raise self.error
        return list(self.found)

    def values(self) -> dict[str, Any]:
        """All of it, for a page.

        Raises:
            Exception: as `result`.
        """
        # Before what it found, which may grow meanwhile: the page asks for that then.
        version, ended = self.version, self.ended
        return {"job": self, "version": version, "ended": ended, "found": self.result()}


type Work = Callable[[DoctorDeployment], Iterator[Any]]


class Jobs:
    """The looks of one console, by name. `look` makes a deployment that has asked nothing; `beside` runs something."""

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


def look(request: Request, name: str, work: Work) -> Job:
    """The look of this name for a page, which may be an open one that asks for what is new."""
    jobs: Jobs = request.app.state.site.jobs
    return jobs.get(name, work, polls="version" in request.query_params)


class _Step(Silent):
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

"""Longer looks at AWS, beside the page that asks for them: it shows how far they are, and what they have found.

Nothing is changed by them. All tabs share one of a name, and it is kept for a while: ten tabs that open a page ask AWS
once. One that no page asks for any longer stops at its next step. What a plan needs, or does, is a job too, without a
name (`Jobs.begin`), and goes on.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial, wraps
from http import HTTPStatus
from math import inf
from threading import Event, Lock, Thread
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.console.errors import EXPLAINED
from rolekeeper_cli.console.page import live, page, query_of, see_other
from rolekeeper_cli.progress import Silent

_KEPT = timedelta(minutes=10)
# What failed is tried again by a page that is open.
_RETRIED = timedelta(seconds=15)
_MOST = 50
# A look that takes no longer is shown at once, whole.
PATIENCE_SECONDS = 0.05
# So much longer may a whole page take, which may wait for a look.
PAGE_PATIENCE_SECONDS = 0.1
# A page asks every second; without scripts, every three.
WANTED_SECONDS = 15.0
# Maximum age of a page rendered in the background.
_PAGE_KEPT = timedelta(seconds=10)
# Where a page's own content begins (base.html).
MAIN = b'<main id="main">'

type Beside = Callable[[Callable[[], None]], object]
type Work = Callable[[Deployment], Iterable[Any]]


def in_thread(run: Callable[[], None]) -> None:
    Thread(target=run, daemon=True).start()


class Abandoned(BaseException):
    """No page asks for a look any longer. It is no Exception: the look's own handlers are to let it pass."""


@dataclass(eq=False)
class Job:
    """One look. What it found grows while it runs.

    `step` says how far it is; `error` why it found no more; `version` is another one each time anything changed. It is
    `outdated` where what it finds may have changed since it looked; `reported` once a person has read the error;
    `abandoned` where it ended before it was through, as no page had `asked` for some seconds. `before` is the last one.
    """

    began: datetime
    ended: datetime | None = None
    found: list[Any] = field(default_factory=list)
    step: str = ""
    error: Exception | None = None
    version: int = 0
    outdated: bool = False
    reported: bool = False
    abandoned: bool = False
    asked: float = 0.0
    before: "Job | None" = None
    end: Event = field(default_factory=Event)

    def run(self, work: Work, deployment: Deployment, clock: Callable[[], float]) -> None:
        def goes_on() -> None:
            if clock() - self.asked > WANTED_SECONDS:
                raise Abandoned
            self.version += 1

        deployment.progress = lambda total, what: _Step(self, total, what, goes_on=goes_on)
        try:
            for each in work(deployment):
                self.found.append(each)
                goes_on()
        except Abandoned:
            self.abandoned = True
        except Exception as error:  # it is raised again by the page that shows the result
            self.error = error
            if not isinstance(error, EXPLAINED):
                logging.getLogger(__name__).exception("a look at AWS failed")
        finally:
            self.version, self.ended = self.version + 1, deployment.now()
            self.end.set()

    def is_over(self, now: datetime, *, polled: bool, since: datetime | None) -> bool:
        """Whether the next page begins a new look: this one is old, failed, abandoned, or ended before `since`."""
        age = now - self.began
        failed = bool(self.error) and (age > _RETRIED if polled else self.reported)
        outdated = self.outdated or bool(since and self.ended and self.ended < since)
        return self.end.is_set() and (self.abandoned or outdated or failed or age > _KEPT)

    def seen(self) -> "Seen":
        """Raise what kept it from finding more, as AWS said it."""
        # Before what it found, which may grow meanwhile: the page asks for that then.
        version, ended = self.version, self.end.is_set() and not self.abandoned
        if ended and self.error:
            raise self.error
        return Seen(self, version, ended, found=list(self.found))


@dataclass(frozen=True)
class Seen:
    """What a page shows of a look, at one moment."""

    job: Job
    version: int
    ended: bool
    found: Sequence[Any]

    @property
    def newest(self) -> Any:
        return self.found[-1] if self.found else None


class Jobs:
    """The looks of one console, by name.

    `look` makes a deployment that has asked nothing; `beside` runs something; `clock` gives seconds that only go on.
    """

    def __init__(
        self,
        look: Callable[[], Deployment],
        now: Callable[[], datetime],
        beside: Beside = in_thread,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look, self._now, self._beside, self._clock = look, now, beside, clock
        self._jobs: dict[str, Job] = {}
        self._lock = Lock()

    def get(
        self, name: str, work: Work, *, anew: bool = False, polled: bool = False, since: datetime | None = None
    ) -> Job:
        """The look of this name: the one that runs, or another where the last is old, failed, or isn't wanted (`anew`).

        It is waited for a moment. If it failed, who opens the page reads why, and the next one has it begun again; an
        open page that polls, only some seconds later.
        """
        with self._lock:
            job = self._jobs.get(name)
            begins = job is None or (anew and job.end.is_set()) or job.is_over(self._now(), polled=polled, since=since)
            if job is None or begins:
                # Its versions go on: an open page may show one of the former look.
                former, job = job, Job(self._now(), version=job.version + 1 if job else 0, before=job)
                self._jobs[name] = job
                if former:
                    former.before = None
                while len(self._jobs) > _MOST:
                    del self._jobs[next(iter(self._jobs))]
            job.asked = self._clock()
        if begins:
            self._beside(lambda: job.run(work, self._look(), self._clock))
        job.end.wait(PATIENCE_SECONDS)
        job.reported |= bool(job.error) and not polled
        return job

    def begin(self, work: Work) -> Job:
        """Work that belongs to one plan: it goes on when nobody looks, and isn't begun again."""
        job = Job(self._now(), asked=inf)
        self._beside(lambda: job.run(work, self._look(), self._clock))
        job.end.wait(PATIENCE_SECONDS)
        return job

    def clear(self) -> None:
        with self._lock:
            self._jobs.clear()

    def forget(self) -> None:
        """A write may have changed what was found: the next page begins anew, once a running look has ended."""
        with self._lock:
            for job in self._jobs.values():
                job.outdated = True


def soon(show: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """The same page, or if that takes longer, what is known of it: that asks for the whole, and fills it in in place.

    What an open page asks for isn't hurried.
    """

    @wraps(show)
    def endpoint(request: Request) -> Response:
        fills = request.headers.get("HX-Trigger") == "filling"
        if request.method != "GET" or ("HX-Request" in request.headers and not fills):
            return show(request)
        site, url = request.app.state.site, request.url
        name, since = f"{url.path}?{url.query}", site.deployment.now() - _PAGE_KEPT
        job = site.pages.get(name, lambda _: [show(request)], polled=fills, since=since)
        if not job.end.wait(PAGE_PATIENCE_SECONDS):
            return Response(status_code=HTTPStatus.NO_CONTENT) if fills else _as_known(request, job.before)
        if fills and not _whole(job):  # the browser opens it: an error, or another page
            return Response(status_code=HTTPStatus.NO_CONTENT, headers={"HX-Refresh": "true"})
        job.outdated = True  # it was shown, and the next page is made anew
        if job.error:
            raise job.error
        return job.found[0]  # type: ignore[no-any-return]  # of any look

    return endpoint


def _whole(job: Job | None) -> bytes:
    """The markup of a page; empty for an error and for what leads to another page."""
    answer = job.found[0] if job and job.found else None
    return bytes(answer.body) if isinstance(answer, HTMLResponse) and answer.status_code == HTTPStatus.OK else b""


def _as_known(request: Request, former: Job | None) -> Response:
    """The page as it was shown last, or its frame with what is known of it."""
    site = request.app.state.site
    draw = partial(page, request, "filling.html", HTTPStatus.ACCEPTED, here=site.reads.known("here") or {})
    if former and (shown := _whole(former)):
        asks = MAIN + bytes(draw(part="asks", at=former.ended).body)
        return HTMLResponse(shown.replace(MAIN, asks, 1), HTTPStatus.ACCEPTED)
    return draw(at=None, ended=False, **site.known(request.path_params))


def look(request: Request, name: str, work: Work, *, since: datetime | None = None) -> Job:
    """The look of this name, for a page that is `followed`; another one where the last ended before `since`."""
    jobs: Jobs = request.app.state.site.jobs
    anew = getattr(request.state, "anew", False)
    return jobs.get(name, work, anew=anew, polled="version" in request.query_params, since=since)


def followed(path: str, values: Callable[[Request], dict[str, Any]], template: str) -> list[Route]:
    """A page of a look, its part, and a link that has it look again: it only reads, so a link may do it."""

    def again(request: Request) -> Response:
        request.state.anew = True
        values(request)
        shown, asked = path.format_map(request.path_params), query_of(request)
        return see_other(f"{shown}?{asked}" if asked else shown)

    return [*live(path, values, template), Route(f"{path}/again", again)]


class _Step(Silent):
    def __init__(self, job: Job, total: int | None, what: str, *, goes_on: Callable[[], None]) -> None:
        super().__init__(total, what)
        self._job, self._goes_on = job, goes_on
        self.at(0)

    def at(self, done: int, total: int | None = None, rest: str = "") -> None:
        self._job.step = self.in_words(done, total, rest)
        self._goes_on()

"""What sweeps of the deployment's own target and of others differ in.

The own sweep starts one run for each other target, and doesn't wait for it. So a target that is slow or fails delays no
other. The registry has the results.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from rolekeeper.aws import Tasks
from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, RetryableError
from rolekeeper.aws.queue import Task
from rolekeeper.fleet.sweep import Position, SweepResult
from rolekeeper.fleet.targets import THERE, Registry, ServedTarget, problem_of
from rolekeeper.mappings import Publisher, Status
from rolekeeper.mappings.accounts import RecordCheck, RecordKeeper
from rolekeeper.mappings.scan import Scan
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import MappingKey
from rolekeeper.storage import State, layout
from rolekeeper.telemetry import Telemetry

OVERDUE = 2  # a target is overdue once this many of its sweeps began and none ended: two intervals
NAMED = 20  # targets in one log line
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class SweepStarter:
    """Starts a sweep of each registered target, at least one; `in_time` says whether there is time for another."""

    registry: Registry
    tasks: Tasks
    telemetry: Telemetry
    now: Callable[[], datetime]
    in_time: Callable[[], bool]

    def start(self, correlation_id: str, scheduled: datetime | None) -> int:
        """Start them, those that were swept longest ago first; returns how many.

        `scheduled` is when the schedule started this run, None where a person did. A scheduled run leaves out targets
        that were swept since then, as Lambda may have tried it before, and those whose last sweep still goes on.
        """
        known = sorted(self.registry.all(), key=lambda each: each.last_sweep or _NEVER)
        self._report([each for each in known if each.unswept >= OVERDUE])
        return self._start(known, correlation_id, scheduled)

    def start_new(self, correlation_id: str) -> int:
        """Start those of new targets: before its first sweep nothing is published for a new account."""
        new = [each for each in self.registry.all() if each.last_sweep is None and not each.unswept]
        return self._start(new, correlation_id, None)

    def _start(self, known: Sequence[ServedTarget], correlation_id: str, scheduled: datetime | None) -> int:
        started = 0
        try:
            for served in known:
                if scheduled and (served.last_sweep or _NEVER) >= scheduled:
                    continue
                if started and not self.in_time():
                    raise RetryableError("NoTime", "the run has no time to start more", "", resource=str(served.target))
                goes_on = scheduled and (served.goes_on_until or _NEVER) > self.now()
                if self.registry.note_begin(served.target) and not goes_on:
                    self.tasks.start(Task.SWEEP, correlation_id, served.target)
                    started += 1
        except AwsRefusalError as error:
            # The next sweep begins with those that are left. The hub's own sweep goes on.
            if isinstance(error, AccessDeniedError):
                self.telemetry.denied(error, correlation_id=correlation_id)
            self.telemetry.will_retry("sweeps of targets were not started", error=str(error), left=len(known) - started)
            self.telemetry.count("SweepUnfinished")
        return started

    def _report(self, overdue: list[ServedTarget]) -> None:
        if overdue:
            named = [str(each.target) for each in overdue[:NAMED]]
            self.telemetry.will_retry("targets were not swept for two intervals", targets=named, number=len(overdue))
            self.telemetry.count("SweepUnfinished", len(overdue))


@dataclass(frozen=True)
class OwnTarget:
    """The deployment's own target, as a `SweptTarget`: its sweep judges the rows, and counts for the limits."""

    state: State
    publisher: Publisher
    telemetry: Telemetry
    now: Callable[[], datetime]
    elsewhere: Target | None = None

    def begins(self, rest: Position, *, gives_way: bool) -> str:
        last = self.state.last_sweep()
        rest.first = not last.ended
        if not (gives_way and last.goes_on(self.now())):
            return ""
        if last.ended:
            self.telemetry.count("SweepUnfinished")
        return f"another sweep goes on, until {last.until} at most: this one is left out"

    def goes_on(self, until: datetime | None) -> None:
        self.state.sweep_goes_on(until)

    def check(self, key: MappingKey, correlation_id: str, scan: Scan | None, *, seen: bool) -> RecordCheck:
        verdict = self.publisher.recheck(key, correlation_id, scan, seen=seen)
        in_effect = verdict.revision > 0 and verdict.status is not Status.REMOVED
        return RecordCheck(verdict.changed, in_effect, judged=verdict.status is not Status.WAITING)

    def judged(self, swept: SweepResult) -> None:
        elsewhere = self.publisher.assessor.targets.instances_elsewhere
        self.state.note_sweep(swept.rest.live, swept.published, self.now(), elsewhere=elsewhere)

    def ended(self, swept: SweepResult) -> None:
        # Once per sweep: the alarm for overdue sweeps counts it.
        self.telemetry.count("InstancesSwept", swept.instances)

    def is_news(self, error: AccessDeniedError) -> bool:  # noqa: ARG002  # each is
        return True

    def ends_by(self, error: AwsRefusalError, *, resumed: bool) -> bool:  # noqa: ARG002  # none does
        return False


@dataclass(frozen=True)
class OtherTarget:
    """Another target, as a `SweptTarget`: its sweep checks what is published for its account."""

    elsewhere: Target
    registry: Registry
    records: RecordKeeper
    telemetry: Telemetry
    now: Callable[[], datetime]
    is_news: Callable[[AccessDeniedError], bool]
    waits_for_sweep: bool

    @cached_property
    def _known(self) -> ServedTarget | None:
        return self.registry.get(self.elsewhere)

    @cached_property
    def _thorough(self) -> bool:
        """Whether to ask IAM also about mappings that govern nothing here: once an hour, and after a problem."""
        known = self._known
        last = known.last_sweep if known and not known.problem else None
        return last is None or last.replace(minute=0, second=0) < self.now().replace(minute=0, second=0)

    def begins(self, rest: Position, *, gives_way: bool) -> str:  # noqa: ARG002  # the starter asks that
        if known := self._known:
            rest.since = layout.timestamp(known.since) if known.since else ""
            rest.first = self.waits_for_sweep and known.last_sweep is None
        return ""

    def goes_on(self, until: datetime | None) -> None:
        self.registry.sweep_goes_on(self.elsewhere, until)

    def check(self, key: MappingKey, correlation_id: str, scan: Scan | None, *, seen: bool) -> RecordCheck:  # noqa: ARG002  # about a row alone
        return self.records.recheck(key, self.elsewhere, correlation_id, scan, thorough=self._thorough)

    def judged(self, swept: SweepResult) -> None:
        """Note a first sweep, so that changes may begin. The deployment's own sweep notes the fleet's size."""
        if swept.rest.first:
            self._note(swept)

    def ended(self, swept: SweepResult) -> None:
        if not swept.rest.first:
            self._note(swept)

    def _note(self, swept: SweepResult) -> None:
        rest = swept.rest
        self.registry.note_sweep(self.elsewhere, rest.since, instances=rest.live, drift=swept.sent, at=self.now())

    def ends_by(self, error: AwsRefusalError, *, resumed: bool) -> bool:
        if not error.action.startswith(THERE) or (resumed and isinstance(error, RetryableError)):
            return False
        if not isinstance(error, AccessDeniedError):
            self.telemetry.will_retry("a target can't be swept", target=str(self.elsewhere), error=str(error))
            self.registry.note_problem(self.elsewhere, problem_of(error), self.now())
        return True

"""Sweeps of the other targets, each started as a run of its own: one that is slow or fails delays no other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rolekeeper.aws import Tasks
from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, RetryableError
from rolekeeper.aws.queue import Task
from rolekeeper.fleet.targets import Registry, ServedTarget
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

    def start(self, correlation_id: str, scheduled: datetime | None) -> None:
        """Start them, those that were swept longest ago first.

        `scheduled` is when the schedule started this run, None where a person did. A scheduled run leaves out targets
        that were swept since then, as Lambda may have tried it before, and those whose last sweep still goes on.
        """
        known = sorted(self.registry.all(), key=lambda each: each.last_sweep or _NEVER)
        self._report([each for each in known if each.unswept >= OVERDUE])
        self._start(known, correlation_id, scheduled)

    def start_new(self, correlation_id: str) -> None:
        """Start those of new targets: before its first sweep nothing is published for a new account."""
        new = [each for each in self.registry.all() if each.last_sweep is None and not each.unswept]
        self._start(new, correlation_id, None)

    def _start(self, known: Sequence[ServedTarget], correlation_id: str, scheduled: datetime | None) -> None:
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

    def _report(self, overdue: list[ServedTarget]) -> None:
        if overdue:
            named = [str(each.target) for each in overdue[:NAMED]]
            self.telemetry.will_retry("targets were not swept for two intervals", targets=named, number=len(overdue))
            self.telemetry.count("SweepUnfinished", len(overdue))

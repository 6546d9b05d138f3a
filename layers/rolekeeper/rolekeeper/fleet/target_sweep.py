"""Sweeps of the targets beside the hub's own: one run for each, which the hub's sweep starts and doesn't wait for.

So what one target takes, or fails at, is its own. How it went is in the registry.
"""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime
from functools import cached_property

from rolekeeper.aws import Tasks
from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, RetryableError
from rolekeeper.aws.queue import Task
from rolekeeper.fleet.sweep import Sweep, SweepResult
from rolekeeper.fleet.targets import THERE, Registry, ServedTarget, problem_of
from rolekeeper.mappings.copies import CopyKeeper
from rolekeeper.mappings.scan import Scan
from rolekeeper.model.mapping import MappingKey
from rolekeeper.telemetry import Telemetry

OVERDUE = 2  # so many sweeps of a target began before, and none ended: two intervals
NAMED = 20  # targets in one log line
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class SweepStarter:
    """Starts a sweep of each registered target, of one at least; `in_time` says whether there is time for another."""

    registry: Registry
    tasks: Tasks
    telemetry: Telemetry
    now: Callable[[], datetime]
    in_time: Callable[[], bool]

    def start(self, correlation_id: str, scheduled: datetime | None) -> int:
        """Start them, those that were swept longest ago first; returns how many.

        Of a run that the schedule made, `scheduled` is when. Tried again by Lambda, it leaves out what was swept since;
        and it leaves a sweep alone that still goes on.
        """
        known = sorted(self.registry.all(), key=lambda each: each.last_sweep or _NEVER)
        self._report([each for each in known if each.unswept >= OVERDUE])
        return self._start(known, correlation_id, scheduled)

    def start_new(self, correlation_id: str) -> int:
        """Start those of targets that came since the last time: nothing is published for a new account before."""
        new = [each for each in self.registry.all() if each.last_sweep is None and not each.unswept]
        return self._start(new, correlation_id, None)

    def _start(self, known: Sequence[ServedTarget], correlation_id: str, scheduled: datetime | None) -> int:
        started = 0
        try:
            for served in known:
                if scheduled and (served.last_sweep or _NEVER) >= scheduled:
                    continue
                if started and not self.in_time():
                    raise RetryableError("NoTime", "the run has no time to start more", "", str(served.target))
                goes_on = scheduled and (served.goes_on_until or _NEVER) > self.now()
                if self.registry.note_begin(served.target) and not goes_on:
                    self.tasks.start(Task.SWEEP, correlation_id, served.target)
                    started += 1
        except AwsRefusalError as error:
            # The next sweep begins with them. The hub's own doesn't wait for that.
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
class TargetSweep(Sweep):
    """One run of a sweep of another target: of its instances, and of what is published for its account."""

    _: KW_ONLY
    registry: Registry
    copies: CopyKeeper

    @cached_property
    def _thorough(self) -> bool:
        """Whether IAM is asked about mappings that govern nothing here too: once an hour, and after a problem."""
        known = self.registry.get(self.settings.target)
        last = known.last_sweep if known and not known.problem else None
        return last is None or last.replace(minute=0, second=0) < self.now().replace(minute=0, second=0)

    def run(self) -> SweepResult:
        """As a sweep; but what the target refuses ends it, as a problem of the target. The next sweep tries again.

        Raises:
            AwsRefusalError: the hub's own table or queue failed, or the machine is to try this run again.
        """
        swept = self.result
        try:
            return super().run()
        except AwsRefusalError as error:
            passing = isinstance(error, RetryableError)
            if not error.action.startswith(THERE) or (passing and self.resumed):
                raise
            if not isinstance(error, AccessDeniedError):
                self.telemetry.will_retry("a target can't be swept", target=str(self.settings.target), error=str(error))
                self.registry.note_problem(self.settings.target, problem_of(error), self.now())
            self._goes_on(None)
            self._note(str(error))
            swept.finished = True
            return swept

    def _begins(self) -> bool:
        self.result.finished = True
        if self.resumed:
            super()._begins()
        return True

    def _goes_on(self, until: datetime | None) -> None:
        self.registry.sweep_goes_on(self.settings.target, until)

    def _ended(self) -> None:
        self.registry.note_sweep(self.settings.target, self.result.rest.live, self.result.sent, self.now())

    def _note_fleet(self) -> None:
        """What limits are a share of is counted over all targets, and changes begin with the hub's own first sweep."""

    def _check(self, key: MappingKey, scan: Scan | None, *, seen: bool) -> None:  # noqa: ARG002  # about a row alone
        target, correlation_id = self.settings.target, self.correlation_id
        checked = self.copies.recheck(key, target, correlation_id, scan, thorough=self._thorough)
        self.result.mappings_changed += checked.changed
        self.result.published += checked.in_effect

"""Sweeps of the other targets: the hub's sweep starts one run for each target, and doesn't wait for it.

So a target that is slow or fails delays no other. The registry has the results.
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
from rolekeeper.storage import layout
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
class TargetSweep(Sweep):
    """One run of a sweep of another target: of its instances, and of what is published for its account."""

    _: KW_ONLY
    registry: Registry
    copies: CopyKeeper

    @cached_property
    def _known(self) -> ServedTarget | None:
        return self.registry.get(self.settings.target)

    @cached_property
    def _thorough(self) -> bool:
        """Whether to ask IAM also about mappings that govern nothing here: once an hour, and after a problem."""
        known = self._known
        last = known.last_sweep if known and not known.problem else None
        return last is None or last.replace(minute=0, second=0) < self.now().replace(minute=0, second=0)

    def run(self) -> SweepResult:
        """Go on as any sweep. A refusal of the target ends it, and is noted as the target's problem.

        Raises:
            AwsRefusalError: the hub's own table or queue failed, or the machine should try this run again.
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
        elif known := self._known:
            # Another account's copies may be outdated until its first sweep has checked every row.
            rest, has_copies = self.result.rest, bool(self.state.account)
            rest.since = layout.timestamp(known.since) if known.since else ""
            rest.first = has_copies and known.last_sweep is None
        return True

    def _goes_on(self, until: datetime | None) -> None:
        self.registry.sweep_goes_on(self.settings.target, until)

    def _ended(self) -> None:
        if not self.result.rest.first:
            self._note_sweep()

    def _note_fleet(self) -> None:
        """Note a first sweep, so that changes may begin. The fleet's size the hub's own notes, over all targets."""
        if self.result.rest.first:
            self._note_sweep()

    def _note_sweep(self) -> None:
        swept, rest = self.result, self.result.rest
        target, at = self.settings.target, self.now()
        self.registry.note_sweep(target, rest.since, instances=rest.live, drift=swept.sent, at=at)

    def _check(self, key: MappingKey, scan: Scan | None, *, seen: bool) -> None:  # noqa: ARG002  # about a row alone
        target, correlation_id = self.settings.target, self.correlation_id
        checked = self.copies.recheck(key, target, correlation_id, scan=scan, thorough=self._thorough)
        self.result.mappings_changed += checked.changed
        self.result.published += checked.in_effect

"""The scheduled pass: finds what events missed in the fleet, and checks every mapping again.

Pages stream through: memory holds one page, and one count for each mapping in use.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from rolekeeper.aws import Ec2, WorkQueue
from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, RetryableError
from rolekeeper.instances.observe import Observation, Unreadable, observe_page
from rolekeeper.instances.records import needs_reconcile
from rolekeeper.instances.resolve import resolve
from rolekeeper.mappings import MappingTable, Publisher, Status
from rolekeeper.mappings.scan import Scan
from rolekeeper.model.instance import InstanceKey, InstanceState
from rolekeeper.model.mapping import MappingKey
from rolekeeper.settings import Settings
from rolekeeper.storage import State
from rolekeeper.telemetry import Telemetry

CAUSE = "sweep"
# A sweep that ends here starts anew with the next schedule; the fleet gets most of the 15 minutes that Lambda allows.
# Each outlasts a call that nobody answers, 47 s to its last attempt, so that the sweep can still say how far it came.
FLEET_RESERVE, MAPPINGS_RESERVE = 300, 60


@dataclass(slots=True)
class SweepResult:
    """What a sweep saw and sent. `finished` is False when its time ran out first."""

    instances: int = 0
    sent: int = 0
    mappings: int = 0
    mappings_changed: int = 0
    published: int = 0
    finished: bool = True
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Sweep:
    """One sweep with what it works on; made anew for each. `seconds_left` is of the function's time."""

    ec2: Ec2
    state: State
    table: MappingTable
    publisher: Publisher
    queue: WorkQueue
    telemetry: Telemetry
    settings: Settings
    correlation_id: str
    seconds_left: Callable[[], float]
    now: Callable[[], datetime]
    result: SweepResult = field(default_factory=SweepResult, init=False)

    def run(self) -> SweepResult:
        """Look at every instance and every mapping; on any AwsRefusalError the schedule's retry begins anew."""
        swept = self.result
        try:
            first = not self.state.read().control.swept
            live, scans = self._fleet()
            judged = self._mappings(scans)
            # Only then what is published is all that governs.
            if swept.finished and judged:
                self.state.note_sweep(live, swept.published, self.now())
                if first:
                    # Until now every change was held: now they are due. No instance counts twice.
                    seen = swept.instances
                    self._fleet()
                    swept.instances = seen
        except AccessDeniedError as error:
            self.telemetry.denied(error, correlation_id=self.correlation_id)
            raise
        if not swept.finished:
            self.telemetry.count("SweepUnfinished")
        self.telemetry.count("InstancesSwept", swept.instances)
        return swept

    def _fleet(self) -> tuple[int, dict[MappingKey, Scan]]:
        """Send the instances that need a reconcile; returns how many aren't terminated, and what mappings govern."""
        scans: dict[MappingKey, Scan] = {}
        live = 0
        for page in self.ec2.fleet():
            if self.seconds_left() < FLEET_RESERVE:
                self.result.finished = False
                break
            at = self.now()
            differing: list[InstanceKey] = []
            for each in observe_page(page, self.ec2, self.state, at):
                if isinstance(each, Unreadable):
                    if (problem := str(each.error)) not in self.result.problems:
                        self.result.problems.append(problem)
                        self.telemetry.will_retry("an instance can't be swept", instance=each.key.id, error=problem)
                    continue
                self._count(each, scans, at)
                if needs_reconcile(each, each.decision(self.settings), at):
                    differing.append(each.key)
            self.result.instances += len(page)
            live += sum(one.state is not InstanceState.TERMINATED for one in page)
            self.result.sent += self.queue.send(differing, CAUSE, self.correlation_id)
        return live, scans

    def _count(self, observed: Observation, scans: dict[MappingKey, Scan], at: datetime) -> None:
        instance = observed.instance
        if instance is None or instance.state is InstanceState.TERMINATED:
            return
        live = [each for each in observed.published if not each.deleted]
        ranked = resolve(instance, live, at, observed.pin)
        for mapping in live:
            scan = scans.setdefault(mapping.key, Scan())
            scan.add(instance, observed.association, (mapping, ranked), (mapping, ranked), self.settings.ownership)

    def _mappings(self, scans: dict[MappingKey, Scan]) -> bool:
        """Check every row again, then what is served although its row is gone; returns whether all could be judged."""
        judged = True
        # What counts only a part of the fleet would be told as if it were all: then each check asks EC2 itself.
        whole = scans if self.result.finished and not self.result.problems else None
        unseen, empty = set(scans), True
        for keys in self.table.keys():  # noqa: SIM118  # pages of keys, no dict
            unseen -= set(keys)
            empty = empty and not keys
            for key in keys:
                judged &= self._recheck(key, whole, seen=True)
        if unseen and empty:
            # An empty read never means that every row was deleted (DESIGN, rule 5): hold everything.
            problem = f"the mapping table reads empty, and {len(unseen)} mappings are published: kept"
            self.result.problems.append(problem)
            self.telemetry.count("MappingTableEmpty")
            return False
        for key in sorted(unseen):
            judged &= self._recheck(key, whole, seen=False)
        return judged

    def _recheck(self, key: MappingKey, scans: dict[MappingKey, Scan] | None, *, seen: bool) -> bool:
        """Check one row again; returns whether it could be judged."""
        if self.seconds_left() < MAPPINGS_RESERVE:
            self.result.finished = False
            return False
        self.result.mappings += 1
        scan = None if scans is None else scans.get(key, Scan())
        try:
            verdict = self.publisher.recheck(key, self.correlation_id, scan, seen=seen)
        except AwsRefusalError as error:
            # One row that can't be checked doesn't keep the others from being checked.
            problem = "a mapping was not checked" if isinstance(error, RetryableError) else "a mapping can't be checked"
            self.telemetry.will_retry(problem, mapping=str(key), error=str(error))
            self.result.problems.append(f"{key}: {error}")
            return False
        self.result.mappings_changed += verdict.changed
        self.result.published += verdict.revision > 0 and verdict.status is not Status.REMOVED
        return verdict.status is not Status.WAITING

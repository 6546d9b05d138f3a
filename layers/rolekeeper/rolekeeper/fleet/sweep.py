"""The scheduled pass: finds what events missed in the fleet, and checks every mapping again.

Memory holds one page of instances, and one count for each mapping in use. A fleet that is too large for one run of the
function is swept in several: each goes on where the last one stopped.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import batched

from rolekeeper.aws import Ec2, Machine, WorkQueue
from rolekeeper.aws.ec2 import RESTARTS
from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, RetryableError, StaleTokenError
from rolekeeper.aws.queue import Task, resumable
from rolekeeper.fleet.targets import ServedTarget, Targets
from rolekeeper.instances.decide import InstanceStatus, Observation, decide, resolve, status_of
from rolekeeper.instances.observe import Unreadable, observe, observe_page
from rolekeeper.instances.records import needs_reconcile
from rolekeeper.mappings.account_records import RecordChecks, Scans
from rolekeeper.mappings.impact import Scan
from rolekeeper.mappings.publish import Publisher
from rolekeeper.mappings.verdict import Status, Verdict
from rolekeeper.model.instance import Instance, InstanceKey, Target
from rolekeeper.model.mapping import MappingKey
from rolekeeper.settings import Settings
from rolekeeper.storage import State, Update, layout
from rolekeeper.storage.state import BATCH_KEYS

CAUSE = "sweep"
# A run hands over once fewer seconds are left: after five minutes, so a crash costs little, and its last page, or the
# row of a large mapping, still has time.
RESERVE = 540
# How long the schedule starts no other sweep after a run of one began: enough for that run, and a few more tries of it.
GOES_ON = timedelta(minutes=45)
# Once the work queue holds more than this many seconds' worth of changes, a sweep has no more than that waiting of its
# own target: otherwise, while a large fleet changes, each sweep would send it again.
BACKLOG = 900
# So many of what a sweep sent last are looked at again by the next: they show how much of it still waits.
SAMPLE = 50
# Instances a page: three items of each (record, pin, the mapping of a tag of its own), and a few that they share, fill
# batch reads of the state table.
PAGE = 2 * BATCH_KEYS - 4
# How many rows are read together: two items of each are one batch read of the state table.
TOGETHER = BATCH_KEYS // 2
# The most that one run hands on: the input of an execution has 256 KB (AWS_FACTS.md "Lambda, SQS, ...").
PROBLEMS, PROBLEM = 20, 500


class Phase(StrEnum):
    """What a sweep works on: the fleet, the rows, and the published mappings whose rows are gone.

    A first sweep then works on the fleet again, since changes may begin.
    """

    FLEET = "fleet"
    ROWS = "rows"
    GONE = "gone"
    HELD = "held"


@dataclass(slots=True)
class Position:
    """Where the next run of a sweep goes on, and what its runs add up.

    `token` is EC2's, of the page to read next; `row` was judged last. `first`: no sweep ended before. `judged`: every
    row could be judged so far. `crowded`: the work queue was too full when the sweep first had something to send; then
    `room` is left for more, as `waiting` were sent before and not reconciled yet. `last` are the ids that were sent
    last. `since` is when the target was registered.
    """

    phase: Phase = Phase.FLEET
    token: str = ""
    row: MappingKey | None = None
    first: bool = False
    judged: bool = True
    restarts: int = 0
    crowded: bool | None = None
    room: int = 0
    waiting: int = 0
    last: list[str] = field(default_factory=list)
    since: str = ""


@dataclass(slots=True)
class SweepResult:
    """What a sweep saw, sent and withheld so far; `rest` says what is left until it is `finished`.

    `instances` counts those that haven't ended, `stands` them by their `InstanceStatus`.
    """

    instances: int = 0
    sent: int = 0
    withheld: int = 0
    mappings: int = 0
    mappings_changed: int = 0
    published: int = 0
    finished: bool = True
    problems: list[str] = field(default_factory=list)
    rest: Position = field(default_factory=Position)
    stands: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Sweep:
    """One run of a sweep of a target. `seconds_left` is the rest of the run's time.

    `registered` returns what the registry knows of the target. The `checks` are of rows in the deployment's own target,
    and of records in any other; they are `thorough` once in some hours. A `resumed` run was started by the machine. Any
    other that `gives_way` does nothing while another sweep goes on; the name of its execution comes from `run_id`,
    which stays the same when Lambda retries the run.
    """

    targets: Targets
    registered: Callable[[], ServedTarget | None]
    is_news: Callable[[AccessDeniedError], bool]
    checks: Publisher | RecordChecks
    thorough: Callable[[], bool]
    ec2: Ec2
    state: State
    queue: WorkQueue
    machine: Machine
    settings: Settings
    correlation_id: str
    seconds_left: Callable[[], float]
    run_id: str
    resumed: bool = False
    gives_way: bool = False
    result: SweepResult = field(default_factory=SweepResult)

    @property
    def target(self) -> Target:
        return self.settings.target

    def run(self) -> SweepResult:
        """Go on from where the result says; an AwsRefusalError has this run retried from there."""
        try:
            if not self._begins():
                return self.result
            self._work()
            self._hand_on()
        except AwsRefusalError as error:
            if isinstance(error, AccessDeniedError):
                self.targets.telemetry.denied(error, correlation_id=self.correlation_id, news=self.is_news(error))
            if not self.targets.ends_sweep(self.target, error, resumed=self.resumed):
                raise
            self.targets.registry.sweep_goes_on(self.target, None)
            self._note(str(error))
            self.result.finished = True
            return self.result
        if self.result.finished:
            self._note_activity(self.targets.now())
            self.targets.count_sweep(self.target, self.result.instances)
        return self.result

    def _begins(self) -> bool:
        """Return whether this run should work. A resumed one keeps the schedule from starting another sweep."""
        rest, now = self.result.rest, self.targets.now()
        self.result.finished = True
        if self.resumed:
            self.targets.registry.sweep_goes_on(self.target, now + GOES_ON)
            return True
        if known := self.registered() or self.targets.registry.begun(self.target, now):
            rest.since = layout.timestamp(known.since) if known.since else ""
            rest.first = known.last_sweep is None
            until = known.goes_on_until
            if self.gives_way and until and until > now:
                if known.last_sweep:
                    self.targets.telemetry.count("SweepUnfinished")
                text = layout.timestamp(until)
                self._note(f"skipped: another sweep is running, until {text} at the latest")
                self.result.finished = False
            elif not known.is_heard:
                # No event tells that its spoke was deployed again.
                self.targets.registry.note_probe(self.target, self.targets.probe_at(self.target))
        return self.result.finished

    def _hand_on(self) -> None:
        """Have the machine go on, if this run began a sweep that isn't finished; note the end of one that is."""
        if self.result.finished:
            if self.resumed:
                self.targets.registry.sweep_goes_on(self.target, None)
            if not self.result.rest.first:  # that has noted itself once every row was judged
                self._note_sweep()
        elif not self.resumed:
            event = resumable(Task.SWEEP, self.correlation_id, self.result, target=self.target)
            self.machine.start(self.run_id, event)

    def _note_sweep(self) -> None:
        swept = self.result
        counts = {"instances": swept.instances, "drift": swept.sent + swept.withheld, "withheld": swept.withheld}
        at, checked = self.targets.now(), self.thorough() and swept.rest.judged
        self.targets.registry.note_sweep(self.target, swept.rest.since, **counts, at=at, checked=checked)

    def _note_activity(self, at: datetime) -> None:
        """Note how the instances stand. Only people look at that: the sweep doesn't fail for it."""
        stands = Update().set({f"{layout.SWEPT}{at:%M}": self.result.stands})
        try:
            self.state.note_activity(self.settings.target, stands, at)
        except AwsRefusalError as error:
            self.targets.telemetry.will_retry("the status of the instances can't be noted", error=str(error))

    def _work(self) -> None:
        swept, rest, scans = self.result, self.result.rest, None
        if rest.phase is Phase.FLEET:
            scans = self._fleet()
            if swept.finished:
                rest.phase = Phase.ROWS
        if swept.finished and rest.phase in (Phase.ROWS, Phase.GONE):
            self._rows(scans)
        if rest.phase is Phase.HELD:
            self._fleet()

    def _fleet(self) -> dict[MappingKey, Scan] | None:
        """Send the instances that need a reconcile; returns what mappings govern, if this run saw the whole fleet."""
        swept, rest, scans = self.result, self.result.rest, dict[MappingKey, Scan]()
        whole, state = not rest.token, replace(self.state, remembers={})
        try:
            for page, token in self.ec2.pages(token=rest.token, size=PAGE):
                self._page(page, state, scans)
                rest.token = token
                if token and self._is_late():
                    swept.finished = False
                    break
        except StaleTokenError as error:
            if rest.restarts == RESTARTS:
                raise
            self.targets.telemetry.will_retry("the fleet is read anew: EC2 takes the token no longer", error=str(error))
            rest.token, swept.finished = "", False
            rest.restarts += 1
            if rest.phase is Phase.FLEET:
                swept.instances, swept.stands = 0, {}
        if swept.sent and (rest.crowded or swept.sent > self._limit):
            # Fewer in a queue that isn't crowded are soon done: each sweep would cost a write more.
            self.state.note_sent(self.settings.target, rest.waiting + swept.sent, rest.last, at=self.targets.now())
        # With problems the counts miss a part of the fleet, so each check counts again.
        return scans if whole and swept.finished and not swept.problems else None

    def _page(self, page: list[Instance], state: State, scans: dict[MappingKey, Scan]) -> None:
        at = self.targets.now()
        differing: list[InstanceKey] = []
        for observed in observe_page(page, self.ec2, state, now=at):
            if isinstance(observed, Unreadable):
                self._count_status(observed.instance, InstanceStatus.UNKNOWN)
                if self._note(why := str(observed.error)):
                    self.targets.telemetry.will_retry("an instance can't be swept", instance=observed.key.id, error=why)
                continue
            self._count(observed, scans, at)
            decision = decide(observed, self.settings)
            carried = observed.association.profile_arn if observed.association else ""
            foreign = bool(carried) and not self.settings.ownership.manages(carried)
            self._count_status(observed.instance, status_of(decision, foreign=foreign))
            if needs_reconcile(observed, decision, at):
                differing.append(observed.key)
        if differing:
            self._send(differing, state)

    def _send(self, differing: Sequence[InstanceKey], state: State) -> None:
        """Send these; into a crowded queue only as many as this target has room for."""
        rest = self.result.rest
        if rest.crowded is None:
            rest.crowded = self.queue.waiting() > self._limit
            if rest.crowded:
                rest.room = max(0, int(self._limit - self._waiting(state)))
        sent = differing[: rest.room] if rest.crowded else differing
        rest.room -= len(sent)
        rest.last = [*rest.last, *(key.id for key in sent)][-SAMPLE:]
        self.result.sent += self.queue.send(sent, CAUSE, self.correlation_id)
        self.result.withheld += len(differing) - len(sent)

    @property
    def _limit(self) -> float:
        return BACKLOG * self.settings.changes_per_second

    def _waiting(self, state: State) -> float:
        """Count the target's changes that wait: in its line, or sent by its sweeps and not reconciled yet.

        SQS counts no single group's messages. The share of the last ones sent that still differ counts for all.
        """
        target, at = self.settings.target, self.targets.now()
        line_ends, sent, last = state.waiting(target)
        keys = [InstanceKey(target.account, target.region, id_) for id_ in last]
        differ = sum(
            isinstance(seen, Unreadable) or needs_reconcile(seen, decide(seen, self.settings), at)
            for seen in (observe(keys, self.ec2, state, now=at).values() if keys else ())
        )
        self.result.rest.waiting = math.ceil(sent * differ / max(1, len(keys)))
        return max(self.result.rest.waiting, (line_ends - at).total_seconds() * self.settings.changes_per_second)

    def _count_status(self, instance: Instance | None, status: InstanceStatus) -> None:
        swept = self.result
        if swept.rest.phase is Phase.FLEET and instance and not instance.ended:  # no instance counts twice
            swept.instances += 1
            swept.stands[status] = swept.stands.get(status, 0) + 1

    def _count(self, observed: Observation, scans: dict[MappingKey, Scan], at: datetime) -> None:
        instance = observed.instance
        if instance is None or instance.ended:
            return
        live = tuple(mapping for mapping in observed.published if not mapping.deleted)
        # Ranked already, where none of them is a tombstone.
        ranked = resolve(instance, live, at, pin=observed.pin) if observed.published != live else observed.candidates
        for mapping in live:
            scan = scans.setdefault(mapping.key, Scan())
            scan.add(observed, (mapping, ranked), (mapping, ranked), ownership=self.settings.ownership)

    def _rows(self, scans: dict[MappingKey, Scan] | None) -> None:
        """Check every row again, then mappings without a row; in another target all that are published."""
        rest = self.result.rest
        # One that governs nothing, too: its deletion may have been dead-lettered.
        rows, published = self.checks.listed(scans or ())
        if rest.phase is Phase.ROWS and self._recheck_all(rows, scans, listed=True):
            rest.phase, rest.row = Phase.GONE, None
        if rest.phase is not Phase.GONE or not self._recheck_all(published - rows, scans, listed=False):
            self.result.finished = False
        # Only then what is published is all that governs.
        elif rest.judged and rest.first:
            self._note_sweep()
            # Until now every change was held: now they are due.
            rest.phase = Phase.HELD

    def _recheck_all(self, keys: AbstractSet[MappingKey], scans: Scans | None, *, listed: bool) -> bool:
        """Check these from where the last run stopped; returns whether there was time for all."""
        rest = self.result.rest
        left = sorted(key for key in keys if rest.row is None or key > rest.row)
        for some in batched(left, TOGETHER):
            unchanged: Mapping[MappingKey, Verdict] = {}
            # Where they can't be read together, each is read by itself, and shows why that fails.
            with suppress(AwsRefusalError):
                unchanged = self.checks.unchanged(some, scans) if scans is not None else {}
            for key in some:
                if not listed and self._reads_empty():
                    return True
                self._recheck(key, scans, listed=listed, unchanged=unchanged.get(key))
                rest.row = key
                if self._is_late():
                    return False
        return True

    def _reads_empty(self) -> bool:
        """Return whether the mapping table reads empty by now: then everything holds (docs/concepts.md, rule 5)."""
        rows, published = self.checks.listed(())
        if not rows:
            self._note(f"the mapping table reads empty, and {len(published)} mappings are published: kept")
            self.targets.telemetry.count("MappingTableEmpty")
            self.result.rest.judged = False
        return not rows

    def _recheck(self, key: MappingKey, scans: Scans | None, *, listed: bool, unchanged: Verdict | None = None) -> None:
        self.result.mappings += 1
        scan = None if scans is None else scans.get(key, Scan())
        try:
            checked = unchanged or self.checks.recheck(key, self.correlation_id, scan, listed=listed)
        except AwsRefusalError as error:
            # The other rows are checked all the same.
            problem = "a mapping was not checked" if isinstance(error, RetryableError) else "a mapping can't be checked"
            self.targets.telemetry.will_retry(problem, mapping=str(key), error=str(error))
            self._note(f"{key}: {error}")
            self.result.rest.judged = False
            return
        self.result.mappings_changed += 1 if checked.changed else 0
        self.result.published += 1 if checked.is_in_effect else 0
        if checked.status is Status.WAITING:
            self.result.rest.judged = False

    def _is_late(self) -> bool:
        return self.seconds_left() < RESERVE

    def _note(self, problem: str) -> bool:
        """Keep a problem, if there is room to hand it on; returns whether it is new."""
        problems, text = self.result.problems, problem[:PROBLEM]
        new = text not in problems
        if new and len(problems) < PROBLEMS:
            problems.append(text)
        return new

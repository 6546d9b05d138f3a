"""The targets, accounts and Regions: their registry in the state table, their messages, their sweeps.

The deployment's own target, `home`, is registered by its first sweep, and swept by the schedule itself. Nothing else of
the deployment asks whether a target is that one.

A message from another target of a hub registers it, once a probe finds that its spoke lets the hub in. The registry
grants nothing: the spoke's own roles decide what the hub may do there. A target that isn't registered and refuses the
probe is unknown: its messages are dropped, and the schedule probes it for a while, because IAM takes a while to know a
new spoke's roles.
The accounts machine sweeps them: a run for each account, which sweeps its due targets side by side. A target that
is large or fails gets a run of its own, so it delays no other.
"""

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

from rolekeeper.aws import Ec2, Iam, Machine, MapConcurrently, Tasks, errors
from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, RetryableError
from rolekeeper.aws.queue import Task, event_of
from rolekeeper.instances.reconcile import PATIENCE, WORK, Batch
from rolekeeper.instances.records import Outcome
from rolekeeper.model.instance import InstanceKey, ReconcileRequest, Target
from rolekeeper.model.text import shown
from rolekeeper.settings import Access, Settings
from rolekeeper.storage import Store, Update, layout
from rolekeeper.storage.layout import Key
from rolekeeper.telemetry import Telemetry

PROBLEM = 500  # characters, at most, of what is wrong with a target
NOTED = timedelta(hours=1)  # how often, at most, a process writes that it had events of a target
# Of the reader role (spoke.yaml).
VERSION_TAG, UNIT_TAG, EVENTS_TAG = "rolekeeper:version", "rolekeeper:unit", "rolekeeper:events-to-account"
WIRE_TAG = "rolekeeper:wire-format"
# The number of what passes between a hub and its spokes (docs/upgrading.md, "The wire format"); spoke.yaml has it too.
WIRE_FORMAT = 1
DIGITS = 10  # more has no number; anyone who may tag the reader could write 256, which no table takes
# How long the schedule probes an unknown target: what IAM and a stack set make takes seconds to many minutes.
APPEARS = timedelta(hours=1)
UNKNOWN_FOR = timedelta(days=1)  # after its last event an unknown target is forgotten
PROBED = 5  # instances of a probe's page, the fewest that EC2 takes (EC2 API reference, `DescribeInstances`)
SILENT = timedelta(minutes=1)  # how long a process asks nothing of a target that gave no answer
OVERDUE = 2  # a target is overdue once this many rounds had it swept and no sweep ended: two intervals
NAMED = 20  # targets in one log line
LARGE = 3_000  # a target with more instances is swept by a run of its own
IDLE = timedelta(minutes=55)  # an idle target is swept once an hour; a sweep ends some minutes after its round began
# How long IAM isn't asked again about mappings that govern nothing in another account.
CHECKED_FOR = timedelta(hours=3)
_NEVER = datetime.min.replace(tzinfo=UTC)
# Actions whose refusal concerns the whole target; any other concerns one instance.
_OF_A_TARGET = ("sts:", "ec2:Describe")
IN_TARGET = ("ec2:", "iam:", "sts:")  # the services that are called in a target; all others are called in the hub
_REGISTERED, _PROBLEM, _SINCE, _UNSWEPT, _UNIT = "since", "problem", "problem_since", "unswept", "unit"
_WIRE_FORMAT = "wire_format"
_target_of = attrgetter("instance.target")


@dataclass(frozen=True, slots=True)
class Probed:
    """What a spoke says about itself: its version and its account's organizational unit, if it knows them.

    `notifies` is whether its account is to see the events about its instances. Spokes of before there was a
    `wire_format` have none.
    """

    version: str = ""
    unit: str = ""
    notifies: bool = False
    wire_format: int | None = None


@dataclass(frozen=True, slots=True)
class ServedTarget:
    """A registered target.

    Its last sweep counted the live `instances`. `drift` of them differed, and of these it sent all but the `withheld`.
    `problem` says why the hub can't work there, if it can't. `unswept` is how many sweeps began since the last one that
    ended; the schedule starts none before `goes_on_until`. `dropped` counts the messages of an unknown target.
    `checked` is when its sweep last asked the account's IAM about all mappings. Only the deployment's own target says
    how many instances all targets had when it was last swept, its `fleet`.
    """

    target: Target
    version: str = ""
    since: datetime | None = None
    last_event: datetime | None = None
    last_sweep: datetime | None = None
    instances: int = 0
    drift: int = 0
    withheld: int = 0
    problem: str = ""
    problem_since: datetime | None = None
    unit: str = ""
    unswept: int = 0
    goes_on_until: datetime | None = None
    dropped: int = 0
    notifies: bool = False
    checked: datetime | None = None
    wire_format: int | None = None
    fleet: int | None = None

    @property
    def is_heard(self) -> bool:
        """Whether this hub takes the events of its spoke: a neighbouring format's too."""
        return self.wire_format is not None and abs(self.wire_format - WIRE_FORMAT) <= 1

    @property
    def idle_interval(self) -> timedelta:
        """How long after its last sweep it need not be swept unless an event comes: if that found nothing, an hour."""
        found = self.instances or self.drift or self.problem or not self.last_sweep
        return timedelta() if found else IDLE

    def is_idle(self, now: datetime) -> bool:
        if self.unswept or not self.last_sweep:
            return False
        # A process notes events of a target once in `NOTED`, so a later one may not be noted.
        heard = self.last_event or _NEVER
        return now - self.last_sweep < self.idle_interval and heard <= self.last_sweep - NOTED

    def is_overdue(self, begun: Sequence[datetime]) -> bool:
        """Return whether no sweep ended since the rounds that began then, though they had it swept."""
        known = self.last_sweep or self.since or _NEVER
        return len(begun) == OVERDUE and known + self.idle_interval < begun[0]


class Which(StrEnum):
    """Which targets a round sweeps: those that are due, all because a person asked, or those never swept."""

    DUE = "due"
    ALL = "all"
    NEW = "new"


@dataclass(frozen=True, slots=True)
class Round:
    """A round of sweeps, which began at `since`: one that is due isn't swept again if a run of the round is retried."""

    which: Which
    since: datetime

    def takes(self, served: ServedTarget, now: datetime) -> bool:
        if self.which is Which.NEW:
            return served.last_sweep is None and not served.unswept
        if self.which is Which.ALL:
            return True
        return (served.last_sweep or _NEVER) < self.since and not served.is_idle(now)


@dataclass(frozen=True)
class Registry:
    """The registered targets, the deployment's own `home` among them; it is the only one if the deployment is no hub.

    `noted` says when this process last wrote an event's time: it does so once an hour.
    """

    store: Store
    home: Target | None = None
    is_hub: bool = True
    noted: MutableMapping[Target, datetime] = field(default_factory=dict)

    def all(self, account: str = "") -> list[ServedTarget]:
        """Return all registered targets, or those of one account, sorted; a corrupt item is its target's problem."""
        if self.home and not self.is_hub:
            return [own] if (own := self.get(self.home)) else []
        # "$" comes right after the "#" that ends each part of a key.
        first, last = (f"target#{account}#", f"target#{account}$") if account else ("target#", "target$")
        return [self._read(item) for item in self.store.items(layout.TARGETS, last, first)]

    def others(self, account: str = "") -> list[ServedTarget]:
        """Return the same without the deployment's own target."""
        return [served for served in self.all(account) if served.target != self.home] if self.is_hub else []

    def _read(self, item: Mapping[str, Any]) -> ServedTarget:
        try:
            target = layout.encode(_target(item["sk"]))
            served = self.store.decode(partial(layout.decode, ServedTarget), {**item, "target": target})
        except errors.CorruptItemError as error:
            return ServedTarget(_target(item["sk"]), problem=shown(str(error), PROBLEM))
        return replace(served, wire_format=WIRE_FORMAT) if served.target == self.home else served

    def get(self, target: Target) -> ServedTarget | None:
        item = self.store.get([layout.target_key(target)]).get(layout.target_key(target))
        return self._read(item) if item else None

    def unknown(self) -> list[ServedTarget]:
        """Return the targets that sent events and refused the probe, with a `problem`; some are registered now."""
        if not self.is_hub:
            return []
        return [self._read(item) for item in self.store.items(layout.TARGETS, "unknown$", "unknown#")]

    def note_unknown(self, target: Target, words: str, at: datetime, dropped: int) -> bool:
        """Note that an unknown target's messages were dropped; returns whether it is a new one."""
        time, expires = layout.timestamp(at), int((at + UNKNOWN_FOR).timestamp())
        seen = {_PROBLEM: shown(words, PROBLEM), "last_event": time, "expires": expires}
        if self._update(target, Update().set(seen).add("dropped", dropped), layout.unknown_key):
            return False
        first = Update().set({**seen, _REGISTERED: time}).add("dropped", dropped)
        self.store.write(self.store.update(layout.unknown_key(target), first))
        return True

    def add(self, served: ServedTarget) -> None:
        """Register a target; this replaces its former item."""
        known = {name: value for name, value in layout.encode(served).items() if value != "" and name != "target"}
        self.store.write(self.store.put({**layout.key_attributes(layout.target_key(served.target)), **known}))
        if served.last_event:
            self.noted[served.target] = served.last_event

    def begun(self, target: Target, at: datetime) -> ServedTarget | None:
        """Register the deployment's own target, whose sweep begins; returns what is known of a target."""
        if target == self.home:
            update = Update().set({_REGISTERED: layout.timestamp(at), layout.FLEET: 0})
            with suppress(errors.ConflictError):
                self.store.write(self.store.update(layout.target_key(target), update.only_as({}, _REGISTERED)))
        return self.get(target)

    def note_event(self, target: Target, at: datetime, probed: Probed | None = None) -> bool:
        """Note that an event came from a target, and what a probe found; returns whether it is registered."""
        noted = self.noted.get(target)
        if noted and at - noted < NOTED and not probed:
            return True
        update = Update().set({"last_event": layout.timestamp(at)})
        registered = self._update(target, _saying(probed, update) if probed else update)
        if registered:
            self.noted[target] = at
        return registered

    def note_probe(self, target: Target, probed: Probed) -> None:
        """Note what a probe found though no event came."""
        self._update(target, _saying(probed, Update()))

    def end_notifying(self, target: Target) -> None:
        """Send a target no more events, until a probe finds that it asks for them."""
        self._update(target, Update().remove(layout.NOTIFIES))

    def note_round(self, since: datetime) -> list[datetime]:
        """Note that the schedule's round begins, which may be retried; returns when the last ones before it began."""
        at, item = layout.timestamp(since), self.store.get([layout.ROUNDS]).get(layout.ROUNDS, {})
        before = [time for time in item.get("begun", []) if time < at]
        begun = [*before, at][-OVERDUE - 1 :]
        self.store.write(self.store.put({**layout.key_attributes(layout.ROUNDS), "begun": begun}))
        return [datetime.fromisoformat(time) for time in before[-OVERDUE:]]

    def note_begin(self, target: Target) -> bool:
        """Note that a sweep begins; returns whether the target is registered."""
        return self._update(target, Update().add(_UNSWEPT, 1))

    def sweep_goes_on(self, target: Target, until: datetime | None) -> None:
        """Note until when a sweep of several runs keeps the schedule from starting another; None once it ended."""
        name, update = layout.GOES_ON_UNTIL, Update()
        self._update(target, update.set({name: layout.timestamp(until)}) if until else update.remove(name))

    def note_sweep(self, target: Target, since: str, *, at: datetime, checked: bool = False, **counts: int) -> None:
        """Note the end of a sweep, unless the target was registered again after `since`. It answered: no problem.

        `counts` are `instances`, `drift` and `withheld`.
        """
        swept = {layout.LAST_SWEEP: layout.timestamp(at), **counts}
        swept |= {"checked": layout.timestamp(at)} if checked else {}
        if target == self.home:
            swept[layout.FLEET] = counts["instances"] + sum(other.instances for other in self.others())
        update = Update().set(swept).remove(_PROBLEM, _SINCE, _UNSWEPT)
        self._update(target, update.only_if(_REGISTERED, "=", since))

    def note_problem(self, target: Target, words: str, at: datetime) -> bool:
        """Note a target's problem; returns whether it is new. If several processes find it at once, one gets True."""
        words = shown(words, PROBLEM)
        noted = Update().set({_PROBLEM: words, _SINCE: layout.timestamp(at)})
        return self._update(target, noted.only_if(_PROBLEM, "<>", words, or_absent=True))

    def clear_problem(self, target: Target) -> bool:
        """Remove a target's problem; returns whether it had one."""
        return self._update(target, Update().remove(_PROBLEM, _SINCE).only_if_present(_PROBLEM))

    def remove(self, target: Target) -> None:
        """Forget a target; the next event of its spoke registers it again."""
        self.store.write(*map(self.store.delete, (layout.target_key(target), layout.unknown_key(target))))
        self.noted.pop(target, None)

    def _update(self, target: Target, update: Update, key_of: Callable[[Target], Key] = layout.target_key) -> bool:
        """Update a target's item; returns whether it is there and the update's conditions held."""
        try:
            self.store.write(self.store.update(key_of(target), update.only_if_present(_REGISTERED)))
        except errors.ConflictError:
            return False
        return True


@dataclass(frozen=True)
class Targets:
    """Reconciles a hub's batch target by target, and starts their sweeps: a failure in one doesn't touch the others.

    Made for each invocation; nothing that takes long begins after `ends_by`. `left_alone` outlives the invocation: the
    targets that failed last time, and until when each is asked nothing.
    """

    home: Target
    registry: Registry
    tasks: Tasks
    machine: Machine
    telemetry: Telemetry
    now: Callable[[], datetime]
    ends_by: datetime
    left_alone: MutableMapping[Target, datetime]
    reconcile_at: Callable[[Target, list[ReconcileRequest], Batch], dict[InstanceKey, Outcome]]
    probe_at: Callable[[Target], Probed]
    map_concurrently: MapConcurrently

    def reconcile(self, requests: Iterable[ReconcileRequest]) -> dict[InstanceKey, Outcome]:
        """Reconcile these in the time of one batch: targets with few messages first, those that failed last."""
        outcomes: dict[InstanceKey, Outcome] = {}
        grouped = groupby(sorted(requests, key=_target_of), key=_target_of)
        of_target = {target: list(group) for target, group in grouped}
        put_back = max((request.put_back for group in of_target.values() for request in group), default=0)
        patience = PATIENCE / 5 if self.registry.is_hub else PATIENCE
        batch = Batch(self.ends_by, shared=len(of_target) > 1, put_back=put_back, patience=patience)

        def turn(target: Target) -> tuple[bool, int, bool, Target]:
            return target in self.left_alone, len(of_target[target]), target != self.home, target

        for target in sorted(of_target, key=turn):
            outcomes |= self._reconcile(target, of_target[target], batch)
        return outcomes

    def _reconcile(
        self, target: Target, group: list[ReconcileRequest], batch: Batch, *, once_more: bool = True
    ) -> dict[InstanceKey, Outcome]:
        if failed := self.register(target, group[0].correlation_id, messages=len(group)):
            return dict.fromkeys((request.instance for request in group), failed)
        ended = self.reconcile_at(target, group, batch)
        refusals = [outcome.error for outcome in ended.values() if outcome.error]
        self._remember(target, refusals)
        if once_more and any(isinstance(error, errors.NotRegisteredError) for error in refusals):
            # It was forgotten since this process noted an event of it: register it as if it were new.
            return self._reconcile(target, group, batch, once_more=False)
        return ended

    def register(self, target: Target, correlation_id: str, *, asks: bool = False, messages: int = 1) -> Outcome | None:
        """Register a target if it isn't, or `asks` it by a probe again; returns how its `messages` end if that failed.

        They are retried, or dropped if the target is unknown.
        """
        if closed := self._closed(target):
            return Outcome(error=closed)
        try:
            if target == self.home or (not asks and self.registry.note_event(target, self.now())):
                return None
            return self._probe(target, correlation_id, messages)
        except AwsRefusalError as error:
            if isinstance(error, AccessDeniedError):
                self.telemetry.denied(error, correlation_id=correlation_id, news=self.is_news(target, error))
            self.telemetry.will_retry("a target can't be registered", target=str(target), error=str(error))
            self._remember(target, [error])
            return Outcome(error=error)

    def end_notifying(self) -> None:
        """Send no more events to the accounts that refused some, until their spoke's daily event asks for them."""
        for target in self.telemetry.refusing:
            try:
                self.registry.end_notifying(target)
            except AwsRefusalError as error:
                # The next batch does.
                self.telemetry.will_retry("events to an account can't be ended", target=str(target), error=str(error))

    def probe_unknown(self, correlation_id: str) -> None:
        """Register the unknown targets that let the hub in by now; after an hour only an event registers a target."""
        # The minute's other work may have taken longer than a batch has.
        after = replace(self, ends_by=self.now() + WORK)
        for unknown in self.registry.unknown():
            if unknown.since and self.now() - unknown.since < APPEARS:
                after.register(unknown.target, correlation_id, messages=0)

    def _probe(self, target: Target, correlation_id: str, messages: int) -> Outcome | None:
        try:
            probed, at = self.probe_at(target), self.now()
        except AccessDeniedError as error:
            if self.registry.get(target):
                raise
            return self._drop(target, problem_of(error), correlation_id, messages=messages)
        if self.registry.note_event(target, at, probed):
            return None
        served = ServedTarget(target, since=at, last_event=at, **asdict(probed))
        if probed.wire_format is not None and not served.is_heard:
            return self._drop(target, unheard(served), correlation_id, messages=messages)
        self.registry.add(served)
        return None

    def _drop(self, target: Target, words: str, correlation_id: str, *, messages: int) -> Outcome:
        """Drop the messages of a target that isn't registered, and show why."""
        if messages and self.registry.note_unknown(target, words, self.now(), dropped=messages):
            self.telemetry.dropped(f"unknown target {target}: {words}", correlation_id)
        return Outcome()

    def start_sweeps(
        self, run_id: str, correlation_id: str, which: Which = Which.DUE, *, since: datetime | None = None
    ) -> None:
        """Have the accounts machine sweep the registered targets, in one call whatever their number.

        The execution's name comes from `run_id`, as people may send the same event again.
        """
        if not self.registry.is_hub:
            return
        begun = layout.encode(Round(which, since or self.now()))
        try:
            self.machine.start(run_id, event_of(Task.SWEEP, correlation_id, **begun))
        except AwsRefusalError as error:
            # The next round sweeps them. The hub's own sweep goes on.
            if isinstance(error, AccessDeniedError):
                self.telemetry.denied(error, correlation_id=correlation_id)
            self.telemetry.will_retry("sweeps of targets were not started", error=str(error))
            self.telemetry.count("SweepUnfinished")

    def start_first_sweeps(self, run_id: str, correlation_id: str) -> None:
        """Start those of new targets: before its first sweep nothing is published for a new account."""
        now, new = self.now(), Round(Which.NEW, self.now())
        if any(new.takes(other, now) for other in self.registry.others()):
            self.start_sweeps(run_id, correlation_id, Which.NEW)

    def accounts_due(self, asked: Mapping[str, Any]) -> list[str]:
        """Return the accounts with targets that a round sweeps, the longest ago first; report the overdue."""
        served, now = sorted(self.registry.others(), key=lambda other: other.last_sweep or _NEVER), self.now()
        sweeps = layout.decode(Round, asked)
        begun = self.registry.note_round(sweeps.since) if sweeps.which is Which.DUE else []
        if overdue := [str(one.target) for one in served if one.is_overdue(begun)]:
            named = overdue[:NAMED]
            self.telemetry.will_retry("targets were not swept for two intervals", targets=named, number=len(overdue))
            self.telemetry.count("SweepUnfinished", len(overdue))
        return list(dict.fromkeys(one.target.account for one in served if sweeps.takes(one, now)))

    def sweep_account(
        self, account: str, asked: Mapping[str, Any], *, in_time: Callable[[], bool], sweep: Callable[[Target], bool]
    ) -> list[Target]:
        """Sweep the targets of an account that a round takes side by side, after the one with the fewest instances.

        That one asks IAM for all. A target that is large, whose last sweep didn't end, that fails now (`sweep` returns
        False) or for which no time is left gets a run of its own, which Lambda retries and dead-letters. Returns these.
        """
        sweeps = layout.decode(Round, asked)
        due = [served for served in self.registry.others(account) if sweeps.takes(served, self.now())]
        due.sort(key=lambda served: (served.unswept, served.instances))

        def is_left(served: ServedTarget) -> bool:
            runs = sweeps.which is Which.DUE and (served.goes_on_until or _NEVER) > self.now()
            if not self.registry.note_begin(served.target) or runs:
                return False
            small = not served.unswept and served.instances <= LARGE
            if small and in_time() and sweep(served.target):
                return False
            self.tasks.start(Task.SWEEP, asked["id"], served.target)
            return True

        left = [*map(is_left, due[:1]), *self.map_concurrently(is_left, due[1:])]
        return [served.target for served, alone in zip(due, left, strict=True) if alone]

    def ends_sweep(self, target: Target, error: AwsRefusalError, *, resumed: bool) -> bool:
        """Note why a target's sweep ends, if it does; otherwise its run fails, as the deployment's own always does."""
        is_its_own = target != self.home and error.action.startswith(IN_TARGET)
        if not is_its_own or (resumed and isinstance(error, RetryableError)):
            return False
        if not isinstance(error, AccessDeniedError):
            self.telemetry.will_retry("a target can't be swept", target=str(target), error=str(error))
            self.registry.note_problem(target, problem_of(error), self.now())
        return True

    def count_sweep(self, target: Target, instances: int) -> None:
        """Count a sweep of the deployment's own target, for the alarm for overdue ones; a round finds the others'."""
        if target == self.home:
            self.telemetry.count("InstancesSwept", instances)

    def is_news(self, target: Target, error: AccessDeniedError, *, noting: bool = True) -> bool:
        """Note what a target refuses; returns whether to report it. Refusals about one instance are always reported.

        Without `noting` another has reported it.
        """
        if target == self.home:
            return True
        if not noting:
            return False
        if not error.action.startswith(_OF_A_TARGET):
            return True
        try:
            return self.registry.note_problem(target, problem_of(error), self.now())
        except AwsRefusalError as refused:
            self.telemetry.will_retry("a target's problem can't be noted", target=str(target), error=str(refused))
            return True

    def _closed(self, target: Target) -> AwsRefusalError | None:
        """Return why a batch asks a target nothing, if so: waiting takes a fourth of the function's time."""
        until = self.left_alone.get(target)
        if until and self.now() < until:
            error = RetryableError("LeftAlone", "it gave no answer less than a minute ago", "", resource=str(target))
        elif self.now() >= self.ends_by:
            error = RetryableError("LeftAlone", "other targets took the time of its batch", "", resource=str(target))
        else:
            return None
        self.telemetry.will_retry("a target is left alone", target=str(target), error=str(error))
        return error

    def _remember(self, target: Target, failed: Sequence[AwsRefusalError]) -> None:
        if failed:
            silent = any(isinstance(one, errors.NoResponseError) and one.action.startswith(IN_TARGET) for one in failed)
            self.left_alone[target] = self.now() + (SILENT if silent else timedelta())
            # Its spoke may be gone, and its item too: look at that first, next time.
            self.registry.noted.pop(target, None)
        elif self.left_alone.pop(target, None) and target != self.home:
            try:
                self.registry.clear_problem(target)
            except AwsRefusalError as error:
                # The sweep does.
                self.telemetry.will_retry("a target's problem can't be cleared", target=str(target), error=str(error))


def probe(settings: Settings, ec2: Ec2, iam: Iam, *, home: Target) -> Probed:
    """Ask a target whether the hub may read there, and what its spoke says of itself; the hub's account has no unit."""
    reader = settings.spoke_role(Access.READER).rpartition("/")[2]
    role = iam.get_role(reader)
    next(ec2.pages(size=PROBED))
    tags = role.tags if role else {}
    version, unit, wire = (tags.get(name, "") for name in (VERSION_TAG, UNIT_TAG, WIRE_TAG))
    number = int(wire) if wire.isdecimal() and len(wire) < DIGITS else None
    unit = "" if settings.account == home.account else unit
    return Probed(version, unit, tags.get(EVENTS_TAG) == "true", wire_format=number)


def is_due_for_all(target: Target, of_account: Sequence[ServedTarget], now: datetime) -> bool:
    """Return whether a target's sweep asks IAM also about mappings that govern nothing there.

    That is once in some hours for all of its account, in its first sweep, and after a problem.
    """
    known = next((served for served in of_account if served.target == target), None)
    last = max((served.checked for served in of_account if served.checked), default=_NEVER)
    new = known is None or bool(known.problem) or known.last_sweep is None
    return new or now - last >= CHECKED_FOR


def unheard(served: ServedTarget) -> str:
    """Explain why the hub doesn't take a spoke's events: its wire format is no neighbour of the hub's."""
    if served.wire_format is None:
        return "its spoke is of an edition without a wire format, whose events the hub's bus may refuse"
    takes = f"this hub takes {max(1, WIRE_FORMAT - 1)} to {WIRE_FORMAT + 1}"
    return f"its spoke has wire format {served.wire_format}, and {takes}"


def _saying(probed: Probed, update: Update) -> Update:
    """Write what a spoke says about itself; what it no longer says is removed."""
    reported = {name: value for name, value in layout.encode(probed).items() if value}
    gone = [name for name in (_UNIT, layout.NOTIFIES, _WIRE_FORMAT) if name not in reported]
    update.set(reported)
    return update.remove(*gone)


def problem_of(error: AwsRefusalError) -> str:
    """Describe a target's problem without AWS's own message: that names the session, so it differs."""
    return f"{error.action} on {error.resource} is refused ({error.code})"


def _target(sk: str) -> Target:
    _, account, region = f"{sk}##".split("#")[:3]
    return Target(account, region)

"""The fleet for all pages: read by one thread while a page asks, so that ten tabs cost what one does."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from itertools import chain, islice
from sys import intern
from threading import Condition, Event, Lock, Thread
from typing import Any

from rolekeeper.aws.ec2 import Ec2
from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.instances.decide import InstanceStatus, Observation
from rolekeeper.instances.observe import Unreadable, observe, observe_page
from rolekeeper.model.instance import Association, AssociationState, Instance, InstanceKey, InstanceState, Target
from rolekeeper.model.mapping import NO_ROLE
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import why_unseen
from rolekeeper_cli.console.errors import Note, note_of, one_for_each_cause
from rolekeeper_cli.console.page import PAGE
from rolekeeper_cli.fleet.use import row_view
from rolekeeper_cli.instance.history import DecisionLog, level_missing
from rolekeeper_cli.instance.seen import Enforced, Seen, ShortReason, short_reason
from rolekeeper_cli.row.effect import Rows as MappingRows
from rolekeeper_cli.row.effect import withheld
from rolekeeper_cli.shell.layout import grouped
from rolekeeper_cli.target.use import Places

# The most instances that are kept, as memory is bounded (1 KB each): the command lists larger fleets.
MOST = 50_000

# ---- an instance as it is kept: small, so that 10,000 of them take little memory ----

# What goes on in EC2 by itself, so that no decision is logged when it ends.
_MOVING_STATES = frozenset({InstanceState.PENDING, InstanceState.STOPPING})
_MOVING_ASSOCIATIONS = frozenset({AssociationState.ASSOCIATING, AssociationState.DISASSOCIATING})
_RANKS = {each: rank for rank, each in enumerate(InstanceStatus)}
# The stylesheet's classes of those that have another one than their name.
KINDS = {InstanceStatus.BLOCKED: "bad", InstanceStatus.WAITING: "wait"}


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One instance; texts are empty for none.

    `tags` are in order. `short` is the `reason` in a few words. `carries` and `should_carry` are profiles, by name. It
    `moves` where EC2 changes it without a logged decision. `trace` stands for what else its own page shows, so that a
    change of that is seen too.
    """

    id: str
    account: str
    region: str
    name: str
    state: str
    tags: tuple[tuple[str, str], ...]
    carries: str
    should_carry: str
    mapping: str
    standing: InstanceStatus
    reason: str
    short: ShortReason
    moves: bool
    trace: int

    @property
    def target(self) -> Target:
        return Target(self.account, self.region)

    @property
    def kind(self) -> str:
        return KINDS.get(self.standing, self.standing.value)

    @property
    def order(self) -> tuple[int, str, str]:
        """What needs a person comes first, then by name or id."""
        return _RANKS[self.standing], self.name or self.id, self.id

    @property
    def roles(self) -> tuple[str, str]:
        return self.carries or NO_ROLE, self.should_carry or NO_ROLE


def row_of(
    observed: Observation | Unreadable, deployment: Deployment, rows: MappingRows | None = None
) -> FleetRow | None:
    """None for an instance that EC2 doesn't know, or that has ended."""
    instance = observed.instance
    if instance is None or instance.ended:
        return None
    seen = observed if isinstance(observed, Unreadable) else Seen.of(observed, deployment, rows)
    shown = row_view(seen)
    unclear = "" if isinstance(seen, Seen) else "Rolekeeper can't decide about it: "
    return FleetRow(
        id=instance.key.id,
        account=intern(instance.key.account),
        region=intern(instance.key.region),
        name=shown.name,
        state=shown.state,
        # Each text once in memory: most instances share them.
        tags=tuple((intern(key), intern(value)) for key, value in sorted(instance.tags.items())),
        carries=intern(shown.carries or ""),
        should_carry=intern(shown.should_carry or ""),
        mapping=intern(shown.mapping or ""),
        standing=InstanceStatus(shown.stands),
        reason=intern(f"{unclear}{shown.reason}"),
        short=short_reason(seen),
        moves=isinstance(seen, Seen) and _moves(seen),
        trace=_trace(seen) if isinstance(seen, Seen) else 0,
    )


def _moves(seen: Seen) -> bool:
    association = seen.observed.association
    return seen.instance.state in _MOVING_STATES or bool(association and association.state in _MOVING_ASSOCIATIONS)


def _trace(seen: Seen) -> int:
    observed = seen.observed
    shown = (seen.decision, observed.association, observed.record.condition, observed.pin, observed.grant)
    return hash((*shown, seen.effect.missing))


# ---- EC2, with each read counted ----

_MINUTE = 60.0


@dataclass
class Calls:
    """The times of the last minute's calls; `clock` gives seconds."""

    clock: Callable[[], float]
    _at: deque[float] = field(default_factory=deque)
    _lock: Lock = field(default_factory=Lock)

    def note(self) -> None:
        with self._lock:
            self._at.append(self.clock())

    @property
    def last_minute(self) -> int:
        with self._lock:
            while self._at and self._at[0] <= self.clock() - _MINUTE:
                self._at.popleft()
            return len(self._at)


@dataclass(frozen=True)
class CountedEc2(Ec2):
    """Each call is counted before it is made: one that fails is a call too."""

    calls: Calls

    def associations(self, instance_ids: Sequence[str]) -> dict[str, Association]:
        """One call: EC2 answers for a page of instances at once."""
        if instance_ids:
            self.calls.note()
        return super().associations(instance_ids)

    def pages(self, *filters: dict[str, Any], token: str = "", size: int = 0) -> Iterator[tuple[list[Instance], str]]:
        self.calls.note()
        for page, following in super().pages(*filters, token=token, size=size):
            yield page, following
            if following:
                self.calls.note()


# ---- reading instances: all of them page by page, or some ----

# FilterLogEvents: 5 calls a second in an account and Region (CloudWatch Logs quotas). We make at most 2.
_LOG_PAUSE = 0.5
_LATE = timedelta(seconds=20)
_ROWS_LAST = timedelta(seconds=5)


class FleetReader:
    """One look at the deployment: its stack, its settings and what policies say are asked for once.

    `target_of` gives where an instance is, as far as that is known.
    """

    def __init__(self, deployment: Deployment, calls: Calls, target_of: Callable[[str], Target | None]) -> None:
        self.deployment, self._calls, self._target_of = deployment, calls, target_of
        self._began = self._rows_since = deployment.now()
        self._decided: dict[str, Target] = {}
        self._rows = MappingRows(deployment)

    @cached_property
    def places(self) -> Places:
        """The deployment's targets; after a whole read, also those that couldn't be looked into."""
        return Places.chosen(self.deployment)

    @cached_property
    def _log(self) -> DecisionLog:
        return DecisionLog(self.deployment, self._began - _LATE, late=_LATE, pause=_LOG_PAUSE)

    @property
    def rows(self) -> MappingRows:
        """The mapping table's rows, each as it was some seconds ago."""
        now = self.deployment.now()
        if now - self._rows_since > _ROWS_LAST:
            self._rows_since, self._rows = now, MappingRows(self.deployment)
        return self._rows

    def _ec2(self, place: Deployment) -> Ec2:
        ec2 = place.app.ec2
        return CountedEc2(ec2.client, ec2.account, ec2.region, calls=self._calls)

    def pages(self) -> Iterator[list[FleetRow]]:
        """The whole fleet, target by target, each mapping read once. One that can't be looked into is left out."""
        for place in self.places.all:
            try:
                yield from self._pages(place)
            except AwsRefusalError as error:
                if not place.elsewhere:
                    raise
                self.places.unseen[place.settings.target] = why_unseen(error)

    def _pages(self, place: Deployment) -> Iterator[list[FleetRow]]:
        state, ec2 = Enforced.of(place, {}), self._ec2(place)
        for page in ec2.fleet():
            living, rows = [each for each in page if not each.ended], self._rows
            rows.of_page(living)
            found = (row_of(each, place, rows) for each in observe_page(living, ec2, state, now=place.now()))
            yield [each for each in found if each]

    def look(self, ids: Iterable[str]) -> Mapping[str, FleetRow | None]:
        """These instances; None for one that is gone. Two calls to EC2 in each target.

        Those of another target that can't be looked into now are left out.
        """
        home = self.deployment.home
        by_target = grouped((self._target_of(each) or self._decided.get(each) or home, each) for each in ids)
        found: dict[str, FleetRow | None] = {}
        for target, some in by_target.items():
            place = self.deployment.at(target)
            keys = [InstanceKey(target.account, target.region, each) for each in some]
            try:
                observed = observe(keys, self._ec2(place), Enforced.of(place), now=place.now())
            except AwsRefusalError:
                if not place.elsewhere:
                    raise
            else:
                rows = self.rows
                rows.of_page(each.instance for each in observed.values() if each.instance)
                found |= {key.id: row_of(each, place, rows) for key, each in observed.items()}
        return found

    def decided(self) -> list[str]:
        """The instances that were decided about since the last time, first since this was made."""
        news = list(self._log.news())
        self._decided |= {entry.instance: Target(entry.account, entry.region) for entry in news}
        return [entry.instance for entry in news]


# ---- what is known, and the thread while a page asks ----


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is known at one time.

    `version` grows with each change of what a page shows. The `rows` are in the order in which they are listed; `read`
    counts them while all are read for the first time, and `read_at` is when all were read last. With `cut`, there are
    more than are kept. `notes` say what hinders the reading, by what it is about; `withheld`, why nothing changes now.
    """

    version: int = 1
    rows: tuple[FleetRow, ...] = ()
    read: int = 0
    read_at: datetime | None = None
    cut: bool = False
    notes: Mapping[str, Note] = field(default_factory=dict)
    withheld: str = ""
    targets: tuple[Target, ...] = ()

    @property
    def unreadable(self) -> Note | None:
        """Why nothing is known at all; None where something is."""
        return self.notes.get("whole") if not self.rows and self.read_at is None else None

    @property
    def boxes(self) -> list[Note]:
        """What the page says of what hinders it; nothing where nothing is known, as it says only why."""
        return [] if self.unreadable else one_for_each_cause(self.notes.values())


# A page asks every second. A tab in the background asks once a minute: it keeps reads going for 15 s of that.
ASKED_SECONDS = 15.0
# The most pages of single instances that are kept fresh; each is looked at every second, all by the same two calls.
OPEN = 50
TURN_SECONDS = 1.0
PAGE_SECONDS = 0.125  # 16 calls a second, of the 20 that EC2 refills (AWS_FACTS.md "Throttles")
# Of the first read that much is waited for; what comes later, an open page asks for.
FIRST_READ_SECONDS = 0.05
WHOLE_SECONDS = 300.0
# Where no decisions can be read: each minute, and a large fleet less often. A page of it is two calls to EC2.
WITHOUT_LOG_SECONDS, SECONDS_FOR_A_PAGE = 60.0, 2.0
# However often a person presses the button.
AGAIN_SECONDS = 10.0
# What failed is tried again.
RETRY_SECONDS = 30.0
CONTROL_SECONDS = 5.0
LOOKED_AT = 200
# A token for the next page, and what was learnt of the stack, are too old then.
STALE_SECONDS = 60.0


class FleetCache:
    """The fleet for all pages, which may ask in several threads; `look` gives a deployment that has asked nothing yet.

    The thread works while a page asked within the last 15 seconds, and is started where there is none. It alone writes
    down instances and facts, under the lock of `_changed`.
    """

    def __init__(
        self, look: Callable[[], Deployment], clock: Callable[[], float] = time.monotonic, most: int = MOST
    ) -> None:
        self.calls = Calls(clock)
        self._new_look, self._clock, self._most = look, clock, most
        self._changed = Condition()
        self._rows: dict[str, FleetRow] = {}
        self._stamps: dict[str, int] = {}
        self._stamp_of_all = 0
        # All but the rows, which are sorted once a page asks for the picture.
        self._facts = Fleet()
        self._picture: Fleet | None = None
        self._open: dict[str, float] = {}
        self._asked, self._ended = float("-inf"), False
        self._wake = Event()
        self._thread: Thread | None = None
        # The thread's own.
        self._reader: FleetReader | None = None
        self._pages: Iterator[int] | None = None
        self._begun, self._stepped = float("-inf"), clock()
        self._seen: set[str] = set()
        self._decided: dict[str, None] = {}
        self._looked: dict[str, float] = {}
        self._due: dict[str, float] = {}

    # ---- what pages ask ----

    def ask(self, patience: float = 0.0) -> Fleet:
        """What is known now. Of the first read, a page's rows, or all if there are fewer, are waited for that long."""
        self._called_for()
        with self._changed:
            self._changed.wait_for(
                lambda: self._facts.read_at or "whole" in self._facts.notes or len(self._rows) >= PAGE, patience
            )
            if self._picture is None:
                rows = sorted(self._rows.values(), key=lambda each: each.order)
                self._picture = replace(self._facts, rows=tuple(rows))
            return self._picture

    def row(self, instance: str) -> FleetRow | None:
        """An instance whose page is open, as far as it was read: it is looked at every second while that page asks."""
        self._called_for(instance)
        with self._changed:
            return self._rows.get(instance)

    def stamp(self, instance: str) -> int:
        """Another number once the instance changed, was decided about, or is withheld; 0 where it isn't known.

        Its page is open, as with `row`.
        """
        self._called_for(instance)
        with self._changed:
            return max(self._stamps[instance], self._stamp_of_all) if instance in self._stamps else 0

    def target(self, text: str) -> Target | None:
        """Where the instance of this id is, or the only one of this name; None if there is none."""
        with self._changed:
            if text in self._rows:
                return self._rows[text].target
            named = [each.target for each in self._rows.values() if each.name == text]
            return named[0] if len(named) == 1 else None

    @property
    def read_at(self) -> datetime | None:
        """When the whole fleet was read last. Nothing is read for it."""
        with self._changed:
            return self._facts.read_at

    def known(self) -> list[FleetRow]:
        """The instances as far as they were read, in no order. Nothing is read for it."""
        with self._changed:
            return list(self._rows.values())

    def read_again(self) -> None:
        """Have the whole fleet read, at most every ten seconds."""
        self._due["whole"] = min(self._due.get("whole", 0.0), self._begun + AGAIN_SECONDS)
        self._called_for()
        self._wake.set()

    # ---- the thread ----

    @property
    def working(self) -> bool:
        return self._thread is not None

    def close(self) -> None:
        with self._changed:
            self._ended, thread = True, self._thread
        self._wake.set()
        if thread:
            thread.join()

    def _called_for(self, instance: str = "") -> None:
        with self._changed:
            self._asked = self._clock()
            if instance:
                self._open[instance] = self._asked
        self._start()

    def _start(self) -> None:
        with self._changed:
            if self._thread is None and not self._ended:
                self._thread = Thread(target=self._work, name="fleet", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while self._goes_on():
            self._wake.wait(self.step())
            self._wake.clear()

    def _goes_on(self) -> bool:
        with self._changed:
            if self._ended or self._clock() - self._asked > ASKED_SECONDS:
                self._thread = None
                return False
            return True

    # ---- what the thread does ----

    @property
    def reading(self) -> bool:
        return self._pages is not None

    def step(self) -> float:
        """Do what is due; returns for how many seconds nothing is."""
        began = self._clock()
        if began - self._stepped > STALE_SECONDS:
            self._pages, self._due["whole"] = None, 0.0
        self._guarded("whole", self._read_on)
        if reader := self._reader:
            self._guarded("log", lambda: self._decided.update(dict.fromkeys(reader.decided())), every=TURN_SECONDS)
            self._guarded("look", partial(self._look, reader), every=TURN_SECONDS)
            self._guarded("control", partial(self._read_control, reader), every=CONTROL_SECONDS)
        self._stepped = self._clock()
        turn = PAGE_SECONDS if self._pages else TURN_SECONDS
        return max(0.0, turn - (self._stepped - began))

    def _guarded(self, name: str, do: Callable[[], object], every: float = 0.0) -> None:
        """Do it, unless it failed a moment ago. An error is a note on the page, and the rest goes on."""
        if self._clock() < self._due.get(name, 0.0):
            return
        try:
            if every:
                self._due[name] = self._clock() + every
            do()
            if every:
                self._note(name, None)
        except Exception as error:  # noqa: BLE001  # whatever it is, people see it, and the thread has to go on
            if name == "whole":
                self._pages = None
            self._due[name] = self._clock() + RETRY_SECONDS
            self._note(name, note_of(name, error))

    def _read_on(self) -> None:
        """Read one more page; after the last one, none until it is due again."""
        self._pages = self._pages or self._whole()
        if not next(self._pages, 0):
            self._pages = None

    def _whole(self) -> Iterator[int]:
        """Read the whole fleet; gives how many pages were read, after each."""
        self._begun, self._seen, count = self._clock(), set(), 0
        self._reader = reader = FleetReader(self._new_look(), self.calls, self.target)
        missing = level_missing(reader.deployment)
        late = Note("warn", "Changes show late, with the next full read", missing)
        self._note("level", late if missing else None)
        self._learn(targets=tuple(each.settings.target for each in reader.places.all))
        for count, page in enumerate(reader.pages(), 1):
            self._seen.update(each.id for each in page)
            self._take({each.id: each for each in page})
            if self._facts.read_at is None:
                self._learn(read=len(self._seen))
            yield count
        # Those that weren't seen are gone.
        self._take(dict.fromkeys(self._rows.keys() - self._seen))
        self._learn(cut=self._facts.cut and len(self._rows) >= self._most, read_at=reader.deployment.now())
        self._note("whole", None)
        unseen = "; ".join(reader.places.unseen_in_words())
        remedy = advice("what the last sweep saw there: ", Remedy(Kind.TARGETS))
        self._note("targets", Note("warn", unseen, remedy=remedy) if unseen else None)
        unlogged = self._facts.notes.keys() & {"log", "level"}
        often = max(WITHOUT_LOG_SECONDS, count * SECONDS_FOR_A_PAGE) if unlogged else WHOLE_SECONDS
        self._due["whole"] = self._begun + often

    def _look(self, reader: FleetReader) -> None:
        if not (ids := self._wanted()):
            return
        found = reader.look(ids)
        self._seen.update(each for each, row in found.items() if row)
        self._take(found)
        decided = [each for each in ids if each in self._decided]
        for each in decided:
            del self._decided[each]
        # There is more to show on their pages, whether or not they changed.
        if known := [each for each in decided if each in self._rows]:
            with self._changed:
                self._change()
                self._stamps |= dict.fromkeys(known, self._facts.version)

    def _wanted(self) -> list[str]:
        """Whose page is open, who was decided about, who moves, longest not looked at: the first 200."""
        moving = [each.id for each in self._rows.values() if each.moves]
        moving.sort(key=lambda each: self._looked.get(each, 0.0))
        wanted = list(islice(dict.fromkeys(chain(self._opened(), self._decided, moving)), LOOKED_AT))
        now = self._clock()
        self._looked = {each: now if each in wanted else self._looked.get(each, 0.0) for each in moving}
        return wanted

    def _opened(self) -> list[str]:
        """The instances whose pages asked lately, the newest first."""
        with self._changed:
            since = self._clock() - ASKED_SECONDS
            newest = sorted(self._open.items(), key=lambda each: -each[1])[:OPEN]
            self._open = {instance: at for instance, at in newest if at > since}
            return list(self._open)

    def _read_control(self, reader: FleetReader) -> None:
        if self._learn(withheld=withheld(reader.deployment)):
            # Each instance's page says so.
            self._stamp_of_all = self._facts.version

    # ---- what it writes down ----

    def _take(self, found: Mapping[str, FleetRow | None]) -> None:
        """Write down instances as they are now; None for one that is gone."""
        with self._changed:
            changed = False
            for id_, row in found.items():
                if row == self._rows.get(id_):
                    continue
                if row is None:
                    del self._rows[id_], self._stamps[id_]
                elif id_ in self._rows or len(self._rows) < self._most:
                    self._rows[id_], self._stamps[id_] = row, self._facts.version + 1
                elif self._facts.cut:
                    continue
                else:
                    self._facts = replace(self._facts, cut=True)
                changed = True
            if changed:
                self._change()

    def _note(self, name: str, note: Note | None) -> None:
        others = {other: each for other, each in self._facts.notes.items() if other != name}
        self._learn(notes={**others, name: note} if note else others)

    def _learn(self, **facts: Any) -> bool:
        """Write down these facts; whether any is new."""
        with self._changed:
            learnt = replace(self._facts, **facts)
            if learnt == self._facts:
                return False
            self._facts = learnt
            self._change()
            return True

    def _change(self) -> None:
        self._facts, self._picture = replace(self._facts, version=self._facts.version + 1), None
        self._changed.notify_all()

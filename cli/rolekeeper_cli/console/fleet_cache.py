"""The fleet for all pages: read by one thread while a page asks, so that ten tabs cost what one does.

`FleetCache` is what pages ask, `FleetWorker` what the thread does step by step, `FleetReader` what it reads.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from itertools import chain, islice
from sys import intern
from threading import Condition, Event, Lock, Thread
from typing import Any

from rolekeeper.aws.ec2 import Ec2
from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.instances.decide import Observation
from rolekeeper.instances.observe import Unreadable, observe, observe_page
from rolekeeper.model.instance import AssociationState, InstanceKey, InstanceState, Target
from rolekeeper.model.mapping import NO_ROLE
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper_cli.console.errors import Note, note_of
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.uses.fleet import Enforced, Seen, Standing, document, standing, withheld
from rolekeeper_cli.uses.history import DecisionLog, level_missing
from rolekeeper_cli.uses.instances import name_of
from rolekeeper_cli.uses.targets import Places, why_unseen

# Rows of a page.
PAGE = 200
# The most instances that are kept, as memory is bounded (0.9 KB each): the command lists larger fleets.
MOST = 50_000

# ---- an instance as it is kept: small, so that 10,000 of them take little memory ----


# What goes on in EC2 by itself, so that no decision is logged when it ends.
_MOVING_STATES = frozenset({InstanceState.PENDING, InstanceState.STOPPING, InstanceState.SHUTTING_DOWN})
_MOVING_ASSOCIATIONS = frozenset({AssociationState.ASSOCIATING, AssociationState.DISASSOCIATING})
_RANKS = {each: rank for rank, each in enumerate(Standing)}
# The stylesheet's classes of those that have another one than their name.
KINDS = {Standing.BLOCKED: "bad", Standing.WAITING: "wait"}


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One instance; texts are empty for none.

    `tags` are in order. `carries` and `should_carry` are profiles, by name; `managed` says whether Rolekeeper manages
    the one that it carries. It `moves` where EC2 changes it without a decision that would be logged. `trace` stands for
    what else its own page shows, so that a change of that is seen too.
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
    standing: Standing
    reason: str
    managed: bool
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
        """Where it is listed: what needs a person first, and then by its name, or its id."""
        return _RANKS[self.standing], self.name or self.id, self.id

    @property
    def roles(self) -> tuple[str, str]:
        return self.carries or NO_ROLE, self.should_carry or NO_ROLE


def row_of(observed: Observation | Unreadable, deployment: Deployment) -> FleetRow | None:
    """What is kept of an instance; None of one that EC2 doesn't know, or that is terminated."""
    instance = observed.instance
    if instance is None or instance.state is InstanceState.TERMINATED:
        return None
    seen = observed if isinstance(observed, Unreadable) else Seen.of(observed, deployment)
    shown = document(seen)
    if isinstance(seen, Unreadable):
        reason = f"Rolekeeper can't decide about it: {shown['reason']}"
        status, trace, moves = Standing.UNKNOWN, 0, False
    else:
        reason = shown["reason"]
        status, trace, moves = standing(seen), _trace(seen), _moves(seen)
    return FleetRow(
        id=instance.key.id,
        account=intern(instance.key.account),
        region=intern(instance.key.region),
        name=name_of(instance),
        state=instance.state.value,
        # Each text once in memory: most instances share them.
        tags=tuple((intern(key), intern(value)) for key, value in sorted(instance.tags.items())),
        carries=intern(shown["carries"] or ""),
        should_carry=intern(shown["should_carry"] or ""),
        mapping=intern(shown["mapping"] or ""),
        standing=status,
        reason=intern(reason),
        managed=bool(shown["managed"]),
        moves=moves,
        trace=trace,
    )


def _moves(seen: Seen) -> bool:
    association = seen.observed.association
    return seen.instance.state in _MOVING_STATES or bool(association and association.state in _MOVING_ASSOCIATIONS)


def _trace(seen: Seen) -> int:
    observed = seen.observed
    return hash((seen.decision, observed.association, observed.record.condition, observed.pin, observed.grant))


# ---- EC2's client, with each call counted ----


_MINUTE = 60.0


@dataclass
class Calls:
    """When calls were made, for a minute; `clock` gives seconds."""

    clock: Callable[[], float]
    _at: deque[float] = field(default_factory=deque)
    _lock: Lock = field(default_factory=Lock)

    def note(self) -> None:
        with self._lock:
            self._at.append(self.clock())
            self._forget()

    @property
    def last_minute(self) -> int:
        with self._lock:
            self._forget()
            return len(self._at)

    def _forget(self) -> None:
        while self._at and self._at[0] <= self.clock() - _MINUTE:
            self._at.popleft()


@dataclass(frozen=True)
class CountedEc2:
    """The two calls that read, as boto3's client has them. It can't change anything."""

    client: Any
    calls: Calls

    @property
    def meta(self) -> Any:
        return self.client.meta

    def describe_instances(self, **asked: Any) -> Any:
        self.calls.note()
        return self.client.describe_instances(**asked)

    def get_paginator(self, name: str) -> "_CountedPages":
        return _CountedPages(self.client.get_paginator(name), self.calls)


@dataclass(frozen=True)
class _CountedPages:
    paginator: Any
    calls: Calls

    def paginate(self, **asked: Any) -> Iterator[Any]:
        """The pages. The first call is counted before it is made: one that fails is a call too."""
        self.calls.note()
        for number, page in enumerate(self.paginator.paginate(**asked)):
            if number:
                self.calls.note()
            yield page


# ---- reading instances: all of them page by page, or some ----


# FilterLogEvents: 5 calls a second in an account and Region (CloudWatch Logs quotas). We make at most 2.
_LOG_PAUSE = 0.5
_LATE = timedelta(seconds=20)


class FleetReader:
    """One look at the deployment: its stack, its settings and what policies say are asked for once.

    `target_of` gives where an instance is, as far as that is known.
    """

    def __init__(
        self, deployment: Deployment, calls: Calls, target_of: Callable[[str], Target | None] = lambda _: None
    ) -> None:
        self._deployment, self._calls, self._target_of = deployment, calls, target_of
        self._began = deployment.now()
        self._ec2s: dict[Target, Ec2] = {}
        self._log: DecisionLog | None = None
        self._decided: dict[str, Target] = {}

    @cached_property
    def places(self) -> Places:
        """The deployment's targets; after a whole read, also those that couldn't be looked into."""
        return Places.chosen(self._deployment)

    def _ec2(self, place: Deployment) -> Ec2:
        target = place.settings.target
        if target not in self._ec2s:
            counted: Any = CountedEc2(place.app.ec2.client, self._calls)  # the part of it that reads
            self._ec2s[target] = replace(place.app.ec2, client=counted)
        return self._ec2s[target]

    def now(self) -> datetime:
        return self._deployment.now()

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
            living = [each for each in page if each.state is not InstanceState.TERMINATED]
            found = (row_of(each, place) for each in observe_page(living, ec2, state, now=place.now()))
            yield [each for each in found if each]

    def look(self, ids: Iterable[str]) -> Mapping[str, FleetRow | None]:
        """These instances; None for one that is gone. Two calls to EC2 in each target.

        Of another target that can't be looked into now, they stay as they were.
        """
        by_target: dict[Target, list[str]] = {}
        for each in ids:
            target = self._target_of(each) or self._decided.get(each) or self._deployment.home
            by_target.setdefault(target, []).append(each)
        found: dict[str, FleetRow | None] = {}
        for target, some in by_target.items():
            place = self._deployment.at(target)
            keys = [InstanceKey(target.account, target.region, each) for each in some]
            try:
                observed = observe(keys, self._ec2(place), Enforced.of(place), now=place.now())
            except AwsRefusalError:
                if not place.elsewhere:
                    raise
            else:
                found |= {key.id: row_of(each, place) for key, each in observed.items()}
        return found

    def withheld(self) -> str:
        """Why nothing may be changed now; empty when it may."""
        return withheld(self._deployment)

    def decided(self) -> list[str]:
        """The instances that were decided about since the last time, first since this was made."""
        if self._log is None:
            self._log = DecisionLog(self._deployment, self._began - _LATE, late=_LATE, pause=_LOG_PAUSE)
        news = list(self._log.news())
        self._decided |= {each["instance"]: Target(each["account"], each["region"]) for each in news}
        return [each["instance"] for each in news]

    def log_missing(self) -> str:
        """Why no decisions are logged; empty where they are."""
        return level_missing(self._deployment)


# ---- what is known, and the thread while a page asks ----


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is known at one time.

    Attributes:
        version: it grows with each change of what a page shows.
        rows: the instances, in the order in which they are listed.
        read: how many have been read so far, while all are read for the first time.
        read_at: when all of them were read last; None until they were.
        cut: whether there are more than are kept.
        notes: what hinders the reading, by what it is about.
        withheld: why nothing is changed now; empty where it is.
        targets: the accounts and Regions that the deployment looks after.
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


# A page asks every second. A tab in the background asks once a minute: it keeps reads going for 15 s of that.
ASKED_SECONDS = 15.0
# The most pages of single instances that are kept fresh; each is looked at every second, all by the same two calls.
OPEN = 50


class FleetCache:
    """The fleet for all pages, which may ask in several threads; `look` gives a deployment that has asked nothing yet.

    The thread works while a page asked within the last 15 seconds, and is started where there is none.
    """

    def __init__(
        self, look: Callable[[], Deployment], clock: Callable[[], float] = time.monotonic, most: int = MOST
    ) -> None:
        self.calls = Calls(clock)
        self._clock, self._most = clock, most
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
        self.worker = FleetWorker(self, lambda: FleetReader(look(), self.calls, self.target), clock)

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
        """Where the instance of this id is, or the only one of this name; None where there is none such."""
        with self._changed:
            if text in self._rows:
                return self._rows[text].target
            named = [each.target for each in self._rows.values() if each.name == text]
            return named[0] if len(named) == 1 else None

    def read_again(self) -> None:
        """Have the whole fleet read, at most every ten seconds."""
        self.worker.again()
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
            self._wake.wait(self.worker.step())
            self._wake.clear()

    def _goes_on(self) -> bool:
        with self._changed:
            if self._ended or self._clock() - self._asked > ASKED_SECONDS:
                self._thread = None
                return False
            return True

    # ---- what the thread asks, and writes down ----

    def opened(self) -> list[str]:
        """The instances whose pages asked lately, the newest first."""
        with self._changed:
            since = self._clock() - ASKED_SECONDS
            newest = sorted(self._open.items(), key=lambda each: -each[1])[:OPEN]
            self._open = {instance: at for instance, at in newest if at > since}
            return list(self._open)

    def take(self, found: Mapping[str, FleetRow | None]) -> None:
        """Instances as they are now; None for one that is gone."""
        with self._changed:
            changed = False
            for id_, row in found.items():
                former = self._rows.get(id_)
                if row is None:
                    changed |= self._rows.pop(id_, None) is not None
                    self._stamps.pop(id_, None)
                elif former is None and len(self._rows) >= self._most:
                    changed |= not self._facts.cut
                    self._facts = replace(self._facts, cut=True)
                elif row != former:
                    self._rows[id_] = row
                    self._stamps[id_] = self._facts.version + 1
                    changed = True
            if changed:
                self._change()

    def decided(self, instances: Iterable[str]) -> None:
        """These were decided about: their stories have more to tell, whether or not they changed."""
        with self._changed:
            known = [each for each in instances if each in self._rows]
            if known:
                # No change of a page of the fleet, but no stamp is given twice.
                self._change(seen=False)
            self._stamps |= dict.fromkeys(known, self._facts.version)

    def reads(self, number: int) -> None:
        """How many were read so far, for the first time."""
        if self._facts.read_at is None:
            self.learn(read=number)

    def whole(self, seen: Iterable[str], at: datetime) -> None:
        """All instances were read: those that weren't seen are gone."""
        with self._changed:
            self.take(dict.fromkeys(self._rows.keys() - set(seen)))
            cut = self._facts.cut and len(self._rows) >= self._most
            # How old it is, a page asks for by itself: only the first end of a read is news.
            first = self._facts.read_at is None
            self._facts, self._picture = replace(self._facts, cut=cut, read_at=at), None
            if first:
                self._change()

    def note(self, name: str, note: Note | None) -> None:
        """What hinders a thing, or that nothing does any longer."""
        with self._changed:
            others = {other: each for other, each in self._facts.notes.items() if other != name}
            self.learn(notes={**others, name: note} if note else others)

    def withhold(self, why: str) -> None:
        """Why nothing is changed now; empty where it is."""
        with self._changed:
            if self.learn(withheld=why):
                # Each instance's page says so.
                self._stamp_of_all = self._facts.version

    def hindered(self, *names: str) -> bool:
        with self._changed:
            return any(each in self._facts.notes for each in names)

    def moving(self) -> list[str]:
        """The instances that EC2 is about to change by itself."""
        with self._changed:
            return [each.id for each in self._rows.values() if each.moves]

    def learn(self, **facts: Any) -> bool:
        """Take these facts; whether any is news."""
        with self._changed:
            told = replace(self._facts, **facts)
            news = told != self._facts
            if news:
                self._facts = told
                self._change()
            return news

    def _change(self, *, seen: bool = True) -> None:
        """Begin another version; one that no page of the fleet shows differently wakes none."""
        self._facts = replace(self._facts, version=self._facts.version + 1)
        self._picture = None
        if seen:
            self._changed.notify_all()


# ---- what the thread does ----


TURN_SECONDS = 1.0
PAGE_SECONDS = 0.2
WHOLE_SECONDS = 300.0
# Where no decisions can be read: each minute, and a large fleet less often. A page of it is two calls to EC2.
WITHOUT_LOG_SECONDS, SECONDS_FOR_A_PAGE = 60.0, 2.0
# However often somebody presses the button.
AGAIN_SECONDS = 10.0
# What failed is tried again.
RETRY_SECONDS = 30.0
CONTROL_SECONDS = 5.0
LOOKED_AT = 200
# A token for the next page, and what was learnt of the stack, are too old then.
STALE_SECONDS = 60.0


class FleetWorker:
    """Writes down what it finds, step by step. All but `again` is for one thread.

    `read` begins to read the deployment anew.
    """

    def __init__(self, known: FleetCache, read: Callable[[], FleetReader], clock: Callable[[], float]) -> None:
        self._known, self.read, self._clock = known, read, clock
        self._reader: FleetReader | None = None
        self._pages: Iterator[int] | None = None
        self._begun, self._stepped = float("-inf"), clock()
        self._seen: set[str] = set()
        self._decided: dict[str, None] = {}
        self._looked: dict[str, float] = {}
        self._due: dict[str, float] = {}

    @property
    def reading(self) -> bool:
        return self._pages is not None

    def again(self) -> None:
        self._due["whole"] = min(self._due.get("whole", 0.0), self._begun + AGAIN_SECONDS)

    def step(self) -> float:
        """Do what is due; returns for how many seconds nothing is."""
        began = self._clock()
        if began - self._stepped > STALE_SECONDS:
            self._pages, self._due["whole"] = None, 0.0
        self._guarded("whole", self._read_on)
        if reader := self._reader:
            self._guarded("log", partial(self._read_log, reader), every=TURN_SECONDS)
            self._guarded("look", partial(self._look, reader), every=TURN_SECONDS)
            self._guarded("control", partial(self._read_control, reader), every=CONTROL_SECONDS)
        self._stepped = self._clock()
        turn = PAGE_SECONDS if self._pages else TURN_SECONDS
        return max(0.0, turn - (self._stepped - began))

    def _guarded(self, name: str, do: Callable[[], object], every: float = 0.0) -> None:
        """Do it, unless it failed a moment ago. An error is a note on the page, and what it hinders not goes on."""
        if self._clock() < self._due.get(name, 0.0):
            return
        try:
            if every:
                self._due[name] = self._clock() + every
            do()
            if every:
                self._known.note(name, None)
        except Exception as error:  # noqa: BLE001  # whatever it is, people see it, and the thread has to go on
            if name == "whole":
                self._pages = None
            self._due[name] = self._clock() + RETRY_SECONDS
            self._known.note(name, note_of(name, error))

    # ---- the whole fleet ----

    def _read_on(self) -> None:
        """Read one more page; after the last one, none until it is due again."""
        self._pages = self._pages or self._whole()
        if not next(self._pages, 0):
            self._pages = None

    def _whole(self) -> Iterator[int]:
        """How many pages were read, after each."""
        self._begun, self._seen, count = self._clock(), set(), 0
        self._reader = reader = self.read()
        missing = reader.log_missing()
        late = Note("warn", f"Changes show late, with the next full read: {missing}.")
        self._known.note("level", late if missing else None)
        self._known.learn(targets=tuple(each.settings.target for each in reader.places.all))
        for count, page in enumerate(reader.pages(), 1):
            self._seen.update(each.id for each in page)
            self._known.take({each.id: each for each in page})
            self._known.reads(len(self._seen))
            yield count
        self._known.whole(self._seen, reader.now())
        self._known.note("whole", None)
        unseen = "; ".join(reader.places.unseen_in_words())
        remedy = advice("what the last sweep saw there: ", Remedy(Kind.TARGETS))
        self._known.note("targets", Note("warn", f"{unseen}.", remedy) if unseen else None)
        self._due["whole"] = self._begun + self._interval(count)

    def _interval(self, pages: int) -> float:
        """Seconds from the beginning of one read of the whole to the next."""
        if self._known.hindered("log", "level"):
            return max(WITHOUT_LOG_SECONDS, pages * SECONDS_FOR_A_PAGE)
        return WHOLE_SECONDS

    # ---- some of it ----

    def _read_log(self, reader: FleetReader) -> None:
        self._decided.update(dict.fromkeys(reader.decided()))

    def _look(self, reader: FleetReader) -> None:
        if ids := self._wanted():
            found = reader.look(ids)
            decided = [each for each in ids if each in self._decided]
            for each in decided:
                del self._decided[each]
            self._seen.update(each for each, row in found.items() if row)
            self._known.take(found)
            self._known.decided(decided)

    def _wanted(self) -> list[str]:
        """Whose page is open, who was decided about, who moves by itself, longest not looked at: the first 200."""
        moving = sorted(self._known.moving(), key=lambda each: self._looked.get(each, 0.0))
        wanted = list(islice(dict.fromkeys(chain(self._known.opened(), self._decided, moving)), LOOKED_AT))
        now, moves = self._clock(), set(moving)
        self._looked = {each: at for each, at in self._looked.items() if each in moves}
        self._looked.update(dict.fromkeys(moves.intersection(wanted), now))
        return wanted

    def _read_control(self, reader: FleetReader) -> None:
        self._known.withhold(reader.withheld())

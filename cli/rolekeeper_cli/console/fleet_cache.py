"""The fleet for all pages: ten tabs cost what one does, and while no page asks, nothing is read."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import chain, islice
from threading import Condition, Event, Lock, Thread
from typing import Any

from rolekeeper.model.instance import Target
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper_cli.console.errors import Note, note_of
from rolekeeper_cli.console.fleet_reader import Calls, FleetReader, FleetRow
from rolekeeper_cli.deployment import Deployment

# Rows of a page.
PAGE = 200
# The most instances that are kept, as memory is bounded (0.9 KB each): the command lists larger fleets.
MOST = 50_000


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


class KnownFleet:
    """What the console knows of the fleet. All of it may be used by several threads."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._changed = Condition()
        self._rows: dict[str, FleetRow] = {}
        self._stamps: dict[str, int] = {}
        self._stamp_of_all = 0
        # All but the rows, which are sorted once a page asks for the picture.
        self._facts = Fleet()
        self._picture: Fleet | None = None

    # ---- what pages ask ----

    def picture(self, patience: float = 0.0) -> Fleet:
        """What is known. Of the first read, a page's rows are waited for, or all where there are fewer, that long."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._facts.read_at or "whole" in self._facts.notes or len(self._rows) >= PAGE, patience
            )
            if self._picture is None:
                rows = sorted(self._rows.values(), key=lambda each: each.order)
                self._picture = replace(self._facts, rows=tuple(rows))
            return self._picture

    def row(self, instance: str) -> FleetRow | None:
        """One instance, as far as it was read."""
        with self._changed:
            return self._rows.get(instance)

    def target(self, text: str) -> Target | None:
        """Where the instance of this id is, or the only one of this name; None where there is none such."""
        with self._changed:
            if text in self._rows:
                return self._rows[text].target
            named = [each.target for each in self._rows.values() if each.name == text]
            return named[0] if len(named) == 1 else None

    def stamp(self, instance: str) -> int:
        """Another number once the instance changed, was decided about, or is withheld; 0 where it isn't known."""
        with self._changed:
            return max(self._stamps[instance], self._stamp_of_all) if instance in self._stamps else 0

    # ---- what the thread writes ----

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
        if self._facts.read_at is None:
            self._learn(read=number)

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
            self._learn(notes={**others, name: note} if note else others)

    def looks_after(self, targets: Iterable[Target]) -> None:
        """The accounts and Regions whose instances are read."""
        self._learn(targets=tuple(targets))

    def withhold(self, why: str) -> None:
        """Why nothing is changed now; empty where it is."""
        with self._changed:
            if self._learn(withheld=why):
                # Each instance's page says so.
                self._stamp_of_all = self._facts.version

    def hindered(self, *names: str) -> bool:
        """Whether something hinders one of these."""
        with self._changed:
            return any(each in self._facts.notes for each in names)

    def moving(self) -> list[str]:
        """The instances that EC2 is about to change by itself."""
        with self._changed:
            return [each.id for each in self._rows.values() if each.moves]

    def _learn(self, **facts: Any) -> bool:
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


# ---- what the console's thread does while a page asks ----


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

    `read` begins to read the deployment anew; `opened` gives the instances whose pages are open.
    """

    def __init__(
        self,
        known: KnownFleet,
        read: Callable[[], FleetReader],
        opened: Callable[[], Iterable[str]],
        clock: Callable[[], float],
    ) -> None:
        self._known, self._read, self._opened, self._clock = known, read, opened, clock
        self._reader: FleetReader | None = None
        self._pages: Iterator[list[FleetRow]] | None = None
        self._begun, self._stepped = float("-inf"), clock()
        self._seen: set[str] = set()
        self._count = 0
        self._decided: dict[str, None] = {}
        self._looked: dict[str, float] = {}
        self._due: dict[str, float] = {}

    @property
    def reading(self) -> bool:
        """Whether the whole fleet is being read."""
        return self._pages is not None

    def again(self) -> None:
        """Have the whole fleet read soon."""
        self._due["whole"] = min(self._due.get("whole", 0.0), self._begun + AGAIN_SECONDS)

    def step(self) -> float:
        """Do what is due; returns for how many seconds nothing is."""
        began = self._clock()
        if began - self._stepped > STALE_SECONDS:
            self._pages, self._due["whole"] = None, 0.0
        self._guarded("whole", self._begin)
        if reader := self._reader:
            self._guarded("whole", partial(self._read_page, reader))
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

    def _begin(self) -> None:
        if self._pages:
            return
        self._begun, self._seen, self._count = self._clock(), set(), 0
        self._reader = reader = self._read()
        missing = reader.log_missing()
        late = Note("warn", f"Changes show late, with the next full read: {missing}.")
        self._known.note("level", late if missing else None)
        self._known.looks_after([each.settings.target for each in reader.places.all])
        self._pages = reader.pages()

    def _read_page(self, reader: FleetReader) -> None:
        if self._pages is None:
            return
        page = next(self._pages, None)
        if page is None:
            self._end(reader)
            return
        self._count += 1
        self._seen.update(each.id for each in page)
        self._known.take({each.id: each for each in page})
        self._known.reads(len(self._seen))

    def _end(self, reader: FleetReader) -> None:
        self._pages = None
        self._known.whole(self._seen, reader.now())
        self._known.note("whole", None)
        unseen = "; ".join(reader.places.unseen_in_words())
        remedy = advice("what the last sweep saw there: ", Remedy(Kind.TARGETS))
        self._known.note("targets", Note("warn", f"{unseen}.", remedy) if unseen else None)
        self._due["whole"] = self._begun + self._interval()

    def _interval(self) -> float:
        """Seconds from the beginning of one read of the whole to the next."""
        if self._known.hindered("log", "level"):
            return max(WITHOUT_LOG_SECONDS, self._count * SECONDS_FOR_A_PAGE)
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
        wanted = list(islice(dict.fromkeys(chain(self._opened(), self._decided, moving)), LOOKED_AT))
        now, moves = self._clock(), set(moving)
        self._looked = {each: at for each, at in self._looked.items() if each in moves}
        self._looked.update(dict.fromkeys(moves.intersection(wanted), now))
        return wanted

    def _read_control(self, reader: FleetReader) -> None:
        self._known.withhold(reader.withheld())


# ---- the thread, while a page asks ----


# A page asks every second. A tab in the background asks once a minute: it keeps reads going for 15 s of that.
ASKED_SECONDS = 15.0
# The most pages of single instances that are kept fresh; each is looked at every second, all by the same two calls.
OPEN = 50


class FleetCache:
    """The fleet for all pages; `look` gives a deployment that has asked nothing yet."""

    def __init__(self, look: Callable[[], Deployment], clock: Callable[[], float] = time.monotonic) -> None:
        self.calls = Calls(clock)
        self._clock = clock
        self._known = KnownFleet()
        self._look = look
        self._worker = FleetWorker(self._known, self._reader, self._opened, clock=clock)
        self._lock = Lock()
        self._wake = Event()
        self._asked, self._ended = float("-inf"), False
        self._open: dict[str, float] = {}
        self._thread: Thread | None = None

    def ask(self, patience: float = 0.0) -> Fleet:
        """What is known now; of the first read, as much as comes within `patience` seconds.

        The thread works for the next 15 seconds, and is started where there is none.
        """
        self._called_for()
        return self._known.picture(patience)

    def row(self, instance: str) -> FleetRow | None:
        """An instance whose page is open: it is looked at every second while that page asks."""
        self._called_for(instance)
        return self._known.row(instance)

    def target(self, text: str) -> Target | None:
        """Where the instance is that a text, its id or its name, names; None where that isn't known."""
        return self._known.target(text)

    def stamp(self, instance: str) -> int:
        """Another number once the instance changed, or was decided about; 0 where it isn't known. As `row` does."""
        self._called_for(instance)
        return self._known.stamp(instance)

    def read_again(self) -> None:
        """Have the whole fleet read, at most every ten seconds."""
        self._worker.again()
        self._called_for()
        self._wake.set()

    @property
    def reading(self) -> bool:
        """Whether the whole fleet is being read."""
        return self._worker.reading

    @property
    def working(self) -> bool:
        return self._thread is not None

    def close(self) -> None:
        """End the thread, and wait until it has ended."""
        with self._lock:
            self._ended, thread = True, self._thread
        self._wake.set()
        if thread:
            thread.join()

    def _reader(self) -> FleetReader:
        return FleetReader(self._look(), self.calls, self._known.target)

    def _called_for(self, instance: str = "") -> None:
        with self._lock:
            self._asked = self._clock()
            if instance:
                self._open[instance] = self._asked
        self._start()

    def _start(self) -> None:
        """Have the thread work, where it doesn't."""
        with self._lock:
            if self._thread is None and not self._ended:
                self._thread = Thread(target=self._work, name="fleet", daemon=True)
                self._thread.start()

    def _opened(self) -> list[str]:
        """The instances whose pages asked lately, the newest first."""
        with self._lock:
            since = self._clock() - ASKED_SECONDS
            newest = sorted(self._open.items(), key=lambda each: -each[1])[:OPEN]
            self._open = {instance: at for instance, at in newest if at > since}
            return list(self._open)

    def _work(self) -> None:
        while self._goes_on():
            self._wake.wait(self._worker.step())
            self._wake.clear()

    def _goes_on(self) -> bool:
        with self._lock:
            if self._ended or self._clock() - self._asked > ASKED_SECONDS:
                self._thread = None
                return False
            return True

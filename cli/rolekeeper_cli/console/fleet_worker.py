"""What the console's thread does while a page asks: reading the whole fleet now and then, and in between what changes.

Its bounds, in an account and Region: a page of the whole fleet every 0.2 s while that is read (10 calls to EC2 a
second), one look a second at no more than 200 instances (2 calls), and 2 calls a second to CloudWatch Logs.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper_cli.console.fleet_known import KnownFleet
from rolekeeper_cli.console.fleet_reader import FleetReader
from rolekeeper_cli.console.fleet_rows import FleetRow
from rolekeeper_cli.console.notes import Note, note_of

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
    """See the module. All but `again` is for one thread.

    Args:
        known: where it writes what it finds.
        read: begins to read the deployment, as one that has asked nothing yet.
        opened: gives the instances whose pages are open.
        clock: seconds, that only go on.
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
        if self._pages:
            self._guarded("whole", self._read_page)
        if self._reader:
            self._guarded("log", self._read_log)
            self._guarded("look", self._look)
            self._guarded("control", self._read_control)
        self._stepped = self._clock()
        turn = PAGE_SECONDS if self._pages else TURN_SECONDS
        return max(0.0, turn - (self._stepped - began))

    def _guarded(self, name: str, do: Callable[[], object]) -> None:
        """Do it, unless it failed a moment ago. An error is a note on the page, and what it hinders not goes on."""
        if self._clock() < self._due.get(name, 0.0):
            return
        try:
            do()
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
        self._reader = self._read()
        missing = self._reader.log_missing()
        self._known.note(
            "level", Note("warn", f"Changes show late, with the next full read: {missing}.") if missing else None
        )
        self._known.looks_after([each.settings.target for each in self._reader.places.all])
        self._pages = self._reader.pages()

    def _read_page(self) -> None:
        assert self._pages
        page = next(self._pages, None)
        if page is None:
            self._end()
            return
        self._count += 1
        self._seen.update(each.id for each in page)
        self._known.take({each.id: each for each in page})
        self._known.reads(len(self._seen))

    def _end(self) -> None:
        assert self._reader
        self._pages = None
        self._known.whole(self._seen, self._reader.now())
        self._known.note("whole", None)
        unseen = "; ".join(self._reader.places.unseen_in_words())
        remedy = advice("what the last sweep saw there: ", Remedy(Kind.TARGETS))
        self._known.note("targets", Note("warn", f"{unseen}.", remedy) if unseen else None)
        self._due["whole"] = self._begun + self._interval()

    def _interval(self) -> float:
        """Seconds from the beginning of one read of the whole to the next."""
        if self._known.hindered("log", "level"):
            return max(WITHOUT_LOG_SECONDS, self._count * SECONDS_FOR_A_PAGE)
        return WHOLE_SECONDS

    # ---- some of it ----

    def _read_log(self) -> None:
        assert self._reader
        self._due["log"] = self._clock() + TURN_SECONDS
        self._decided.update(dict.fromkeys(self._reader.decided()))
        self._known.note("log", None)

    def _look(self) -> None:
        assert self._reader
        self._due["look"] = self._clock() + TURN_SECONDS
        if ids := self._wanted():
            found = self._reader.look(ids)
            decided = [each for each in ids if each in self._decided]
            for each in decided:
                del self._decided[each]
            self._seen.update(each for each, row in found.items() if row)
            self._known.take(found)
            self._known.decided(decided)
        self._known.note("look", None)

    def _wanted(self) -> list[str]:
        """Whose page is open, who was decided about, who moves by itself, longest not looked at: the first 200."""
        moving = sorted(self._known.moving(), key=lambda each: self._looked.get(each, 0.0))
        wanted = list(islice(dict.fromkeys(chain(self._opened(), self._decided, moving)), LOOKED_AT))
        now, moves = self._clock(), set(moving)
        self._looked = {each: at for each, at in self._looked.items() if each in moves}
        self._looked.update(dict.fromkeys(moves.intersection(wanted), now))
        return wanted

    def _read_control(self) -> None:
        assert self._reader
        self._due["control"] = self._clock() + CONTROL_SECONDS
        self._known.withhold(self._reader.withheld())
        self._known.note("control", None)

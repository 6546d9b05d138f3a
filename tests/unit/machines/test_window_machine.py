"""Three workers change instances by two mappings; by the model's own count no window holds more than it may.

Two of them work in one account and Region and one in another, and one of the mappings says `NONE`: each account and
Region has a window for each of the two, and what is in one takes no other's room.

A worker changes an instance in two steps, as `Reconciler` does: it looks for room, and then it takes the room in the
same write as the grant. That write is refused if the room is gone by then. What EC2 refuses gives its room back.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fakes.calls import Calls
from fakes.clock import START
from fixtures.state_table import STATE_TABLE
from fixtures.workers import WINDOW_MINUTES, Worker, state_table, worker
from rolekeeper.aws.errors import ConflictError
from rolekeeper.instances.window import Reservation
from rolekeeper.model.instance import RecordChange, Target
from rolekeeper.model.mapping import MappingKey
from rolekeeper.settings import Limits
from rolekeeper.storage import layout
from rolekeeper.storage.state import Update
from strategies.happenings import at_most
from strategies.values import KEY, grant, key

LIMITS = Limits(1, 20)
MINUTE, WINDOW = timedelta(minutes=1), timedelta(minutes=WINDOW_MINUTES)
WEB, TO_NONE = key("workload=web"), key("a#b=c#d")
HOME, SPOKE = Target("111111111111", "eu-west-1"), Target("222222222222", "eu-west-1")
WORKS_IN = (HOME, HOME, SPOKE)  # by the number of a worker

workers = st.sampled_from(range(len(WORKS_IN)))
mappings = st.sampled_from([WEB, TO_NONE])
sizes = st.sampled_from([0, 10, 15])
# How a worker looks for room.
NORMALLY, FROM_MEMORY, BESIDE_ANOTHER, BY_AN_OLD_REVISION = "normally", "from memory", "beside another", "old revision"
ways = st.sampled_from([NORMALLY, FROM_MEMORY, BESIDE_ANOTHER, BY_AN_OLD_REVISION])

type Window = tuple[Target, MappingKey]


@dataclass(frozen=True)
class Room:
    """Room that a worker found: one of `allowed` changes in the window, or one that the `revision`'s approval pays."""

    window: Window
    reservation: Reservation
    allowed: int
    revision: int = 0


@dataclass
class Change:
    """A change that took its room, and the entry that its worker began in the history."""

    room: Room
    at: datetime
    profile_arn: str
    entry: layout.Key
    refused: bool = False

    @property
    def counts(self) -> bool:
        """Whether it counts in its window."""
        return not (self.room.revision or self.refused)


class Windows(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.calls = Calls()
        self.client = state_table(self.calls)
        self.workers: list[Worker] = [self._worker(target) for target in WORKS_IN]
        self.now: datetime = START
        self.fleet = dict.fromkeys(WORKS_IN, 0)
        self.found: dict[int, Room] = {}  # by the worker that hasn't taken it yet
        self.changes: list[Change] = []
        self.asked = 0
        # By mapping: the revision that was approved last, and how many changes of its approval are left.
        self.revision, self.credit = Counter[MappingKey](), Counter[MappingKey]()

    # ---- what happens ----

    @initialize(home=sizes, spoke=sizes)
    def targets_are_swept(self, home: int, spoke: int) -> None:
        self.a_sweep_counts(HOME, home)
        self.a_sweep_counts(SPOKE, spoke)

    @rule(seconds=st.sampled_from([1, 45, 60, 150, 240]))
    def time_passes(self, seconds: int) -> None:
        """A worker that found room takes it at once or not at all."""
        self.now += timedelta(seconds=seconds)
        self.found.clear()

    @rule(place=st.sampled_from([HOME, SPOKE]), instances=sizes)
    def a_sweep_counts(self, place: Target, instances: int) -> None:
        store = self.workers[0].store
        store.write(store.update(layout.target_key(place), Update().set({"instances": instances})))
        self.fleet[place] = instances

    @rule(mapping=mappings, changes=st.integers(1, 2))
    def a_person_approves(self, mapping: MappingKey, changes: int) -> None:
        """As `Revisions.publish` grants it (`test_revisions`)."""
        self.revision[mapping] += 1
        self.credit[mapping] = changes
        revision, store = self.revision[mapping], self.workers[0].store
        granted = {layout.credit_of(revision): changes, "credit_revision": revision}
        store.write(store.put({**layout.key_attributes(layout.budget_key(mapping)), **granted}))

    # ---- what workers do ----

    @rule(number=workers, mapping=mappings, way=ways, approved_meanwhile=st.booleans(), times=st.integers(1, 3))
    def a_worker_changes(
        self, number: int, mapping: MappingKey, way: str, times: int, *, approved_meanwhile: bool
    ) -> None:
        """It tries again by what it reads then."""
        for attempt in range(times):
            self.a_worker_looks(number, mapping, NORMALLY if attempt and way == FROM_MEMORY else way)
            self.a_worker_takes_its_room(number, approved_meanwhile=approved_meanwhile)

    @rule(order=st.permutations(range(len(WORKS_IN))), mapping=mappings)
    def all_look_before_the_first_takes_its_room(self, order: list[int], mapping: MappingKey) -> None:
        for number in order:
            self.a_worker_looks(number, mapping, NORMALLY)
        for number in order:
            self.a_worker_takes_its_room(number, approved_meanwhile=False)

    @rule(number=workers, mapping=mappings, way=ways)
    def a_worker_looks(self, number: int, mapping: MappingKey, way: str) -> None:
        window, to_none = (WORKS_IN[number], mapping), mapping == TO_NONE
        if way == FROM_MEMORY:  # of an empty table
            counters = layout.changes_key(WORKS_IN[number], quarantines=to_none)
            reservation = self._worker(WORKS_IN[number]).window.room(self.now, counters)
            self.found[number] = Room(window, reservation, LIMITS.per_edit)
            return
        revision, credit = self.revision[mapping], self.credit[mapping]
        if way == BY_AN_OLD_REVISION:
            revision, credit = revision - 1, 0
        if way == BESIDE_ANOTHER:
            other = self._worker(WORKS_IN[(number + 1) % len(WORKS_IN)]).window
            ask = lambda: other.reserve_or_wait(mapping, revision, self.now, quarantines=to_none)  # noqa: E731  # a hook
            self.calls.after("BatchGetItem", ask)
        limiter = self.workers[number].window
        limiter.known = {}
        found = limiter.reserve_or_wait(mapping, revision, self.now, quarantines=to_none)
        self.found.pop(number, None)
        allowed = LIMITS.allowed(self.fleet[WORKS_IN[number]])
        full = self._not_left_yet(window) >= allowed
        if isinstance(found, datetime):
            assert full, "room that is there is given"
            assert not credit, "what a person approved goes on"
            assert self.now < found <= self.now + timedelta(days=7, seconds=20), "and it says whose turn is when"
        else:
            approved = "credit" in str(found.reserve)
            assert approved is full, "an approval pays if there is no room, and only then"
            assert credit or not approved, "an approval is for its revision only"
            self.found[number] = Room(window, found, allowed, revision if approved else 0)

    @rule(number=workers, approved_meanwhile=st.booleans())
    @precondition(lambda self: self.found)
    def a_worker_takes_its_room(self, number: int, *, approved_meanwhile: bool) -> None:
        """Another revision may be approved just before."""
        room = self.found.pop(number, None)
        if not room:
            return
        _, mapping = room.window
        if approved_meanwhile:
            self.a_person_approves(mapping, 1)
        self.asked += 1
        given = grant(f"web-{self.asked}", str(mapping))
        before, state, starting = self._table(), self.workers[number].state, RecordChange(grants=(given,))
        try:
            entry = {"outcome": layout.STARTED}
            at = state.save(KEY, starting, self.now, entry=entry, also=(room.reservation.reserve,))
        except ConflictError:
            assert self._table() == before, "without room there is no grant"
            return
        self.changes.append(Change(room, self.now, given.profile_arn, at))
        if room.revision:
            assert room.revision == self.revision[mapping]
            self.credit[mapping] -= 1
        else:
            within = [made for made in self._counted(room.window) if self.now - WINDOW < made.at]
            assert len(within) <= room.allowed, "a window holds no more than it may"

    @rule(data=st.data(), number=workers)
    @precondition(lambda self: self._recent())
    def ec2_refuses(self, data: st.DataObject, number: int) -> None:
        change = data.draw(st.sampled_from(self._recent()))
        state = self.workers[number].state
        refused = state.completion(change.entry, {"outcome": layout.REFUSED})
        state.save(KEY, RecordChange(), self.now, also=(refused, change.room.reservation.release))
        change.refused = True
        _, mapping = change.room.window
        if change.room.revision == self.revision[mapping] > 0:  # what a former revision took is no other's
            self.credit[mapping] += 1

    # ---- what always holds ----

    @invariant()
    def there_is_a_grant_for_each_change_and_none_without_room(self) -> None:
        asked = {change.profile_arn for change in self.changes}
        assert self.workers[0].state.read([KEY], []).record(KEY).grants.keys() == asked

    @invariant()
    def credit_is_what_was_approved_and_not_used(self) -> None:
        for mapping, credit in self.credit.items():
            at = layout.budget_key(mapping)
            assert self.workers[0].store.get([at])[at][layout.credit_of(self.revision[mapping])] == credit

    def teardown(self) -> None:
        history = self.workers[0].store.history(layout.instance_pk(KEY), limit=1_000)
        outcomes = {(entry["pk"], entry["sk"]): entry["outcome"] for entry in history}
        ends = {True: layout.REFUSED, False: layout.STARTED}
        assert outcomes == {change.entry: ends[change.refused] for change in self.changes}

    # ---- the model ----

    def _worker(self, target: Target) -> Worker:
        return worker(self.client, LIMITS, target, HOME)

    def _counted(self, window: Window) -> list[Change]:
        return [change for change in self.changes if change.room.window == window and change.counts]

    def _not_left_yet(self, window: Window) -> int:
        """How many changes count whose minute hasn't left the window: it does a whole window after its end."""
        ends = [change.at - (change.at - START) % MINUTE + MINUTE for change in self._counted(window)]
        return sum(self.now < end + WINDOW for end in ends)

    def _recent(self) -> list[Change]:
        return [change for change in self.changes if not change.refused and self.now - change.at < WINDOW]

    def _table(self) -> list[Any]:
        return self.client.items(STATE_TABLE)


def test_whoever_changes_whatever_when_no_window_holds_more_than_it_may() -> None:
    run_state_machine_as_test(Windows, settings=at_most(800, 40))

"""Three workers change instances by two mappings; by the model's own count no window holds more than it may.

Two of them work in one account and Region and one in another, and one of the mappings says `NONE`: each account and
Region has a window for each of the two, and what is in one takes no other's room.

A worker takes room as `Reconciler` does: with its grant, in one write; when that is refused it looks for room, and
tries once more. What EC2 refuses gives its room back.
"""

from dataclasses import dataclass, replace
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
from rolekeeper.settings import Limits
from rolekeeper.storage import layout
from rolekeeper.storage.state import Update
from strategies.happenings import at_most
from strategies.values import KEY, grant, key

LIMITS = Limits(1, 20)
WINDOW = timedelta(minutes=WINDOW_MINUTES)
MAPPINGS = (key("workload=web"), key("a#b=c#d"))
NONE = 1  # the mapping to it
HOME, SPOKE = Target("111111111111", "eu-west-1"), Target("222222222222", "eu-west-1")
WORK_IN = (HOME, HOME, SPOKE)
workers = st.integers(0, 2)
which = st.integers(0, 1)
sizes = st.sampled_from([0, 10, 15])


@dataclass
class Change:
    """A replace or a detach that is counted, or that somebody `approved` with this revision."""

    mapping: int
    target: Target
    at: datetime
    approved: int
    room: Reservation
    profile_arn: str
    entry: layout.Key
    given_back: bool = False


@dataclass
class Asking:
    """A worker that was told that there is no room, and what it was told when it looked for some."""

    mapping: int
    room: Reservation | None = None
    allowed: int = 0
    approved: bool = False
    revision: int = 0


class Windows(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.calls = Calls()
        self.client = state_table(self.calls)
        self.workers: list[Worker] = [self._worker(target) for target in WORK_IN]
        self.now: datetime = START
        self.fleet = dict.fromkeys(WORK_IN, 0)
        self.changes: list[Change] = []
        self.asking: dict[int, Asking] = {}
        self.credit = [0, 0]
        self.approved = [0, 0]
        self.asked = 0

    # ---- what happens ----

    @initialize(home=sizes, there=sizes)
    def targets_are_swept(self, home: int, there: int) -> None:
        for target, instances in ((HOME, home), (SPOKE, there)):
            self.a_sweep_counts(at=target, instances=instances)

    @rule(seconds=st.sampled_from([1, 45, 60, 150, 240]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.asking.clear()

    @rule(at=st.sampled_from([HOME, SPOKE]), instances=sizes)
    def a_sweep_counts(self, at: Target, instances: int) -> None:
        store = self.workers[0].store
        store.write(store.update(layout.target_key(at), Update().set({"instances": instances})))
        self.fleet[at] = instances

    @rule(mapping=which, credit=st.integers(1, 2))
    def somebody_approves(self, mapping: int, credit: int) -> None:
        """As `Revisions.publish` grants it (`test_revisions`)."""
        self.approved[mapping] += 1
        store = self.workers[0].store
        granted = {layout.credit_of(self.approved[mapping]): credit, "credit_revision": self.approved[mapping]}
        store.write(store.put({**layout.key_attributes(layout.budget_key(MAPPINGS[mapping])), **granted}))
        self.credit[mapping] = credit

    # ---- what workers do ----

    @rule(who=workers, mapping=which, at_once=st.booleans(), overtaken=st.booleans(), times=st.integers(1, 3))
    def change(self, who: int, mapping: int, *, at_once: bool, overtaken: bool, times: int) -> None:
        for _ in range(times):
            self.begin(who, mapping)
            self.reserve_or_wait(who, at_once=at_once)
            self.take_the_room(who, overtaken=overtaken)

    @rule(who=workers, mapping=which)
    def begin(self, who: int, mapping: int) -> None:
        """Other workers may come in between, when there is no room at once."""
        if who not in self.asking:
            window = layout.changes_key(WORK_IN[who], quarantines=mapping == NONE)
            room = self._worker(WORK_IN[who]).window.room(self.now, window)  # by one who read nothing yet
            self._open(who, Asking(mapping, room, LIMITS.per_edit))

    @rule(order=st.permutations(range(len(WORK_IN))), mapping=which)
    def all_look_at_once(self, order: list[int], mapping: int) -> None:
        """What each reads of the counters is as old as before the first of them changes."""
        for who in order:
            self.workers[who].window.known = {}
            self.asking.setdefault(who, Asking(mapping))
            self.reserve_or_wait(who)
        for who in order:
            self.take_the_room(who)

    @rule(who=workers, at_once=st.booleans(), older=st.integers(0, 1))
    @precondition(lambda self: self.asking)
    def reserve_or_wait(self, who: int, older: int = 0, *, at_once: bool = False) -> None:
        """By the newest revision, or by one that is overtaken; another worker may look between the read and its use."""
        asking = self.asking.get(who)
        if not asking or asking.room:
            return
        mapping, revision = MAPPINGS[asking.mapping], self.approved[asking.mapping] - older
        where, to_none = WORK_IN[who], asking.mapping == NONE
        allowed = LIMITS.allowed(self.fleet[where])
        full = len(self._still_counted(where, asking.mapping)) >= allowed
        credit = 0 if older else self.credit[asking.mapping]
        if at_once:
            other = self._worker(WORK_IN[(who + 1) % 3]).window
            self.calls.after(
                "BatchGetItem", lambda: other.reserve_or_wait(mapping, revision, self.now, quarantines=to_none)
            )
        room = self.workers[who].window.reserve_or_wait(mapping, revision, self.now, quarantines=to_none)
        approved = isinstance(room, Reservation) and "credit" in str(room.reserve)
        if isinstance(room, datetime):
            assert full, "room that is there is given"
            assert not credit, "what somebody approved goes on"
            assert self.now < room <= self.now + timedelta(days=7, seconds=20), "and it says whose turn is when"
            del self.asking[who]
        else:
            assert not approved or credit, "an approval is for its revision only"
            assert approved or not full, "an approval pays only where there is no room"
            assert not approved or full, "and room comes before it"
            self.asking[who] = replace(asking, room=room, approved=approved, revision=revision, allowed=allowed)

    @rule(who=workers, overtaken=st.booleans())
    @precondition(lambda self: self.asking)
    def take_the_room(self, who: int, *, overtaken: bool = False) -> None:
        """The room may have been that of an approval, and another revision is approved just now."""
        asking = self.asking.get(who)
        if asking and asking.room:
            if overtaken:
                self.somebody_approves(asking.mapping, 1)
            self._open(who, asking)

    @rule(data=st.data(), who=workers)
    @precondition(lambda self: self._recent())
    def ec2_refuses(self, data: st.DataObject, who: int) -> None:
        change = data.draw(st.sampled_from(self._recent()))
        state = self.workers[who].state
        refused = state.completion(change.entry, {"outcome": "refused"})
        state.save(KEY, RecordChange(), self.now, also=(refused, change.room.release))
        change.given_back = True
        if change.approved:  # what a former revision took is no other's
            self.credit[change.mapping] += change.approved == self.approved[change.mapping]

    # ---- what holds ----

    @invariant()
    def there_is_a_grant_for_each_change_and_none_without_room(self) -> None:
        asked = {each.profile_arn for each in self.changes}
        assert self.workers[0].state.read([KEY], []).record(KEY).grants.keys() == asked

    def teardown(self) -> None:
        history = self.workers[0].store.history(layout.instance_pk(KEY), limit=1_000)
        outcomes = {(each["pk"], each["sk"]): each["outcome"] for each in history}
        assert outcomes == {each.entry: "refused" if each.given_back else "started" for each in self.changes}

    @invariant()
    def credit_is_what_was_approved_and_not_used(self) -> None:
        for mapping, credit in enumerate(self.credit):
            assert self._budget(mapping).get(layout.credit_of(self.approved[mapping]), 0) == credit

    # ---- how ----

    def _open(self, who: int, asking: Asking) -> None:
        self.asked += 1
        assert asking.room
        given = grant(f"web-{self.asked}", str(MAPPINGS[asking.mapping]))
        before, state, starting = self._table(), self.workers[who].state, RecordChange(grants=(given,))
        try:
            entry = state.save(KEY, starting, self.now, entry={"outcome": "started"}, also=(asking.room.reserve,))
        except ConflictError:
            assert self._table() == before, "without room there is no grant"
            self.workers[who].window.known = {}
            self.asking[who] = Asking(asking.mapping)
            return
        where = WORK_IN[who]
        approved = asking.revision if asking.approved else 0
        change = Change(asking.mapping, where, self.now, approved, asking.room, given.profile_arn, entry)
        self.asking.pop(who, None)
        self.changes.append(change)
        if change.approved:
            assert asking.revision == self.approved[change.mapping]
            self.credit[change.mapping] -= 1
        else:
            counted = self._counted(where, change.mapping)
            within = [each for each in counted if change.at - WINDOW < each.at]
            assert len(within) <= asking.allowed, "a window holds no more than it may"

    def _worker(self, target: Target) -> Worker:
        return worker(self.client, LIMITS, target, HOME)

    def _counted(self, target: Target, mapping: int) -> list[Change]:
        """The changes in one of a target's windows."""
        there = [each for each in self.changes if (each.target, each.mapping) == (target, mapping)]
        return [each for each in there if not (each.approved or each.given_back)]

    def _still_counted(self, target: Target, mapping: int) -> list[Change]:
        """Those whose minute hasn't left: it does a whole window after its end."""
        minute = timedelta(minutes=1)
        ends = [(each, each.at - (each.at - START) % minute + minute) for each in self._counted(target, mapping)]
        return [each for each, end in ends if self.now < end + WINDOW]

    def _recent(self) -> list[Change]:
        return [each for each in self.changes if not each.given_back and self.now - each.at < WINDOW]

    def _budget(self, mapping: int) -> layout.Item:
        at = layout.budget_key(MAPPINGS[mapping])
        return self.workers[0].store.get([at]).get(at, {})

    def _table(self) -> list[Any]:
        return self.client.items(STATE_TABLE)


def test_whoever_changes_whatever_when_no_window_holds_more_than_it_may() -> None:
    run_state_machine_as_test(Windows, settings=at_most(1600, 40))

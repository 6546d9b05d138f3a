"""Three workers change instances by two mappings; by the model's own count the window never holds more than it may.

Of a hub two of them work in its own account and Region and one in another: then neither holds more than its share.

A worker takes room as `Reconciler` does: with its grant, in one write; when that is refused it looks for room, and
tries once more. What EC2 refuses gives its room back.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
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
from rolekeeper.instances.change_limit import Reservation
from rolekeeper.model.instance import RecordChange, Target
from rolekeeper.settings import Limits
from rolekeeper.storage import codec, layout
from rolekeeper.storage.table import Update
from strategies.happenings import at_most
from strategies.values import KEY, grant, key

LIMITS = Limits(1, 20)
WINDOW = timedelta(minutes=WINDOW_MINUTES)
MAPPINGS = (key("workload=web"), key("a#b=c#d"))
HOME, SPOKE = Target("111111111111", "eu-west-1"), Target("222222222222", "eu-west-1")
WORK_IN = (HOME, HOME, SPOKE)
SIZES = {HOME: layout.FLEET, SPOKE: layout.target_key(SPOKE)}
workers = st.integers(0, 2)
which = st.integers(0, 1)
sizes = st.sampled_from([0, 10, 15])


@dataclass
class Change:
    """A replace or a detach that is counted, or that somebody approved."""

    mapping: int
    target: Target
    at: datetime
    approved: bool
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
    allowed_there: int = 0
    approved: bool = False
    revision: int = 0


class Windows(RuleBasedStateMachine):
    """One account's."""

    is_hub = False

    def __init__(self) -> None:
        super().__init__()
        self.calls = Calls()
        self.client = state_table(self.calls)
        self.workers: list[Worker] = [self._worker(target) for target in WORK_IN]
        self.now: datetime = START
        self.fleet = dict.fromkeys(WORK_IN, 0)
        self.elsewhere = 0
        self.changes: list[Change] = []
        self.asking: dict[int, Asking] = {}
        self.credit = [0, 0]
        self.approved = [0, 0]
        self.asked = 0

    # ---- what happens ----

    @initialize(home=sizes, there=sizes)
    def targets_are_swept(self, home: int, there: int) -> None:
        if self.is_hub:
            self.a_sweep_counts_the_other_targets(there)
        self.a_sweep_counts_the_fleet(home)

    @rule(seconds=st.sampled_from([1, 45, 60, 150, 240]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.asking.clear()

    @rule(instances=sizes)
    def a_sweep_counts_the_fleet(self, instances: int) -> None:
        self.elsewhere = self.fleet[SPOKE]
        self.workers[0].state.note_sweep(instances, len(MAPPINGS), self.now, self.elsewhere)
        self.fleet[HOME] = instances

    @rule(instances=sizes)
    @precondition(lambda self: self.is_hub)
    def a_sweep_counts_the_other_targets(self, instances: int) -> None:
        """It is in the limit of all once the hub's own sweep counted it."""
        store = self.workers[0].store
        store.write(store.update(layout.target_key(SPOKE), Update().set({"instances": instances})))
        self.fleet[SPOKE] = instances

    @rule(mapping=which, credit=st.integers(1, 2))
    def somebody_approves(self, mapping: int, credit: int) -> None:
        """As `Revisions.publish` grants it (`test_revisions_machine`)."""
        self.approved[mapping] += 1
        store = self.workers[0].store
        granted = Update().set({"credit": credit, "credit_revision": self.approved[mapping]})
        store.write(store.update(layout.budget_key(MAPPINGS[mapping]), granted))
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
            room = self._worker(WORK_IN[who]).window.room(self.now)  # by one who read nothing yet
            self._open(who, Asking(mapping, room, LIMITS.per_edit, LIMITS.per_edit))

    @rule(order=st.permutations(range(len(WORK_IN))), mapping=which)
    def all_look_at_once(self, order: list[int], mapping: int) -> None:
        """What each reads of the counters is as old as before the first of them changes."""
        for who in order:
            self.workers[who].window.observed({})
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
        allowed, allowed_there = self._allowed(WORK_IN[who])
        full = len(self._still_counted()) >= allowed or len(self._still_counted(WORK_IN[who])) >= allowed_there
        credit = 0 if older else self.credit[asking.mapping]
        if at_once:
            other = self._worker(WORK_IN[(who + 1) % 3]).window
            self.calls.after("BatchGetItem", lambda: other.reserve_or_wait(mapping, revision, self.now))
        room = self.workers[who].window.reserve_or_wait(mapping, revision, self.now)
        approved = isinstance(room, Reservation) and "credit" in str(room.take)
        if isinstance(room, datetime):
            assert full, "room that is there is given"
            assert not credit, "what somebody approved goes on"
            assert self.now < room <= self.now + timedelta(days=7, seconds=20), "and it says whose turn is when"
            del self.asking[who]
        else:
            assert not approved or credit, "an approval is for its revision only"
            asking = replace(asking, room=room, approved=approved, revision=revision)
            self.asking[who] = replace(asking, allowed=allowed, allowed_there=allowed_there)

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
        refused = change.entry, {"outcome": "refused"}
        self.workers[who].state.save(KEY, RecordChange(), self.now, completes=refused, also=change.room.back)
        change.given_back = True
        self.credit[change.mapping] += change.approved

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
            assert self._budget(mapping).get("credit", 0) == credit

    # ---- how ----

    def _open(self, who: int, asking: Asking) -> None:
        self.asked += 1
        assert asking.room
        given = grant(f"web-{self.asked}", str(MAPPINGS[asking.mapping]))
        before, state, starting = self._table(), self.workers[who].state, RecordChange(grants=(given,))
        try:
            entry = state.save(KEY, starting, self.now, entry={"outcome": "started"}, also=asking.room.take)
        except ConflictError:
            assert self._table() == before, "without room there is no grant"
            self.workers[who].window.observed({})
            self.asking[who] = Asking(asking.mapping)
            return
        where = WORK_IN[who]
        change = Change(asking.mapping, where, self.now, asking.approved, asking.room, given.profile_arn, entry)
        self.asking.pop(who, None)
        self.changes.append(change)
        if change.approved:
            assert asking.revision == self.approved[change.mapping]
            self.credit[change.mapping] -= 1
        else:
            within = [each for each in self._counted() if change.at - WINDOW < each.at]
            assert len(within) <= asking.allowed, "the window of all mappings holds no more than it may"
            there = [each for each in within if each.target == where]
            assert len(there) <= asking.allowed_there or not self.is_hub, "a target's holds no more than its share"

    def _worker(self, target: Target) -> Worker:
        shares = {layout.changes_key(target): SIZES[target]} if self.is_hub else {}
        return worker(self.client, LIMITS, shares)

    def _allowed(self, target: Target) -> tuple[int, int]:
        """In all, and in this target."""
        there = self.fleet[target] if self.is_hub else self.fleet[HOME]
        return LIMITS.allowed(self.fleet[HOME] + self.elsewhere), LIMITS.allowed(there)

    def _counted(self) -> list[Change]:
        return [each for each in self.changes if not (each.approved or each.given_back)]

    def _still_counted(self, target: Target | None = None) -> list[Change]:
        """Changes, of this target or all, whose minute hasn't left: it does a whole window after its end."""
        minute = timedelta(minutes=1)
        ends = [(each, each.at - (each.at - START) % minute + minute) for each in self._counted()]
        return [each for each, end in ends if self.now < end + WINDOW and target in (None, each.target)]

    def _recent(self) -> list[Change]:
        return [each for each in self.changes if not each.given_back and self.now - each.at < WINDOW]

    def _budget(self, mapping: int) -> codec.Item:
        at = layout.budget_key(MAPPINGS[mapping])
        return self.workers[0].store.get([at]).get(at, {})

    def _table(self) -> list[Any]:
        return list(self.client.scan(TableName=STATE_TABLE)["Items"])


class HubsWindows(Windows):
    """The changes of a hub's targets count together, and those of each by themselves."""

    is_hub = True


@pytest.mark.parametrize("machine", [Windows, HubsWindows])
def test_whoever_changes_whatever_when_the_window_holds_no_more_than_it_may(machine: type[Windows]) -> None:
    run_state_machine_as_test(machine, settings=at_most(800, 40))

"""Three workers write what they remember of an instance, each by what it saw some time ago; nobody loses anything.

Every write goes to a twin of the instance too. Where two workers write at once, the twin gets the two in the other
order: whatever each wrote, both end the same.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fakes.clock import START
from fixtures.state_table import STATE_TABLE
from fixtures.workers import (
    Worker,
    applied_changes,
    conditions,
    grants,
    moments,
    state_table,
    texts,
    tricky_keys,
    worker,
)
from rolekeeper.aws.errors import ConflictError
from rolekeeper.model.instance import InstanceKey, InstanceRecord, RecordChange, Timer
from rolekeeper.model.mapping import Pin
from rolekeeper.model.text import shown
from rolekeeper.storage import layout
from rolekeeper.storage.layout import STARTED, Key
from rolekeeper_cli.uses.pins import pin_item
from strategies.happenings import at_most

IT, TWIN = (InstanceKey("123456789012", "us-east-1", f"i-{number}") for number in (1, 2))
workers = st.integers(0, 2)
# What one write may change, beside what it writes into the history: what goes together, or anything.
STARTS, COMPLETES = {"grants", "revoked"}, {"applied", "lapsed", "clears"}
HOLDS, RESTS = (
    {"condition", "timer", "expected"},
    {"grants", "revoked", "lapsed", "clears", "expected"},
)
kinds = st.sampled_from([STARTS, COMPLETES, HOLDS, RESTS]) | st.sets(
    st.sampled_from(sorted(STARTS | COMPLETES | HOLDS | RESTS))
)
# An attribute in the model's own words: what kind it is, and which of them.
type Attribute = tuple[str, Any]
SHOWN: Attribute = ("condition", "")


@dataclass(frozen=True)
class Write:
    """One write to a record; `entry` is the number of its new history entry, `completes` that of an older one."""

    change: RecordChange
    entry: int | None = None
    completes: int | None = None

    @property
    def sets(self) -> dict[Attribute, Any]:
        """What it should set."""
        change = self.change
        found: dict[Attribute, Any] = {("grant", each.profile_arn): each for each in change.grants}
        if change.applied:
            found["change", change.applied.at] = change.applied
        return found | ({SHOWN: change.condition} if change.condition else {})

    @property
    def removes(self) -> set[Attribute]:
        """What it should remove."""
        change = self.change
        gone: set[Attribute] = {("grant", each) for each in change.revoked}
        gone |= {("change", each.at) for each in change.lapsed}
        return gone | ({SHOWN} if change.clears and not change.condition else set())

    @property
    def touches(self) -> set[Attribute]:
        """What it writes, an older history entry too."""
        completed = set[Attribute]() if self.completes is None else {("entry", self.completes)}
        return self.sets.keys() | self.removes | completed

    @property
    def over(self) -> InstanceRecord | None:
        """The record that it may be written over, if it says one."""
        return self.change.expected if self.sets or self.removes else None

    def independent(self, other: "Write") -> bool:
        """Whether neither writes what the other one writes or goes by."""
        return self.over is None and other.over is None and not self.touches & other.touches


class Records(RuleBasedStateMachine):
    """See the module. `record` is what should be remembered of the instance, by attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.client = state_table()
        self.workers: list[Worker] = [worker(self.client) for _ in range(3)]
        self.seen = [InstanceRecord()] * 3
        self.record: dict[Attribute, Any] = {}
        self.there, self.writes = False, 0
        self.pin: Pin | None = None
        self.timers: set[Timer] = set()
        # Each history entry's key, by its number and the instance, and its outcome.
        self.entries: dict[tuple[int, InstanceKey], Key] = {}
        self.outcomes: dict[int, str] = {}
        self.written = 0

    # ---- what workers do ----

    @rule(who=workers)
    def look(self, who: int) -> None:
        self.seen[who] = self.workers[who].state.read([IT], []).record(IT)

    @rule(data=st.data(), who=workers)
    def write(self, data: st.DataObject, who: int) -> None:
        self._both_make(self._drawn(data, who), who)

    @rule(data=st.data(), who=workers)
    def two_write_at_once(self, data: st.DataObject, who: int) -> None:
        other = (who + 1) % 3
        one, two = self._drawn(data, who), self._drawn(data, other)
        if not one.independent(two):
            # Of two who write the very same attribute, or go by it, whoever is last has said it.
            self._both_make(one, who)
            self._both_make(two, other)
            return
        for key, order in ((IT, (one, two)), (TWIN, (two, one))):
            for each in order:
                self._makes(each, who if each is one else other, key)
        self._happens(one)
        self._happens(two)

    @rule(who=workers, ends=st.booleans(), unpins=st.booleans())
    def the_instance_ends(self, who: int, *, ends: bool, unpins: bool) -> None:
        """Its record goes, its pin, or both."""
        write = Write(RecordChange(ends=ends, unpins=unpins), self._number())
        self._both_make(write, who)
        if ends:
            self.record, self.there, self.writes = {}, False, 0
        if unpins:
            self.pin = None

    @rule(who=workers)
    def complete_an_entry_that_is_no_more(self, who: int) -> None:
        """As it was never written, or has expired: then nothing at all is written."""
        before = self._table()
        gone = layout.instance_pk(IT), "history#2026-03-01T09:00:00.000000Z#0"
        state = self.workers[who].state
        with pytest.raises(ConflictError):
            state.save(IT, RecordChange(clears=True), START, also=[state.completion(gone, {"outcome": "done"})])
        assert self._table() == before

    @rule(who=workers)
    def nothing_is_to_be_written(self, who: int) -> None:
        before = self._table()
        assert self.workers[who].state.save(IT, RecordChange(expected=self.seen[who]), START) == ("", "")
        assert self._table() == before

    @rule(data=st.data())
    def pin_it(self, data: st.DataObject) -> None:
        role = data.draw(st.from_regex("[A-Za-z0-9_+=,.@-]{1,64}", fullmatch=True))
        ends_at = data.draw(st.none() | moments)
        by, reason = (shown(data.draw(texts)) for _ in range(2))
        self.pin = Pin(role, "" if role == "NONE" else "arn:x", ends_at, "now", by, reason)
        store = self.workers[0].store
        for key in (IT, TWIN):
            store.write(store.put(pin_item(key, self.pin)))

    # ---- timers ----

    @rule(data=st.data(), who=workers)
    def arm(self, data: st.DataObject, who: int) -> None:
        timer = Timer(data.draw(moments), data.draw(st.just(IT) | tricky_keys))
        self.workers[who].state.arm(timer)
        self.timers.add(timer)

    @rule(data=st.data(), who=workers)
    @precondition(lambda self: self.timers)
    def ring(self, data: st.DataObject, who: int) -> None:
        until = data.draw(moments)
        rung = list(self.workers[who].state.timers_due(until))
        assert [each.due for each in rung if isinstance(each, Timer)] == sorted(
            each.due for each in self.timers if each.due < until
        )
        assert set(rung) == {each for each in self.timers if each.due < until}
        some = [each for each in rung if isinstance(each, Timer) and data.draw(st.booleans())]
        # Whoever rings the same ones clears them too.
        for each in self.workers[:2]:
            each.state.clear_timers(*some)
        self.timers -= set(some)

    # ---- what holds ----

    @invariant()
    def what_is_read_is_what_was_written(self) -> None:
        snapshot = worker(self.client).state.read([IT, TWIN], [])
        assert snapshot.record(IT) == self._expected()
        assert snapshot.record(IT).writes == snapshot.record(TWIN).writes == self.writes
        assert snapshot.record(TWIN) == snapshot.record(IT), "the order of two writers doesn't matter"
        assert (IT in snapshot.records) == self.there
        assert snapshot.pins == ({IT: self.pin, TWIN: self.pin} if self.pin else {})

    def teardown(self) -> None:
        for key in (IT, TWIN):
            history = self.workers[0].store.history(layout.instance_pk(key))
            assert len(history) == min(50, len(self.outcomes))
            for each in history:
                assert each["outcome"] == self.outcomes[int(each["number"])]
        assert set(self.workers[0].state.timers_due(START + timedelta(days=1))) == self.timers

    # ---- how ----

    def _drawn(self, data: st.DataObject, who: int) -> Write:
        """Any write of what a worker may write who saw the record some time ago."""
        seen, parts = self.seen[who], data.draw(kinds)
        change = RecordChange(
            grants=tuple(data.draw(st.lists(grants, min_size=1, max_size=2, unique_by=lambda each: each.profile_arn)))
            if "grants" in parts
            else (),
            condition=data.draw(conditions) if "condition" in parts else None,
            clears="clears" in parts,
            applied=data.draw(applied_changes) if "applied" in parts else None,
            timers=(Timer(data.draw(moments), IT),) if "timer" in parts else (),
            expected=seen if "expected" in parts else None,
        )
        if "revoked" in parts:
            given = {each.profile_arn for each in change.grants}
            change = replace(change, revoked=frozenset(_some(data, sorted(seen.grants.keys() - given))))
        if "lapsed" in parts:
            at = change.applied.at if change.applied else None
            change = replace(change, lapsed=tuple(_some(data, [each for each in seen.changes if each.at != at])))
        known = sorted(self.outcomes)
        completes = data.draw(st.none() | st.sampled_from(known)) if known else None
        entry = self._number() if data.draw(st.booleans()) else None
        return Write(change, entry, completes)

    def _number(self) -> int:
        self.written += 1
        return self.written

    def _both_make(self, write: Write, who: int) -> None:
        for key in (IT, TWIN):
            self._makes(write, who, key)
        self._happens(write)

    def _makes(self, write: Write, who: int, key: InstanceKey) -> None:
        before, state = self._table(), self.workers[who].state
        entry = None if write.entry is None else {"number": write.entry, "outcome": STARTED}
        completes = []
        if write.completes is not None:
            completes = [state.completion(self.entries[write.completes, key], {"outcome": f"by {write.entry}"})]
        with nullcontext() if self._fits(write) else pytest.raises(ConflictError):
            made = state.save(key, write.change, START, entry=entry, also=completes)
            if write.entry is not None:
                self.entries[write.entry, key] = made
        if not self._fits(write):
            assert self._table() == before, "a write that is refused writes nothing at all"

    def _fits(self, write: Write) -> bool:
        """A slow worker must neither hide nor undo what a newer one wrote, nor write after the instance's end.

        An entry is completed once.
        """
        is_open = write.completes is None or self.outcomes[write.completes] == STARTED
        return is_open and (write.over is None or write.over.writes == self.writes)

    def _happens(self, write: Write) -> None:
        if not self._fits(write):
            return
        for name in write.removes:
            self.record.pop(name, None)
        self.record |= write.sets
        if write.sets or write.removes:
            self.there, self.writes = True, self.writes + 1
        if write.entry is not None:
            self.outcomes[write.entry] = STARTED
        if write.completes is not None:
            self.outcomes[write.completes] = f"by {write.entry}"
        self.timers |= set(write.change.timers)

    def _expected(self) -> InstanceRecord:
        given = [each for name, each in self.record.items() if name[0] == "grant"]
        changes = [each for name, each in self.record.items() if name[0] == "change"]
        return InstanceRecord(
            grants={each.profile_arn: each for each in given},
            condition=self.record.get(SHOWN),
            changes=tuple(sorted(changes, key=lambda each: each.at)),
        )

    def _table(self) -> list[Any]:
        return self.client.items(STATE_TABLE)


def _some[Value](data: st.DataObject, seen: Iterable[Value]) -> list[Value]:
    """Some of what a worker saw, which may be gone by now."""
    return [each for each in seen if data.draw(st.booleans())]


def test_workers_that_write_at_once_lose_nothing_of_each_other() -> None:
    run_state_machine_as_test(Records, settings=at_most(250, 25))

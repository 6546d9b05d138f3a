"""Three workers write what they remember of an instance, each by what it saw some time ago; nobody loses anything.

Every write goes to a twin of the instance too. Where two workers write at once, the twin gets the two in the other
order: whatever each wrote, both end the same.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from rolekeeper import codec
from rolekeeper.contest import Evidence
from rolekeeper.errors import ObserveAgainError
from rolekeeper.model import InstanceKey, InstanceRecord, Made, Pin, Standing, Timer, Undone
from rolekeeper.state import State
from support.clock import START
from support.happenings import at_most
from support.workers import (
    Worker,
    assignments,
    association_ids,
    intents,
    moments,
    standings,
    state_table,
    texts,
    tricky_keys,
    wishes,
    worker,
)

IT, TWIN = (InstanceKey("123456789012", "us-east-1", f"i-{number}") for number in (1, 2))
workers = st.integers(0, 2)


@dataclass(frozen=True)
class Write:
    """One write to a record, and what it should do to it: attributes by name, in the model's own words."""

    make: Callable[[State, InstanceKey], None]
    sets: dict[str, Any] = field(default_factory=dict)
    removes: frozenset[str] = frozenset()
    entries: int = 0
    timer: Timer | None = None
    # It may take the place of no standing but this one.
    over: tuple[Standing | None] | None = None

    @property
    def touches(self) -> frozenset[str]:
        return self.removes | self.sets.keys()

    def independent(self, other: "Write") -> bool:
        """Whether neither writes what the other one writes or goes by."""
        mine, theirs = (each.touches | ({"standing"} if each.over else set()) for each in (self, other))
        return not (self.touches & theirs or other.touches & mine)


def opens(data: st.DataObject, seen: InstanceRecord, number: int) -> Write:
    """Write an intent, and close some that were seen; one of them may have become an assignment."""
    intent, adopted = data.draw(intents(f"{number:016x}")), data.draw(st.none() | assignments)
    settled, entry = _some(data, seen.intents), data.draw(st.sampled_from([None, {"reason": "they ended"}]))
    return Write(
        lambda state, key: state.open_intent(key, intent, settled.values(), adopted=adopted, entry=entry),
        {f"intent {intent.id}": intent} | ({f"assignment {adopted.association_id}": adopted} if adopted else {}),
        frozenset(f"intent {each}" for each in settled),
        entries=1 if entry else 0,
    )


def ends(data: st.DataObject, seen: InstanceRecord, number: int) -> Write:
    """Write what became of a change: its intent closed, an assignment, what it stands at, and who undid what."""
    del number
    closed, assignment = _some(data, seen.intents), data.draw(st.none() | assignments)
    ours = {assignment.association_id} if assignment else set()
    forgotten = _some(data, seen.assignments).keys() - ours
    standing, clears = data.draw(st.none() | standings), data.draw(st.booleans())
    timer = data.draw(st.none() | moments.map(lambda due: Timer(due, IT)))
    evidence, sets, removes = _evidence(data, seen)
    if assignment:
        sets[f"assignment {assignment.association_id}"] = assignment
    if standing:
        sets["standing"] = standing
    removes |= {f"intent {each}" for each in closed} | {f"assignment {each}" for each in forgotten}
    read = data.draw(st.sampled_from([None, seen]))
    removes |= {"standing"} if clears and not standing and (read is None or read.standing) else set()
    over = (seen.standing,) if read and (standing or seen.standing) and (sets or removes) else None
    return Write(
        lambda state, key: state.record_outcome(
            key,
            {"reason": "it ended"},
            START,
            closed=closed.values(),
            assignment=assignment,
            forgotten=forgotten,
            standing=standing,
            clears_standing=clears,
            evidence=evidence,
            timer=timer,
            read=read,
        ),
        sets,
        frozenset(removes),
        entries=1,
        timer=timer,
        over=over,
    )


def settles(data: st.DataObject, seen: InstanceRecord, number: int) -> Write:
    """The instance is as it should be: clear what no longer holds."""
    del number
    closed, forgotten = _some(data, seen.intents), frozenset(_some(data, seen.assignments))
    evidence, _, removes = _evidence(data, seen, news=False)
    removes |= {f"intent {each}" for each in closed} | {f"assignment {each}" for each in forgotten}
    read = data.draw(st.sampled_from([None, seen]))
    removes |= {"standing"} if read is None or read.standing else set()
    return Write(
        lambda state, key: state.settle(key, closed=closed.values(), forgotten=forgotten, evidence=evidence, read=read),
        removes=frozenset(removes),
        over=(seen.standing,) if read and seen.standing else None,
    )


def _evidence(
    data: st.DataObject, seen: InstanceRecord, *, news: bool = True
) -> tuple[Evidence, dict[str, Any], set[str]]:
    lapsed = tuple(_some(data, {each.made_at: each for each in seen.undone}).values())
    if news and data.draw(st.booleans()):
        made = Made(data.draw(wishes), data.draw(association_ids), data.draw(moments))
        undone = Undone(data.draw(wishes), data.draw(moments), data.draw(moments), data.draw(texts), data.draw(texts))
        lapsed = tuple(each for each in lapsed if each.made_at != undone.made_at)
        evidence = Evidence(made, undone, lapsed)
        sets: dict[str, Any] = {"made": made, f"undone {undone.made_at}": undone}
    else:
        evidence, sets = Evidence(lapsed=lapsed, over=data.draw(st.booleans())), {}
    return evidence, sets, {f"undone {each.made_at}" for each in lapsed} | ({"made"} if evidence.over else set())


def _some[Name, Value](data: st.DataObject, seen: Mapping[Name, Value]) -> dict[Name, Value]:
    """Some of what a worker saw, which may be gone by now."""
    return {name: value for name, value in seen.items() if data.draw(st.booleans())}


class Records(RuleBasedStateMachine):
    """See the module. `record` is what should be remembered of the instance, by attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.client = state_table()
        self.workers: list[Worker] = [worker(self.client) for _ in range(3)]
        self.seen = [InstanceRecord()] * 3
        self.record: dict[str, Any] = {}
        self.there = False
        self.pin: Pin | None = None
        self.timers: set[Timer] = set()
        self.entries = 0
        self.written = 0

    # ---- what workers do ----

    @rule(who=workers)
    def look(self, who: int) -> None:
        self.seen[who] = self.workers[who].state.read([IT], []).record(IT)

    @rule(data=st.data(), who=workers, kind=st.sampled_from([opens, ends, settles]))
    def write(self, data: st.DataObject, who: int, kind: Callable[[st.DataObject, InstanceRecord, int], Write]) -> None:
        write = self._drawn(data, who, kind)
        self._twin_makes(write, who, fits=self._makes(write, who))

    @rule(data=st.data(), who=workers, kinds=st.tuples(*[st.sampled_from([opens, opens, ends, settles])] * 2))
    def two_write_at_once(self, data: st.DataObject, who: int, kinds: Any) -> None:
        other = (who + 1) % 3
        one, two = self._drawn(data, who, kinds[0]), self._drawn(data, other, kinds[1])
        made = [(one, who, self._makes(one, who)), (two, other, self._makes(two, other))]
        # Of two who write the very same attribute, or go by it, whoever comes last has said it.
        for write, worker_, fits in reversed(made) if one.independent(two) else made:
            self._twin_makes(write, worker_, fits=fits)

    @rule(who=workers, pinned=st.booleans(), entry=st.sampled_from([None, {"reason": "it is gone"}]))
    def forget(self, who: int, entry: dict[str, str] | None, *, pinned: bool) -> None:
        for key in (IT, TWIN):
            self.workers[who].state.forget(key, pinned=pinned, entry=entry, at=START)
        self.entries += 1 if entry else 0
        self.record, self.there = {}, False
        self.pin = None if pinned else self.pin

    @rule(data=st.data())
    def pin_it(self, data: st.DataObject) -> None:
        role = data.draw(texts.filter(bool))
        ends_at = data.draw(st.none() | moments)
        self.pin = Pin(role, "" if role == "NONE" else "arn", ends_at, "now", data.draw(texts), data.draw(texts))
        store = self.workers[0].store
        for key in (IT, TWIN):
            store.write(store.put(codec.pin_item(key, self.pin)))

    # ---- timers ----

    @rule(data=st.data(), who=workers)
    def arm(self, data: st.DataObject, who: int) -> None:
        timer = Timer(data.draw(moments), data.draw(st.just(IT) | tricky_keys))
        self.workers[who].timers.arm(timer)
        self.timers.add(timer)

    @rule(data=st.data(), who=workers)
    @precondition(lambda self: self.timers)
    def ring(self, data: st.DataObject, who: int) -> None:
        until = data.draw(moments)
        rung = list(self.workers[who].timers.due(until))
        assert [each.due for each in rung if isinstance(each, Timer)] == sorted(
            each.due for each in self.timers if each.due < until
        )
        assert set(rung) == {each for each in self.timers if each.due < until}
        some = [each for each in rung if isinstance(each, Timer) and data.draw(st.booleans())]
        # Whoever rings the same ones clears them too.
        for each in self.workers[:2]:
            each.timers.clear(*some)
        self.timers -= set(some)

    # ---- what holds ----

    @invariant()
    def what_is_read_is_what_was_written(self) -> None:
        snapshot = worker(self.client).state.read([IT, TWIN], [])
        assert snapshot.record(IT) == self._expected()
        assert snapshot.record(TWIN) == snapshot.record(IT), "the order of two writers doesn't matter"
        assert (IT in snapshot.records) == self.there
        assert snapshot.pins == ({IT: self.pin, TWIN: self.pin} if self.pin else {})

    def teardown(self) -> None:
        history = self.workers[0].store.history(codec.instance_pk(IT))
        assert len(history) == min(50, self.entries)
        assert set(self.workers[0].timers.due(START + timedelta(days=1))) == self.timers

    # ---- how ----

    def _drawn(
        self, data: st.DataObject, who: int, kind: Callable[[st.DataObject, InstanceRecord, int], Write]
    ) -> Write:
        self.written += 1
        return kind(data, self.seen[who], self.written)

    def _makes(self, write: Write, who: int) -> bool:
        """Whether it fits: a slow worker must not write over what a newer one said that the instance shows."""
        fits = write.over is None or self.record.get("standing") == write.over[0]
        with nullcontext() if fits else pytest.raises(ObserveAgainError):
            write.make(self.workers[who].state, IT)
        if fits:
            self._happens(write)
        return fits

    def _twin_makes(self, write: Write, who: int, *, fits: bool) -> None:
        with nullcontext() if fits else pytest.raises(ObserveAgainError):
            write.make(self.workers[who].state, TWIN)

    def _happens(self, write: Write) -> None:
        for name in write.removes:
            self.record.pop(name, None)
        self.record |= write.sets
        self.there |= bool(write.touches)
        self.entries += write.entries
        self.timers |= {write.timer} if write.timer else set()

    def _expected(self) -> InstanceRecord:
        of = {
            kind: [v for n, v in self.record.items() if n.startswith(kind)] for kind in ("intent", "assign", "undone")
        }
        return InstanceRecord(
            assignments={each.association_id: each for each in of["assign"]},
            intents={each.id: each for each in of["intent"]},
            standing=self.record.get("standing"),
            made=self.record.get("made"),
            undone=tuple(sorted(of["undone"], key=lambda each: each.at)),
        )


def test_workers_that_write_at_once_lose_nothing_of_each_other() -> None:
    run_state_machine_as_test(Records, settings=at_most(250, 25))

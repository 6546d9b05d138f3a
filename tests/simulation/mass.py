"""A whole fleet that needs another role at once, in virtual time: each step from the event to the last follow-up.

`retagged(100_000, Cause.TAGS)` changes each tag, `Cause.EDIT` the one row that governs them all. What comes of it is
read from EC2 and from the state table, instance by instance. Nothing goes wrong but what load itself makes go wrong.
"""

import gc
import pickle
import time
import tracemalloc
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Any

from rolekeeper.model.instance import InstanceKey
from rolekeeper.settings import Limits
from rolekeeper.storage import Store, layout
from rolekeeper.storage.layout import DONE, REFUSED
from simulation.account import ACCOUNT, REGION, Maker
from simulation.burst import Calm, Counting, calm, carries
from simulation.deployment import Deployment
from simulation.engine import Engine, Run
from simulation.faulty_clients import Call
from simulation.invariants import ROWS, STATE
from support.large_fleet import peak_mb

HOUR, MINUTE = 3600.0, 60.0
TAG, FORMER, WANTED = "role", "former", "first"
PER_SECOND = 4.8
# The fleet is launched in groups: what is pending all at once takes its square.
GROUP = 200


class Cause(StrEnum):
    TAGS = "the tag of each is changed"
    EDIT = "one row is edited"


@dataclass(frozen=True)
class Retagged:
    """What became of it. Whatever is not `whole` names what was lost.

    Attributes:
        instances: how many there are.
        missing: those that EC2 doesn't show with the role that they should carry.
        unexplained: those whose record or history doesn't tell of exactly one change, or shows a condition.
        left: messages, retry loops, executions, follow-ups and timers that are still there.
        dead_letters: messages that were given up.
        broken: promises of docs/guarantees.md that were broken.
        messages: how many the work queue took.
        attempts, throttled, refused: changes that EC2 was asked for, refused for its budget, and refused because
            another look at the same instance was faster.
        waited: instances for which there was no room at one time.
        virtual_seconds: from the first event to the last change that found room; `seconds` is real time.
        runs: how many runs of each function there were.
        largest: the most memory that one run of each function took, in bytes; measured only if asked for.
        kept: the bytes that the largest process keeps from run to run.
        peak_mb: the process's largest memory, in which AWS itself is: all tables, queues and instances.
    """

    instances: int
    missing: tuple[str, ...]
    unexplained: tuple[str, ...]
    left: int
    dead_letters: int
    broken: tuple[str, ...]
    messages: int
    attempts: int
    throttled: int
    refused: int
    waited: int
    virtual_seconds: float
    seconds: float
    runs: Counter[str]
    largest: Counter[str]
    kept: int
    peak_mb: float

    @property
    def whole(self) -> bool:
        return not (self.missing or self.unexplained or self.left or self.dead_letters or self.broken)

    @property
    def rate(self) -> float:
        return (self.instances - len(self.missing)) / self.virtual_seconds


class _Memory:
    """The most that one run of each function takes: what it held when it gave way, and its peak since it went on.

    What AWS keeps of an instance, an item or a message is AWS's: what the fakes do isn't measured, their answers are.
    """

    def __init__(self) -> None:
        self.largest = Counter[str]()
        self._base = 0
        self._counts = False

    def opens(self) -> None:
        self._counts = True
        self._base, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()

    def closes(self, run: Run) -> None:
        if not self._counts:
            return
        self._counts = False
        now, peak = tracemalloc.get_traced_memory()
        held = run.notes.get("held", 0)
        function = run.name.partition(" ")[0]
        self.largest[function] = max(self.largest[function], held + peak - self._base)
        run.notes["held"] = held + now - self._base


class _MeasuredEngine(Engine):
    def __init__(self, seed: int, memory: _Memory) -> None:
        super().__init__(seed, tells=False)
        self.memory = memory

    def _resume(self, run: Run) -> None:
        self.memory.opens()
        super()._resume(run)
        self.memory.closes(run)

    def pause(self, seconds: float) -> None:
        # What it takes to plan when the run goes on is the engine's.
        if self.running:
            self.memory.closes(self.running)
        super().pause(seconds)
        self.memory.opens()


class _Outside(Counting):
    """The border to AWS, on whose other side memory is AWS's."""

    def call(self, call: Any) -> Any:
        engine = self._at
        if not isinstance(engine, _MeasuredEngine):
            return super().call(call)
        memory = engine.memory

        def act() -> Any:
            run = engine.running
            if not run:
                return call.act()
            memory.closes(run)
            try:
                data = pickle.dumps(call.act())
            finally:
                memory.opens()
            # A copy, made by the run: the answer is all that it gets.
            answer = pickle.loads(data)
            memory.closes(run)
            del data
            memory.opens()
            return answer

        return super().call(Call(call.service, call.operation, call.kind, act, call.text, call.part))


class _Deployment(Deployment):
    """Counts runs and messages, and loses some of these."""

    def __init__(self, *world: Any) -> None:
        super().__init__(*world)
        self.runs = Counter[str]()
        self.messages = self.lost = 0

    def run(self, function: str, *arguments: Any) -> None:
        self.runs[function] += 1
        super().run(function, *arguments)

    def send(self, body: Any, delay: float = 0, *, group: str = "") -> None:
        self.messages += 1
        if self.lost:
            self.lost -= 1
            return
        super().send(body, delay, group=group)


class _Story:
    def __init__(self, world: Calm, instances: int, cause: Cause) -> None:
        assert isinstance(world.deployment, _Deployment)
        self.engine, self.account, self.tables, self.deployment = (
            world.engine,
            world.account,
            world.tables,
            world.deployment,
        )
        self.world, self.number, self.cause = world, instances, cause
        self.store = Store(world.tables, STATE)  # type: ignore[arg-type]  # the fake in its place
        self.fleet: list[str] = []
        self.refused = self.waited = 0
        self.changed_at: list[str] = []
        self.ended = False

    def begin(self) -> None:
        """A fleet that carries the former role, as its one row, or its tags, ask for."""
        rows = (FORMER, WANTED) if self.cause is Cause.TAGS else (FORMER,)
        for value in rows:
            self.write_row(value, value)
        self.engine.play(MINUTE)
        self.deployment.sweep()
        self.engine.play(2 * MINUTE)
        arn = self.account.profiles[FORMER].arn
        for first in range(0, self.number, GROUP):
            group = [self.account.launch({TAG: FORMER}) for _ in range(first, min(first + GROUP, self.number))]
            self.engine.play(self.engine.seconds + 5)
            for each in group:
                self.account.associate(each, arn, Maker.US)
            self.engine.play(self.engine.seconds + 1)
            self.fleet += group

    def write_row(self, value: str, role: str) -> None:
        item = layout.to_attributes({"tag_key": TAG, "tag_value": value, "role": role})
        self.tables.put_item(TableName=ROWS, Item=item)

    def strike(self) -> None:
        """Now each needs the other role."""
        if self.cause is Cause.EDIT:
            self.write_row(FORMER, WANTED)
            return
        for each in self.fleet:
            self.account.truth.create_tags(each, {TAG: WANTED})

    def sweep_each(self, minutes: float) -> None:
        """The schedule of sweeps, until all is over."""

        def sweep() -> None:
            if not self.ended:
                self.deployment.sweep()
                self.sweep_each(minutes)

        self.engine.after(minutes * MINUTE, sweep)

    def converge(self) -> None:
        """Play until each was changed, or it takes far too long."""
        until = self.engine.seconds + 1.5 * self.number / PER_SECOND + HOUR
        self.world.play_until_all_carry(WANTED, self.fleet, until)
        self.ended = True
        while self.left() and self.engine.seconds < until + HOUR:
            self.engine.play(self.engine.seconds + MINUTE)

    def left(self) -> int:
        """What is still to be done."""
        timers = sum(1 for pk in (layout.TIMERS, *layout.FOLLOW_UPS) for _ in islice(self.store.items(pk, "9"), 100))
        deployment = self.deployment
        return len(deployment.waiting) + deployment.loops + deployment.resumed + timers

    def explained(self, instance: str) -> bool:
        """Whether record and history tell of one change, which was done, and of nothing that is open."""
        key = InstanceKey(ACCOUNT, REGION, instance)
        record = self.store.get([layout.record_key(key)]).get(layout.record_key(key), {})
        entries = self.store.history(layout.instance_pk(key))
        # Of two looks that race EC2 refuses one: an entry, but no change.
        asked = [(each["decision"]["action"], each["decision"]["role"], each.get("outcome")) for each in entries]
        tried = [each for each in asked if each[0] != "Wait"]
        made = [each for each in tried if each != ("Replace", WANTED, REFUSED)]
        self.refused += len(tried) - len(made)
        # The room of what was refused is free again only then: the last one may have come in between.
        self.waited += len(asked) - len(tried)
        self.changed_at += [each["at"] for each in entries if len(asked) == len(tried) and each.get("outcome") == DONE]
        granted = layout.grant_name(self.account.profiles[WANTED].arn) in record
        return granted and "condition" not in record and made == [("Replace", WANTED, DONE)]


def retagged(
    instances: int, cause: Cause, *, sweep_minutes: float = 15, lost: int = 0, measures: bool = False, seed: int = 1
) -> Retagged:
    """Have every instance of a fleet need another role at once, and play until nothing is left to do.

    Args:
        sweep_minutes: how often the fleet is swept meanwhile; 0: never.
        lost: how many messages are lost on their way into the queue.
        measures: whether to measure what each run takes; it plays a few times slower.
    """
    began, memory = time.monotonic(), _Memory()
    if measures:
        # Or a run would seem to take less where Python happens to find garbage in it.
        gc.disable()
        tracemalloc.start()
    try:
        world = calm(
            _MeasuredEngine(seed, memory) if measures else Engine(seed, tells=False),
            seed,
            Limits(instances, 100),
            changes_per_second=PER_SECOND,
            deployed=_Deployment,
            outside=_Outside,
        )
        story = _Story(world, instances, cause)
        deployment = story.deployment
        with deployment.installed(seed):
            story.begin()
            deployment.runs.clear()
            deployment.messages, deployment.lost = 0, lost
            world.listen()
            struck = story.engine.now()
            story.strike()
            if sweep_minutes:
                story.sweep_each(sweep_minutes)
            story.converge()
        return Retagged(
            instances=instances,
            missing=tuple(each for each in story.fleet if not carries(world.account, each, WANTED)),
            unexplained=tuple(each for each in story.fleet if not story.explained(each)),
            left=story.left(),
            dead_letters=len(deployment.dead_letters),
            broken=tuple(map(str, world.promises.violations)),
            messages=deployment.messages,
            attempts=world.budget.asked,
            throttled=world.budget.refused,
            refused=story.refused,
            waited=story.waited,
            virtual_seconds=(datetime.fromisoformat(max(story.changed_at)) - struck).total_seconds(),
            seconds=time.monotonic() - began,
            runs=deployment.runs,
            largest=memory.largest,
            kept=max(len(pickle.dumps(each)) for each in deployment.kept),
            peak_mb=peak_mb(),
        )
    finally:
        tracemalloc.stop()
        gc.enable()

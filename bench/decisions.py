"""How many instances one processor decides on in a second, and whether that depends on the number of mappings."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import batched
from statistics import median

from bench.rows import Row, Target
from fixtures.account import ACCOUNT, REGION, FakeAccount, new_account
from fixtures.state_table import STATE_TABLE
from rolekeeper.instances.decide import Observation, asked_for, mapping_keys, resolve
from rolekeeper.model.instance import Instance, InstanceKey, InstanceRecord, InstanceState
from rolekeeper.model.mapping import Control, MappingKey, MappingSpec, PublishedMapping
from rolekeeper.storage import layout
from strategies.values import OWNERSHIP

ROUNDS, BATCH = 31, 100
TAGS = 5
FEW, MANY = 1, 10_000


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """Tags to mapping against bare look-ups, decisions a second, a warm reconcile."""
    times = {}
    for mappings in (FEW, MANY):
        what = f"tags to mapping, {counted(mappings)}"
        say(what)
        ours, bare, parts = tags_to_mapping(mappings)
        times[mappings] = ours
        yield Row(what, ours, "µs", bare, "dict look-ups", Target(5))
        yield from (Row(f"{what}, of it {part}", took, "µs", bare, "dict look-ups") for part, took in parts.items())
    flat = times[MANY], times[FEW]
    yield Row(f"tags to mapping, {MANY:,} mappings to {FEW}", flat[0], "µs", flat[1], f"{FEW} mapping", Target(1.2))
    say("decide and resolve")
    resolved, judged = a_second()
    yield Row("instances resolved a second", resolved, "a second")
    yield Row("instances decided a second", judged, "a second")
    for mappings in (FEW, MANY):
        say(f"warm reconcile, {counted(mappings)}")
        yield Row(f"warm reconcile, nothing to do, {counted(mappings)}", warm(mappings), "ms an instance")


def counted(mappings: int) -> str:
    return f"{mappings:,} mapping{'s' * (mappings != 1)}"


def published(number: int) -> PublishedMapping:
    """A published mapping of one role."""
    return PublishedMapping(MappingSpec(MappingKey("app", f"app-{number}"), f"role-{number}"), 1, f"arn:role-{number}")


def instance(number: int = 0) -> Instance:
    """An instance as most are: its name, and some tags of which one has a mapping."""
    tags = {"app": f"app-{number}", "Name": f"web-{number}"} | {f"tag-{each}": "value" for each in range(TAGS - 2)}
    return Instance(InstanceKey(ACCOUNT, REGION, "i-0abc"), InstanceState.RUNNING, tags)


def tags_to_mapping(mappings: int) -> tuple[float, float, Mapping[str, float]]:
    """Microseconds from an instance's tags to the mapping that governs it: ours, one look-up a tag, our parts."""
    table = {each.spec.key: each for each in map(published, range(mappings))}
    plain = {(key.tag_key, key.tag_value): each for key, each in table.items()}
    one, now = instance(mappings // 2), datetime.now(UTC)
    keys = mapping_keys(one.tags)

    def looked_up(keys: Iterable[MappingKey]) -> list[PublishedMapping]:
        return [each for key in keys if (each := table.get(key))]

    found = looked_up(keys)

    def bare() -> None:
        for pair in one.tags.items():
            plain.get(pair)

    whole, least, making, looking, ranking = interleaved_us(
        lambda: _drop(resolve(one, looked_up(mapping_keys(one.tags)), now)),
        bare,
        lambda: _drop(mapping_keys(one.tags)),
        lambda: _drop(looked_up(keys)),
        lambda: _drop(resolve(one, found, now)),
    )
    return whole, least, {"making the keys": making, "looking them up": looking, "ranking what is found": ranking}


def interleaved_us(*actions: Callable[[], None]) -> tuple[float, ...]:
    """The median time of each, in microseconds of processor time; they take turns."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(ROUNDS):
        for taken, action in zip(times, actions, strict=True):
            began = time.process_time_ns()
            for _ in range(BATCH):
                action()
            taken.append((time.process_time_ns() - began) / BATCH / 1_000)
    return tuple(median(each) for each in times)


def a_second() -> tuple[float, float]:
    """How many instances are resolved in a second, and how many resolved and decided."""
    one, mappings, now = instance(), [published(0)], datetime.now(UTC)

    def decide() -> None:
        record, control, found = InstanceRecord(), Control(), resolve(one, mappings, now)
        asked_for(Observation(one.key, now, one, None, record, control, candidates=found), OWNERSHIP)

    resolved, judged = interleaved_us(lambda: _drop(resolve(one, mappings, now)), decide)
    return 1_000_000 / resolved, 1_000_000 / judged


def _drop(_answer: object) -> None:
    """Only the time counts."""


def warm(mappings: int) -> float:
    """Milliseconds of processor time for each instance of a batch of ten that is as it should be; AWS is the tests'."""
    with new_account() as world:
        world.large_pages()
        world.publish("app=web", "web")
        fleet = [world.running(app="web") for _ in range(10)]
        world.reconcile_all(*fleet)
        fill(world, mappings - 1)
        times = []
        for _ in range(ROUNDS):
            began = time.process_time_ns()
            world.reconcile_all(*fleet)
            times.append((time.process_time_ns() - began) / 1_000_000 / len(fleet))
        return median(times)


def fill(world: FakeAccount, count: int) -> None:
    """Put published mappings straight into the state table."""
    for numbers in batched(range(count), 100):
        puts: list[Mapping[str, object]] = [
            {
                "Put": {
                    "TableName": STATE_TABLE,
                    "Item": layout.to_attributes(layout.published_item(published(number), ACCOUNT)),
                }
            }
            for number in numbers
        ]
        world.dynamodb.transact_write_items(TransactItems=puts)

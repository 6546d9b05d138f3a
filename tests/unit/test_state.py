"""What the state table's reads and writes bring together, cut into pages and note once; and two that write at once."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest

from fixtures.account import ACCOUNT, HOME, FakeAccount
from fixtures.state_table import STATE_TABLE
from fixtures.workers import state_table, worker
from rolekeeper.aws.errors import ConflictError, CorruptItemError, PermanentError, RetryableError
from rolekeeper.mappings.revisions import StoredMapping
from rolekeeper.model.instance import (
    Action,
    AppliedChange,
    Condition,
    DesiredChange,
    InstanceRecord,
    RecordChange,
    Target,
    Timer,
)
from rolekeeper.model.mapping import MappingKey
from rolekeeper.storage import layout, state
from rolekeeper.storage.state import BATCH_KEYS, MOST_WRITES, UNPROCESSED_WAITS, Update
from strategies.values import KEY, NOW, arn, grant, key, published

OTHER = Target("222222222222", "eu-west-1")
WEB = grant("web", "workload=web")


def record(world: FakeAccount) -> InstanceRecord:
    return world.state.read([KEY], []).record(KEY)


# Beside them: the control item, what the last sweep saw, and the instance's record and pin.
@pytest.mark.parametrize(("mappings", "reads"), [(96, 1), (97, 2), (250, 3)])
def test_more_keys_than_a_request_takes_are_read_in_chunks(world: FakeAccount, mappings: int, reads: int) -> None:
    last = published(f"key={mappings - 1}", "web")
    world.revisions.publish(last, {}, NOW)
    world.calls.clear()
    snapshot = world.state.read([KEY], [MappingKey("key", str(number)) for number in range(mappings)])
    assert snapshot.published == {last.key: last}
    assert world.calls["BatchGetItem"] == reads
    assert BATCH_KEYS == 100


def test_unprocessed_keys_are_asked_for_again_with_growing_waits(world: FakeAccount) -> None:
    web = published("workload=web", "web")
    world.revisions.publish(web, {}, NOW)
    world.dynamodb.unprocessed = 2
    began = world.clock.seconds
    assert world.state.read([KEY], [web.key]).published == {web.key: web}
    assert world.clock.seconds - began == pytest.approx(sum(UNPROCESSED_WAITS[:2]))


def test_keys_that_stay_unprocessed_fail_the_read(world: FakeAccount) -> None:
    world.revisions.publish(published("workload=web", "web"), {}, NOW)
    world.dynamodb.unprocessed = 100
    began = world.clock.seconds
    with pytest.raises(RetryableError) as failed:
        world.state.read([KEY], [MappingKey("workload", "web")])
    assert (failed.value.code, failed.value.action) == ("UnprocessedKeys", "dynamodb:BatchGetItem")
    assert world.clock.seconds - began == pytest.approx(sum(UNPROCESSED_WAITS))


# ---- two write at once ----

HELD = Condition(Action.HOLD, "occupied", "it carries a foreign role", NOW, "x")
APPLIED = AppliedChange(DesiredChange(WEB.mapping, 1, arn("web")), NOW)
# What one writer may write while another one writes anything else of these.
INDEPENDENT = (
    RecordChange(grants=(WEB,)),
    RecordChange(revoked=frozenset({arn("db")})),
    RecordChange(condition=HELD),
    RecordChange(applied=APPLIED),
    RecordChange(timers=(Timer(NOW, KEY),)),
)


@pytest.mark.parametrize(("one", "other"), list(combinations(INDEPENDENT, 2)))
def test_the_order_of_two_writers_doesnt_matter(one: RecordChange, other: RecordChange) -> None:
    clients = [state_table() for _ in range(2)]
    for client, order in zip(clients, ((one, other), (other, one)), strict=True):
        for change in (RecordChange(grants=(grant("db", "workload=db"),)), *order):
            worker(client).state.save(KEY, change, NOW)
    first, second = (sorted(client.items(STATE_TABLE), key=str) for client in clients)
    assert first == second
    grants = worker(clients[0]).state.read([KEY], []).record(KEY).grants
    assert grants.keys() >= {given.profile_arn for given in (*one.grants, *other.grants)}


@pytest.mark.parametrize("newer", [RecordChange(condition=HELD), RecordChange(ends=True)])
def test_a_slow_writer_neither_hides_what_a_newer_one_wrote_nor_writes_after_the_end(
    world: FakeAccount, newer: RecordChange
) -> None:
    world.state.save(KEY, RecordChange(grants=(WEB,)), NOW)
    late = RecordChange(clears=True, grants=(WEB,), expected=record(world))
    world.state.save(KEY, newer, NOW)
    stored = world.dynamodb.items(STATE_TABLE)
    with pytest.raises(ConflictError):
        world.state.save(KEY, late, NOW, entry={"outcome": layout.STARTED})
    assert world.dynamodb.items(STATE_TABLE) == stored, "a write that is refused writes nothing at all"


def test_an_entry_is_completed_once(world: FakeAccount) -> None:
    entry = world.state.save(KEY, RecordChange(), NOW, entry={"outcome": layout.STARTED})
    done, refused = (world.state.completion(entry, {"outcome": each}) for each in (layout.DONE, layout.REFUSED))
    world.state.save(KEY, RecordChange(), NOW, also=[done])
    with pytest.raises(ConflictError):
        world.state.save(KEY, RecordChange(grants=(WEB,)), NOW, also=[refused])
    assert [each["outcome"] for each in world.store.history(layout.instance_pk(KEY))] == [layout.DONE]
    assert record(world) == InstanceRecord()


def test_a_record_says_in_which_format_it_is(world: FakeAccount) -> None:
    world.state.save(KEY, RecordChange(grants=(WEB,)), NOW)
    assert world.store.get([layout.record_key(KEY)])[layout.record_key(KEY)]["version"] == layout.VERSION


SINCE = {"since": layout.timestamp(NOW)}
SWEPT = {**SINCE, layout.LAST_SWEEP: layout.timestamp(NOW)}

# What is known of the hub and of the target.
MARKERS = [(None, None), (SINCE, SWEPT), (None, SWEPT), (SWEPT, None), (SWEPT, SINCE), (SWEPT, SWEPT)]


@pytest.mark.parametrize(("home", "other"), MARKERS)
def test_nothing_may_change_before_a_sweep_of_the_deployment_and_one_of_the_target_have_ended(
    world: FakeAccount, home: dict[str, str] | None, other: dict[str, str] | None
) -> None:
    world.never_swept()
    for target, item in ((HOME, home), (OTHER, other)):
        if item:
            world.store.write(world.store.put({**layout.key_attributes(layout.target_key(target)), **item}))
    world.calls.clear()
    control = replace(world.state, target=OTHER).read().control
    assert (control.swept, world.calls.counted()) == (home == other == SWEPT, {"BatchGetItem": 1})
    assert control.registered is not (home == SWEPT and other is None)
    assert world.state.read().control.swept is (home == SWEPT)


def test_history_is_newest_first_and_expires(world: FakeAccount) -> None:
    for number in range(5):
        world.state.save(KEY, RecordChange(), NOW + timedelta(seconds=number), entry={"number": number})
    entries = world.store.history(layout.instance_pk(KEY), limit=3)
    assert [entry["number"] for entry in entries] == [4, 3, 2]
    assert entries[0]["expires"] == int((NOW + timedelta(days=90, seconds=4)).timestamp())


def test_a_key_too_long_for_a_partition_has_nothing_kept(world: FakeAccount) -> None:
    assert world.revisions.read(MappingKey("k" * 2_000, "v" * 100)) == StoredMapping(ACCOUNT)


def test_what_names_the_rows_in_conflict_must_be_ours(world: FakeAccount) -> None:
    web = published("workload=web", "web")
    world.revisions.publish(web, {}, NOW)
    world.store.write(world.store.update(layout.published_key(web.key, ACCOUNT), Update().set({"blocks": "garbled"})))
    with pytest.raises(CorruptItemError):
        world.revisions.read(web.key)


def test_an_item_that_is_too_large_is_refused_for_good(world: FakeAccount) -> None:
    words = published("workload=web", "web", description="x" * 500_000)
    with pytest.raises(PermanentError):
        world.revisions.publish(words, {}, NOW)
    assert world.revisions.read(words.key).published is None


# ---- timers: they ring in order, and a damaged one hides no other ----


def in_(seconds: float, subject: Any = KEY) -> Timer:
    return Timer(NOW + timedelta(seconds=seconds), subject)


@pytest.mark.parametrize(("timers", "reads"), [(2 * MOST_WRITES, 3), (2 * MOST_WRITES + 1, 3)])
def test_many_timers_are_read_in_pages_and_cleared_in_transactions(
    world: FakeAccount, monkeypatch: pytest.MonkeyPatch, timers: int, reads: int
) -> None:
    """A full last page names a next one."""
    world.large_pages()
    monkeypatch.setattr(state, "PAGE", 100)
    many = [in_(number / 10, key(f"workload=w{number}")) for number in range(timers)]
    for timer in many:
        world.state.arm(timer)
    world.calls.clear()
    assert list(world.state.timers_due(NOW + timedelta(minutes=5))) == many
    world.state.clear_timers(*many)
    last = Counter(DeleteItem=timers % MOST_WRITES)
    assert Counter(world.calls.made) == Counter(Query=reads, TransactWriteItems=2) + last
    assert list(world.state.timers_due(NOW + timedelta(minutes=5))) == []


@pytest.mark.parametrize(
    "garbled", [{}, {"due": "soon"}, {"due": 7}, {"due": "2026-03-01T09:00:05Z", "mapping": "web"}]
)
def test_a_timer_that_cant_be_read_hides_no_other(world: FakeAccount, garbled: dict[str, Any]) -> None:
    world.put((layout.TIMERS, f"{layout.timestamp(NOW)}#garbled"), **garbled)
    world.state.arm(in_(10))
    damaged, other = world.state.timers_due(NOW + timedelta(minutes=1))
    assert isinstance(damaged, CorruptItemError)
    assert "garbled" in str(damaged)
    assert other == in_(10)

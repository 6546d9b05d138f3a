"""What the state table's reads and writes bring together, cut into pages and note once; and two that write at once."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest

from fakes.calls import Calls
from fixtures.account import ACCOUNT, FakeAccount
from fixtures.state_table import STATE_TABLE
from fixtures.workers import state_table
from rolekeeper.aws.errors import ConflictError, CorruptItemError, PermanentError, RetryableError
from rolekeeper.mappings.revisions import Revisions, StoredMapping
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
from rolekeeper.model.mapping import Control, MappingKey
from rolekeeper.storage import layout, state
from rolekeeper.storage.state import BATCH_KEYS, MOST_WRITES, UNPROCESSED_WAITS, State, Store, Update
from strategies.values import KEY, NOW, arn, grant, key, published

HOME, OTHER = Target(ACCOUNT, "eu-west-1"), Target("222222222222", "eu-west-1")


class Table:
    """A state with its client, what was called, and how long it slept."""

    def __init__(self) -> None:
        self.calls = Calls()
        self.client = state_table(self.calls)
        self.slept: list[float] = []
        client: Any = self.client
        self.store = Store(client, STATE_TABLE, history_days=30, sleep=self.slept.append)
        self.state = State(self.store, HOME, HOME, lambda pin: pin)
        self.revisions = Revisions(self.store, ACCOUNT)

    def item(self, key: layout.Key) -> layout.Item:
        """An item as it is, without its key."""
        return {name: value for name, value in self.store.get([key])[key].items() if name not in ("pk", "sk")}

    @property
    def record(self) -> InstanceRecord:
        """The instance's record, read anew."""
        return self.state.read([KEY], []).record(KEY)

    @property
    def history(self) -> list[layout.Item]:
        """The instance's history, newest first."""
        return self.store.history(layout.instance_pk(KEY))


@pytest.fixture
def table() -> Table:
    return Table()


WEB = grant("web", "workload=web")


def test_an_empty_table_reads_as_nothing_known(table: Table) -> None:
    snapshot = table.state.read([KEY], [MappingKey("workload", "web")])
    assert (snapshot.control, snapshot.record(KEY)) == (Control(swept=False), InstanceRecord())
    assert (snapshot.records, snapshot.pins, snapshot.published, snapshot.damaged) == ({}, {}, {}, {})


# Beside them: the control item, what the last sweep saw, and the instance's record and pin.
@pytest.mark.parametrize(("mappings", "reads"), [(96, 1), (97, 2), (250, 3)])
def test_more_keys_than_a_request_takes_are_read_in_chunks(table: Table, mappings: int, reads: int) -> None:
    last = published(f"key={mappings - 1}", "web")
    table.revisions.publish(last, {}, NOW)
    table.calls.clear()
    snapshot = table.state.read([KEY], [MappingKey("key", str(number)) for number in range(mappings)])
    assert snapshot.published == {last.key: last}
    assert table.calls["BatchGetItem"] == reads
    assert BATCH_KEYS == 100


def test_unprocessed_keys_are_asked_for_again_with_growing_waits(table: Table) -> None:
    web = published("workload=web", "web")
    table.revisions.publish(web, {}, NOW)
    table.client.unprocessed = 2
    assert table.state.read([KEY], [web.key]).published == {web.key: web}
    assert table.slept == list(UNPROCESSED_WAITS[:2])


def test_keys_that_stay_unprocessed_fail_the_read(table: Table) -> None:
    table.revisions.publish(published("workload=web", "web"), {}, NOW)
    table.client.unprocessed = 100
    with pytest.raises(RetryableError) as failed:
        table.state.read([KEY], [MappingKey("workload", "web")])
    assert (failed.value.code, failed.value.action) == ("UnprocessedKeys", "dynamodb:BatchGetItem")
    assert table.slept == list(UNPROCESSED_WAITS)


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
    tables = Table(), Table()
    for table, order in zip(tables, ((one, other), (other, one)), strict=True):
        table.state.save(KEY, RecordChange(grants=(grant("db", "workload=db"),)), NOW)
        for change in order:
            table.state.save(KEY, change, NOW)
    first, second = (each.client.items(STATE_TABLE) for each in tables)
    assert sorted(first, key=str) == sorted(second, key=str)
    assert tables[0].record.grants.keys() >= {each.profile_arn for each in (*one.grants, *other.grants)}


@pytest.mark.parametrize("newer", [RecordChange(condition=HELD), RecordChange(ends=True)])
def test_a_slow_writer_neither_hides_what_a_newer_one_wrote_nor_writes_after_the_end(
    table: Table, newer: RecordChange
) -> None:
    table.state.save(KEY, RecordChange(grants=(WEB,)), NOW)
    late = RecordChange(clears=True, grants=(WEB,), expected=table.record)
    table.state.save(KEY, newer, NOW)
    stored = table.client.items(STATE_TABLE)
    with pytest.raises(ConflictError):
        table.state.save(KEY, late, NOW, entry={"outcome": layout.STARTED})
    assert table.client.items(STATE_TABLE) == stored, "a write that is refused writes nothing at all"


def test_an_entry_is_completed_once(table: Table) -> None:
    entry = table.state.save(KEY, RecordChange(), NOW, entry={"outcome": layout.STARTED})
    done, refused = (table.state.completion(entry, {"outcome": each}) for each in (layout.DONE, layout.REFUSED))
    table.state.save(KEY, RecordChange(), NOW, also=[done])
    with pytest.raises(ConflictError):
        table.state.save(KEY, RecordChange(grants=(WEB,)), NOW, also=[refused])
    assert [each["outcome"] for each in table.history] == [layout.DONE]
    assert table.record == InstanceRecord()


def test_a_record_says_in_which_format_it_is(table: Table) -> None:
    table.state.save(KEY, RecordChange(grants=(WEB,)), NOW)
    assert table.item(layout.record_key(KEY))["version"] == layout.VERSION


SINCE = {"since": layout.timestamp(NOW)}
SWEPT = {**SINCE, layout.LAST_SWEEP: layout.timestamp(NOW)}


# What is known of the hub and of the target, and whether the target's instances may be changed.
MARKERS = [
    (None, None, False),
    (SINCE, SWEPT, False),
    (None, SWEPT, False),
    (SWEPT, None, False),
    (SWEPT, SINCE, False),
]


@pytest.mark.parametrize(("home", "other", "swept"), [*MARKERS, (SWEPT, SWEPT, True)])
def test_nothing_may_change_before_a_sweep_of_the_deployment_and_one_of_the_target_have_ended(
    table: Table, home: dict[str, str] | None, other: dict[str, str] | None, *, swept: bool
) -> None:
    for target, item in ((HOME, home), (OTHER, other)):
        if item:
            table.store.write(table.store.put({**layout.key_attributes(layout.target_key(target)), **item}))
    table.calls.clear()
    control = replace(table.state, target=OTHER).read().control
    assert (control.swept, table.calls.counted()) == (swept, {"BatchGetItem": 1})
    assert control.registered is not (home == SWEPT and other is None)
    assert table.state.read().control.swept is (home == SWEPT)


def test_history_is_newest_first_and_expires(table: Table) -> None:
    for number in range(5):
        table.state.save(KEY, RecordChange(), NOW + timedelta(seconds=number), entry={"number": number})
    entries = table.store.history(layout.instance_pk(KEY), limit=3)
    assert [entry["number"] for entry in entries] == [4, 3, 2]
    assert entries[0]["expires"] == int((NOW + timedelta(days=30, seconds=4)).timestamp())


def test_a_key_too_long_for_a_partition_has_nothing_kept(table: Table) -> None:
    assert table.revisions.read(MappingKey("k" * 2_000, "v" * 100)) == StoredMapping(ACCOUNT)


def test_what_names_the_rows_in_conflict_must_be_ours(table: Table) -> None:
    web = published("workload=web", "web")
    table.revisions.publish(web, {}, NOW)
    table.store.write(table.store.update(layout.published_key(web.key, ACCOUNT), Update().set({"blocks": "garbled"})))
    with pytest.raises(CorruptItemError):
        table.revisions.read(web.key)


def test_an_item_that_is_too_large_is_refused_for_good(table: Table) -> None:
    words = published("workload=web", "web", description="x" * 500_000)
    with pytest.raises(PermanentError):
        table.revisions.publish(words, {}, NOW)
    assert table.revisions.read(words.key).published is None


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

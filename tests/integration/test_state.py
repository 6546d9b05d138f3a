"""The state table against moto, made as the template makes it."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from moto import mock_aws

from fakes.calls import Calls
from fixtures.account import refusing
from fixtures.state_table import STATE_TABLE, leave_unprocessed, state_table_client
from rolekeeper.aws.errors import ConflictError, CorruptItemError, NotFoundError, PermanentError, RetryableError
from rolekeeper.mappings.revisions import Revisions, StoredMapping
from rolekeeper.model.instance import (
    NO_PROFILE,
    Action,
    AppliedChange,
    Condition,
    DesiredChange,
    Grant,
    InstanceKey,
    InstanceRecord,
    RecordChange,
    Timer,
)
from rolekeeper.model.mapping import Control, Held, MappingKey, Mode, Pin
from rolekeeper.storage import codec, layout
from rolekeeper.storage.state import FLEET_NEWS, State
from rolekeeper.storage.table import BATCH_KEYS, UNPROCESSED_WAITS, Store, Update
from rolekeeper_cli.writes.pins import pin_item
from strategies.values import KEY, NOW, arn, grant, published


class Table:
    """A state with its client, what was called, and how long it slept."""

    def __init__(self) -> None:
        self.client = state_table_client()
        self.calls = Calls()
        self.calls.watch(self.client)
        self.slept: list[float] = []
        self.store = Store(self.client, STATE_TABLE, history_days=30, sleep=self.slept.append)
        self.state = State(self.store, lambda pin: pin)
        self.revisions = Revisions(self.store)

    def put(self, key: layout.Key, **attributes: Any) -> None:
        """Put an item as it is."""
        pk, sk = key
        self.client.put_item(TableName=STATE_TABLE, Item=codec.to_attributes({"pk": pk, "sk": sk, **attributes}))

    def item(self, key: layout.Key) -> codec.Item:
        """An item as it is, without its key; empty where there is none."""
        pk, sk = key
        answer = self.client.get_item(TableName=STATE_TABLE, Key=codec.to_attributes({"pk": pk, "sk": sk}))
        item = codec.from_attributes(answer.get("Item", {}))
        return {name: value for name, value in item.items() if name not in ("pk", "sk")}

    @property
    def record(self) -> InstanceRecord:
        """The instance's record, read anew."""
        return self.state.read([KEY], []).record(KEY)

    @property
    def history(self) -> list[codec.Item]:
        """The instance's history, newest first."""
        return self.store.history(layout.instance_pk(KEY))


@pytest.fixture
def table() -> Iterator[Table]:
    with mock_aws():
        yield Table()


WEB, DB = grant("web", "workload=web"), grant("db", "workload=db")
HELD = Condition(Action.HOLD, "tie", "a reason", NOW, "Hold|tie")
WAITS = Condition(Action.WAIT, "changing", "another", NOW, "Wait|changing")
CHANGE = AppliedChange(DesiredChange(WEB.mapping, 1, WEB.profile_arn), NOW)


# ---- reading ----


def test_an_empty_table_reads_as_nothing_known(table: Table) -> None:
    snapshot = table.state.read([KEY], [MappingKey("workload", "web")])
    assert snapshot.control == Control(swept=False)
    assert snapshot.record(KEY) == InstanceRecord()
    assert (snapshot.records, snapshot.pins, snapshot.published, snapshot.damaged) == ({}, {}, {}, {})
    assert table.calls.counted() == {"BatchGetItem": 1}


def test_one_read_holds_all_that_was_asked_for(table: Table) -> None:
    web, gone = published("workload=web", "web"), published("workload=", "old", deleted=True)
    for each in (web, gone, published("workload=db", "db")):
        table.revisions.publish(each, {}, NOW)
    table.state.save(KEY, RecordChange(grants=(WEB,)), NOW)
    table.state.note_sweep(3, 2, NOW)
    pin = Pin("db", arn("db"), at="2026-03-01", by="ada")
    table.store.write(table.store.put(pin_item(KEY, pin)))
    table.put(layout.CONTROL, mode="observe", paused=True)
    table.calls.clear()
    snapshot = table.state.read([KEY], [web.key, gone.key, MappingKey("workload", "*")])
    assert snapshot.control == Control(Mode.OBSERVE, paused=True)
    assert snapshot.published == {web.key: web, gone.key: gone}
    assert snapshot.record(KEY).grants == {WEB.profile_arn: WEB}
    assert snapshot.pins == {KEY: pin}
    assert snapshot.control.swept
    assert table.calls.counted() == {"BatchGetItem": 1}


def test_what_is_damaged_is_reported_beside_what_is_sound(table: Table) -> None:
    web, other = published("workload=web", "web"), InstanceKey(KEY.account, KEY.region, "i-00000000000000001")
    table.revisions.publish(web, {}, NOW)
    table.state.save(KEY, RecordChange(grants=(WEB,)), NOW)
    bad = MappingKey("workload", "db")
    table.put(layout.published_key(bad), spec="garbled")
    table.put(layout.record_key(other), condition={"action": "Dance"})
    snapshot = table.state.read([KEY, other], [web.key, bad])
    assert list(snapshot.records) == [KEY]
    assert snapshot.published == {web.key: web}
    assert snapshot.damaged.keys() == {other, bad}
    for key, item in ((other, "record"), (bad, "published")):
        assert isinstance(snapshot.damaged[key], CorruptItemError)
        assert snapshot.damaged[key].code == "Damaged"
        assert f" {item}: " in snapshot.damaged[key].message


def test_every_read_is_strongly_consistent(table: Table) -> None:
    asked: list[bool] = []
    table.client.meta.events.register(
        "provide-client-params.dynamodb.BatchGetItem",
        lambda params, **_: asked.append(params["RequestItems"][STATE_TABLE]["ConsistentRead"]),
    )
    table.state.read([KEY], [])
    table.revisions.read(MappingKey("a", "b"))
    assert asked == [True, True]


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
    leave_unprocessed(table.client, 2)
    assert table.state.read([KEY], [web.key]).published == {web.key: web}
    assert table.slept == list(UNPROCESSED_WAITS[:2])


def test_keys_that_stay_unprocessed_fail_the_read(table: Table) -> None:
    table.revisions.publish(published("workload=web", "web"), {}, NOW)
    leave_unprocessed(table.client, 100)
    with pytest.raises(RetryableError) as failed:
        table.state.read([KEY], [MappingKey("workload", "web")])
    assert (failed.value.code, failed.value.action) == ("UnprocessedKeys", "dynamodb:BatchGetItem")
    assert table.slept == list(UNPROCESSED_WAITS)


def test_a_table_that_isnt_there_is_an_error(table: Table) -> None:
    with pytest.raises(NotFoundError):
        State(Store(table.client, "no-such-table"), lambda pin: pin).read([KEY], [])


# ---- an instance's record ----


def test_a_grant_and_its_outcome_are_two_writes(table: Table) -> None:
    started = table.state.save(
        KEY, RecordChange(grants=(WEB,)), NOW, entry={"cause": "test", "outcome": "started", "answer": {}}
    )
    assert table.record == InstanceRecord(grants={WEB.profile_arn: WEB})
    answer = {"association-id": "iip-assoc-1"}
    completes = started, {"outcome": "done", "answer": answer}
    table.state.save(KEY, RecordChange(applied=CHANGE, clears=True), NOW, completes=completes)
    assert table.calls.counted() == {"TransactWriteItems": 2, "BatchGetItem": 1}
    assert table.record == InstanceRecord(grants={WEB.profile_arn: WEB}, changes=(CHANGE,))
    (entry,) = table.history
    assert (entry["cause"], entry["outcome"], entry["answer"]) == ("test", "done", answer)
    assert (entry["pk"], entry["sk"]) == started


def test_each_profile_has_a_grant_of_its_own(table: Table) -> None:
    none = Grant(NO_PROFILE, "NONE", MappingKey("quarantine", "*"), 7, NOW)
    table.state.save(KEY, RecordChange(grants=(WEB, none)), NOW)
    again = replace(WEB, mapping=MappingKey("a", ""), revision=3)
    table.state.save(KEY, RecordChange(grants=(DB, again), revoked=frozenset({NO_PROFILE})), NOW)
    assert table.record.grants == {DB.profile_arn: DB, WEB.profile_arn: again}


def test_two_who_write_at_once_dont_overwrite_each_other(table: Table) -> None:
    # Each only sets and removes what is its own, so the order doesn't matter.
    later = replace(CHANGE, at=NOW + timedelta(seconds=1))
    table.state.save(KEY, RecordChange(grants=(WEB,), applied=CHANGE), NOW)
    table.state.save(KEY, RecordChange(grants=(DB,), applied=later), NOW)
    table.state.save(KEY, RecordChange(lapsed=(CHANGE,)), NOW)
    table.state.save(KEY, RecordChange(revoked=frozenset({WEB.profile_arn})), NOW)
    assert table.record == InstanceRecord(grants={DB.profile_arn: DB}, changes=(later,))


def test_a_condition_is_set_kept_and_cleared(table: Table) -> None:
    table.state.save(KEY, RecordChange(condition=HELD), NOW)
    assert table.record.condition == HELD
    table.state.save(KEY, RecordChange(grants=(WEB,)), NOW)
    assert table.record.condition == HELD
    table.state.save(KEY, RecordChange(clears=True), NOW)
    assert table.record.condition is None


NEWER = [
    RecordChange(condition=WAITS),
    RecordChange(clears=True),
    RecordChange(grants=(DB,)),
    RecordChange(grants=(replace(WEB, revision=9),)),
    RecordChange(revoked=frozenset({WEB.profile_arn})),
    RecordChange(applied=CHANGE),
]
SLOW = [
    RecordChange(condition=replace(HELD, code="refused")),
    RecordChange(clears=True),
    RecordChange(grants=(replace(WEB, revision=7),)),
    RecordChange(revoked=frozenset({WEB.profile_arn})),
]


@pytest.mark.parametrize("slow", SLOW, ids=["shows", "clears", "grants", "revokes"])
@pytest.mark.parametrize("newer", NEWER, ids=["shows", "clears", "grants", "moves", "revokes", "changed"])
def test_a_slow_look_neither_hides_nor_undoes_what_a_newer_one_wrote(
    table: Table, newer: RecordChange, slow: RecordChange
) -> None:
    table.state.save(KEY, RecordChange(grants=(WEB,), condition=HELD), NOW)
    read = table.record
    table.state.save(KEY, newer, NOW)
    written = table.record
    with pytest.raises(ConflictError):
        table.state.save(KEY, replace(slow, expected=read), NOW, entry={"cause": "the slow one"})
    assert table.record == written
    assert table.history == []
    table.state.save(KEY, replace(slow, expected=written), NOW)


def test_of_two_who_saw_no_record_the_second_looks_again(table: Table) -> None:
    read = table.record
    for fits in (True, False):
        with nullcontext() if fits else pytest.raises(ConflictError):
            table.state.save(KEY, RecordChange(condition=HELD if fits else WAITS, expected=read), NOW)
    assert table.record.condition == HELD


def test_what_is_written_before_a_call_goes_by_nothing_that_was_read(table: Table) -> None:
    """Whatever another worker wrote meanwhile: what comes of the call is explained."""
    table.state.save(KEY, RecordChange(grants=(WEB,)), NOW)
    table.state.save(KEY, RecordChange(grants=(replace(WEB, revision=7),)), NOW)
    assert table.record.grants[WEB.profile_arn].revision == 7


def test_an_instance_that_ended_meanwhile_shows_nothing_again(table: Table) -> None:
    table.state.save(KEY, RecordChange(grants=(WEB,)), NOW)
    slow = table.record
    table.state.save(KEY, RecordChange(ends=True), NOW)
    with pytest.raises(ConflictError):
        table.state.save(KEY, RecordChange(condition=HELD, expected=slow), NOW)
    assert table.item(layout.record_key(KEY)) == {}


def test_an_instance_that_was_never_seen_may_show_something(table: Table) -> None:
    table.state.save(KEY, RecordChange(condition=HELD, expected=table.record), NOW)
    assert table.record.condition == HELD


def test_what_is_to_be_looked_at_again_is_written_with_the_condition(table: Table) -> None:
    due = NOW + timedelta(hours=1)
    table.state.save(KEY, RecordChange(condition=HELD, timers=(Timer(due, KEY),)), NOW)
    assert list(table.state.timers_due(due + timedelta(seconds=1))) == [Timer(due, KEY)]


def test_an_entry_alone_writes_only_history(table: Table) -> None:
    table.state.save(KEY, RecordChange(), NOW, entry={"cause": "test"})
    assert table.item(layout.record_key(KEY)) == {}
    assert len(table.history) == 1
    assert table.calls["PutItem"] == 1


def test_where_nothing_is_to_be_written_nothing_is(table: Table) -> None:
    assert table.state.save(KEY, RecordChange(expected=InstanceRecord(condition=HELD)), NOW) == ("", "")
    assert table.calls.counted() == {}


def test_an_entry_is_completed_only_where_it_was_started(table: Table) -> None:
    """It may have expired: what was left would be an entry of which nobody knows what it is about."""
    gone = layout.instance_pk(KEY), "history#2026-03-01T09:00:00.000000Z#0"
    with pytest.raises(ConflictError):
        table.state.save(KEY, RecordChange(applied=CHANGE), NOW, completes=(gone, {"outcome": "done"}))
    assert table.record == InstanceRecord()
    assert table.history == []


def test_what_goes_with_a_change_is_written_with_it_or_not_at_all(table: Table) -> None:
    web = published("workload=web", "web")
    counted = Update().add("total", 1).only_if("total", "<", 1, or_absent=True)
    room = table.store.update(layout.budget_key(web.key), counted)
    for fits in (True, False):
        with nullcontext() if fits else pytest.raises(ConflictError):
            table.state.save(KEY, RecordChange(grants=(WEB if fits else DB,)), NOW, entry={}, also=[room])
    assert table.item(layout.budget_key(web.key)) == {"total": 1}
    assert table.record.grants == {WEB.profile_arn: WEB}
    assert len(table.history) == 1


def test_what_goes_with_nothing_else_is_written_too(table: Table) -> None:
    key = layout.budget_key(MappingKey("workload", "web"))
    table.state.save(KEY, RecordChange(), NOW, also=[table.store.update(key, Update().add("total", 1))])
    assert table.item(key) == {"total": 1}


def test_what_was_never_there_is_removed_without_harm(table: Table) -> None:
    gone = RecordChange(revoked=frozenset({WEB.profile_arn}), lapsed=(CHANGE,), clears=True)
    table.state.save(KEY, gone, NOW)
    assert table.record == InstanceRecord()


def test_an_instance_that_ended_leaves_its_history(table: Table) -> None:
    table.state.save(KEY, RecordChange(grants=(WEB,)), NOW, entry={"cause": "test"})
    table.state.save(KEY, RecordChange(ends=True), NOW)
    assert KEY not in table.state.read([KEY], []).records
    assert len(table.history) == 1


@pytest.mark.parametrize("recorded", [True, False])
def test_the_pin_of_an_instance_that_ended_goes_with_its_record_or_alone(table: Table, *, recorded: bool) -> None:
    table.state.save(KEY, RecordChange(grants=(WEB,)), NOW)
    table.store.write(table.store.put(pin_item(KEY, Pin("db", arn("db")))))
    assert table.state.read([KEY]).pins.get(KEY)
    table.state.save(KEY, RecordChange(ends=recorded, unpins=True), NOW)
    snapshot = table.state.read([KEY], [])
    assert snapshot.pins == {}
    assert table.state.read([KEY]).pins.get(KEY) is None
    assert (KEY in snapshot.records) != recorded


def test_records_of_two_accounts_regions_and_instances_dont_meet(table: Table) -> None:
    others = [
        InstanceKey("999999999999", KEY.region, KEY.id),
        InstanceKey(KEY.account, "eu-west-1", KEY.id),
        InstanceKey(KEY.account, KEY.region, "i-00000000000000001"),
    ]
    table.state.save(KEY, RecordChange(grants=(WEB,)), NOW)
    assert list(table.state.read([KEY, *others], []).records) == [KEY]


def test_a_transaction_writes_all_or_nothing(table: Table) -> None:
    table.calls.before("TransactWriteItems", refusing("TransactionCanceledException", "conflict"))
    with pytest.raises(RetryableError):
        table.state.save(KEY, RecordChange(grants=(WEB,)), NOW, entry={"cause": "test"})
    assert table.record == InstanceRecord()
    assert table.history == []


def test_a_record_says_in_which_format_it_is(table: Table) -> None:
    table.state.save(KEY, RecordChange(grants=(WEB,)), NOW)
    assert table.item(layout.record_key(KEY))["version"] == codec.VERSION


def test_a_first_sweep_that_goes_on_hasnt_swept_yet(table: Table) -> None:
    table.state.sweep_goes_on(NOW)
    assert not table.state.read().control.swept
    assert not table.state.read([], []).control.swept
    table.state.note_sweep(3, 0, NOW)
    assert table.state.read().control.swept
    assert table.state.read([], []).control.swept


# ---- the fleet ----


def test_what_a_sweep_saw_is_written_when_it_is_news_or_a_day_old(table: Table) -> None:
    def noted(instances: int, mappings: int, at: datetime) -> bool:
        table.calls.clear()
        table.state.note_sweep(instances, mappings, at)
        return table.calls["PutItem"] == 1

    assert not table.state.read().control.swept
    assert noted(3, 2, NOW)
    assert table.item(layout.FLEET) == {"instances": 3, "mappings": 2, "at": layout.timestamp(NOW)}
    assert not noted(3, 2, NOW + FLEET_NEWS - timedelta(seconds=1))
    assert noted(3, 2, NOW + FLEET_NEWS)
    assert noted(4, 2, NOW + FLEET_NEWS)
    assert noted(4, 0, NOW + FLEET_NEWS)
    assert table.state.read().control.swept


def test_what_is_elsewhere_is_noted_and_is_news_when_it_goes(table: Table) -> None:
    for number, elsewhere in enumerate((5, 0, 7)):
        table.state.note_sweep(3, 2, NOW + timedelta(seconds=number), elsewhere)
        assert table.item(layout.FLEET)["elsewhere"] == elsewhere
    table.calls.clear()
    table.state.note_sweep(3, 2, NOW, 7)
    assert table.calls["PutItem"] == 0


# ---- history ----


def test_history_is_newest_first_and_expires(table: Table) -> None:
    for number in range(5):
        table.state.save(KEY, RecordChange(), NOW + timedelta(seconds=number), entry={"number": number})
    entries = table.store.history(layout.instance_pk(KEY), limit=3)
    assert [entry["number"] for entry in entries] == [4, 3, 2]
    assert entries[0]["expires"] == int((NOW + timedelta(days=30, seconds=4)).timestamp())


def test_two_entries_of_one_moment_are_both_kept(table: Table) -> None:
    table.store.write(table.store.entry(layout.instance_pk(KEY), {"number": 1}, NOW))
    table.store.write(table.store.entry(layout.instance_pk(KEY), {"number": 2}, NOW))
    assert len(table.store.history(layout.instance_pk(KEY))) == 2


# ---- mappings ----


def test_a_published_mapping_is_served_and_kept_as_a_revision(table: Table) -> None:
    web = published("workload=web", "web")
    assert table.revisions.read(web.key).published is None
    table.revisions.publish(web, {"cause": "row changed"}, NOW)
    assert table.revisions.read(web.key).published == web
    (entry,) = table.store.history(layout.mapping_pk(web.key))
    assert entry["cause"] == "row changed"
    key = codec.to_attributes({"pk": layout.mapping_pk(web.key), "sk": "revision#00000001"})
    assert table.client.get_item(TableName=STATE_TABLE, Key=key)["Item"]


def test_of_two_who_publish_one_revision_the_second_observes_again(table: Table) -> None:
    web, rival = published("workload=web", "web"), published("workload=web", "db")
    table.revisions.publish(web, {}, NOW)
    with pytest.raises(ConflictError):
        table.revisions.publish(rival, {}, NOW)
    assert table.revisions.read(web.key).published == web
    assert len(table.store.history(layout.mapping_pk(web.key))) == 1


@pytest.mark.parametrize("tag", ["a#b=c", "a=b#c", "a=", "A=b", "1:a=b", "ключ=значение"])
def test_mappings_of_tricky_tags_are_found_again(table: Table, tag: str) -> None:
    mapping = published(tag, "web")
    table.revisions.publish(published("a=b", "other"), {}, NOW)
    table.revisions.publish(mapping, {}, NOW)
    assert table.revisions.read(mapping.key).published == mapping


def test_a_mapping_is_suspended_and_resumed(table: Table) -> None:
    web = published("workload=web", "web")
    table.revisions.publish(web, {}, NOW)
    table.revisions.refresh(replace(web, suspended_because="its role is gone"), {"cause": "sweep"}, NOW)
    found = table.revisions.read(web.key).published
    assert found
    assert found.suspended_because == "its role is gone"
    table.revisions.refresh(replace(found, suspended_because=""), {"cause": "sweep"}, NOW)
    assert table.revisions.read(web.key).published == web
    assert len(table.store.history(layout.mapping_pk(web.key))) == 3


def test_a_revision_published_meanwhile_isnt_suspended(table: Table) -> None:
    web = published("workload=web", "web")
    newer = replace(web, revision=2)
    for each in (web, newer):
        table.revisions.publish(each, {}, NOW)
    with pytest.raises(ConflictError):
        table.revisions.refresh(replace(web, suspended_because="its role is gone"), {}, NOW)
    assert table.revisions.read(web.key).published == newer


def test_all_that_is_kept_of_a_mapping_comes_in_one_read(table: Table) -> None:
    web, star = published("workload=web", "web"), published("workload=*", "db")
    held = Held(replace(web, revision=2), NOW, "ada")
    for each in (web, star):
        table.revisions.publish(each, {}, NOW)
    table.revisions.note_sent(star)
    table.revisions.hold(held, {}, NOW)
    table.calls.clear()
    assert table.revisions.read(web.key) == StoredMapping(web, held, star, unsent=True)
    assert table.calls.counted() == {"BatchGetItem": 1}
    assert table.revisions.read(star.key) == StoredMapping(star, None, star)


def test_a_key_too_long_for_a_partition_has_nothing_kept(table: Table) -> None:
    assert table.revisions.read(MappingKey("k" * 2_000, "v" * 100)) == StoredMapping()


def test_of_two_who_hold_one_number_the_second_observes_again(table: Table) -> None:
    web, rival = published("workload=web", "web"), published("workload=web", "db")
    table.revisions.hold(Held(web, NOW), {"event": "first"}, NOW)
    with pytest.raises(ConflictError):
        table.revisions.hold(Held(rival, NOW), {"event": "second"}, NOW)
    assert table.revisions.read(web.key).held == Held(web, NOW)
    assert [each["event"] for each in table.store.history(layout.mapping_pk(web.key))] == ["first"]


def test_rows_in_a_tie_are_kept_beside_a_mapping_from_revision_to_revision(table: Table) -> None:
    web, one, two = published("workload=web", "web"), MappingKey("a#b", ""), MappingKey("c", "*")
    table.revisions.publish(web, {}, NOW)
    table.revisions.add_conflict(web, one)
    table.revisions.add_conflict(web, two)
    assert table.revisions.read(web.key).in_conflict == {one, two}
    table.revisions.publish(replace(web, revision=2), {}, NOW, blocks={one, two})
    table.revisions.remove_conflicts(web.key, [one])
    assert table.revisions.read(web.key).in_conflict == {two}
    table.revisions.remove_conflicts(web.key, [two])
    assert table.revisions.read(web.key).in_conflict == frozenset()


def test_a_row_that_came_into_a_tie_meanwhile_makes_a_publication_observe_again(table: Table) -> None:
    web = published("workload=web", "web")
    table.revisions.publish(web, {}, NOW)
    table.revisions.add_conflict(web, MappingKey("a", "b"))
    with pytest.raises(ConflictError):
        table.revisions.publish(replace(web, revision=2), {}, NOW)


def test_a_mapping_published_meanwhile_makes_a_row_in_a_tie_observe_again(table: Table) -> None:
    web = published("workload=web", "web")
    table.revisions.publish(replace(web, revision=2), {}, NOW)
    with pytest.raises(ConflictError):
        table.revisions.add_conflict(web, MappingKey("a", "b"))


def test_nothing_is_noted_where_nothing_is_published(table: Table) -> None:
    web = published("workload=web", "web")
    with pytest.raises(ConflictError):
        table.revisions.remove_conflicts(web.key, [MappingKey("a", "b")])
    assert table.revisions.read(web.key) == StoredMapping()


def test_what_names_the_rows_in_a_tie_must_be_ours(table: Table) -> None:
    web = published("workload=web", "web")
    table.revisions.publish(web, {}, NOW)
    table.store.write(table.store.update(layout.published_key(web.key), Update().set({"blocks": "garbled"})))
    with pytest.raises(CorruptItemError):
        table.revisions.read(web.key)


def test_an_approval_grants_the_window_its_credit(table: Table) -> None:
    web = published("workload=web", "web")
    table.revisions.publish(web, {}, NOW, budget=40)
    (window,) = table.store.get([layout.budget_key(web.key)]).values()
    assert (window["credit"], window["credit_revision"]) == (40, 1)


def test_an_item_that_is_too_large_isnt_tried_again(table: Table) -> None:
    words = published("workload=web", "web", description="x" * 500_000)
    with pytest.raises(PermanentError):
        table.revisions.publish(words, {}, NOW)
    assert table.revisions.read(words.key).published is None

"""The state table against moto, made as the template makes it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from moto import mock_aws

from rolekeeper import codec
from rolekeeper.errors import DamagedError, GoneError, ObserveAgainError, PermanentError, RetryableError
from rolekeeper.model import Action, Assignment, Control, Held, InstanceKey, MappingKey, Mode, Standing
from rolekeeper.revisions import Kept, Revisions
from rolekeeper.state import State
from rolekeeper.store import BATCH_KEYS, UNPROCESSED_WAITS, Store, Update
from support.calls import Calls
from support.state_table import STATE_TABLE, leave_unprocessed, state_table_client
from support.values import KEY, NOW, assignment, intent, published
from support.world import refusing


class Table:
    """A state with its client, what was called, and how long it slept."""

    def __init__(self) -> None:
        self.client = state_table_client()
        self.calls = Calls()
        self.calls.watch(self.client)
        self.slept: list[float] = []
        self.store = Store(self.client, STATE_TABLE, history_days=30, sleep=self.slept.append)
        self.state = State(self.store)
        self.revisions = Revisions(self.store)

    def record(self) -> codec.Item:
        pk, sk = codec.record_key(KEY)
        answer = self.client.get_item(TableName=STATE_TABLE, Key=codec.to_attributes({"pk": pk, "sk": sk}))
        return codec.from_attributes(answer.get("Item", {}))


@pytest.fixture
def table() -> Iterator[Table]:
    with mock_aws():
        yield Table()


def _standing(reason: str = "a reason") -> Standing:
    return Standing(Action.HOLD, "tie", reason, NOW, f"Hold|{reason}")


# ---- reading ----


def test_an_empty_table_reads_as_nothing_known(table: Table) -> None:
    snapshot = table.state.read([KEY], [MappingKey("workload", "web")])
    assert snapshot.control == Control()
    assert snapshot.record(KEY).empty
    assert snapshot.published == {}
    assert table.calls.counted() == {"BatchGetItem": 1}


def test_one_read_holds_all_that_was_asked_for(table: Table) -> None:
    web, gone = published("workload=web", "web"), published("workload=", "old", deleted=True)
    for each in (web, gone, published("workload=db", "db")):
        table.revisions.publish(each, {}, NOW)
    table.state.open_intent(KEY, intent(Action.ATTACH, "web"))
    pk, sk = codec.CONTROL
    item = codec.to_attributes({"pk": pk, "sk": sk, "mode": "observe", "paused": True})
    table.client.put_item(TableName=STATE_TABLE, Item=item)
    snapshot = table.state.read([KEY], [web.key, gone.key, MappingKey("workload", "*")])
    assert snapshot.control == Control(Mode.OBSERVE, paused=True)
    assert snapshot.published == {web.key: web, gone.key: gone}
    assert list(snapshot.record(KEY).intents) == ["a"]


def test_every_read_is_strongly_consistent(table: Table) -> None:
    asked: list[bool] = []
    table.client.meta.events.register(
        "provide-client-params.dynamodb.BatchGetItem",
        lambda params, **_: asked.append(params["RequestItems"][STATE_TABLE]["ConsistentRead"]),
    )
    table.state.read([KEY], [])
    table.revisions.published(MappingKey("a", "b"))
    assert asked == [True, True]


@pytest.mark.parametrize(("mappings", "reads"), [(97, 1), (98, 2), (250, 3)])
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
    with pytest.raises(GoneError):
        State(Store(table.client, "no-such-table")).read([KEY], [])


# ---- an instance's record ----


def test_an_intent_and_its_outcome_are_two_writes(table: Table) -> None:
    meant = intent(Action.ATTACH, "web")
    table.state.open_intent(KEY, meant)
    assert table.state.read([KEY], []).record(KEY).intents == {"a": meant}
    ours = assignment("web", "workload=web")
    table.calls.clear()
    table.state.record_outcome(KEY, {"cause": "test"}, NOW, closed=[meant], assignment=ours, clears_standing=True)
    assert table.calls.counted() == {"TransactWriteItems": 1}
    record = table.state.read([KEY], []).record(KEY)
    assert (record.intents, record.assignments, record.standing) == ({}, {"iip-assoc-1": ours}, None)


def test_a_second_intent_leaves_the_first_and_closes_only_the_settled(table: Table) -> None:
    first, second, third = (intent(Action.ATTACH, "web", id=each) for each in "abc")
    table.state.open_intent(KEY, first)
    table.state.open_intent(KEY, second)
    adopted = assignment("web", "workload=web")
    table.state.open_intent(KEY, third, settled=[first], adopted=adopted)
    record = table.state.read([KEY], []).record(KEY)
    assert sorted(record.intents) == ["b", "c"]
    assert record.assignments == {"iip-assoc-1": adopted}


def test_two_who_write_at_once_dont_overwrite_each_other(table: Table) -> None:
    # Each only sets and removes what is its own, so the order doesn't matter.
    one, other = intent(Action.ATTACH, "web", id="one"), intent(Action.REPLACE, "db", id="other")
    table.state.open_intent(KEY, one)
    table.state.open_intent(KEY, other)
    table.state.record_outcome(KEY, {}, NOW, closed=[one], assignment=assignment("web", "workload=web", id="iip-1"))
    table.state.record_outcome(
        KEY, {}, NOW, closed=[other], assignment=assignment("db", "workload=db", id="iip-2"), forgotten=["iip-1"]
    )
    record = table.state.read([KEY], []).record(KEY)
    assert (sorted(record.assignments), record.intents) == (["iip-2"], {})


def test_a_standing_is_set_kept_and_cleared(table: Table) -> None:
    table.state.record_outcome(KEY, {}, NOW, standing=_standing())
    assert table.state.read([KEY], []).record(KEY).standing == _standing()
    table.state.record_outcome(KEY, {}, NOW, forgotten=["iip-7"])
    assert table.state.read([KEY], []).record(KEY).standing == _standing()
    table.state.record_outcome(KEY, {}, NOW, clears_standing=True)
    assert table.state.read([KEY], []).record(KEY).standing is None


def test_an_outcome_without_change_writes_only_history(table: Table) -> None:
    table.state.record_outcome(KEY, {"cause": "test"}, NOW)
    assert table.record() == {}
    assert len(table.store.history(codec.instance_pk(KEY))) == 1


def test_closing_what_was_never_open_is_harmless(table: Table) -> None:
    table.state.record_outcome(KEY, {}, NOW, closed=[intent(Action.ATTACH, "web")], forgotten=["iip-1", "iip-2"])
    assert table.state.read([KEY], []).record(KEY).empty


def test_settling_clears_standing_intents_and_what_is_no_more(table: Table) -> None:
    meant = intent(Action.ATTACH, "web")
    table.state.open_intent(KEY, meant)
    table.state.record_outcome(KEY, {}, NOW, assignment=assignment("web", "workload=web"), standing=_standing())
    table.state.settle(KEY, closed=[meant], forgotten=["iip-assoc-1"])
    assert table.state.read([KEY], []).record(KEY).empty


def test_a_forgotten_instance_leaves_its_history(table: Table) -> None:
    table.state.record_outcome(KEY, {"cause": "test"}, NOW, assignment=assignment("web", "workload=web"))
    table.state.forget(KEY)
    assert KEY not in table.state.read([KEY], []).records
    assert len(table.store.history(codec.instance_pk(KEY))) == 1


def test_records_of_two_accounts_regions_and_instances_dont_meet(table: Table) -> None:
    others = [
        InstanceKey("999999999999", KEY.region, KEY.id),
        InstanceKey(KEY.account, "eu-west-1", KEY.id),
        InstanceKey(KEY.account, KEY.region, "i-00000000000000001"),
    ]
    table.state.record_outcome(KEY, {}, NOW, assignment=assignment("web", "workload=web"))
    assert list(table.state.read([KEY, *others], []).records) == [KEY]


def test_a_transaction_writes_all_or_nothing(table: Table) -> None:
    table.calls.before("TransactWriteItems", refusing("TransactionCanceledException", "conflict"))
    with pytest.raises(RetryableError):
        table.state.record_outcome(KEY, {}, NOW, assignment=assignment("web", "workload=web"))
    assert table.state.read([KEY], []).record(KEY).empty
    assert table.store.history(codec.instance_pk(KEY)) == []


# ---- history ----


def test_history_is_newest_first_and_expires(table: Table) -> None:
    for number in range(5):
        table.state.record_outcome(KEY, {"number": number}, NOW + timedelta(seconds=number))
    entries = table.store.history(codec.instance_pk(KEY), limit=3)
    assert [entry["number"] for entry in entries] == [4, 3, 2]
    assert entries[0]["expires"] == int((NOW + timedelta(days=30, seconds=4)).timestamp())


def test_two_entries_of_one_moment_are_both_kept(table: Table) -> None:
    table.store.write(table.store.entry(codec.instance_pk(KEY), {"number": 1}, NOW))
    table.store.write(table.store.entry(codec.instance_pk(KEY), {"number": 2}, NOW))
    assert len(table.store.history(codec.instance_pk(KEY))) == 2


# ---- mappings ----


def test_a_published_mapping_is_served_and_kept_as_a_revision(table: Table) -> None:
    web = published("workload=web", "web")
    assert table.revisions.published(web.key) is None
    table.revisions.publish(web, {"cause": "row changed"}, NOW)
    assert table.revisions.published(web.key) == web
    (entry,) = table.store.history(codec.mapping_pk(web.key))
    assert entry["cause"] == "row changed"
    key = codec.to_attributes({"pk": codec.mapping_pk(web.key), "sk": "revision#00000001"})
    assert table.client.get_item(TableName=STATE_TABLE, Key=key)["Item"]


def test_of_two_who_publish_one_revision_the_second_observes_again(table: Table) -> None:
    web, rival = published("workload=web", "web"), published("workload=web", "db")
    table.revisions.publish(web, {}, NOW)
    with pytest.raises(ObserveAgainError):
        table.revisions.publish(rival, {}, NOW)
    assert table.revisions.published(web.key) == web
    assert len(table.store.history(codec.mapping_pk(web.key))) == 1


@pytest.mark.parametrize("tag", ["a#b=c", "a=b#c", "a=", "A=b", "1:a=b", "ключ=значение"])
def test_mappings_of_tricky_tags_are_found_again(table: Table, tag: str) -> None:
    mapping = published(tag, "web")
    table.revisions.publish(published("a=b", "other"), {}, NOW)
    table.revisions.publish(mapping, {}, NOW)
    assert table.revisions.published(mapping.key) == mapping


def test_a_mapping_is_suspended_and_resumed(table: Table) -> None:
    web = published("workload=web", "web")
    table.revisions.publish(web, {}, NOW)
    table.revisions.refresh(replace(web, suspended="its role is gone"), {"cause": "sweep"}, NOW)
    found = table.revisions.published(web.key)
    assert found
    assert found.suspended == "its role is gone"
    table.revisions.refresh(replace(found, suspended=""), {"cause": "sweep"}, NOW)
    assert table.revisions.published(web.key) == web
    assert len(table.store.history(codec.mapping_pk(web.key))) == 3


def test_a_revision_published_meanwhile_isnt_suspended(table: Table) -> None:
    web = published("workload=web", "web")
    newer = replace(web, revision=2)
    for each in (web, newer):
        table.revisions.publish(each, {}, NOW)
    with pytest.raises(ObserveAgainError):
        table.revisions.refresh(replace(web, suspended="its role is gone"), {}, NOW)
    assert table.revisions.published(web.key) == newer


def test_all_that_is_kept_of_a_mapping_comes_in_one_read(table: Table) -> None:
    web, star = published("workload=web", "web"), published("workload=*", "db")
    held = Held(replace(web, revision=2), NOW, "ada")
    for each in (web, star):
        table.revisions.publish(each, {}, NOW)
    table.revisions.hold(held, {}, NOW)
    table.calls.clear()
    assert table.revisions.read(web.key) == Kept(web, held, star)
    assert table.calls.counted() == {"BatchGetItem": 1}
    assert table.revisions.read(star.key) == Kept(star, None, star)


def test_a_key_too_long_for_a_partition_has_nothing_kept(table: Table) -> None:
    assert table.revisions.read(MappingKey("k" * 2_000, "v" * 100)) == Kept()


def test_of_two_who_hold_one_number_the_second_observes_again(table: Table) -> None:
    web, rival = published("workload=web", "web"), published("workload=web", "db")
    table.revisions.hold(Held(web, NOW), {"event": "first"}, NOW)
    with pytest.raises(ObserveAgainError):
        table.revisions.hold(Held(rival, NOW), {"event": "second"}, NOW)
    assert table.revisions.held(web.key) == Held(web, NOW)
    assert [each["event"] for each in table.store.history(codec.mapping_pk(web.key))] == ["first"]


def test_rows_in_a_tie_are_kept_beside_a_mapping_from_revision_to_revision(table: Table) -> None:
    web, one, two = published("workload=web", "web"), MappingKey("a#b", ""), MappingKey("c", "*")
    table.revisions.publish(web, {}, NOW)
    table.revisions.block(web, one)
    table.revisions.block(web, two)
    assert table.revisions.read(web.key).blocks == {one, two}
    table.revisions.publish(replace(web, revision=2), {}, NOW, blocks={one, two})
    table.revisions.unblock(web.key, [one])
    assert table.revisions.read(web.key).blocks == {two}
    table.revisions.unblock(web.key, [two])
    assert table.revisions.read(web.key).blocks == frozenset()


def test_a_row_that_came_into_a_tie_meanwhile_makes_a_publication_observe_again(table: Table) -> None:
    web = published("workload=web", "web")
    table.revisions.publish(web, {}, NOW)
    table.revisions.block(web, MappingKey("a", "b"))
    with pytest.raises(ObserveAgainError):
        table.revisions.publish(replace(web, revision=2), {}, NOW)


def test_a_mapping_published_meanwhile_makes_a_row_in_a_tie_observe_again(table: Table) -> None:
    web = published("workload=web", "web")
    table.revisions.publish(replace(web, revision=2), {}, NOW)
    with pytest.raises(ObserveAgainError):
        table.revisions.block(web, MappingKey("a", "b"))


def test_nothing_is_noted_where_nothing_is_published(table: Table) -> None:
    web = published("workload=web", "web")
    with pytest.raises(ObserveAgainError):
        table.revisions.unblock(web.key, [MappingKey("a", "b")])
    assert table.revisions.read(web.key) == Kept()


def test_what_names_the_rows_in_a_tie_must_be_ours(table: Table) -> None:
    web = published("workload=web", "web")
    table.revisions.publish(web, {}, NOW)
    table.store.write(table.store.update(codec.published_key(web.key), Update().set("blocks", "garbled")))
    with pytest.raises(DamagedError):
        table.revisions.read(web.key)


def test_an_approval_grants_the_window_its_credit(table: Table) -> None:
    web = published("workload=web", "web")
    table.revisions.publish(web, {}, NOW, credit=40)
    (window,) = table.store.get([codec.window_key(web.key)]).values()
    assert (window["credit"], window["credit_revision"]) == (40, 1)


def test_an_item_that_is_too_large_isnt_tried_again(table: Table) -> None:
    words = published("workload=web", "web", description="x" * 500_000)
    with pytest.raises(PermanentError):
        table.revisions.publish(words, {}, NOW)
    assert table.revisions.published(words.key) is None


def test_an_assignment_is_written_whole(table: Table) -> None:
    ours = Assignment("iip-1", "arn:p", "web", MappingKey("a", ""), 7, "arn:before")
    table.state.record_outcome(KEY, {}, NOW, assignment=ours)
    assert table.state.read([KEY], []).record(KEY).assignments == {"iip-1": ours}

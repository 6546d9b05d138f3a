"""How values lie in the state table: whatever goes in comes out, and no two keys meet."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper import codec
from rolekeeper.model import (
    Action,
    Assignment,
    Control,
    Held,
    InstanceKey,
    InstanceRecord,
    Intent,
    Made,
    MappingKey,
    Mode,
    Pin,
    PublishedMapping,
    Standing,
    Timer,
    Undone,
    Wish,
)
from support.values import KEY, NOW, assignments, key, mappings, published, times

any_keys = st.builds(MappingKey, st.text(min_size=1, max_size=20), st.text(max_size=20))
tricky_keys = st.builds(MappingKey, st.text("#:1a*", min_size=1, max_size=4), st.text("#:1a*", max_size=4))
intents = st.builds(
    Intent,
    id=st.text(min_size=1),
    action=st.sampled_from([Action.ATTACH, Action.REPLACE, Action.DETACH]),
    target_profile_arn=st.text(),
    role=st.text(),
    mapping=any_keys,
    revision=st.integers(0, 10**9),
    from_association_id=st.text(),
    at=times,
    restore_profile_arn=st.text(),
    gives_back=st.booleans(),
    swap=st.booleans(),
)
standings = st.builds(
    Standing,
    action=st.sampled_from(Action),
    code=st.text(),
    reason=st.text(),
    since=times,
    fingerprint=st.text(),
    loop_until=st.none() | times,
    parked=st.booleans(),
)


def test_a_mapping_that_an_older_version_published_is_read() -> None:
    item = codec.published_item(published("workload=web", "web"))
    del item["profile_id"], item["former_profile_ids"]
    assert codec.published_from(_stored(item)).former_profile_ids == frozenset()


def _stored(item: codec.Item) -> codec.Item:
    return codec.from_attributes(codec.to_attributes(item))


@given(tricky_keys, tricky_keys)
def test_two_mappings_never_lie_at_one_key(one: MappingKey, other: MappingKey) -> None:
    assert (codec.mapping_pk(one) == codec.mapping_pk(other)) == (one == other)


@given(tricky_keys)
def test_a_mappings_partition_reads_back_as_the_mapping(key: MappingKey) -> None:
    assert codec.mapping_of(codec.mapping_pk(key)) == key


def test_separators_case_and_empty_values_keep_mappings_apart() -> None:
    keys = [
        MappingKey("a", "b"),
        MappingKey("A", "b"),
        MappingKey("a#b", ""),
        MappingKey("a", "#b"),
        MappingKey("a", ""),
        MappingKey("a", "*"),
        MappingKey("1:a", "b"),
    ]
    assert len({codec.mapping_pk(key) for key in keys}) == len(keys)


@given(any_keys)
def test_the_longest_tags_fit_into_a_key(key: MappingKey) -> None:
    # DynamoDB: a partition key holds at most 2,048 bytes; a tag key 128 and a value 256 characters (EC2 user guide).
    longest = MappingKey((key.tag_key * 128)[:128], (key.tag_value * 256)[:256])
    assert len(codec.mapping_pk(longest).encode(errors="surrogatepass")) <= 2048


def test_an_instance_and_a_mapping_never_share_a_partition() -> None:
    assert codec.instance_pk(InstanceKey("1", "2", "3")) == "instance#1#2#3"
    assert codec.mapping_pk(MappingKey("1#2", "3")) == "mapping#3:1#2#3"


@given(mappings, any_keys, st.text(), st.text())
def test_a_published_mapping_comes_back_as_it_was(
    mapping: PublishedMapping, key: MappingKey, owner: str, suspended: str
) -> None:
    full = replace(mapping, spec=replace(mapping.spec, key=key, owner=owner), suspended=suspended)
    full = full.with_profile_id("AIPA1").with_profile_id("AIPA2")
    item = _stored(codec.published_item(full))
    found = codec.published_from(item)
    assert found == full
    assert (found.profile_id, found.former_profile_ids) == ("AIPA2", frozenset({"AIPA1"}))
    assert codec.key_of(item) == codec.published_key(key)


@given(st.lists(intents, max_size=3, unique_by=lambda each: each.id), st.lists(assignments, max_size=1), standings)
def test_a_record_comes_back_as_it_was(meant: list[Intent], ours: list[Assignment], standing: Standing | None) -> None:
    item: codec.Item = {"pk": "instance#1", "sk": "record"}
    item |= {codec.INTENT + each.id: codec.intent_item(each) for each in meant}
    item |= {codec.ASSIGNMENT + each.association_id: codec.assignment_item(each) for each in ours}
    item |= {"standing": codec.standing_item(standing)} if standing else {}
    assert codec.record_from(_stored(item)) == InstanceRecord(
        {each.association_id: each for each in ours}, {each.id: each for each in meant}, standing
    )


def test_our_last_change_and_who_undid_ours_come_back_as_they_were() -> None:
    wish = Wish(MappingKey("workload", "web"), 3, "arn:web")
    made = Made(wish, "iip-assoc-1", NOW)
    undone = Undone(wish, NOW, NOW + timedelta(minutes=1), "iip-assoc-2", "arn:theirs")
    item = {"made": codec.made_item(made), codec.undone_name(undone): codec.undone_item(undone)}
    assert codec.record_from(_stored(item)) == InstanceRecord(made=made, undone=(undone,))


def test_an_undoing_is_kept_once_for_each_change_that_was_undone() -> None:
    wish = Wish(MappingKey("workload", "web"), 3, "arn:web")
    first, again = Undone(wish, NOW, NOW), Undone(wish, NOW, NOW + timedelta(minutes=5), "iip-assoc-2")
    assert codec.undone_name(first) == codec.undone_name(again)


@given(mappings, st.text())
def test_a_held_revision_comes_back_as_it_was(mapping: PublishedMapping, by: str) -> None:
    held = Held(mapping, NOW, by)
    item = _stored(codec.held_item(held))
    assert codec.held_from(item) == held
    assert codec.key_of(item) == codec.held_key(mapping.key)


@given(st.none() | times.map(lambda at: at.replace(year=2100)), st.text())
def test_a_pin_comes_back_as_it_was(expires_at: datetime | None, reason: str) -> None:
    pin = Pin("web", "arn:web", expires_at, "2026-03-01T09:00:00Z", "someone", reason)
    item = _stored(codec.pin_item(KEY, pin))
    assert codec.pin_from(item) == pin
    assert codec.key_of(item) == codec.pin_key(KEY)
    assert ("expires" in item) == (expires_at is not None)


@pytest.mark.parametrize("subject", [KEY, MappingKey("a#b", "")], ids=["instance", "mapping"])
def test_a_timer_comes_back_as_it_was_and_they_lie_in_the_order_in_which_they_ring(
    subject: InstanceKey | MappingKey,
) -> None:
    first, second = Timer(NOW, subject), Timer(NOW + timedelta(microseconds=1), subject)
    assert codec.timer_from(_stored(codec.timer_item(first))) == first
    assert codec.timer_item(first)["sk"] < codec.timer_item(second)["sk"]


def test_a_record_that_holds_nothing_is_empty() -> None:
    assert codec.record_from({"pk": "instance#1", "sk": "record"}).empty


@given(times)
def test_a_time_comes_back_as_it_was(at: datetime) -> None:
    assert codec.parse_time(codec.timestamp(at)) == at


@given(times, times)
def test_the_order_of_texts_is_the_order_of_times(one: datetime, other: datetime) -> None:
    assert (codec.timestamp(one) < codec.timestamp(other)) == (one < other)


@pytest.mark.parametrize(
    ("answered", "number"),
    [
        ("7", Decimal(7)),
        ("12345678901234567890123456789012345678", Decimal(12345678901234567890123456789012345678)),
        ("1" + "0" * 125, Decimal("1E+125")),
        ("-12" + "0" * 40, Decimal("-1.2E+41")),
        ("0." + "0" * 129 + "1", Decimal("1E-130")),
    ],
)
def test_any_number_that_dynamodb_answers_is_read_and_written_again(answered: str, number: Decimal) -> None:
    # It answers without an exponent, however many zeros that takes (boto3 issue 2500).
    item = codec.from_attributes({"n": {"N": answered}, "list": {"L": [{"N": answered}]}, "set": {"NS": [answered]}})
    assert item == {"n": number, "list": [number], "set": {number}}
    assert codec.from_attributes(codec.to_attributes(item)) == item


def test_a_time_is_written_in_utc() -> None:
    assert codec.timestamp(NOW.astimezone(timezone(timedelta(hours=5)))) == "2026-03-01T09:00:00.000000Z"
    assert codec.parse_time("2026-03-01T09:00:00.000000Z") == datetime(2026, 3, 1, 9, tzinfo=UTC)


def test_an_expiry_comes_back_in_utc() -> None:
    local = published("a=1", "web", expires_at=NOW.astimezone(timezone(timedelta(hours=5))))
    back = codec.published_from(_stored(codec.published_item(local)))
    assert back.spec.expires_at == NOW
    assert back.spec.expires_at.tzinfo is UTC


def test_an_instances_partition_reads_back_as_the_instance() -> None:
    assert codec.instance_key_from(codec.instance_pk(KEY)) == KEY


@pytest.mark.parametrize("pk", ["", "instance", "instance###", "instance#1#r", "instance#1#r#i#x", "mapping#1:a#b#c"])
def test_what_is_no_instances_partition_names_none(pk: str) -> None:
    assert codec.instance_key_from(pk) is None


@pytest.mark.parametrize("subject", [KEY, key("workload=web"), key("a#b=c#d")])
def test_a_timer_reads_back_and_its_key_tells_when_it_rings(subject: InstanceKey | MappingKey) -> None:
    timer = Timer(NOW, subject)
    item = codec.timer_item(timer)
    assert codec.timer_from(_stored(item)) == timer
    assert codec.due_from(item["sk"]) == NOW


def test_without_a_control_item_it_is_as_deployed() -> None:
    assert codec.control_from({}) == Control(mode=None, paused=False)
    assert codec.control_from({"mode": "observe"}) == Control(Mode.OBSERVE)
    assert codec.control_from({"mode": "", "paused": True}) == Control(None, paused=True)


def test_a_records_key_names_account_region_and_instance() -> None:
    assert codec.record_key(KEY) == (f"instance#{KEY.account}#{KEY.region}#{KEY.id}", "record")


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"mode": "enforced"}, "mode is 'enforced'; write observe or enforce"),
        ({"mode": 1}, "mode is 1"),
        ({"paused": "false"}, "paused is 'false'; write a Boolean"),
    ],
)
def test_a_control_item_that_cant_be_read_withholds_everything_and_says_why(item: dict[str, Any], words: str) -> None:
    withheld = codec.control_from(item).withholds(Mode.ENFORCE)
    assert withheld is not None
    assert withheld.code == "control-unclear"
    assert words in withheld.reason

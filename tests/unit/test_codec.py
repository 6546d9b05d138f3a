"""How values lie in the state table: whatever goes in comes out, and no two keys meet."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper import codec
from rolekeeper.model import (
    Action,
    Assignment,
    Control,
    InstanceKey,
    InstanceRecord,
    Intent,
    MappingKey,
    Mode,
    PublishedMapping,
    Standing,
)
from support.values import KEY, NOW, assignments, mappings, published, times

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


def _stored(item: codec.Item) -> codec.Item:
    return codec.from_attributes(codec.to_attributes(item))


@given(tricky_keys, tricky_keys)
def test_two_mappings_never_lie_at_one_key(one: MappingKey, other: MappingKey) -> None:
    assert (codec.mapping_pk(one) == codec.mapping_pk(other)) == (one == other)


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
    item = _stored(codec.published_item(full))
    assert codec.published_from(item) == full
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


def test_a_record_that_holds_nothing_is_empty() -> None:
    assert codec.record_from({"pk": "instance#1", "sk": "record"}).empty


@given(times)
def test_a_time_comes_back_as_it_was(at: datetime) -> None:
    assert codec.parse_time(codec.timestamp(at)) == at


@given(times, times)
def test_the_order_of_texts_is_the_order_of_times(one: datetime, other: datetime) -> None:
    assert (codec.timestamp(one) < codec.timestamp(other)) == (one < other)


def test_a_time_is_written_in_utc() -> None:
    assert codec.timestamp(NOW.astimezone(timezone(timedelta(hours=5)))) == "2026-03-01T09:00:00.000000Z"
    assert codec.parse_time("2026-03-01T09:00:00.000000Z") == datetime(2026, 3, 1, 9, tzinfo=UTC)


def test_an_expiry_comes_back_in_utc() -> None:
    local = published("a=1", "web", expires_at=NOW.astimezone(timezone(timedelta(hours=5))))
    back = codec.published_from(_stored(codec.published_item(local)))
    assert back.spec.expires_at == NOW
    assert back.spec.expires_at.tzinfo is UTC


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

"""How values are stored in the state table: whatever goes in comes out, and no two keys meet."""

import time
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal, Inexact
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from fixtures.account import ACCOUNT
from fixtures.workers import applied_changes, conditions, grants, moments, texts, tricky_keys, tricky_specs
from rolekeeper.mappings.rows import HomeAccount, read_row
from rolekeeper.model.instance import (
    NO_PROFILE,
    AppliedChange,
    Condition,
    DesiredChange,
    Grant,
    InstanceKey,
    InstanceRecord,
    Timer,
)
from rolekeeper.model.mapping import NO_ROLE, Control, Held, MappingKey, Mode, Pin, PublishedMapping
from rolekeeper.model.text import shown
from rolekeeper.storage import layout
from rolekeeper_cli.act.pins import pin_item
from strategies.values import KEY, NOW, arn, grant, key, published, tag_texts, times

published_mappings = st.builds(
    PublishedMapping,
    spec=tricky_specs,
    revision=st.integers(1, 10**9),
    profile_arn=texts,
    suspended_because=texts,
    remedy=texts,
    deleted=st.booleans(),
    profile_id=texts,
    former_profile_ids=st.frozensets(texts, max_size=3),
)
# What people write in their own words is escaped when it is read.
words = texts.map(shown)
pins = st.builds(
    lambda role, until, at, by, reason: Pin(role, "" if role == NO_ROLE else f"arn:{role}", until, at, by, reason),
    st.just(NO_ROLE) | st.text("web+=,.@_-", min_size=1, max_size=64),
    st.none() | moments,
    words,
    words,
    words,
)
subjects = st.just(KEY) | tricky_keys


def _stored(item: Mapping[str, Any]) -> layout.Item:
    """What DynamoDB gives back of an item."""
    return layout.from_attributes(layout.to_attributes(item))


# ---- DynamoDB's values ----

numbers = st.integers(-(10**37), 10**37) | st.decimals(-(10**30), 10**30, places=6, allow_nan=False)
scalars = st.text() | st.binary() | numbers | st.booleans() | st.none()
sets = st.sets(st.text(), min_size=1) | st.sets(st.binary(), min_size=1) | st.sets(numbers, min_size=1)
values = st.recursive(
    scalars | sets, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


@given(values)
def test_a_value_is_written_and_read_as_the_sdk_does_it(value: Any) -> None:
    stored = layout.attribute(value)
    assert stored == TypeSerializer().serialize(value)
    assert layout.plain(stored) == TypeDeserializer().deserialize(stored) == value


@given(st.lists(st.integers(1, 10**6)), st.just([1, 2, 9, 10, 11, 99, 100]))
def test_revisions_sort_by_their_numbers(numbers: list[int], further: list[int]) -> None:
    """The eleventh comes after the tenth."""
    numbers = sorted({*numbers, *further})
    assert sorted(map(layout.revision_sk, numbers)) == list(map(layout.revision_sk, numbers))


@pytest.mark.parametrize("value", [1.5, {1, "1"}, set[str](), frozenset({None}), object()])
def test_what_dynamodb_has_no_type_for_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="DynamoDB has no value like"):
        layout.attribute(value)


# ---- keys ----


@given(tricky_keys, tricky_keys)
def test_two_mappings_never_share_a_partition(one: MappingKey, other: MappingKey) -> None:
    assert (layout.mapping_pk(one) == layout.mapping_pk(other)) == (one == other)


@given(tricky_keys)
def test_a_mappings_partition_reads_back_as_the_mapping(key: MappingKey) -> None:
    assert layout.mapping_of(layout.mapping_pk(key)) == layout.mapping_of(layout.budget_key(key)[0]) == key


# A tag key holds 128 characters and a value 256 (EC2 user guide), of up to four bytes each.
LONGEST = MappingKey("\U0001f600" * 128, "\U0001f601" * 256)


def test_the_longest_tags_fit_into_a_key_and_longer_ones_have_no_partition() -> None:
    """DynamoDB: a partition key holds at most 2,048 bytes, a sort key 1,024."""
    assert layout.is_partition(layout.mapping_pk(LONGEST))
    assert not layout.is_partition(layout.mapping_pk(MappingKey("k" * 1024, "v" * 1024)))
    partition, approval = layout.approval_key("A" * 193, LONGEST)
    timer, other = (
        layout.timer_item(Timer(NOW, each)) for each in (LONGEST, replace(LONGEST, tag_value="\U0001f600" * 256))
    )
    assert [len(each.encode()) <= 1024 for each in (approval, timer["sk"])] == [True, True]
    assert len(partition.encode()) <= layout.PARTITION_KEY_BYTES
    assert layout.timer_from(_stored(timer)) == Timer(NOW, LONGEST)
    assert timer["sk"] != other["sk"]


@pytest.mark.parametrize("character", list("\n\r\v\x85\u2028\u2029\u200b\u202e\xa0\ufe0f\ud800"))
def test_a_key_that_no_row_may_have_has_no_partition(character: str) -> None:
    for tag in (MappingKey(f"a{character}b", "x"), MappingKey("x", f"a{character}b")):
        row = {"tag_key": {"S": tag.tag_key}, "tag_value": {"S": tag.tag_value}, "role": {"S": "web"}}
        assert read_row(row, HomeAccount("123456789012")).spec is None
        assert not layout.is_partition(layout.mapping_pk(tag))


@given(st.builds(MappingKey, tag_texts, tag_texts | st.just("*")))
def test_each_key_that_a_row_may_have_has_a_partition(key: MappingKey) -> None:
    assert layout.is_partition(layout.mapping_pk(key))


def test_an_instance_and_a_mapping_never_share_a_partition() -> None:
    assert layout.instance_pk(InstanceKey("1", "2", "3")) == "instance#1#2#3"
    assert layout.mapping_pk(MappingKey("1#2", "3")) == "mapping#3:1#2#3"


@pytest.mark.parametrize("pk", ["", "instance", "instance###", "instance#1#r", "instance#1#r#i#x", "mapping#1:a#b#c"])
def test_what_is_no_instances_partition_names_none(pk: str) -> None:
    assert layout.instance_key_from(pk) is None


# ---- values come back as they were ----


@given(grants | applied_changes | conditions | published_mappings | tricky_keys | st.just(KEY))
def test_every_value_comes_back_as_it_was(value: Any) -> None:
    found = layout.decode(type(value), _stored(layout.encode(value)))
    assert found == value
    assert _types(found) == _types(value), "a number is no Decimal, and a word of a few is no plain text"


def _types(value: Any) -> Any:
    """The types of a value and of all its fields."""
    if is_dataclass(value):
        return type(value), [_types(getattr(value, each.name)) for each in fields(value) if each.repr]
    return type(value)


@given(published_mappings, moments, words)
def test_a_mapping_comes_back_as_it_was_published_or_held(mapping: PublishedMapping, at: datetime, by: str) -> None:
    item = _stored(layout.published_item(mapping, ACCOUNT))
    found = layout.published_from(item)
    assert found == mapping
    assert (found.profile_id, found.former_profile_ids) == (mapping.profile_id, mapping.former_profile_ids)
    assert (item["pk"], item["sk"], item["version"]) == (*layout.published_key(mapping.key, ACCOUNT), 2)
    held = Held(mapping, at, by, took=7)
    item = _stored(layout.held_item(held))
    assert layout.held_from(item) == held
    assert (item["pk"], item["sk"], item["version"]) == (*layout.held_key(mapping.key), 2)


@given(
    st.lists(grants, max_size=3, unique_by=lambda each: each.profile_arn),
    st.none() | conditions,
    st.lists(applied_changes, max_size=3, unique_by=lambda each: each.at),
)
def test_a_record_comes_back_as_it_was(
    granted: list[Grant], condition: Condition | None, changes: list[AppliedChange]
) -> None:
    item: layout.Item = {"pk": "instance#1", "sk": "record"}
    item |= {layout.grant_name(each.profile_arn): layout.encode(each) for each in granted}
    item |= {layout.change_name(each): layout.encode(each) for each in changes}
    item |= {layout.CONDITION: layout.encode(condition)} if condition else {}
    found = layout.record_from(_stored(item))
    oldest_first = tuple(sorted(changes, key=lambda each: each.at))
    assert found == InstanceRecord({each.profile_arn: each for each in granted}, condition, oldest_first)


def test_grants_of_two_profiles_and_changes_of_two_moments_never_share_an_attribute() -> None:
    assert layout.grant_name(arn("web")) != layout.grant_name(arn("db")) != layout.grant_name(NO_PROFILE)
    change = AppliedChange(DesiredChange(key("a=1"), 1, arn("web")), NOW)
    later = replace(change, at=NOW + timedelta(microseconds=1))
    assert layout.change_name(change) < layout.change_name(later)


@given(pins)
def test_a_pin_comes_back_as_it_was(pin: Pin) -> None:
    item = _stored(pin_item(KEY, pin))
    assert Pin.read(item) == pin
    assert (item["pk"], item["sk"]) == layout.pin_key(KEY)


def test_dynamodb_drops_a_pin_a_week_after_it_expired_and_never_one_without_an_end() -> None:
    until = pin_item(KEY, Pin("web", arn("web"), NOW))["expires"]
    assert until == (NOW + timedelta(days=7)).timestamp()
    assert "expires" not in pin_item(KEY, Pin("web", arn("web")))


@given(subjects, moments)
def test_a_timer_comes_back_as_it_was_and_its_key_tells_when_it_rings(
    subject: InstanceKey | MappingKey, due: datetime
) -> None:
    timer = Timer(due, subject)
    item = layout.timer_item(timer)
    assert layout.timer_from(_stored(item)) == timer
    assert item["sk"] < layout.timer_item(replace(timer, due=due + timedelta(microseconds=1)))["sk"]


def test_follow_ups_are_spread_as_a_partition_takes_250_changes_a_second() -> None:
    timers = [Timer(NOW, replace(KEY, id=f"i-{number:017x}"), follows=True) for number in range(400)]
    partitions = [layout.timer_key(timer)[0] for timer in timers]
    assert max(map(partitions.count, layout.FOLLOW_UPS)) < 130
    assert {layout.timer_from(_stored(layout.timer_item(timer))) for timer in timers} == {*timers}


@given(subjects, subjects)
def test_the_timers_of_two_subjects_never_meet(one: InstanceKey | MappingKey, other: InstanceKey | MappingKey) -> None:
    keys = [layout.timer_key(Timer(NOW, each)) for each in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


signers = st.text("AID:+=,.@-", min_size=1)  # what an aws:userid may hold (STS API reference, "AssumeRole")


@given(signers, tricky_keys)
def test_an_approval_is_of_its_signer_and_its_mapping(by: str, key: MappingKey) -> None:
    assert layout.approval_of(layout.approval_key(by, key)) == (by, key)


# ---- what isn't what we wrote is never guessed ----

SPEC = layout.encode(published("a=1", "web").spec)

GARBLED: dict[str, tuple[Any, ...]] = {
    "enabled": ("false", Decimal(1)),
    "role": (Decimal(5), None),
    "priority": ("high",),
    "when_occupied": ("ask",),
    "when_unmatched": ("forget", "restore"),
    "require_tags": ({"env": Decimal(1)}, "env"),
    "accounts": ([Decimal(123456789012)],),
    "expires_at": ("tomorrow",),
    "key": ("a=1", {"tag_key": "a"}),
}


@pytest.mark.parametrize(("column", "value"), [(name, value) for name, values in GARBLED.items() for value in values])
def test_a_published_mapping_with_a_garbled_column_is_no_mapping(column: str, value: Any) -> None:
    item = {**layout.published_item(published("a=1", "web"), ACCOUNT), "spec": {**SPEC, column: value}}
    with pytest.raises((TypeError, ValueError, KeyError, AttributeError)):
        layout.published_from(item)


@pytest.mark.parametrize(
    "garbled",
    [
        {layout.grant_name(arn("web")): {"profile_arn": arn("web")}},
        {layout.grant_name(arn("web")): "web"},
        {layout.CONDITION: "garbled"},
        {layout.CONDITION: {"action": "Hope"}},
        {"change:2026-03-01T09:00:00.000000Z": {"at": "2026-03-01T09:00:00.000000Z"}},
    ],
    ids=repr,
)
def test_a_garbled_record_is_no_record(garbled: layout.Item) -> None:
    with pytest.raises((TypeError, ValueError, KeyError, AttributeError)):
        layout.record_from({"pk": "instance#1", "sk": "record", **garbled})


def test_what_a_later_edition_adds_is_passed_over() -> None:
    item = {**layout.encode(grant("web", "a=1")), "colour": "red"}
    assert layout.decode(Grant, item) == grant("web", "a=1")


# ---- times and numbers ----


@given(times, times)
def test_the_order_of_texts_is_the_order_of_times(one: datetime, other: datetime) -> None:
    assert (layout.timestamp(one) < layout.timestamp(other)) == (one < other)


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
    """It answers without an exponent, however many zeros that takes; boto3's own counts them as digits (issue 2500)."""
    item = layout.from_attributes({"n": {"N": answered}, "list": {"L": [{"N": answered}]}, "set": {"NS": [answered]}})
    assert item == {"n": number, "list": [number], "set": {number}}
    assert layout.from_attributes(layout.to_attributes(item)) == item


def test_no_digit_of_a_number_is_rounded_away() -> None:
    with pytest.raises(Inexact):
        layout.attribute(Decimal("1" * 39))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns"])
def test_a_time_is_written_in_utc_whatever_the_time_zone_of_the_machine(zone: str) -> None:
    with pytest.MonkeyPatch.context() as machine:
        machine.setenv("TZ", zone)
        time.tzset()
        for at in (NOW, NOW.astimezone(timezone(timedelta(hours=5)))):
            assert layout.timestamp(at) == "2026-03-01T09:00:00.000000Z"
    time.tzset()


# ---- what people write ----


def test_a_control_item_says_what_differs_from_what_is_deployed() -> None:
    assert Control.read({}) == Control(mode=None, paused=False)
    assert Control.read({"mode": "observe"}) == Control(Mode.OBSERVE)
    assert Control.read({"mode": "", "paused": True}) == Control(None, paused=True)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"mode": "enforced"}, "mode is 'enforced'; write observe or enforce"),
        ({"mode": 1}, "mode is 1"),
        ({"paused": "false"}, "paused is 'false'; write a Boolean"),
    ],
)
def test_a_control_item_that_cant_be_read_withholds_everything_and_says_why(item: dict[str, Any], words: str) -> None:
    withheld = Control.read(item).withholds(Mode.ENFORCE)
    assert withheld
    assert (withheld.code, words in withheld.reason) == ("control-unclear", True)

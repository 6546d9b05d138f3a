"""How values are stored in the state table: whatever goes in comes out, and no two keys meet."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, Inexact
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from fixtures.workers import applied_changes, conditions, grants, moments, texts, tricky_keys, tricky_specs
from rolekeeper.mappings.rows.cells import HomeAccount
from rolekeeper.mappings.rows.reader import read_row
from rolekeeper.model import shown
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
from rolekeeper.model.mapping import (
    NO_ROLE,
    Control,
    Held,
    MappingKey,
    MappingSpec,
    Mode,
    Pin,
    PublishedMapping,
    WhenOccupied,
    WhenUnmatched,
)
from rolekeeper.storage import codec, layout
from rolekeeper_cli.writes.pins import pin_item
from strategies.values import KEY, NOW, arn, grant, key, published, row_specs, times

specs = st.builds(
    lambda spec, occupied, unmatched, regions: replace(
        spec, when_occupied=occupied, when_unmatched=unmatched, regions=regions
    ),
    tricky_specs,
    st.sampled_from(WhenOccupied),
    st.sampled_from(WhenUnmatched),
    st.frozensets(texts, max_size=2),
)
published_mappings = st.builds(
    PublishedMapping,
    spec=specs,
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


def _stored(item: Mapping[str, Any]) -> codec.Item:
    """What DynamoDB gives back of an item."""
    return codec.from_attributes(codec.to_attributes(item))


# ---- DynamoDB's values ----

numbers = st.integers(-(10**37), 10**37) | st.decimals(-(10**30), 10**30, places=6, allow_nan=False)
scalars = st.text() | st.binary() | numbers | st.booleans() | st.none()
sets = st.sets(st.text(), min_size=1) | st.sets(st.binary(), min_size=1) | st.sets(numbers, min_size=1)
values = st.recursive(
    scalars | sets, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


@given(values)
def test_a_value_is_written_and_read_as_the_sdk_does_it(value: Any) -> None:
    stored = codec.attribute(value)
    assert stored == TypeSerializer().serialize(value)
    assert codec.plain(stored) == TypeDeserializer().deserialize(stored) == value


def test_all_digits_of_a_number_are_kept_and_the_zeros_of_a_large_one_are_none() -> None:
    """boto3's own counts them as digits: it can't read 1E+39 of DynamoDB (boto3 issue 2500)."""
    digits = "12345678901234567890123456789012345678"
    assert codec.plain({"N": digits}) == Decimal(digits)
    assert codec.plain({"N": "1E+39"}) == 10**39
    with pytest.raises(Inexact):
        codec.attribute(Decimal(f"{digits}9"))


@pytest.mark.parametrize("value", [1.5, {1, "1"}, set[str](), frozenset({None}), object()])
def test_what_dynamodb_has_no_type_for_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="DynamoDB has no value like"):
        codec.attribute(value)


def test_a_type_that_dynamodb_has_not_is_refused() -> None:
    with pytest.raises(TypeError, match="'X' is no type"):
        codec.plain({"X": "?"})


# ---- keys ----


@given(tricky_keys, tricky_keys)
def test_two_mappings_never_share_a_partition(one: MappingKey, other: MappingKey) -> None:
    assert (layout.mapping_pk(one) == layout.mapping_pk(other)) == (one == other)


@given(tricky_keys)
def test_a_mappings_partition_reads_back_as_the_mapping(key: MappingKey) -> None:
    assert layout.mapping_of(layout.mapping_pk(key)) == layout.mapping_of(layout.budget_key(key)[0]) == key


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
    assert len({layout.mapping_pk(key) for key in keys}) == len(keys)


@given(tricky_keys)
def test_the_longest_tags_fit_into_a_key(key: MappingKey) -> None:
    # DynamoDB: a partition key holds at most 2,048 bytes; a tag key 128 and a value 256 characters (EC2 user guide).
    longest = MappingKey((key.tag_key * 128)[:128], (key.tag_value * 256)[:256])
    assert len(layout.mapping_pk(longest).encode()) <= 2048
    assert layout.is_partition(layout.mapping_pk(longest))


def test_a_key_that_is_longer_than_any_tag_has_no_partition() -> None:
    assert not layout.is_partition(layout.mapping_pk(MappingKey("k" * 1024, "v" * 1024)))


@pytest.mark.parametrize("character", list("\n\r\v\x85\u2028\u2029\u200b\u202e\xa0\ufe0f\ud800"))
def test_a_key_that_no_row_may_have_has_no_partition(character: str) -> None:
    for tag in (MappingKey(f"a{character}b", "x"), MappingKey("x", f"a{character}b")):
        row = {"tag_key": {"S": tag.tag_key}, "tag_value": {"S": tag.tag_value}, "role": {"S": "web"}}
        assert read_row(row, HomeAccount("123456789012")).spec is None
        assert not layout.is_partition(layout.mapping_pk(tag))


@given(row_specs)
def test_each_key_that_a_row_may_have_has_a_partition(spec: MappingSpec) -> None:
    assert layout.is_partition(layout.mapping_pk(spec.key))


def test_an_instance_and_a_mapping_never_share_a_partition() -> None:
    assert layout.instance_pk(InstanceKey("1", "2", "3")) == "instance#1#2#3"
    assert layout.mapping_pk(MappingKey("1#2", "3")) == "mapping#3:1#2#3"


def test_an_instances_partition_reads_back_as_the_instance() -> None:
    assert layout.instance_key_from(layout.instance_pk(KEY)) == KEY


@pytest.mark.parametrize("pk", ["", "instance", "instance###", "instance#1#r", "instance#1#r#i#x", "mapping#1:a#b#c"])
def test_what_is_no_instances_partition_names_none(pk: str) -> None:
    assert layout.instance_key_from(pk) is None


def test_a_records_key_names_account_region_and_instance() -> None:
    assert layout.record_key(KEY) == (f"instance#{KEY.account}#{KEY.region}#{KEY.id}", "record")


# ---- values come back as they were ----


@given(grants | applied_changes | conditions | published_mappings | tricky_keys | st.just(KEY))
def test_every_value_comes_back_as_it_was(value: Any) -> None:
    found = codec.decode(type(value), _stored(codec.encode(value)))
    assert found == value
    assert _types(found) == _types(value), "a number is no Decimal, and a word of a few is no plain text"


def _types(value: Any) -> Any:
    """The types of a value and of all its fields."""
    if is_dataclass(value):
        return type(value), [_types(getattr(value, each.name)) for each in fields(value) if each.repr]
    return type(value)


@given(published_mappings)
def test_a_published_mapping_comes_back_as_it_was(mapping: PublishedMapping) -> None:
    item = _stored(codec.published_item(mapping))
    found = codec.published_from(item)
    assert found == mapping
    assert (found.profile_id, found.former_profile_ids) == (mapping.profile_id, mapping.former_profile_ids)
    assert (item["pk"], item["sk"]) == layout.published_key(mapping.key)
    assert item["version"] == 2


@given(published_mappings, moments, words)
def test_a_held_revision_comes_back_as_it_was(mapping: PublishedMapping, at: datetime, by: str) -> None:
    held = Held(mapping, at, by)
    item = _stored(codec.held_item(held))
    assert codec.held_from(item) == held
    assert (item["pk"], item["sk"]) == layout.held_key(mapping.key)
    assert item["version"] == 2


@given(
    st.lists(grants, max_size=3, unique_by=lambda each: each.profile_arn),
    st.none() | conditions,
    st.lists(applied_changes, max_size=3, unique_by=lambda each: each.at),
)
def test_a_record_comes_back_as_it_was(
    granted: list[Grant], condition: Condition | None, changes: list[AppliedChange]
) -> None:
    item: codec.Item = {"pk": "instance#1", "sk": "record"}
    item |= {layout.grant_name(each.profile_arn): codec.encode(each) for each in granted}
    item |= {layout.change_name(each): codec.encode(each) for each in changes}
    item |= {layout.CONDITION: codec.encode(condition)} if condition else {}
    found = codec.record_from(_stored(item))
    oldest_first = tuple(sorted(changes, key=lambda each: each.at))
    assert found == InstanceRecord({each.profile_arn: each for each in granted}, condition, oldest_first)
    assert found.legacy == frozenset()


def test_a_record_knows_how_often_it_was_written() -> None:
    assert codec.record_from(_stored({layout.WRITES: 7})).writes == 7
    assert codec.record_from({"pk": "instance#1", "sk": "record"}).writes == 0


def test_a_record_that_holds_nothing_is_empty() -> None:
    assert codec.record_from({"pk": "instance#1", "sk": "record"}) == InstanceRecord()


def test_grants_of_two_profiles_and_changes_of_two_moments_never_share_an_attribute() -> None:
    assert layout.grant_name(arn("web")) != layout.grant_name(arn("db")) != layout.grant_name(NO_PROFILE)
    change = AppliedChange(DesiredChange(key("a=1"), 1, arn("web")), NOW)
    later = replace(change, at=NOW + timedelta(microseconds=1))
    assert layout.change_name(change) < layout.change_name(later)


@given(pins)
def test_a_pin_comes_back_as_it_was(pin: Pin) -> None:
    item = _stored(pin_item(KEY, pin))
    assert codec.pin_from(item) == pin
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
    item = codec.timer_item(timer)
    assert codec.timer_from(_stored(item)) == timer
    assert item["sk"] < codec.timer_item(replace(timer, due=due + timedelta(microseconds=1)))["sk"]


@given(subjects, subjects)
def test_the_timers_of_two_subjects_never_meet(one: InstanceKey | MappingKey, other: InstanceKey | MappingKey) -> None:
    keys = [layout.timer_key(Timer(NOW, each)) for each in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


signed = st.tuples(tricky_keys, st.integers(1, 30))


@given(signed, signed)
def test_two_approvals_of_one_person_never_meet(one: tuple[MappingKey, int], other: tuple[MappingKey, int]) -> None:
    keys = [layout.approval_key("AIDA", *each) for each in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)
    longest = layout.approval_key("AIDA", MappingKey("生" * 128, "産" * 256), 1_000_000_000)
    assert len(longest[1].encode()) <= 1024, "what a sort key holds (DynamoDB, Service quotas)"


def test_the_timer_of_the_longest_tag_fits_into_a_key_and_comes_back_as_it_was() -> None:
    # DynamoDB: a sort key holds at most 1,024 bytes.
    longest = Timer(NOW, MappingKey("生" * 128, "産" * 256))
    item = codec.timer_item(longest)
    assert len(item["sk"].encode()) <= 1024
    assert codec.timer_from(_stored(item)) == longest
    other = replace(longest, subject=MappingKey("生" * 128, "産" * 255 + "生"))
    assert codec.timer_item(other)["sk"] != item["sk"]


# ---- what isn't what we wrote is never guessed ----

SPEC = codec.encode(published("a=1", "web").spec)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("enabled", "false"),
        ("enabled", Decimal(1)),
        ("role", Decimal(5)),
        ("role", None),
        ("priority", "high"),
        ("when_occupied", "ask"),
        ("when_unmatched", "forget"),
        ("when_unmatched", "restore"),
        ("require_tags", {"env": Decimal(1)}),
        ("require_tags", "env"),
        ("accounts", [Decimal(123456789012)]),
        ("expires_at", "tomorrow"),
        ("key", "a=1"),
        ("key", {"tag_key": "a"}),
    ],
)
def test_a_published_mapping_with_a_garbled_column_is_no_mapping(column: str, value: Any) -> None:
    item = {**codec.published_item(published("a=1", "web")), "spec": {**SPEC, column: value}}
    with pytest.raises((TypeError, ValueError, KeyError, AttributeError)):
        codec.published_from(item)


@pytest.mark.parametrize(
    "garbled",
    [
        {layout.grant_name(arn("web")): {"profile_arn": arn("web")}},
        {layout.grant_name(arn("web")): "web"},
        {layout.CONDITION: "garbled"},
        {layout.CONDITION: {"action": "Hope"}},
        {"change:2026-03-01T09:00:00.000000Z": {"at": "2026-03-01T09:00:00.000000Z"}},
        {"assignment:iip-assoc-1": {"role": "web"}},
        {"intent:1": {}},
    ],
    ids=repr,
)
def test_a_garbled_record_is_no_record(garbled: codec.Item) -> None:
    with pytest.raises((TypeError, ValueError, KeyError, AttributeError)):
        codec.record_from({"pk": "instance#1", "sk": "record", **garbled})


def test_what_a_later_edition_adds_is_passed_over() -> None:
    item = {**codec.encode(grant("web", "a=1")), "colour": "red"}
    assert codec.decode(Grant, item) == grant("web", "a=1")


@given(published_mappings)
def test_what_was_published_before_there_were_units_is_for_all(mapping: PublishedMapping) -> None:
    item = codec.published_item(mapping)
    spec = {name: value for name, value in item["spec"].items() if name != "units"}
    assert codec.published_from({**item, "spec": spec}) == replace(
        mapping, spec=replace(mapping.spec, units=frozenset())
    )


# ---- what the first edition wrote: each shape as its codec made it ----


first_mappings = published_mappings.map(
    lambda each: replace(each, remedy="", spec=replace(each.spec, units=frozenset()))
)


def _first_published(mapping: PublishedMapping, when_unmatched: str) -> codec.Item:
    pk, sk = layout.published_key(mapping.key)
    spec = mapping.spec
    return {
        "pk": pk,
        "sk": sk,
        "tag_key": spec.key.tag_key,
        "tag_value": spec.key.tag_value,
        "spec": {
            "role": spec.role,
            "instance_profile": spec.instance_profile,
            "priority": spec.priority,
            "enabled": spec.enabled,
            "when_occupied": spec.when_occupied.value,
            "when_unmatched": when_unmatched,
            "when_stopped": spec.when_stopped.value,
            "require_tags": dict(spec.require_tags),
            "accounts": sorted(spec.accounts),
            "regions": sorted(spec.regions),
            "expires_at": layout.timestamp(spec.expires_at) if spec.expires_at else "",
            "owner": spec.owner,
            "description": spec.description,
        },
        "revision": mapping.revision,
        "profile_arn": mapping.profile_arn,
        "suspended": mapping.suspended_because,
        "deleted": mapping.deleted,
        "profile_id": mapping.profile_id,
        "former_profile_ids": sorted(mapping.former_profile_ids),
    }


@given(first_mappings, st.sampled_from(["detach", "keep", "restore"]))
def test_a_mapping_that_the_first_edition_published_is_read_as_it_was_and_restore_as_detach(
    mapping: PublishedMapping, when_unmatched: str
) -> None:
    meant = WhenUnmatched.KEEP if when_unmatched == "keep" else WhenUnmatched.DETACH
    wanted = replace(mapping, spec=replace(mapping.spec, when_unmatched=meant))
    found = codec.published_from(_stored(_first_published(mapping, when_unmatched)))
    assert found == wanted
    assert (found.profile_id, found.former_profile_ids) == (mapping.profile_id, mapping.former_profile_ids)


def test_a_mapping_of_the_first_edition_that_knows_no_profile_ids_is_read() -> None:
    item = _first_published(published("workload=web", "web"), "detach")
    del item["profile_id"], item["former_profile_ids"]
    assert codec.published_from(_stored(item)) == published("workload=web", "web")
    assert codec.published_from(_stored(item)).former_profile_ids == frozenset()


def test_a_mapping_of_the_first_edition_that_was_refreshed_since_says_why_by_the_new_name() -> None:
    item = _first_published(published("workload=web", "web", suspended_because="its role is gone"), "detach")
    assert codec.published_from(_stored({**item, "suspended_because": ""})).suspended_because == ""


@given(first_mappings, moments, texts)
def test_a_revision_that_the_first_edition_held_is_read_as_it_was(
    mapping: PublishedMapping, at: datetime, by: str
) -> None:
    pk, sk = layout.held_key(mapping.key)
    item = {**_first_published(mapping, mapping.spec.when_unmatched.value), "pk": pk, "sk": sk}
    assert codec.held_from(_stored({**item, "at": layout.timestamp(at), "by": by})) == Held(mapping, at, by)


@given(pins)
def test_a_pin_that_the_first_edition_wrote_is_read_as_it_was(pin: Pin) -> None:
    pk, sk = layout.pin_key(KEY)
    item: codec.Item = {
        "pk": pk,
        "sk": sk,
        "role": pin.role,
        "profile_arn": pin.profile_arn,
        "expires_at": layout.timestamp(pin.expires_at) if pin.expires_at else "",
        "at": pin.at,
        "by": pin.by,
        "reason": pin.reason,
    }
    item |= {"expires": int((pin.expires_at + timedelta(days=7)).timestamp())} if pin.expires_at else {}
    assert codec.pin_from(_stored(item)) == pin


@given(subjects, moments)
def test_a_timer_that_the_first_edition_set_is_read_as_it_was(subject: InstanceKey | MappingKey, due: datetime) -> None:
    at = layout.timestamp(due)
    named: codec.Item = {"mapping": _text(subject)} if isinstance(subject, MappingKey) else {"instance": _text(subject)}
    assert codec.timer_from(_stored({"pk": "timers", "sk": f"{at}#x", "due": at, **named})) == Timer(due, subject)


def _text(value: InstanceKey | MappingKey) -> codec.Item:
    return {name: getattr(value, name) for name in type(value).__dataclass_fields__}


def _assignment(profile_arn: str, role: str, mapping: MappingKey, revision: int, association_id: str) -> codec.Item:
    """What the first edition wrote of an association that it had made, or (with no id) taken away for `NONE`."""
    return {
        "association_id": association_id,
        "profile_arn": profile_arn,
        "role": role,
        "mapping": _text(mapping),
        "revision": revision,
        "restore_profile_arn": "arn:before",
    }


def _intent(profile_arn: str, role: str, mapping: MappingKey, revision: int, at: datetime) -> codec.Item:
    """What the first edition wrote before a call."""
    return {
        "id": "0123456789abcdef",
        "action": "Replace" if profile_arn else "Detach",
        "target_profile_arn": profile_arn,
        "role": role,
        "mapping": _text(mapping),
        "revision": revision,
        "from_association_id": "iip-assoc-0",
        "at": layout.timestamp(at),
        "restore_profile_arn": "",
        "gives_back": False,
        "swap": False,
    }


def _first_record(**attributes: Any) -> codec.Item:
    return _stored({"pk": "instance#1", "sk": "record", **attributes})


FIRST_MADE = {
    "mapping": {"tag_key": "workload", "tag_value": "web"},
    "revision": 3,
    "profile_arn": arn("web"),
    "association_id": "iip-assoc-1",
    "at": "2026-03-01T09:00:00.000000Z",
}
FIRST_UNDONE = {
    "mapping": {"tag_key": "workload", "tag_value": "web"},
    "revision": 3,
    "profile_arn": arn("web"),
    "made_at": "2026-03-01T09:00:00.000000Z",
    "at": "2026-03-01T09:01:00.000000Z",
    "association_id": "iip-assoc-2",
    "left_profile_arn": "arn:theirs",
}
FIRST_STANDING = {
    "action": "Hold",
    "code": "occupied",
    "reason": "it carries somebody else's role",
    "since": "2026-03-01T09:00:00.000000Z",
    "fingerprint": "Hold|occupied",
    "loop_until": "",
    "parked": False,
}


def test_an_association_that_the_first_edition_made_is_explained_by_a_grant() -> None:
    mapping = key("workload=web")
    made = {"assignment:iip-assoc-1": _assignment(arn("web"), "web", mapping, 3, "iip-assoc-1")}
    found = codec.record_from(_first_record(**made))
    # It didn't say when: before all else.
    long_ago = datetime(1, 1, 1, tzinfo=UTC)
    assert found == InstanceRecord({arn("web"): Grant(arn("web"), "web", mapping, 3, long_ago)})
    assert found.legacy == made.keys()


def test_a_change_that_the_first_edition_was_about_to_make_is_explained_by_a_grant() -> None:
    begun = {"intent:0123456789abcdef": _intent(arn("web"), "web", key("workload=web"), 3, NOW)}
    found = codec.record_from(_first_record(**begun))
    assert found == InstanceRecord({arn("web"): Grant(arn("web"), "web", key("workload=web"), 3, NOW)})
    assert found.legacy == begun.keys()


def test_a_role_that_the_first_edition_took_away_for_none_is_explained_by_a_grant_of_none() -> None:
    took = _assignment("", "NONE", key("quarantine=*"), 2, "")
    found = codec.record_from(_first_record(**{"assignment:": took}))
    assert found.grants[NO_PROFILE].mapping == key("quarantine=*")
    assert found.legacy == {"assignment:"}


def test_what_the_first_edition_showed_and_counted_is_dropped_with_the_next_write() -> None:
    item = _first_record(
        standing=FIRST_STANDING, made=FIRST_MADE, **{"undone:2026-03-01T09:00:00.000000Z": FIRST_UNDONE}
    )
    found = codec.record_from(item)
    assert found == InstanceRecord()
    assert found.legacy == {"standing", "made", "undone:2026-03-01T09:00:00.000000Z"}


def test_a_grant_of_this_edition_counts_more_than_what_the_first_one_wrote_of_the_same_profile() -> None:
    former = _assignment(arn("web"), "web", key("team=old"), 1, "iip-assoc-1")
    ours = grant("web", "workload=web")
    item = _first_record(**{layout.grant_name(ours.profile_arn): codec.encode(ours), "assignment:iip-assoc-1": former})
    assert codec.record_from(item).grants == {arn("web"): ours}


legacy_arns = st.sampled_from([arn("web"), arn("db"), arn("api"), NO_PROFILE])


@given(
    st.lists(st.tuples(legacy_arns, texts, tricky_keys, st.integers(0, 9)), max_size=3, unique_by=lambda each: each[0]),
    st.lists(
        st.tuples(legacy_arns, texts, tricky_keys, st.integers(0, 9), moments),
        max_size=3,
        unique_by=lambda each: each[0],
    ),
)
def test_of_a_record_that_the_first_edition_wrote_every_profile_stays_explained(
    assigned: list[tuple[str, str, MappingKey, int]], meant: list[tuple[str, str, MappingKey, int, datetime]]
) -> None:
    item = {f"assignment:iip-assoc-{at}": _assignment(*each, f"iip-assoc-{at}") for at, each in enumerate(assigned)}
    item |= {f"intent:{at}": _intent(*each) for at, each in enumerate(meant)}
    found = codec.record_from(_first_record(**item))
    assert found.grants.keys() == {each[0] for each in (*assigned, *meant)}
    # What was meant is newer than what had been made.
    latest = {each[0]: each[:4] for each in assigned} | {each[0]: each[:4] for each in meant}
    assert {
        profile: (each.profile_arn, each.role, each.mapping, each.revision) for profile, each in found.grants.items()
    } == latest
    assert found.legacy == item.keys()


# ---- times and numbers ----


@given(times)
def test_a_time_comes_back_as_it_was(at: datetime) -> None:
    assert datetime.fromisoformat(layout.timestamp(at)) == at


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
    # It answers without an exponent, however many zeros that takes (boto3 issue 2500).
    item = codec.from_attributes({"n": {"N": answered}, "list": {"L": [{"N": answered}]}, "set": {"NS": [answered]}})
    assert item == {"n": number, "list": [number], "set": {number}}
    assert codec.from_attributes(codec.to_attributes(item)) == item


def test_a_time_is_written_in_utc() -> None:
    assert layout.timestamp(NOW.astimezone(timezone(timedelta(hours=5)))) == "2026-03-01T09:00:00.000000Z"
    assert datetime.fromisoformat("2026-03-01T09:00:00.000000Z") == datetime(2026, 3, 1, 9, tzinfo=UTC)


def test_an_expiry_comes_back_in_utc() -> None:
    local = published("a=1", "web", expires_at=NOW.astimezone(timezone(timedelta(hours=5))))
    back = codec.published_from(_stored(codec.published_item(local)))
    assert back.spec.expires_at == NOW
    assert back.spec.expires_at.tzinfo is UTC


# ---- what people write ----


def test_without_a_control_item_it_is_as_deployed() -> None:
    assert codec.control_from({}) == Control(mode=None, paused=False)
    assert codec.control_from({"mode": "observe"}) == Control(Mode.OBSERVE)
    assert codec.control_from({"mode": "", "paused": True}) == Control(None, paused=True)


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

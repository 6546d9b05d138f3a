"""The domain's values, made short for tests, and hypothesis strategies for them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from rolekeeper.instances.decide import Observation, asked_for
from rolekeeper.mappings.rows import NAME, PRIORITIES, REGION, UNIT, YEARS, mistakable
from rolekeeper.model.instance import (
    Association,
    AssociationState,
    Candidates,
    Decision,
    Grant,
    Instance,
    InstanceKey,
    InstanceRecord,
    InstanceState,
)
from rolekeeper.model.mapping import (
    NO_ROLE,
    RESERVED,
    Control,
    MappingKey,
    MappingSpec,
    PublishedMapping,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
)
from rolekeeper.settings import Ownership

PREFIX = "arn:aws:iam::123456789012:instance-profile/rolekeeper/"
OWNERSHIP, TAKES_OVER = Ownership(PREFIX), Ownership(PREFIX, take_over=True)
NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
KEY = InstanceKey("123456789012", "us-east-1", "i-0123456789abcdef0")


def arn(role: str) -> str:
    """The ARN of a role's profile under the path; none for `NONE`."""
    return "" if role == NO_ROLE else f"arn:aws:iam::123456789012:instance-profile/rolekeeper/{role}"


def key(tag: str) -> MappingKey:
    return MappingKey(*tag.split("=", 1))


def instance(state: str = "running", /, **tags: str) -> Instance:
    return Instance(KEY, InstanceState(state), tags)


def published(
    tag: str, role: str, *, suspended_because: str = "", deleted: bool = False, **columns: Any
) -> PublishedMapping:
    return PublishedMapping(MappingSpec(key(tag), role, **columns), 1, arn(role), suspended_because, deleted)


def association(role: str, *, id: str = "iip-assoc-1", state: str = "associated") -> Association:  # noqa: A002  # the field's own name
    return Association(id, KEY.id, arn(role), AssociationState(state))


def foreign(name: str = "theirs") -> Association:
    return Association("iip-assoc-1", KEY.id, foreign_arn(name), AssociationState.ASSOCIATED)


def foreign_arn(name: str = "theirs") -> str:
    return f"arn:aws:iam::{KEY.account}:instance-profile/{name}"


def grant(role: str, tag: str) -> Grant:
    """Our record of having asked for a role, a minute ago."""
    return Grant(arn(role), role, key(tag), 1, NOW - timedelta(minutes=1))


def decided(
    instance: Instance,
    association: Association | None,
    grant: Grant | None,
    candidates: Candidates,
    owner: PublishedMapping | None,
    ownership: Ownership,
) -> Decision:
    """What is decided of these, while nothing is withheld."""
    record, control = InstanceRecord(), Control()
    seen = Observation(KEY, NOW, instance, association, record, control, grant, candidates, owner)
    return asked_for(seen, ownership)


# ---- strategies: few roles, tags and priorities, so that they meet ----

roles = st.sampled_from(["web", "db", NO_ROLE])
tag_maps = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(["1", "2", ""]), max_size=3)
instances = st.builds(lambda state, tags: Instance(KEY, state, tags), st.sampled_from(InstanceState), tag_maps)
mapping_keys = st.builds(MappingKey, st.sampled_from(["a", "b", "c"]), st.sampled_from(["1", "2", "", "*"]))
times = st.datetimes(timezones=st.just(UTC))
specs = st.builds(
    MappingSpec,
    key=mapping_keys,
    role=roles,
    priority=st.integers(1, 3),
    enabled=st.booleans(),
    when_occupied=st.sampled_from(WhenOccupied),
    when_unmatched=st.sampled_from(WhenUnmatched),
    when_stopped=st.sampled_from(WhenStopped),
    allow_broad=st.booleans(),
    require_tags=tag_maps,
    accounts=st.sampled_from([frozenset[str](), frozenset({KEY.account}), frozenset({"999999999999"})]),
    regions=st.sampled_from([frozenset[str](), frozenset({KEY.region}), frozenset({"eu-west-1"})]),
    units=st.sampled_from([frozenset[str](), frozenset[str](), frozenset({"ou-a1b2-c3d4e5f6"})]),
    not_accounts=st.sampled_from([frozenset[str](), frozenset[str](), frozenset({KEY.account})]),
    not_units=st.sampled_from([frozenset[str](), frozenset({"ou-a1b2-c3d4e5f6"}), frozenset({"r-a1b2/*"})]),
    expires_at=st.none() | st.sampled_from([NOW - timedelta(days=1), NOW + timedelta(days=1)]),
)

# ---- mappings as rows can say them: any text that is read, not few values that meet ----

_tag_letters = st.characters(categories=["L", "N", "P", "S", "Zs"], codec="utf-8")
tag_texts = st.text(_tag_letters, min_size=1, max_size=40).filter(lambda text: not mistakable(text))
iam_names = st.from_regex(NAME, fullmatch=True).map(lambda text: text[:64]).filter(lambda text: text.upper() != NO_ROLE)
row_specs = st.builds(
    MappingSpec,
    key=st.builds(MappingKey, tag_texts.filter(lambda text: not text.startswith(RESERVED)), tag_texts | st.just("*")),
    role=iam_names | st.just(NO_ROLE),
    instance_profile=iam_names | st.just(""),
    priority=st.integers(*PRIORITIES),
    enabled=st.booleans(),
    when_occupied=st.sampled_from(WhenOccupied),
    when_unmatched=st.sampled_from(WhenUnmatched),
    when_stopped=st.sampled_from(WhenStopped),
    allow_broad=st.booleans(),
    require_tags=st.dictionaries(tag_texts, tag_texts | st.just(""), max_size=3),
    accounts=st.frozensets(st.from_regex("[0-8][0-9]{11}", fullmatch=True), max_size=3),
    regions=st.frozensets(st.from_regex(REGION, fullmatch=True), max_size=3),
    units=st.frozensets(st.from_regex(UNIT, fullmatch=True), max_size=3),
    # Never what the row is for too.
    not_accounts=st.frozensets(st.from_regex("9[0-9]{11}", fullmatch=True), max_size=3),
    not_units=st.frozensets(st.from_regex("ou-none-[a-z0-9]{8}(/[*])?", fullmatch=True), max_size=3),
    expires_at=st.none() | st.datetimes(datetime(YEARS[0], 1, 1), datetime(YEARS[1], 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001  # the strategy adds the zone
    owner=st.text(max_size=40),
    description=st.text(max_size=40),
)
mappings = st.builds(
    lambda spec, suspended, deleted: PublishedMapping(spec, 1, arn(spec.role), suspended, deleted),
    specs,
    st.sampled_from(["", "", "its role is gone"]),
    st.booleans(),
)
associations = st.builds(
    Association,
    st.just("iip-assoc-1"),
    st.just(KEY.id),
    st.sampled_from([arn("web"), arn("db"), arn("other"), foreign_arn()]),
    st.sampled_from([each for each in AssociationState if each is not AssociationState.DISASSOCIATED]),
)
grants = st.builds(
    lambda role, mapping: Grant(arn(role), role, mapping, 1, NOW), st.sampled_from(["web", "db", NO_ROLE]), mapping_keys
)
ownerships = st.sampled_from([OWNERSHIP, TAKES_OVER])

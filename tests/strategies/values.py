"""The domain's values, made short for tests, and hypothesis strategies for them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from rolekeeper.mappings.rows import ALARM, FAILURES, NAME, PRIORITIES, REGION, UNIT, YEARS, mistakable
from rolekeeper.model.instance import Association, AssociationState, Grant, Instance, InstanceKey, InstanceState
from rolekeeper.model.mapping import (
    NO_ROLE,
    RESERVED,
    MappingKey,
    MappingSpec,
    OnHalt,
    PublishedMapping,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
)
from rolekeeper.model.waves import AT_ONCE, PATTERN
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
    """A mapping as it is in effect for an account in no organizational unit."""
    spec = MappingSpec(key(tag), role, **columns)
    return PublishedMapping(spec, 1, arn(role), suspended_because, deleted, in_scope=not spec.units)


def association(role: str, *, id: str = "iip-assoc-1", state: str = "associated") -> Association:  # noqa: A002  # the field's own name
    return Association(id, KEY.id, arn(role), AssociationState(state))


def foreign(name: str = "theirs") -> Association:
    return Association("iip-assoc-1", KEY.id, foreign_arn(name), AssociationState.ASSOCIATED)


def foreign_arn(name: str = "theirs") -> str:
    return f"arn:aws:iam::{KEY.account}:instance-profile/{name}"


def grant(role: str, tag: str) -> Grant:
    """Our record of having asked for a role, a minute ago."""
    return Grant(arn(role), role, key(tag), 1, NOW - timedelta(minutes=1))


# ---- mappings as rows can say them: any text that is read, not few values that meet ----

_tag_letters = st.characters(categories=["L", "N", "P", "S", "Zs"], codec="utf-8")
tag_texts = st.text(_tag_letters, min_size=1, max_size=40).filter(lambda text: not mistakable(text))
times = st.datetimes(timezones=st.just(UTC))
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
    rollout=st.from_regex(PATTERN, fullmatch=True) | st.sampled_from(["", AT_ONCE]),
    halt_on=st.none() | st.frozensets(st.from_regex(ALARM, fullmatch=True), min_size=1, max_size=3),
    halt_after=st.none() | st.integers(0, FAILURES),
    on_halt=st.none() | st.sampled_from(OnHalt),
    expires_at=st.none() | st.datetimes(datetime(YEARS[0], 1, 1), datetime(YEARS[1], 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001  # the strategy adds the zone
    owner=st.text(max_size=40),
    description=st.text(max_size=40),
)

"""What may happen to an instance and to the mappings, drawn: few names that meet, so that rules touch each other.

What rows can say at length is in `strategies.values`.
"""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from rolekeeper.instances.decide import Observation, resolve
from rolekeeper.model.instance import (
    NO_PROFILE,
    Association,
    AssociationState,
    Grant,
    Instance,
    InstanceRecord,
    InstanceState,
)
from rolekeeper.model.mapping import (
    IGNORE_TAG,
    NO_ROLE,
    Control,
    MappingKey,
    MappingSpec,
    Pin,
    PublishedMapping,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
)
from rolekeeper.storage import layout
from strategies.values import KEY, NOW, arn, foreign_arn

# Of the state machines' examples the gate plays this part; `make soak` plays all of them.
PART = 1 if os.environ.get("ROLEKEEPER_SOAK") else 5


def at_most(examples: int, steps: int) -> settings:
    """The fixed profile of all tests, with this many machines of this many steps each."""
    return settings(max_examples=examples // PART, stateful_step_count=steps)


# ---- tags: two keys differ by case alone, one holds separators; a value may be empty, or a star ----

tag_keys = st.sampled_from(["team", "Team", "a#b=c"])
tag_values = st.sampled_from(["web", "web", "", "*"])
tag_maps = st.dictionaries(tag_keys, tag_values, min_size=1, max_size=3)
mapping_keys = st.builds(MappingKey, tag_keys, st.sampled_from(["*", "*", "web", ""]))

# ---- mappings: any one column, as an edit changes it ----

roles = st.sampled_from(["web", "db", NO_ROLE])
# How long from now something ends: past, this very moment, or to come.
AGES = (timedelta(days=-1), timedelta(0), timedelta(minutes=30), timedelta(hours=2))
ages = st.sampled_from(AGES)

accounts = st.sampled_from([frozenset[str](), frozenset({KEY.account}), frozenset({"999999999999"})])
regions = st.sampled_from([frozenset[str](), frozenset({KEY.region}), frozenset({"eu-west-1", "eu-west-2"})])

units = st.sampled_from([frozenset[str](), frozenset[str](), frozenset({"ou-a1b2-c3d4e5f6"})])
excluded = st.sampled_from([frozenset[str](), frozenset[str](), frozenset({KEY.account}), frozenset({"999999999999"})])

policies = st.fixed_dictionaries(
    {
        "when_occupied": st.sampled_from([WhenOccupied.REPLACE, WhenOccupied.REPLACE, WhenOccupied.KEEP]),
        "when_unmatched": st.sampled_from(WhenUnmatched),
        "when_stopped": st.sampled_from(WhenStopped),
    }
)
"""The columns that say what happens to an instance."""

scopes = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.integers(99, 101),
        "enabled": st.booleans(),
        "require_tags": st.dictionaries(tag_keys, tag_values, max_size=2),
        "accounts": accounts,
        "regions": regions,
        "units": units,
        "not_accounts": excluded,
        "not_units": units,
    },
)
"""The columns that say which instances a mapping is for."""


def _merged(parts: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


columns = st.tuples(policies, scopes).map(_merged)
"""Both."""

# ---- operators ----


def pins(now: datetime) -> st.SearchStrategy[Pin]:
    """A pin to a role or to none, that may have an end; one in five can't be read."""

    def pin(role: str, age: timedelta | None, *, clear: bool) -> Pin:
        until = None if age is None else now + age
        return Pin(role, arn(role), until) if clear else Pin("", unclear="the pin names no role")

    return st.builds(pin, roles, st.none() | ages, clear=st.sampled_from([True] * 4 + [False]))


@dataclass(frozen=True)
class Ignore:
    """What somebody wrote into `rolekeeper:ignore`; `until` is set where it names a moment."""

    text: str
    until: datetime | None = None


def ignores(now: datetime) -> st.SearchStrategy[Ignore]:
    """Values of `rolekeeper:ignore`: for good, not at all, until a moment, or what nobody can read."""
    until = ages.map(lambda age: Ignore(layout.timestamp(now + age), now + age))
    spoken = ["true", " True ", "false", "", "yes", "2026-12-31", "2026-12-31T18:00:00"]
    return until | st.sampled_from(spoken).map(Ignore)


# ---- what is published, and what a look at an instance sees ----


def _row(
    key: MappingKey, role: str, columns: dict[str, Any], ends: timedelta | None, *, other: str, gone: str
) -> PublishedMapping:
    spec = MappingSpec(key, role, **columns, expires_at=None if ends is None else NOW + ends)
    profile = "" if role == NO_ROLE else arn(other or role)
    why = "gone" if gone == "suspended" else ""
    return PublishedMapping(spec, 1, profile, why, deleted=gone == "deleted", in_scope=not spec.units)


rows = st.builds(
    _row,
    mapping_keys,
    roles,
    st.just({}) | columns,
    st.sampled_from([*[None] * 6, *AGES]),
    other=st.sampled_from(["", "", "other"]),
    gone=st.sampled_from([*[""] * 6, "deleted", "suspended"]),
)
"""Published mappings and tombstones."""

carried = st.builds(
    Association,
    st.just("iip-assoc-1"),
    st.just(KEY.id),
    st.sampled_from([arn("web"), arn("db"), arn("other"), foreign_arn()]),
    st.sampled_from([each for each in AssociationState if each is not AssociationState.DISASSOCIATED]),
)


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    """What a look may see of an instance that EC2 knows, and that has no record but perhaps a grant.

    A grant explains what it carries; its owner is the grant's own mapping, whose record may be lost.
    """
    ignore = draw(st.none() | st.none() | ignores(NOW))
    tags = {**draw(tag_maps), **({IGNORE_TAG: ignore.text} if ignore else {})}
    service = draw(st.sampled_from(["", "", "", "eks.amazonaws.com"]))
    instance = Instance(KEY, draw(st.sampled_from(InstanceState)), tags, service)
    association = draw(st.none() | carried)
    gave: Grant | None = None
    owner: PublishedMapping | None = None
    read = draw(st.lists(rows, max_size=4, unique_by=lambda row: row.key))
    if draw(st.booleans()):
        profile = association.profile_arn if association else NO_PROFILE
        gave = Grant(profile, draw(roles), draw(mapping_keys), 1, NOW)
        owner = next((row for row in read if row.key == gave.mapping), None)
    pin = draw(st.none() | st.none() | st.none() | pins(NOW))
    return Observation(
        key=KEY,
        asked_at=NOW,
        instance=instance,
        association=association,
        record=InstanceRecord({gave.profile_arn: gave} if gave else {}),
        control=Control(),
        grant=gave,
        candidates=resolve(instance, read, NOW, pin),
        owner=owner,
        published=tuple(read),
        pin=pin,
    )

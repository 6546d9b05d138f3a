"""What edits are said to change, at each moment, against what an instance loses and gets as time passes.

The second telling is `spec.over_time`: it plays time forward, over random rows that end, beside pins and tags that end.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st

from rolekeeper.instances.decide import Observation, resolve
from rolekeeper.mappings.impact import Edit, Impact
from rolekeeper.model.instance import NO_PROFILE, Action, Association, AssociationState, Grant, InstanceRecord
from rolekeeper.model.mapping import (
    IGNORE_TAG,
    PIN_TAG,
    Control,
    MappingKey,
    MappingSpec,
    Pin,
    PublishedMapping,
    WhenOccupied,
    WhenUnmatched,
)
from spec.over_time import Change, TimedInstance
from strategies.values import KEY, NOW, OWNERSHIP, TAKES_OVER, arn, foreign_arn, instance, published

type Edits = Sequence[tuple[int, PublishedMapping]]
type Said = tuple[datetime, Action]

PINNED = PublishedMapping(MappingSpec(MappingKey(PIN_TAG, ""), ""), 0, "")
TAGS = {"a": "1", "b": "1", "c": "1"}
MINUTES = [NOW + timedelta(minutes=minute) for minute in range(1, 9)]


def impact_of(mapping: PublishedMapping, on: TimedInstance, at: datetime) -> Impact:
    """What the code under test says that an edit does to an instance."""
    tagged = instance(**on.tags)
    of_tags = tuple(one for one in on.mappings.values() if one.key.matches(on.tags))
    grants = {name: Grant(name, "", key, 1, NOW) for name, key in on.grants.items()}
    grant = grants.get(on.carries or NO_PROFILE)
    observed = Observation(
        key=KEY,
        asked_at=at,
        instance=tagged,
        association=Association("iip-assoc-1", KEY.id, on.carries, AssociationState.ASSOCIATED) if on.carries else None,
        record=InstanceRecord(grants),
        control=Control(),
        grant=grant,
        candidates=resolve(tagged, of_tags, at, pin=on.pin),
        owner={PINNED.key: PINNED, **on.mappings}.get(grant.mapping) if grant else None,
        published=of_tags,
        pin=on.pin,
    )
    impact = Impact()
    impact.add(observed, Edit(on.mappings.get(mapping.key), mapping, at), TAKES_OVER if on.take_over else OWNERSHIP)
    return impact


def said(impact: Impact, at: datetime) -> list[Said]:
    """When an edit is said to change the instance, and how."""
    now = {Action.ATTACH: impact.attach, Action.REPLACE: impact.replace, Action.DETACH: impact.detach}
    later = [(moment.at, action) for moment, counts in impact.later.items() for action in counts.elements()]
    return sorted([*((at, action) for action, number in now.items() if number), *later])


rows = st.builds(
    lambda key, role, deleted, **columns: PublishedMapping(
        MappingSpec(key, role, **columns), 1, arn(role), deleted=deleted
    ),
    st.sampled_from([MappingKey("a", "1"), MappingKey("b", "1"), MappingKey("b", "*"), MappingKey("c", "1")]),
    st.sampled_from(["web", "db", "NONE"]),
    st.sampled_from([False, False, False, True]),
    priority=st.integers(1, 4),
    enabled=st.sampled_from([True, True, True, False]),
    when_occupied=st.sampled_from(WhenOccupied),
    when_unmatched=st.sampled_from(WhenUnmatched),
    require_tags=st.sampled_from([{}, {}, {"c": "1"}, {"c": "2"}]),
    expires_at=st.none() | st.sampled_from(MINUTES),
)
until = st.none() | st.sampled_from(MINUTES)
instances = st.builds(
    lambda ignored_until, **fields: TimedInstance(
        TAGS | ({IGNORE_TAG: ignored_until.isoformat()} if ignored_until else {}), **fields
    ),
    st.none() | until,
    carries=st.sampled_from(["", "", foreign_arn(), arn("other")]),
    pin=st.none() | st.builds(lambda role, until: Pin(role, arn(role), until), st.sampled_from(["web", "NONE"]), until),
    take_over=st.booleans(),
)
# Edits half a minute before or after something may end.
edits = st.lists(st.tuples(st.integers(0, 6), rows), min_size=1, max_size=6).map(
    lambda drawn: sorted(drawn, key=lambda edit: edit[0])
)
FROM_BEHIND = [
    (0, published("a=1", "web", priority=1, expires_at=MINUTES[4])),
    (1, published("b=1", "NONE", priority=2)),
]
# The first keeps its role; the second gives the same one, and takes it when it expires too.
HANDED_OVER = [
    (0, published("a=1", "web", priority=1, expires_at=MINUTES[2], when_unmatched=WhenUnmatched.KEEP)),
    (1, published("b=1", "web", priority=2, expires_at=MINUTES[4])),
]


def played(
    began: TimedInstance, drawn: Edits
) -> Iterator[tuple[TimedInstance, PublishedMapping, datetime, list[Change]]]:
    """Each edit, the instance that it meets, and what changed at the edit before and since."""
    now, change = NOW, None
    met, _ = began.at(now)
    for minute, mapping in drawn:
        at = max(now, NOW + timedelta(minutes=minute, seconds=30))
        met, changes = met.play(now, at)
        yield met, mapping, at, [*([change] if change else []), *changes]
        met, change = met.edited(mapping).at(at)
        now = at


@given(instances, edits)
@example(TimedInstance(TAGS), FROM_BEHIND)
@example(TimedInstance(TAGS), HANDED_OVER)
@settings(max_examples=300)
def test_an_edit_is_said_to_change_what_it_changes_at_each_moment_and_nothing_else(
    began: TimedInstance, drawn: Edits
) -> None:
    for met, mapping, at, _ in played(began, drawn):
        expected, impact = met.brought_by(mapping, at, MINUTES[-1]), impact_of(mapping, met, at)
        assert said(impact, at) == sorted((change.at, change.action) for change in expected)
        assert sorted(impact.moves.elements()) == sorted(change.move for change in expected), "their permissions count"
        assert impact.changes == bool(expected), "the instance counts once"


def known(shown: Said, change: Change) -> bool:
    """Whether a change was said to come at its moment, or sooner, as an edit may delay it."""
    at, action = shown
    return at <= change.at and action is change.action


@given(instances, edits)
@example(TimedInstance(TAGS), FROM_BEHIND)
@settings(max_examples=300)
def test_an_instance_loses_and_gets_nothing_that_no_edit_was_said_to_change(began: TimedInstance, drawn: Edits) -> None:
    _, unasked = began.at(NOW)[0].play(NOW, MINUTES[-1])
    shown = [(change.at, change.action) for change in unasked]
    # The last one changes nothing, and comes when all is over.
    for met, mapping, at, happened in played(began, [*drawn, (len(MINUTES), published("z=1", "web"))]):
        assert [change for change in happened if not any(known(one, change) for one in shown)] == []
        shown += said(impact_of(mapping, met, at), at)

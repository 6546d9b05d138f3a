"""What edits are said to change, at each moment, against what an instance loses and gets as time passes.

The second telling is `spec.carries`: it plays time forward, over random rows that end, beside pins and tags that end.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from spec.carries import Situation, pinned, wanted
from strategies.values import KEY, NOW, OWNERSHIP, TAKES_OVER, arn, foreign_arn, instance, published

PINNED = MappingKey(PIN_TAG, KEY.id)
TAGS = {"a": "1", "b": "1", "c": "1"}
type Edits = Sequence[tuple[int, PublishedMapping]]
MINUTES = [NOW + timedelta(minutes=each) for each in range(1, 9)]


@dataclass(frozen=True)
class Change:
    """What an instance loses or gets at a moment; `quarantines`: by a mapping to `NONE`."""

    at: datetime
    action: Action
    move: tuple[str, str]
    quarantines: bool

    def covers(self, other: "Change") -> bool:
        """Whether this tells of the other, which may come later: a quarantine is more than a role given up."""
        same = (self.action, self.move[1]) == (other.action, other.move[1])
        return same and self.at <= other.at and self.quarantines >= other.quarantines


@dataclass(frozen=True)
class World:
    """An instance with the tags `TAGS`, and what governs it."""

    carries: str = ""
    pin: Pin | None = None
    ignored_until: datetime | None = None
    take_over: bool = False
    mappings: Mapping[MappingKey, PublishedMapping] = field(default_factory=dict)
    grants: Mapping[str, MappingKey] = field(default_factory=dict)

    @property
    def tags(self) -> dict[str, str]:
        return TAGS | ({IGNORE_TAG: self.ignored_until.isoformat()} if self.ignored_until else {})

    def moments(self, since: datetime, until: datetime) -> list[datetime]:
        """When something ends between two moments."""
        ends = [self.ignored_until, self.pin.expires_at if self.pin else None]
        ends += [each.spec.expires_at for each in self.mappings.values()]
        return sorted({each for each in ends if each and since < each <= until})

    def at(self, now: datetime) -> tuple["World", Change | None]:
        """The same once Rolekeeper has finished, and what it changed, as the second telling has it."""
        seen = Situation(
            self.tags, self.carries, list(self.mappings.values()), now, self.grants, self.pin, take_over=self.take_over
        )
        to = wanted(seen).carries
        if to == self.carries:
            return self, None
        best = min((each.key for each in seen.ranked.best), default=None)
        giver = PINNED if pinned(self.pin, now) else best
        action = Action.DETACH if not to else Action.REPLACE if self.carries else Action.ATTACH
        grants = {name: key for name, key in self.grants.items() if name != to} | ({to: giver} if giver else {})
        change = Change(
            now, action, (self.carries, to), quarantines=action is Action.DETACH and giver == best is not None
        )
        return replace(self, carries=to, grants=grants), change

    def play(self, since: datetime, until: datetime) -> tuple["World", list[Change]]:
        world, changes = self, list[Change]()
        for moment in world.moments(since, until):
            world, change = world.at(moment)
            changes += [change] if change else []
        return world, changes

    def edited(self, mapping: PublishedMapping) -> "World":
        return replace(self, mappings={**self.mappings, mapping.key: mapping})

    def impact(self, mapping: PublishedMapping, at: datetime) -> Impact:
        """What the code under test says of an edit."""
        tagged = instance(**self.tags)
        of_tags = tuple(each for each in self.mappings.values() if each.key.matches(self.tags))
        association = Association("iip-assoc-1", KEY.id, self.carries, AssociationState.ASSOCIATED)
        grants = {name: Grant(name, "", key, 1, NOW) for name, key in self.grants.items()}
        grant = grants.get(self.carries or NO_PROFILE)
        over = {PINNED: PublishedMapping(MappingSpec(PINNED, ""), 0, "")}
        observed = Observation(
            key=KEY,
            asked_at=at,
            instance=tagged,
            association=association if self.carries else None,
            record=InstanceRecord(grants),
            control=Control(),
            grant=grant,
            candidates=resolve(tagged, of_tags, at, pin=self.pin),
            owner={**over, **self.mappings}.get(grant.mapping) if grant else None,
            published=of_tags,
            pin=self.pin,
        )
        impact = Impact()
        ownership = TAKES_OVER if self.take_over else OWNERSHIP
        impact.add(observed, Edit(self.mappings.get(mapping.key), mapping, at), ownership)
        return impact


type Said = tuple[datetime, Action]


def said(impact: Impact, at: datetime) -> list[Said]:
    """When an edit is said to change the instance, and how."""
    now = {Action.ATTACH: impact.attach, Action.REPLACE: impact.replace, Action.DETACH: impact.detach}
    later = [(moment.at, action) for moment, counts in impact.later.items() for action in counts.elements()]
    return sorted([*((at, action) for action, number in now.items() if number), *later])


def foretold(world: World, mapping: PublishedMapping, at: datetime) -> list[Change]:
    """What an edit brings, by playing on with it and without it."""
    courses = []
    for before in (world, world.edited(mapping)):
        after, now = before.at(at)
        _, later = after.play(at, MINUTES[-1])
        courses.append([*([now] if now else []), *later])
    without, with_it = courses
    beyond = list[Change]()
    for change in with_it:
        if known := next((each for each in without if each.covers(change)), None):
            without.remove(known)
        else:
            beyond.append(change)
    return beyond


keys = st.sampled_from([MappingKey("a", "1"), MappingKey("b", "1"), MappingKey("b", "*"), MappingKey("c", "1")])
rows = st.builds(
    lambda key, role, deleted, **columns: PublishedMapping(
        MappingSpec(key, role, **columns), 1, arn(role), deleted=deleted
    ),
    keys,
    st.sampled_from(["web", "db", "NONE"]),
    st.sampled_from([False, False, False, True]),
    priority=st.integers(1, 4),
    enabled=st.sampled_from([True, True, True, False]),
    when_occupied=st.sampled_from(WhenOccupied),
    when_unmatched=st.sampled_from(WhenUnmatched),
    require_tags=st.sampled_from([{}, {}, {"c": "1"}, {"c": "2"}]),
    expires_at=st.none() | st.sampled_from(MINUTES),
)
pins = st.none() | st.builds(
    lambda role, until: Pin(role, arn(role), until),
    st.sampled_from(["web", "db", "NONE"]),
    st.none() | st.sampled_from(MINUTES),
)
worlds = st.builds(
    World,
    carries=st.sampled_from(["", "", foreign_arn(), arn("other")]),
    pin=pins,
    ignored_until=st.none() | st.none() | st.sampled_from(MINUTES),
    take_over=st.booleans(),
)
# Edits half a minute before or after something may end.
edits = st.lists(st.tuples(st.integers(0, 6), rows), min_size=1, max_size=6).map(
    lambda drawn: sorted(drawn, key=lambda each: each[0])
)

FROM_BEHIND = [
    (0, published("a=1", "web", priority=1, expires_at=MINUTES[4])),
    (1, published("b=1", "NONE", priority=2)),
]


def played(world: World, drawn: Edits) -> Iterator[tuple[World, PublishedMapping, datetime, list[Change]]]:
    """Each edit, the instance that it meets, and what changed at the edit before and since."""
    world, _ = world.at(NOW)
    now, change = NOW, None
    for minute, mapping in drawn:
        at = max(now, NOW + timedelta(minutes=minute, seconds=30))
        world, changes = world.play(now, at)
        yield world, mapping, at, [*([change] if change else []), *changes]
        world, change = world.edited(mapping).at(at)
        now = at


@given(worlds, edits)
@example(World(), FROM_BEHIND)
@settings(max_examples=300)
def test_an_edit_is_said_to_change_what_it_changes_at_each_moment_and_nothing_else(world: World, drawn: Edits) -> None:
    for before, mapping, at, _ in played(world, drawn):
        expected, impact = foretold(before, mapping, at), before.impact(mapping, at)
        assert said(impact, at) == sorted((each.at, each.action) for each in expected)
        assert sorted(impact.moves.elements()) == sorted(each.move for each in expected), "their permissions count"
        assert impact.changes == bool(expected), "the instance counts once"


def known(shown: Said, change: Change) -> bool:
    """Whether a change was said to come at its moment, or sooner, as an edit may delay it."""
    at, action = shown
    return at <= change.at and action is change.action


@given(worlds, edits)
@example(World(), FROM_BEHIND)
@settings(max_examples=300)
def test_an_instance_loses_and_gets_nothing_that_no_edit_was_said_to_change(world: World, drawn: Edits) -> None:
    _, unasked = world.at(NOW)[0].play(NOW, MINUTES[-1])
    shown = [(each.at, each.action) for each in unasked]
    # The last one changes nothing, and comes when all is over.
    for before, mapping, at, happened in played(world, [*drawn, (len(MINUTES), published("z=1", "web"))]):
        assert [each for each in happened if not any(known(one, each) for one in shown)] == []
        shown += said(before.impact(mapping, at), at)

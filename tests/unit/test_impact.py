"""What a revision would change: each kind of instance, and that what is foretold is what happens."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.account import ACCOUNT, MUTATIONS, PATH, REGION, FakeAccount, new_account
from fixtures.mappings import Desk
from fixtures.state_table import STATE_TABLE
from rolekeeper.instances.decide import resolve
from rolekeeper.mappings.impact import Edit, Impact, Moment
from rolekeeper.mappings.rows import COLUMNS
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import (
    Action,
    AssociationState,
    InstanceState,
)
from rolekeeper.model.mapping import Pin, PublishedMapping, WhenUnmatched
from rolekeeper.settings import Limits
from rolekeeper.storage.layout import to_attributes
from rolekeeper_cli.uses.pins import pin_item
from spec.carries import Situation as Told
from spec.carries import wanted
from spec.decision_laws import View
from strategies.situations import KEEPS, QUARANTINE, SITUATIONS, TAKES, TAKES_ALL, WEB, Situation
from strategies.values import NOW, arn, association, published

# ---- each situation, with each edit of its mapping ----


def row(role: str, **columns: Any) -> PublishedMapping:
    return published("workload=web", role, **columns)


ROWS = {
    "web": WEB,
    "db": row("db"),
    "no role": QUARANTINE,
    "web, in the place of a foreign role": TAKES,
    "no role, in the place of a foreign role": TAKES_ALL,
    "web, and keep": KEEPS,
    "db, first": row("db", priority=1),
    "db, last": row("db", priority=300),
    "web, disabled": row("web", enabled=False),
    "web, disabled, and keep": row("web", enabled=False, when_unmatched=WhenUnmatched.KEEP),
    "web, for another region": row("web", regions=frozenset({"eu-west-1"})),
    "web, expired": row("web", expires_at=NOW - timedelta(hours=1)),
    "deleted": replace(WEB, deleted=True),
    "deleted, and keep": replace(KEEPS, deleted=True),
    "db, which can't be used": replace(row("db"), suspended_because="its role is gone"),
}
PUBLISHED = ("db", "no role", "web, and keep", "db, last", "deleted")
BESIDE = [None, published("env=prod", "prod", priority=50), published("env=prod", "prod", priority=200)]


def edits(story: str) -> Iterator[tuple[Situation, PublishedMapping | None]]:
    """Yield the instance with each row that may be published for it, beside others."""
    plain = SITUATIONS[story]
    owner = plain.owner if plain.owner and plain.owner.key == WEB.key else None
    yield plain, plain.governs or owner
    for present, beside in product(
        (None, *map(ROWS.get, PUBLISHED)), BESIDE if plain.governs and not plain.rival else ()
    ):
        yield plain.but(governs=present, rival=beside, tags={**plain.tags, "workload": "web"}), present


def seen_with(situation: Situation, mapping: PublishedMapping | None) -> Told:
    """Return what is known of the instance once EC2 is done and it runs, with this in the place of its row."""
    leaving = situation.carries and situation.carries.state is AssociationState.DISASSOCIATING
    settled = situation.but(state="running", carries=None if leaving else situation.carries)
    seen = settled.observation
    assert seen.instance
    read = [*(each for each in seen.published if each.key != WEB.key), *([mapping] if mapping else ())]
    owner = mapping if seen.grant and seen.grant.mapping == WEB.key else seen.owner
    candidates = resolve(seen.instance, read, NOW, seen.pin)
    return View(replace(seen, published=tuple(read), candidates=candidates, owner=owner), situation.ownership).situation


def foretold(situation: Situation, present: PublishedMapping | None, candidate: PublishedMapping) -> str:
    """Return how an edit changes an instance beyond what comes anyway, as `replace web db`, by `spec.carries` alone."""
    was, would = (seen_with(situation, each) for each in (present, replace(candidate, suspended_because="")))
    before, after = wanted(was), wanted(would)
    # Once the record that is missing is repaired, the edit takes the role away.
    end = "" if after.shows == "mapping-missing" != before.shows else after.carries
    quarantines = would.ranked.quarantines and not was.ranked.quarantines and not situation.pin
    comes_anyway = end == before.carries and (end or not quarantines)
    if situation.state == "terminated" or end == would.carries or comes_anyway:
        return ""
    names = [each.rpartition("/")[2] for each in (would.carries, end) if each]
    ours = any(each.key == candidate.key for each in would.ranked.best) and not situation.pin
    ours |= not would.ranked.best and would.grants.get(would.carries) == candidate.key
    if candidate.suspended_because and ours:
        # It takes a role away once its own can be used, which nobody knows; nothing else is taken.
        return "" if not would.carries else "replace" if end else "detach"
    return " ".join(["attach" if not would.carries else "replace" if end else "detach", *names])


def counts(impact: Impact) -> str:
    """`replace web db`, say."""
    if not impact.changes:
        return ""
    moves = [*impact.moves.items()] or [(("", ""), 1)]
    ((move, number),) = moves
    assert number == impact.changes == 1
    action = next(name for name in ("attach", "replace", "detach") if getattr(impact, name))
    assert impact.takes == (action != "attach")
    return " ".join((action, *(each.rsplit("/", maxsplit=1)[-1] for each in move if each)))


def impact_on(situation: Situation, present: PublishedMapping | None, candidate: PublishedMapping) -> Impact:
    impact = Impact()
    impact.add(situation.observation, Edit(present, candidate, NOW), situation.ownership)
    return impact


@pytest.mark.parametrize("story", [story for story, found in SITUATIONS.items() if found.state])
def test_an_edit_changes_what_is_foretold(story: str) -> None:
    for situation, present in edits(story):
        for name, candidate in ROWS.items():
            found = impact_on(situation, present, candidate)
            if not found.later:
                assert counts(found) == foretold(situation, present, candidate), (present, situation.rival, name)


def test_a_row_that_cant_be_used_yet_leaves_its_instances_to_the_next_one_when_it_expires() -> None:
    ends = NOW + timedelta(hours=1)
    candidate = row("web", suspended_because="its role is gone", expires_at=ends)
    bare = SITUATIONS["nothing, and no role"].but(rival=published("env=prod", "db", priority=200))
    impact = impact_on(bare, QUARANTINE, candidate)
    assert (impact.attach, impact.changes, impact.later) == (0, 1, {Moment(ends): Counter({Action.ATTACH: 1})})
    assert impact.moves == {("", arn("db")): 1}


def test_moves_are_bounded_and_counts_are_not() -> None:
    other, impact = SITUATIONS["another role, another actor's"], Impact()

    def add(name: str) -> None:
        seen = other.but(carries=association(name)).observation
        impact.add(seen, Edit(None, WEB, NOW), other.ownership)

    for number in range(100):
        add(f"other-{number}")
    assert impact.replace == impact.moves.total() == 100
    assert len(impact.moves) == 51
    assert impact.moves["", arn("web")] == 50, "of the others, what they would get"
    add("other-0")
    assert impact.moves[arn("other-0"), arn("web")] == 2


# ---- what is counted of any column's edit is what happens, now and when the row ends ----

SOON, LATER = timedelta(minutes=30), timedelta(hours=2)


def choices(at: datetime) -> dict[str, list[Any]]:
    """What each column may say; None leaves it out. A new column has to come in here."""
    return {
        "role": ["web", "api", "NONE"],
        "instance_profile": [None, "second"],
        "priority": [None, 50, 300],
        "enabled": [None, False],
        "when_occupied": [None, "replace"],
        "when_unmatched": [None, "keep"],
        "when_stopped": ["swap", None],
        "allow_broad": [None, True],
        "require_tags": [None, {"env": "prod"}],
        "accounts": [None, {ACCOUNT}, {"999999999999"}],
        "not_accounts": [None, {ACCOUNT}, {"999999999999"}],
        "regions": [None, {REGION}, {"eu-west-1"}],
        "units": [None, {"ou-a1b2-c3d4e5f6"}],
        "not_units": [None, {"r-a1b2/*"}],
        "expires_at": [None, *(f"{at + each:%Y-%m-%dT%H:%M:%SZ}" for each in (-LATER, SOON, LATER))],
        "owner": [None, "ada"],
        "description": [None, "the front end"],
    }


def some_fleet(desk: Desk, **columns: Any) -> list[str]:
    """A row `app=x` beside another, and instances of each kind: each carries what they say."""
    world = desk.world
    desk.usable("web", "api", "other")
    second = desk.iam.create_instance_profile(InstanceProfileName="second", Path=PATH)["InstanceProfile"]
    desk.iam.add_role_to_instance_profile(InstanceProfileName="second", RoleName="web")
    world.profile_ids["second"] = second["InstanceProfileId"]
    world.profile("second")
    desk.edit("tier=*", role="other", priority=200)
    desk.edit("app=x", **{"role": "web"} | {name: value for name, value in columns.items() if value is not None})
    fleet = [
        world.running(app="x"),
        world.running(app="x", env="prod"),
        world.stopped(app="x"),
        world.running(app="x", tier="1", env="prod"),
        world.running(profile="theirs", app="x"),
        world.running(app="x", **{"rolekeeper:ignore": "true"}),
        world.truth.launch(tags={"app": "x"}, operator="eks.amazonaws.com").id,
        untagged := world.running(app="x", env="prod"),
        pinned := world.running(app="x"),
        world.running(tier="1"),
    ]
    pin = pin_item(world.key(pinned), Pin("other", world.profiles["other"].arn))
    world.dynamodb.put_item(TableName=STATE_TABLE, Item=to_attributes(pin))
    for each in fleet:
        world.reconcile(each)
    world.untag(untagged, "app")
    world.reconcile(untagged)
    return fleet


def changed(world: FakeAccount, fleet: Sequence[str]) -> tuple[int, ...]:
    """How many instances of a fleet are attached, replaced and detached once all of it is looked at."""
    world.quiet()
    for each in fleet:
        if str(world.truth.instance(each).state) == InstanceState.STOPPED:
            world.start(each)
        world.reconcile(each)
    done = Counter(world.mutations)
    return tuple(done[each] for each in MUTATIONS)


def counted(effect: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(effect.get(each, 0)) for each in ("attach", "replace", "detach"))


def test_every_column_has_its_choices() -> None:
    assert list(choices(NOW)) == [each.name for each in COLUMNS]


@pytest.mark.parametrize("column", choices(NOW))
@settings(max_examples=4)
@given(data=st.data())
def test_what_is_counted_of_any_edit_is_what_happens_now_and_when_the_row_ends(
    column: str, data: st.DataObject
) -> None:
    with new_account() as world:
        desk = Desk(world)
        world.take_over = data.draw(st.booleans())
        said = choices(world.clock.now())
        former = said | {"expires_at": [None, said["expires_at"][-1]]}
        before = {each: former[each][0] for each in said}
        for each in data.draw(st.sets(st.sampled_from(sorted(said)), max_size=2)) | {column}:
            before[each] = data.draw(st.sampled_from(former[each]))
        fleet = some_fleet(desk, **before)
        changed(world, fleet)
        assert changed(world, fleet) == (0, 0, 0), "it is at rest"

        others = [each for each in said[column] if each != before[column]]
        after = {**before, column: data.draw(st.sampled_from(others))}
        desk.limits = Limits(0, 0)
        verdict = desk.edit("app=x", **{name: value for name, value in after.items() if value is not None})
        foretold = desk.history("app=x")[-1].get("effect", {}) if verdict.status in PUBLISHES else {}
        assert (verdict.status is Status.HELD) == (any(counted(foretold)) or "later" in foretold), verdict
        if verdict.held:
            assert desk.approve("app=x", verdict.held).status in PUBLISHES
        assert changed(world, fleet) == counted(foretold), (before, after)

        ends = datetime.fromisoformat(after["expires_at"] or "1970-01-01T00:00:00Z")
        if ends > world.clock.now() and verdict.status in PUBLISHES and before["expires_at"] != after["expires_at"]:
            world.wait((ends - world.clock.now()).total_seconds() + 1)
            (later,) = foretold.get("later", [{}])
            assert changed(world, fleet) == counted(later), (before, after)


PUBLISHES = {Status.PUBLISHED, Status.HELD, Status.EXPIRED}

"""What a revision would change: each kind of instance, and that what is foretold is what happens."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.account import ACCOUNT, MUTATIONS, PATH, REGION, FakeAccount, new_account
from fixtures.mappings import Desk
from fixtures.state_table import STATE_TABLE
from rolekeeper.mappings.impact import Edit, Impact, Moment
from rolekeeper.mappings.rows import COLUMNS
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Action, InstanceState
from rolekeeper.model.mapping import Pin, PublishedMapping
from rolekeeper.settings import Limits
from rolekeeper.storage.layout import to_attributes
from rolekeeper_cli.act.pins import pin_item
from strategies.situations import QUARANTINE, SITUATIONS, WEB, Situation
from strategies.values import NOW, arn, association, published

# ---- each situation, with each edit of its mapping ----


def row(role: str, **columns: Any) -> PublishedMapping:
    return published("workload=web", role, **columns)


def impact_on(situation: Situation, present: PublishedMapping | None, candidate: PublishedMapping) -> Impact:
    impact = Impact()
    impact.add(situation.observation, Edit(present, candidate, NOW), situation.ownership)
    return impact


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
        "rollout": [None, "at once"],
        "halt_on": [None, {"errors"}],
        "halt_after": [None, 2],
        "on_halt": [None, "rollback"],
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

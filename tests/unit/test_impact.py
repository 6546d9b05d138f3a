"""What a revision would change: each kind of instance, and that what is foretold is what happens."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.account import ACCOUNT, MUTATIONS, PATH, REGION, FakeAccount, new_account
from fixtures.mappings import Desk
from fixtures.state_table import STATE_TABLE
from rolekeeper.instances.decide import Observation
from rolekeeper.mappings.impact import Edit, Impact, Moment
from rolekeeper.mappings.rows import COLUMNS
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import (
    NO_PROFILE,
    Action,
    Association,
    AssociationState,
    Grant,
    Instance,
    InstanceRecord,
    InstanceState,
)
from rolekeeper.model.mapping import Control, Pin, PublishedMapping, WhenOccupied, WhenUnmatched
from rolekeeper.settings import Limits, Ownership
from rolekeeper.storage.layout import to_attributes
from rolekeeper_cli.uses.pins import pin_item
from strategies.values import NOW, OWNERSHIP, TAKES_OVER, arn, association, foreign, grant, instance, published

TAG = "a=1"


@dataclass(frozen=True)
class Story:
    """An instance that carries `a=1`, what is published for it and would be, and what else there is."""

    present: PublishedMapping | None
    candidate: PublishedMapping
    association: Association | None = None
    grants: tuple[Grant, ...] = ()
    others: tuple[PublishedMapping, ...] = ()
    owner: PublishedMapping | None = None
    instance: Instance = field(default_factory=lambda: instance(a="1"))
    pin: Pin | None = None
    ownership: Ownership = OWNERSHIP

    def add_to(self, impact: Impact) -> Impact:
        """Count the instance."""
        published = [*self.others, self.present] if self.present else list(self.others)
        record = InstanceRecord({each.profile_arn: each for each in self.grants})
        observed = Observation(
            key=self.instance.key,
            asked_at=NOW,
            instance=self.instance,
            association=self.association,
            record=record,
            control=Control(),
            grant=record.grants.get(self.association.profile_arn if self.association else NO_PROFILE),
            owner=self.owner,
            published=tuple(published),
            pin=self.pin,
        )
        impact.add(observed, Edit(self.present, self.candidate, NOW), self.ownership)
        return impact


def counts(impact: Impact) -> str:
    """`replace web db`, say."""
    if not impact.changes:
        return ""
    ((move, number),) = impact.moves.items()
    assert number == impact.changes == 1
    action = next(name for name in ("attach", "replace", "detach") if getattr(impact, name))
    assert impact.takes == (action != "attach")
    names = (each.rsplit("/", maxsplit=1)[-1] for each in move if each)
    return " ".join((action, *names))


WEB, DB, QUARANTINE = published(TAG, "web"), published(TAG, "db"), published(TAG, "NONE")
CARRIES_WEB, GAVE = association("web"), (grant("web", TAG),)
GONE = replace(WEB, deleted=True)
TAKES = published(TAG, "web", when_occupied=WhenOccupied.REPLACE)
NONE_TAKES = published(TAG, "NONE", when_occupied=WhenOccupied.REPLACE)
LEAVING = association("web", state="disassociating")
TOOK = (grant("NONE", TAG),)


def row(role: str, **columns: Any) -> PublishedMapping:
    return published(TAG, role, **columns)


def carried(present: PublishedMapping, candidate: PublishedMapping, **more: Any) -> Story:
    """An instance that carries `web`, as the mapping gave it."""
    return Story(present, candidate, CARRIES_WEB, GAVE, **more)


STORIES: dict[str, tuple[Story, str]] = {
    "a first mapping": (Story(None, WEB), "attach web"),
    "another role": (carried(WEB, DB), "replace web db"),
    "no role": (carried(WEB, QUARANTINE), "detach web"),
    "another description": (carried(WEB, row("web", description="x")), ""),
    "deleted": (carried(WEB, GONE), "detach web"),
    "disabled": (carried(WEB, row("web", enabled=False)), "detach web"),
    "expired": (carried(WEB, row("web", expires_at=NOW - timedelta(hours=1))), "detach web"),
    "for another region": (carried(WEB, row("web", regions=frozenset({"eu-west-1"}))), "detach web"),
    "deleted, and says keep": (
        carried(
            row("web", when_unmatched=WhenUnmatched.KEEP), row("web", when_unmatched=WhenUnmatched.KEEP, deleted=True)
        ),
        "",
    ),
    "no longer matches, and no longer says keep": (
        carried(row("web", enabled=False, when_unmatched=WhenUnmatched.KEEP), row("web", enabled=False)),
        "detach web",
    ),
    "deleted, and another takes over": (
        carried(WEB, GONE, others=(published("a=*", "db", priority=200),)),
        "replace web db",
    ),
    "the row is back before its instances gave it up": (carried(GONE, WEB), ""),
    "a managed role that another actor attached": (Story(None, WEB, association("db")), "replace db web"),
    "the right role, that another actor attached": (Story(None, WEB, CARRIES_WEB), ""),
    "deleted, and nobody can explain the role": (Story(WEB, GONE, CARRIES_WEB), ""),
    "a foreign role": (Story(None, WEB, foreign()), ""),
    "a foreign role, and the row alone says replace": (Story(None, TAKES, foreign()), ""),
    "a foreign role, and the stack alone says replace": (Story(None, WEB, foreign(), ownership=TAKES_OVER), ""),
    "a foreign role, taken over": (Story(None, TAKES, foreign(), ownership=TAKES_OVER), "replace theirs web"),
    "a foreign role, taken away": (Story(QUARANTINE, NONE_TAKES, foreign(), ownership=TAKES_OVER), "detach theirs"),
    "a foreign role, taken over already by what is published": (
        Story(TAKES, replace(TAKES, revision=2), foreign(), ownership=TAKES_OVER),
        "",
    ),
    "a foreign role, no longer taken over": (Story(TAKES, WEB, foreign(), ownership=TAKES_OVER), ""),
    "a foreign role, and no mapping any longer": (Story(TAKES, GONE, foreign(), ownership=TAKES_OVER), ""),
    "outranked": (carried(WEB, DB, others=(published("a=*", "web", priority=1),)), ""),
    "no longer outranked": (
        Story(
            row("db", priority=200),
            row("db", priority=1),
            CARRIES_WEB,
            (grant("web", "a=*"),),
            others=(published("a=*", "web"),),
        ),
        "replace web db",
    ),
    "what would happen anyway": (carried(DB, row("db", owner="x")), ""),
    "no longer what would happen anyway": (carried(DB, WEB), ""),
    "a published role that can't be used": (
        carried(row("web", suspended_because="its role is gone"), DB),
        "replace web db",
    ),
    "a stopped instance": (carried(WEB, DB, instance=instance("stopped", a="1")), "replace web db"),
    "a pending instance": (Story(None, WEB, instance=instance("pending", a="1")), "attach web"),
    "an instance that ends": (carried(WEB, DB, instance=instance("shutting-down", a="1")), ""),
    "an instance that an AWS service manages": (
        carried(WEB, DB, instance=replace(instance(a="1"), managed_by="eks.amazonaws.com")),
        "",
    ),
    "still attaching": (Story(WEB, DB, association("web", state="associating"), GAVE), "replace web db"),
    "still detaching": (Story(WEB, DB, LEAVING, GAVE), "attach db"),
    "still detaching a foreign role": (
        Story(WEB, DB, replace(foreign(), state=AssociationState.DISASSOCIATING)),
        "attach db",
    ),
    "still detaching, for a quarantine whose record is missing": (
        Story(None, WEB, LEAVING, (*GAVE, grant("NONE", "a=*"))),
        "",
    ),
    "a quarantine that is lifted": (
        Story(
            row("NONE", priority=1), row("NONE", priority=1, deleted=True), None, TOOK, others=(published("a=*", "db"),)
        ),
        "attach db",
    ),
    "pinned": (carried(WEB, DB, pin=Pin("web", arn("web"))), ""),
    "pinned until some time ago": (
        carried(WEB, DB, pin=Pin("web", arn("web"), expires_at=NOW - timedelta(hours=1))),
        "replace web db",
    ),
    "ignored": (carried(WEB, DB, instance=instance(**{"a": "1", "rolekeeper:ignore": "true"})), ""),
    "ignored, and quarantined": (
        carried(WEB, row("NONE"), instance=instance(**{"a": "1", "rolekeeper:ignore": "x"})),
        "detach web",
    ),
    "ignored, and no longer quarantined": (
        Story(row("NONE"), WEB, None, TOOK, instance=instance(**{"a": "1", "rolekeeper:ignore": "true"})),
        "",
    ),
    "another mapping's record is missing, and the candidate no longer keeps its role": (
        Story(WEB, GONE, CARRIES_WEB, (grant("web", "b=1"),)),
        "detach web",
    ),
    "another mapping's record was missing before": (
        Story(row("web", enabled=False), GONE, CARRIES_WEB, (grant("web", "b=1"),)),
        "",
    ),
    "a role of another mapping whose tag went, and which says keep": (
        Story(
            WEB,
            GONE,
            CARRIES_WEB,
            (grant("web", "b=1"),),
            owner=published("b=1", "web", when_unmatched=WhenUnmatched.KEEP),
        ),
        "",
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_an_edit_does_to_an_instance(name: str) -> None:
    story, expected = STORIES[name]
    assert counts(story.add_to(Impact())) == expected


def test_a_row_that_cant_be_used_yet_leaves_its_instances_to_the_next_one_when_it_expires() -> None:
    ends = NOW + timedelta(hours=1)
    candidate = row("web", suspended_because="its role is gone", expires_at=ends)
    story = Story(row("NONE"), candidate, others=(published("a=*", "db", priority=200),))
    impact = story.add_to(Impact())
    assert (impact.attach, impact.changes, impact.later) == (0, 1, {Moment(ends): Counter({Action.ATTACH: 1})})
    assert impact.moves == {("", arn("db")): 1}


def test_moves_are_bounded_and_counts_are_not() -> None:
    impact = Impact()
    for number in range(100):
        Story(None, WEB, association(f"other-{number}")).add_to(impact)
    assert impact.replace == impact.moves.total() == 100
    assert len(impact.moves) == 51
    assert impact.moves["", arn("web")] == 50, "of the others, what they would get"
    Story(None, WEB, association("other-0")).add_to(impact)
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

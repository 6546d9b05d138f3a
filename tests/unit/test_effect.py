"""What a revision would change: each kind of instance, and that what is foretold is what happens."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.codec import pin_item, to_attributes
from rolekeeper.effect import MOVES, Effect, Move
from rolekeeper.limits import Limits
from rolekeeper.model import (
    Action,
    Assignment,
    Association,
    Control,
    Instance,
    InstanceRecord,
    InstanceState,
    Pin,
    PublishedMapping,
    WhenOccupied,
    WhenUnmatched,
)
from rolekeeper.observe import Observation
from rolekeeper.resolve import resolve
from support import values
from support.desk import Desk
from support.state_table import STATE_TABLE
from support.values import NOW, arn, assignment, association, instance, intent, published
from support.world import MUTATIONS, World

TAG = "a=1"


@dataclass(frozen=True)
class Story:
    """An instance that carries `a=1`, what is served for it and would be, and what else there is."""

    served: PublishedMapping | None
    candidate: PublishedMapping
    association: Association | None = None
    assignment: Assignment | None = None
    others: tuple[PublishedMapping, ...] = ()
    owner: PublishedMapping | None = None
    instance: Instance = field(default_factory=lambda: instance(a="1"))
    record: InstanceRecord = field(default_factory=InstanceRecord)
    pin: Pin | None = None

    def add_to(self, effect: Effect) -> Effect:
        """Count the instance."""
        published = [*self.others, self.served] if self.served else list(self.others)
        observed = Observation(
            key=self.instance.key,
            asked_at=NOW,
            instance=self.instance,
            association=self.association,
            recorded=True,
            record=self.record,
            control=Control(),
            assignment=self.assignment,
            owner=self.owner,
            published=tuple(published),
            pin=self.pin,
        )
        before = resolve(self.instance, published, NOW, self.pin)
        after = resolve(self.instance, [*self.others, self.candidate], NOW, self.pin)
        effect.count(observed, (self.served, before), (self.candidate, after))
        return effect


def counts(effect: Effect) -> str:
    """`replace web db`, say."""
    if not effect.changes:
        return ""
    ((move, number),) = effect.moves.items()
    assert number == effect.changes == 1
    action = next(name for name in ("attach", "replace", "detach") if getattr(effect, name))
    names = (each.rsplit("/", maxsplit=1)[-1] for each in (move.before, move.after) if each)
    return " ".join((action, *names))


WEB, DB = published(TAG, "web"), published(TAG, "db")
CARRIES_WEB, OURS = association("web"), assignment("web", TAG)
GONE = replace(WEB, deleted=True)

STORIES: dict[str, tuple[Story, str]] = {
    "a first mapping": (Story(None, WEB), "attach web"),
    "another role": (Story(WEB, DB, CARRIES_WEB, OURS), "replace web db"),
    "no role": (Story(WEB, published(TAG, "NONE"), CARRIES_WEB, OURS), "detach web"),
    "another description": (Story(WEB, published(TAG, "web", description="x"), CARRIES_WEB, OURS), ""),
    "deleted": (Story(WEB, GONE, CARRIES_WEB, OURS), "detach web"),
    "disabled": (Story(WEB, published(TAG, "web", enabled=False), CARRIES_WEB, OURS), "detach web"),
    "expired": (
        Story(WEB, published(TAG, "web", expires_at=NOW - timedelta(hours=1)), CARRIES_WEB, OURS),
        "detach web",
    ),
    "for another region": (
        Story(WEB, published(TAG, "web", regions=frozenset({"eu-west-1"})), CARRIES_WEB, OURS),
        "detach web",
    ),
    "deleted, and says keep": (
        Story(
            published(TAG, "web", when_unmatched=WhenUnmatched.KEEP),
            published(TAG, "web", when_unmatched=WhenUnmatched.KEEP, deleted=True),
            CARRIES_WEB,
            OURS,
        ),
        "",
    ),
    "deleted, and gives back": (
        Story(
            published(TAG, "web", when_unmatched=WhenUnmatched.RESTORE),
            published(TAG, "web", when_unmatched=WhenUnmatched.RESTORE, deleted=True),
            CARRIES_WEB,
            assignment("web", TAG, restore=arn("theirs")),
        ),
        "replace web theirs",
    ),
    "deleted, and another takes over": (
        Story(WEB, GONE, CARRIES_WEB, OURS, others=(published("a=*", "db", priority=200),)),
        "replace web db",
    ),
    "the row is back before its instances gave it up": (Story(GONE, WEB, CARRIES_WEB, OURS), ""),
    "somebody else's role": (Story(None, WEB, association("theirs")), "replace theirs web"),
    "somebody else's role, kept": (
        Story(None, published(TAG, "web", when_occupied=WhenOccupied.KEEP), CARRIES_WEB),
        "",
    ),
    "outranked": (Story(WEB, DB, CARRIES_WEB, OURS, others=(published("a=*", "web", priority=1),)), ""),
    "no longer outranked": (
        Story(
            published(TAG, "db", priority=200),
            published(TAG, "db", priority=1),
            CARRIES_WEB,
            assignment("web", "a=*"),
            others=(published("a=*", "web"),),
        ),
        "replace web db",
    ),
    "what would happen anyway": (Story(DB, published(TAG, "db", owner="x"), CARRIES_WEB, OURS), ""),
    "no longer what would happen anyway": (Story(DB, WEB, CARRIES_WEB, OURS), ""),
    "a served role that can't be used": (
        Story(published(TAG, "web", suspended="its role is gone"), DB, CARRIES_WEB, OURS),
        "replace web db",
    ),
    "a stopped instance": (
        Story(WEB, DB, CARRIES_WEB, OURS, instance=instance("stopped", a="1")),
        "replace web db",
    ),
    "a pending instance": (Story(None, WEB, instance=instance("pending", a="1")), "attach web"),
    "an instance that ends": (Story(WEB, DB, CARRIES_WEB, OURS, instance=instance("shutting-down", a="1")), ""),
    "still attaching": (Story(WEB, DB, association("web", state="associating"), OURS), "replace web db"),
    "still detaching": (Story(WEB, DB, association("web", state="disassociating"), OURS), "attach db"),
    "still detaching, for quarantine": (
        Story(
            published(TAG, "NONE"),
            published(TAG, "NONE", enabled=False),
            association("theirs", state="disassociating"),
            record=InstanceRecord(
                assignments={"": assignment("NONE", TAG, id="", restore=arn("theirs"))},
            ),
        ),
        "",
    ),
    "pinned": (Story(WEB, DB, CARRIES_WEB, OURS, pin=Pin("web", arn("web"))), ""),
    "pinned until some time ago": (
        Story(WEB, DB, CARRIES_WEB, OURS, pin=Pin("web", arn("web"), expires_at=NOW - timedelta(hours=1))),
        "replace web db",
    ),
    "ignored": (
        Story(WEB, DB, CARRIES_WEB, OURS, instance=instance(**{"a": "1", "rolekeeper:ignore": "true"})),
        "",
    ),
    "another mapping's record is missing, and ours no longer keeps it": (
        Story(WEB, GONE, CARRIES_WEB, assignment("web", "b=1")),
        "detach web",
    ),
    "another mapping's record was missing before": (
        Story(published(TAG, "web", enabled=False), GONE, CARRIES_WEB, assignment("web", "b=1")),
        "",
    ),
    "a role of another mapping whose tag went, and which says keep": (
        Story(
            WEB,
            GONE,
            CARRIES_WEB,
            assignment("web", "b=1"),
            owner=published("b=1", "web", when_unmatched=WhenUnmatched.KEEP),
        ),
        "",
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_an_edit_does_to_an_instance(name: str) -> None:
    story, expected = STORIES[name]
    assert counts(story.add_to(Effect())) == expected


def test_a_quarantine_that_is_lifted_gives_back() -> None:
    served = published(TAG, "NONE", when_unmatched=WhenUnmatched.RESTORE)
    taken = assignment("NONE", TAG, id="", restore=arn("theirs"))
    story = Story(served, replace(served, deleted=True), None, taken, record=InstanceRecord(assignments={"": taken}))
    assert counts(story.add_to(Effect())) == "attach theirs"


def test_an_association_that_only_an_intent_proves_is_ours() -> None:
    made = intent(Action.ATTACH, "web", ago=60)
    record = InstanceRecord(intents={made.id: made})
    ours = Assignment("iip-assoc-1", arn("web"), "web", made.mapping, 1)
    story = Story(published("workload=web", "web"), published("workload=web", "web", deleted=True), CARRIES_WEB, ours)
    story = replace(story, instance=instance(workload="web"), record=record)
    assert counts(story.add_to(Effect())) == "detach web"


def test_moves_are_bounded_and_counts_are_not() -> None:
    effect = Effect()
    for number in range(2 * MOVES):
        Story(None, WEB, association(f"theirs-{number}")).add_to(effect)
    assert (effect.replace, len(effect.moves)) == (2 * MOVES, MOVES)
    Story(None, WEB, association("theirs-0")).add_to(effect)
    assert effect.moves[Move(arn("theirs-0"), arn("web"))] == 2


@given(
    served=values.mappings,
    others=st.lists(values.mappings, max_size=3, unique_by=lambda each: each.key),
    running=values.instances,
    attached=st.none() | values.associations,
    ours=st.none() | values.assignments,
)
def test_the_same_again_changes_nothing(
    served: PublishedMapping,
    others: list[PublishedMapping],
    running: Instance,
    attached: Association | None,
    ours: Assignment | None,
) -> None:
    rest = tuple(each for each in others if each.key != served.key)
    story = Story(served, replace(served, revision=2), attached, ours if attached else None, rest, instance=running)
    assert story.add_to(Effect()).changes == 0


# ---- what is foretold is what happens ----

EDITS: dict[str, dict[str, Any] | None] = {
    "another role": {"role": "api"},
    "no role": {"role": "NONE"},
    "disabled": {"role": "web", "enabled": False, "when_unmatched": "restore"},
    "keeps theirs": {"role": "api", "when_occupied": "keep"},
    "needs another tag": {"role": "api", "require_tags": {"env": "prod"}},
    "outranked by another": {"role": "api", "priority": 300},
    "deleted": None,
}


@pytest.mark.parametrize("name", EDITS)
def test_what_is_foretold_of_an_edit_is_what_happens(world: World, name: str) -> None:
    desk = Desk(world)
    for role in ("web", "api", "other"):
        desk.role(role)
        world.profile(role)
    desk.edit("app=x", role="web", when_unmatched="restore", when_stopped="swap")
    desk.edit("tier=*", role="other", priority=200)
    fleet = [
        world.running(app="x"),
        world.running(app="x", env="prod"),
        world.stopped(app="x"),
        world.running(app="x", tier="1"),
        world.running(profile="theirs", app="x"),
        world.running(app="x", **{"rolekeeper:ignore": "true"}),
        pinned := world.running(app="x"),
        world.running(tier="1"),
    ]
    pin = pin_item(world.key(pinned), Pin("other", world.profiles["other"].arn))
    world.dynamodb.put_item(TableName=STATE_TABLE, Item=to_attributes(pin))
    for each in fleet:
        world.reconcile(each)
    fleet += [late := world.running(app="x"), by_hand := world.running(app="x")]
    world.attach_by_hand(by_hand, "theirs")
    desk.limits = Limits(0, 0)
    columns = EDITS[name]
    if columns is None:
        desk.delete("app=x")
    else:
        desk.put("app=x", **{"when_unmatched": "restore", "when_stopped": "swap"} | columns)
    held = desk.publish("app=x").held
    foretold = desk.history("app=x")[-1]["effect"]
    # What the present revision does meanwhile isn't the edit's doing.
    carried = {each: world.carries(each) for each in fleet}
    assert held, carried

    desk.approve("app=x", held)
    world.quiet()
    for each in fleet:
        if str(world.truth.instance(each).state) == InstanceState.STOPPED:
            world.start(each)
        world.reconcile(each)

    done = Counter(each for each in world.calls.made if each in MUTATIONS)
    assert tuple(done[each] for each in MUTATIONS) == tuple(
        int(foretold[each]) for each in ("attach", "replace", "detach")
    ), (carried, {each: world.carries(each) for each in fleet}, late)

"""Somebody else who keeps undoing our change: we stop, say so, and name them."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from rolekeeper.contest import ContestRule
from rolekeeper.model import Undone
from support.values import NOW
from support.world import World, new_world


@pytest.fixture
def world() -> Iterator[World]:
    with new_world() as made:
        made.publish("workload=web", "web")
        yield made


@pytest.fixture
def instance(world: World) -> str:
    made = world.running(workload="web")
    world.reconcile(made)
    assert world.carries(made) == "web"
    return made


def undo(world: World, instance: str, *, minutes: float = 1, by: str = "theirs") -> str:
    """Somebody else puts another role there; Rolekeeper looks. Returns what the instance then carries."""
    world.later(minutes=minutes)
    if by:
        world.attach_by_hand(instance, by)
    else:
        present = world.association(instance)
        assert present
        world.truth.disassociate(present.id)
    world.wait(1)
    world.reconcile(instance)
    return world.carries(instance)


def code(world: World, instance: str) -> str:
    standing = world.record(instance).standing
    return standing.code if standing else ""


def test_the_third_time_within_half_an_hour_we_stop_and_name_them(world: World, instance: str) -> None:
    assert undo(world, instance) == "web"
    assert undo(world, instance) == "web"
    world.quiet()
    assert undo(world, instance) == "theirs"
    assert world.mutations == []
    theirs = world.association(instance)
    assert theirs
    entry = world.history(instance)[-1]["decision"]
    assert entry["code"] == "contested"
    assert entry["reason"].startswith("somebody else undid this change 3 times, leaving iip-assoc-")
    assert theirs.id in entry["reason"]
    assert entry["reason"].count("iip-assoc-") == 3
    assert world.metrics.counts["Contested"] == 1
    assert world.events.kinds == ["Role Change Refused"]


def test_a_detach_by_somebody_else_undoes_as_well(world: World, instance: str) -> None:
    assert [undo(world, instance, by="") for _ in range(3)] == ["web", "web", ""]
    assert code(world, instance) == "contested"


def test_it_stays_so_and_costs_no_write_however_often_we_look_and_however_long(world: World, instance: str) -> None:
    for _ in range(3):
        undo(world, instance)
    for _ in range(3):
        world.later(hours=5)
        world.quiet()
        world.reconcile(instance)
        assert world.mutations == []
        assert world.writes == []
    assert code(world, instance) == "contested"


def test_seldom_undone_it_is_done_again_for_ever(world: World, instance: str) -> None:
    assert [undo(world, instance, minutes=16) for _ in range(6)] == ["web"] * 6
    assert len(world.record(instance).undone) <= 2


def test_how_often_and_within_how_long_can_be_set(world: World, instance: str) -> None:
    world.contest = ContestRule(after=2, within=timedelta(minutes=90))
    assert [undo(world, instance, minutes=60) for _ in range(2)] == ["web", "theirs"]


def test_when_more_is_allowed_later_it_is_done_again_and_recorded(world: World, instance: str) -> None:
    for _ in range(3):
        undo(world, instance)
    assert code(world, instance) == "contested"
    world.contest = ContestRule(after=5)
    world.later(hours=1)
    assert world.reconcile(instance).error is None
    assert world.owns(instance)
    assert world.record(instance).undone == ()


def test_people_who_change_their_own_wish_contest_nothing(world: World, instance: str) -> None:
    world.publish("workload=db", "db")
    for _ in range(4):
        for workload in ("db", "web"):
            world.tag(instance, workload=workload)
            world.reconcile(instance)
            assert world.carries(instance) == workload
    for _ in range(4):
        world.untag(instance, "workload")
        world.reconcile(instance)
        world.tag(instance, workload="web")
        world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.record(instance).undone == ()


def test_a_new_revision_of_the_mapping_ends_it(world: World, instance: str) -> None:
    for _ in range(3):
        undo(world, instance)
    world.publish("workload=web", "web", description="agreed with the other team")
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.record(instance).undone == ()


def test_taking_the_tag_away_and_back_ends_it(world: World, instance: str) -> None:
    for _ in range(3):
        undo(world, instance)
    world.untag(instance, "workload")
    world.reconcile(instance)
    world.tag(instance, workload="web")
    world.reconcile(instance)
    assert world.carries(instance) == "web"


def test_when_they_put_our_role_there_themselves_it_is_converged(world: World, instance: str) -> None:
    for _ in range(3):
        undo(world, instance)
    world.attach_by_hand(instance, "web")
    world.wait(1)
    world.reconcile(instance)
    assert code(world, instance) == ""


def test_a_quarantine_is_contested_too(world: World) -> None:
    world.publish("quarantine=yes", "NONE", priority=1)
    instance = world.running(quarantine="yes", profile="theirs")
    world.reconcile(instance)
    assert [undo(world, instance) for _ in range(3)] == ["", "", "theirs"]
    assert code(world, instance) == "contested"


def test_two_of_ours_at_once_are_nobody_else(world: World, instance: str) -> None:
    """While an intent is open, what is seen may be our own doing."""
    world.attach_by_hand(instance, "theirs")
    world.wait(1)
    world.calls.before("ReplaceIamInstanceProfileAssociation", lambda: world.reconcile(instance))
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert len(world.record(instance).undone) <= 1


def undone(*minutes: float) -> list[Undone]:
    wish = None
    return [
        Undone(wish, NOW + timedelta(minutes=each), NOW + timedelta(minutes=each))  # type: ignore[arg-type]  # not looked at
        for each in minutes
    ]


@pytest.mark.parametrize(
    ("minutes", "contested"),
    [((), False), ((0, 1), False), ((0, 15, 30), True), ((0, 15, 31), False), ((0, 100, 110, 120), True)],
)
def test_so_many_within_so_long_is_too_often(minutes: tuple[float, ...], *, contested: bool) -> None:
    assert ContestRule().contested(undone(*minutes)) is contested

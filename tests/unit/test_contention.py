"""Another actor keeps reverting our change: we stop, and say so."""

from dataclasses import replace
from datetime import timedelta

import pytest

from fixtures.account import FakeAccount
from rolekeeper.model.instance import AppliedChange, DesiredChange, InstanceRecord
from rolekeeper.settings import ContentionRule
from strategies.values import NOW, arn, key

pytestmark = pytest.mark.world(published={"workload=web": "web"}, profiles=["other"])


@pytest.fixture
def instance(world: FakeAccount) -> str:
    return world.converged(workload="web")


def revert(world: FakeAccount, instance: str, *, minutes: float = 1, to: str = "other") -> str:
    """Another actor puts another role there, or none; Rolekeeper looks. Returns what the instance then carries."""
    world.later(minutes=minutes)
    if to:
        world.attach_by_hand(instance, to)
    else:
        world.detach_by_hand(instance)
    world.wait(1)
    world.reconcile(instance)
    return world.carries(instance)


def test_the_fourth_time_within_half_an_hour_we_stop_and_say_how_it_goes_on(world: FakeAccount, instance: str) -> None:
    assert revert(world, instance) == "web"
    assert revert(world, instance) == "web"
    world.quiet()
    assert revert(world, instance) == "other"
    assert world.mutations == []
    entry = world.history(instance)[-1]["decision"]
    assert (entry["action"], entry["code"]) == ("Hold", "contested")
    assert entry["reason"].startswith(
        "another actor reverted this change 3 times; it is left alone until its mapping, "
    )
    assert entry["reason"].endswith("It would replace: workload=web gives it role web")
    assert world.metrics.counts["Contested"] == 1
    assert world.events.kinds == ["Role Change Refused"]


# ---- the rule itself ----

WEB = DesiredChange(key("workload=web"), 1, arn("web"))


def repeated(changes: tuple[AppliedChange, ...], desired: DesiredChange | None) -> tuple[AppliedChange, ...]:
    """The oldest first, as they are remembered."""
    return InstanceRecord(changes=changes).repeated(desired)[::-1]


def changes(*minutes: float, desired: DesiredChange = WEB) -> tuple[AppliedChange, ...]:
    return tuple(AppliedChange(desired, NOW + timedelta(minutes=each)) for each in minutes)


@pytest.mark.parametrize("minutes", [(0, 15, 30), (0, 100, 110, 120), (0, 10, 20, 200)])
def test_a_change_that_was_made_three_times_within_half_an_hour_is_contended(minutes: tuple[float, ...]) -> None:
    assert ContentionRule().contended(changes(*minutes)[::-1])


@pytest.mark.parametrize("minutes", [(), (0, 1), (0, 15, 31)])
def test_one_that_was_made_less_often_isnt(minutes: tuple[float, ...]) -> None:
    assert not ContentionRule().contended(changes(*minutes)[::-1])


OTHERS = {
    "another mapping": replace(WEB, mapping=key("workload=db")),
    "another revision": replace(WEB, revision=2),
    "another profile": replace(WEB, profile_arn=arn("db")),
    "no profile": replace(WEB, profile_arn=""),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_a_change_of_ours_in_between_starts_the_count_anew(other: DesiredChange) -> None:
    before, after = changes(0, 1), changes(3, 4)
    assert repeated((*before, *changes(2, desired=other), *after), WEB) == after
    assert repeated((*before, *changes(2, desired=other)), WEB) == ()
    assert repeated(before, WEB) == before
    assert repeated((), WEB) == repeated(before, None) == ()

"""Killing the function anywhere, answers that get lost, and two reconciles at once: it converges all the same.

Every scenario is played once for each step (before and after each call to AWS) at which something can happen to it.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from fixtures.account import MUTATIONS, FakeAccount, KilledError, kill, refusing
from rolekeeper.aws.errors import RetryableError
from rolekeeper.model.instance import NO_PROFILE
from rolekeeper.model.mapping import WhenOccupied, WhenStopped
from rolekeeper.settings import Limits
from spec.carries import wanted
from spec.decision_laws import View
from strategies.situations import SITUATIONS, Situation

ATTACH, REPLACE, DETACH = MUTATIONS
LAST_STEP = 200

EVERY_CHANGE = (
    "nothing, and a role",
    "nothing, and a role, while it is stopped",
    "nothing after a quarantine, and a role",
    "another role, ours",
    "another role, to be swapped",
    "another role, to be swapped while it is stopped",
    "a foreign role, and both words",
    "a foreign role, to be swapped while it is stopped",
    "a managed role, and no role",
    "a foreign role, no role, and both words",
    "a role whose mapping no longer matches",
)
every_change = pytest.mark.parametrize("situation", [SITUATIONS[story] for story in EVERY_CHANGE], ids=EVERY_CHANGE)
ATTACHES, REPLACES, DETACHES = (SITUATIONS[EVERY_CHANGE[number]] for number in (0, 3, 10))


@pytest.fixture(autouse=True)
def mappings(world: FakeAccount) -> None:
    """What stories tag an instance with, beside the mappings of its situation."""
    world.limits = Limits(10_000, 100)  # every story here happens within one window
    world.publish("tier=db", "db", priority=2)
    world.publish("urgent=*", "urgent", priority=1, when_occupied=WhenOccupied.REPLACE, when_stopped=WhenStopped.SWAP)


def _begin(world: FakeAccount, situation: Situation) -> str:
    instance = situation.arrange(world)
    world.wait(1)
    world.quiet()
    return instance


def _has_converged(world: FakeAccount, situation: Situation, instance: str) -> None:
    """EC2 shows what it should, a grant explains it, the instance shows nothing, and nothing is left to do."""
    should = wanted(View(situation.observation, situation.ownership).situation).carries
    assert world.carries(instance) == should.rpartition("/")[2]
    assert world.shows(instance) == ""
    record = world.record(instance)
    assert len(record.changes) <= _outcomes(world, instance).count("done"), "what another actor may revert is known"
    if should:
        assert world.granted(instance)
        assert NO_PROFILE not in record.grants
    elif situation.code == "quarantined":
        assert NO_PROFILE in record.grants
    world.quiet()
    world.reconcile(instance)
    assert not world.mutations
    assert not world.writes


def _disturbed(world: FakeAccount, instance: str, step: int, disturb: Callable[[], object]) -> bool:
    """Reconcile, with something happening at a step; returns whether it came to that step."""
    world.calls.at_step(step, disturb)
    with suppress(KilledError):
        world.reconcile(instance)
    return world.calls.reached()


def _outcomes(world: FakeAccount, instance: str) -> list[str]:
    return [each["outcome"] for each in world.history(instance)]


def _killed(world: FakeAccount, instance: str) -> None:
    with pytest.raises(KilledError):
        world.reconcile(instance)


@every_change
def test_undisturbed_it_takes_as_few_mutations_as_can_be(world: FakeAccount, situation: Situation) -> None:
    instance = _begin(world, situation)
    world.reconcile(instance)
    swaps = situation.state == "stopped" and situation.carries is not None
    assert len(world.mutations) == (2 if swaps else 1)
    assert set(_outcomes(world, instance)) == {"done"}
    _has_converged(world, situation, instance)


@every_change
def test_killed_anywhere_and_replayed_it_converges(world: FakeAccount, situation: Situation) -> None:
    for step in range(1, LAST_STEP):
        instance = _begin(world, situation)
        if not _disturbed(world, instance, step, kill):
            assert step > 12
            return
        started = _outcomes(world, instance).count("started")
        world.wait(30)
        world.reconcile(instance)
        _has_converged(world, situation, instance)
        # The replay finds the truth, and never says more of the first attempt than is known.
        assert _outcomes(world, instance).count("started") == started <= 1
    raise AssertionError("it never ends")


@every_change
def test_two_reconciles_at_once_converge_wherever_they_meet(world: FakeAccount, situation: Situation) -> None:
    for step in range(1, LAST_STEP):
        instance = _begin(world, situation)
        if not _disturbed(world, instance, step, partial(world.reconcile, instance)):
            return
        # EC2 refused the slower one.
        world.follow()
        _has_converged(world, situation, instance)
        assert "started" not in _outcomes(world, instance)
    raise AssertionError("it never ends")


@every_change
def test_a_tag_that_changes_anywhere_and_is_followed_by_another_function_is_followed(
    world: FakeAccount, situation: Situation
) -> None:
    def change(instance: str) -> None:
        world.tag(instance, urgent="")
        world.reconcile(instance)

    for step in range(1, LAST_STEP):
        instance = _begin(world, situation)
        if not _disturbed(world, instance, step, partial(change, instance)):
            return
        # What woke the second function wakes us too, at the latest with the sweep.
        world.reconcile(instance)
        assert world.carries(instance) == "urgent"
        assert world.granted(instance)
    raise AssertionError("it never ends")


# ---- the single stories behind it ----


def test_an_attach_that_lands_late_is_explained_by_its_grant_and_taken_away_where_its_tag_is_gone(
    world: FakeAccount,
) -> None:
    instance = ATTACHES.arrange(world)
    world.calls.before(ATTACH, refusing("InternalError", status=500))
    outcome = world.reconcile(instance)
    assert isinstance(outcome.error, RetryableError)
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert world.carries(instance) == ""
    # EC2 was busy: only now it does what it was asked, with nobody there to hear of it.
    world.attach_by_hand(instance, "web")
    world.wait(1)
    world.quiet()
    world.reconcile(instance)
    assert world.mutations == [DETACH]
    assert world.carries(instance) == ""
    assert world.shows(instance) == ""


# Between a reconcile's first read and its second, others may come and go. What EC2 showed is then older than what our
# record says: it proves nothing of what was written since.


def test_a_look_that_was_overtaken_takes_no_grant_away(world: FakeAccount) -> None:
    world.publish("workload=web", "web")
    instance = world.running()

    def overtake() -> None:
        world.tag(instance, workload="web")
        world.reconcile(instance)
        world.control(paused=True)
        world.tag(instance, tier="db")
        world.reconcile(instance)

    world.calls.before("BatchGetItem", overtake)
    world.reconcile(instance)
    assert world.granted(instance)
    world.control()
    world.untag(instance, "workload", "tier")
    world.reconcile(instance)
    assert world.association(instance) is None


def test_a_look_that_was_overtaken_by_a_call_that_is_on_its_way_leaves_its_grant(world: FakeAccount) -> None:
    world.take_over = True
    world.publish("workload=web", "web", when_occupied=WhenOccupied.REPLACE)
    instance = world.running(workload="web")

    def overtake() -> None:
        world.wait(0.1)
        world.attach_by_hand(instance, "theirs")
        world.calls.after(REPLACE, kill)
        _killed(world, instance)

    world.calls.after("DescribeIamInstanceProfileAssociations", overtake)
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.granted(instance)
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert world.carries(instance) == ""


# botocore sends a call again by itself when its answer is lost. The mutations take no idempotency token (AWS_FACTS.md
# "Attach, replace, detach"), so EC2 refuses the second sending: that refusal says nothing about the first.


@pytest.mark.parametrize(
    ("situation", "call"),
    [(ATTACHES, ATTACH), (SITUATIONS[EVERY_CHANGE[1]], ATTACH), (REPLACES, REPLACE), (DETACHES, DETACH)],
    ids=["attach", "attach while stopped", "replace", "detach"],
)
def test_a_change_that_the_sdk_sent_twice_is_explained(world: FakeAccount, situation: Situation, call: str) -> None:
    instance = situation.arrange(world)
    world.ec2.lose_the_answer(call)
    assert world.reconcile(instance).error is None
    carried = "" if situation is DETACHES else "web"
    assert (world.carries(instance), world.granted(instance)) == (carried, bool(carried))
    assert _outcomes(world, instance)[-1] == "started"

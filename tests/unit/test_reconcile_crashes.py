"""Killing the function anywhere, answers that get lost, and two reconciles at once: it converges all the same.

Every scenario is played once for each step (before and after each call to AWS) at which something can happen to it.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import product

import pytest

from rolekeeper.limits import Limits
from rolekeeper.model import WhenStopped, WhenUnmatched
from rolekeeper.ownership import IN_FLIGHT
from support.world import KilledError, World, kill

ATTACH, REPLACE, DETACH = (
    "AssociateIamInstanceProfile",
    "ReplaceIamInstanceProfileAssociation",
    "DisassociateIamInstanceProfile",
)
# Each call has two steps. Three reads come first; then the intent, the mutation and the outcome.
AROUND_THE_MUTATION = (8, 10, 11)
LAST_STEP = 200


@dataclass(frozen=True)
class Scenario:
    """What a wish changes, and how it ends: which profile, whether it is ours, what a restore would give back."""

    begin: Callable[[World], str]
    carries: str
    ours: bool = True
    restores: str = ""
    mutations: int = 1


@pytest.fixture(autouse=True)
def mappings(world: World) -> None:
    for role in ("web", "db"):
        world.publish(f"workload={role}", role)
        world.publish(
            f"careful={role}",
            f"{role}-2",
            when_unmatched=WhenUnmatched.RESTORE,
            when_stopped=WhenStopped.SWAP,
        )
    world.publish("quarantine=*", "NONE", priority=2)
    world.publish("locked=*", "NONE", priority=3, when_unmatched=WhenUnmatched.RESTORE)
    world.publish("urgent=*", "urgent", priority=1, when_stopped=WhenStopped.SWAP)


def attach(world: World) -> str:
    return world.running(workload="web")


def attach_while_stopped(world: World) -> str:
    return world.stopped(workload="web")


def replace_theirs(world: World) -> str:
    return world.running(profile="theirs", careful="web")


def _taken_over(world: World) -> str:
    """Carried `theirs`, and carries our `web-2` now."""
    instance = replace_theirs(world)
    world.reconcile(instance)
    return instance


def replace_ours(world: World) -> str:
    instance = _taken_over(world)
    world.tag(instance, careful="db")
    return instance


def detach(world: World) -> str:
    instance = attach(world)
    world.reconcile(instance)
    world.untag(instance, "workload")
    return instance


def quarantine_theirs(world: World) -> str:
    return world.running(profile="theirs", quarantine="")


def swap(world: World) -> str:
    instance = _taken_over(world)
    world.stop(instance)
    world.tag(instance, careful="db")
    return instance


def restore(world: World) -> str:
    instance = _taken_over(world)
    world.untag(instance, "careful")
    return instance


def release(world: World) -> str:
    """Was quarantined by a mapping that gives back, and its tag is gone."""
    instance = world.running(profile="theirs", locked="yes")
    world.reconcile(instance)
    world.untag(instance, "locked")
    return instance


SCENARIOS = {
    "attach": Scenario(attach, "web"),
    "attach while stopped": Scenario(attach_while_stopped, "web"),
    "replace theirs": Scenario(replace_theirs, "web-2", restores="theirs"),
    "replace ours": Scenario(replace_ours, "db-2", restores="theirs"),
    "detach": Scenario(detach, "", ours=False),
    "quarantine theirs": Scenario(quarantine_theirs, "", ours=False),
    "swap": Scenario(swap, "db-2", restores="theirs", mutations=2),
    "restore": Scenario(restore, "theirs", ours=False),
    "release": Scenario(release, "theirs", ours=False),
}
every_scenario = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)


def _begin(world: World, scenario: Scenario) -> str:
    world.limits = Limits(10_000, 100)  # every story here happens within one window
    instance = scenario.begin(world)
    world.wait(1)
    world.quiet()
    return instance


def _has_converged(world: World, scenario: Scenario, instance: str) -> None:
    """EC2 shows what it should, our record says rightly whose it is, and nothing is left open."""
    assert world.carries(instance) == scenario.carries
    record, row = world.record(instance), world.association(instance)
    assert not record.intents
    assert record.standing is None
    assert bool(row and row.id in record.assignments) == scenario.ours
    if scenario.ours:
        assert world.owns(instance)
        assert row
        before = record.assignments[row.id].restore_profile_arn
        assert before.rsplit("/", maxsplit=1)[-1] == scenario.restores
    world.quiet()
    world.reconcile(instance)
    assert not world.mutations
    assert not world.writes


def _disturbed(world: World, instance: str, step: int, disturb: Callable[[], object]) -> bool:
    """Reconcile, with something happening at a step; returns whether it came to that step."""
    world.calls.at_step(step, disturb)
    with suppress(KilledError):
        world.reconcile(instance)
    return world.calls.reached()


@every_scenario
def test_undisturbed_it_takes_as_few_mutations_as_can_be(world: World, scenario: Scenario) -> None:
    instance = _begin(world, scenario)
    world.reconcile(instance)
    assert len(world.mutations) == scenario.mutations
    _has_converged(world, scenario, instance)


@every_scenario
def test_killed_anywhere_and_replayed_it_converges(world: World, scenario: Scenario) -> None:
    for step in range(1, LAST_STEP):
        instance = _begin(world, scenario)
        if not _disturbed(world, instance, step, kill):
            assert step > 12
            return
        world.wait(30)
        world.reconcile(instance)
        _has_converged(world, scenario, instance)
    raise AssertionError("it never ends")


@every_scenario
def test_killed_again_during_the_replay_it_converges(world: World, scenario: Scenario) -> None:
    for first, second in product(AROUND_THE_MUTATION, AROUND_THE_MUTATION):
        instance = _begin(world, scenario)
        assert _disturbed(world, instance, first, kill)
        _disturbed(world, instance, second, kill)
        world.reconcile(instance)
        assert world.carries(instance) == scenario.carries
        # An attach that was never heard of again stays open while its call may be in flight; then a look closes it.
        world.wait(IN_FLIGHT.total_seconds() + 1)
        world.reconcile(instance)
        _has_converged(world, scenario, instance)


@every_scenario
def test_two_reconciles_at_once_converge_wherever_they_meet(world: World, scenario: Scenario) -> None:
    for step in range(1, LAST_STEP):
        instance = _begin(world, scenario)
        if not _disturbed(world, instance, step, partial(world.reconcile, instance)):
            return
        # EC2 refused the slower one; what it undertook is closed at the latest by the next look.
        world.reconcile(instance)
        _has_converged(world, scenario, instance)
    raise AssertionError("it never ends")


@every_scenario
def test_a_wish_that_changes_anywhere_and_is_served_by_another_function_is_met(
    world: World, scenario: Scenario
) -> None:
    def change(instance: str) -> None:
        world.tag(instance, urgent="")
        world.reconcile(instance)

    for step in range(1, LAST_STEP):
        instance = _begin(world, scenario)
        if not _disturbed(world, instance, step, partial(change, instance)):
            return
        # What woke the second function wakes us too, at the latest with the sweep.
        world.reconcile(instance)
        assert world.carries(instance) == "urgent"
        assert world.owns(instance)
    raise AssertionError("it never ends")


# ---- the single stories behind it ----


@pytest.mark.parametrize("operation", [ATTACH, REPLACE])
def test_killed_between_the_mutation_and_its_record_it_ends_with_one_association_of_ours(
    world: World, operation: str
) -> None:
    instance = attach(world) if operation == ATTACH else replace_ours(world)
    world.quiet()
    world.calls.after(operation, kill)
    with pytest.raises(KilledError):
        world.reconcile(instance)
    made = world.truth.association_of(instance)
    assert made
    assert made.id not in world.record(instance).assignments
    world.reconcile(instance)
    assert world.owns(instance)
    assert world.association(instance) == made
    assert world.mutations == [operation]


def test_a_replay_that_finds_the_mutation_done_completes_its_history(world: World) -> None:
    instance = attach(world)
    world.calls.before("TransactWriteItems", kill)
    with pytest.raises(KilledError):
        world.reconcile(instance)
    world.reconcile(instance)
    assert world.owns(instance)
    assert [entry["decision"]["code"] for entry in world.history(instance)] == ["converged"]
    assert world.history(instance)[0]["answer"]["completed"] is True


def test_a_replay_still_knows_what_is_ours_as_long_as_nobody_else_can_have_made_it(world: World) -> None:
    instance = attach(world)
    world.calls.after(ATTACH, kill)
    with pytest.raises(KilledError):
        world.reconcile(instance)
    world.wait(IN_FLIGHT.total_seconds() - 1)
    world.reconcile(instance)
    assert world.owns(instance)


def test_what_nobody_looked_at_for_days_is_left_alone_as_if_somebody_else_had_made_it(world: World) -> None:
    instance = attach(world)
    world.calls.after(ATTACH, kill)
    with pytest.raises(KilledError):
        world.reconcile(instance)
    world.later(days=4)
    world.reconcile(instance)
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert not world.record(instance).intents
    assert world.history(instance)[-1]["closes"][0]["role"] == "web"


def test_what_was_shown_before_a_crash_is_cleared_when_the_replay_completes_it(world: World) -> None:
    instance = world.launch(workload="web")
    world.reconcile(instance)
    assert world.record(instance).standing
    world.wait(2)
    world.calls.after(ATTACH, kill)
    with pytest.raises(KilledError):
        world.reconcile(instance)
    world.reconcile(instance)
    assert world.owns(instance)
    assert world.record(instance).standing is None


def test_a_second_wish_after_a_crash_doesnt_lose_what_the_first_would_restore(world: World) -> None:
    instance = replace_theirs(world)
    world.calls.after(REPLACE, kill)
    with pytest.raises(KilledError):
        world.reconcile(instance)
    world.tag(instance, careful="db")
    world.reconcile(instance)
    assert world.owns(instance)
    assert len(world.record(instance).assignments) == 1
    world.untag(instance, "careful")
    world.reconcile(instance)
    assert world.carries(instance) == "theirs"


def test_what_a_crash_left_stays_ours_when_the_next_wish_crashes_before_its_call(world: World) -> None:
    instance = attach(world)
    world.calls.after(ATTACH, kill)
    with pytest.raises(KilledError):
        world.reconcile(instance)
    world.tag(instance, workload="db")
    world.calls.before(REPLACE, kill)
    with pytest.raises(KilledError):
        world.reconcile(instance)
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert world.association(instance) is None


def test_what_a_crash_left_stays_ours_while_the_next_wish_waits(world: World) -> None:
    instance = attach(world)
    world.calls.after(ATTACH, kill)
    with pytest.raises(KilledError):
        world.reconcile(instance)
    world.stop(instance)
    world.tag(instance, workload="db")
    world.reconcile(instance)
    standing = world.record(instance).standing
    assert standing
    assert standing.code == "stopped"
    assert world.owns(instance)


def test_a_tag_removed_after_a_crash_takes_away_what_the_crash_left(world: World) -> None:
    instance = attach(world)
    world.calls.after(ATTACH, kill)
    with pytest.raises(KilledError):
        world.reconcile(instance)
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert world.association(instance) is None
    assert world.record(instance).empty


def test_a_replace_that_never_happened_claims_no_strangers_role_later(world: World) -> None:
    instance = attach(world)
    world.reconcile(instance)
    world.tag(instance, workload="db")
    world.calls.before(REPLACE, kill)
    with pytest.raises(KilledError):
        world.reconcile(instance)
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert world.association(instance) is None
    world.wait(5)
    world.attach_by_hand(instance, "db")
    world.reconcile(instance)
    assert world.carries(instance) == "db"


# Between a reconcile's first read and its second, others may come and go. What EC2 showed is then older than what our
# record says: it proves nothing of what was written since.


def test_a_look_that_was_overtaken_disowns_nothing(world: World) -> None:
    instance = world.running()

    def overtake() -> None:
        world.tag(instance, workload="web")
        world.reconcile(instance)
        world.control(paused=True)
        world.tag(instance, workload="db")
        world.reconcile(instance)

    world.calls.before("BatchGetItem", overtake)
    world.reconcile(instance)
    assert world.owns(instance)
    world.control()
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert world.association(instance) is None


def test_a_look_that_was_overtaken_closes_no_intent_whose_call_is_on_its_way(world: World) -> None:
    instance = world.running(careful="web")

    def overtake() -> None:
        world.wait(0.1)
        world.attach_by_hand(instance, "theirs")
        world.calls.after(REPLACE, kill)
        with pytest.raises(KilledError):
            world.reconcile(instance)

    world.calls.after("DescribeIamInstanceProfileAssociations", overtake)
    world.reconcile(instance)
    assert world.owns(instance)
    world.untag(instance, "careful")
    world.reconcile(instance)
    assert world.carries(instance) == "theirs"


# botocore sends a call again by itself when its answer is lost. The mutations take no idempotency token (AWS_FACTS.md
# "Attach, replace, detach"), so EC2 refuses the second sending: that refusal says nothing about the first.


@pytest.mark.parametrize("begin", [attach, attach_while_stopped])
def test_an_attach_that_the_sdk_sent_twice_is_ours(world: World, begin: Callable[[World], str]) -> None:
    instance = begin(world)
    world.ec2.lose_the_answer(ATTACH)
    world.reconcile(instance)
    assert world.owns(instance)
    world.untag(instance, "workload")
    world.reconcile(instance)
    assert world.association(instance) is None


def test_a_replace_that_the_sdk_sent_twice_is_ours(world: World) -> None:
    instance = replace_ours(world)
    world.ec2.lose_the_answer(REPLACE)
    world.reconcile(instance)
    assert world.carries(instance) == "db-2"
    assert world.owns(instance)


def test_a_detach_that_the_sdk_sent_twice_is_done(world: World) -> None:
    instance = detach(world)
    world.ec2.lose_the_answer(DETACH)
    outcome = world.reconcile(instance)
    assert outcome.error is None
    assert world.association(instance) is None
    assert not world.record(instance).intents

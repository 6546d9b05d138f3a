"""Two looks at one instance that overlap: the slower one neither undoes nor hides what the newer one saw.

The simulation found each of these.
"""

from contextlib import suppress

import pytest

from rolekeeper.model import WhenStopped, WhenUnmatched
from support.world import KilledError, World, kill, refusing


@pytest.fixture(autouse=True)
def mappings(world: World) -> None:
    for role in ("web", "db"):
        world.publish(f"workload={role}", role)


def test_a_mapping_that_comes_back_between_two_reads_detaches_nothing(world: World) -> None:
    instance = world.running(workload="web")
    world.reconcile(instance)
    world.damage("workload=web")
    world.calls.after("BatchGetItem", lambda: world.publish("workload=web", "web"))
    world.quiet()
    world.reconcile(instance)
    assert world.mutations == []
    assert world.carries(instance) == "web"


def test_a_slow_look_doesnt_hide_what_a_newer_one_wrote_while_it_looked(world: World) -> None:
    instance = world.stopped(profile="theirs")

    def meanwhile() -> None:
        world.wait(1)
        world.tag(instance, workload="web")
        world.reconcile(instance)

    world.calls.before("BatchGetItem", meanwhile)
    world.reconcile(instance)
    standing = world.record(instance).standing
    assert standing
    assert standing.code == "stopped"


def test_a_slow_look_doesnt_hide_what_a_newer_one_wrote_before_it_could_write(world: World) -> None:
    instance = world.stopped(profile="theirs", workload="web")
    world.reconcile(instance)
    world.untag(instance, "workload")

    def meanwhile() -> None:
        world.wait(1)
        world.tag(instance, workload="db")
        world.reconcile(instance)

    world.calls.after("BatchGetItem", meanwhile)
    world.reconcile(instance)
    standing = world.record(instance).standing
    assert standing
    assert "db" in standing.reason


def test_a_change_whose_outcome_nobody_recorded_is_told_by_the_history(world: World) -> None:
    instance = world.running(workload="web")
    world.reconcile(instance)
    world.untag(instance, "workload")
    world.calls.after("DisassociateIamInstanceProfile", kill)
    with suppress(KilledError):
        world.reconcile(instance)
    world.wait(1)
    world.reconcile(instance)
    (closed,) = world.history(instance)[-1]["closes"]
    assert (closed["action"], closed["mapping"]) == ("Detach", "workload=web")
    assert not world.record(instance).intents


def test_a_change_of_an_instance_that_ended_meanwhile_is_told_too(world: World) -> None:
    instance = world.running(workload="web")
    world.calls.after("AssociateIamInstanceProfile", kill)
    with suppress(KilledError):
        world.reconcile(instance)
    world.truth.terminate(instance)
    world.wait(5)
    world.reconcile(instance)
    (closed,) = world.history(instance)[-1]["closes"]
    assert (closed["action"], closed["role"]) == ("Attach", "web")


def test_the_second_half_of_a_swap_tells_of_the_first(world: World) -> None:
    world.publish("urgent=*", "urgent", priority=1, when_stopped=WhenStopped.SWAP)
    instance = world.stopped(profile="theirs", urgent="yes")
    world.calls.after("DisassociateIamInstanceProfile", kill)
    with suppress(KilledError):
        world.reconcile(instance)
    world.wait(1)
    world.reconcile(instance)
    assert world.carries(instance) == "urgent"
    (closed,) = world.history(instance)[-1]["closes"]
    assert closed["action"] == "Replace"


def test_what_is_given_back_isnt_claimed_by_an_older_wish_for_the_same_role(world: World) -> None:
    world.profile("before")
    world.publish("careful=*", "web", when_unmatched=WhenUnmatched.RESTORE)
    instance = world.running(profile="before", careful="yes")
    world.reconcile(instance)
    world.publish("older=*", "before", priority=1)
    world.tag(instance, older="yes")
    # The call never happens, but nobody can know: its intent stays open.
    world.calls.before("ReplaceIamInstanceProfileAssociation", refusing("InternalError", status=500))
    world.reconcile(instance)
    world.untag(instance, "older", "careful")
    world.reconcile(instance)
    assert world.carries(instance) == "before"
    assert world.record(instance).assignments == {}
    assert world.record(instance).intents == {}

"""Reading the truth: in the order that makes the association id a lock, and what the sweep may leave out."""

from collections.abc import Callable

import pytest

from rolekeeper.contest import ContestRule
from rolekeeper.ec2 import Ec2
from rolekeeper.errors import RetryableError
from rolekeeper.model import Action, Mode, WhenOccupied, WhenUnmatched
from rolekeeper.observe import Observation, complete, observe
from rolekeeper.ownership import IN_FLIGHT
from support.world import ACCOUNT, REGION, KilledError, World, kill, refusing


def _observe(world: World, *instances: str) -> list[Observation]:
    ec2 = Ec2(world.ec2, ACCOUNT, REGION)  # type: ignore[arg-type]  # shaped like a client
    found = observe([world.key(each) for each in instances], ec2, world.state, world.clock.now())
    return list(found.values())


def _one(world: World, instance: str) -> Observation:
    (found,) = _observe(world, instance)
    return found


def test_the_association_is_read_first_then_the_tags_then_the_wish(world: World) -> None:
    instance = world.running(workload="web")
    world.quiet()
    _observe(world, instance)
    assert world.calls.made == ["DescribeIamInstanceProfileAssociations", "DescribeInstances", "BatchGetItem"]


def test_everything_that_a_decision_rests_on_is_there(world: World) -> None:
    web, base = world.publish("workload=web", "web"), world.publish("workload=*", "base", priority=200)
    world.publish("workload=other", "other")
    instance = world.running(workload="web", Name="x")
    world.reconcile(instance)
    seen = _one(world, instance)
    assert seen.instance
    assert seen.instance.tags == {"workload": "web", "Name": "x"}
    assert seen.association
    assert seen.assignment
    assert seen.assignment.association_id == seen.association.id
    assert seen.candidates.winner == web
    assert seen.published == (base, web)
    assert [each.mapping for each in seen.candidates.losers] == [base.key]
    assert seen.owner == web
    assert seen.recorded


def test_no_instances_cost_no_call_to_ec2(world: World) -> None:
    assert _observe(world) == []
    assert "DescribeInstances" not in world.calls.made


def test_an_unknown_instance_among_known_ones_is_no_error(world: World) -> None:
    known = world.running()
    gone, seen = _observe(world, "i-00000000000000bad", known)
    assert gone.instance is None
    assert gone.decision(Mode.ENFORCE, ContestRule()).code == "gone"
    assert seen.instance


def test_more_instances_than_a_filter_takes_are_read_in_several_calls(world: World) -> None:
    fleet = [world.launch() for _ in range(201)]
    world.quiet()
    seen = _observe(world, *fleet)
    assert all(each.instance for each in seen)
    assert world.calls["DescribeInstances"] == 2
    assert world.calls["DescribeIamInstanceProfileAssociations"] == 2


def test_a_mapping_that_lost_its_tag_is_read_by_itself(world: World) -> None:
    web = world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.reconcile(instance)
    world.untag(instance, "workload")
    world.quiet()
    assert _one(world, instance).owner == web
    assert world.calls["BatchGetItem"] == 2


def test_an_unreadable_table_is_an_error_never_an_empty_answer(world: World) -> None:
    instance = world.running(workload="web")
    world.calls.before("BatchGetItem", refusing("InternalServerError", status=500))
    with pytest.raises(RetryableError):
        _observe(world, instance)


def test_whoever_read_an_older_wish_holds_an_older_association(world: World) -> None:
    # Between the read of the association and that of the tags, another function serves a newer wish.
    world.publish("workload=web", "web")
    world.publish("workload=db", "db")
    instance = world.running(workload="web")
    world.reconcile(instance)
    before = world.association(instance)
    assert before

    def newer() -> None:
        world.tag(instance, workload="db")
        world.reconcile(instance)

    world.calls.before("DescribeInstances", newer)
    seen = _one(world, instance)
    assert seen.association
    assert seen.association.id == before.id
    assert seen.candidates.winner
    assert seen.candidates.winner.spec.role == "db"


# ---- what the sweep sends: what a reconcile would do or write something for ----


def converged(world: World) -> str:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.reconcile(instance)
    return instance


def untouched(world: World) -> str:
    return world.running(profile="theirs")


def held(world: World) -> str:
    world.publish("workload=web", "web", when_occupied=WhenOccupied.KEEP)
    instance = world.running(profile="theirs", workload="web")
    world.wait(1)
    world.reconcile(instance)
    return instance


def watched(world: World) -> str:
    world.publish("workload=web", "web")
    instance = world.launch(workload="web")
    world.reconcile(instance)
    return instance


def waiting_for_its_start(world: World) -> str:
    instance = converged(world)
    world.publish("workload=db", "db")
    world.stop(instance)
    world.tag(instance, workload="db")
    world.reconcile(instance)
    return instance


def terminated_and_forgotten(world: World) -> str:
    instance = converged(world)
    world.truth.terminate(instance)
    world.reconcile(instance)
    return instance


def missed(world: World) -> str:
    world.publish("workload=web", "web")
    return world.running(workload="web")


def missed_untagging(world: World) -> str:
    instance = converged(world)
    world.untag(instance, "workload")
    return instance


def missed_refusal(world: World) -> str:
    world.publish("workload=web", "web", when_occupied=WhenOccupied.KEEP)
    instance = world.running(profile="theirs", workload="web")
    world.wait(1)
    return instance


def relieved(world: World) -> str:
    """Held once, and as it should be by now."""
    instance = held(world)
    world.untag(instance, "workload")
    return instance


def unwatched(world: World) -> str:
    world.publish("workload=web", "web")
    return world.launch(workload="web")


def crashed(world: World) -> str:
    world.publish("workload=web", "web")
    instance = world.running(workload="web")
    world.calls.after("AssociateIamInstanceProfile", kill)
    with pytest.raises(KilledError):
        world.reconcile(instance)
    world.wait(1)
    return instance


def interrupted_and_stopped_again(world: World) -> str:
    """It shows what it showed before, and an attempt in between left its intent open."""
    instance = waiting_for_its_start(world)
    world.start(instance)
    world.calls.before("ReplaceIamInstanceProfileAssociation", kill)
    with pytest.raises(KilledError):
        world.reconcile(instance)
    world.stop(instance)
    world.wait(IN_FLIGHT.total_seconds() + 1)
    return instance


def governed_by_another_mapping(world: World) -> str:
    """The same role, and other words on what happens when the tag goes."""
    instance = converged(world)
    world.publish("app=*", "web", when_unmatched=WhenUnmatched.KEEP)
    world.tag(instance, app="")
    world.untag(instance, "workload")
    return instance


def taken_by_hand_after_a_quarantine(world: World) -> str:
    world.publish("quarantine=*", "NONE", priority=1, when_unmatched=WhenUnmatched.RESTORE)
    instance = world.running(profile="theirs", quarantine="")
    world.reconcile(instance)
    world.wait(1)
    world.untag(instance, "quarantine")
    world.attach_by_hand(instance, "others")
    return instance


def terminated(world: World) -> str:
    instance = converged(world)
    world.truth.terminate(instance)
    return instance


@pytest.mark.parametrize(
    "begin", [converged, untouched, held, watched, waiting_for_its_start, terminated_and_forgotten]
)
def test_an_instance_that_the_sweep_leaves_out_really_needs_nothing(
    world: World, begin: Callable[[World], str]
) -> None:
    instance = begin(world)
    seen = _one(world, instance)
    assert not seen.needs_work(seen.decision(Mode.ENFORCE, ContestRule()), world.clock.now())
    world.quiet()
    world.reconcile(instance)
    assert not world.mutations
    assert not world.writes
    assert not world.events.sent
    assert not world.machine.started


@pytest.mark.parametrize(
    "begin",
    [
        missed,
        missed_untagging,
        missed_refusal,
        relieved,
        unwatched,
        crashed,
        interrupted_and_stopped_again,
        governed_by_another_mapping,
        taken_by_hand_after_a_quarantine,
        terminated,
    ],
)
def test_an_instance_that_the_sweep_sends_needs_it_and_then_no_more(
    world: World, begin: Callable[[World], str]
) -> None:
    instance = begin(world)
    seen = _one(world, instance)
    assert seen.needs_work(seen.decision(Mode.ENFORCE, ContestRule()), world.clock.now())
    world.quiet()
    world.reconcile(instance)
    assert world.writes
    seen = _one(world, instance)
    assert not seen.needs_work(seen.decision(Mode.ENFORCE, ContestRule()), world.clock.now())


def test_a_parked_instance_is_sent_again(world: World) -> None:
    instance = unwatched(world)
    outcome = world.reconcile(instance, in_loop=True)
    assert outcome.decision
    world.reconciler(in_loop=True).park(world.wake(instance), outcome.decision)
    seen = _one(world, instance)
    assert seen.needs_work(seen.decision(Mode.ENFORCE, ContestRule()), world.clock.now())


@pytest.mark.parametrize("withheld", ["observing", "paused"])
def test_what_is_withheld_is_told_once_and_not_sent_by_every_sweep(world: World, withheld: str) -> None:
    world.control(**({"paused": True} if withheld == "paused" else {"mode": "observe"}))
    instance = missed(world)
    seen = _one(world, instance)
    decision = seen.decision(Mode.ENFORCE, ContestRule())
    assert decision.action is Action.HOLD
    assert seen.needs_work(decision, world.clock.now())
    world.reconcile(instance)
    seen = _one(world, instance)
    assert not seen.needs_work(seen.decision(Mode.ENFORCE, ContestRule()), world.clock.now())


def test_the_sweeps_own_reading_decides_the_same(world: World) -> None:
    instance = missed(world)
    ec2 = Ec2(world.ec2, ACCOUNT, REGION)  # type: ignore[arg-type]  # shaped like a client
    key = world.key(instance)
    found = complete([key], ec2.associations([instance]), ec2.instances([instance]), world.state, world.clock.now())
    assert found[key] == _one(world, instance)

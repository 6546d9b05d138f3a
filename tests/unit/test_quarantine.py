"""A mapping to `NONE` takes the role away, and gives back what was there when its tag goes, if it says so."""

import pytest

from rolekeeper.model import WhenUnmatched
from support.world import KilledError, World, kill


@pytest.fixture(autouse=True)
def mappings(world: World) -> None:
    world.publish("app=web", "web")
    world.publish("quarantine=yes", "NONE", priority=1, when_unmatched=WhenUnmatched.RESTORE)


def quarantined(world: World, *, profile: str | None = None, **tags: str) -> str:
    instance = world.running(profile=profile, **tags)
    world.reconcile(instance)
    world.tag(instance, quarantine="yes")
    world.reconcile(instance)
    assert world.carries(instance) == ""
    return instance


def test_a_role_that_somebody_attached_is_given_back_and_is_theirs_again(world: World) -> None:
    instance = quarantined(world, profile="theirs")
    world.untag(instance, "quarantine")
    world.reconcile(instance)
    assert world.carries(instance) == "theirs"
    assert not world.owns(instance)
    assert world.record(instance).empty


def test_the_role_of_another_mapping_comes_before_what_was_there(world: World) -> None:
    instance = quarantined(world, profile="theirs")
    world.tag(instance, app="web")
    world.untag(instance, "quarantine")
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.owns(instance)


def test_what_was_there_at_first_is_remembered_through_a_mapping_and_a_quarantine(world: World) -> None:
    world.publish("app=web", "web", when_unmatched=WhenUnmatched.RESTORE)
    instance = quarantined(world, profile="theirs", app="web")
    world.untag(instance, "quarantine", "app")
    world.reconcile(instance)
    assert world.carries(instance) == "theirs"


def test_nothing_is_given_back_if_the_mapping_says_detach_and_nothing_is_remembered(world: World) -> None:
    world.publish("quarantine=yes", "NONE", priority=1)
    instance = quarantined(world, profile="theirs")
    world.untag(instance, "quarantine")
    world.reconcile(instance)
    assert world.carries(instance) == ""
    assert world.record(instance).empty
    world.quiet()
    world.reconcile(instance)
    assert world.writes == []


def test_an_instance_that_had_no_role_is_only_left_without(world: World) -> None:
    instance = world.running(quarantine="yes")
    world.quiet()
    world.reconcile(instance)
    assert world.mutations == []
    assert world.writes == []


def test_what_lies_outside_the_path_is_not_put_back_and_the_instance_says_so(world: World) -> None:
    instance = quarantined(world, profile="theirs")
    world.untag(instance, "quarantine")
    world.may_restore = lambda _arn: False
    world.reconcile(instance)
    assert world.carries(instance) == ""
    standing = world.record(instance).standing
    assert standing is not None
    assert standing.code == "ceiling"


def test_a_quarantine_that_lasts_costs_no_write(world: World) -> None:
    instance = quarantined(world, profile="theirs")
    world.quiet()
    world.reconcile(instance)
    assert world.writes == []


def test_what_was_taken_comes_back_when_the_instance_has_settled(world: World) -> None:
    instance = quarantined(world, profile="theirs")
    world.truth.stop(instance)
    world.untag(instance, "quarantine")
    outcome = world.reconcile(instance)
    assert outcome.waiting
    world.wait(2)
    world.reconcile(instance)
    assert world.carries(instance) == "theirs"


def test_what_was_taken_is_not_forgotten_while_the_mappings_record_is_missing(world: World) -> None:
    instance = quarantined(world, profile="theirs")
    world.untag(instance, "quarantine")
    world.damage("quarantine=yes")
    world.reconcile(instance)
    standing = world.record(instance).standing
    assert standing is not None
    assert standing.code == "mapping-missing"
    world.publish("quarantine=yes", "NONE", priority=1, when_unmatched=WhenUnmatched.RESTORE)
    world.reconcile(instance)
    assert world.carries(instance) == "theirs"


def test_a_crash_leaves_no_memory_of_what_is_not_given_back(world: World) -> None:
    world.publish("quarantine=yes", "NONE", priority=1)
    instance = world.running(profile="theirs", quarantine="yes")
    world.calls.after("DisassociateIamInstanceProfile", kill)
    with pytest.raises(KilledError):
        world.reconcile(instance)
    world.wait(1)
    world.untag(instance, "quarantine")
    world.reconcile(instance)
    assert world.record(instance).empty

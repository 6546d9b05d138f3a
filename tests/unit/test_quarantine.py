"""A mapping to `NONE` takes the role away, keeps it away while its tag is there, and gives nothing back."""

from typing import Any

import pytest

from fixtures.account import FakeAccount, KilledError, kill, refusing, waiting
from fixtures.state_table import STATE_TABLE
from rolekeeper.model.instance import NO_PROFILE
from rolekeeper.model.mapping import IGNORE_TAG, Pin, WhenOccupied, WhenStopped
from rolekeeper.storage import codec
from rolekeeper_cli.uses.pins import pin_item

ATTACH, DETACH = "AssociateIamInstanceProfile", "DisassociateIamInstanceProfile"


@pytest.fixture(autouse=True)
def mappings(world: FakeAccount) -> None:
    world.publish("app=web", "web")
    world.publish("quarantine=yes", "NONE", priority=1)


def quarantined(world: FakeAccount, **tags: str) -> str:
    """An instance that carried web, and carries nothing now."""
    instance = world.running(app="web", **tags)
    world.reconcile(instance)
    world.tag(instance, quarantine="yes")
    world.reconcile(instance)
    assert world.carries(instance) == ""
    assert NO_PROFILE in world.record(instance).grants
    world.wait(1)
    world.quiet()
    return instance


@pytest.mark.parametrize("begin", ["running", "stopped"])
def test_a_managed_role_is_taken_away_in_one_call(world: FakeAccount, begin: str) -> None:
    instance = world.running(app="web")
    world.reconcile(instance)
    if begin == "stopped":
        world.stop(instance)
    world.tag(instance, quarantine="yes")
    world.quiet()
    world.reconcile(instance)
    assert world.mutations == [DETACH]
    assert world.carries(instance) == ""
    assert world.events.kinds == ["Role Detached"]
    assert world.history(instance)[-1]["decision"]["code"] == "quarantined"


def test_a_managed_role_that_nobody_was_granted_is_taken_away_too(world: FakeAccount) -> None:
    instance = world.running(quarantine="yes")
    world.attach_by_hand(instance, "web")
    world.wait(1)
    world.reconcile(instance)
    assert world.carries(instance) == ""


@pytest.mark.parametrize("when_occupied", WhenOccupied)
@pytest.mark.parametrize("take_over", [True, False])
def test_a_foreign_role_is_taken_away_only_where_the_stack_and_the_row_both_say_so(
    world: FakeAccount, when_occupied: WhenOccupied, *, take_over: bool
) -> None:
    world.take_over = take_over
    world.publish("quarantine=yes", "NONE", priority=1, when_occupied=when_occupied)
    instance = world.running(profile="theirs", quarantine="yes")
    world.wait(1)
    world.reconcile(instance)
    taken = take_over and when_occupied is WhenOccupied.REPLACE
    assert world.carries(instance) == ("" if taken else "theirs")
    assert world.shows(instance) == ("" if taken else "occupied")
    entry = world.history(instance)[-1]
    assert entry["seen"]["profile-arn"] == world.profiles["theirs"].arn
    assert entry["decision"]["takes-over"] is taken


def test_a_foreign_role_that_was_taken_away_isnt_given_back(world: FakeAccount) -> None:
    world.take_over = True
    world.publish("quarantine=yes", "NONE", priority=1, when_occupied=WhenOccupied.REPLACE)
    instance = world.running(profile="theirs", quarantine="yes")
    world.reconcile(instance)
    world.untag(instance, "quarantine")
    world.quiet()
    world.reconcile(instance)
    assert world.carries(instance) == ""
    assert world.mutations == []
    assert world.record(instance).grants == {}
    world.quiet()
    world.reconcile(instance)
    assert world.writes == []


def test_the_role_of_another_mapping_comes_back_when_the_tag_goes(world: FakeAccount) -> None:
    instance = quarantined(world)
    world.untag(instance, "quarantine")
    world.reconcile(instance)
    assert world.mutations == [ATTACH]
    assert world.carries(instance) == "web"
    assert world.granted(instance)
    assert NO_PROFILE not in world.record(instance).grants


def test_an_instance_that_had_no_role_is_only_left_without(world: FakeAccount) -> None:
    instance = world.running(quarantine="yes")
    world.quiet()
    world.reconcile(instance)
    assert world.mutations == []
    assert world.writes == []


def test_a_quarantine_that_lasts_costs_no_write(world: FakeAccount) -> None:
    instance = quarantined(world)
    world.reconcile(instance)
    assert world.writes == []


@pytest.mark.parametrize("tags", [["quarantine"], ["quarantine", "app"]], ids=["one mapping left", "no mapping left"])
def test_an_end_while_the_instance_changes_its_state_takes_effect_when_it_has_settled(
    world: FakeAccount, tags: list[str]
) -> None:
    instance = quarantined(world)
    world.truth.stop(instance)
    world.untag(instance, *tags)
    assert world.truth.instance(instance).state.value == "stopping"
    assert waiting(world.reconcile(instance)) is (len(tags) == 1)
    world.wait(2)
    world.reconcile(instance)
    assert world.carries(instance) == ("web" if len(tags) == 1 else "")


def test_a_quarantine_that_waits_for_the_instance_to_settle_takes_the_role_then(world: FakeAccount) -> None:
    instance = world.running(app="web")
    world.reconcile(instance)
    world.truth.stop(instance)
    world.tag(instance, quarantine="yes")
    assert waiting(world.reconcile(instance))
    assert world.carries(instance) == "web"
    world.wait(2)
    world.reconcile(instance, in_loop=True)
    assert world.carries(instance) == ""


def test_while_the_mappings_record_is_missing_no_other_mapping_gives_a_role(world: FakeAccount) -> None:
    instance = quarantined(world)
    world.damage("quarantine=yes")
    world.reconcile(instance)
    assert world.mutations == []
    assert world.shows(instance) == "mapping-missing"
    world.publish("quarantine=yes", "NONE", priority=1)
    world.reconcile(instance)
    assert world.carries(instance) == ""
    assert world.shows(instance) == ""


def test_while_the_mappings_record_is_missing_an_instance_without_another_mapping_shows_it_too(
    world: FakeAccount,
) -> None:
    instance = quarantined(world)
    world.untag(instance, "app")
    world.damage("quarantine=yes")
    world.reconcile(instance)
    assert world.shows(instance) == "mapping-missing"
    assert NO_PROFILE in world.record(instance).grants


@pytest.mark.parametrize("says", ["true", "2099-01-01T00:00:00Z", "perhaps"])
def test_the_tag_that_excludes_an_instance_keeps_it_from_no_quarantine(world: FakeAccount, says: str) -> None:
    instance = world.running(app="web")
    world.reconcile(instance)
    world.tag(instance, quarantine="yes", **{IGNORE_TAG: says})
    world.reconcile(instance)
    assert world.carries(instance) == ""
    assert world.history(instance)[-1]["decision"]["losers"] == [
        {"mapping": f"the tag {IGNORE_TAG}", "why": "quarantine=yes gives it no role, which comes before that tag"},
        {"mapping": "app=web", "why": "priority 100 comes after 1 of quarantine=yes"},
    ]
    world.attach_by_hand(instance, "web")
    world.wait(1)
    world.reconcile(instance)
    assert world.carries(instance) == "", "and it stays without"
    world.untag(instance, "quarantine")
    world.reconcile(instance)
    assert world.carries(instance) == "", "then it is left as it is"


@pytest.mark.parametrize(
    ("columns", "code"),
    [({"priority": 200}, "ignored"), ({"priority": 100}, "ignored"), ({"priority": 1, "enabled": False}, "ignored")],
    ids=["outranked", "in conflict", "disabled"],
)
def test_a_quarantine_that_doesnt_win_leaves_an_excluded_instance_alone(
    world: FakeAccount, columns: dict[str, Any], code: str
) -> None:
    instance = world.running(app="web")
    world.reconcile(instance)
    world.publish("quarantine=yes", "NONE", **columns)
    world.tag(instance, quarantine="yes", **{IGNORE_TAG: "true"})
    outcome = world.reconcile(instance)
    assert outcome.decision
    assert (outcome.decision.code, world.carries(instance)) == (code, "web")


def test_a_pin_comes_before_a_quarantine_and_before_the_tag_that_excludes(world: FakeAccount) -> None:
    instance = quarantined(world)
    world.tag(instance, **{IGNORE_TAG: "true"})
    pinned = Pin("web", world.profiles["web"].arn)
    item = pin_item(world.key(instance), pinned)
    world.dynamodb.put_item(TableName=STATE_TABLE, Item=codec.to_attributes(item))
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert world.history(instance)[-1]["decision"]["losers"][:2] == [
        {"mapping": f"the tag {IGNORE_TAG}", "why": "the pin comes before that tag"},
        {"mapping": "quarantine=yes", "why": "the pin comes before every mapping"},
    ]


def test_a_deleted_row_ends_a_quarantine(world: FakeAccount) -> None:
    instance = quarantined(world)
    world.unpublish("quarantine=yes")
    world.reconcile(instance)
    assert world.carries(instance) == "web"


def test_a_removed_tag_ends_a_quarantine_though_its_record_is_missing(world: FakeAccount) -> None:
    instance = quarantined(world)
    world.untag(instance, "quarantine")
    world.damage("quarantine=yes")
    world.reconcile(instance)
    assert world.carries(instance) == "web"


def test_a_role_that_another_actor_attaches_during_a_quarantine_is_taken_away_if_it_is_managed(
    world: FakeAccount,
) -> None:
    instance = quarantined(world)
    world.attach_by_hand(instance, "web")
    world.wait(1)
    world.reconcile(instance)
    assert world.carries(instance) == ""
    world.attach_by_hand(instance, "theirs")
    world.wait(1)
    world.reconcile(instance)
    assert world.carries(instance) == "theirs"
    assert world.shows(instance) == "occupied"


def test_an_attach_that_lands_during_a_quarantine_is_taken_away(world: FakeAccount) -> None:
    instance = world.running(app="web")
    world.calls.before(ATTACH, refusing("InternalError", status=500))
    world.reconcile(instance)
    world.tag(instance, quarantine="yes")
    world.reconcile(instance)
    assert world.carries(instance) == ""
    world.attach_by_hand(instance, "web")
    world.wait(1)
    world.reconcile(instance)
    assert world.carries(instance) == ""


def test_a_crash_between_call_and_record_still_keeps_other_mappings_away(world: FakeAccount) -> None:
    instance = world.running(app="web")
    world.reconcile(instance)
    world.tag(instance, quarantine="yes")
    world.calls.after(DETACH, kill)
    with pytest.raises(KilledError):
        world.reconcile(instance)
    world.wait(1)
    world.damage("quarantine=yes")
    world.reconcile(instance)
    assert world.carries(instance) == ""
    assert world.shows(instance) == "mapping-missing"


def test_a_crash_before_the_call_leaves_no_memory_of_a_quarantine_that_was_called_off(world: FakeAccount) -> None:
    instance = world.running(app="web")
    world.reconcile(instance)
    world.tag(instance, quarantine="yes")
    world.calls.before(DETACH, kill)
    with pytest.raises(KilledError):
        world.reconcile(instance)
    world.untag(instance, "quarantine")
    world.reconcile(instance)
    assert world.carries(instance) == "web"
    assert NO_PROFILE not in world.record(instance).grants
    world.quiet()
    world.reconcile(instance)
    assert world.writes == []


def test_a_swap_after_a_quarantine_needs_one_call_as_there_is_nothing_to_detach(world: FakeAccount) -> None:
    world.publish("app=web", "web", when_stopped=WhenStopped.SWAP)
    instance = quarantined(world)
    world.stop(instance)
    world.untag(instance, "quarantine")
    world.quiet()
    world.reconcile(instance)
    assert world.mutations == [ATTACH]
    assert world.carries(instance) == "web"

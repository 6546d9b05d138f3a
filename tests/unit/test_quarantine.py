"""A mapping to `NONE` takes the role away, keeps it away while its tag is there, and gives nothing back."""

from typing import Any

import pytest

from fixtures.account import FakeAccount, KilledError, kill
from rolekeeper.model.instance import NO_PROFILE
from rolekeeper.model.mapping import IGNORE_TAG

DETACH = "DisassociateIamInstanceProfile"


@pytest.fixture(autouse=True)
def mappings(world: FakeAccount) -> None:
    world.publish("app=web", "web")
    world.publish("quarantine=yes", "NONE", priority=1)


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

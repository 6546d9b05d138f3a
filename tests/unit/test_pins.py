"""Pins: an operator's word on one instance, above all mappings."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from fixtures.account import FakeAccount, new_account
from fixtures.state_table import STATE_TABLE
from rolekeeper.model.mapping import NO_ROLE, Pin
from rolekeeper.storage import codec, layout
from rolekeeper_cli.pins import pin_item


@pytest.fixture
def world() -> Iterator[FakeAccount]:
    with new_account() as made:
        made.publish("workload=web", "web")
        made.profile("debug")
        yield made


def pin(world: FakeAccount, instance: str, role: str, *, minutes: float | None = None, **more: Any) -> None:
    """Pin an instance, and let Rolekeeper look."""
    expires_at = None if minutes is None else world.clock.now() + timedelta(minutes=minutes)
    arn = "" if role == NO_ROLE else world.profiles[role].arn
    item = pin_item(world.key(instance), Pin(role, arn, expires_at, by="someone", **more))
    world.dynamodb.put_item(TableName=STATE_TABLE, Item=codec.to_attributes(item))
    world.reconcile(instance)


def put_pin(world: FakeAccount, instance: str, **attributes: Any) -> None:
    """Write a pin as a person without the command line would."""
    pk, sk = layout.pin_key(world.key(instance))
    world.dynamodb.put_item(TableName=STATE_TABLE, Item=codec.to_attributes({"pk": pk, "sk": sk, **attributes}))


def release(world: FakeAccount, instance: str) -> None:
    """Delete the pin, and let Rolekeeper look."""
    pk, sk = layout.pin_key(world.key(instance))
    world.dynamodb.delete_item(TableName=STATE_TABLE, Key=codec.to_attributes({"pk": pk, "sk": sk}))
    world.reconcile(instance)


def test_a_pinned_role_comes_before_the_mapping_and_goes_back_to_it_when_released(world: FakeAccount) -> None:
    instance = world.running(workload="web")
    world.reconcile(instance)
    pin(world, instance, "debug")
    assert world.carries(instance) == "debug"
    assert world.granted(instance)
    decision = world.history(instance)[-1]["decision"]
    assert decision["mapping"] == "the pin"
    assert decision["losers"][0] == {"mapping": "workload=web", "why": "the pin comes before every mapping"}
    release(world, instance)
    assert world.carries(instance) == "web"
    assert world.granted(instance)


def test_an_instance_without_a_mapping_is_attached_by_hand_and_detached_when_the_pin_expires(
    world: FakeAccount,
) -> None:
    instance = world.running()
    pin(world, instance, "debug", minutes=30)
    assert world.carries(instance) == "debug"
    world.later(minutes=29)
    world.reconcile(instance)
    assert world.carries(instance) == "debug"
    world.later(minutes=1)
    world.reconcile(instance)
    assert world.carries(instance) == ""
    assert world.history(instance)[-1]["decision"]["reason"] == "the pin, which gave it role debug, is over"
    assert world.record(instance).condition is None


def test_what_a_pin_gave_is_explained_by_it(world: FakeAccount) -> None:
    instance = world.running()
    pin(world, instance, "debug")
    (grant,) = world.record(instance).grants.values()
    assert (grant.role, str(grant.mapping), grant.mapping.tag_value) == ("debug", "the pin", instance)


@pytest.mark.parametrize("role", ["debug", NO_ROLE])
def test_a_pin_takes_over_a_foreign_role_where_the_stack_lets_it(world: FakeAccount, role: str) -> None:
    world.take_over = True
    instance = world.running(profile="theirs")
    pin(world, instance, role)
    assert world.carries(instance) == ("" if role == NO_ROLE else role)
    assert world.history(instance)[-1]["decision"]["takes-over"]
    world.quiet()
    world.reconcile(instance)
    assert world.writes == []
    release(world, instance)
    assert world.carries(instance) == ""


@pytest.mark.parametrize("role", ["debug", NO_ROLE])
def test_a_pin_leaves_a_foreign_role_where_the_stack_forbids_to_take_over_and_says_so(
    world: FakeAccount, role: str
) -> None:
    instance = world.running(profile="theirs")
    pin(world, instance, role)
    condition = world.record(instance).condition
    assert world.carries(instance) == "theirs"
    assert condition
    assert condition.code == "occupied"
    # A pin is a person's own word: no column of a row is asked for.
    assert condition.reason.endswith(", or deploy with TakeOver=true")
    release(world, instance)
    assert world.record(instance).condition is None


def test_a_pin_to_the_role_that_is_there_changes_nothing_and_nor_does_its_release(world: FakeAccount) -> None:
    instance = world.running(workload="web")
    world.reconcile(instance)
    world.quiet()
    pin(world, instance, "web")
    release(world, instance)
    assert world.mutations == []
    assert world.carries(instance) == "web"


def test_a_pin_comes_before_a_tie_and_before_the_tag_that_excludes(world: FakeAccount) -> None:
    world.publish("team=db", "db")
    instance = world.running(workload="web", team="db", **{"rolekeeper:ignore": "true"})
    pin(world, instance, "debug")
    assert world.carries(instance) == "debug"


def test_a_pin_on_a_running_instance_is_one_replace_and_takes_no_room_in_a_window(world: FakeAccount) -> None:
    instance = world.running(workload="web")
    world.reconcile(instance)
    world.quiet()
    pin(world, instance, "debug")
    assert world.mutations == ["ReplaceIamInstanceProfileAssociation"]
    assert world.writes == ["PutItem", "TransactWriteItems", "TransactWriteItems"]  # the pin, the grant, the outcome


def test_on_a_stopped_instance_the_pinned_role_waits_for_the_start(world: FakeAccount) -> None:
    instance = world.stopped(workload="web")
    world.reconcile(instance)
    pin(world, instance, "debug")
    condition = world.record(instance).condition
    assert world.carries(instance) == "web"
    assert condition
    assert condition.code == "stopped"
    world.start(instance)
    world.reconcile(instance)
    assert world.carries(instance) == "debug"


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({}, "the pin names no role; write one, or NONE"),
        ({"role": 5}, "the pin's role isn't a String"),
        ({"role": Decimal("1E+125")}, "the pin's role isn't a String"),
        ({"role": "debug"}, "the pin's profile_arn must be the profile of its role, and absent for NONE"),
        ({"role": "NONE", "profile_arn": "arn"}, "the pin's profile_arn must be the profile of its role"),
        ({"role": "NONE", "expires_at": "tomorrow"}, "the pin's expires_at is 'tomorrow'; write date, time and zone"),
        ({"role": "NONE", "expires_at": "2026-12-31T18:00:00"}, "write date, time and zone in ISO 8601"),
    ],
)
def test_a_pin_that_can_not_be_read_leaves_the_instance_as_it_is_and_says_why(
    world: FakeAccount, attributes: dict[str, Any], why: str
) -> None:
    instance = world.running(workload="db", profile="theirs")
    put_pin(world, instance, **attributes)
    other = world.running(workload="web")
    world.reconcile(instance, other)
    condition = world.record(instance).condition
    assert world.carries(instance) == "theirs"
    assert condition
    assert (condition.code, why in condition.reason) == ("pin-unclear", True)
    assert world.carries(other) == "web"


def test_a_hand_written_pin_needs_only_its_role_and_profile(world: FakeAccount) -> None:
    instance = world.running(workload="web")
    put_pin(world, instance, role="debug", profile_arn=world.profiles["debug"].arn)
    world.reconcile(instance)
    assert world.carries(instance) == "debug"


def test_the_pin_of_a_terminated_instance_goes_with_its_record(world: FakeAccount) -> None:
    instance = world.running(workload="web")
    pin(world, instance, "debug")
    world.truth.terminate(instance)
    world.wait(2)
    world.reconcile(instance)
    snapshot = world.state.read([world.key(instance)], [])
    assert not snapshot.pins
    assert not snapshot.records


def test_a_pin_waits_while_rolekeeper_is_paused(world: FakeAccount) -> None:
    world.control(paused=True)
    instance = world.running(workload="web")
    pin(world, instance, "debug")
    assert world.carries(instance) == ""
    world.control()
    world.reconcile(instance)
    assert world.carries(instance) == "debug"

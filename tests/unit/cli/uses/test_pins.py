"""Pinning and releasing by functions."""

import pytest

from fixtures.mappings import MappingsFixture
from fixtures.terminal import CALLER, Terminal
from rolekeeper.model.mapping import NO_ROLE, Pin
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError, WaitTimeoutError
from rolekeeper_cli.uses import pins
from rolekeeper_cli.uses.pins import Wish


def pin_of(desk: MappingsFixture, instance: str) -> Pin | None:
    key = desk.world.key(instance)
    return desk.world.state.read([key], []).pins.get(key)


def test_an_instance_is_pinned_and_pinned_anew(deployment: Deployment, desk: MappingsFixture) -> None:
    instance = desk.world.running(Name="web-1")
    first = pins.pin(deployment, "web-1", Wish("attach", "web", reason="incident 42"))
    assert (first.instance.key.id, first.former, first.delay, first.warnings) == (instance, None, "", ())
    assert pin_of(desk, instance) == first.pin
    assert (first.pin.role, first.pin.by, first.pin.reason) == ("web", CALLER, "incident 42")
    second = pins.pin(deployment, instance, Wish("detach", NO_ROLE))
    assert (second.former, second.pin.role, second.pin.profile_arn) == (first.pin, NO_ROLE, "")


def test_what_a_pin_would_do_is_known_before_it_is_written(deployment: Deployment, desk: MappingsFixture) -> None:
    instance = desk.world.running()
    wish = Wish("attach", "web")
    plan = pins.planned(deployment, instance, wish, pins.usable_profile(deployment, wish))
    found = pins.expected(deployment, plan)
    assert (found.attach, found.replace, found.detach, plan.carries) == (1, 0, 0, "")
    assert pin_of(desk, instance) is None
    pins.write(deployment, plan)
    assert pin_of(desk, instance) == plan.pin


def test_what_cant_be_pinned_is_refused_and_nothing_is_written(deployment: Deployment, desk: MappingsFixture) -> None:
    instance = desk.world.running()
    with pytest.raises(CommandError, match="did you mean web"):
        pins.pin(deployment, instance, Wish("attach", "wbe"))
    with pytest.raises(UsageError, match="NONE is no role"):
        pins.pin(deployment, instance, Wish("attach", NO_ROLE))
    with pytest.raises(CommandError, match="carries no role"):
        pins.pin(deployment, instance, Wish("replace", "web"))
    desk.world.attach_by_hand(instance, "web")
    with pytest.raises(CommandError, match="carries web already"):
        pins.pin(deployment, instance, Wish("attach", "db"))
    assert pin_of(desk, instance) is None


def test_a_foreign_role_isnt_taken_away(deployment: Deployment, desk: MappingsFixture) -> None:
    desk.world.profile("admin", path="/")
    instance = desk.world.running()
    desk.world.attach_by_hand(instance, "admin")
    with pytest.raises(CommandError, match="carries the foreign"):
        pins.pin(deployment, instance, Wish("replace", "web"))
    assert pin_of(desk, instance) is None


def test_what_is_to_be_known_of_a_role_is_a_warning(deployment: Deployment, desk: MappingsFixture) -> None:
    trusted = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    condition = {"Bool": {"aws:SecureTransport": "true"}}
    desk.retrust("web", {"Version": "2012-10-17", "Statement": [{**trusted, "Condition": condition}]})
    [warning] = pins.pin(deployment, desk.world.running(), Wish("attach", "web")).warnings
    assert warning.startswith("role 'web': ")


def test_what_delays_a_pin_is_said_with_what_ends_it(deployment: Deployment, desk: MappingsFixture) -> None:
    instance = desk.world.running()
    desk.world.attach_by_hand(instance, "db")
    desk.world.stop(instance)
    pinned = pins.pin(deployment, instance, Wish("replace", "web"))
    assert "The instance is stopped" in pinned.delay
    assert str(pinned.remedy) == f"aws ec2 start-instances --instance-ids {instance}"
    assert pinned.patience == 600


def test_waiting_ends_when_ec2_shows_it_or_in_time(
    deployment: Deployment, terminal: Terminal, desk: MappingsFixture
) -> None:
    instance = desk.world.running()
    pinned = pins.pin(deployment, instance, Wish("attach", "web"))
    with pytest.raises(WaitTimeoutError, match="EC2 doesn't show it after 60 s"):
        pins.wait(deployment, pinned)
    terminal.meanwhile = lambda: desk.world.attach_by_hand(instance, "web")
    pins.wait(deployment, pinned)
    assert desk.world.carries(instance) == "web"


def test_a_release_says_what_it_was_released_from(deployment: Deployment, desk: MappingsFixture) -> None:
    instance = desk.world.running()
    pinned = pins.pin(deployment, instance, Wish("attach", "web"))
    released = pins.release(deployment, instance)
    assert (released.former, released.contested, pin_of(desk, instance)) == (pinned.pin, False, None)
    assert pins.release(deployment, instance).former is None

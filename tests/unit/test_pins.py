"""Pins: an operator's word on one instance, above all mappings."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import Mock

import pytest

from fixtures.account import FakeAccount, refusing
from rolekeeper.instances.observe import checked_pin
from rolekeeper.model.mapping import NO_ROLE, Pin
from rolekeeper.permissions.roles import RoleCheck
from rolekeeper.storage import layout

pytestmark = pytest.mark.world(published={"workload=web": "web"}, profiles=["debug"])


def pin(world: FakeAccount, instance: str, role: str, *, minutes: float | None = None, **more: Any) -> None:
    """Pin an instance, and let Rolekeeper look."""
    expires_at = None if minutes is None else world.clock.now() + timedelta(minutes=minutes)
    arn = "" if role == NO_ROLE else world.profiles[role].arn
    world.pin(instance, Pin(role, arn, expires_at, by="someone", **more))
    world.reconcile(instance)


def put_pin(world: FakeAccount, instance: str, **attributes: Any) -> None:
    """Write a pin as a person without the command line would."""
    world.put(layout.pin_key(world.key(instance)), **attributes)


def release(world: FakeAccount, instance: str) -> None:
    """Delete the pin, and let Rolekeeper look."""
    world.delete(layout.pin_key(world.key(instance)))
    world.reconcile(instance)


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({}, "the pin names no role; write one, or NONE"),
        ({"role": Decimal("1E+125")}, "the pin's role isn't a String"),
        ({"role": "debug"}, "the pin's profile_arn must be the profile of its role, and absent for NONE"),
        ({"role": "NONE", "profile_arn": "arn"}, "the pin's profile_arn must be the profile of its role"),
        ({"role": "NONE", "expires_at": "tomorrow"}, "the pin's expires_at is 'tomorrow'; write date, time and zone"),
        ({"role": "NONE", "expires_at": "2026-12-31T18:00:00"}, "write date, time and zone in ISO 8601"),
    ],
)
def test_what_can_not_be_read_of_a_pin_makes_it_unclear_and_says_why(attributes: dict[str, Any], why: str) -> None:
    assert why in Pin.read(attributes).unclear


# ---- told ----


def test_each_pin_is_an_event_and_an_entry_that_says_role_profile_until_when_and_who_claims_it(
    world: FakeAccount,
) -> None:
    instance, arn = world.running(workload="web"), world.profiles["debug"].arn
    pin(world, instance, "debug", minutes=30, reason="a\nlook")
    world.later(minutes=1)
    pin(world, instance, NO_ROLE)
    world.later(minutes=1)
    release(world, instance)
    until = "2026-03-01T09:30:02.000000Z"
    assert world.pins_reported(instance) == [
        rf"the pin to debug ({arn}) until {until} was set; claimed by someone, because: a\nlook",
        "the pin to NONE (no profile) was set; claimed by someone, because: (no reason)",
        "the pin to NONE (no profile) was removed; claimed by someone, because: (no reason)",
    ]
    kinds = [each for each in world.events.kinds if each.startswith("Pin")]
    assert kinds == ["Pin Set", "Pin Set", "Pin Removed"]
    (first, *_) = world.events.named("Pin Set")
    assert (first["decision"]["role"], first["decision"]["profile-arn"]) == ("debug", arn)


def test_the_same_pin_with_a_later_end_is_told_and_lasts_until_then(world: FakeAccount) -> None:
    instance = world.running(workload="web")
    for minutes in (30, 60):
        until = world.clock.now() + timedelta(minutes=minutes)
        pin(world, instance, "debug", minutes=minutes)
        assert f" until {layout.timestamp(until)} was set; " in world.pins_reported(instance)[-1]
    carried: list[tuple[str, int]] = []
    for _ in range(2):
        world.later(minutes=31)
        world.reconcile(instance)
        carried.append((world.carries(instance), len(world.pins_reported(instance))))
    assert carried == [("debug", 2), ("web", 3)]


def test_a_pin_that_is_over_is_told_once_and_so_is_one_that_nobody_woke_us_for(world: FakeAccount) -> None:
    instance = world.running()
    pin(world, instance, "debug", minutes=30)
    world.later(minutes=31)
    assert world.needs_reconcile(instance)
    for _ in range(3):
        world.reconcile(instance)
    assert len(world.pins_reported(instance)) == 2
    assert " is over; " in world.pins_reported(instance)[-1]
    put_pin(world, instance, role=NO_ROLE)
    assert world.needs_reconcile(instance)
    world.reconcile(instance)
    assert not world.needs_reconcile(instance)
    assert len(world.pins_reported(instance)) == 3


def test_a_pin_is_told_while_rolekeeper_is_paused_and_where_it_cant_be_read(world: FakeAccount) -> None:
    world.control(paused=True)
    instance = world.running()
    put_pin(world, instance, role="a role", profile_arn="arn:x")
    world.reconcile(instance)
    assert world.pins_reported(instance) == [
        "the pin to (unclear) (no profile) was set; claimed by nobody, because: (no reason)"
    ]


def test_of_two_looks_that_see_a_pin_one_tells_it(world: FakeAccount) -> None:
    instance = world.running()
    put_pin(world, instance, role=NO_ROLE)
    world.calls.before("TransactWriteItems", lambda: world.reconcile(instance))
    world.reconcile(instance)
    assert len(world.pins_reported(instance)) == 1


def test_the_end_of_an_instance_tells_nothing_of_its_pin(world: FakeAccount) -> None:
    instance = world.running()
    world.truth.terminate(instance)
    world.wait(2)
    put_pin(world, instance, role=NO_ROLE)
    world.reconcile(instance)
    assert world.pins_reported(instance) == []


# ---- checked ----


@pytest.mark.parametrize(
    ("role", "profile", "why"),
    [
        ("web", "debug", "instance profile 'debug' holds role 'debug', not 'web'"),
        ("nobody", "debug", "role 'nobody' doesn't exist in account"),
        ("web", "nobody", "instance-profile/rolekeeper/nobody doesn't hold role 'web'"),
        ("web", "empty", "instance-profile/rolekeeper/empty doesn't hold role 'web'"),
        ("admin", "admin", "role 'admin' is at the path / and must be under /rolekeeper/"),
        ("a role", "debug", "the pin's role is 'a role', which names none"),
        ("x" * 65, "debug", "which names none"),
        ("web", "de bug", "the pin's profile_arn is"),
        ("web", "x" * 1_000, "the pin's profile_arn is"),
    ],
)
def test_a_pin_whose_role_and_profile_dont_belong_together_holds_its_instance_and_says_why(
    world: FakeAccount, role: str, profile: str, why: str
) -> None:
    world.profile("admin", path="/")
    world.profile("empty", empty=True)
    arn = world.profiles[profile].arn if profile in world.profiles else f"{world.profiles['web'].arn[:-3]}{profile}"
    instance, other = world.running(workload="web"), world.running(workload="web")
    put_pin(world, instance, role=role, profile_arn=arn)
    world.reconcile(instance, other)
    condition = world.condition(instance)
    assert (condition.code, world.carries(instance)) == ("pin-unclear", "")
    assert why in condition.reason
    assert world.carries(other) == "web"


def test_only_pinned_instances_ask_iam_once_for_each_role_in_an_invocation(world: FakeAccount) -> None:
    plain, *pinned = (world.running(workload="web") for _ in range(5))
    world.reconcile(plain)
    assert not world.calls["GetRole"]
    for each in pinned[:3]:
        put_pin(world, each, role="debug", profile_arn=world.profiles["debug"].arn)
    put_pin(world, pinned[3], role=NO_ROLE)
    world.reconcile(plain, *pinned)
    assert (world.calls["GetRole"], world.calls["GetInstanceProfile"]) == (1, 1)
    over = layout.timestamp(world.clock.now())
    put_pin(world, plain, role="debug", profile_arn=world.profiles["debug"].arn, expires_at=over)
    world.quiet()
    world.reconcile(plain)
    assert not world.calls["GetRole"]


@pytest.mark.parametrize("code", ["Throttling", "AccessDenied"])
def test_a_pin_that_iam_doesnt_answer_for_has_its_instance_retried_and_no_other(world: FakeAccount, code: str) -> None:
    pinned, other = world.running(), world.running(workload="web")
    put_pin(world, pinned, role="debug", profile_arn=world.profiles["debug"].arn)
    world.calls.before("GetRole", refusing(code))
    outcomes = world.reconcile_all(pinned, other)
    assert outcomes[world.key(pinned)].error
    assert not outcomes[world.key(other)].error
    assert (world.carries(pinned), world.carries(other)) == ("", "web")
    assert world.metrics.counts["PermissionDenied"] == (code == "AccessDenied")
    world.reconcile(pinned)
    assert world.carries(pinned) == "debug"


@pytest.mark.parametrize(("says", "gives"), [(None, False), (True, True), ("true", False)])
def test_a_pin_to_a_broad_role_says_so_as_a_row_does(world: FakeAccount, says: Any, gives: bool) -> None:  # noqa: FBT001  # a case
    pin = Pin.read({"role": "web", "profile_arn": world.profiles["web"].arn, "allow_broad": says})
    roles: Any = Mock()
    roles.check.return_value = RoleCheck(profile_arn=pin.profile_arn)
    assert not checked_pin(pin, roles, world.clock.now()).unclear
    (asked,) = roles.check.call_args.args
    assert pin.allow_broad is asked.allow_broad is gives

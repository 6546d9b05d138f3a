"""attach, replace, detach and release: one instance by hand."""

from datetime import timedelta
from typing import Any

import click
import pytest

from fixtures.account import refusing
from fixtures.mappings import Desk
from fixtures.terminal import CALLER, Terminal
from rolekeeper.model.mapping import NO_PIN, Pin
from rolekeeper.storage import layout
from rolekeeper_cli.shell.arguments import Duration

PROFILE = "arn:aws:iam::123456789012:instance-profile/rolekeeper/"

pytestmark = pytest.mark.usefixtures("web_and_db")


def pin_of(desk: Desk, instance: str) -> Pin:
    """Its pin; one without a role where it has none, or that is over."""
    key = desk.world.key(instance)
    found = desk.world.state.read([key], []).pins.get(key, NO_PIN)
    return NO_PIN if found.expired(desk.world.clock.now()) else found


def test_when_ec2_doesnt_show_it_the_wait_ends_and_the_pin_stays(terminal: Terminal, desk: Desk) -> None:
    instance = desk.world.running()
    ran = terminal("attach", instance, "web")
    assert (ran.exit_code, "EC2 doesn't show web after 60 s" in ran.stderr) == (255, True)
    assert pin_of(desk, instance).role


# ---- release ----


def pinned(terminal: Terminal, desk: Desk) -> str:
    """An instance that carries db, as it is pinned, and whose tag asks for web."""
    desk.edit("app=web", role="web")
    instance = desk.converged("web", app="web")
    terminal("replace", instance, "db", "--reason", "incident 42", "--no-wait")
    desk.world.reconcile(instance)
    assert desk.world.carries(instance) == "db"
    return instance


def test_a_release_says_why_the_instance_stays_as_it_is(terminal: Terminal, desk: Desk) -> None:
    instance = pinned(terminal, desk)
    desk.world.control(paused=True)
    ran = terminal("release", instance)
    assert (ran.exit_code, "Nothing changes yet: Rolekeeper is paused" in ran.stderr) == (0, True)
    desk.world.control(paused=False)
    terminal("attach", other := desk.world.running(app="web", tier="gold"), "db", "--no-wait")
    desk.world.publish("tier=gold", "db")
    assert "It stays as it is: " in terminal("release", other).stderr


def test_a_pin_that_cant_be_read_can_be_released(terminal: Terminal, desk: Desk) -> None:
    instance = desk.world.running()
    desk.world.put(layout.pin_key(desk.world.key(instance)), role="")
    assert desk.world.decided(instance).code == "pin-unclear"
    assert "is released from its pin" in terminal("release", instance, "--no-wait").stdout
    assert desk.world.decided(instance).code == "unmatched"


def test_a_contested_instance_is_taken_up_again(terminal: Terminal, desk: Desk) -> None:
    desk.world.publish("workload=web", "web")
    instance = desk.world.running(workload="web")
    for _ in range(4):
        desk.world.reconcile(instance)
        desk.world.attach_by_hand(instance, "db")
        desk.world.wait(60)
    decision = desk.world.reconcile(instance).decision
    assert decision
    assert decision.code == "contested"
    desk.quiet()
    ran = terminal("release", instance, "--no-wait", "--reason", "it is stopped")
    assert "Rolekeeper tries again" in ran.stdout
    [sent] = desk.sent()
    assert (sent["detail"]["instance-id"], sent["detail"]["cause"]) == (
        instance,
        f"released by {CALLER}: it is stopped",
    )
    desk.world.reconcile(instance)
    assert desk.world.carries(instance) == "web"


# ---- which role ----


def test_a_broad_role_needs_the_pins_word_and_the_stacks(terminal: Terminal, desk: Desk) -> None:
    desk.grant("web", "*")
    instance = desk.world.running()
    ran = terminal("attach", instance, "web", "--allow-broad", "--no-wait")
    assert ran.exit_code == 1
    assert "narrow it, or deploy with AllowBroadRoles=true" in ran.stderr
    assert not pin_of(desk, instance).role
    terminal.parameters["AllowBroadRoles"] = "true"
    assert "or set allow_broad: true" in terminal("attach", instance, "web", "--no-wait").stderr
    ran = terminal("attach", instance, "web", "--allow-broad", "--no-wait")
    assert ran.exit_code == 0, ran.stderr
    assert pin_of(desk, instance).allow_broad


def test_what_is_to_be_known_of_a_role_is_a_warning(terminal: Terminal, desk: Desk) -> None:
    trusted = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    condition = {"Bool": {"aws:SecureTransport": "true"}}
    desk.retrust("web", {"Version": "2012-10-17", "Statement": [{**trusted, "Condition": condition}]})
    assert "Warning: Role 'web': " in terminal("attach", desk.world.running(), "web", "--no-wait").stderr


def test_a_profile_that_is_named_otherwise_can_be_given(terminal: Terminal, desk: Desk) -> None:
    instance = desk.world.running()
    desk.iam.create_instance_profile(InstanceProfileName="web-box", Path="/rolekeeper/")
    desk.iam.add_role_to_instance_profile(InstanceProfileName="web-box", RoleName="web")
    assert terminal("attach", instance, "web", "--instance-profile", "web-box", "--no-wait").exit_code == 0
    assert pin_of(desk, instance).profile_arn == f"{PROFILE}web-box"


@pytest.mark.parametrize("text", ["8", "h", "0m", "-1h", "1.5h", "8 h", "9999999d", "99999w", "٣h"])
def test_a_duration_that_is_none_is_a_slip_in_the_command(text: str) -> None:
    with pytest.raises(click.UsageError, match="write it as 30m, 8h or 7d"):
        Duration().convert(text, None, None)


# ---- waiting for what can't come now ----


@pytest.mark.parametrize(
    ("control", "command"),
    [
        ({"paused": True}, "rolekeeper resume"),
        ({"mode": "observe"}, "rolekeeper mode enforce"),
        ({"mode": "nosuch"}, "rolekeeper mode enforce"),
        ("deployed in observe", "rolekeeper mode enforce"),
        ("never swept", "rolekeeper sweep"),
    ],
)
def test_who_waits_while_nothing_is_changed_is_told_what_ends_that(
    terminal: Terminal, desk: Desk, control: dict[str, Any] | str, command: str
) -> None:
    instance = desk.world.running()
    if control == "never swept":
        desk.world.never_swept()
    elif isinstance(control, str):
        terminal.parameters["Mode"] = "observe"
    else:
        desk.world.control(**control)
    ran = terminal("attach", instance, "web", "--wait")
    assert ran.exit_code == 255
    assert f"type in another terminal: {command}\n" in ran.stderr


def test_who_says_wait_waits_as_long_as_the_aws_cli_does(terminal: Terminal, desk: Desk) -> None:
    instance = desk.world.stopped(profile="web")
    began = desk.world.clock.now()
    ran = terminal("replace", instance, "db", "--wait")
    assert (ran.exit_code, f"see what blocks it: rolekeeper explain {instance}" in ran.stderr) == (255, True)
    assert desk.world.clock.now() - began >= timedelta(minutes=10)


def test_a_missing_permission_ends_the_wait_and_is_named_with_its_arn(terminal: Terminal, desk: Desk) -> None:
    instance = desk.world.running()
    role = "arn:aws:iam::123456789012:role/rolekeeper/web"
    said = f"User: x is not authorized to perform: iam:PassRole on resource: {role}"

    def rolekeeper_is_refused() -> None:
        desk.world.calls.before("AssociateIamInstanceProfile", refusing("UnauthorizedOperation", said))
        desk.world.reconcile(instance)

    terminal.meanwhile = rolekeeper_is_refused
    ran = terminal("attach", instance, "web")
    assert ran.exit_code == 1
    assert f"stays as it is: permission iam:PassRole on {role} is missing" in ran.stderr
    assert f"rolekeeper release {instance}" in ran.stderr

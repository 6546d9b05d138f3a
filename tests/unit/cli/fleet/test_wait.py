"""wait: until EC2 shows the role, and --in-use until CloudTrail shows that software uses it."""

from datetime import timedelta

import pytest

from fixtures.mappings import Desk
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal
from rolekeeper.model.instance import Target
from rolekeeper_cli.instance.facts import NOT_RECORDED

WEB, DB = (f"arn:aws:iam::123456789012:role/rolekeeper/{each}" for each in ("web", "db"))
SPOKE = Target("111111111111", "eu-west-1")


pytestmark = pytest.mark.desk(usable=("web", "db"), rows={"app=web": "web", "app=db": "db"})


@pytest.fixture
def one(desk: Desk) -> str:
    """An instance that carries web since a moment."""
    return desk.converged("web", app="web", Name="web-1")


def test_a_role_is_waited_for_on_an_instance_without_one(terminal: Terminal, desk: Desk) -> None:
    new = desk.world.running(app="web", Name="new-1")
    ran = terminal("wait", new, "--role", "web", "--every", "0.1", "--attempts", "2")
    what = f"Error: {new} (new-1) carries no role and not web, after 2 looks"
    assert (ran.exit_code, ran.stderr.splitlines()[0]) == (255, what)
    assert terminal.document("wait", new, "--role", "NONE")["role"] is None
    terminal.meanwhile = lambda: desk.world.reconcile(new)
    assert terminal.document("wait", new, "--role", "web")["role"] == "web"


def test_the_first_call_with_the_carried_role_ends_it(terminal: Terminal, desk: Desk, one: str) -> None:
    since = desk.world.clock.now()
    desk.world.clock.after(20, lambda: terminal.trail.delivered(WEB, one))
    desk.world.clock.after(100, lambda: terminal.trail.called(WEB, one, late=200))
    document = terminal.document("wait", "web-1", "--in-use")
    assert timedelta(seconds=300) <= desk.world.clock.now() - since < timedelta(seconds=320)
    assert (document["role"], document["last_use"]["action"]) == ("web", "sts:GetCallerIdentity")
    assert document["first_use"]["at"] == f"{since + timedelta(seconds=100):%Y-%m-%dT%H:%M:%S.%fZ}"
    assert document["first_use"]["after_seconds"] == pytest.approx(101, abs=1)
    assert document["delivered_at"]


def test_calls_that_aws_refused_show_a_use_but_not_that_a_role_works(terminal: Terminal, desk: Desk, one: str) -> None:
    """The first ones may be too early for IAM: it waits on for one that is accepted."""
    for _ in range(3):
        desk.world.wait(1)
        terminal.trail.called(WEB, one, "ListTables", errorCode="AccessDenied", eventSource="dynamodb.amazonaws.com")
    ran = terminal("wait", one, "--in-use", "--attempts", "2")
    assert (ran.exit_code, ran.stdout) == (1, "")
    told = " ".join(ran.stderr.split())
    assert "software calls with it, but AWS refused each call that CloudTrail shows: the last one was " in told
    assert f"dynamodb:ListTables at {desk.world.clock.now():%Y-%m-%dT}" in told
    assert told.endswith(f"(AccessDenied) see what the role lacks, or wait on; to look again: rolekeeper uptake {one}")
    terminal.trail.called(WEB, one)
    desk.world.wait(1)
    terminal.trail.called(WEB, one, errorCode="ThrottlingException")
    document = terminal.document("wait", one, "--in-use")
    assert document["last_accepted_use"]["action"] == "sts:GetCallerIdentity"
    assert document["last_use"]["refused"] == "ThrottlingException"


def test_a_given_role_has_to_be_attached_before_calls_count(terminal: Terminal, desk: Desk, one: str) -> None:
    terminal.trail.called(WEB, one)
    desk.world.tag(one, app="db")
    terminal.meanwhile = lambda: desk.world.reconcile(one)
    desk.world.clock.after(100, lambda: terminal.trail.called(WEB, one))
    desk.world.clock.after(200, lambda: terminal.trail.called(DB, one))
    desk.world.clock.after(10, lambda: setattr(terminal.trail, "refuses", "ThrottlingException"))
    desk.world.clock.after(110, lambda: setattr(terminal.trail, "refuses", ""))
    document = terminal.document("wait", one, "--in-use", "--role", "db")
    assert (document["role"], document["first_use"]["after_seconds"]) == ("db", pytest.approx(185, abs=16))


def test_what_doesnt_come_ends_with_255_and_isnt_called_unused(terminal: Terminal, desk: Desk, one: str) -> None:
    began = desk.world.clock.now()
    ran = terminal("wait", one, "--in-use", "--every", "0.1", "--attempts", "5")
    assert ran.exit_code == 255
    first, what, remedy = ran.stderr.splitlines()
    assert first == f"Not every call is seen: {NOT_RECORDED}."
    assert what == f"Error: {one} (web-1) carries web, and CloudTrail shows no call with it, after 5 looks"
    assert remedy == f"  that isn't unused, as not every call is seen; to look again: rolekeeper uptake {one}"
    assert desk.world.calls["LookupEvents"] == 10
    assert desk.world.clock.now() - began < timedelta(seconds=6)


def test_a_missing_permission_is_said_before_the_role_is_there(terminal: Terminal, desk: Desk, one: str) -> None:
    terminal.trail.refuses = "AccessDeniedException"
    began = desk.world.clock.now()
    ran = terminal("wait", one, "--in-use", "--role", "db")
    assert (ran.exit_code, ran.stderr.splitlines()[0]) == (254, "Error: you aren't allowed cloudtrail:LookupEvents")
    assert desk.world.clock.now() - began < timedelta(seconds=1)


def test_an_instance_of_another_target_is_asked_about_there(terminal: Terminal, desk: Desk) -> None:
    spoke = SpokeFixture(terminal, desk, SPOKE)
    spoke.registered()
    spoke.copied("app=web", "web")
    there = spoke.world.running(app="web")
    spoke.reconcile(there)
    terminal.trail.called(f"arn:aws:iam::{SPOKE.account}:role/rolekeeper/web", there)
    assert terminal("wait", spoke.address(there), "--in-use", "--attempts", "1").exit_code == 255
    spoke.trail.called(f"arn:aws:iam::{SPOKE.account}:role/rolekeeper/web", there)
    assert terminal.document("wait", spoke.address(there), "--in-use")["role"] == "web"

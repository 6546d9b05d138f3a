"""wait --mapping, and --wait: the instances of a mapping are followed until each carries what it should."""

from dataclasses import replace
from datetime import timedelta

import pytest

from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper.model.instance import InstanceKey
from rolekeeper.settings import Limits
from rolekeeper_cli.fleet.follow import Followed

pytestmark = pytest.mark.desk(usable=("web", "db"), rows={"app=web": "web"})


def comes(terminal: Terminal, desk: Desk, *instances: str) -> None:
    """Rolekeeper looks at one instance in each pause."""
    left = list(instances)

    def one() -> None:
        if left:
            desk.world.reconcile(left.pop())
            terminal.meanwhile = one

    terminal.meanwhile = one


def test_an_instance_is_followed_until_it_carries_what_its_tags_and_pin_say(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(app="web", Name="web-1")
    comes(terminal, desk, one)
    ran = terminal("wait", "web-1")
    assert (ran.exit_code, ran.stdout) == (0, f"{one} (web-1) carries web.\n"), ran.output
    terminal("replace", one, "db", "--yes", "--no-wait")
    comes(terminal, desk, one)
    assert terminal.document("wait", one)["role"] == "db"
    assert terminal("wait", desk.world.running()).stdout.endswith(" carries no role.\n"), "no mapping is for it"


def test_an_instance_alone_that_does_not_come_says_why(terminal: Terminal, desk: Desk) -> None:
    foreign, waits = desk.world.running(profile="theirs", app="web"), desk.world.running(app="web")
    ran = terminal("wait", foreign)
    assert (ran.exit_code, ran.stdout, f"! {foreign}: it carries the foreign" in ran.stderr) == (1, "", True)
    ran = terminal("wait", waits, "--attempts", "2")
    assert (ran.exit_code, "1 of 1 instance doesn't carry what it should yet" in ran.stderr) == (255, True)
    desk.edit("app=bad", role="nosuch")
    unmapped = desk.world.running(app="bad")
    ran = terminal("wait", unmapped)
    assert (ran.exit_code, "app=bad is rejected" in ran.stderr) == (3, True), ran.output
    terminal.meanwhile = lambda: desk.world.truth.terminate(waits)
    ran = terminal("wait", waits)
    assert (ran.exit_code, f"{waits} is shutting-down" in ran.stderr) == (1, True), ran.output


def test_of_many_targets_some_are_named_with_what_is_missing_there() -> None:
    keys = [InstanceKey(f"{number:012}", "eu-west-1", f"i-{number:017x}") for number in range(12)]
    missing = Followed(coming=(*keys, replace(keys[0], id="i-00000000000000fff"))).missing
    assert missing[0] == "000000000000/eu-west-1: i-00000000000000000, i-00000000000000fff"
    assert missing[9:] == [f"{9:012}/eu-west-1: i-{9:017x}", "2 more targets"]


def test_resume_with_wait_follows_the_fleet(terminal: Terminal, desk: Desk) -> None:
    terminal("pause")
    instance = desk.world.running(app="web")
    comes(terminal, desk, instance)
    ran = terminal("resume", "--wait")
    assert (ran.exit_code, ran.stderr) == (0, "1 of 1 instance carries what it should.\n")


def test_pause_with_wait_waits_for_what_ec2_has_begun(terminal: Terminal, desk: Desk) -> None:
    instance, profile = desk.world.running(), {"Arn": desk.world.profile("web")}
    desk.world.ec2.associate_iam_instance_profile(InstanceId=instance, IamInstanceProfile=profile)
    ran = terminal("pause", "--wait")
    assert (ran.exit_code, ran.stderr) == (0, "No change is under way.\n")
    association = desk.world.association(instance)
    assert association
    assert association.state == "associated"


def test_one_that_waits_for_room_is_waited_for(terminal: Terminal, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room comes once the window has passed, later than what doesn't come is waited for otherwise."""
    ids = [desk.converged("web", app="web") for _ in range(2)]
    desk.world.limits = Limits(1, 0)
    began, waits = desk.world.clock.now(), terminal.wait

    def wait(seconds: float) -> None:
        waits(seconds)
        # The minute's task goes on looking.
        desk.world.reconcile_all(*ids)

    monkeypatch.setattr(terminal, "wait", wait)
    terminal.judges("app=web")
    ran = terminal("mapping", "set", "app=web", "role=db", "--wait")
    assert ran.exit_code == 0, ran.output
    assert ran.stderr.splitlines()[-1] == "2 of 2 instances carry what they should."
    assert desk.world.clock.now() - began > timedelta(minutes=9)

"""fleet, explain, history and wait: how instances stand, and why."""

from datetime import timedelta
from pathlib import Path

import pytest

from fixtures.mappings import Desk, mapping_file
from fixtures.terminal import Terminal

pytestmark = pytest.mark.desk(usable=("web", "db"), rows={"app=web": "web"})


# ---- fleet ----


def test_drift_is_what_rolekeeper_is_to_change_in_the_list_the_status_and_the_exit_code(
    terminal: Terminal, desk: Desk
) -> None:
    desk.converged("web", app="web")
    desk.edit("app=bad", role="nobody")
    desk.world.running(app="bad", Name="blocked")
    desk.world.launch(app="web", Name="pending")
    ran = terminal("fleet", "--drift", "--detailed-exitcode")
    assert (ran.exit_code, ran.stderr) == (0, "No instance of 3 is in drift.\n"), "one that waits isn't in drift"
    names = [row["name"] for row in terminal.document("fleet", "--status", "waiting", "--status", "blocked")]
    assert names == ["blocked", "pending"]
    desk.world.running(app="web", Name="bare")
    assert [(row["name"], row["stands"]) for row in terminal.document("fleet", "--drift")] == [
        ("pending", "drift"),
        ("bare", "drift"),
    ]
    assert terminal("fleet", "--drift", "--detailed-exitcode", "-o", "json").exit_code == 2
    assert terminal("fleet", "--state", "pending", "--detailed-exitcode").exit_code == 0


# ---- explain ----


# What changes the role of an instance: no remedy for a node may name it.
CHANGES = ("iam-instance-profile", "TakeOver", "rolekeeper attach", "rolekeeper replace", "rolekeeper detach")


def test_no_remedy_changes_the_role_of_a_node(terminal: Terminal, desk: Desk, tmp_path: Path) -> None:
    one = desk.world.running(profile="eks-node", app="web")
    desk.world.reconcile(one)
    file = mapping_file(tmp_path, "tag_key: app, tag_value: web, role: web, priority: 7")
    for line in (
        ("explain", one),
        ("fleet", "-o", "json"),
        ("plan",),
        ("plan", "-f", file, "-o", "markdown"),
        ("attach", one, "web"),
        ("replace", one, "web"),
    ):
        output = " ".join(terminal(*line).output.split())
        assert "leave it, or change the role in its node group or NodeClass" in output, line
        assert not [each for each in CHANGES if each in output], line


@pytest.mark.parametrize("which", [(), ("--role", "web")])
def test_nor_does_a_revocation(terminal: Terminal, desk: Desk, which: tuple[str, ...]) -> None:
    ran = terminal("revoke", desk.converged("web", app="web", AmazonECSManaged=""), *which)
    assert "change the role in the launch template or capacity provider that launches it" in ran.stderr
    assert "rolekeeper detach" not in ran.stderr


def taken_over(terminal: Terminal, desk: Desk, profile: str) -> str:
    """An instance whose foreign profile was replaced."""
    terminal.parameters["TakeOver"] = "true"
    desk.world.take_over = True
    desk.edit("app=web", role="web", when_occupied="replace")
    one = desk.world.running(profile=profile, app="web")
    desk.world.reconcile(one)
    desk.world.wait(3)
    for _ in range(3):
        desk.world.reconcile(one)
    return one


def test_a_node_whose_role_was_taken_over_is_left_alone_to_undo_that(terminal: Terminal, desk: Desk) -> None:
    one = taken_over(terminal, desk, "eks-node")
    [step] = terminal.document("explain", one)["undo"]
    assert step["does"].startswith("first: leave it alone; ")
    assert "change the role in its node group or NodeClass" in step["does"]
    assert step["command"] == f"aws ec2 create-tags --resources {one} --tags Key=rolekeeper:ignore,Value=true"


def test_a_take_over_names_the_role_that_was_there_before(terminal: Terminal, desk: Desk) -> None:
    one = taken_over(terminal, desk, "theirs")
    assert terminal.document("explain", one)["took_over_from"]["profile_arn"].endswith(":instance-profile/theirs")
    entry = terminal.document("history", one)[-1]
    assert (entry["outcome"], entry["from"], entry["to"]) == ("done", "theirs", "web")


# ---- wait ----


def test_after_so_many_looks_it_gives_up_with_255(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(profile="theirs")
    began = desk.world.clock.now()
    ran = terminal("wait", one, "--role", "web")
    assert ran.exit_code == 255
    assert f"{one} carries theirs (associated) and not web, after 40 looks" in ran.stderr
    assert desk.world.clock.now() - began == timedelta(seconds=15 * 39)
    began = desk.world.clock.now()
    assert terminal("wait", one, "--role", "NONE", "--every", "2", "--attempts", "3").exit_code == 255
    assert desk.world.clock.now() - began == timedelta(seconds=4)

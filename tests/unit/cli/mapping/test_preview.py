"""What a person at a terminal is shown before anything is done: what it would do to instances."""

from collections.abc import Iterator

import pytest

from fixtures.account import mapping_key, refusing
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper.model.instance import Instance
from rolekeeper.storage import layout
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.instance.seen import pages as fleet_pages
from rolekeeper_cli.mapping import preview, rehearsal
from rolekeeper_cli.options import Options
from rolekeeper_cli.progress import Silent
from rolekeeper_cli.row import edits

THEIRS = "arn:aws:iam::123456789012:instance-profile/theirs"

pytestmark = pytest.mark.desk(usable=("web", "db"), rows={"app=web": "web"}, carriers=3)


@pytest.fixture(autouse=True)
def foreign(desk: Desk) -> None:
    """A fourth instance has the tag, and a foreign role."""
    desk.world.running(profile="theirs", app="web")


# ---- rows ----


def test_while_one_row_is_judged_its_instances_are_counted(terminal: Terminal) -> None:  # noqa: ARG001  # it is AWS
    """It may match the whole fleet."""
    shown = list[str]()

    class Shown(Silent):
        def at(self, done: int, total: int | None = None, rest: str = "") -> None:  # noqa: ARG002  # as it is called
            shown.append(f"{done} {rest}")

    deployment = Deployment(Options(), Shown)
    rows = edits.set_columns(deployment, mapping_key("app=web"), ["role=db"])
    rehearsal.foresee(deployment, rows)
    assert shown == ["0 2 instances looked at", "0 4 instances looked at", "1 4 instances looked at"]


def test_what_the_caller_may_not_look_at_is_unknown_and_asked_all_the_same(terminal: Terminal, desk: Desk) -> None:
    desk.world.calls.before("DescribeInstances", refusing("UnauthorizedOperation"))
    ran = terminal.types("n\n", "mapping", "rm", "app=web")
    assert "What it would do to instances isn't known: you aren't allowed ec2:DescribeInstances on *." in ran.stderr
    assert "Delete app=web? [y/N]" in ran.stderr


# ---- approving ----


def test_an_approver_who_may_not_look_is_shown_what_was_counted(terminal: Terminal, desk: Desk) -> None:
    terminal.one_change_passes()
    desk.edit("app=web", role="db", expires_at="2026-12-01T00:00:00Z")
    desk.world.calls.before("DescribeInstances", refusing("UnauthorizedOperation"))
    ran = terminal.types("n\n", "mapping", "approve", "app=web")
    assert "Instances: 3 to replace." in ran.stderr
    assert "It was counted at 20" in ran.stderr
    assert "More instances change at 2026-12-01T00:00:00Z." in ran.stderr
    assert "Publish revision 2 of app=web, which changes 3 instances?" in ran.stderr


def test_approving_what_would_be_rejected_by_now_says_so(terminal: Terminal, desk: Desk) -> None:
    terminal.one_change_passes()
    desk.role("new")
    desk.edit("app=web", role="new")
    desk.delete_role("new")
    terminal.judges("app=web")
    ran = terminal.types("y\n", "mapping", "approve", "app=web")
    assert "Publish revision 2 of app=web? It will be rejected. [y/N]" in ran.stderr
    assert (ran.exit_code, desk.shows("app=web")[0]) == (3, "Rejected")


# ---- one instance ----


def test_a_foreign_role_that_a_pin_would_take_over_is_named(terminal: Terminal, desk: Desk) -> None:
    terminal.parameters["TakeOver"] = "true"
    instance = desk.world.running(profile="theirs")
    ran = terminal.types("n\n", "replace", instance, "web")
    assert "Instances: 1 to replace; 1 with a foreign role." in ran.stderr
    assert f"It carries the foreign {THEIRS}, which Rolekeeper can't put back." in ran.stderr


# ---- the switches ----


def test_pause_never_waits_for_a_large_fleet(terminal: Terminal, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """At three in the morning everything has to stop: after five seconds it asks with what it has seen."""

    def slow(deployment: Deployment) -> Iterator[list[Instance]]:
        """A fleet without an end, of which a page takes two seconds."""
        while True:
            desk.world.clock.sleep(2)
            yield from fleet_pages(deployment)

    monkeypatch.setattr(preview, "pages", slow)
    ran = terminal.types("n\n", "pause")
    assert "The first 8 instances were counted." in ran.stderr


def test_a_switch_leaves_out_damaged_records_and_says_so(terminal: Terminal, desk: Desk) -> None:
    damaged = [desk.world.running(app="web") for _ in range(6)]
    for each in damaged:
        desk.world.garble(layout.record_key(desk.world.key(each)))
    ran = terminal.types("n\n", "pause")
    assert "Withheld: no change" in ran.stderr
    assert "Warning" not in ran.stderr
    assert sum(f"{each} is left out: " in ran.stderr for each in damaged) == 5
    assert "And 1 more." in ran.stderr

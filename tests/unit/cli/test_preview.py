"""What a person at a terminal is shown before anything is done: what it would do to instances."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from fixtures.account import mapping_key, refusing
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper.model.instance import Instance
from rolekeeper.storage import layout
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.options import Options
from rolekeeper_cli.progress import Silent
from rolekeeper_cli.uses import edits, preview, rehearsal
from rolekeeper_cli.uses.fleet import pages as fleet_pages

THEIRS = "arn:aws:iam::123456789012:instance-profile/theirs"


@pytest.fixture(autouse=True)
def fleet(desk: Desk, web_and_db: None) -> None:  # noqa: ARG001  # they are there
    """Two roles; `app=web` gives three instances the first, and a fourth one has a foreign role."""
    desk.grant("web", "s3:GetObject")
    desk.grant("db", "s3:PutObject")
    desk.three_carry("web", "app=web")
    desk.world.running(profile="theirs", app="web")
    desk.quiet()


# ---- rows ----


def test_set_shows_who_would_change_and_asks(terminal: Terminal, desk: Desk) -> None:
    ran = terminal.types("n\n", "mapping", "set", "app=web", "role=db")
    assert ran.exit_code == 1
    assert ran.stdout.splitlines()[:2] == ["~ app=web", "    role: web → db"]
    assert "Instances: 0 to attach, 3 to replace, 0 to detach; 1 with a foreign role." in ran.stderr
    assert "Permissions: gains s3:PutObject on *; loses s3:GetObject on *." in ran.stderr
    assert "app=web would be" not in ran.stderr
    assert "Write this into app=web? [y/N]" in ran.stderr
    assert (desk.row("app=web")["role"], desk.world.writes) == ("web", [])


@pytest.mark.parametrize(
    "line", [("set", "app=web", "role=NONE"), ("rm", "app=web"), ("set", "app=web", "enabled=false")]
)
def test_an_edit_that_takes_roles_away_says_how_long_they_are_used(
    terminal: Terminal, desk: Desk, line: tuple[str, ...]
) -> None:
    told = " ".join(terminal.types("n\n", "mapping", *line).stderr.split())
    until = desk.world.clock.now() + timedelta(hours=6, minutes=40)
    assert f"may use the former role's credentials until {until:%Y-%m-%dT%H:%M:%SZ} at the latest" in told
    assert "rolekeeper revoke INSTANCE" in told


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


def test_set_shows_what_changes_when_the_row_expires(terminal: Terminal) -> None:
    ran = terminal.types("n\n", "mapping", "set", "app=web", "role=web", "expires_at=2026-12-01T00:00:00Z")
    assert "0 to attach, 0 to replace, 0 to detach, 3 to change only later; 1 with a foreign role." in ran.stderr
    assert "Permissions: loses s3:GetObject on *." in ran.stderr
    assert "app=web: at 2026-12-01T00:00:00Z, when it expires, attach 0, replace 0 and detach 3." in ran.stderr


@pytest.mark.parametrize("how", ["--yes", "no terminal"])
def test_set_neither_shows_nor_asks_for_scripts(terminal: Terminal, desk: Desk, how: str) -> None:
    terminal.judges("app=web")
    line = ("mapping", "set", "app=web", "role=db")
    ran = terminal.types("", *line, "--yes") if how == "--yes" else terminal(*line)
    assert (ran.exit_code, "to attach" in ran.stderr) == (0, False), ran.output
    assert desk.shows("app=web")[::2] == ("Published", 2)


def test_an_edit_that_would_be_rejected_is_shown_with_the_reason(terminal: Terminal) -> None:
    ran = terminal.types("n\n", "mapping", "set", "app=web", "role=nobody")
    assert "Instances: 0 to attach, 0 to replace, 0 to detach" in ran.stderr
    assert "app=web would be Rejected: role 'nobody' doesn't exist" in ran.stderr
    assert "Write this into app=web? It will be rejected. [y/N]" in ran.stderr


def test_rm_of_a_row_by_which_others_would_govern_says_that_too(terminal: Terminal, desk: Desk) -> None:
    desk.edit("app=*", role="db", priority=500)
    ran = terminal.types("n\n", "mapping", "rm", "app=web")
    assert "Delete app=web and give 3 instances another role?" in ran.stderr


def test_import_shows_the_sum_of_its_rows(terminal: Terminal, desk: Desk, tmp_path: Path) -> None:
    desk.world.running(app="new")
    file = tmp_path / "mappings.yaml"
    file.write_text(
        "mappings:\n- {tag_key: app, tag_value: web, role: db}\n- {tag_key: app, tag_value: new, role: web}\n"
    )
    ran = terminal.types("n\n", "mapping", "import", str(file))
    assert "Instances: 1 to attach, 3 to replace, 0 to detach; 1 with a foreign role." in ran.stderr
    assert "Write these changes? [y/N]" in ran.stderr
    assert desk.world.writes == []
    terminal.one_change_passes()
    file.write_text(f"{file.read_text()}- {{tag_key: a, tag_value: b, role: nobody}}\n")
    ran = terminal.types("n\n", "mapping", "import", str(file))
    assert "Instances: 1 to attach, 0 to replace, 0 to detach.\nOnce approved: 0 to" in ran.stderr
    assert "Write these changes? 1 row will wait for approval. 1 row will be rejected. [y/N]" in ran.stderr


@pytest.mark.parametrize(
    ("line", "once_approved", "asked"),
    [
        ("set app=web role=db", "0 to attach, 3 to replace, 0 to detach", "Write this into app=web?"),
        ("rm app=web", "0 to attach, 0 to replace, 3 to detach", "Delete app=web?"),
        (
            "rollback app=web --to 1",
            "0 to attach, 3 to replace, 0 to detach",
            "Write revision 1 into the row of app=web?",
        ),
    ],
)
def test_a_question_says_that_it_will_wait_and_claims_no_change_until_then(
    terminal: Terminal, desk: Desk, line: str, once_approved: str, asked: str
) -> None:
    if "rollback" in line:
        desk.edit("app=web", role="db")
        desk.world.reconcile_all(*desk.sent_ids())
    terminal.one_change_passes()
    ran = terminal.types("n\n", "mapping", *line.split())
    assert "Instances: 0 to attach, 0 to replace, 0 to detach." in ran.stderr
    assert f"Once approved: {once_approved}." in ran.stderr
    assert f"\n{asked} It will wait for approval. [y/N]" in ran.stderr


def test_what_the_caller_may_not_look_at_is_unknown_and_asked_all_the_same(terminal: Terminal, desk: Desk) -> None:
    desk.world.calls.before("DescribeInstances", refusing("UnauthorizedOperation"))
    ran = terminal.types("n\n", "mapping", "rm", "app=web")
    assert "What it would do to instances isn't known: you aren't allowed ec2:DescribeInstances on *." in ran.stderr
    assert "Delete app=web? [y/N]" in ran.stderr


def test_while_paused_it_is_said_that_nothing_changes_now(terminal: Terminal, desk: Desk) -> None:
    desk.world.control(paused=True)
    ran = terminal.types("n\n", "mapping", "rm", "app=web")
    assert "No changes will be made now: Rolekeeper is paused.\nDelete app=web? [y/N]" in ran.stderr


# ---- approving ----


@pytest.fixture
def tight(terminal: Terminal) -> None:
    terminal.one_change_passes()


@pytest.mark.usefixtures("tight")
def test_approving_a_deletion_says_that_it_deletes_and_takes_the_role(terminal: Terminal, desk: Desk) -> None:
    desk.delete("app=web")
    desk.publish("app=web")
    terminal.judges("app=web")
    ran = terminal.types("y\n", "mapping", "approve", "app=web")
    assert ran.exit_code == 0, ran.output
    assert "Delete app=web and take the role from 3 instances? [y/N]" in ran.stderr
    assert ran.stdout == "The deletion of app=web is held as revision 2.\n"
    assert "Deleted." in ran.stderr
    assert "ublish" not in ran.stderr
    assert desk.row("app=web") == {}


@pytest.mark.usefixtures("tight")
def test_an_approver_who_may_not_look_is_shown_what_was_counted(terminal: Terminal, desk: Desk) -> None:
    desk.edit("app=web", role="db", expires_at="2026-12-01T00:00:00Z")
    desk.world.calls.before("DescribeInstances", refusing("UnauthorizedOperation"))
    ran = terminal.types("n\n", "mapping", "approve", "app=web")
    assert "Instances: 0 to attach, 3 to replace, 0 to detach" in ran.stderr
    assert "It was counted at 20" in ran.stderr
    assert "More instances change at 2026-12-01T00:00:00Z." in ran.stderr
    assert "Publish revision 2 of app=web, which changes 3 instances?" in ran.stderr


@pytest.mark.usefixtures("tight")
def test_approving_what_would_be_rejected_by_now_says_so(terminal: Terminal, desk: Desk) -> None:
    desk.role("new")
    desk.edit("app=web", role="new")
    desk.delete_role("new")
    terminal.judges("app=web")
    ran = terminal.types("y\n", "mapping", "approve", "app=web")
    assert "Publish revision 2 of app=web? It will be rejected. [y/N]" in ran.stderr
    assert (ran.exit_code, desk.shows("app=web")[0]) == (3, "Rejected")


@pytest.mark.usefixtures("tight")
def test_an_approval_that_a_discard_overtook_is_no_success(terminal: Terminal, desk: Desk) -> None:
    desk.edit("app=web", role="db")

    def discarded() -> None:
        desk.discard("app=web")

    terminal.meanwhile = discarded
    ran = terminal("mapping", "approve", "app=web", "--yes")
    assert (ran.exit_code, "revision 2 of app=web was discarded meanwhile" in ran.stderr) == (1, True), ran.output
    assert desk.shows("app=web")[::2] == ("Published", 1)


# ---- one instance ----


def test_replace_shows_the_permissions_and_asks(terminal: Terminal, desk: Desk) -> None:
    instance = desk.converged("web", app="web")
    ran = terminal.types("n\n", "replace", instance, "db")
    assert ran.exit_code == 1
    assert "Instances: 0 to attach, 1 to replace, 0 to detach; 0 with a foreign role." in ran.stderr
    assert "Permissions: gains s3:PutObject on *; loses s3:GetObject on *." in ran.stderr
    assert "It should carry web now, and db then." in ran.stderr
    assert f"Pin {instance} to db? [y/N]" in ran.stderr
    assert desk.world.store.get([layout.pin_key(desk.world.key(instance))]) == {}


def test_a_foreign_role_that_a_pin_would_take_over_is_named(terminal: Terminal, desk: Desk) -> None:
    terminal.parameters["TakeOver"] = "true"
    instance = desk.world.running(profile="theirs")
    ran = terminal.types("n\n", "replace", instance, "web")
    assert "1 to replace, 0 to detach; 1 with a foreign role." in ran.stderr
    assert f"It carries the foreign {THEIRS}, which Rolekeeper can't put back." in ran.stderr


# ---- the switches ----


def test_pause_says_what_would_wait_and_asks(terminal: Terminal, desk: Desk) -> None:
    desk.world.running(app="web")
    ran = terminal.types("n\n", "pause")
    assert ran.exit_code == 1
    assert ran.stderr.splitlines()[:2] == [
        "Withheld: 1 to attach, 0 to replace, 0 to detach; 1 with a foreign role.",
        "Nothing changes from then on: Rolekeeper is paused. 5 instances were counted.",
    ]
    assert "Pause Rolekeeper? [y/N]" in ran.stderr
    assert not desk.world.state.read().control.paused


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
    assert "Withheld: 0 to attach" in ran.stderr
    assert "Warning" not in ran.stderr
    assert sum(f"{each} is left out: " in ran.stderr for each in damaged) == 5
    assert "1 more instances are left out." in ran.stderr


def test_resume_shows_what_was_withheld(terminal: Terminal, desk: Desk) -> None:
    terminal("pause")
    desk.world.running(app="web")
    ran = terminal.types("y\n", "resume")
    assert "Instances: 1 to attach, 0 to replace, 0 to detach; 1 with a foreign role." in ran.stderr
    assert "Permissions: gains s3:GetObject on *." in ran.stderr
    assert "They were withheld until now. 5 instances were counted." in ran.stderr
    assert not desk.world.state.read().control.paused


def test_resume_says_that_nothing_was_withheld(terminal: Terminal) -> None:
    terminal("pause")
    assert "Nothing was withheld until now. 4 instances were counted." in terminal.types("n\n", "resume").stderr


def test_a_mode_that_changes_nothing_says_so(terminal: Terminal) -> None:
    ran = terminal.types("n\n", "mode", "enforce")
    assert "Nothing else changes by that: changes are made as before." in ran.stderr

"""What isn't in effect is approved, or dropped without a change of an instance; and an earlier revision is restored."""

from collections.abc import Callable
from typing import Any

import pytest

from fixtures.account import mapping_key
from fixtures.mappings import Desk
from fixtures.terminal import CALLER, USER_ID, Terminal, lines
from rolekeeper.model.mapping import MappingKey
from rolekeeper.settings import Limits
from rolekeeper.storage import layout
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.mapping.command import tell_verdicts
from rolekeeper_cli.options import Options
from rolekeeper_cli.row.edits import Written
from rolekeeper_cli.row.effect import Row
from rolekeeper_cli.row.use import consent
from rolekeeper_cli.row.view import EditEntryView

pytestmark = pytest.mark.desk(usable=("web", "db"))

TAG = "workload=web"


# ---- approve ----


@pytest.mark.parametrize(
    ("by", "claims", "words"),
    [
        ("AIDA1", "arn:aws:iam::1:user/team/bob", "approved by bob (AIDA1)"),
        ("AROA1:bob", "arn:aws:sts::1:assumed-role/ops/carol", "approved by bob (AROA1:bob)"),
        ("123456789012", "arn:aws:iam::123456789012:root", "approved by root (123456789012)"),
        ("AIDA1", "me/you", "approved by AIDA1"),
        ("AIDA1", None, "approved by AIDA1"),
        (None, None, ""),
    ],
)
def test_who_approved_is_named_with_the_id_that_iam_proves(by: str | None, claims: str | None, words: str) -> None:
    assert consent(EditEntryView.of_nothing().but(approved_by=by, approver_claims=claims)) == words


def test_history_says_that_a_held_edit_no_longer_needed_approval(terminal: Terminal, held: Desk) -> None:
    held.limits = Limits(2, 0)
    held.recheck(TAG)
    shown = lines(terminal("mapping", "history", TAG).stdout)
    assert " 2 al it no longer needs approval: role: web → db" in shown[1]


def test_all_that_others_edited_is_approved_by_one_answer(terminal: Terminal, held: Desk) -> None:
    for tier, by in {"db": "bo", "own": CALLER}.items():
        for _ in range(2):
            held.world.running(tier=tier)
        held.edit(f"tier={tier}", role="db", edited_by=by)
    terminal.judges(TAG, "tier=db")
    ran = terminal.types("y\n", "mapping", "approve", "--all")
    assert ran.exit_code == 0, ran.output
    assert ran.stdout == "Revision 1 of tier=db is held.\nRevision 2 of workload=web is held.\n"
    assert "Left out: tier=own, because it is your own edit; another person approves it." in ran.stderr
    assert "Instances: 2 to attach, 2 to replace." in ran.stderr
    assert "Publish 2 edits, which changes 4 instances? [y/N]: y" in ran.stderr
    assert [held.row(tag)["status"] for tag in (TAG, "tier=db", "tier=own")] == ["Published", "Published", "Held"]
    ran = terminal("mapping", "approve", "--all", "--yes")
    assert (ran.exit_code, ran.stderr.splitlines()[-1]) == (0, "Nothing to approve.")


@pytest.mark.parametrize("line", [[], [TAG, "--all"], [TAG, "tier=db", "--revision", "2"]])
def test_an_approval_names_mappings_or_all(terminal: Terminal, line: list[str]) -> None:
    ran = terminal("mapping", "approve", *line, "--yes")
    assert (ran.exit_code, "name mappings, or give --all" in ran.stderr) == (252, True)


@pytest.mark.usefixtures("terminal")
def test_what_a_held_or_rejected_row_says_to_type_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    key = MappingKey("a=b", "c d")
    rows = Row(key, status="Held", held_revision=2), Row(key, role="wbe", status="Rejected")
    tell_verdicts(Deployment(Options()), Written(rows))
    said = capsys.readouterr().err
    assert all(rf"rolekeeper mapping {verb} 'a\=b=c d'" in said for verb in ("approve", "discard", "set")), said


def test_an_approval_names_what_is_held_as_it_was_shown(terminal: Terminal, held: Desk) -> None:
    assert terminal("mapping", "approve", TAG, "--yes", "--no-wait").exit_code == 0
    key, edit = layout.approval_key(USER_ID, mapping_key(TAG)), held.held(TAG)
    item = held.world.store.get([key])[key]
    assert edit
    assert len(edit.digest) == 64
    shown = {"revision": 2, "digest": edit.digest, "arn": CALLER, "changes": 2, "takes": 2}
    assert item | shown == item
    assert item["expires"] > held.world.clock.now().timestamp()


# ---- what another actor does meanwhile ----


def newer(desk: Desk) -> None:
    desk.edit(TAG, role="db", priority=7)


def approves(desk: Desk) -> None:
    desk.approve(TAG, 2)


def discards(desk: Desk) -> None:
    desk.discard(TAG)


# By the command, and the call before or after which another actor acts; how it ends, and what the row is then.
@pytest.mark.parametrize(
    ("line", "act", "code", "said", "row"),
    [
        ("approve after BatchGetItem", newer, 1, "2 of {} is no longer held; it wasn't approved", {"held_revision": 3}),
        ("approve after PutItem", newer, 4, "! {} is Held: ", {"held_revision": 3, "status_revision": 1}),
        ("approve after PutItem", discards, 1, "revision 2 of {} was discarded meanwhile", {"status_revision": 1}),
        (
            "discard before PutItem",
            approves,
            1,
            "revision 2 of {} was published meanwhile; what you wrote is another edit, Published",
            {"role": "web", "status_revision": 3},
        ),
        (
            "discard before PutItem",
            newer,
            1,
            "another actor edited {} meanwhile; nothing was discarded, and the row is Held",
            {"priority": 7, "held_revision": 3},
        ),
    ],
)
def test_what_another_actor_does_meanwhile_is_said_and_stays(
    terminal: Terminal, held: Desk, line: str, act: Callable[[Desk], None], code: int, said: str, row: dict[str, Any]
) -> None:
    command, when, call = line.split()
    getattr(held.world.calls, when)(call, lambda: act(held))
    terminal.judges(TAG)
    ran = terminal("mapping", command, TAG, "--yes")
    assert (ran.exit_code, said.format(TAG) in ran.stderr) == (code, True), ran.output
    assert held.row(TAG) | row == held.row(TAG)


@pytest.mark.parametrize("command", ["discard", "approve"])
def test_what_the_row_calls_held_and_no_longer_is_stays(terminal: Terminal, held: Desk, command: str) -> None:
    held.set(TAG, held_revision=7)
    held.quiet()
    ran = terminal("mapping", command, TAG, "--yes")
    assert (ran.exit_code, held.world.writes) == (1, [])
    assert "revision 7 of workload=web is no longer held; nothing was changed" in ran.stderr


# ---- discard ----


def new_row(desk: Desk) -> None:
    desk.limits = Limits(0, 0)
    desk.world.running(app="new")
    desk.edit("app=new", role="db")


@pytest.mark.parametrize(
    ("before", "tag", "code", "left"),
    [
        (new_row, "app=new", 0, "gone"),
        (lambda desk: desk.delete_role("web"), TAG, 3, "Rejected"),
        (lambda desk: desk.delete(TAG), TAG, 0, "Published"),
    ],
)
def test_a_discard_ends_with_what_the_row_is_then(
    terminal: Terminal, held: Desk, before: Callable[[Desk], None], tag: str, code: int, left: str
) -> None:
    before(held)
    terminal.judges(tag)
    ran = terminal("mapping", "discard", tag, "--yes")
    assert (ran.exit_code, f"Discarded. The row is {left}." in ran.stderr) == (code, True), ran.output
    assert held.row(tag).get("status", "gone") == left


# ---- rollback ----


@pytest.fixture
def changed(desk: Desk) -> Desk:
    """A mapping at its second revision, by which three instances carry another role."""
    ids = desk.three_carry("web", TAG)
    desk.edit(TAG, role="db")
    desk.world.reconcile_all(*ids)
    return desk


@pytest.mark.usefixtures("changed")
def test_a_rollback_that_changes_too_much_waits_for_approval_each_time(terminal: Terminal) -> None:
    terminal.one_change_passes()
    terminal.judges(TAG)
    for said in ("! workload=web is Held: it would ", "Nothing to write: the table says so already."):
        ran = terminal("mapping", "rollback", TAG, "--to", "1", "--yes")
        assert (ran.exit_code, said in ran.stderr) == (4, True), ran.output

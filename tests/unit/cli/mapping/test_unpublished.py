"""discard: what isn't in effect is dropped, and no instance changes. rollback: an earlier revision is restored."""

import pytest

from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper.settings import Limits

TAG = "app=web"


@pytest.fixture(autouse=True)
def fleet(desk: Desk, web_and_db: None) -> None:  # noqa: ARG001  # they are there
    """`app=web` gives three instances their role; one change passes without approval."""
    desk.three_carry("web", TAG)
    desk.limits = Limits(1, 0)
    desk.quiet()


# ---- discard ----


def test_a_held_row_that_was_never_in_effect_goes(terminal: Terminal, desk: Desk) -> None:
    for _ in range(2):
        desk.world.running(app="new")
    desk.edit("app=new", role="db")
    terminal.judges("app=new")
    ran = terminal.types("y\n", "mapping", "discard", "app=new")
    assert "This deletes the row, which was never in effect; no instance changes." in ran.stderr
    assert (ran.exit_code, "Discarded. The row is gone." in ran.stderr) == (0, True), ran.output
    assert desk.row("app=new") == {}


def test_a_discard_ends_with_what_the_row_is_then(terminal: Terminal, desk: Desk) -> None:
    desk.edit(TAG, role="db")
    desk.delete_role("web")
    terminal.judges(TAG)
    ran = terminal("mapping", "discard", TAG, "--yes")
    assert (ran.exit_code, "Discarded. The row is Rejected." in ran.stderr) == (3, True), ran.output


def test_a_discard_that_an_approval_overtook_says_that_it_is_another_edit(terminal: Terminal, desk: Desk) -> None:
    desk.edit(TAG, role="db")
    desk.world.calls.before("PutItem", lambda: desk.approve(TAG, 2))
    terminal.judges(TAG)
    ran = terminal("mapping", "discard", TAG, "--yes")
    assert ran.exit_code == 1
    assert "revision 2 of app=web was published meanwhile; what you wrote is another edit, Published" in ran.stderr
    assert (desk.row(TAG)["role"], desk.shows(TAG)[::2]) == ("web", ("Published", 3))


def test_a_newer_edit_is_never_discarded(terminal: Terminal, desk: Desk) -> None:
    desk.edit(TAG, role="db")
    desk.world.calls.before("PutItem", lambda: desk.edit(TAG, role="db", priority=7))
    terminal.judges(TAG)
    ran = terminal("mapping", "discard", TAG, "--yes")
    assert ran.exit_code == 1
    assert "another actor edited app=web meanwhile; nothing was discarded, and the row is Held" in ran.stderr
    assert (desk.row(TAG)["priority"], desk.row(TAG)["held_revision"]) == (7, 3)


def test_a_deletion_that_isnt_judged_yet_is_discarded(terminal: Terminal, desk: Desk) -> None:
    desk.delete(TAG)
    terminal.judges(TAG)
    ran = terminal("mapping", "discard", TAG, "--yes")
    assert (ran.exit_code, desk.shows(TAG)[::2]) == (0, ("Published", 1)), ran.output


def test_an_edit_that_comes_meanwhile_is_left_alone(terminal: Terminal, desk: Desk) -> None:
    desk.edit(TAG, role="nobody")
    desk.world.calls.before("PutItem", lambda: desk.put(TAG, role="db"))
    ran = terminal("mapping", "discard", TAG, "--yes", "--no-wait")
    assert (ran.exit_code, "another actor changed app=web since the plan" in ran.stderr) == (1, True)
    assert desk.row(TAG)["role"] == "db"


@pytest.mark.parametrize("command", ["discard", "approve"])
def test_what_the_row_calls_held_and_no_longer_is_stays(terminal: Terminal, desk: Desk, command: str) -> None:
    desk.edit(TAG, role="db")
    desk.set(TAG, held_revision=7)
    desk.quiet()
    ran = terminal("mapping", command, TAG, "--yes")
    assert (ran.exit_code, desk.world.writes) == (1, [])
    assert "revision 7 of app=web is no longer held; nothing was changed" in ran.stderr


# ---- rollback ----


def test_a_rollback_that_changes_too_much_waits_for_approval_each_time(terminal: Terminal, desk: Desk) -> None:
    desk.limits = Limits(25, 20)
    desk.edit(TAG, role="db")
    desk.world.reconcile_all(*desk.sent_ids())
    terminal.one_change_passes()
    terminal.judges(TAG)
    for said in ("! app=web is Held: it would ", "Nothing to write: the table says so already."):
        ran = terminal("mapping", "rollback", TAG, "--to", "1", "--yes")
        assert (ran.exit_code, said in ran.stderr) == (4, True), ran.output


def test_a_rollback_goes_back_one_revision_and_never_to_a_deletion(terminal: Terminal, desk: Desk) -> None:
    desk.limits = Limits(25, 20)
    desk.delete(TAG)
    desk.publish(TAG)
    desk.edit(TAG, role="db")
    ran = terminal("mapping", "rollback", TAG, "--yes", "--no-wait")
    assert ran.stderr.startswith("Revision 1:")
    assert desk.row(TAG)["role"] == "web"

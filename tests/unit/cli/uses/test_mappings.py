"""Editing mappings by functions: a plan, then writing it, with a verdict on each row."""

import pytest

from fixtures.account import mapping_key
from fixtures.mappings import MappingsFixture
from fixtures.terminal import Terminal
from rolekeeper.settings import Limits
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError, WaitTimeoutError
from rolekeeper_cli.uses.edits import RowVerdict, Written, remove, roll_back, set_columns, write, write_back

KEY = mapping_key("app=web")


def three_where_one_may_change(desk: MappingsFixture) -> list[str]:
    """`app=web` gives three instances their role; one change passes without approval."""
    desk.edit("app=web", role="web")
    ids = [desk.converged("web", app="web") for _ in range(3)]
    desk.limits = Limits(1, 0)
    desk.quiet()
    return ids


def test_a_row_is_planned_written_and_judged(deployment: Deployment, terminal: Terminal, desk: MappingsFixture) -> None:
    plan = set_columns(deployment, KEY, ["role=web", "priority=7"])
    assert ([(each.key, each.kind) for each in plan.changes], desk.row("app=web")) == ([(KEY, "new")], {})
    terminal.judges("app=web")
    [row] = write(deployment, plan).rows
    assert (row.key, row.status, row.revision, row.held, row.good) == (KEY, "Published", 1, 0, True)
    assert (desk.row("app=web")["role"], desk.row("app=web")["priority"]) == ("web", 7)


def test_a_column_that_there_isnt_is_refused_before_anything_is_written(
    deployment: Deployment, desk: MappingsFixture
) -> None:
    with pytest.raises(UsageError, match="sets no column"):
        set_columns(deployment, KEY, ["rloe=web"])
    assert desk.row("app=web") == {}


def test_a_row_that_moved_since_its_plan_is_left_as_it_is(deployment: Deployment, desk: MappingsFixture) -> None:
    desk.edit("app=web", role="web")
    edit, deletion = set_columns(deployment, KEY, ["role=db"]), remove(deployment, KEY)
    desk.edit("app=web", role="web", owner="al")
    before = desk.row("app=web")
    for plan in (edit, deletion):
        assert write(deployment, plan) == Written(moved=(KEY,))
        assert desk.row("app=web") == before
    new = set_columns(deployment, mapping_key("app=new"), ["role=db"])
    desk.put("app=new", role="web")
    assert write(deployment, new).moved == (mapping_key("app=new"),)
    assert desk.row("app=new")["role"] == "web"


def test_who_doesnt_wait_gets_no_verdict_and_nobody_reads_the_row_again(
    deployment: Deployment, desk: MappingsFixture
) -> None:
    plan = set_columns(deployment, KEY, ["role=web"])
    desk.world.calls.clear()
    written = write(deployment, plan, patience=0)
    assert (written.rows, written.unjudged) == ((RowVerdict(KEY),), (KEY,))
    assert desk.world.calls["BatchGetItem"] == 0


def test_a_row_without_a_verdict_in_time_is_written_all_the_same(deployment: Deployment, desk: MappingsFixture) -> None:
    began = desk.world.clock.now()
    written = write(deployment, set_columns(deployment, KEY, ["role=web"]), patience=5)
    assert (written.unjudged, written.bad, desk.row("app=web")["role"]) == ((KEY,), (), "web")
    assert 5 <= (desk.world.clock.now() - began).total_seconds() < 6
    with pytest.raises(WaitTimeoutError, match=r"said nothing of app=web for 5 s"):
        written.require_judged(5)


def test_a_role_that_there_isnt_is_rejected_with_the_one_that_is_meant(
    deployment: Deployment, terminal: Terminal
) -> None:
    terminal.judges("app=web")
    [row] = write(deployment, set_columns(deployment, KEY, ["role=wbe"])).bad
    assert (row.status, row.meant, row.revision) == ("Rejected", "web", 0)
    assert "wbe" in row.reason


def test_a_row_is_deleted(deployment: Deployment, terminal: Terminal, desk: MappingsFixture) -> None:
    desk.edit("app=web", role="web")
    terminal.judges("app=web")
    [row] = write(deployment, remove(deployment, KEY)).rows
    assert (row.gone, row.deletes, row.good, desk.row("app=web")) == (True, True, True, {})
    with pytest.raises(CommandError, match="there is no mapping app=web"):
        remove(deployment, KEY)


def test_a_deletion_that_changes_too_much_is_held(
    deployment: Deployment, terminal: Terminal, desk: MappingsFixture
) -> None:
    three_where_one_may_change(desk)
    terminal.judges("app=web")
    [row] = write(deployment, remove(deployment, KEY)).bad
    assert (row.status, row.held, row.deletes, row.gone) == ("Held", 2, True, False)


# ---- rolling back ----


def test_a_roll_back_says_which_revision_it_restores(
    deployment: Deployment, terminal: Terminal, desk: MappingsFixture
) -> None:
    desk.edit("app=web", role="web")
    desk.edit("app=web", role="db")
    back = roll_back(deployment, KEY)
    assert (back.revision, back.edit) == (1, None)
    terminal.judges("app=web")
    [row] = write_back(deployment, back).rows
    assert (row.status, row.revision, desk.row("app=web")["role"]) == ("Published", 3, "web")
    with pytest.raises(CommandError, match="has no revision 9"):
        roll_back(deployment, KEY, 9)


def test_a_roll_back_discards_an_edit_that_is_held(
    deployment: Deployment, terminal: Terminal, desk: MappingsFixture
) -> None:
    three_where_one_may_change(desk)
    desk.edit("app=web", role="db")
    back = roll_back(deployment, KEY)
    assert back.edit
    assert (back.edit.held, back.revision, [each.kind for each in back.plan.changes]) == (2, 0, ["changed"])
    terminal.meanwhile = lambda: [desk.publish("app=web"), desk.publish("app=web")]
    [row] = write_back(deployment, back).rows
    assert (row.status, row.revision, desk.row("app=web")["role"]) == ("Published", 1, "web")


def test_a_roll_back_takes_a_rejected_edit_out_of_the_row(
    deployment: Deployment, terminal: Terminal, desk: MappingsFixture
) -> None:
    desk.edit("app=web", role="web")
    desk.edit("app=web", role="wbe")
    back = roll_back(deployment, KEY)
    assert back.edit
    assert (back.edit.held, back.edit.named) == (0, "the edit of app=web (Rejected)")
    terminal.judges("app=web")
    [row] = write_back(deployment, back).rows
    assert (row.status, desk.row("app=web")["role"]) == ("Published", "web")

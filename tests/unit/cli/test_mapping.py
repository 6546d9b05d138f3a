"""ls, get, set, rm, history, rollback and approve: one mapping at a time."""

from typing import Any

import pytest

from support.desk import Desk
from support.terminal import CALLER, Terminal, lines


@pytest.fixture(autouse=True)
def roles(desk: Desk) -> None:
    for role in ("web", "db"):
        desk.role(role)


# ---- ls, get ----


def test_the_list_shows_what_became_of_each_row(terminal: Terminal, desk: Desk) -> None:
    desk.edit("workload=web", role="web", priority=5)
    desk.edit("workload=bad", role="no such")
    desk.put("app=new", role="db")
    ran = terminal("mapping", "ls")
    head, new, bad, web = lines(ran.stdout)
    assert head == "MAPPING ROLE PRIORITY ENABLED STATUS REVISION MATCHED REASON"
    assert new == "app=new db"
    assert bad.startswith("workload=bad no such Rejected 0")
    assert "role: has SPACE" in bad
    assert web == "workload=web web 5 Published 1 0"
    assert ran.stderr == ""


def test_the_list_can_be_narrowed_and_read_by_programs(terminal: Terminal, desk: Desk) -> None:
    desk.edit("workload=web", role="web", accounts={"123456789012"})
    desk.edit("workload=bad", role="no such")
    [row] = terminal.document("mapping", "ls", "--status", "published")
    assert (row["mapping"], row["status"], row["status_revision"], row["matched"]) == (
        "workload=web",
        "Published",
        1,
        0,
    )
    assert row["columns"]["accounts"] == ["123456789012"]


def test_one_mapping_is_shown_whole(terminal: Terminal, desk: Desk) -> None:
    desk.edit("workload=web", role="web", require_tags={"env": "prod"})
    shown = lines(terminal("mapping", "get", "workload=web").stdout)
    assert "role web" in shown
    assert "status Published" in shown
    document = terminal.document("mapping", "get", "--tag-key", "workload", "--tag-value", "web")
    assert document["columns"]["require_tags"] == {"env": "prod"}


def test_a_key_that_holds_an_equals_sign_can_be_named(terminal: Terminal, desk: Desk) -> None:
    desk.world.dynamodb.put_item(
        TableName="rolekeeper-mappings",
        Item={"tag_key": {"S": "a=b"}, "tag_value": {"S": "c"}, "role": {"S": "web"}},
    )
    assert terminal.document("mapping", "get", "--tag-key", "a=b", "--tag-value", "c")["columns"]["role"] == "web"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no mapping is named"),
        (("workload",), "'workload' is no mapping"),
        (("=web",), "'=web' is no mapping"),
        (("workload=",), "write workload=* for any value"),
        (("a=b", "c=d"), "'c=d' is one word too many"),
        (("--tag-key", "a"), "belong together"),
        (("--tag-value", "a"), "belong together"),
    ],
)
def test_a_mapping_that_cant_be_meant_is_a_slip_in_the_command(
    terminal: Terminal, arguments: tuple[str, ...], words: str
) -> None:
    ran = terminal("mapping", "get", *arguments)
    assert (ran.exit_code, words in ran.stderr) == (252, True), ran.stderr


def test_a_mapping_that_isnt_there_is_told(terminal: Terminal) -> None:
    for command in (("get",), ("rm", "--yes"), ("approve", "--yes"), ("history",), ("rollback", "--yes")):
        ran = terminal("mapping", *command, "a=b")
        assert ran.exit_code == 1
        assert "a=b" in ran.stderr


def test_what_a_row_holds_cant_move_the_cursor(terminal: Terminal, desk: Desk) -> None:
    desk.put("workload=web", role="web", description="\x1b[2Jgone\nnext")
    for arguments in (("mapping", "get", "workload=web"), ("mapping", "export")):
        assert "\x1b" not in terminal(*arguments).output
    assert "\\u001b[2Jgone\\nnext" in terminal("mapping", "get", "workload=web").stdout


# ---- set, rm ----


def test_columns_are_set_and_taken_away(terminal: Terminal, desk: Desk) -> None:
    terminal.judges("workload=web")
    assert terminal("mapping", "set", "workload=web", "role=db", "owner=me").exit_code == 0
    terminal.judges("workload=web")
    ran = terminal(
        "mapping", "set", "workload=web", "role=web", "owner=", "enabled=false", "require_tags=env=prod", "priority=7"
    )
    assert ran.exit_code == 0, ran.output
    assert "    owner: me → none" in ran.stdout.splitlines()
    row = desk.row("workload=web")
    assert (row["role"], row["enabled"], row["require_tags"], row["priority"]) == ("web", False, {"env": "prod"}, 7)
    assert "owner" not in row
    assert row["edited_by"] == CALLER
    assert desk.shows("workload=web")[::2] == ("Published", 2)


def test_setting_what_is_so_already_writes_nothing(terminal: Terminal, desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    desk.quiet()
    assert "Nothing to do" in terminal("mapping", "set", "workload=web", "role=web", "priority=100").stderr
    assert "UpdateItem" not in desk.world.calls.made


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        ((), "no column is given"),
        (("roel=web",), "did you mean role?"),
        (("role",), "'role' sets no column"),
        (("status=Published",), "'status=Published' sets no column"),
        (("enabled=maybe",), "enabled: is 'maybe'; write true or false"),
        (("role=a/b",), "role: is 'a/b', which holds a path"),
        (("role=",), "role: is missing"),
    ],
)
def test_what_no_row_can_say_is_refused(
    terminal: Terminal, desk: Desk, assignments: tuple[str, ...], words: str
) -> None:
    ran = terminal("mapping", "set", "workload=web", *assignments)
    assert (ran.exit_code, words in ran.stderr) == (252, True), ran.stderr
    assert desk.row("workload=web") == {}


def test_a_mapping_is_deleted_once_it_is_said(terminal: Terminal, desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    assert terminal("mapping", "rm", "workload=web").exit_code == 252
    assert terminal.types("n\n", "mapping", "rm", "workload=web").exit_code == 1
    assert desk.row("workload=web")
    terminal.judges("workload=web")
    ran = terminal.types("y\n", "mapping", "rm", "workload=web")
    assert ran.exit_code == 0, ran.output
    assert desk.row("workload=web") == {}


# ---- history, rollback ----


def test_history_is_newest_first(terminal: Terminal, desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    desk.edit("workload=web", role="db")
    head, second, first = lines(terminal("mapping", "history", "workload=web").stdout)
    assert head == "AT EVENT REVISION BY WHAT"
    assert "Mapping Published 2" in second
    assert "Mapping Published 1" in first
    [entry] = terminal.document("mapping", "history", "workload=web", "--limit", "1")
    assert (entry["revision"], entry["role"]) == (2, "db")
    assert "pk" not in entry


def test_a_rollback_goes_to_the_revision_before_through_all_checks(terminal: Terminal, desk: Desk) -> None:
    desk.edit("workload=web", role="web", owner="me")
    desk.edit("workload=web", role="db", priority=5)
    terminal.judges("workload=web")
    ran = terminal.types("y\n", "mapping", "rollback", "workload=web")
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.splitlines()[:3] == ["~ workload=web", "    role: db → web", "    priority: 5 → 100"]
    row = desk.row("workload=web")
    assert (row["role"], row["owner"], row["edited_by"]) == ("web", "me", CALLER)
    assert desk.shows("workload=web")[::2] == ("Published", 3)


def test_a_rollback_brings_a_deleted_mapping_back(terminal: Terminal, desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    desk.delete("workload=web")
    desk.publish("workload=web")
    terminal.judges("workload=web")
    assert terminal("mapping", "rollback", "workload=web", "--yes").exit_code == 0
    assert desk.shows("workload=web")[::2] == ("Published", 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "9"), "has no revision 9"),
        (("--to", "2"), "revision 2 of workload=web is its deletion"),
        (("--to", "3"), "Nothing to do"),
    ],
)
def test_a_rollback_to_a_revision_that_is_named(
    terminal: Terminal, desk: Desk, arguments: tuple[str, ...], words: str
) -> None:
    desk.edit("workload=web", role="web")
    desk.delete("workload=web")
    desk.publish("workload=web")
    desk.edit("workload=web", role="db")
    assert words in terminal("mapping", "rollback", "workload=web", "--yes", *arguments).stderr


def test_a_rollback_needs_something_to_go_back_to(terminal: Terminal, desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    assert "has no revision before 1" in terminal("mapping", "rollback", "workload=web", "--yes").stderr
    assert "no revision of a=b was ever served" in terminal("mapping", "rollback", "a=b", "--yes").stderr


# ---- approve ----


@pytest.fixture
def held(desk: Desk) -> dict[str, Any]:
    """A row that Rolekeeper holds."""
    row = {"role": "web", "status": "Held", "status_reason": "it would replace 40 instances", "held_revision": 5}
    desk.put("workload=web", **row)
    return row


@pytest.mark.usefixtures("held")
def test_a_held_edit_is_shown_and_approved(terminal: Terminal, desk: Desk) -> None:
    def serve() -> None:
        assert desk.row("workload=web")["approve"] == 5
        desk.put("workload=web", role="web", status="Published", status_reason="serving", status_revision=5)

    terminal.meanwhile = serve
    ran = terminal.types("y\n", "mapping", "approve", "workload=web")
    assert ran.exit_code == 0, ran.output
    assert ran.stdout == "Revision 5 of workload=web is held: it would replace 40 instances\n"
    assert "Serve revision 5?" in ran.stderr


@pytest.mark.usefixtures("held")
def test_an_approved_deletion_takes_the_row_away(terminal: Terminal, desk: Desk) -> None:
    terminal.meanwhile = lambda: desk.delete("workload=web")
    assert terminal("mapping", "approve", "workload=web", "--yes").exit_code == 0


@pytest.mark.usefixtures("held")
def test_another_revision_than_the_one_meant_isnt_approved(terminal: Terminal, desk: Desk) -> None:
    ran = terminal("mapping", "approve", "workload=web", "--revision", "4", "--yes")
    assert (ran.exit_code, "revision 5 of workload=web is held, not 4" in ran.stderr) == (1, True)
    desk.world.calls.before("UpdateItem", lambda: desk.put("workload=web", role="db", held_revision=6))
    ran = terminal("mapping", "approve", "workload=web", "--yes")
    assert (ran.exit_code, "revision 5 of workload=web isn't held any more" in ran.stderr) == (1, True)
    assert "approve" not in desk.row("workload=web")


def test_what_isnt_held_cant_be_approved(terminal: Terminal, desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    ran = terminal("mapping", "approve", "workload=web", "--yes")
    assert (ran.exit_code, "no edit of workload=web is held: it is Published" in ran.stderr) == (1, True)

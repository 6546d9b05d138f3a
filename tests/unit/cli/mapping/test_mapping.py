"""One mapping at a time: what each command writes, waits for, and ends with."""

import shlex
from dataclasses import replace
from itertools import starmap
from typing import Any

import pytest

from fakes.dynamodb_values import ITEM_BYTES
from fixtures.account import MAPPING_TABLE
from fixtures.mappings import Desk
from fixtures.terminal import CALLER, Terminal, lines
from rolekeeper.mappings.rows import OURS
from rolekeeper.model.mapping import MappingKey, MappingSpec
from rolekeeper.model.problem import Kind, Reason, ReasonCode
from rolekeeper_cli.row.edits import Change, exit_code
from rolekeeper_cli.row.effect import worth_saying

pytestmark = pytest.mark.usefixtures("web_and_db")


# ---- ls, get ----


@pytest.mark.parametrize(
    ("reasons", "well"),
    [
        ([ReasonCode.IN_EFFECT()], True),
        ([ReasonCode.IN_EFFECT(all=1200)], True),
        ([ReasonCode.IN_EFFECT(some=1, of=2)], False),
        ([ReasonCode.IN_EFFECT(all=2), ReasonCode.NO_ANSWER_IN_ACCOUNTS()], False),
    ],
)
def test_only_a_row_that_is_in_effect_wherever_it_is_to_be_needs_no_reason(
    reasons: list[Reason], *, well: bool
) -> None:
    assert (not worth_saying(reasons)) == well


def test_a_row_without_room_for_its_status_shows_it_all_the_same(terminal: Terminal, desk: Desk) -> None:
    room = ITEM_BYTES - len("tag_keyworkloadtag_valuewebrolewebnotes")
    desk.put_raw("workload=web", {"role": {"S": "web"}, "notes": {"S": "x" * room}})
    assert lines(terminal("mapping", "ls").stdout)[1].endswith("not judged yet")
    desk.publish("workload=web")
    assert lines(terminal("mapping", "ls").stdout)[1].startswith("workload=web none → web Rejected the row has 400 KB")
    [document] = terminal.document("mapping", "ls", "--status", "rejected")
    assert document["status_reason"].startswith("the row has 400 KB")


def test_the_name_of_a_mapping_can_be_typed_whatever_its_key_holds(terminal: Terminal, desk: Desk) -> None:
    """What a document and a remedy say is what every command takes."""
    for key in starmap(MappingKey, (("a=b", "c d"), ("a", "b=c d"), ("a\\", "=$x"), ("ou\\x=y", "\\"))):
        assert terminal("mapping", "set", str(key), "role=web", "--no-wait").exit_code == 0
        [row] = desk.world.dynamodb.items(MAPPING_TABLE)
        assert (row["tag_key"]["S"], row["tag_value"]["S"]) == (key.tag_key, key.tag_value)
        [listed] = terminal.document("mapping", "ls")
        assert listed["mapping"] == str(key)
        typed = shlex.split(str(key.remedy(Kind.MAPPING)))[1:]
        assert terminal.document(*typed)["columns"]["role"] == "web"
        assert terminal("fleet", "--mapping", str(key)).exit_code == 0
        assert terminal("mapping", "rm", str(key), "--yes", "--no-wait").exit_code == 0


# ---- set, rm ----


def test_who_deletes_a_row_stands_in_it_first(terminal: Terminal, desk: Desk) -> None:
    """The stream's record of the deletion carries the row as it was."""
    desk.put("old=1", role="web")
    seen: list[str] = []
    desk.world.calls.before("DeleteItem", lambda: seen.append(desk.row("old=1")["edited_by"]))
    terminal("mapping", "rm", "old=1", "--yes", "--no-wait")
    assert seen == [CALLER]


def test_without_a_terminal_and_without_yes_it_is_refused_before_anything(terminal: Terminal, desk: Desk) -> None:
    desk.quiet()
    for line in (*(("mapping", verb, "a=b") for verb in ("rm", "rollback", "discard", "approve")), ("redrive",)):
        ran = terminal(*line)
        assert (ran.exit_code, "there is no terminal to ask on\n  give --yes" in ran.stderr) == (252, True), line
    assert desk.world.calls.made == []


@pytest.mark.parametrize(
    ("first", "line"),
    [("UpdateItem", ("rm", "old=1")), ("UpdateItem", ("discard", "old=1")), ("PutItem", ("set", "old=1", "role=db"))],
)
def test_a_row_that_moved_since_it_was_read_is_left_alone_and_named(
    terminal: Terminal, desk: Desk, first: str, line: tuple[str, ...]
) -> None:
    desk.put("old=1", role="web")
    desk.world.calls.before(first, lambda: desk.put("old=1", role="web", priority=7))
    ran = terminal("mapping", *line, "--yes", "--no-wait")
    assert (ran.exit_code, "another actor changed old=1 since the plan" in ran.stderr) == (1, True)
    assert desk.row("old=1") == {"tag_key": "old", "tag_value": "1", "role": "web", "priority": 7}


def test_a_row_that_its_accounts_are_asked_about_isnt_judged_yet(terminal: Terminal, desk: Desk) -> None:
    """In hundreds of accounts that takes longer than the command waits for a first word."""
    began = desk.world.clock.seconds

    def meanwhile() -> None:
        if desk.world.clock.seconds - began < 120:
            desk.set("workload=web", status="Waiting", status_reason="it is being judged in 400 accounts", judging=400)
            terminal.meanwhile = meanwhile
        else:
            desk.publish("workload=web")

    terminal.meanwhile = meanwhile
    ran = terminal("mapping", "set", "workload=web", "role=web")
    assert (ran.exit_code, desk.world.clock.seconds - began >= 120) == (0, True)
    assert "Published as written." in ran.stderr


def test_an_edit_names_no_column_of_rolekeepers(
    terminal: Terminal, held: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the editors' policy would have to let them write it."""
    held.set("workload=web", unheard_of="kept")
    puts: list[dict[str, Any]] = []
    monkeypatch.setattr(held.world.dynamodb, "put_item", lambda **asked: puts.append(asked))
    terminal("mapping", "set", "workload=web", "owner=al", "--no-wait")
    [put] = puts
    compared = set(put["ExpressionAttributeNames"].values())
    assert ({*put["Item"]} | compared).isdisjoint(OURS)
    assert {"unheard_of": {"S": "kept"}, "owner": {"S": "al"}}.items() <= put["Item"].items()
    assert "unheard_of" in compared


def test_a_row_is_foreseen_as_it_is_written_without_what_rolekeeper_wrote() -> None:
    key = MappingKey("app", "web")
    spec = MappingSpec(key, "web")
    ours = {"status": {"S": "Held"}, "held_revision": {"N": "2"}}
    row = {"tag_key": {"S": "app"}, "tag_value": {"S": "web"}, "role": {"S": "web"}, "note": {"S": "theirs"}, **ours}
    change = Change(key, row, spec, spec=replace(spec, role="db"))
    kept = {name: row[name] for name in ("tag_key", "tag_value", "note")}
    assert change.written == {**kept, "role": {"S": "db"}}
    assert replace(change, spec=None).written == {}


# ---- a row that says already what is wanted ----


def test_a_held_edit_that_no_longer_needs_approval_is_written_again(terminal: Terminal, held: Desk) -> None:
    terminal.changes_pass(2)
    terminal.judges("workload=web")
    ran = terminal("mapping", "set", "workload=web", "role=db")
    assert (ran.exit_code, held.gives("workload=web")) == (0, ("db", 2)), ran.output
    assert "~ workload=web  no longer needs approval\n" in ran.stdout
    assert "Published as written." in ran.stderr


@pytest.mark.parametrize(
    ("columns", "code", "said"),
    [
        (None, 4, "to delete it: rolekeeper mapping approve workload=web"),
        ({"status": "Waiting", "status_reason": "AWS gave no answer"}, 1, "! workload=web is Waiting: AWS gave no"),
    ],
    ids=["its deletion is held", "AWS gave no answer"],
)
def test_a_row_that_isnt_in_effect_is_told(
    terminal: Terminal, held: Desk, columns: dict[str, str] | None, code: int, said: str
) -> None:
    if columns:
        held.put("workload=web", role="web", **columns)
    else:
        held.remove("workload=web")
    ran = terminal("mapping", "set", "workload=web", "role=web")
    assert (ran.exit_code, said in ran.stderr) == (code, True), ran.output


@pytest.mark.parametrize("written", ["new", "a status that is older than the row"])
def test_a_row_that_isnt_judged_yet_is_waited_for(terminal: Terminal, desk: Desk, written: str) -> None:
    role = "nobody" if written == "new" else "web"
    if written != "new":
        desk.edit("app=a b", role="db")
    desk.set("app=a b", role=role)
    line = ("mapping", "set", "app=a b", f"role={role}")
    ran = terminal(*line)
    assert (ran.exit_code, "Rolekeeper said nothing of app=a b for 60 s" in ran.stderr) == (255, True)
    assert "see its row later: rolekeeper mapping get 'app=a b'; its function is" in ran.stderr
    assert terminal(*line, "--no-wait").exit_code == 0, "nobody waits"
    terminal.judges("app=a b")
    assert terminal(*line).exit_code == (3 if written == "new" else 0)


@pytest.mark.parametrize(
    ("statuses", "changes", "code"),
    [
        *[("", False, 0), ("", True, 2), ("Published Expired Removed", True, 2), ("Held Published", True, 4)],
        *[("Conflict Held", True, 3), ("Held Rejected", False, 3), ("Rejected Held Waiting", True, 1)],
    ],
)
def test_the_worst_status_is_how_a_command_ends(statuses: str, *, changes: bool, code: int) -> None:
    assert exit_code(statuses.split(), changes=changes) == code

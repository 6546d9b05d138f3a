"""ls, get, set, rm, history, rollback and approve: one mapping at a time."""

import shlex
from dataclasses import replace
from typing import Any

import pytest

from fakes.dynamodb_values import ITEM_BYTES
from fixtures.account import MAPPING_TABLE, mapping_key
from fixtures.mappings import Desk
from fixtures.terminal import CALLER, USER_ID, Terminal, lines
from rolekeeper.mappings.rows import OURS
from rolekeeper.model.mapping import MappingKey, MappingSpec
from rolekeeper.model.problem import Kind, Reason, ReasonCode
from rolekeeper.settings import Limits
from rolekeeper.storage import layout
from rolekeeper_cli.mapping import tell_verdicts
from rolekeeper_cli.uses import mappings
from rolekeeper_cli.uses.edits import Change, RowVerdict, Written
from rolekeeper_cli.uses.effect import worth_saying

pytestmark = pytest.mark.usefixtures("web_and_db")


# ---- ls, get ----


def test_the_list_shows_what_became_of_each_row(terminal: Terminal, desk: Desk) -> None:
    desk.edit("workload=web", role="web", priority=5)
    desk.edit("workload=bad", role="no such")
    desk.put("app=new", role="db")
    ran = terminal("mapping", "ls")
    head, new, bad, web = lines(ran.stdout)
    assert head == "MAPPING ROLE STATUS REVISION MATCHED REASON"
    assert new == "app=new none → db not judged yet"
    assert bad.startswith("workload=bad none → no such Rejected 0")
    assert "role: has SPACE" in bad
    assert web == "workload=web web Published 1 0"
    assert ran.stderr == "3 mappings: 1 not judged yet, 1 Rejected, 1 Published.\n"
    head, *_, web = lines(terminal("mapping", "ls", "-o", "wide").stdout)
    assert head == "MAPPING ROLE STATUS REVISION MATCHED PRIORITY ENABLED OWNER EXPIRES_AT REASON"
    assert web == "workload=web web Published 1 0 5"


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
    for key in (
        MappingKey("a=b", "c d"),
        MappingKey("a", "b=c d"),
        MappingKey("a\\", "=$x"),
        MappingKey("ou\\x=y", "\\"),
    ):
        assert terminal("mapping", "set", str(key), "role=web", "--no-wait").exit_code == 0
        [row] = desk.world.dynamodb.items(MAPPING_TABLE)
        assert (row["tag_key"]["S"], row["tag_value"]["S"]) == (key.tag_key, key.tag_value)
        [listed] = terminal.document("mapping", "ls")
        assert listed["mapping"] == str(key)
        typed = shlex.split(str(key.remedy(Kind.MAPPING)))[1:]
        assert terminal.document(*typed)["columns"]["role"] == "web"
        assert terminal("fleet", "--mapping", str(key)).exit_code == 0
        assert terminal("mapping", "rm", str(key), "--yes", "--no-wait").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no mapping is named"),
        (("workload",), "'workload' is no mapping"),
        ((r"cost\=center",), r"'cost\=center' is no mapping"),
        (("workload",), r"an equals sign in the tag's key is written \="),
        (("=web",), "'=web' is no mapping"),
        (("workload=",), "write workload=* for any value"),
        (("a=b", "c=d"), "'c=d' is an unexpected argument"),
        (("app", "=", "web"), "write app=web, without blanks"),
        (("app=", "web"), "write app=web, without blanks"),
    ],
)
def test_a_mapping_that_cant_be_meant_is_a_slip_in_the_command(
    terminal: Terminal, arguments: tuple[str, ...], words: str
) -> None:
    ran = terminal("mapping", "get", *arguments)
    assert (ran.exit_code, words in ran.stderr) == (252, True), ran.stderr


def test_a_mapping_that_isnt_there_is_told(terminal: Terminal, desk: Desk) -> None:
    of_one = [("mapping", verb) for verb in ("get", "rm", "approve", "discard", "history", "rollback")]
    for command in (*of_one, ("wait", "--mapping"), ("fleet", "--mapping")):
        ran = terminal(*command, "a=b", *(["--yes"] if command[-1] in {"rm", "approve", "discard", "rollback"} else []))
        assert (ran.exit_code, "there is no mapping a=b\n" in ran.stderr) == (1, True), ran.stderr
    desk.put("cost=center=42", role="web")
    for tag in ("app=web", "app=two words"):
        desk.put(tag, role="web")
    said = {
        "a=b=c": r"an equals sign in the tag's key is written \=. See: ",
        "app=wbe": "did you mean app=web? See: ",
        "app=two wrods": "did you mean 'app=two words'? See: ",
    }
    for key, hint in said.items():
        assert f"there is no mapping {key}\n  {hint}rolekeeper mapping ls" in terminal("mapping", "get", key).stderr


def test_what_a_row_holds_cant_move_the_cursor(terminal: Terminal, desk: Desk) -> None:
    desk.put("workload=web", role="web", description="\x1b[2Jgone\nnext")
    for arguments in (("mapping", "get", "workload=web"), ("mapping", "export")):
        assert "\x1b" not in terminal(*arguments).output
    assert "\\u001b[2Jgone\\nnext" in terminal("mapping", "get", "workload=web").stdout


def test_the_list_shows_what_is_in_effect_beside_what_waits(terminal: Terminal, held: Desk) -> None:
    held.edit("workload=gone", role="web")
    for _ in range(2):
        held.world.running(workload="other")
    held.limits = Limits(25, 0)
    held.edit("workload=other", role="web")
    held.world.reconcile_all(*held.sent_ids())
    held.limits = Limits(0, 0)
    held.delete("workload=other")
    held.publish("workload=other")
    held.edit("workload=gone", role="web", priority=0)
    roles = {row["mapping"]: row for row in terminal.document("mapping", "ls")}
    assert roles["workload=web"]["in_effect"] == {"role": "web", "revision": 1}
    assert roles["workload=web"]["waits"] == {"what": "edit", "role": "db", "because": "waits for approval"}
    shown = "\n".join(lines(terminal("mapping", "ls").stdout))
    assert "workload=web web → db Held " in shown
    assert "workload=other web → none Held " in shown
    assert "workload=gone web Rejected " in shown
    assert "in effect web" in lines(terminal("mapping", "get", "workload=web").stdout)


# ---- set, rm ----


def test_columns_are_set_and_taken_away(terminal: Terminal, desk: Desk) -> None:
    terminal.judges("workload=web")
    assert terminal.types("y\n", "mapping", "set", "workload=web", "role=db", "owner=me").exit_code == 0
    terminal.judges("workload=web")
    ran = terminal(
        "mapping",
        "set",
        "workload=web",
        "role=web",
        "owner=",
        "enabled=false",
        "require_tags=env=prod",
        "priority=7",
        "not_accounts=111111111111;222222222222",
        "not_units=ou-a1b2-c3d4e5f6/*",
    )
    assert ran.exit_code == 0, ran.output
    assert "    owner: me → none" in ran.stdout.splitlines()
    row = desk.row("workload=web")
    assert (row["role"], row["enabled"], row["require_tags"], row["priority"]) == ("web", False, {"env": "prod"}, 7)
    assert (row["not_accounts"], row["not_units"]) == ({"111111111111", "222222222222"}, {"ou-a1b2-c3d4e5f6/*"})
    assert "owner" not in row
    assert desk.history("workload=web")[-1]["claimed_by"] == CALLER
    assert desk.shows("workload=web")[::2] == ("Published", 2)


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        ((), "no column is given"),
        (("roel=web",), "did you mean role?"),
        (("role",), "'role' sets no column"),
        (("role", "=", "web"), "there are blanks around '='\n  write role=web, without blanks"),
        (("priority=5", "role", "=web"), "write role=web, without blanks"),
        (("role=", "web"), "write role=web, without blanks"),
        (("role=web", "description", "=", "a b"), "write 'description=a b', without blanks"),
        (("status=Published",), "'status=Published' sets no column"),
        (("enabled=maybe",), "enabled: is 'maybe'; write true or false"),
        (("role=a/b",), "role: is 'a/b', which holds a path"),
        (("role=",), "role: is missing"),
        (
            ("role=web", "accounts=111111111111", "not_accounts=111111111111"),
            "not_accounts: excludes '111111111111', which accounts names; take it out of one of the two",
        ),
    ],
)
def test_what_no_row_can_say_is_refused(
    terminal: Terminal, desk: Desk, assignments: tuple[str, ...], words: str
) -> None:
    ran = terminal("mapping", "set", "workload=web", *assignments)
    assert (ran.exit_code, words in ran.stderr) == (252, True), ran.stderr
    assert desk.row("workload=web") == {}


def test_an_empty_value_and_blanks_in_a_value_are_no_blanks_around_the_sign(terminal: Terminal, desk: Desk) -> None:
    columns = ("owner=", "role=web", "description=a = b")
    assert terminal("mapping", "set", "workload=web", *columns, "--no-wait").exit_code == 0
    assert desk.row("workload=web")["description"] == "a = b"


# ---- history, rollback ----


def test_history_is_newest_first(terminal: Terminal, desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    desk.edit("workload=web", role="db")
    head, second, first = lines(terminal("mapping", "history", "workload=web").stdout)
    assert head == "AT EVENT REVISION CLAIMED BY WHAT"
    assert second.endswith("Mapping Published 2 role: web → db")
    assert "Mapping Published 1" in first
    [entry] = terminal.document("mapping", "history", "workload=web", "--limit", "1")
    assert (entry["revision"], entry["role"]) == (2, "db")
    assert "pk" not in entry


def test_a_rollback_never_goes_to_a_deletion_by_itself(terminal: Terminal, desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    desk.delete("workload=web")
    desk.publish("workload=web")
    desk.edit("workload=web", role="db")
    ran = terminal("mapping", "rollback", "workload=web", "--yes", "--no-wait")
    assert ran.stderr.startswith("Revision 1:")
    assert desk.row("workload=web")["role"] == "web"


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


# ---- approve ----


@pytest.fixture
def held(desk: Desk) -> Desk:
    """A served mapping with two instances, and an edit of it that is held as it changes both."""
    desk.edit("workload=web", role="web")
    for _ in range(2):
        desk.converged("web", workload="web")
    desk.limits = Limits(1, 0)
    desk.put("workload=web", role="db", edited_by="al")
    desk.publish("workload=web")
    assert desk.row("workload=web")["held_revision"] == 2
    return desk


def test_a_held_edit_is_shown_and_approved(terminal: Terminal, held: Desk) -> None:
    terminal.judges("workload=web")
    ran = terminal.types("y\n", "mapping", "approve", "workload=web")
    assert ran.exit_code == 0, ran.output
    assert ran.stdout == "Revision 2 of workload=web is held.\n", "what it changes is in the preview"
    assert "Publish revision 2 of workload=web, which changes 2 instances?" in ran.stderr
    assert held.shows("workload=web")[::2] == ("Published", 2)
    [newest, *_] = terminal.document("mapping", "history", "workload=web")
    assert (newest["claimed_by"], newest["approved_by"], newest["approver_claims"]) == ("al", USER_ID, CALLER)
    assert (
        f" 2 al approved by moto ({USER_ID}): role: web → db"
        in lines(terminal("mapping", "history", "workload=web").stdout)[1]
    )


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (("AIDA1", "arn:aws:iam::1:user/team/bob"), "approved by bob (AIDA1)"),
        (("AROA1:bob", "arn:aws:sts::1:assumed-role/ops/carol"), "approved by bob (AROA1:bob)"),
        (("123456789012", "arn:aws:iam::123456789012:root"), "approved by 123456789012"),
        (("AIDA1", "me/you"), "approved by AIDA1"),
        (("AIDA1", None), "approved by AIDA1"),
        ((None, None), ""),
    ],
)
def test_who_approved_is_named_with_the_id_that_iam_proves(entry: tuple[str, str], words: str) -> None:
    by, claims = entry
    assert mappings.consent({"approved_by": by, "approver_claims": claims, "cause": "approved"}) == words


def test_history_says_that_a_held_edit_no_longer_needed_approval(terminal: Terminal, held: Desk) -> None:
    held.limits = Limits(2, 0)
    held.recheck("workload=web")
    shown = lines(terminal("mapping", "history", "workload=web").stdout)
    assert " 2 al it no longer needs approval: role: web → db" in shown[1]


def test_ones_own_edit_is_anothers_to_approve(terminal: Terminal, held: Desk) -> None:
    held.edit("workload=web", role="db", priority=7, edited_by=CALLER)
    held.quiet()
    ran = terminal.types("", "mapping", "approve", "workload=web")
    assert (ran.exit_code, ran.stdout) == (1, ""), "it is neither shown nor asked"
    assert "revision 3 of workload=web is your own edit; it wasn't approved" in ran.stderr
    assert "another person runs: rolekeeper mapping approve workload=web" in ran.stderr
    assert held.world.writes == []


def test_an_edit_that_is_held_is_told_with_how_to_have_it_served(terminal: Terminal, held: Desk) -> None:
    terminal.judges("workload=web")
    ran = terminal("mapping", "set", "workload=web", "priority=7")
    assert ran.exit_code == 4
    assert "! workload=web is Held: it would attach 0, replace 2 and detach 0 instances" in ran.stderr
    assert ran.stderr.count("rolekeeper mapping approve workload=web") == 1
    assert "  to publish it, another person runs: rolekeeper mapping approve workload=web --revision 3\n" in ran.stderr
    assert held.row("workload=web")["held_revision"] == 3


def test_what_a_held_or_rejected_row_says_to_type_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"status": {"S": "Held"}, "status_reason": {"S": "it changes many"}, "held_revision": {"N": "2"}}
    tell_verdicts(Written((RowVerdict(MappingKey("a=b", "c d"), row, meant="web"),)))
    said = capsys.readouterr().err
    assert all(rf"rolekeeper mapping {verb} 'a\=b=c d'" in said for verb in ("approve", "discard", "set")), said


def test_a_deletion_that_is_held_comes_back_and_goes_for_good_once_approved(terminal: Terminal, held: Desk) -> None:
    terminal.judges("workload=web")
    ran = terminal("mapping", "rm", "workload=web", "--yes")
    assert ran.exit_code == 4
    assert "! workload=web is Held: " in ran.stderr
    assert "  to delete it: rolekeeper mapping approve workload=web --revision 3\n" in ran.stderr
    assert "  to keep what is in effect: rolekeeper mapping discard workload=web\n" in ran.stderr
    assert held.row("workload=web")["role"] == "web"
    terminal.judges("workload=web")
    assert terminal("mapping", "approve", "workload=web", "--yes").exit_code == 0
    assert held.row("workload=web") == {}
    assert held.in_effect("workload=web").deleted


def test_another_revision_than_the_one_meant_isnt_approved(terminal: Terminal, held: Desk) -> None:
    held.world.calls.before("BatchGetItem", lambda: held.edit("workload=web", role="db", priority=7))
    ran = terminal("mapping", "approve", "workload=web", "--yes")
    assert (ran.exit_code, "revision 2 of workload=web is no longer held" in ran.stderr) == (1, True)
    assert held.row("workload=web")["held_revision"] == 3
    edit = held.held("workload=web")
    assert edit
    assert not edit.signers


def test_an_edit_that_overtakes_an_approval_is_held_and_shown(terminal: Terminal, held: Desk) -> None:
    held.world.calls.after("PutItem", lambda: held.edit("workload=web", role="db", priority=7))
    terminal.judges("workload=web")
    ran = terminal("mapping", "approve", "workload=web", "--yes")
    assert (ran.exit_code, "! workload=web is Held: " in ran.stderr) == (4, True)
    assert (held.row("workload=web")["held_revision"], held.shows("workload=web")[2]) == (3, 1)


def test_an_approval_names_what_is_held_as_it_was_shown(terminal: Terminal, held: Desk) -> None:
    assert terminal("mapping", "approve", "workload=web", "--yes", "--no-wait").exit_code == 0
    key = layout.approval_key(USER_ID, mapping_key("workload=web"))
    item, edit = held.world.store.get([key])[key], held.held("workload=web")
    assert edit
    assert (item["revision"], item["digest"], item["arn"]) == (2, edit.digest, CALLER)
    assert (item["changes"], item["takes"]) == (edit.changes, edit.takes) == (2, 2)
    assert len(edit.digest) == 64
    assert item["expires"] > held.world.clock.now().timestamp()


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
    assert (put["Item"]["unheard_of"], put["Item"]["owner"], "unheard_of" in compared) == (
        {"S": "kept"},
        {"S": "al"},
        True,
    )


def test_a_row_is_foreseen_as_it_is_written_without_what_rolekeeper_wrote() -> None:
    key = MappingKey("app", "web")
    spec = MappingSpec(key, "web")
    ours = {"status": {"S": "Held"}, "held_revision": {"N": "2"}}
    row = {"tag_key": {"S": "app"}, "tag_value": {"S": "web"}, "role": {"S": "web"}, "note": {"S": "theirs"}, **ours}
    change = Change(key, row, spec, spec=replace(spec, role="db"))
    kept = {name: row[name] for name in ("tag_key", "tag_value", "note")}
    assert change.written == {**kept, "role": {"S": "db"}}
    assert replace(change, spec=None).written == {}

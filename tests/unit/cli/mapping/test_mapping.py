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
from rolekeeper_cli.mapping.command import tell_verdicts
from rolekeeper_cli.row import use as mappings
from rolekeeper_cli.row.edits import Change, RowVerdict, Written
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


def test_an_empty_value_and_blanks_in_a_value_are_no_blanks_around_the_sign(terminal: Terminal, desk: Desk) -> None:
    columns = ("owner=", "role=web", "description=a = b")
    assert terminal("mapping", "set", "workload=web", *columns, "--no-wait").exit_code == 0
    assert desk.row("workload=web")["description"] == "a = b"


# ---- history, rollback ----


def test_a_rollback_never_goes_to_a_deletion_by_itself(terminal: Terminal, desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    desk.delete("workload=web")
    desk.publish("workload=web")
    desk.edit("workload=web", role="db")
    ran = terminal("mapping", "rollback", "workload=web", "--yes", "--no-wait")
    assert ran.stderr.startswith("Revision 1:")
    assert desk.row("workload=web")["role"] == "web"


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


def test_what_a_held_or_rejected_row_says_to_type_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"status": {"S": "Held"}, "status_reason": {"S": "it changes many"}, "held_revision": {"N": "2"}}
    tell_verdicts(Written((RowVerdict(MappingKey("a=b", "c d"), row, meant="web"),)))
    said = capsys.readouterr().err
    assert all(rf"rolekeeper mapping {verb} 'a\=b=c d'" in said for verb in ("approve", "discard", "set")), said


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

"""One mapping at a time: what each command writes, waits for, and ends with."""

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
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.mapping.command import tell_verdicts
from rolekeeper_cli.options import Options
from rolekeeper_cli.row.edits import Change, Written, exit_code
from rolekeeper_cli.row.effect import Row, worth_saying
from rolekeeper_cli.row.use import consent
from rolekeeper_cli.row.view import EditEntryView

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


@pytest.mark.parametrize(("first", "line"), [("UpdateItem", ("rm", "old=1")), ("PutItem", ("set", "old=1", "role=db"))])
def test_a_row_that_moved_since_it_was_read_is_left_alone_and_named(
    terminal: Terminal, desk: Desk, first: str, line: tuple[str, ...]
) -> None:
    desk.put("old=1", role="web")
    desk.world.calls.before(first, lambda: desk.put("old=1", role="web", priority=7))
    ran = terminal("mapping", *line, "--yes", "--no-wait")
    assert (ran.exit_code, "another actor changed old=1 since the plan" in ran.stderr) == (1, True)
    assert desk.row("old=1") == {"tag_key": "old", "tag_value": "1", "role": "web", "priority": 7}


def test_when_rolekeeper_says_nothing_the_wait_ends(terminal: Terminal, desk: Desk) -> None:
    ran = terminal("mapping", "set", "workload=d b", "role=web")
    assert (ran.exit_code, desk.row("workload=d b")["role"]) == (255, "web")
    assert "Rolekeeper said nothing of workload=d b for 60 s" in ran.stderr
    assert "see its row later: rolekeeper mapping get 'workload=d b'; its function is" in ran.stderr


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


# ---- a row that says already what is wanted ----


@pytest.fixture
def web(terminal: Terminal, desk: Desk, web_and_db: None) -> None:  # noqa: ARG001  # they are there
    """`app=web` gives three instances their role; one change passes without approval."""
    desk.three_carry("web", "app=web")
    terminal.one_change_passes()


@pytest.mark.usefixtures("web")
def test_a_held_edit_that_no_longer_needs_approval_is_written_again(terminal: Terminal, desk: Desk) -> None:
    desk.edit("app=web", role="db")
    terminal.changes_pass(3)
    terminal.judges("app=web")
    ran = terminal("mapping", "set", "app=web", "role=db")
    assert (ran.exit_code, desk.gives("app=web")) == (0, ("db", 2)), ran.output
    assert "~ app=web  no longer needs approval\n" in ran.stdout
    assert "Published as written." in ran.stderr


@pytest.mark.usefixtures("web")
def test_a_held_deletion_waits_for_who_wants_the_row(terminal: Terminal, desk: Desk) -> None:
    desk.remove("app=web")
    ran = terminal("mapping", "set", "app=web", "role=web")
    assert (ran.exit_code, "to delete it: rolekeeper mapping approve app=web" in ran.stderr) == (4, True), ran.output


def test_a_row_that_aws_gave_no_answer_for_isnt_in_effect(terminal: Terminal, desk: Desk) -> None:
    desk.put("app=web", role="web", status="Waiting", status_reason="AWS gave no answer")
    ran = terminal("mapping", "set", "app=web", "role=web")
    assert (ran.exit_code, "! app=web is Waiting: AWS gave no answer" in ran.stderr) == (1, True)


@pytest.mark.parametrize("written", ["new", "a status that is older than the row"])
def test_a_row_that_isnt_judged_yet_is_waited_for(terminal: Terminal, desk: Desk, written: str) -> None:
    if written != "new":
        desk.edit("app=web", role="db")
    desk.set("app=web", role="nobody" if written == "new" else "web")
    line = ("mapping", "set", "app=web", f"role={desk.row('app=web')['role']}")
    ran = terminal(*line)
    assert (ran.exit_code, "Rolekeeper said nothing of app=web for 60 s" in ran.stderr) == (255, True)
    assert terminal(*line, "--no-wait").exit_code == 0, "nobody waits"
    terminal.judges("app=web")
    assert terminal(*line).exit_code == (3 if written == "new" else 0)


@pytest.mark.parametrize(
    ("statuses", "changes", "code"),
    [
        ("", False, 0),
        ("", True, 2),
        ("Published Expired Removed", True, 2),
        ("Held Published", True, 4),
        ("Conflict Held", True, 3),
        ("Held Rejected", False, 3),
        ("Rejected Held Waiting", True, 1),
    ],
)
def test_the_worst_status_is_how_a_command_ends(statuses: str, *, changes: bool, code: int) -> None:
    assert exit_code(statuses.split(), changes=changes) == code


# ---- approve ----


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (("AIDA1", "arn:aws:iam::1:user/team/bob"), "approved by bob (AIDA1)"),
        (("AROA1:bob", "arn:aws:sts::1:assumed-role/ops/carol"), "approved by bob (AROA1:bob)"),
        (("123456789012", "arn:aws:iam::123456789012:root"), "approved by root (123456789012)"),
        (("AIDA1", "me/you"), "approved by AIDA1"),
        (("AIDA1", None), "approved by AIDA1"),
        ((None, None), ""),
    ],
)
def test_who_approved_is_named_with_the_id_that_iam_proves(entry: tuple[str, str], words: str) -> None:
    by, claims = entry
    entry_of = dict.fromkeys(EditEntryView.fields) | {"approved_by": by, "approver_claims": claims}
    assert consent(EditEntryView(**entry_of)) == words


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


def test_all_that_others_edited_is_approved_by_one_answer(terminal: Terminal, held: Desk) -> None:
    for tier, by in {"db": "bo", "own": CALLER}.items():
        for _ in range(2):
            held.world.running(tier=tier)
        held.edit(f"tier={tier}", role="db", edited_by=by)
    terminal.judges("workload=web", "tier=db")
    ran = terminal.types("y\n", "mapping", "approve", "--all")
    assert ran.exit_code == 0, ran.output
    assert ran.stdout == "Revision 1 of tier=db is held.\nRevision 2 of workload=web is held.\n"
    assert "Left out: tier=own, because it is your own edit; another person approves it." in ran.stderr
    assert "Instances: 2 to attach, 2 to replace." in ran.stderr
    assert "Publish 2 edits, which changes 4 instances? [y/N]: y" in ran.stderr
    assert [held.row(tag)["status"] for tag in ("workload=web", "tier=db", "tier=own")] == [*["Published"] * 2, "Held"]
    ran = terminal("mapping", "approve", "--all", "--yes")
    assert (ran.exit_code, ran.stderr.splitlines()[-1]) == (0, "Nothing to approve.")


@pytest.mark.parametrize("line", [[], ["workload=web", "--all"], ["workload=web", "tier=db", "--revision", "2"]])
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

"""apply: exactly the plan that was looked at, or nothing and what moved."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from fixtures.account import ACCOUNT, refusing
from fixtures.mappings import Desk, mapping_file
from fixtures.terminal import CALLER, Terminal
from rolekeeper.storage import layout
from rolekeeper_cli.aws.deployment import Caller, Deployment

pytestmark = pytest.mark.usefixtures("web_and_db")


@pytest.fixture
def plan(tmp_path: Path) -> str:
    return str(tmp_path / "change.plan")


@pytest.fixture
def to_db(terminal: Terminal, plan: str, tmp_path: Path) -> Callable[[], Result]:
    """Plans that app=web gives db, in a stack where an edit may change one instance without approval."""
    terminal.one_change_passes()
    file = mapping_file(tmp_path, "tag_key: app, tag_value: web, role: db")
    return lambda: terminal("plan", "-f", file, "--out", plan)


def untouched(desk: Desk, ran: Result, *words: str) -> None:
    """Nothing was applied, for this reason."""
    assert ran.exit_code == 1, ran.output
    assert "nothing was applied" in ran.stderr
    assert [each for each in words if each not in ran.stderr] == []
    assert desk.sent() == []
    assert desk.world.writes == []


def in_turn(terminal: Terminal, *acts: Callable[[], object]) -> None:
    """While the command waits, these happen, one each time."""

    def act() -> None:
        acts[0]()
        in_turn(terminal, *acts[1:])

    if acts:
        terminal.meanwhile = act


def the_root_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """The account's root is no person, so nothing is its own edit."""
    root = Caller(f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT, ACCOUNT, "aws")
    monkeypatch.setattr(Deployment, "caller", root)


# ---- the plan comes true ----


def test_a_plan_that_was_narrowed_applies_to_those_alone(terminal: Terminal, desk: Desk, plan: str) -> None:
    desk.edit("app=web", role="web")
    one, other = desk.world.running(app="web"), desk.world.running(app="web")
    terminal("plan", "--out", plan, "--instance", one)
    desk.quiet()
    terminal.reconciles(one)
    assert terminal.document("apply", plan) == {"instances": 1, "waiting": 0, "mappings": [], "not_in_effect": []}
    [sent] = desk.sent()
    assert (sent["detail"]["instance-id"], sent["detail"]["cause"]) == (one, f"plan applied by {CALLER}")
    assert (desk.world.carries(one), desk.world.carries(other)) == ("web", "")


def test_what_would_be_held_needs_a_word_and_is_approved_with_it(
    terminal: Terminal, desk: Desk, plan: str, to_db: Callable[[], Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = desk.three_carry("web", "app=web")
    # One that the plan shows as blocked stays so, and is as planned.
    foreign = desk.world.running(profile="theirs", app="web")
    the_root_types(monkeypatch)
    to_db()
    desk.quiet()
    held = "app=web changes too many instances without approval"
    untouched(desk, terminal("apply", plan), held, "give --approve to approve what the plan shows")

    in_turn(
        terminal,
        lambda: desk.publish("app=web"),
        lambda: [desk.streams("app=web"), desk.world.reconcile_all(foreign, *ids)],
    )
    ran = terminal("apply", plan, "--approve")
    assert ran.exit_code == 0, ran.output
    assert ran.stdout == "Applied: 3 instances as planned, 1 mapping.\n"
    assert ran.stderr.startswith("Published as written.\n  app=web: instances that carry foreign roles keep them")
    assert ({desk.world.carries(each) for each in ids}, desk.world.carries(foreign)) == ({"db"}, "theirs")
    assert desk.revisions("app=web")[-1]["approved_by"] == ACCOUNT


def test_ones_own_edit_is_written_and_waits_for_another_person(
    terminal: Terminal, desk: Desk, plan: str, tmp_path: Path
) -> None:
    carriers = desk.three_carry("web", "app=web")
    other = desk.world.running(new="yes")
    terminal.one_change_passes()
    rows = ("tag_key: app, tag_value: web, role: db", "tag_key: new, tag_value: '*', role: web")
    terminal("plan", "-f", mapping_file(tmp_path, *rows), "--out", plan)

    in_turn(terminal, lambda: [desk.publish(tag) for tag in ("app=web", "new=*")], lambda: desk.world.reconcile(other))
    ran = terminal("apply", plan, "--approve")
    assert ran.exit_code == 4, ran.output
    assert "Not in effect yet: 1 mapping, 3 instances." in ran.stdout
    assert (desk.world.carries(other), {*desk.sent_ids()}) == ("web", {other})

    # The next run of the same pipeline finds the row held, and neither writes nor approves it,
    terminal("plan", "-f", mapping_file(tmp_path, *rows), "--out", plan)
    desk.quiet()
    again = terminal("apply", plan, "--approve", "--output", "json")
    [held] = json.loads(again.stdout)["not_in_effect"]
    assert (again.exit_code, held["mapping"], held["status"]) == (4, "app=web", "Held")
    assert "PutItem" not in desk.world.writes

    # until it no longer needs approval.
    terminal.changes_pass(4)
    terminal("plan", "-f", mapping_file(tmp_path, *rows), "--out", plan)

    in_turn(terminal, lambda: desk.publish("app=web"), lambda: desk.world.reconcile_all(*carriers))
    assert terminal("apply", plan).exit_code == 0
    assert {desk.world.carries(each) for each in carriers} == {"db"}


def test_anothers_edit_that_is_held_already_is_approved(
    terminal: Terminal, desk: Desk, plan: str, to_db: Callable[[], Result]
) -> None:
    ids = desk.three_carry("web", "app=web")
    desk.edit("app=web", role="db", edited_by="al")
    to_db()
    terminal.meanwhile = lambda: [desk.streams("app=web"), desk.world.reconcile_all(*ids)]
    ran = terminal("apply", plan, "--approve")
    assert (ran.exit_code, {desk.world.carries(each) for each in ids}) == (0, {"db"}), ran.output


def test_with_hold_what_needs_approval_is_written_and_nobodys_edit_is_approved(
    terminal: Terminal, desk: Desk, plan: str, to_db: Callable[[], Result]
) -> None:
    ids = desk.three_carry("web", "app=web")
    desk.edit("app=web", role="db", edited_by="arn:aws:sts::123456789012:assumed-role/publish/another-session")
    to_db()
    terminal.meanwhile = lambda: desk.publish("app=web")
    ran = terminal("apply", plan, "--hold")
    assert ran.exit_code == 4, ran.output
    assert "rolekeeper mapping approve app=web --revision 2" in ran.stderr
    assert {desk.world.carries(each) for each in ids} == {"web"}
    assert terminal("apply", plan, "--hold", "--approve").exit_code == 252


def test_a_conflict_that_was_there_already_holds_up_no_other_row(
    terminal: Terminal, desk: Desk, plan: str, tmp_path: Path
) -> None:
    rows = ["tag_key: app, tag_value: web, role: web", "tag_key: tier, tag_value: web, role: db"]
    for tag, role in (("app=web", "web"), ("tier=web", "db")):
        desk.edit(tag, role=role)
    desk.world.running(app="web", tier="web")
    desk.recheck("app=web")
    desk.recheck("tier=web")
    file = mapping_file(tmp_path, *rows, "tag_key: new, tag_value: a, role: web")
    assert (terminal("plan", "-f", file, "--out", plan).exit_code, Path(plan).exists()) == (3, True)
    terminal.judges("new=a")
    ran = terminal("apply", plan)
    assert (ran.exit_code, ran.stdout) == (3, "Applied: 0 instances as planned, 1 mapping.\n"), ran.output
    assert ("! app=web is Conflict: " in ran.stderr, desk.shows("new=a")[0]) == (True, "Published")
    terminal("plan", "-f", file, "--out", plan)
    ran = terminal("apply", plan)
    assert (ran.exit_code, "Nothing to do: the plan changes nothing." in ran.stderr) == (3, True)


def test_a_row_that_isnt_published_as_planned_ends_it(
    terminal: Terminal, desk: Desk, plan: str, tmp_path: Path
) -> None:
    desk.world.running(app="web")
    terminal("plan", "-f", mapping_file(tmp_path, "tag_key: app, tag_value: web, role: web"), "--out", plan)
    desk.world.calls.before("PutItem", lambda: desk.delete_role("web"))
    terminal.judges("app=web")
    ran = terminal("apply", plan)
    assert (ran.exit_code, "not every row was published as planned" in ran.stderr) == (3, True)
    assert "! app=web is Rejected: role 'web' doesn't exist" in ran.stderr
    assert desk.sent() == []


def test_an_edit_that_overtakes_the_approval_ends_it(
    terminal: Terminal, desk: Desk, plan: str, to_db: Callable[[], Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.three_carry("web", "app=web")
    the_root_types(monkeypatch)
    to_db()

    newer = {"role": "db", "priority": 7, "edited_by": "al"}
    in_turn(terminal, lambda: desk.publish("app=web"), lambda: desk.edit("app=web", **newer))
    ran = terminal("apply", plan, "--approve")
    assert (ran.exit_code, "not every row was published as planned" in ran.stderr) == (4, True), ran.output
    assert "! app=web is Held: " in ran.stderr


# ---- something moved ----


def damage(desk: Desk, *instances: str) -> None:
    for each in instances:
        desk.world.garble(layout.record_key(desk.world.key(each)))


@pytest.mark.parametrize(
    ("move", "words"),
    [
        (lambda desk, one, _: desk.world.tag(one, app="db"), "has other tags: tag app was 'web', and is 'db'"),
        (lambda desk, one, _: desk.world.tag(one, late="yes"), "tag late was not there, and is 'yes'"),
        (lambda desk, one, _: desk.world.untag(one, "app"), "tag app was 'web', and is not there"),
        (
            lambda desk, *_: desk.edit("app=web", role="db"),
            "was governed by app=web (revision 1), and is by app=web (rev",
        ),
        (lambda desk, *_: desk.edit("app=*", role="db", priority=1), "is by app=* (revision 1)"),
        (lambda desk, one, _: desk.world.truth.terminate(one), "has ended"),
        (lambda desk, *_: desk.world.running(app="web"), "which the plan left alone, would change too: app=web gives"),
        (damage, "(one) can't be read: "),
    ],
    ids=["tag", "another tag", "tag gone", "revision", "mapping", "gone", "a new one", "record"],
)
def test_what_moved_since_is_named_and_nothing_is_applied(
    terminal: Terminal, desk: Desk, plan: str, move: Callable[..., Any], words: str
) -> None:
    desk.edit("app=web", role="web")
    one, other = desk.world.running(app="web", Name="one"), desk.world.running()
    terminal("plan", "--out", plan)
    move(desk, one, other)
    desk.world.wait(5)
    desk.quiet()
    ran = terminal("apply", plan)
    untouched(desk, ran, words)
    assert other not in ran.output


def test_a_plan_holds_for_an_instance_that_is_stopped(terminal: Terminal, desk: Desk, plan: str) -> None:
    """Attaching takes it too: nothing that the plan rests on moved."""
    desk.edit("app=web", role="web")
    one = desk.world.running(app="web")
    terminal("plan", "--out", plan)
    desk.world.stop(one)
    terminal.reconciles(one)
    assert terminal("apply", plan).exit_code == 0


def test_a_row_that_was_edited_or_whose_role_went_since_is_named(
    terminal: Terminal, desk: Desk, plan: str, tmp_path: Path
) -> None:
    desk.edit("app=web", role="web")
    file = mapping_file(tmp_path, "tag_key: app, tag_value: web, role: db")
    terminal("plan", "-f", file, "--out", plan)
    desk.set("app=web", owner="somebody")
    desk.quiet()
    untouched(desk, terminal("apply", plan), "! the row of app=web was edited")

    desk.edit("app=web", role="web", owner="somebody")
    terminal("plan", "-f", file, "--out", plan)
    desk.delete_role("db")
    desk.quiet()
    untouched(desk, terminal("apply", plan), "mapping app=web would be Rejected now: role 'db' doesn't exist")


def test_a_plan_that_couldnt_be_applied_isnt_written(terminal: Terminal, desk: Desk, plan: str, tmp_path: Path) -> None:
    file = mapping_file(tmp_path, "tag_key: a, tag_value: b, role: nobody")
    assert terminal("plan", "-f", file).exit_code == 3
    ran = terminal("plan", "-f", file, "--out", plan)
    assert (ran.exit_code, Path(plan).exists()) == (3, False)
    assert f"{plan} wasn't written: a=b would be Rejected\n  fix the file, and plan again" in ran.stderr

    desk.three_carry("web", "app=web")
    terminal.one_change_passes()
    desk.remove("app=web")
    ran = terminal("plan", "-f", mapping_file(tmp_path, "tag_key: app, tag_value: web, role: web"), "--out", plan)
    assert (ran.exit_code, Path(plan).exists()) == (4, False)
    assert "its deletion waits for approval; to keep it: rolekeeper mapping discard app=web" in ran.stderr


def test_what_ec2_doesnt_show_in_time_is_named_with_what_hinders_it(terminal: Terminal, desk: Desk, plan: str) -> None:
    desk.edit("app=web", role="web")
    one = desk.world.running(app="web")
    terminal("plan", "--out", plan)

    desk.world.calls.before("AssociateIamInstanceProfile", refusing("InvalidParameterValue", "odd"))
    terminal.reconciles(one)
    ran = terminal("apply", plan)
    assert ran.exit_code == 255
    assert f"! {one}: EC2 refused role web: InvalidParameterValue: odd" in ran.stderr
    assert f"1 of 1 instances don't show it after 60 s: {one}" in ran.stderr
    assert f"rolekeeper explain {one}" in ran.stderr


# ---- the file ----


@pytest.fixture
def one_plan(terminal: Terminal, desk: Desk, plan: str) -> Path:
    """A plan that gives an instance its role."""
    desk.edit("app=web", role="web")
    desk.world.running(app="web")
    terminal("plan", "--out", plan)
    desk.quiet()
    return Path(plan)


def test_a_plan_of_another_deployment_is_refused(terminal: Terminal, one_plan: Path) -> None:
    text = one_plan.read_text()
    one_plan.write_text(text.replace('"region": "us-east-1"', '"region": "eu-west-1"', 1))
    ran = terminal("apply", str(one_plan))
    assert (ran.exit_code, "the plan is for account 123456789012, Region eu-west-1" in ran.stderr) == (1, True)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text.rsplit("\n", 2)[0] + "\n", "is cut off"),
        (lambda _: "", "doesn't begin as one"),
        (lambda _: "[]\n", "is not a valid plan file"),
        (lambda text: text.replace('"prune"', '"plum"'), "is not a valid plan file"),
        (lambda text: text.replace('"association"', '"plum"'), "is not a valid plan file"),
    ],
    ids=["cut", "empty", "list", "head", "change"],
)
def test_what_is_no_plan_is_refused(
    terminal: Terminal, desk: Desk, one_plan: Path, spoil: Callable[[str], str], words: str
) -> None:
    one_plan.write_text(spoil(one_plan.read_text()))
    ran = terminal("apply", str(one_plan))
    assert (ran.exit_code, f"can't be applied: it {words}" in ran.stderr) == (1, True), ran.output
    assert desk.sent() == []


def test_a_file_that_cant_be_written_is_a_matter_of_usage(terminal: Terminal, tmp_path: Path) -> None:
    assert terminal("plan", "--out", str(tmp_path / "nosuch" / "a.plan")).exit_code == 252


def test_a_plan_that_fails_midway_leaves_no_file(terminal: Terminal, desk: Desk, plan: str) -> None:
    desk.edit("app=web", role="web")
    desk.world.running(app="web")

    def fail() -> None:
        raise KeyboardInterrupt

    desk.world.calls.before("DescribeIamInstanceProfileAssociations", fail)
    assert terminal("plan", "--out", plan).exit_code == 130
    assert list(Path(plan).parent.iterdir()) == []


def test_a_plan_is_for_its_owners_eyes_and_holds_what_it_rests_on(one_plan: Path) -> None:
    assert one_plan.stat().st_mode & 0o777 == 0o600
    [_, change, end] = [json.loads(line) for line in one_plan.read_text().splitlines()]
    assert (change["change"]["tags"], end) == ({"app": "web"}, {"end": True})

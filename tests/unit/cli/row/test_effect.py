"""What isn't in effect is named, with why, wherever a person looks; and the exit code agrees.

Each situation of a row by each surface.
"""

from collections.abc import Callable
from html import unescape

import pytest
from starlette.testclient import TestClient

from fixtures.console import words
from fixtures.doctor import DoctorFixture
from fixtures.effects import WEB, Case, held, published
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper.model.mapping import MappingKey, MappingSpec
from rolekeeper.model.problem import Reason, ReasonCode
from rolekeeper.settings import Limits
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.doctor.run import CHECKS, run
from rolekeeper_cli.options import Options
from rolekeeper_cli.row.effect import Row

PAUSED = "Rolekeeper is paused (since 2026-03-01 09:00 UTC, by moto: an incident)"


def test_explain_and_an_instances_page_name_the_row_and_why(
    terminal: Terminal, browser: TestClient, instance: str, case: Case
) -> None:
    text = words(browser.get(f"/instance/{instance}"))
    assert ("Not in effect" in text, "its tags match no mapping" in text) == (bool(case.named), False)
    assert f"Not in effect {case.named}" in text or not case.named
    ran = terminal("explain", instance, "--no-who", "--no-uptake")
    assert ran.exit_code == 0, ran.output
    assert case.named in " ".join(ran.stdout.split())
    assert bool(case.named) == ("not in effect" in ran.stdout), ran.stdout
    found = terminal.document("explain", instance, "--no-who", "--no-uptake")["not_in_effect"]
    assert any(case.named in each["reason"] for each in found) or not case.named


def test_fleet_and_its_page_name_the_row_and_arent_content_without_it(
    terminal: Terminal, browser: TestClient, instance: str, case: Case
) -> None:
    page = browser.get("/")
    assert f"{case.status} {instance}" in words(page)
    assert case.named in unescape(page.text)
    ran = terminal("fleet")
    assert ran.exit_code == 0
    assert case.named in " ".join(ran.output.split())
    [row] = terminal.document("fleet")
    assert (row["stands"], case.named in row["reason"] or row["carries"] == "web") == (case.status, True)
    assert row["instance"] == instance


def test_wait_names_the_row_and_its_exit_code_says_whether_it_is_in_effect(
    terminal: Terminal, desk: Desk, instance: str, case: Case
) -> None:
    desk.world.reconcile(instance)
    ran = terminal("wait", "--mapping", WEB)
    assert ran.exit_code == case.code, ran.output
    assert case.named in " ".join(ran.output.split())
    if case.in_effect:
        found = terminal.document("wait", "--mapping", WEB, code=case.code)
        assert [case.named in each["reason"] for each in found["not_in_effect"]] == [True] * bool(case.named)


def test_doctor_names_the_row_and_warns_unless_it_is_in_effect_as_written(
    terminal: Terminal, desk: Desk, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    DoctorFixture(terminal, desk, monkeypatch)
    [row] = run("mappings", CHECKS["mappings"], Deployment(Options()))
    assert (row.level, case.named in row.what) == ("warn" if case.code else "ok", True), row.what


def test_launches_names_the_row_and_its_exit_code_says_whether_it_would_be_in_effect(
    terminal: Terminal, desk: Desk, case: Case
) -> None:
    desk.world.ec2.launchers.template("one", app="web")
    [found] = terminal.document("launches")
    assert case.named in found["reason"]
    late = case.in_effect and not (case.named and not case.code)
    assert found["verdict"] == ("a-few-seconds-late" if late else "blocked" if case.code else "no-mapping")
    code = 2 if late or case.code else 0
    assert terminal("launches", "--detailed-exitcode").exit_code == code


def test_plan_names_the_row_that_it_doesnt_count(terminal: Terminal, case: Case) -> None:
    said = terminal("plan").stderr
    assert case.named.partition(": AWS")[0] in said
    assert bool(case.named) == ("not counted here: " in said)
    waiting = [row for row in terminal.document("plan")["waiting"] if row["mapping"] == WEB]
    assert [case.named in each["reason"] for row in waiting for each in row["not_in_effect"]] == [True] * len(waiting)
    assert bool(waiting) == bool(case.named)


def test_the_nightly_reports_list_names_the_row_and_its_exit_code_says_whether_it_is_in_effect(
    terminal: Terminal, case: Case
) -> None:
    line = ("mapping", "ls", "--not-in-effect", "--detailed-exitcode")
    assert terminal(*line).exit_code == case.code
    found = {row["mapping"]: row for row in terminal.document(*line, code=case.code)}
    assert (WEB in found) == bool(case.named)
    assert not case.named or case.named in found[WEB]["not_in_effect"][0]["reason"]


# ---- the console's pages ----


def test_a_mappings_page_says_why_it_isnt_in_effect(browser: TestClient, case: Case) -> None:
    found = words(browser.get("/mapping", params={"key": "app", "value": "web"}))
    reason = case.named.partition(": ")[2].partition(" for account")[0].removeprefix("it ")
    assert ("is out of scope" if reason == "is not" else reason) in found
    assert WEB in words(browser.get("/mappings"))


def test_each_page_says_who_paused_changes_when_and_why(
    browser: TestClient, terminal: Terminal, desk: Desk, instance: str
) -> None:
    desk.edit(WEB, role="web")
    terminal("pause", "--reason", "an incident")
    for page in ("/", f"/instance/{instance}", "/launches", "/settings"):
        assert PAUSED in words(browser.get(page)), page


# ---- mapping rm: the row is gone, and its instances may still carry the role ----


def works(terminal: Terminal, desk: Desk, *instances: str) -> None:
    """Rolekeeper judges the row while the command waits, and then looks at these instances."""

    def judge() -> None:
        desk.publish(WEB)
        terminal.meanwhile = lambda: instances and desk.world.reconcile_all(*instances)

    terminal.meanwhile = judge


def test_rm_ends_with_what_the_deletion_comes_to(terminal: Terminal, desk: Desk, instance: str, case: Case) -> None:
    """A deletion that is held leaves what is published in effect; any other row goes, and its role with it."""
    works(terminal, desk, instance)
    ran = terminal("mapping", "rm", WEB, "--yes")
    is_held = case.code == 4 and case.in_effect > 0
    assert ran.exit_code == (4 if is_held else 0)
    assert ("! app=web is Held: " if is_held else "Deleted.\n") in ran.stderr
    assert desk.world.carries(instance) == ("web" if is_held else "")


@pytest.fixture
def three(desk: Desk, web_and_db: None) -> list[str]:
    """Three instances that carry the role of `app=web`."""
    del web_and_db
    return desk.three_carry("web", WEB)


def removed(terminal: Terminal, desk: Desk, *instances: str) -> tuple[int, list[str]]:
    """Remove the row, and have Rolekeeper look at instances."""
    works(terminal, desk, *instances)
    ran = terminal("mapping", "rm", WEB, "--yes")
    return ran.exit_code, ran.stderr.splitlines()


FOLLOW = "To follow them: rolekeeper wait --mapping app=web"


@pytest.mark.parametrize(
    ("arrange", "looks", "code", "said"),
    [
        (None, True, 0, []),
        (None, False, 0, ["3 instances still carry its role: it is being detached."]),
        (
            lambda _, desk: desk.amend(WEB, when_unmatched="keep"),
            *(True, 0, ["! 3 instances still carry its role: app=web no longer matches and says keep"]),
        ),
        (
            lambda terminal, _: terminal("pause", "--reason", "an incident"),
            *(False, 2, [f"! 3 instances still carry its role: {PAUSED}", FOLLOW]),
        ),
    ],
    ids=["given up", "under way", "kept", "paused"],
)
def test_rm_says_what_becomes_of_the_role(
    terminal: Terminal,
    desk: Desk,
    three: list[str],
    arrange: Callable[..., object] | None,
    code: int,
    said: list[str],
    *,
    looks: bool,
) -> None:
    if arrange:
        arrange(terminal, desk)
    assert removed(terminal, desk, *three * looks) == (code, ["Deleted.", *said])
    assert desk.world.carries(three[0]) == ("web" if said else "")


def test_rm_says_how_many_keep_the_role_until_the_window_has_room(
    terminal: Terminal, desk: Desk, three: list[str]
) -> None:
    desk.world.limits = Limits(1, 0)
    code, [deleted, waiting, *follow] = removed(terminal, desk, *three)
    full = "change limit for this window reached; waiting for room."
    assert (code, deleted, follow) == (2, "Deleted.", [FOLLOW])
    assert waiting.startswith(f"! 2 instances still carry its role: {full}")
    assert "(until 2026-03-01 09:2" in waiting
    reasons = [row["reason"] for row in terminal.document("fleet", "--drift")]
    assert [reason[: len(full)] for reason in reasons] == [full] * 2


def test_what_else_keeps_an_instance_from_a_mapping_is_said_of_it(
    terminal: Terminal, desk: Desk, instance: str
) -> None:
    """An instance that is ignored, pinned, foreign, or a node of a cluster is never just ok."""
    desk.edit(WEB, role="wbe")
    foreign = desk.world.running(profile="theirs", app="web")
    node = desk.world.running(profile="eks-1", **{"eks:cluster-name": "one"})
    desk.world.tag(instance, **{"rolekeeper:ignore": "true"})
    pinned = desk.world.running(app="db")
    assert terminal("attach", pinned, "db", "--reason", "a test", "--no-wait").exit_code == 0
    desk.world.reconcile(pinned)
    rows = {row["instance"]: row for row in terminal.document("fleet")}
    codes = {name: [each["code"] for each in row["not_in_effect"]] for name, row in rows.items()}
    assert codes == {
        instance: ["ignored", "rejected"],
        foreign: ["not-ours", "rejected"],
        node: ["not-ours", "node"],
        pinned: ["pinned"],
    }
    assert [rows[each]["stands"] for each in (instance, foreign, node, pinned)] == ["ok", "foreign", "foreign", "ok"]
    assert rows[foreign]["reason"].startswith("no mapping for its tags is in effect; arn:aws:iam::")
    assert "; app=web is rejected: role" in rows[foreign]["reason"]
    listed = " ".join(terminal("fleet").stdout.split())
    assert "its tag rolekeeper:ignore says true" in listed
    assert "it is pinned to db by arn:aws:sts::123456789012:user/moto: a test" in listed
    explained = " ".join(terminal("explain", node, "--no-who", "--no-uptake").stdout.split())
    assert "EKS launched it as a node, which needs its role" in explained


def test_a_row_that_wouldnt_apply_to_one_doesnt_concern_it(terminal: Terminal, desk: Desk, instance: str) -> None:
    desk.edit(WEB, role="wbe", require_tags={"env": "dev"})
    desk.edit("env=*", role="wbe", accounts={"111111111111"})
    [row] = terminal.document("fleet")
    assert (row["stands"], row["not_in_effect"], row["reason"]) == ("ok", [], "no mapping for its tags")
    desk.edit("env=*", role="wbe", priority="none")
    [row] = terminal.document("fleet")
    assert (row["instance"], row["stands"]) == (instance, "blocked"), "a row that can't be read may be for any account"
    assert row["reason"].startswith("no mapping for its tags is in effect: env=* is rejected: priority")


def test_an_edit_that_takes_an_instance_out_of_scope_concerns_it(terminal: Terminal, desk: Desk, instance: str) -> None:
    published(desk, instance)
    held(desk)
    desk.edit(WEB, role="web", require_tags={"env": "dev"})
    [row] = terminal.document("fleet")
    assert [(each["code"], each["revision"]) for each in row["not_in_effect"]] == [("held", 2)]


def test_instances_that_stay_as_they_are_come_before_a_row_that_is_held(
    terminal: Terminal, desk: Desk, instance: str
) -> None:
    published(desk, instance)
    desk.world.running(profile="theirs", app="web")
    held(desk)
    desk.edit(WEB, role="db")
    ran = terminal("wait", "--mapping", WEB)
    assert (ran.exit_code, "revision 2 of app=web is held" in ran.stderr) == (1, True)


def test_a_row_that_is_judged_while_one_waits_counts_as_it_is_judged(
    terminal: Terminal, desk: Desk, instance: str
) -> None:
    desk.put(WEB, role="web")
    works(terminal, desk, instance)
    ran = terminal("wait", "--mapping", WEB)
    assert (ran.exit_code, ran.output) == (0, "1 of 1 instance carries what it should.\n")


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (ReasonCode.IN_EFFECT(some=1, of=2), "not-everywhere"),
        (ReasonCode.NOT_IN_EFFECT_IN(revision=2, accounts=["111111111111"]), "not-everywhere"),
        (ReasonCode.NO_SPOKE_IN_SCOPE(), "out-of-scope"),
        (ReasonCode.IN_EFFECT(all=2), ""),
        (ReasonCode.FOREIGN_ROLES_STAY(), ""),
    ],
)
def test_a_published_row_says_where_it_isnt_in_effect(reason: Reason, code: str) -> None:
    key = MappingKey("app", "web")
    row = Row(key, MappingSpec(key, "web"), "web", status="Published", reasons=(reason,), held_revision=0)
    assert [(each.code, each.reason) for each in row.elsewhere] == ([(code, str(reason))] if code else [])

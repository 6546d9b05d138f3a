"""fleet --uptake: whether software uses the roles of many instances, by few calls of CloudTrail."""

from datetime import timedelta
from typing import Any

import pytest

from fixtures.account import refusing
from fixtures.mappings import Desk
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal, lines
from rolekeeper.model.instance import Target
from rolekeeper_cli.fleet import use

WEB, DB = (f"arn:aws:iam::123456789012:role/rolekeeper/{each}" for each in ("web", "db"))
SPOKE = Target("111111111111", "eu-west-1")


pytestmark = pytest.mark.desk(usable=("web", "db"), rows={"app=web": "web", "app=db": "db"})


@pytest.fixture(autouse=True)
def few(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few instances are asked about as many are."""
    terminal.trail.page = 50
    monkeypatch.setattr(use, "FEW", 0)


@pytest.fixture
def steady(terminal: Terminal, desk: Desk) -> str:
    """An instance that carries web since yesterday."""
    one = desk.converged("web", app="web", Name="steady")
    desk.world.later(days=1)
    terminal.trail.delivered(WEB, one)
    return one


@pytest.fixture
def replaced(terminal: Terminal, desk: Desk, steady: str) -> str:
    """An instance whose role web was replaced by db half an hour ago."""
    del steady
    one = desk.converged("web", app="web", Name="replaced")
    terminal.trail.delivered(WEB, one)
    desk.world.wait(600)
    desk.world.tag(one, app="db")
    desk.world.reconcile(one)
    terminal.trail.delivered(DB, one)
    desk.world.wait(1800)
    return one


def seen(terminal: Terminal, *options: str) -> dict[str, dict[str, str]]:
    """The status of each role of each instance, by their names."""
    return {
        row["instance"]: {each["role"]: each["status"] for each in row["uptake"]["roles"]}
        for row in terminal.document("fleet", "--uptake", *options)
    }


def looked_up(terminal: Terminal) -> list[str]:
    return [each["LookupAttributes"][0]["AttributeValue"] for each in terminal.trail.asked]


# ---- many instances ----


def test_many_instances_are_asked_about_page_by_page(terminal: Terminal, desk: Desk) -> None:
    desk.world.large_pages()
    ids = [desk.world.launch(profile="web") for _ in range(100)]
    for hour in range(6):
        if hour == 4:
            for each in ids[:3]:
                desk.world.attach_by_hand(each, "db")
        desk.world.wait(3590)
        for number, each in enumerate(ids):
            terminal.trail.delivered(DB if hour >= 4 and number < 3 else WEB, each)
    terminal.trail.called(WEB, ids[1])
    desk.quiet()
    found = seen(terminal)
    assert desk.world.calls["LookupEvents"] == 600 / 50 + 3
    assert found == {
        **{each: {"web": "delivered"} for each in ids},
        **{each: {"db": "delivered", "web": "still-valid"} for each in ids[:3]},
        ids[1]: {"db": "delivered", "web": "still-used"},
    }


def test_only_those_whose_role_changed_are_asked_for_calls(terminal: Terminal, steady: str, replaced: str) -> None:
    terminal.trail.called(WEB, steady)
    assert seen(terminal) == {steady: {"web": "delivered"}, replaced: {"db": "delivered", "web": "still-valid"}}
    assert looked_up(terminal) == ["AssumeRole", replaced]
    for role in (DB, WEB):
        terminal.trail.called(role, replaced)
    delivered = next(each["EventTime"] for each in terminal.trail.events if replaced in str(each["Resources"]))
    expires = delivered + timedelta(hours=6)
    ran = terminal("fleet", "--uptake")
    head, *rows = lines(ran.stdout)
    assert head.endswith("STATUS ROLE USE FORMER ROLES REASON")
    assert rows[0].startswith(steady)
    assert rows[0].endswith("ok delivered")
    assert rows[1].endswith(f"ok in use web still used, valid until {expires:%Y-%m-%dT%H:%M:%SZ}")
    assert "Calls were looked for on 1 of 2 instances. On others, whose role didn't change in " in ran.stderr
    assert "Warning" not in ran.stderr


@pytest.mark.usefixtures("replaced")
def test_a_use_that_wasnt_looked_for_is_unknown_and_no_call_is_said_only_of_the_others(terminal: Terminal) -> None:
    first, second = [row["uptake"] for row in terminal.document("fleet", "--uptake")]
    assert (first["looked_since"], first["looked_through"]) == (None, False)
    assert (second["looked_since"] is None, second["looked_through"]) == (False, True)
    rows = lines(terminal("fleet", "--uptake", "-o", "wide").stdout)
    assert " ok delivered app=web " in rows[1]
    assert " ok delivered, no call seen web valid until " in rows[2]


def test_an_attach_within_these_hours_is_a_change_too(terminal: Terminal, desk: Desk) -> None:
    one = desk.converged("web", app="web")
    terminal.trail.called(WEB, one)
    desk.world.wait(60)
    assert seen(terminal) == {one: {"web": "in-use"}}


def test_records_may_come_late_and_in_another_order(terminal: Terminal, desk: Desk, steady: str) -> None:
    desk.world.attach_by_hand(steady, "db")
    desk.world.wait(5)
    terminal.trail.delivered(DB, steady, late=800)
    desk.world.wait(700)
    assert seen(terminal)[steady] == {"db": "not-seen", "web": "still-valid"}
    desk.world.wait(100)
    terminal.trail.events.reverse()
    assert seen(terminal)[steady] == {"db": "delivered", "web": "still-valid"}


def test_an_instance_that_ended_or_isnt_listed_is_asked_nothing(
    terminal: Terminal, desk: Desk, steady: str, replaced: str
) -> None:
    ended = desk.converged("db", app="db")
    terminal.trail.delivered(DB, ended)
    desk.world.truth.terminate(ended)
    desk.world.wait(60)
    assert list(seen(terminal, "--role", "web")) == [steady]
    assert looked_up(terminal) == ["AssumeRole"]
    assert list(seen(terminal)) == [steady, replaced]
    assert ended not in looked_up(terminal)


def test_nothing_is_asked_without_the_option_or_without_instances(terminal: Terminal, steady: str) -> None:
    assert "uptake" not in terminal.document("fleet")[0]
    assert "ROLE USE" not in terminal("fleet", "-o", "wide").stdout
    assert terminal.document("fleet", "--uptake", "--state", "stopped") == []
    assert terminal("fleet", "--uptake", "--state", "stopped").exit_code == 0
    assert looked_up(terminal) == []
    assert list(seen(terminal)) == [steady]


def test_of_a_few_instances_each_is_asked(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, steady: str) -> None:
    monkeypatch.setattr(use, "FEW", 1)
    terminal.trail.called(WEB, steady)
    assert seen(terminal) == {steady: {"web": "in-use"}}
    assert looked_up(terminal) == [steady, steady], "for what was delivered, and for calls"


# ---- targets ----


def test_each_target_has_its_own_history_and_its_own_roles_of_a_name(
    terminal: Terminal, desk: Desk, steady: str
) -> None:
    spoke = SpokeFixture(terminal, desk, SPOKE)
    spoke.registered()
    spoke.copied("app=web", "web")
    there = spoke.world.running(app="web")
    spoke.reconcile(there)
    own = f"arn:aws:iam::{SPOKE.account}:role/rolekeeper/web"
    spoke.trail.delivered(own, there)
    terminal.trail.called(own, there)
    spoke.trail.called(WEB, there)
    assert seen(terminal) == {steady: {"web": "delivered"}, there: {"web": "delivered"}}
    spoke.trail.called(own, there)
    assert seen(terminal)[there] == {"web": "in-use"}
    spoke.trail.refuses = "AccessDeniedException"
    ran = terminal("fleet", "--uptake")
    said = f"Warning: role use isn't fully known of 1 instance in {SPOKE}: the viewer of account {SPOKE.account} isn't "
    assert f"{said}allowed cloudtrail:LookupEvents\n" in ran.stderr
    assert ran.exit_code == 0
    found: dict[str, Any] = {row["instance"]: row["uptake"] for row in terminal.document("fleet", "--uptake")}
    assert (found[there]["unknown_because"] is None, found[steady]["unknown_because"]) == (False, None)


# ---- what isn't known ----


def test_a_missing_permission_is_named_once(terminal: Terminal, desk: Desk, steady: str, replaced: str) -> None:
    desk.world.untag(steady, "app")
    desk.world.reconcile(steady)
    terminal.trail.refuses = "AccessDeniedException"
    desk.quiet()
    ran = terminal("fleet", "--uptake")
    assert ran.exit_code == 0
    assert ran.stderr.count("you aren't allowed cloudtrail:LookupEvents") == 1
    assert desk.world.calls["LookupEvents"] == 1
    rows = lines(ran.stdout)
    assert rows[1].startswith(f"{steady} steady running none none ok unknown web valid until ")
    assert rows[2].startswith(f"{replaced} replaced running db db ok unknown web valid until ")


def test_a_role_that_cant_be_read_leaves_the_use_unknown(terminal: Terminal, desk: Desk, steady: str) -> None:
    desk.world.calls.before("GetInstanceProfile", refusing("AccessDenied"))
    [row] = terminal.document("fleet", "--uptake")
    assert (row["instance"], row["uptake"]["roles"]) == (steady, [])
    assert row["uptake"]["unknown_because"] == "you aren't allowed iam:GetInstanceProfile"


def test_more_records_than_are_read_are_said_and_nothing_is_not_seen(
    terminal: Terminal, desk: Desk, monkeypatch: pytest.MonkeyPatch, steady: str
) -> None:
    monkeypatch.setattr(use, "_PAGES", 2)
    other = desk.world.running(profile="db")
    terminal.trail.page = 1
    for _ in range(3):
        terminal.trail.delivered(WEB, steady)
    ran = terminal("fleet", "--uptake")
    assert "only the newest 2 of CloudTrail's records were read" in ran.stderr
    [_, first, second, *_] = lines(ran.stdout)
    assert (first.split()[0], first.endswith(" ok delivered unknown")) == (steady, True)
    assert (second.split()[0], " unknown unknown" in second) == (other, True)


def test_of_too_many_changed_instances_some_are_asked_and_the_others_say_so(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, desk: Desk
) -> None:
    monkeypatch.setattr(use, "ASKED", 2)
    ids = [desk.converged("web", app="web") for _ in range(3)]
    for each in ids:
        terminal.trail.delivered(WEB, each)
        terminal.trail.called(WEB, each)
    assert list(seen(terminal).values()) == [{"web": "in-use"}, {"web": "in-use"}, {"web": "delivered"}]
    ran = terminal("fleet", "--uptake")
    assert lines(ran.stdout)[3].endswith(" ok delivered"), "former roles are known"
    assert "Calls were looked for on 2 of 3 instances. On others, " in ran.stderr


def test_of_more_calls_than_a_page_it_isnt_said_that_there_is_none(terminal: Terminal, desk: Desk) -> None:
    ids = [desk.converged("web", app="web") for _ in range(2)]
    for each in ids:
        terminal.trail.delivered(WEB, each)
    for _ in range(51):
        terminal.trail.called(WEB.replace("web", "other"), ids[0])
    rows = lines(terminal("fleet", "--uptake").stdout)
    assert [each.partition(" ok ")[2] for each in rows[1:]] == ["delivered", "delivered, no call seen"]
    assert looked_up(terminal) == ["AssumeRole", *ids]


def test_a_page_for_which_no_rate_was_left_is_asked_for_again(terminal: Terminal, desk: Desk, steady: str) -> None:
    for _ in range(3):
        desk.world.calls.before("LookupEvents", refusing("ThrottlingException"))
    began = desk.world.clock.now()
    assert seen(terminal) == {steady: {"web": "delivered"}}
    assert desk.world.clock.now() - began == timedelta(seconds=2 + 4 + 8)


def test_what_calls_said_before_cloudtrail_was_throttled_is_shown(terminal: Terminal, desk: Desk) -> None:
    ids = [desk.converged("web", app="web") for _ in range(2)]
    for each in ids:
        terminal.trail.called(WEB, each)

    def second() -> None:
        desk.world.calls.after("LookupEvents", lambda: setattr(terminal.trail, "refuses", "ThrottlingException"))

    desk.world.calls.after("LookupEvents", second)
    told = [row["uptake"] for row in terminal.document("fleet", "--uptake")]
    assert [(each["roles"][0]["status"], each["unknown_because"]) for each in told] == [
        ("in-use", None),
        ("not-seen", "CloudTrail gave no answer (ThrottlingException)"),
    ]

"""plan: what would change in the fleet, now or if a file's mappings were served."""

from pathlib import Path
from typing import Any

import pytest

from fixtures.mappings import Desk, mapping_file
from fixtures.terminal import Terminal, lines
from rolekeeper_cli.mapping.command import show_change

pytestmark = pytest.mark.usefixtures("web_and_db")


# ---- now ----


def test_of_the_gained_permissions_it_names_the_severe_ones_to_programs(terminal: Terminal, desk: Desk) -> None:
    desk.edit("app=web", role="web")
    desk.world.running(app="web")
    desk.world.attach_by_hand(desk.world.running(app="web"), "db")
    for role in ("web", "db"):
        desk.grant(role, "iam:PutRolePolicy")
    severe = {each["from"]: each["severe"] for each in terminal.document("plan")["permissions"]}
    assert severe == {None: ["iam:PutRolePolicy on *"], "db": []}


def test_it_writes_nothing_and_asks_for_pages_only(terminal: Terminal, desk: Desk) -> None:
    desk.edit("app=web", role="web")
    for _ in range(3):
        desk.world.running(app="web")
    desk.quiet()
    desk.world.large_pages()
    terminal("plan")
    assert [*desk.world.writes, *desk.world.mutations] == []
    counted = desk.world.calls.counted()
    assert (counted["DescribeInstances"], counted["DescribeIamInstanceProfileAssociations"]) == (1, 1)


def test_a_usual_fleet_fits_one_screen_and_the_rest_is_counted(
    terminal: Terminal, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rolekeeper_cli.shell.terminal.width", lambda *_: 80)
    for number in range(8):
        desk.usable(f"role-{number}")
        desk.edit(f"app={number}", role=f"role-{number}")
        for name in range(9 - number):
            desk.world.running(app=str(number), Name=f"server-{number}-{name}")
    shown = terminal("plan").stdout.splitlines()
    assert (shown[0][:40], len(shown) <= 24) == ("role-0 on 9 instances, role-1 on 8, role", True)
    assert "+  9 instances  server-0-0, server-0-1, server-0-2, and 6 more  none  →  role-0" in shown
    assert shown[-1] == "Left out: 5 instances, 2 changes of role; all: rolekeeper plan -o wide"
    shown = terminal("plan", "--sort", "-to").stdout.splitlines()
    roles = [line.split()[-1] for line in shown if line.startswith("+")]
    assert roles == [f"role-{number}" for number in range(7, 1, -1)]


# ---- if a file's mappings were served ----


def test_an_edit_is_shown_once_it_is_judged_before_the_rows_that_stay(
    terminal: Terminal, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tag in (*(f"app={each}" for each in "abcde"), "zone=z"):
        desk.edit(tag, role="web")
    stay = [f"tag_key: app, tag_value: {each}, role: web" for each in "abcde"]
    file = mapping_file(tmp_path, *stay, "tag_key: zone, tag_value: z, role: db")
    read: list[int] = []

    def showing(change: Any) -> None:
        read.append(desk.world.calls.counted()["BatchGetItem"])
        show_change(change)

    monkeypatch.setattr("rolekeeper_cli.plan.command.show_change", showing)
    desk.quiet()
    ran = terminal("plan", "-f", file)
    assert lines(ran.stdout)[:2] == ["~ zone=z", "role: web → db"]
    [before] = read
    assert desk.world.calls.counted()["BatchGetItem"] >= before + len(stay)


def test_a_conflict_of_rows_in_effect_counts_until_the_file_ends_it(
    terminal: Terminal, desk: Desk, tmp_path: Path
) -> None:
    for tag, role in (("app=web", "web"), ("tier=web", "db")):
        desk.edit(tag, role=role)
    desk.world.running(app="web", tier="web")
    for tag in ("app=web", "tier=web"):
        desk.recheck(tag)
    rows = ["tag_key: app, tag_value: web, role: web", "tag_key: tier, tag_value: web, role: db"]
    told = terminal.document("plan", "-f", mapping_file(tmp_path, *rows), code=3)["mappings"]
    assert [(each["status"], each["takes_effect"]) for each in told] == [("Conflict", True)] * 2
    told = terminal.document("plan", "-f", mapping_file(tmp_path, rows[0], f"{rows[1]}, priority: 5"))["mappings"]
    assert [(each["mapping"], each["status"]) for each in told] == [("tier=web", "Published")]


def test_what_is_approved_needs_no_turn(terminal: Terminal, desk: Desk) -> None:
    desk.three_carry("web", "app=web")
    terminal.one_change_passes()
    desk.edit("app=web", role="db")
    desk.approve("app=web", 2)
    assert "roles are taken away" not in terminal("plan").stderr, "the approval lets all three through"
    desk.edit("tier=x", role="web")
    for _ in range(2):
        desk.world.attach_by_hand(desk.world.running(tier="x"), "db")
    said = "5 roles are taken away (app=web 3, tier=x 2), 1 of them in 10 minutes, and 3 that are approved; the others"
    assert said in terminal("plan").stderr
    told = {each["mapping"]: each["approved"] for each in terminal.document("plan")["paced"]}
    assert told == {"app=web": 3, "tier=x": 0}

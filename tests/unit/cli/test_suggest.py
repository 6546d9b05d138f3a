"""What was meant: names a slip away, and none that only look alike to a machine."""

from pathlib import Path

import pytest

from fixtures.account import refusing
from fixtures.mappings import TRUSTS_LAMBDA, MappingsFixture
from fixtures.terminal import Terminal
from rolekeeper_cli.suggest import did_you_mean, near

ROLES = ["batch", "db", "ssm-only", "web", "web-debug"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("wbe", ["web"]),  # two swapped
        ("ewb", ["web"]),
        ("weeb", ["web"]),
        ("Web", ["web", "web-debug"]),
        ("WEB-DEBUG", ["web-debug"]),
        ("bacth", ["batch"]),
        ("ssm", ["ssm-only"]),  # the beginning
        ("web-debgu", ["web-debug"]),
        ("nosuch", []),
        ("profile", []),
        ("", []),
    ],
)
def test_a_slip_finds_the_name_that_was_meant(typed: str, meant: list[str]) -> None:
    assert near(typed, ROLES) == meant


def test_the_nearest_comes_first_and_three_at_most() -> None:
    assert near("web-1", ["web-10", "web-2", "web-1x", "web-11", "web-21"]) == ["web-10", "web-11", "web-1x"]
    assert near("production", ["prodution", "production-eu", "productoin"]) == [
        "productoin",
        "prodution",
        "production-eu",
    ]


def test_options_are_compared_without_their_dashes() -> None:
    assert near("--role", ["--profile", "--stack", "--region"]) == []
    assert near("--regoin", ["--profile", "--stack", "--region"]) == ["--region"]
    assert near("--prof", ["--profile", "--prune"]) == ["--profile"]


def test_it_is_asked_as_a_question() -> None:
    assert did_you_mean("wbe", ROLES) == "did you mean web?"
    assert did_you_mean("wxb", ["web", "wab"]) == "did you mean wab or web?"
    assert did_you_mean("nosuch", ROLES) == ""


# ---- where names are typed ----


@pytest.fixture
def web(desk: MappingsFixture) -> MappingsFixture:
    for role in ("web", "batch"):
        desk.role(role)
    return desk


def test_a_role_that_isnt_there_is_answered_with_the_one_that_was_meant(
    terminal: Terminal, web: MappingsFixture
) -> None:
    terminal.judges("workload=web")
    ran = terminal("mapping", "set", "workload=web", "role=wbe")
    assert ran.exit_code == 1
    assert "! workload=web is Rejected: role 'wbe' doesn't exist" in ran.stderr
    assert "  did you mean web? rolekeeper mapping set workload=web role=web\n" in ran.stderr
    one = web.world.running()
    ran = terminal("attach", one, "bacth")
    assert (ran.exit_code, "role 'bacth' doesn't exist" in ran.stderr) == (1, True)
    assert "  did you mean batch?\n" in ran.stderr


def test_no_role_is_suggested_where_none_is_near_or_the_role_is_there(terminal: Terminal, web: MappingsFixture) -> None:
    terminal.judges("workload=web")
    assert "did you mean" not in terminal("mapping", "set", "workload=web", "role=nosuch").stderr
    web.role("webs", trust=TRUSTS_LAMBDA)
    terminal.judges("workload=web")
    ran = terminal("mapping", "set", "workload=web", "role=webs")
    assert "EC2 can't assume role 'webs'" in ran.stderr
    assert "did you mean" not in ran.stderr


def test_who_may_not_list_roles_gets_no_suggestion(terminal: Terminal, web: MappingsFixture) -> None:
    web.world.calls.before("ListRoles", refusing("AccessDenied", "no"))
    terminal.judges("workload=web")
    ran = terminal("mapping", "set", "workload=web", "role=wbe")
    assert (ran.exit_code, "did you mean" in ran.stderr) == (1, False)


def test_a_plan_of_a_file_names_the_role_that_was_meant(
    terminal: Terminal, web: MappingsFixture, tmp_path: Path
) -> None:
    del web
    file = tmp_path / "mappings.yaml"
    file.write_text(
        "mappings:\n- {tag_key: app, tag_value: a, role: wbe}\n- {tag_key: app, tag_value: b, role: nosuch}\n"
    )
    shown = terminal("plan", "-f", str(file)).stdout
    assert "correct the name; did you mean 'web'?" in shown
    assert shown.count("did you mean") == 1

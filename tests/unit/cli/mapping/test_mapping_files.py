"""Export, import and validate: the table as a file."""

from pathlib import Path

import pytest

from fixtures.account import MAPPING_TABLE
from fixtures.mappings import Desk, mapping_file
from fixtures.terminal import CALLER, Terminal
from rolekeeper_cli.row.edits import exit_code

TWO = """\
mappings:
- tag_key: workload
  tag_value: db
  role: db
- tag_key: workload
  tag_value: web
  role: web
  priority: 50
"""


pytestmark = pytest.mark.usefixtures("web_and_db")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mappings.yaml"


def keys(desk: Desk) -> list[str]:
    rows = desk.world.dynamodb.items(MAPPING_TABLE)
    return sorted(f"{row['tag_key']['S']}={row['tag_value']['S']}" for row in rows)


def writes(desk: Desk) -> list[str]:
    return [each for each in desk.world.calls.made if each in {"PutItem", "UpdateItem", "DeleteItem"}]


# ---- import ----


def test_a_new_file_is_written_and_judged(terminal: Terminal, desk: Desk, file: Path) -> None:
    file.write_text(TWO)
    terminal.judges("workload=db", "workload=web")
    ran = terminal("mapping", "import", str(file), "--yes")
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.splitlines() == [
        "+ workload=db  role=db",
        "+ workload=web  role=web priority=50",
    ]
    assert "2 new, 0 changed, 0 deleted." in ran.stderr
    assert "All 2 rows are published as written." in ran.stderr
    assert desk.history("workload=web")[-1]["claimed_by"] == CALLER
    assert desk.shows("workload=web") == ("Published", "in effect", 1)


def test_a_change_is_shown_column_by_column_and_touches_nothing_else(
    terminal: Terminal, desk: Desk, file: Path
) -> None:
    desk.put("workload=web", role="db", owner="me", note="of somebody's own", enabled=True)
    desk.publish("workload=web")
    file.write_text("mappings:\n- {tag_key: workload, tag_value: web, role: web, expires_at: 2030-01-01T00:00:00Z}\n")
    terminal.judges("workload=web")
    ran = terminal("mapping", "import", str(file), "--yes")
    assert ran.stdout.splitlines() == [
        "~ workload=web",
        "    role: db → web",
        "    expires_at: never → 2030-01-01T00:00:00Z",
        "    owner: me → none",
    ]
    row = desk.row("workload=web")
    assert (row["role"], row["note"], row["enabled"]) == ("web", "of somebody's own", True)
    assert desk.history("workload=web")[-1]["claimed_by"] == CALLER
    assert "owner" not in row
    assert desk.shows("workload=web")[::2] == ("Published", 2)


def test_rows_that_arent_in_the_file_stay_unless_pruned(terminal: Terminal, desk: Desk, file: Path) -> None:
    desk.put("old=1", role="web")
    desk.publish("old=1")
    file.write_text(TWO)
    ran = terminal("mapping", "import", str(file), "--yes", "--no-wait")
    assert "not in the file, and left as they are: 1; --prune deletes them" in ran.stderr
    assert keys(desk) == ["old=1", "workload=db", "workload=web"]

    for each in ("workload=db", "workload=web"):
        desk.publish(each)
    terminal.judges("old=1")
    ran = terminal("mapping", "import", str(file), "--yes", "--prune")
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.splitlines() == ["- old=1  role=web", "= 2 unchanged"]
    assert keys(desk) == ["workload=db", "workload=web"]
    assert desk.in_effect("old=1").deleted


def test_who_deletes_a_row_stands_in_it_first(terminal: Terminal, desk: Desk, file: Path) -> None:
    """The stream's record of the deletion carries the row as it was."""
    desk.put("old=1", role="web")
    file.write_text(TWO)
    seen: list[str] = []
    desk.world.calls.before("DeleteItem", lambda: seen.append(desk.row("old=1")["edited_by"]))
    terminal("mapping", "import", str(file), "--yes", "--prune", "--no-wait")
    assert seen == [CALLER]


def test_without_a_terminal_and_without_yes_it_is_refused_before_anything(
    terminal: Terminal, desk: Desk, file: Path
) -> None:
    file.write_text(TWO)
    desk.quiet()
    of_a_mapping = [("mapping", verb, "a=b") for verb in ("rm", "rollback", "discard", "approve")]
    for line in (("mapping", "import", str(file)), *of_a_mapping, ("redrive",)):
        ran = terminal(*line)
        assert (ran.exit_code, "there is no terminal to ask on\n  give --yes" in ran.stderr) == (252, True), line
    assert desk.world.calls.made == []


def test_a_file_from_stdin_leaves_nowhere_to_ask(terminal: Terminal, desk: Desk) -> None:
    assert terminal.types(TWO, "mapping", "import", "-").exit_code == 252
    assert terminal("mapping", "import", "-", "--yes", "--no-wait", stdin=TWO).exit_code == 0
    assert len(keys(desk)) == 2


def test_a_row_that_moved_since_the_plan_is_left_alone_and_named(terminal: Terminal, desk: Desk, file: Path) -> None:
    desk.put("workload=db", role="web")
    desk.put("old=1", role="web")
    file.write_text(TWO)

    def meanwhile() -> None:
        desk.put("workload=db", role="web", priority=7)
        desk.put("workload=web", role="db")
        desk.put("old=1", role="db")

    desk.world.calls.before("UpdateItem", meanwhile)
    ran = terminal("mapping", "import", str(file), "--prune", "--yes", "--no-wait")
    assert ran.exit_code == 1
    assert "another actor changed old=1, workload=db, workload=web since the plan" in ran.stderr
    assert (desk.row("workload=db")["priority"], desk.row("workload=web")["role"]) == (7, "db")
    assert desk.row("old=1") == {"tag_key": "old", "tag_value": "1", "role": "db"}


def test_when_rolekeeper_says_nothing_the_wait_ends(terminal: Terminal, desk: Desk, file: Path) -> None:
    file.write_text(TWO.replace("tag_value: db", "tag_value: d b"))
    ran = terminal("mapping", "import", str(file), "--yes")
    assert ran.exit_code == 255
    assert "Rolekeeper said nothing of workload=d b, and 1 more for 60 s" in ran.stderr
    assert "see its row later: rolekeeper mapping get 'workload=d b'; its function is" in ran.stderr
    assert len(keys(desk)) == 2


def test_a_dry_run_gives_the_plan_and_writes_nothing(terminal: Terminal, desk: Desk, file: Path) -> None:
    desk.put("workload=web", role="db")
    desk.put("old=1", role="db")
    file.write_text(TWO)
    assert terminal.document("mapping", "import", str(file), "--dry-run") == {
        "changes": [
            {"mapping": "workload=db", "kind": "new", "columns": {"role": {"from": "", "to": "db"}}},
            {
                "mapping": "workload=web",
                "kind": "changed",
                "columns": {"role": {"from": "db", "to": "web"}, "priority": {"from": "100", "to": "50"}},
            },
        ],
        "unchanged": 0,
        "not_in_file": 1,
        "not_in_effect": [],
    }
    assert keys(desk) == ["old=1", "workload=web"]


# ---- rows that say already what the file wants ----


EVERY_WAY = (
    ("import", "--yes"),
    ("import", "--yes", "--no-wait"),
    ("import", "--dry-run"),
    ("diff",),
    ("diff", "--detailed-exitcode"),
)


@pytest.fixture
def web(terminal: Terminal, desk: Desk, web_and_db: None) -> None:  # noqa: ARG001  # they are there
    """`app=web` gives three instances their role; one change passes without approval."""
    desk.three_carry("web", "app=web")
    terminal.one_change_passes()


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize(("role", "status", "code"), [("nobody", "Rejected", 3), ("db", "Held", 4)])
def test_a_repeated_import_says_and_ends_as_the_first_did(
    terminal: Terminal, desk: Desk, tmp_path: Path, role: str, status: str, code: int
) -> None:
    file = mapping_file(tmp_path, f"tag_key: app, tag_value: web, role: {role}")
    terminal.judges("app=web")
    first = terminal("mapping", "import", file, "--yes")
    said = first.stderr.splitlines()[1:]
    assert terminal("plan", "-f", file, "--detailed-exitcode").exit_code == code
    assert (first.exit_code, said[0].startswith(f"! app=web is {status}: ")) == (code, True), first.output
    desk.quiet()
    for way, *options in EVERY_WAY:
        again = terminal("mapping", way, file, *options)
        assert (again.exit_code, again.stderr.splitlines()[-len(said) :]) == (code, said), way
    assert "Nothing to write: the table says so already." in terminal("mapping", "import", file, "--yes").stderr
    [waits] = terminal.document("mapping", "diff", file, code=code)["not_in_effect"]
    assert waits == {"mapping": "app=web", "status": status, "reason": desk.shows("app=web")[1]}
    assert terminal("mapping", "set", "app=web", f"role={role}").exit_code == code
    assert writes(desk) == []


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("command", [("set", "app=web", "role=db"), ("import", "FILE", "--yes")])
def test_a_held_edit_that_no_longer_needs_approval_is_written_again(
    terminal: Terminal, desk: Desk, tmp_path: Path, command: tuple[str, ...]
) -> None:
    desk.edit("app=web", role="db")
    file = mapping_file(tmp_path, "tag_key: app, tag_value: web, role: db")
    terminal.changes_pass(3)
    terminal.judges("app=web")
    ran = terminal("mapping", *(file if each == "FILE" else each for each in command))
    assert (ran.exit_code, desk.gives("app=web")) == (0, ("db", 2)), ran.output
    assert "~ app=web  no longer needs approval\n" in ran.stdout
    assert "Published as written." in ran.stderr


@pytest.mark.usefixtures("web")
def test_a_held_deletion_waits_for_those_who_want_the_row_and_for_those_who_dont(
    terminal: Terminal, desk: Desk, tmp_path: Path
) -> None:
    desk.remove("app=web")
    wanted, unwanted = mapping_file(tmp_path, "tag_key: app, tag_value: web, role: web"), ("--prune", "-")
    for arguments in ((wanted,), unwanted):
        ran = terminal("mapping", "diff", *arguments, "--detailed-exitcode", stdin="mappings: []\n")
        step = "to delete it: rolekeeper mapping approve app=web"
        assert (ran.exit_code, step in ran.stderr) == (4, True), ran.output
    terminal.judges("app=web")
    assert terminal("mapping", "import", *unwanted, "--yes", stdin="mappings: []\n").exit_code == 4
    # Another edit than a deletion that is held doesn't matter to who wants the row deleted.
    desk.edit("app=web", role="db")
    assert terminal("mapping", "diff", *unwanted, stdin="mappings: []\n").exit_code == 0


def test_a_row_that_aws_gave_no_answer_for_isnt_in_effect(terminal: Terminal, desk: Desk, tmp_path: Path) -> None:
    desk.put("app=web", role="web", status="Waiting", status_reason="AWS gave no answer")
    file = mapping_file(tmp_path, "tag_key: app, tag_value: web, role: web")
    ran = terminal("mapping", "import", file, "--yes")
    assert (ran.exit_code, "! app=web is Waiting: AWS gave no answer" in ran.stderr) == (1, True)


def test_a_row_that_expired_by_its_own_date_is_in_effect(terminal: Terminal, desk: Desk, tmp_path: Path) -> None:
    desk.edit("app=web", role="web", expires_at="2020-01-01T00:00:00Z")
    file = mapping_file(tmp_path, "tag_key: app, tag_value: web, role: web, expires_at: '2020-01-01T00:00:00Z'")
    assert desk.shows("app=web")[0] == "Expired"
    assert [terminal("mapping", way, file, *options).exit_code for way, *options in EVERY_WAY] == [0] * 5


@pytest.mark.parametrize("written", ["new", "a status that is older than the row"])
def test_a_row_that_isnt_judged_yet_is_waited_for(terminal: Terminal, desk: Desk, tmp_path: Path, written: str) -> None:
    if written != "new":
        desk.edit("app=web", role="db")
    desk.set("app=web", role="nobody" if written == "new" else "web")
    file = mapping_file(tmp_path, f"tag_key: app, tag_value: web, role: {desk.row('app=web')['role']}")
    ran = terminal("mapping", "diff", file)
    assert (ran.exit_code, "Rolekeeper said nothing of app=web for 60 s" in ran.stderr) == (255, True)
    assert terminal("mapping", "import", file, "--yes", "--no-wait").exit_code == 0, "nobody waits"
    terminal.judges("app=web")
    assert terminal("mapping", "diff", file).exit_code == (3 if written == "new" else 0)


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


# ---- validate ----


def test_a_file_is_checked_without_aws(terminal: Terminal, desk: Desk, file: Path) -> None:
    file.write_text(TWO)
    desk.quiet()
    ran = terminal("mapping", "validate", str(file))
    assert (ran.exit_code, ran.stderr) == (0, "Valid mappings: 2.\n")
    file.write_text(TWO.replace("role: web", "role: arn:aws:iam::210987654321:role/x/web"))
    ran = terminal("mapping", "validate", str(file))
    assert ran.exit_code == 1
    assert "; give the role's name, not its ARN: 'web'" in ran.stderr
    assert desk.world.calls.made == []


def test_a_row_that_its_accounts_are_asked_about_isnt_judged_yet(terminal: Terminal, desk: Desk, file: Path) -> None:
    """In hundreds of accounts that takes longer than the command waits for a first word."""
    file.write_text(TWO)
    began = desk.world.clock.seconds

    def meanwhile() -> None:
        for tag in ("workload=db", "workload=web"):
            if desk.world.clock.seconds - began < 120:
                desk.set(tag, status="Waiting", status_reason="it is being judged in 400 accounts", judging=400)
                terminal.meanwhile = meanwhile
            else:
                desk.publish(tag)

    terminal.meanwhile = meanwhile
    ran = terminal("mapping", "import", str(file), "--yes")
    assert (ran.exit_code, desk.world.clock.seconds - began >= 120) == (0, True)
    assert "All 2 rows are published as written." in ran.stderr

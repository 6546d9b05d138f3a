"""Lists on terminals of any width, with any number of rows; what they say when they have none."""

import sys
import time
from collections.abc import Callable

import pytest

from fixtures.account import refusing
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper_cli import terminal as output
from rolekeeper_cli.layout import Column, Kind, Layout
from rolekeeper_cli.options import Options
from rolekeeper_cli.tables import Listing, show_table
from rolekeeper_cli.terminal import Progress

THEIRS = "somebody-elses-role-for-production"
WIDE_NAMES = ("web-frontend-production-eu-1", "batch-worker-for-the-nightly-reports")
type Draws = Callable[..., list[str]]


@pytest.fixture
def draws(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Draws:
    """What a command draws on a terminal of some width."""

    def run(width: int | None, *words: str) -> list[str]:
        monkeypatch.setattr(output, "width", lambda _stream=None: width)
        ran = terminal(*words)
        assert ran.exit_code == 0, ran.output
        return ran.stdout.splitlines()

    return run


@pytest.fixture
def launch(desk: Desk) -> Callable[[int], list[str]]:
    """Instances with long names and roles, a third of which carries a foreign role and so has a long reason."""
    desk.usable(*WIDE_NAMES)
    desk.edit("workload=web-frontend-production", role=WIDE_NAMES[0])

    def run(count: int) -> list[str]:
        ids = []
        for number in range(count):
            profile = None if number % 3 else THEIRS
            tags = {"workload": "web-frontend-production", "Name": f"{WIDE_NAMES[number % 2]}-{number}"}
            ids.append(desk.world.launch(profile=profile, **tags))
        desk.world.wait(3)
        return ids

    return run


@pytest.mark.parametrize("count", [1, 300])
def test_at_80_columns_ids_states_and_standings_are_whole(
    draws: Draws, launch: Callable[[int], list[str]], count: int
) -> None:
    ids = launch(count)
    head, *lines = draws(80, "fleet")
    assert head.split() == ["INSTANCE", "NAME", "STATE", "CARRIES", "SHOULD", "CARRY", "STATUS"]
    assert max(map(len, [head, *lines])) <= 80
    rows = [line.split() for line in lines if line.startswith("i-")]
    assert [row[0] for row in rows] == ids
    assert all("running" in row for row in rows)
    assert [row[-1] for row in rows] == ["foreign" if at % 3 == 0 else "drift" for at in range(count)]
    assert "  it carries the foreign" in lines, "the reason is below its row"
    assert f"  arn:aws:iam::123456789012:instance-profile/{THEIRS}," in lines, "an ARN is whole"
    assert rows[0][1:4] == ["web-f…u-1-0", "running", "someb…ction"], "a name is cut in its middle"


def test_below_a_row_is_why_and_not_what_to_do_which_is_the_same_for_many(
    draws: Draws, launch: Callable[[int], list[str]], terminal: Terminal
) -> None:
    launch(1)
    shown = " ".join(" ".join(draws(80, "fleet")).split())
    assert shown.endswith("so workload=web-frontend-production leaves it")
    ran = terminal("fleet", "-o", "wide")
    assert "to hand the instance over, detach it" in ran.stdout
    assert ran.stderr.endswith("What to do about one: rolekeeper explain INSTANCE\n")


def test_wide_shows_all_columns_and_folds_nothing(
    draws: Draws, launch: Callable[[int], list[str]], terminal: Terminal
) -> None:
    ids = launch(3)
    head, *lines = draws(80, "fleet", "-o", "wide")
    assert {"MAPPING", "ASSOCIATION", "REASON"} < set(head.split())
    assert [line.split()[0] for line in lines] == ids, "a line is a row"
    assert all("workload=web-frontend-production" in line for line in lines)
    assert terminal("fleet", "--output", "wide", "--query", "[0].instance").stdout == f"{ids[0]}\n"


def test_in_a_pipe_a_line_is_a_row(terminal: Terminal, launch: Callable[[int], list[str]]) -> None:
    ids = launch(3)
    head, *lines = terminal("fleet").stdout.splitlines()
    assert head.split()[-1] == "REASON"
    assert [line.split()[0] for line in lines] == ids


@pytest.fixture
def drawn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What a table draws on a terminal of some width, or in a pipe."""

    def run(draw: Callable[[], object], width: int | None = None) -> list[str]:
        monkeypatch.setattr(output, "width", lambda _stream=None: width)
        monkeypatch.setattr(output, "options", Options)
        draw()
        return capsys.readouterr().out.splitlines()

    return run


ARN = "arn:aws:iam::123456789012:role/rolekeeper/web-frontend-production"


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_word_is_broken_nothing_is_lost_and_a_line_keeps_to_the_width(
    drawn: Callable[..., list[str]], width: int
) -> None:
    columns = [Column("key", kind="key"), Column("state"), Column("why", kind="text"), Column("by"), Column("at")]
    rows = [
        {
            "key": "app=web",
            "state": "ok",
            "why": f"as {ARN} was made, it has it",
            "by": "",
            "at": "2026-01-31T18:00:00Z",
        },
        {"key": "app=web/production/eu-1", "state": "Published", "why": "because", "by": ARN, "at": "2026-01-31"},
    ]
    lines = drawn(lambda: Listing(Layout(columns, note=lambda row: f"see {row['by']}")).draw(rows), width)
    words = " ".join(lines).replace("by: ", "").replace("at: ", "").replace(",", "").split()
    assert [
        each for row in rows for cell in row.values() for each in cell.replace(",", "").split() if each not in words
    ] == []
    assert [each for each in lines if len(each) > width and len(each.split()) > 1] == []


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("whole", ["ID", "i-0123456789abcdef0", "  what: names/that-are-long,", "  本本"]),
        ("name", ["ID                   WHAT", "i-0123456789abcdef0  name…ong,", f"{'':21}本本"]),
        (
            "text",
            ["ID                   WHAT", "i-0123456789abcdef0", "          names/that-are-long,", f"{'':21}本本"],
        ),
        ("key", ["ID                   WHAT", "i-0123456789abcdef0", "     names/that-are-long, 本本"]),
    ],
)
def test_each_kind_of_column_gives_way_in_its_manner(
    drawn: Callable[..., list[str]], kind: Kind, lines: list[str]
) -> None:
    columns = [Column("id"), Column("what", kind=kind)]
    document = {"id": "i-0123456789abcdef0", "what": "names/that-are-long, 本本"}
    assert drawn(lambda: Listing(Layout(columns)).draw([document]), 30) == lines


def test_where_all_columns_have_no_room_those_without_a_value_go_first_then_the_last(
    drawn: Callable[..., list[str]],
) -> None:
    document = {"id": "i-1", "state": "ok (this deployment)", "event": None, "sweep": "2026-01-31T18:00:00Z", "n": 3}
    lines = drawn(lambda: Listing(Layout(list(map(Column, document)))).draw([document]), 45)
    assert lines == ["ID   STATE                 N", "i-1  ok (this deployment)  3", "  sweep: 2026-01-31T18:00:00Z"]


def test_a_line_breaks_between_words_on_a_terminal_but_for_what_is_copied(drawn: Callable[..., list[str]]) -> None:
    text = f"it carries {ARN}, which isn't managed\n  rolekeeper release i-0123456789abcdef0 --yes"
    wrapped = ["it carries", f"  {ARN},", "  which isn't managed", *text.splitlines()[1:]]
    assert drawn(lambda: output.line(text), 40) == wrapped
    assert drawn(lambda: output.line("would be Held", indent=4), 40) == ["    would be Held"]
    assert drawn(lambda: output.line(text)) == text.splitlines(), "in a pipe it is one line"


def test_a_table_without_rows_is_its_head(drawn: Callable[..., list[str]]) -> None:
    assert drawn(lambda: show_table(("id", "what"), [])) == ["ID  WHAT"]
    assert drawn(lambda: show_table(("", ""), [])) == []


def test_rows_that_come_one_by_one_have_one_head_and_one_place(drawn: Callable[..., list[str]]) -> None:
    def draw() -> None:
        listing = Listing(Layout([Column("id"), Column("what", kind="text")]), {"id": "i-123", "what": ""})
        for each in ("i-1", "i-1234567", "i-2"):
            listing.draw([{"id": each, "what": "x"}])

    assert drawn(draw) == ["ID     WHAT", "i-1    x", "i-1234567  x", "i-2        x"]


def test_what_a_row_holds_is_no_markup_and_moves_no_cursor(drawn: Callable[..., list[str]]) -> None:
    lines = drawn(lambda: show_table(("", ""), [("[bold]x[/]", ":smile: \x1b[2J")]), 80)
    assert lines == ["[bold]x[/]  :smile: \\u001b[2J"]


def test_what_is_missing_is_said_as_far_as_the_line_has_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter((0.0, 2.0, 2.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    progress = Progress(None, "instances came")
    progress.at(1, 3, "missing in 111111111111/eu-west-1: i-1")
    shown = capsys.readouterr().err.removeprefix("\r\033[K")
    assert shown == "1 of 3 instances came;", "a word that has no room is left out"


# ---- nothing to show ----


def test_an_empty_fleet_says_where_it_looked_and_what_to_do(terminal: Terminal) -> None:
    ran = terminal("fleet")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert ran.stderr == (
        "There are no instances in account 123456789012, us-east-1. "
        "Look elsewhere with --region or --profile, or launch one.\n"
    )
    assert terminal.document("fleet") == []


def test_filters_that_nothing_passes_say_what_was_looked_at(terminal: Terminal, desk: Desk) -> None:
    desk.role("web")
    desk.edit("app=web", role="web")
    desk.converged("web", app="web")
    assert terminal("fleet", "--drift").stderr == "No instance of 1 is in drift.\n"
    said = terminal("fleet", "--state", "stopped").stderr
    assert said.startswith("No instance passes these filters: of 1 in account 123456789012, us-east-1.")
    assert "none in account 123456789012, us-east-1 has the tag app=db" in terminal("fleet", "--tag", "app=db").stderr


def test_no_mappings_says_how_to_write_one(terminal: Terminal, desk: Desk) -> None:
    ran = terminal("mapping", "ls")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert ran.stderr.startswith("There are no mappings yet. Write one: rolekeeper mapping set ")
    desk.role("web")
    desk.edit("app=web", role="web")
    assert terminal("mapping", "ls", "--status", "held").stderr == (
        "No mapping is Held. Of 1 mapping: 1 Published. See them: rolekeeper mapping ls\n"
    )


# ---- invalid filters ----


def test_an_unknown_value_of_a_filter_is_an_error_with_what_was_meant(terminal: Terminal, desk: Desk) -> None:
    for role in ("web", "batch"):
        desk.role(role)
    desk.edit("app=web", role="web")
    desk.converged("web", app="web")
    for words, said in {
        ("mapping", "ls", "--status", "Bogus"): "'Bogus' is none of Published, Expired, Rejected, Conflict, Held",
        ("mapping", "ls", "--status", "Reject"): "did you mean Rejected?",
        ("fleet", "--state", "runing"): "'runing' is none of pending, running, stopping, stopped; did",
        ("fleet", "--role", "wbe"): "there is no role 'wbe'\n  did you mean web? See: aws iam list-roles",
        (
            "fleet",
            "--role",
            "nosuch",
        ): "there is no role 'nosuch'\n  See: aws iam list-roles --path-prefix /rolekeeper/",
        ("fleet", "--mapping", "app=wbe"): "there is no mapping app=wbe\n  did you mean app=web? See: rolekeeper map",
        ("wait", "i-00000000000000001", "--role", "wbe"): "there is no role 'wbe'\n  did you mean web?",
    }.items():
        ran = terminal(*words)
        assert (ran.exit_code, ran.stdout) == (1 if said.startswith("there is no ") else 252, ""), words
        assert said in ran.stderr, words
        assert terminal(*words, "-o", "json").stdout == "", "no list comes before the error"


def test_who_may_not_read_iam_gets_no_error_for_a_role(terminal: Terminal, desk: Desk) -> None:
    desk.world.running()
    desk.world.calls.before("GetInstanceProfile", refusing("AccessDenied", "no"))
    assert terminal("fleet", "--role", "web").exit_code == 0


def test_a_plan_without_changes_says_so(terminal: Terminal, desk: Desk) -> None:
    assert terminal("plan").stderr == (
        "There are no instances to look at: see --region and --profile, or launch one.\n"
    )
    desk.role("web")
    desk.edit("app=web", role="web")
    desk.converged("web", app="web")
    assert terminal("plan").stderr == "Every instance is as it should be: see them with rolekeeper fleet.\n"
    desk.world.running(app="web")
    assert terminal("plan").stderr == ""

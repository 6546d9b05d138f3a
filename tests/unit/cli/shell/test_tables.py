"""Lists on terminals of any width, with any number of rows."""

import sys
import time
from collections.abc import Callable
from operator import itemgetter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from fixtures.account import refusing
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper_cli.options import Options
from rolekeeper_cli.shell import terminal as output
from rolekeeper_cli.shell.layout import Column, Kind, Layout
from rolekeeper_cli.shell.tables import Listing, show_table
from rolekeeper_cli.shell.terminal import Progress


@pytest.fixture
def drawn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What a table draws on a terminal of some width, or in a pipe."""

    def run(draw: Callable[[], object], width: int | None = None) -> list[str]:
        monkeypatch.setattr(output, "width", lambda _stream=None: width)
        monkeypatch.setattr(output, "options", Options)
        draw()
        return capsys.readouterr().out.splitlines()

    return run


HEAD = "ID                   WHAT"
ARN = "arn:aws:iam::123456789012:role/rolekeeper/web-frontend-production"


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("whole", ["ID", "i-0123456789abcdef0", "  what: names/that-are-long,", "  本本"]),
        ("name", [HEAD, "i-0123456789abcdef0  name…ong,", f"{'':21}本本"]),
        ("text", [HEAD, "i-0123456789abcdef0", "          names/that-are-long,", f"{'':21}本本"]),
        ("key", [HEAD, "i-0123456789abcdef0", "     names/that-are-long, 本本"]),
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


COMMANDS = (
    "rolekeeper mapping approve app=web --revision 3",
    "aws ec2 start-instances --instance-ids i-0123456789abcdef0",
    "rolekeeper attach web-1 web --reason 'incident 42; see it'",
)
WORDS = st.sampled_from(["it", "carries", f"{ARN},", "to", "see:", "(as", "rolekeeper.", "本本"])
SENTENCES = st.lists(WORDS | st.sampled_from(COMMANDS).map(lambda each: f"{each};"), min_size=1, max_size=12)


@pytest.mark.parametrize("width", [40, 60, 80])
@given(parts=SENTENCES, table=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_word_and_no_command_is_broken_at_any_width(
    drawn: Callable[..., list[str]], parts: list[str], width: int, *, table: bool
) -> None:
    text = " ".join(parts)
    layout = Layout([Column("id"), Column("what", kind="text")], note=itemgetter("what"), head=False)
    row = {"id": "i-1", "what": text}
    lines = drawn(lambda: Listing(layout).draw([row]) if table else output.line(text, indent=2), width)
    assert " ".join(" ".join(lines).split()) == " ".join(f"i-1 {text} {text}".split() if table else text.split())
    assert [each for each in parts if not any(each in line for line in lines)] == []
    assert [line for line in lines if cell_len(line) > width and line.strip() not in parts] == []


def test_a_table_without_rows_is_its_head(drawn: Callable[..., list[str]]) -> None:
    assert drawn(lambda: show_table(("id", "what"), [])) == ["ID  WHAT"]
    assert drawn(lambda: show_table(("", ""), [])) == []


def test_rows_that_come_one_by_one_have_one_head_and_one_place(drawn: Callable[..., list[str]]) -> None:
    def draw() -> None:
        listing = Listing(Layout([Column("id"), Column("what", kind="text")]), {"id": 5})
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


def test_who_may_not_read_iam_gets_no_error_for_a_role(terminal: Terminal, desk: Desk) -> None:
    desk.world.running()
    desk.world.calls.before("GetInstanceProfile", refusing("AccessDenied", "no"))
    assert terminal("fleet", "--role", "web").exit_code == 0

"""Data in the form that was asked for: tables, JSON, and what a query finds of it."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner, Result

from fakes.ec2 import client_error
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper_cli.errors import CommandError, ExitCode
from rolekeeper_cli.options import Options
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.command import Root, command, lists
from rolekeeper_cli.shell.layout import Column, Layout
from rolekeeper_cli.shell.view import View


class Row(View):
    instance: str
    tags: Mapping[str, str]
    carries: str | None
    revision: float
    ours: bool


class Listed(View):
    instance: str
    revision: int
    tags: Sequence[str]
    of: str | None = None
    from_: str


class Nested(View):
    changes: Sequence[Row]
    sum: Mapping[str, int]
    odd: Sequence[Any]
    from_: str = ""


ROWS: Sequence[Any] = [
    Row(instance="i-1", tags={"app": "wéb"}, carries=None, revision=cast("float", Decimal(3)), ours=True),
    Row(instance="i-2", tags={}, carries="no", revision=cast("float", Decimal("0.5")), ours=False),
]
LAYOUT = Layout([Column("instance"), Column("revision", wide=True)])


def shown(act: Any, *options: str) -> str:
    """What a command that does this prints."""
    return run(act, *options).stdout


def run(act: Any, *options: str, code: int = 0) -> Result:
    """A command that does this."""

    @lists()
    @command("see", "rolekeeper see")
    def see() -> ExitCode:
        act()
        return ExitCode.DONE

    ran = CliRunner().invoke(Root("rolekeeper", commands={"see": see}), ["see", *options])
    assert ran.exit_code == code, ran.output
    return ran


def rows(*options: str, documents: Any = ROWS) -> str:
    return shown(lambda: render.show_list(LAYOUT, documents, empty=lambda: "There are none.", of=Row), *options)


NESTED = Nested(changes=ROWS, sum={"n": 2}, odd=[])


# ---- lists ----


@pytest.mark.parametrize(
    ("column", "order"),
    [
        ("revision", ["b", "a", "c"]),
        ("-Revision", ["c", "a", "b"]),
        ("SHOULD CARRY", ["c", "a", "b"]),
        ("-should-carry", ["a", "c", "b"]),
        ("tags", ["b", "c", "a"]),
        ("-from", ["c", "b", "a"]),
    ],
)
def test_a_list_is_sorted_by_a_column_or_a_field_and_what_is_absent_comes_last(column: str, order: list[str]) -> None:
    rows = [
        Listed(instance="a", revision=2, tags=["x", "y"], from_="1", of="Web"),
        Listed(instance="b", revision=0, tags=[], from_="2"),
        Listed(instance="c", revision=10, tags=["z"], from_="3", of="db"),
    ]
    columns = [Column("instance"), Column("revision", lambda row: f"r{row.revision}")]
    layout = Layout([*columns, Column("should carry", lambda row: row.of or "")])

    def show() -> None:
        render.show_list(layout, rows, empty=str, of=Listed)

    assert [line.split()[0] for line in shown(show, "--sort", column).splitlines()[1:]] == order
    assert shown(show, "--sort", column, "--query", "[].instance").split() == order
    ran = run(show, "--sort", "shuld carry", code=252)
    assert "--sort: the list has no column 'shuld carry'\n  did you mean should_carry? name one of " in ran.stderr
    assert "instance, revision, should_carry, tags, of, from" in " ".join(ran.stderr.split())
    assert "has no column ''" in run(show, "--sort", "", code=252).stderr


@pytest.mark.parametrize("options", [(), ("--sort", "-instance")])
def test_a_limit_ends_what_is_shown_but_not_what_is_counted(options: Sequence[str]) -> None:
    def show() -> None:
        rows = list(ROWS)
        every = (rows.pop() for _ in ROWS)
        render.show_list(LAYOUT, every, empty=str, total=lambda: f"{len(rows)} rows are left.", of=Row)

    ran, left = run(show, "--limit", "1", *options), "0 rows are left.\n"
    assert len(ran.stdout.splitlines()) == 2
    assert ran.stderr == f"{left}There are more rows than the 1 of --limit.\n"
    assert run(show, "--limit", "2", *options).stderr == left
    assert len(json.loads(shown(show, "--limit", "1", "-o", "json", *options))) == 1
    assert "0 is not in the range x>=1" in run(show, "--limit", "0", code=252).stderr


def test_a_watched_list_is_asked_for_again_until_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    def show() -> None:
        if error := fails.get(len(waits)):
            raise error
        render.show_list(LAYOUT, [ROWS[len(waits) % 2]], empty=str, of=Row)

    fails = dict[int, Exception]()
    monkeypatch.setattr("time.sleep", wait)
    ran = run(show, "--watch", "-o", "json", code=130)
    assert [json.loads(line)[0]["instance"] for line in ran.stdout.splitlines()] == ["i-1", "i-2", "i-1"]
    assert (waits, ran.stderr) == ([terminal.WATCH_SECONDS] * 3, "\nStopped.\n")
    waits.clear()
    ran = run(show, "--watch", code=130)
    assert ran.stdout == "INSTANCE\ni-1\nINSTANCE\ni-2\nINSTANCE\ni-1\n"
    assert ran.stderr.count("UTC; again in 5 seconds. Ctrl-C ends it.\n") == 3
    waits.clear()
    fails[1] = client_error("ThrottlingException")
    ran = run(show, "--watch", "-o", "json", code=130)
    assert (len(ran.stdout.splitlines()), ran.stderr.count("Error: AWS gave no answer")) == (2, 1)
    waits.clear()
    fails[1] = ZeroDivisionError("of ours")
    assert "of ours" in run(show, "--watch", code=255).stderr
    waits.clear()
    fails[0] = client_error("ThrottlingException")
    assert "AWS gave no answer" in run(show, "--watch", code=254).stderr


def test_on_a_terminal_it_is_drawn_in_place_once_all_of_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, rounds, errors = io.StringIO(), iter((None, None, KeyboardInterrupt)), list[Exception]()
    drawn.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdout", drawn)
    monkeypatch.setattr("sys.stderr", drawn)
    monkeypatch.setattr("rolekeeper_cli.shell.terminal.options", Options)

    def draw() -> None:
        if drawn.getvalue() and not errors:
            raise CommandError("an error", "what to do")
        click.echo("a row")
        click.echo("a warning", err=True)
        assert "\033[2J" not in drawn.getvalue()

    def wait(_: float) -> None:
        if ends := next(rounds):
            raise ends

    monkeypatch.setattr("time.sleep", wait)
    with pytest.raises(KeyboardInterrupt):
        terminal.repeat(draw, errors.append)
    first, second = drawn.getvalue().split("\033[2J\033[1;1H")
    assert first.startswith("a row\na warning\nAs of ")
    assert second.startswith("a row\na warning\nAs of ")


# ---- documents ----


def test_one_document_is_drawn_or_written() -> None:
    document = {"at": datetime(2026, 1, 1, tzinfo=UTC), "names": {"b", "a"}}

    def show() -> None:
        render.show(document, lambda: click.echo("drawn"))

    assert shown(show) == "drawn\n"
    assert json.loads(shown(show, "--output", "json")) == {"at": "2026-01-01T00:00:00.000000Z", "names": ["a", "b"]}


# ---- queries ----


@pytest.mark.parametrize(
    ("query", "form", "said"),
    [
        ("[].instance", "json", '[\n  "i-1",\n  "i-2"\n]\n'),
        ("[].instance", "table", "i-1\ni-2\n"),
        ("[].[instance, revision]", "table", "i-1  3\ni-2  0.5\n"),
        ("[].instance", "wide", "i-1\ni-2\n"),
        ("[].{id: instance, n: revision}", "table", "ID   N\ni-1  3\ni-2  0.5\n"),
        ("[?instance=='i-2'] | [0].ours", "json", "false\n"),
        ("length(@)", "table", "2\n"),
        ("[?instance=='i-3'].revision", "json", "[]\n"),
        ("[?instance==`i-2`].instance", "table", "i-2\n"),
        ("[].tags.Name", "json", "[]\n"),
        ("[].[nothing || instance]", "table", "i-1\ni-2\n"),
        ("[].[nothing || carries]", "table", "\nno\n"),
        ("[].[not_null(nothing, instance)]", "table", "i-1\ni-2\n"),
    ],
)
def test_a_query_finds_what_it_finds_in_the_aws_cli(query: str, form: str, said: str) -> None:
    assert rows("--query", query, "--output", form) == said


@pytest.mark.parametrize("documents", [ROWS, []], ids=["rows", "none"])
@pytest.mark.parametrize(
    "query",
    [
        *(
            "[].instanc",
            "[*].instanc",
            "[0].instanc",
            "[1:].instanc",
            "@[].instanc",
            "[?instanc=='i-1']",
            "[?!instanc]",
        ),
        *(
            "[].[revision, instanc]",
            "[].{id: instanc}",
            "sort_by(@, &instanc)",
            "[] | [].instanc",
            "length([].instanc)",
        ),
        *("[?ours && instanc]", "[?instance=='i-1' || instanc=='i-2']", "sort_by(@, &instance)[].instanc"),
        *("reverse(@)[].instanc", "map(&instanc, @)"),
    ],
)
def test_a_field_that_the_output_does_not_have_is_refused(query: str, documents: Any) -> None:
    ran = run(lambda: render.show_list(LAYOUT, documents, empty=str, of=Row), "--query", query, code=252)
    assert "the output has no field instanc\n  did you mean instance" in ran.stderr
    assert "its fields: instance, tags, carries, revision, ours" in ran.stderr
    assert ran.stdout == ""


def test_so_is_one_of_a_document_or_of_its_list() -> None:
    for query, fields in (("chnges", "changes, sum, odd, from"), ("changes[].instanc", "instance, tags, carries")):
        ran = run(lambda: render.show(NESTED), "--query", query, code=252)
        assert f"its fields: {fields}" in ran.stderr
    for query in ("sum.m", "changes[].tags.app", "odd[].a"):
        assert run(lambda: render.show(NESTED), "--query", query).exit_code == 0


def test_a_field_of_a_list_is_asked_of_its_rows_and_a_list_of_a_field() -> None:
    ran = run(lambda: render.show_list(LAYOUT, ROWS, empty=str, of=Row), "--query", "instance", code=252)
    assert "instance is asked of a list\n  ask each of its rows: [].instance" in ran.stderr
    for query in ("[].instance", "[0]", "[?sum]"):
        ran = run(lambda: render.show(NESTED), "--query", query, code=252)
        assert "--query: [] needs a list\n  ask one of its fields: changes, sum, odd, from" in ran.stderr


def test_an_unknown_field_is_refused_before_anything_is_asked(terminal: Terminal, desk: Desk) -> None:
    desk.quiet()
    for line, name in ((("targets",), "[].stat"), (("targets", "--missing"), "[].regio"), (("roles",), "roles[].brod")):
        ran = terminal(*line, "--query", name)
        assert (ran.exit_code, "--query: the output has no field" in ran.stderr) == (252, True), line
    assert desk.world.calls.made == []


# ---- a large fleet ----


def test_people_see_a_list_page_by_page_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, drawn_before_the_last = io.StringIO(), list[str]()

    def documents() -> Iterator[dict[str, str]]:
        yield from ({"instance": f"i-{number}"} for number in range(1_000))
        drawn_before_the_last.extend(lines.getvalue().splitlines())

    monkeypatch.setattr("sys.stdout", lines)
    monkeypatch.setattr("rolekeeper_cli.shell.terminal.options", Options)
    render.show_list(Layout([Column("instance")]), documents(), empty=str)
    assert len(drawn_before_the_last) > 800
    assert lines.getvalue().splitlines() == ["INSTANCE", *(f"i-{number}" for number in range(1_000))]

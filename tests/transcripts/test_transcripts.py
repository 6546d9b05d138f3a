"""Each transcript is what a person sees at a terminal: in a named world they type, and exactly this is printed.

Each document that a command shows, to people or to programs, is as its schema says, and has no other field.

`pytest tests/transcripts --rewrite` writes what is printed now into them, to be read in review. A block `console` is a
session: `$ rolekeeper …` is typed, with a person's answers in a comment behind it, and `$ aws …` changes the world. A
block with a file's name is that file. Worlds are in `fixtures/worlds.py`.
"""

import json
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import batched
from pathlib import Path
from typing import Any, TextIO

import click
import pytest
from click.testing import CliRunner

from fixtures.terminal import command_of, undeclared_by
from fixtures.worlds import WORLDS, World
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.main import cli
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.command import Group
from rolekeeper_cli.shell.documents import as_json

TRANSCRIPTS = sorted(Path(__file__).parent.glob("*.md"))
HEAD = re.compile(r"# .+\n\nWorld: (?P<world>[^.]+), at a terminal of (?P<columns>\d+) columns\.\n")
BLOCK = re.compile(r"^```(?P<kind>\w+)(?: (?P<file>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^\[exit code (\d+)\]$", re.MULTILINE)
PROMPT = "$ "
# What click's help is as wide as at most, with its margin.
HELP_COLUMNS, HELP_MARGIN = 80, 2

pytestmark = pytest.mark.disable_socket


class Session:
    """A person at a terminal of so many columns, in a folder with the transcript's files."""

    def __init__(self, world: World, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.columns = world, columns
        self._help_columns = min(columns, HELP_COLUMNS) - HELP_MARGIN
        self._stdin_is_terminal = self._stdout_is_terminal = True
        monkeypatch.setattr(terminal, "width", self._width)
        monkeypatch.setattr(terminal, "is_terminal", lambda: self._stdin_is_terminal)

    def shown(self, block: re.Match[str]) -> str:
        """A block as it should be: a session with what is printed now."""
        if name := block["file"]:
            Path(name).write_text(block["text"])
        if block["kind"] != "console":
            return block[0]
        typed = [line for line in block["text"].splitlines() if line.startswith(PROMPT)]
        return f"```console\n{''.join(f'{line}\n{self._printed(line)}' for line in typed)}```"

    def _printed(self, line: str) -> str:
        command, _, answers = line.removeprefix(PROMPT).partition("  # types: ")
        program, *words = shlex.split(command)
        if program == "cat":
            return Path(words[0]).read_text()
        if program == "aws":
            return self._aws(*words)
        assert program == "rolekeeper", line
        words, source, sink = _redirected(words)
        self._stdin_is_terminal, self._stdout_is_terminal = not source, not sink
        typed = Path(source).read_text() if source else answers.replace(", ", "\n")
        ran = CliRunner().invoke(cli, words, input=typed, prog_name="rolekeeper", terminal_width=self._help_columns)
        assert ran.exit_code in command_of(words).exits, line
        if sink:
            Path(sink).write_text(ran.stdout)
        text = ran.stderr if sink else ran.output
        text += "" if not text or text.endswith("\n") else "\n"
        return text + (f"[exit code {ran.exit_code}]\n" if ran.exit_code else "")

    def _aws(self, service: str, operation: str, *options: str) -> str:
        """Change the world as the AWS CLI does; a structure is JSON."""
        asked = {
            option.title().replace("-", ""): json.loads(value) if value[0] in "[{" else value
            for option, value in batched(options, 2)
        }
        getattr(self.world.terminal.client(service), operation.replace("-", "_"))(**asked)
        self.world.works()
        return ""

    def _width(self, stream: TextIO | None = None) -> int | None:
        return self.columns if stream is sys.stderr or self._stdout_is_terminal else None


def _redirected(words: list[str]) -> tuple[list[str], str, str]:
    """The words of a command, the file that is its input, and the one that is its output."""
    files = {"<": "", ">": ""}
    while len(words) > 1 and words[-2] in files:
        *words, sign, files[sign] = words
    return words, files["<"], files[">"]


@pytest.fixture(autouse=True)
def documents_are_as_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold what is shown against the command's schemas; what people see of a list, once all of it was drawn."""
    show, show_list = render.show, render.show_list

    def check(document: Any) -> None:
        assert undeclared_by(click.get_current_context().command, json.loads(as_json(document))) == []

    def checked(document: Any, *draw: Any, **how: Any) -> None:
        check(document)
        show(document, *draw, **how)

    def noted(rows: Iterable[Any], seen: list[Any]) -> Iterator[Any]:
        for row in rows:
            seen.append(row)
            yield row

    def checked_list(layout: Any, rows: Iterable[Any], **how: Any) -> None:
        seen: list[Any] = []
        show_list(layout, noted(rows, seen), **how)
        check(seen)

    monkeypatch.setattr(render, "show", checked)
    monkeypatch.setattr(render, "show_list", checked_list)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(
    path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = path.read_text()
    head = HEAD.match(text)
    assert head, "it begins with a heading, and 'World: …, at a terminal of 100 columns.'"
    monkeypatch.chdir(tmp_path)
    with ExitStack() as closing:
        world = World(monkeypatch, closing)
        WORLDS[head["world"]](world)
        now = BLOCK.sub(Session(world, int(head["columns"]), monkeypatch).shown, text)
    if request.config.getoption("--rewrite", default=False):
        path.write_text(now)
    assert path.read_text() == now


def _commands(group: Group, path: str = "") -> Iterator[str]:
    for name, command in group.all().items():
        yield f"{path}{name}"
        if isinstance(command, Group):
            yield from _commands(command, f"{path}{name} ")


def test_every_command_and_every_exit_code_has_a_transcript_and_none_ends_with_a_traceback() -> None:
    texts = "\n".join(path.read_text() for path in TRANSCRIPTS)
    assert [each for each in _commands(cli) if not re.search(rf"^\$ rolekeeper {each}\b", texts, re.MULTILINE)] == []
    assert set(ExitCode) == {ExitCode.DONE, *map(int, CODE.findall(texts))}
    assert "Traceback" not in texts

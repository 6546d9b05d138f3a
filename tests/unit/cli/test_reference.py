"""docs/cli.md says what the commands say."""

from pathlib import Path

from fixtures.terminal import Terminal
from rolekeeper_cli import reference
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.schema import text

PAGE = Path(__file__).parents[3] / "docs/cli.md"


def test_the_page_is_made_from_the_commands() -> None:
    assert PAGE.read_text() == reference.page(), "run: .venv/bin/python -m rolekeeper_cli.reference > docs/cli.md"


def test_every_command_and_every_code_is_on_it() -> None:
    page = reference.page()
    assert all(f"## {path}\n" in page for path, _ in reference.commands())
    assert "## rolekeeper mapping import\n" in page
    assert all(f"| {code.value} | " in page for code in ExitCode)


def test_the_schema_is_printed_as_it_is(terminal: Terminal) -> None:
    assert terminal("schema").stdout == text()

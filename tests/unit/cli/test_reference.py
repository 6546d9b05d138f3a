"""The reference of the commands, and docs/cli.md which it is added to."""

import re
from pathlib import Path

from tools import reference

from fixtures.terminal import Terminal
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.row.schema import text

PAGE = Path(__file__).parents[3] / "docs/cli.md"


def test_every_command_is_in_the_reference() -> None:
    page = reference.page()
    assert page.startswith("\n## Options of every command\n\n```\n  --profile NAME ")
    assert all(f"## {path}\n" in page for path, _ in reference.commands())
    assert "## rolekeeper mapping export\n\n```\nUsage: rolekeeper mapping export [OPTIONS]" in page
    assert page.count("--profile NAME") == 1, "what every command takes is said once"
    assert "  --kms-key-arn STRING " in page, "what deploy's own help leaves to --help-all, too"


def test_every_exit_code_is_on_the_page_and_no_other() -> None:
    codes = re.findall(r"^\| (\d+) \| .{10,} \|$", PAGE.read_text(), re.MULTILINE)
    assert codes == [str(code.value) for code in ExitCode]


def test_the_schema_is_printed_as_it_is(terminal: Terminal) -> None:
    assert terminal("schema").stdout == text()

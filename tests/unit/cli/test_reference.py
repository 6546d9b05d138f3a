"""The reference of the commands, and docs/cli.md which it is added to."""

import re
from pathlib import Path
from typing import Any

import click
from tools import reference

from fixtures.terminal import Terminal
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.row.schema import text
from rolekeeper_cli.shell.command import common_options

PAGE = Path(__file__).parents[3] / "docs/cli.md"


def test_every_command_is_in_the_reference() -> None:
    page = reference.page()
    assert page.startswith("\n## Options of every command\n\n```\n  --profile NAME ")
    assert all(f"## {path}\n" in page for path, _ in reference.commands())
    assert "## rolekeeper mapping export\n\n```\nUsage: rolekeeper mapping export [OPTIONS]" in page
    assert page.count("--profile NAME") == 1, "what every command takes is said once"
    assert "  --kms-key-arn STRING " in page, "what deploy's own help leaves to --help-all, too"


def test_the_page_counts_the_commands_and_their_own_options() -> None:
    run: list[Any] = [each for _, each in reference.commands() if getattr(each, "invoke_without_command", True)]
    common = {name for each in common_options() for name in each.opts}
    options = {each.opts[-1] for one in run for each in one.params if isinstance(each, click.Option)} - common
    assert f"There are {len(run)} commands, with {len(options)} different options." in PAGE.read_text()


def test_every_exit_code_is_on_the_page_and_no_other() -> None:
    codes = re.findall(r"^\| (\d+) \| .{10,} \|$", PAGE.read_text(), re.MULTILINE)
    assert codes == [str(code.value) for code in ExitCode]


def test_the_schema_is_printed_as_it_is(terminal: Terminal) -> None:
    assert terminal("schema").stdout == text()

"""`rolekeeper schema COLUMN`: every column is explained, and every example can be typed."""

import shlex

import pytest

from fixtures.mappings import MappingsFixture
from fixtures.terminal import Terminal
from rolekeeper.mappings.rows.columns import ASKS, COLUMNS, KEYS, OURS, HomeAccount
from rolekeeper.model.mapping import MappingKey
from rolekeeper_cli.uses.edits import edited
from rolekeeper_cli.uses.schema import EXAMPLES, column_names

ALL = [*(each.name for each in (*KEYS, *COLUMNS, *ASKS)), *OURS]


@pytest.mark.parametrize("name", ALL)
def test_every_column_is_explained_without_aws(terminal: Terminal, desk: MappingsFixture, name: str) -> None:
    desk.quiet()
    ran = terminal("schema", name)
    assert ran.exit_code == 0, ran.output
    shown = {line[:10].strip(): line[10:].strip() for line in ran.stdout.splitlines()}
    assert shown["column"] == name
    assert shown["means"].endswith(".")
    document = terminal.document("schema", name)
    assert document["column"] == name
    assert desk.world.calls.made == []


def test_a_column_says_what_it_takes_and_stands_for(terminal: Terminal) -> None:
    assert terminal.document("schema", "priority") == {
        "column": "priority",
        "means": "The lowest number wins; different roles of the same number are a conflict.",
        "takes": "a whole number from 1 to 50000",
        "default": "100",
        "required": False,
        "type": "Number (N)",
        "written_by": "you",
        "example": "rolekeeper mapping set workload=web role=web priority=5",
    }
    assert terminal.document("schema", "matched")["written_by"] == "Rolekeeper; leave it alone"


@pytest.mark.parametrize("column", COLUMNS, ids=lambda each: each.name)
def test_every_example_is_a_row_that_is_read(column: object) -> None:
    name = column.name  # type: ignore[attr-defined]
    words = shlex.split(EXAMPLES[name])
    spec = edited(MappingKey("workload", "web"), {}, words, HomeAccount("123456789012"))
    assert any(word.startswith(f"{name}=") for word in words)
    assert spec.role == "web"


def test_a_column_that_isnt_there_is_told_with_the_one_that_was_meant(terminal: Terminal) -> None:
    ran = terminal("schema", "require_tag")
    assert ran.exit_code == 252
    assert "there is no column 'require_tag'\n  did you mean require_tags? the columns are tag_key," in ran.stderr


def test_what_sets_no_column_is_told_where_columns_are_explained(terminal: Terminal) -> None:
    ran = terminal("mapping", "set", "workload=web", "prority=5")
    assert ran.exit_code == 252
    assert "did you mean priority?" in ran.stderr
    assert "rolekeeper schema COLUMN" in ran.stderr


def test_the_names_are_all_there_are() -> None:
    assert list(column_names()) == ALL

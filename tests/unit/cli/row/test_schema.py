"""The schema of a file of mappings is of one mind with the reader of rows, and each of its columns is explained."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from jsonschema import Draft7Validator, ValidationError, validators

from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper.mappings.rows import COLUMNS, KEYS, OURS, PASSING, HomeAccount, read_row, row_of
from rolekeeper.model.mapping import MappingKey, MappingSpec
from rolekeeper.storage import layout
from rolekeeper_cli.row import schema
from rolekeeper_cli.row.edits import edited
from rolekeeper_cli.row.use import plain
from strategies import values
from strategies.bad_rows import BadRow, corpus

EXAMPLES = Path(__file__).parents[4] / "examples"
HOME = HomeAccount("123456789012")
GOOD: dict[str, Any] = {"tag_key": "workload", "tag_value": "web", "role": "web"}


def _as_editors_do(_validator: Any, pattern: str, text: Any, _schema: Any) -> Iterator[ValidationError]:
    """JSON Schema's patterns are ECMA 262's, where `$` isn't before a last line break."""
    if isinstance(text, str) and not re.search(pattern.replace("$", r"\Z"), text):
        yield ValidationError(f"{text!r} doesn't match {pattern!r}")


FILE = validators.extend(Draft7Validator, {"pattern": _as_editors_do})(schema.schema())  # type: ignore[no-untyped-call]  # the stubs leave it untyped
# What only the reader can tell, as it takes more than shapes and limits.
READER_ALONE = ["look", "invisible", "alphabets", "doesn't exist", "in the year"]
READER_ALONE += ["control character", "line break", "excludes"]


def refuses(*mappings: Any) -> list[str]:
    """What the schema says against a file of these mappings."""
    return [error.message for error in FILE.iter_errors({"mappings": [*mappings]})]


def row(mapping: dict[str, Any]) -> dict[str, Any]:
    """A mapping of a file as a row, each value by its own kind, whatever its column is."""
    return layout.to_attributes({name: {*it} or it if isinstance(it, list) else it for name, it in mapping.items()})


def test_it_is_a_schema_of_draft_7_with_the_columns_that_people_fill_in_and_no_other() -> None:
    whole = schema.schema()
    assert whole["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(whole)
    items = whole["properties"]["mappings"]["items"]
    assert list(items["properties"]) == [column.name for column in (*KEYS, *COLUMNS)]
    assert items["required"] == ["tag_key", "tag_value", "role"]
    assert all(each["description"] and each["type"] for each in items["properties"].values())


def test_the_file_beside_the_examples_is_what_is_made() -> None:
    made = (EXAMPLES / "mappings.schema.json").read_text()
    assert made == schema.text(), "run: .venv/bin/python -m rolekeeper_cli.row.schema > examples/mappings.schema.json"
    assert json.loads(made) == schema.schema()
    first, *_ = (EXAMPLES / "mappings.yaml").read_text().splitlines()
    assert first == "# yaml-language-server: $schema=mappings.schema.json", "so editors find it"


# ---- of one mind with the reader ----


def test_the_examples_pass_both() -> None:
    document = yaml.safe_load((EXAMPLES / "mappings.yaml").read_text())
    assert [error.message for error in FILE.iter_errors(document)] == []
    for mapping in document["mappings"]:
        verdict = read_row(row(mapping), HOME)
        assert verdict.spec
        assert verdict.warnings == ()


@given(values.row_specs)
def test_whatever_a_row_can_say_a_file_can(spec: MappingSpec) -> None:
    mapping = {name: plain(each) for name, each in row_of(spec).items()}
    assert refuses(mapping) == []
    assert read_row(row(mapping), HOME).spec == spec


# Faults that none of the malformed rows below has.
@pytest.mark.parametrize(
    "columns", [{"tag_key": 7}, {"tag_value": True}, {"accounts": [123456789012]}, {"accounts": []}], ids=str
)
def test_a_bad_mapping_fails_both(columns: dict[str, Any]) -> None:
    mapping = {**GOOD, **columns}
    assert refuses(GOOD) == []
    assert refuses(mapping)
    assert read_row(row(mapping), HOME).problems


@pytest.mark.parametrize("missing", GOOD)
def test_what_is_required_is_required_by_both(missing: str) -> None:
    mapping = {name: value for name, value in GOOD.items() if name != missing}
    assert refuses(mapping) == [f"'{missing}' is a required property"]
    [problem] = read_row(row(mapping), HOME).problems
    assert (problem.column, problem.what) == (missing, "is missing")


@pytest.mark.parametrize("name", ["prioritty", "status", "approve", "held_revision"])
def test_a_column_that_people_do_not_fill_in_is_refused(name: str) -> None:
    assert refuses({**GOOD, name: 5})


KNOWN = {column.name for column in (*KEYS, *COLUMNS)}
IN_FILES = [
    entry
    for entry in corpus()
    if set(entry.columns) <= KNOWN
    and all(set(each or {"S": ""}) <= {"S", "N", "BOOL", "SS", "M"} for each in entry.columns.values())
    and not entry.name.startswith(("refused", "large"))
]


@pytest.mark.parametrize("entry", IN_FILES, ids=lambda entry: entry.name)
def test_a_malformed_row_is_refused_by_the_schema_unless_only_the_reader_can_tell(entry: BadRow) -> None:
    attributes = {**row(GOOD), **entry.columns}
    verdict = read_row({name: each for name, each in attributes.items() if each is not None}, HOME)
    said = refuses({name: plain(each) for name, each in attributes.items() if each is not None})
    if verdict.spec is None:
        assert said or any(word in str(each) for each in verdict.problems for word in READER_ALONE), verdict.problems
    elif not verdict.warnings:
        assert said == []


# ---- a column explained ----

ALL = [*(each.name for each in (*KEYS, *COLUMNS, *PASSING)), *OURS]


def test_every_column_is_explained_without_aws(terminal: Terminal, desk: Desk) -> None:
    desk.quiet()
    assert list(schema.column_names()) == ALL
    for name in ALL:
        shown = {line[:10].strip(): line[10:].strip() for line in terminal("schema", name).stdout.splitlines()}
        assert (shown["column"], shown["means"][-1]) == (name, "."), name
        assert (shown["written by"] == "Rolekeeper; leave it alone") == (name in OURS)
        assert terminal.document("schema", name)["column"] == name
    assert desk.world.calls.made == []


@pytest.mark.parametrize("name", [each.name for each in COLUMNS])
def test_every_example_is_a_row_that_is_read(name: str) -> None:
    words = shlex.split(schema.EXAMPLES[name])
    assert any(word.startswith(f"{name}=") for word in words)
    assert edited(MappingKey("workload", "web"), {}, words, HOME).role == "web"

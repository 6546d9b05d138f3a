"""What every command declares of what it prints. That it prints that is checked where transcripts are."""

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import click
from jsonschema import Draft202012Validator
from tools.reference import commands

from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper_cli.main import cli
from rolekeeper_cli.mapping.schema_command import printed
from rolekeeper_cli.shell.queries import refuse_unknown
from rolekeeper_cli.shell.view import document_schema, schema_of

# These print what another program takes, in its own form: IAM, CloudFormation, an editor, or a person's YAML file.
OF_OTHERS = {f"guard {part}" for part in ("scp-tags", "scp-path", "editors", "approvers", "detection", "verifiers")}
OF_OTHERS |= {"guard scp-source", "guard revokers", "launches boot-script"}
OF_OTHERS |= {"spoke parameters", "schema", "mapping export"}


def test_every_command_declares_what_it_prints() -> None:
    silent = {"console", "demo", "local", "spoke remove"}
    without = {path.removeprefix("rolekeeper ") for path, each in commands() if not each.prints}  # type: ignore[attr-defined]
    assert without - silent == OF_OTHERS - {"schema"}


def test_every_field_is_declared_in_lower_snake_case_with_what_it_is(terminal: Terminal) -> None:
    nouns = printed(cli)
    assert nouns
    for noun in nouns:
        ran = terminal("schema", noun)
        for name, field in fields(json.loads(ran.stdout)):
            assert re.fullmatch("[a-z][a-z0-9_]*", name), (noun, name)
            assert field.get("description"), (noun, name)


def fields(schema: Any) -> Iterator[tuple[str, Any]]:
    """The fields of all objects in a schema."""
    if not isinstance(schema, dict):
        return
    yield from schema.get("properties", {}).items()
    inside = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    for each in (*inside, schema.get("items"), schema.get("additionalProperties")):
        yield from fields(each)


def test_the_query_of_every_example_asks_for_fields_that_there_are() -> None:
    lines = [(line, each.prints) for _, each in commands() for line in each.examples if "--query" in line]  # type: ignore[attr-defined]
    assert len(lines) > 5
    for line, prints in lines:
        words = shlex.split(line)
        refuse_unknown(words[words.index("--query") + 1], [schema_of(each) for each in prints.values()])


def test_the_nouns_are_listed_and_lead_to_their_schema(terminal: Terminal, desk: Desk) -> None:
    desk.quiet()
    for noun in printed(cli):
        assert noun in terminal("schema").stderr
        Draft202012Validator.check_schema(json.loads(terminal("schema", noun, "-o", "json").stdout))
    assert terminal.document("schema", "mapping", "ls") == terminal.document("schema", "mappings")
    assert terminal.document("schema", "explain", "--query", "properties.name.type") == "string"
    ran = terminal("schema", "verify")
    assert (ran.exit_code, "name one: findings, report, verifications" in ran.stderr) == (252, True)
    ran = terminal("schema", "target")
    assert (ran.exit_code, "did you mean targets?" in ran.stderr) == (1, True)
    assert desk.world.calls.made == []


def test_the_help_of_each_command_lists_the_fields_of_what_it_prints() -> None:
    for path, command in commands():
        shown = command.get_help(click.Context(command, info_name=path, **command.context_settings))
        for noun, document in command.prints.items():  # type: ignore[attr-defined]
            _, _, listed = shown.partition(f"rolekeeper schema {noun})")
            for name, _ in fields(document_schema(noun, document)):
                assert re.search(rf"\b{name}\b", listed), (path, name)

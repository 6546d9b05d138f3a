"""The runbook: a section for each alarm, and every command in it can be typed."""

import json
import re
import shlex
from pathlib import Path

import botocore.session
import click
import pytest
from botocore import xform_name

from rolekeeper import mail
from rolekeeper.storage import layout
from rolekeeper_cli.main import cli
from support import templates

RUNBOOK = Path(__file__).parents[2] / "docs/runbook.md"
ALARMS = {
    alarm["AlarmName"]["Sub"].removeprefix("${AWS::StackName}-"): (name, alarm)
    for name, alarm in templates.of_type("AWS::CloudWatch::Alarm").items()
}
SAVED = {
    query["Name"]["Sub"].removeprefix("${AWS::StackName}/")
    for query in templates.of_type("AWS::Logs::QueryDefinition").values()
}
# What rings no alarm, because Rolekeeper mails each one by itself and the mail names the section.
MAILED = {
    found[1]: event
    for event, text in mail.texts().items()
    if (found := re.search(r"^Runbook: docs/runbook\.md#(.+)$", text, re.MULTILINE))
}
INDEX, *_SECTIONS = re.split(r"^## ", RUNBOOK.read_text(), flags=re.MULTILINE)
SECTIONS = {name: text for name, _, text in (each.partition("\n") for each in _SECTIONS)}
TEXTS = {"index": INDEX, **SECTIONS}
PARTS = ["What it means", "Look", "Do", "If you do nothing"]
# Options that the AWS CLI has beside those of the services' models (its user guide, "Command line options").
CLI_OPTIONS = {"query", "output", "max-items", "cli-binary-format"}


def code(text: str) -> list[str]:
    """What stands in the code of a text: its blocks, each whole, and its pieces within lines."""
    blocks = re.findall(r"^```(?:bash|sh)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    return [block.replace("\\\n", " ") for block in blocks] + lines


def commands(text: str, program: str) -> list[str]:
    """The command lines of one program in a text, up to where the next one begins."""
    found = [
        re.split(r"\$\(aws |\)\"? *$|\n|; ", call)[0]
        for piece in code(text)
        for call in re.findall(rf"(?:^|[\s(])({program} [a-z].*)", piece)
    ]
    # One within another: "$(aws ...)" is told apart from what it is an argument of.
    inner = [call for piece in code(text) for call in re.findall(rf"\$\(({program} [a-z][^)]*)", piece)]
    return [call.strip() for call in found + inner]


# ---- complete ----


def test_every_alarm_has_its_section_and_every_section_its_alarm_or_mail() -> None:
    assert list(SECTIONS) == [*ALARMS, *MAILED, "An instance is compromised"]
    assert len(SECTIONS) == len(_SECTIONS), "no section is there twice"
    assert ALARMS.keys().isdisjoint(MAILED)


@pytest.mark.parametrize("name", [*ALARMS, *MAILED])
def test_a_section_says_what_it_means_what_to_look_at_what_to_do_and_what_comes_of_nothing(name: str) -> None:
    _, *parts = re.split(r"^\*\*(.+?):\*\* ", SECTIONS[name], flags=re.MULTILINE)
    assert parts[::2] == PARTS
    for body in parts[1::2]:
        assert len(body.split()) >= 10


def test_the_index_lists_the_alarms_in_the_templates_order_and_who_hears_that_one_is_over() -> None:
    rows = re.findall(r"^\| \[`(.+?)`\]\((.+?)\) \| `(.+?)` \| .{10,} \| (yes|no) \|$", INDEX, re.MULTILINE)
    assert rows == [
        (name, f"#{name}", resource, "yes" if "OKActions" in alarm else "no")
        for name, (resource, alarm) in ALARMS.items()
    ]


def test_the_index_lists_what_is_mailed_instead() -> None:
    rows = re.findall(r"^\| \[`(.+?)`\]\((.+?)\) \| `(Mapping .+?)` \| .{10,} \|$", INDEX, re.MULTILINE)
    assert rows == [(name, f"#{name}", event) for name, event in MAILED.items()]


def test_one_section_finds_which_function_it_is_and_says_what_comes_of_each() -> None:
    text = SECTIONS["function-errors"]
    functions = {
        logical_id: function["Handler"].removesuffix(".handler")
        for logical_id, function in templates.of_type("AWS::Serverless::Function").items()
    }
    [asked] = re.findall(r"^for name in (.+); do$", text, re.MULTILINE)
    assert sorted(asked.split()) == sorted(functions)
    assert "for metric in Errors Throttles; do" in text
    explained = re.findall(r"^\| `(on_\w+)` \| .{20,} \| .{8,} \| .{8,} \|$", text, re.MULTILINE)
    assert sorted(explained) == sorted(functions.values())


# ---- true ----


@pytest.mark.parametrize("name", TEXTS)
def test_each_rolekeeper_command_is_one_that_there_is(name: str) -> None:
    for call in commands(TEXTS[name], "rolekeeper"):
        words = shlex.split(call)[1:]
        node: click.Command = cli
        path = "rolekeeper"
        while isinstance(node, click.Group) and (words or not node.invoke_without_command):
            found = node.get_command(click.Context(node, **cli.context_settings), words[0])
            assert found is not None, call
            node, path, words = found, f"{path} {words[0]}", words[1:]
        if words:
            node.make_context(path, words, **cli.context_settings).close()


@pytest.mark.parametrize("name", TEXTS)
def test_each_aws_command_and_option_is_one_that_there_is(name: str) -> None:
    session = botocore.session.get_session()
    for call in commands(TEXTS[name], "aws"):
        _, service, operation, *_ = call.split()
        model = session.get_service_model(service)
        operations = {xform_name(name, "-"): name for name in model.operation_names}
        assert operation in operations, call
        shape = model.operation_model(operations[operation]).input_shape
        known = {xform_name(member, "-") for member in shape.members} if shape else set()
        assert set(re.findall(r"(?<=\s)--([a-z-]+)", call)) <= known | CLI_OPTIONS, call


LOGS = {each["LogGroupName"]["Sub"].rpartition("/")[2] for each in templates.of_type("AWS::Logs::LogGroup").values()}
[DRAWN] = templates.of_type("AWS::CloudWatch::Dashboard").values()
GRAPHS = {widget["properties"]["title"] for widget in json.loads(DRAWN["DashboardBody"]["Sub"])["widgets"]}


@pytest.mark.parametrize(
    ("pattern", "there"),
    [
        (r"^lines (\S+) '", LOGS),
        (r"saved\s+quer(?:y|ies)\s+`([^`]+)`", SAVED),
        (r"saved\s+queries\s+`[^`]+`\s+and\s+`([^`]+)`", SAVED),
        (r'[Dd]ashboard,\s+"([^"]+)"', GRAPHS),
    ],
    ids=["logs", "saved queries", "both of two", "graphs of the dashboard"],
)
def test_what_a_section_names_is_there(pattern: str, there: set[str]) -> None:
    named = {" ".join(name.split()) for name in re.findall(pattern, RUNBOOK.read_text(), re.MULTILINE)}
    assert named, "the scan finds less"
    assert named <= there


def test_what_an_instance_shows_is_read_by_its_stored_name() -> None:
    assert f"--query Item.{layout.CONDITION}.M " in SECTIONS["parked"]


def test_operations_lists_the_saved_queries() -> None:
    text = RUNBOOK.with_name("operations.md").read_text()
    assert [name for name in SAVED if f"| `{name}` |" not in text] == []

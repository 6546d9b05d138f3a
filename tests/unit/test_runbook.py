"""The runbook: a page for each alarm, and every command on it can be typed."""

import json
import re
import shlex
from pathlib import Path

import botocore.session
import click
import pytest
from botocore import xform_name

from rolekeeper import mail
from rolekeeper_cli.main import cli
from support import templates

RUNBOOK = Path(__file__).parents[2] / "docs/runbook"
ALARMS = {
    resource["Properties"]["AlarmName"]["Sub"].removeprefix("${AWS::StackName}-"): (name, resource["Properties"])
    for name, resource in templates.load()["Resources"].items()
    if resource["Type"] == "AWS::CloudWatch::Alarm"
}
# What rings no alarm, because Rolekeeper mails each one by itself and the mail names the page.
MAILED = {
    found[1]: event
    for event, text in mail.TEXTS.items()
    if (found := re.search(r"^Runbook: docs/runbook/(.+)\.md$", text, re.MULTILINE))
}
PAGES = sorted(RUNBOOK.glob("*.md"))
SECTIONS = ["What it means", "Look", "Do", "If you do nothing"]
# Options that the AWS CLI has beside those of the services' models (its user guide, "Command line options").
CLI_OPTIONS = {"query", "output", "max-items", "cli-binary-format"}


def code(page: Path) -> list[str]:
    """What stands in the code of a page: its blocks, each whole, and its pieces within lines."""
    text = page.read_text()
    blocks = re.findall(r"^```(?:bash|sh)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    return [block.replace("\\\n", " ") for block in blocks] + lines


def commands(page: Path, program: str) -> list[str]:
    """The command lines of one program on a page, up to where the next one begins."""
    found = [
        re.split(r"\$\(aws |\)\"? *$|\n|; ", call)[0]
        for text in code(page)
        for call in re.findall(rf"(?:^|[\s(])({program} [a-z].*)", text)
    ]
    # One within another: "$(aws ...)" is told apart from what it is an argument of.
    inner = [call for text in code(page) for call in re.findall(rf"\$\(({program} [a-z][^)]*)", text)]
    return [call.strip() for call in found + inner]


# ---- complete ----


def test_every_alarm_has_its_page_and_every_page_its_alarm_or_mail() -> None:
    assert {page.stem for page in PAGES} == ALARMS.keys() | MAILED.keys() | {"README"}
    assert ALARMS.keys().isdisjoint(MAILED)


@pytest.mark.parametrize("name", [*ALARMS, *MAILED])
def test_a_page_says_what_it_means_what_to_look_at_what_to_do_and_what_comes_of_nothing(name: str) -> None:
    text = (RUNBOOK / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    for _, body in zip(SECTIONS, re.split(r"^## .+$", text, flags=re.MULTILINE)[1:], strict=True):
        assert len(body.split()) >= 10


def test_the_index_lists_the_alarms_in_the_templates_order_and_who_hears_that_one_is_over() -> None:
    index = (RUNBOOK / "README.md").read_text()
    rows = re.findall(r"^\| \[`(.+?)`\]\((.+?)\) \| `(.+?)` \| .{10,} \| (yes|no) \|$", index, re.MULTILINE)
    assert rows == [
        (name, f"{name}.md", resource, "yes" if "OKActions" in alarm else "no")
        for name, (resource, alarm) in ALARMS.items()
    ]


def test_the_index_lists_what_is_mailed_instead() -> None:
    index = (RUNBOOK / "README.md").read_text()
    rows = re.findall(r"^\| \[`(.+?)`\]\((.+?)\) \| `(Mapping .+?)` \| .{10,} \|$", index, re.MULTILINE)
    assert rows == [(name, f"{name}.md", event) for name, event in MAILED.items()]


@pytest.mark.parametrize(("name", "metric"), [("function-errors", "Errors"), ("function-throttles", "Throttles")])
def test_a_page_for_all_functions_finds_which_one_it_is_and_says_what_comes_of_each(name: str, metric: str) -> None:
    text = (RUNBOOK / f"{name}.md").read_text()
    [asked] = re.findall(r"^for name in (.+); do$", text, re.MULTILINE)
    functions = {
        logical_id: resource["Properties"]["Handler"].removesuffix(".handler")
        for logical_id, resource in templates.load()["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    assert sorted(asked.split()) == sorted(functions)
    assert f"--metric-name {metric} " in text
    explained = re.findall(r"^\| `(on_\w+)` \| .{20,} \|$", text, re.MULTILINE)
    assert sorted(explained) == sorted(functions.values())


# ---- true ----


def test_the_scan_finds_commands() -> None:
    assert 'aws sqs receive-message --queue-url "$dead_letters" --max-number-of-messages 10 --visibility-timeout 0' in (
        commands(RUNBOOK / "dead-letters.md", "aws")
    )
    assert {tuple(call.split()[1:3]) for call in commands(RUNBOOK / "function-throttles.md", "aws")} == {
        ("cloudformation", "describe-stack-resource"),
        ("cloudwatch", "get-metric-statistics"),
        ("lambda", "get-function-concurrency"),
        ("lambda", "get-account-settings"),
        ("lambda", "delete-function-concurrency"),
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_rolekeeper_command_is_one_that_there_is(page: Path) -> None:
    for call in commands(page, "rolekeeper"):
        words = shlex.split(call)[1:]
        node: click.Command = cli
        path = "rolekeeper"
        while isinstance(node, click.Group) and (words or not node.invoke_without_command):
            found = node.get_command(click.Context(node, **cli.context_settings), words[0])
            assert found is not None, call
            node, path, words = found, f"{path} {words[0]}", words[1:]
        if words:
            node.make_context(path, words, **cli.context_settings).close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_aws_command_and_option_is_one_that_there_is(page: Path) -> None:
    session = botocore.session.get_session()
    for call in commands(page, "aws"):
        _, service, operation, *_ = call.split()
        model = session.get_service_model(service)
        operations = {xform_name(name, "-"): name for name in model.operation_names}
        assert operation in operations, call
        shape = model.operation_model(operations[operation]).input_shape
        known = {xform_name(member, "-") for member in shape.members} if shape else set()
        assert set(re.findall(r"(?<=\s)--([a-z-]+)", call)) <= known | CLI_OPTIONS, call


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_saved_query_that_a_page_names_is_there(page: Path) -> None:
    saved = {
        resource["Properties"]["Name"]["Sub"].removeprefix("${AWS::StackName}/")
        for resource in templates.load()["Resources"].values()
        if resource["Type"] == "AWS::Logs::QueryDefinition"
    }
    text = " ".join(page.read_text().split())
    assert set(re.findall(r"saved query `([^`]+)`", text)) <= saved
    for pair in re.findall(r"saved queries `([^`]+)` and `([^`]+)`", text):
        assert set(pair) <= saved


def test_each_graph_of_the_dashboard_that_a_page_names_is_there() -> None:
    drawn = templates.load()["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Sub"]
    titles = {widget["properties"]["title"] for widget in json.loads(drawn)["widgets"]}
    named = {
        page.stem: re.findall(r'dashboard, "([^"]+)"', " ".join(page.read_text().split()), re.IGNORECASE)
        for page in PAGES
    }
    assert any(named.values()), "the scan finds less"
    assert {page: set(names) - titles for page, names in named.items() if set(names) - titles} == {}


def test_operations_lists_the_saved_queries() -> None:
    text = (RUNBOOK.parent / "operations.md").read_text()
    for resource in templates.load()["Resources"].values():
        if resource["Type"] == "AWS::Logs::QueryDefinition":
            name = resource["Properties"]["Name"]["Sub"].removeprefix("${AWS::StackName}/")
            assert f"| `{name}` |" in text

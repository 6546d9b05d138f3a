"""What all commands have in common: help, options, exit codes, errors in two lines, colours."""

import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import click
import pytest
from botocore.exceptions import (
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import ResponseParserError
from click.testing import CliRunner, Result

from fakes.ec2 import client_error
from fixtures.command import parsed
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.deploy.command import OFTEN_SET
from rolekeeper_cli.deploy.parameters import option_of
from rolekeeper_cli.deploy.parameters import parameters as deploy_parameters
from rolekeeper_cli.errors import CommandError, ConfigurationError, ExitCode
from rolekeeper_cli.main import cli
from rolekeeper_cli.options import Options
from rolekeeper_cli.shell import terminal as output
from rolekeeper_cli.shell.command import EVERY_LIST, Group, Root, command, section_of
from rolekeeper_cli.shell.suggest import COMMANDS_MEANT
from support.templates import ROOT


def commands(group: Group, path: str = "rolekeeper") -> Iterator[tuple[str, Any]]:
    yield path, group
    for name, each in group.all().items():
        if isinstance(each, Group):
            yield from commands(each, f"{path} {name}")
        else:
            yield f"{path} {name}", each


ALL = dict(commands(cli))


# ---- help ----


@pytest.mark.parametrize("path", ALL)
def test_every_command_explains_itself_and_each_option_with_an_example(path: str) -> None:
    command, ran = ALL[path], CliRunner().invoke(ALL[path], ["--help"], prog_name=path)
    assert all(f"\n{each}" in ran.stdout for each in ("Example", "  -h, --help ", "  --endpoint-url "))
    assert all(f"  {example}\n" in ran.stdout for example in command.examples)
    assert all(example.startswith(path) or path == "rolekeeper" for example in command.examples)
    parameters = command.get_params(click.Context(command, info_name=path, **command.context_settings))
    assert [each.name for each in parameters if not getattr(each, "help", None)] == []
    assert len({each.name for each in parameters}) == len(parameters), "none hides a common option"


def test_no_help_breaks_a_word_on_a_terminal_of_40_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    for path, each in ALL.items():
        words = []
        for columns in ("40", "80"):
            monkeypatch.setenv("COLUMNS", columns)
            ran = CliRunner().invoke(each, ["--help"], prog_name=path)
            words.append(ran.stdout.split())
            long = [line for line in ran.stdout.partition("Example")[0].splitlines() if len(line) > int(columns)]
            assert [
                line for line in long if len(line.split()) > 1 and not {"rolekeeper", "aws"} & {*line.split()}
            ] == []
        assert words[0] == words[1]


LISTS = {"fleet", "history", "plan", "launches", "roles", "targets", "mapping ls", "mapping history", "guard"}
LISTS |= {"launches files", "roles must-include", "redrive"}


def test_every_list_has_the_same_options_and_no_other_command_has_them() -> None:
    options = {path: [each.opts[0] for each in of.params if section_of(each) == EVERY_LIST] for path, of in ALL.items()}
    wanted = {f"rolekeeper {each}": ["--sort", "--limit", "--watch"] for each in LISTS}
    wanted["rolekeeper redrive"].remove("--watch")  # it changes something
    assert {path: found for path, found in options.items() if found} == wanted


@pytest.mark.parametrize("path", [path for path, each in ALL.items() if isinstance(each, Group)])
def test_the_help_says_of_each_command_on_one_line_what_its_own_help_begins_with(path: str) -> None:
    shown = CliRunner().invoke(cli, [*path.split()[1:], "--help"], prog_name="rolekeeper", terminal_width=80).stdout
    for name, each in ALL[path].all().items():
        assert re.search(rf"^  {name} +{re.escape(each.get_short_help_str())}$", shown, re.MULTILINE), name
        assert each.help.startswith(each.get_short_help_str())


def test_the_help_of_deploy_shows_what_people_set_and_the_rest_when_asked() -> None:
    own, whole = (
        CliRunner().invoke(cli, ["deploy", option], prog_name="rolekeeper", terminal_width=200)
        for option in ("--help", "--help-all")
    )
    assert own.exit_code == whole.exit_code == 0
    parameters = set(map(option_of, deploy_parameters()))
    shown, all_shown = (set(re.findall(r"^  (--[a-z-]+)", ran.stdout, re.MULTILINE)) for ran in (own, whole))
    assert shown & parameters == set(OFTEN_SET)
    assert all_shown == shown | parameters
    assert len(OFTEN_SET) == 6


def test_help_of_every_command_is_quick_as_it_imports_no_sdk() -> None:
    """Nor what does the work: that is imported when it runs. `make bench` measures it."""
    slow = {"click.shell_completion", "csv", "decimal", "importlib.metadata", "boto3", "botocore", "yaml", "rich"}
    slow |= {"jmespath", "starlette", *(f"rolekeeper.{each}" for each in ("app", "aws", "instances", "mappings"))}
    slow |= {f"rolekeeper.model.{each}" for each in ("instance", "mapping", "problem")}
    look = (
        "import sys; from rolekeeper_cli.main import cli\n"
        f"for path in {list(ALL)}:\n"
        "    try: cli.main([*path.split()[1:], '--help'], prog_name='rolekeeper')\n"
        "    except SystemExit as ended: assert ended.code == 0, path\n"
        f"print(sorted({slow} & sys.modules.keys()), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert ran.stdout.count("Usage: rolekeeper") == len(ALL)
    assert ran.stderr == "[]\n"


def test_every_example_can_be_typed() -> None:
    """Each parses: its options and its number of arguments are the command's."""
    for each in ALL.values():
        for example in each.examples:
            parsed(example.partition(" < ")[0].partition(" > ")[0])


@pytest.mark.parametrize("page", ["README.md", "docs/lab.md", "docs/adopting.md", "docs/organization.md"])
def test_what_asks_is_the_last_of_its_block_and_what_it_asks_is_shown(page: str) -> None:
    """Where a block is pasted line by line, a question would take the next line for its answer."""
    found = re.findall(r"^```(?:ba)?sh\n(.*?)^```\n+(```text)?", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    assert found
    for block, shown in found:
        lines = block.replace("\\\n", "").strip().splitlines()
        asking = [line for line in lines if any(map(asks, re.findall(r"\brolekeeper [a-z][^#|>]*", line)))]
        assert asking in ([], lines[-1:] if shown else [])


def asks(line: str) -> bool:
    """Whether a command asks a person at a terminal."""
    given = parsed(line)
    return not given.get("yes", True) or given.get("confirm", "") is None or given.get("guided", False)


# ---- options ----


@pytest.mark.parametrize(
    ("line", "region"),
    [
        (["--region", "eu-west-1", "see"], "eu-west-1"),
        (["see", "--region", "eu-west-1"], "eu-west-1"),
        (["--region", "eu-west-1", "see", "--region", "eu-north-1"], "eu-north-1"),
        (["see"], None),
    ],
)
def test_common_options_stand_anywhere_and_the_last_holds(line: list[str], region: str | None) -> None:
    seen: list[Options] = []
    assert _run(line, lambda: seen.append(output.options())).exit_code == 0
    assert seen[0].region == region


def test_the_session_is_made_of_the_options_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Deployment(Options(region="eu-west-1")).session.region_name == "eu-west-1"
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-south-1")
    assert Deployment(Options()).session.region_name == "eu-north-1"
    assert Deployment(Options(region="eu-west-1")).session.region_name == "eu-west-1"
    with pytest.raises(ProfileNotFound):
        _ = Deployment(Options(profile="nobody")).session
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert Deployment(Options()).client("sts").meta.endpoint_url == "http://127.0.0.1:1"
    there = Deployment(Options(endpoint_url="http://127.0.0.1:2"))
    assert there.client("sts").meta.endpoint_url == "http://127.0.0.1:2"


# ---- the stack ----

TABLES = {"MappingTable": "m", "StateTable": "s", "WorkQueue": "q"}


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The outputs of the stacks that there are, by name."""
    found = dict[str, Any]()

    def describe_stacks(StackName: str) -> Any:  # noqa: N803  # boto3's own
        if StackName not in found:
            raise client_error("ValidationError", f"Stack with id {StackName} does not exist")
        outputs = [{"OutputKey": key, "OutputValue": value} for key, value in found[StackName].items()]
        parameters = [{"ParameterKey": "Mode", "ParameterValue": "observe"}]
        created = {"StackName": StackName, "CreationTime": datetime.now(UTC), "StackStatus": "CREATE_COMPLETE"}
        return {"Stacks": [{**created, "Outputs": outputs, "Parameters": parameters}]}

    monkeypatch.setattr(Deployment, "client", lambda *_: SimpleNamespace(describe_stacks=describe_stacks))
    return found


def test_the_stack_says_where_the_tables_are(stacks: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stacks |= dict.fromkeys(("rolekeeper", "second", "third"), TABLES)
    found = Deployment(Options()).stack
    assert (found.name, found.outputs, found.parameters) == ("rolekeeper", TABLES, {"Mode": "observe"})
    monkeypatch.setenv("ROLEKEEPER_STACK", "second")
    assert Deployment(Options()).stack.name == "second"
    assert Deployment(Options(stack="third")).stack.name == "third"


def test_a_stack_that_isnt_there_or_is_another_is_a_matter_of_configuration(stacks: dict[str, Any]) -> None:
    stacks["other"] = {"StateTable": "s", "WorkQueue": "q"}
    for name, said in {"none": "there is no stack 'none' in us-east-1", "other": "has no output MappingTable"}.items():
        with pytest.raises(ConfigurationError, match=said):
            _ = Deployment(Options(stack=name)).stack


# ---- how a command ends ----


def _run(line: list[str], act: Callable[[], object]) -> Result:
    """A command of the test's own under the same root."""

    @command("see", "rolekeeper see")
    def see() -> ExitCode:
        act()
        return ExitCode.DONE

    return CliRunner().invoke(Root("rolekeeper", commands={"see": see}), line, prog_name="rolekeeper")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (CommandError("no", "do"), 1, "Error: no\n  do\n"),
        (KeyboardInterrupt(), 130, "\nStopped.\n"),
        (NoCredentialsError(), 253, "no AWS credentials were found\n  give --profile"),
        (PartialCredentialsError(provider="env", cred_var="x"), 253, "credentials can't be read"),
        (NoRegionError(), 253, "no Region was given\n  give --region"),
        (ProfileNotFound(profile="x"), 253, "The config profile (x) could not be found\n  see: aws configure"),
        (UnauthorizedSSOTokenError(), 253, "run: aws sso login"),
        (client_error("ExpiredToken"), 253, "AWS doesn't take these credentials"),
        (EndpointConnectionError(endpoint_url="http://x"), 254, "AWS can't be reached: Could not connect"),
        (ResponseParserError("invalid XML: <html>"), 254, "what answered isn't AWS"),
        (client_error("AccessDenied", operation="GetItem"), 254, "you aren't allowed GetItem on *"),
        (client_error("ThrottlingException"), 254, "AWS gave no answer to Operation"),
        (client_error("ValidationException", "bad"), 254, "AWS refused Operation on *: ValidationException: bad"),
        (ZeroDivisionError("of ours"), 255, "Traceback"),
    ],
)
def test_every_way_to_end_has_its_code_and_its_words(error: BaseException, code: int, words: str) -> None:
    def act() -> None:
        raise error

    ran = _run(["see"], act)
    assert (ran.exit_code, words in ran.stderr) == (code, True), ran.stderr


@pytest.mark.parametrize("group", COMMANDS_MEANT)
def test_each_name_that_people_try_is_no_command_and_what_is_meant_is_one(group: str) -> None:
    for names, meant in COMMANDS_MEANT[group].items():
        assert not set(names.split()) & ALL[group].all().keys()
        for name, hint in itertools.product(names.split(), meant):
            ran = CliRunner().invoke(cli, [*group.split()[1:], name], prog_name="rolekeeper")
            of_ours = not hint.startswith("aws ")
            assert (ran.exit_code, f"'{'rolekeeper ' * of_ours}{hint}'" in ran.stderr) == (252, True), ran.stderr
            known = CliRunner().invoke(cli, [*hint.split(), "--help"], prog_name="rolekeeper")
            assert known.exit_code == 0 or not of_ours, known.stderr


# ---- colours ----


@pytest.mark.parametrize(("no_color", "coloured"), [(None, True), ("1", False), ("", True)])
def test_colours_are_for_terminals_and_for_those_who_want_them(
    desk: Desk, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, no_color: str | None, *, coloured: bool
) -> None:
    desk.role("web")
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    file = "mappings:\n- {tag_key: a, tag_value: b, role: web}\n"
    line = ["plan", "-f", "-"]
    assert "\x1b" not in terminal(*line, stdin=file).output
    # As if it were one.
    ran = CliRunner().invoke(cli, line, input=file, color=True)
    assert ("\x1b[32m+ a=b" in ran.output) is coloured
    assert ("\x1b" in CliRunner().invoke(cli, ["nosuch"], color=True).stderr) is coloured

"""deploy: what would change is shown and asked about, what is deployed stays, and a failure says why."""

import subprocess
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tools import parameters as written

from fakes.cloudformation import FakeCloudFormation, change
from fakes.organizations import Organizations
from fixtures.terminal import Terminal, lines
from rolekeeper_cli import installed
from rolekeeper_cli.deploy import artifacts, deploy, rollout
from rolekeeper_cli.deploy.parameters import parameters
from rolekeeper_cli.deploy.stack import declared, merged, refused
from rolekeeper_cli.errors import ServiceError
from rolekeeper_cli.installed import ordered
from support.templates import ROOT

VERSION = installed.version()
KNOWN = declared(ROOT / "template.yaml")
OWN = "o-example0000"
STDERR = 2
FUNCTION = change("Modify", "OnRetry", "AWS::Lambda::Function", "False", "Environment")


class Uploads:
    """In the place of the bucket: where the template would be."""

    def __init__(self) -> None:
        self.buckets: list[Any] = []
        self.folders: list[Path] = []
        self.built: list[bool] = []

    def __call__(self, folder: Path, bucket: Any) -> str:
        self.buckets.append(bucket.name)
        self.folders.append(folder)
        self.built.append((folder / "layer.zip").exists())
        return "https://s3/template"


class Make:
    """In the place of make: ends with `code`, after it built; None: there is none on this machine."""

    def __init__(self) -> None:
        self.ran: list[tuple[list[str], dict[str, Any]]] = []
        self.code: int | None = 0

    def __call__(self, line: list[str], **options: Any) -> Any:
        self.ran.append((line, options))
        if self.code is None:
            raise FileNotFoundError(2, "No such file or directory", "make")
        folder = Path(line[-1].partition("=")[2]) / "artifacts"
        folder.mkdir()
        (folder / "layer.zip").touch()
        return SimpleNamespace(returncode=self.code)


@pytest.fixture
def stack(terminal: Terminal) -> FakeCloudFormation:
    made = FakeCloudFormation()
    made.changes = [FUNCTION]
    terminal.clients |= {"cloudformation": made, "s3": None}
    return made


@pytest.fixture(autouse=True)
def uploads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Uploads:
    made = Uploads()
    monkeypatch.setattr(deploy, "upload", made)
    monkeypatch.setattr(deploy, "built", lambda: nullcontext(tmp_path))
    return made


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    """The command is a clone's."""
    made = Make()
    monkeypatch.setattr(deploy, "built", artifacts.built)
    monkeypatch.setattr(subprocess, "run", made)
    return made


def asked(stack: FakeCloudFormation) -> dict[str, str | None]:
    """The parameters of the change set; None for one that keeps its value."""
    given = stack.asked("create_change_set")["Parameters"]
    assert all("ParameterValue" in each or each["UsePreviousValue"] is True for each in given)
    return {each["ParameterKey"]: each.get("ParameterValue") for each in given}


def test_a_first_deployment_makes_a_stack_of_the_templates_defaults(
    terminal: Terminal, stack: FakeCloudFormation, uploads: Uploads
) -> None:
    stack.changes = [change("Add", "WorkQueue", "AWS::SQS::Queue")]
    ran = terminal("deploy", "--yes", "--alarm-email", "ops@example.com")
    assert ran.exit_code == 0, ran.output
    assert stack.calls == ["create_change_set", "execute_change_set"]
    created = stack.asked("create_change_set")
    assert (created["ChangeSetType"], created["TemplateURL"]) == ("CREATE", "https://s3/template")
    assert created["Capabilities"] == ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
    assert asked(stack) == {"AlarmEmail": "ops@example.com"}
    assert uploads.buckets == ["rolekeeper-artifacts-123456789012-us-east-1"]
    assert "AlarmEmail ops@example.com" in lines(ran.stdout)


@pytest.mark.parametrize(
    ("mode", "mapped", "last"),
    [("observe", False, "plan"), ("observe", True, "mode enforce"), ("enforce", False, "fleet")],
)
def test_the_commands_that_come_next_fit_what_was_deployed(*, mode: str, mapped: bool, last: str) -> None:
    first, second, third = deploy.next_steps(mode, mapped=mapped)
    assert (first, second.partition(" ")[0], third) == ("doctor", "plan" if mapped else "mapping", last)


@pytest.mark.parametrize(
    ("status", "calls"),
    [
        (None, ["create_change_set", "delete_change_set", "delete_stack"]),
        # Another change set waits for this stack.
        ("REVIEW_IN_PROGRESS", ["create_change_set", "delete_change_set"]),
    ],
)
def test_who_says_no_leaves_nothing_behind(
    terminal: Terminal, stack: FakeCloudFormation, status: str | None, calls: list[str]
) -> None:
    stack.status, stack.changes = status, [change("Add", "WorkQueue", "AWS::SQS::Queue")]
    ran = terminal.types("n\n", "deploy")
    assert (ran.exit_code, "Make 1 change?" in ran.stderr) == (1, True)
    assert (stack.calls, stack.status) == (calls, status)


def test_a_first_deployment_that_failed_is_removed_before_the_next(
    terminal: Terminal, stack: FakeCloudFormation
) -> None:
    stack.status, stack.changes = "ROLLBACK_COMPLETE", [change("Add", "WorkQueue", "AWS::SQS::Queue")]
    assert terminal("deploy", "--dry-run").exit_code == 253
    assert stack.calls == []
    ran = terminal("deploy", "--yes")
    assert ran.exit_code == 0, ran.output
    assert stack.calls == ["delete_stack", "create_change_set", "execute_change_set"]


@pytest.mark.parametrize("option", [(), ("--revert-drift",)])
def test_what_was_deleted_outside_cloudformation_is_recreated_if_that_is_asked(
    terminal: Terminal, stack: FakeCloudFormation, option: tuple[str, ...]
) -> None:
    stack.deployed(Mode="enforce")
    stack.changes = [change("Add", "InstanceTagRule", "AWS::Events::Rule")]
    assert terminal("deploy", "--yes", *option).exit_code == 0
    assert stack.asked("create_change_set").get("DeploymentMode") == ("REVERT_DRIFT" if option else None)


def test_each_parameter_stays_but_for_those_that_are_given(terminal: Terminal, stack: FakeCloudFormation) -> None:
    stack.deployed(Mode="enforce", MaxChangesPerEdit="50", GoneParameter="x")
    ran = terminal("deploy", "--yes", "--sweep-schedule", "rate(1 hour)")
    assert ran.exit_code == 0, ran.output
    assert stack.asked("create_change_set")["ChangeSetType"] == "UPDATE"
    assert asked(stack) == {"SweepSchedule": "rate(1 hour)", "Mode": None, "MaxChangesPerEdit": None}
    assert "Modify OnRetry AWS::Lambda::Function no Environment" in lines(ran.stdout)
    assert not [line for line in lines(ran.stdout) if line.startswith(("Mode ", "MaxChangesPerEdit "))]


def test_where_nothing_would_change_it_says_so(terminal: Terminal, stack: FakeCloudFormation) -> None:
    stack.deployed(Mode="enforce")
    stack.changes = []
    ran = terminal("deploy", "--yes")
    assert ran.exit_code == 0
    assert "Nothing would change" in ran.stderr
    assert stack.calls == ["create_change_set", "delete_change_set"]


def test_a_table_that_would_be_replaced_is_pointed_at(terminal: Terminal, stack: FakeCloudFormation) -> None:
    stack.deployed()
    stack.changes = [change("Modify", "MappingTable", "AWS::DynamoDB::Table", "True", "KeySchema")]
    ran = terminal("deploy", "--dry-run")
    assert stack.calls == ["create_change_set", "delete_change_set"]
    assert "MappingTable would be replaced by an empty table" in ran.stderr
    assert "Modify MappingTable AWS::DynamoDB::Table yes KeySchema" in lines(ran.stdout)
    stack.changes = [change("Modify", "MappingTable", "AWS::DynamoDB::Table", "False", "Tags")]
    assert terminal.document("deploy", "--dry-run")["outcome"] == "shown"
    assert "by an empty table" not in terminal("deploy", "--dry-run").stderr


def test_guided_asks_for_each_parameter_until_it_is_allowed(terminal: Terminal, stack: FakeCloudFormation) -> None:
    stack.deployed(Mode="enforce", MaxChangesPerEdit="50", AlarmEmail="ops@example.com")
    # A space empties a value.
    answers = {"Mode": "on\nobserve", "MaxChangesPerEdit": "40", "AlarmEmail": " "}
    typed = "\n".join([*(answers.get(name, "") for name in parameters()), "y"]) + "\n"
    ran = terminal.types(typed, "deploy", "--guided", "--log-level", "DEBUG")
    assert ran.exit_code == 0, ran.output
    assert "Mode [enforce]: " in ran.stderr
    assert "must be observe or enforce" in ran.stderr
    assert "LogLevel [DEBUG]: " in ran.stderr
    assert asked(stack) == {"Mode": "observe", "MaxChangesPerEdit": "40", "LogLevel": "DEBUG", "AlarmEmail": ""}


@pytest.fixture
def organizations(terminal: Terminal) -> Organizations:
    made = Organizations()
    terminal.clients["organizations"] = made
    return made


@pytest.mark.parametrize(("own", "said"), [(OWN, f"is in the organization {OWN}"), ("", "is in no organization")])
def test_an_organization_that_the_account_isnt_in_is_refused(  # its example
    terminal: Terminal, stack: FakeCloudFormation, organizations: Organizations, own: str, said: str
) -> None:
    stack.deployed(OrganizationId=OWN)
    organizations.id = own
    ran = terminal("deploy", "--organization-id", "o-wrongwrong1", "--yes")
    assert (ran.exit_code, stack.calls) == (253, [])
    assert said in ran.stderr
    assert "o-wrongwrong1" in ran.stderr


def test_one_who_may_not_ask_for_the_organization_is_warned_and_makes_a_hub(
    terminal: Terminal, stack: FakeCloudFormation, organizations: Organizations
) -> None:
    organizations.refuses = "AccessDeniedException"
    ran = terminal("deploy", "--organization-id", OWN, "--yes")
    assert (ran.exit_code, stack.parameters["OrganizationId"]) == (0, OWN), ran.output
    assert f"Warning: whether this account is in {OWN} isn't checked" in ran.stderr


def test_a_hub_leaves_its_organization_unchecked_only_by_a_person_who_types_the_other(
    terminal: Terminal, stack: FakeCloudFormation, organizations: Organizations
) -> None:
    """Each of its spokes would be shut out: --yes is no answer to that."""
    organizations.refuses = "AccessDeniedException"
    stack.deployed(OrganizationId=OWN)
    line = ("deploy", "--organization-id", "o-another000", "--yes")
    ran = terminal(*line)
    assert (ran.exit_code, stack.calls) == (253, [])
    assert "organizations:DescribeOrganization" in ran.stderr
    assert terminal.types("y\n", *line).exit_code == 1
    assert stack.calls == []
    ran = terminal.types("o-another000\n", *line)
    assert (ran.exit_code, stack.parameters["OrganizationId"]) == (0, "o-another000")
    assert f"looks after {OWN}, and its spokes would be shut out" in ran.stderr
    assert terminal(*line[:-1], "--dry-run").exit_code == 0, "it only shows"


def test_an_organization_that_is_an_answer_is_checked_too(
    terminal: Terminal, stack: FakeCloudFormation, organizations: Organizations
) -> None:
    stack.deployed(OrganizationId="")
    assert organizations.id != "o-wrongwrong1"
    answers = ["o-wrongwrong1" if name == "OrganizationId" else "" for name in parameters()]
    ran = terminal.types("\n".join([*answers, "y"]) + "\n", "deploy", "--guided")
    assert (ran.exit_code, stack.calls) == (253, [])


@pytest.mark.usefixtures("stack")
def test_a_clone_builds_what_it_deploys_before_anything_is_asked(
    terminal: Terminal, make: Make, uploads: Uploads
) -> None:
    """What make says is for the person: the standard output has data alone."""
    ran = terminal.types("n\n", "deploy")
    [(line, options)] = make.ran
    assert line[:4] == ["make", "--no-print-directory", "--directory", str(ROOT)]
    assert line[4:] == ["artifacts", f"WHEEL_BUILD={uploads.folders[0].parent}"]
    assert (options["stdout"], uploads.built) == (STDERR, [True])
    assert ran.stderr.index("make artifacts") < ran.stderr.index("Make 1 change?")
    assert not uploads.folders[0].exists(), "it is no use later"


def test_a_build_that_fails_asks_nothing(terminal: Terminal, stack: FakeCloudFormation, make: Make) -> None:
    make.code = 2
    ran = terminal.types("", "deploy", "--guided")
    assert (ran.exit_code, stack.calls) == (253, [])
    assert "make artifacts failed" in ran.stderr
    make.code = None
    assert "make isn't installed" in terminal("deploy", "--yes").stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [("deploy", "there is no terminal to ask on"), ("deploy --guided --yes", "there is no terminal to ask on")],
)
def test_what_is_refused_before_anything_is_uploaded(
    terminal: Terminal, stack: FakeCloudFormation, uploads: Uploads, line: str, said: str
) -> None:
    ran = terminal(*line.split())
    assert (ran.exit_code, said in ran.stderr) == (252, True), ran.stderr
    assert (stack.calls, uploads.buckets) == ([], [])


def test_a_newer_version_is_not_replaced_by_an_older_one_unless_told(
    terminal: Terminal, stack: FakeCloudFormation
) -> None:
    stack.deployed(version="0.10.0")
    ran = terminal("deploy", "--yes")
    assert (ran.exit_code, f"is deployed, which is newer than this {VERSION}" in ran.stderr) == (1, True)
    assert stack.calls == []
    assert terminal("deploy", "--yes", "--allow-downgrade").exit_code == 0


def test_versions_are_ordered_by_their_numbers() -> None:
    assert ordered("0.10.0") > ordered("0.9.2") > ordered("0.9")


@pytest.mark.parametrize(
    ("status", "description", "said"),
    [
        ("UPDATE_COMPLETE", "Another product.", "isn't Rolekeeper's"),
        ("ROLLBACK_COMPLETE", "Another product.", "isn't Rolekeeper's"),
        ("UPDATE_IN_PROGRESS", "Rolekeeper. X", "CloudFormation is at work on it"),
        ("UPDATE_ROLLBACK_FAILED", "Rolekeeper. X", "is UPDATE_ROLLBACK_FAILED"),
    ],
)
def test_a_stack_that_cant_be_deployed_to_is_left_alone(
    terminal: Terminal, stack: FakeCloudFormation, status: str, description: str, said: str
) -> None:
    stack.status, stack.description = status, description
    ran = terminal("deploy", "--yes")
    assert ran.exit_code == 253
    assert said in ran.stderr
    assert stack.calls == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RolePath", "/service-role/rolekeeper/"),
        ("RolePath", "/"),
        ("RolePath", f"/{'x' * 200}/"),
        ("Mode", "on"),
        ("LogRetentionDays", "31"),
        ("MaxChangesPercent", "101"),
        ("MaxChangesPercent", "-1"),
        ("RetryTimeoutMinutes", "4"),
        ("KmsKeyArn", "alias/mine"),
        ("ChangesPerSecond", "0"),
        ("ChangesPerSecond", "1e3"),
        ("ChangesPerSecond", "101"),
        ("Workers", "2.5"),
    ],
)
def test_what_cloudformation_would_refuse_is_refused_with_the_templates_reason(name: str, value: str) -> None:
    assert refused(KNOWN, {name: value}) == {name: f"{name} {value} {KNOWN[name]['ConstraintDescription']}"}


def test_what_a_template_has_by_default_and_what_it_takes_is_not_refused() -> None:
    assert refused(KNOWN, merged(KNOWN, {}, {"RolePath": "/org/roles/", "ChangesPerSecond": "12.5"})) == {}


def test_a_failure_names_the_resource_and_its_reason_and_no_follow_up(
    terminal: Terminal, stack: FakeCloudFormation
) -> None:
    stack.deployed()
    stack.ends = "UPDATE_ROLLBACK_COMPLETE"
    stack.failures = [
        ("OnScheduleSweep", "AWS::Events::Rule", "Parameter ScheduleExpression is not valid."),
        ("OnRetry", "AWS::Lambda::Function", "Resource update cancelled"),
    ]
    ran = terminal("deploy", "--yes")
    assert ran.exit_code == 254
    *_, error, remedy = ran.stderr.splitlines()
    assert error == (
        "Error: the deployment of rolekeeper failed (UPDATE_ROLLBACK_COMPLETE): "
        "OnScheduleSweep (AWS::Events::Rule): Parameter ScheduleExpression is not valid."
    )
    assert "the stack is as it was before" in remedy


def test_what_cloudformation_refuses_at_once_is_said_in_its_words(
    terminal: Terminal, stack: FakeCloudFormation
) -> None:
    stack.deployed()
    stack.refusal = "Transform AWS::Serverless-2016-10-31 failed with: no"
    ran = terminal("deploy", "--yes")
    assert ran.exit_code == 254
    assert "failed with: no" in ran.stderr
    assert stack.calls == ["create_change_set", "delete_change_set"]


def test_who_stops_waiting_hears_that_cloudformation_goes_on(terminal: Terminal, stack: FakeCloudFormation) -> None:
    stack.deployed()

    def stop() -> None:
        raise KeyboardInterrupt

    terminal.meanwhile = stop
    ran = terminal("deploy", "--yes")
    assert ran.exit_code == 130
    assert "CloudFormation goes on" in ran.stderr
    assert stack.calls == ["create_change_set", "execute_change_set"]


def test_what_is_waited_for_long_is_named(terminal: Terminal, stack: FakeCloudFormation) -> None:
    stack.deployed()
    stack.quiet = 29
    ran = terminal("deploy", "--yes")
    assert ran.stderr.count("CloudFormation is still at work on WorkQueue.\n") == 1, ran.stderr


def test_the_embedded_aws_makes_its_stack_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    stack, template = FakeCloudFormation(), rollout.Template({"TemplateURL": "https://s3/template"})
    stack.changes, made = [FUNCTION], rollout.Rollout(stack, "rolekeeper", sleep=lambda _: None)
    parameters = [{"ParameterKey": "Mode", "ParameterValue": "enforce"}]
    made.make(template, parameters)
    assert stack.calls == ["create_change_set", "execute_change_set"]
    assert (stack.status, stack.parameters) == ("CREATE_COMPLETE", {"Mode": "enforce"})
    stack.status, stack.ends, stack.failures = None, "ROLLBACK_COMPLETE", [("OnRetry", "AWS::Lambda::Function", "no")]
    with pytest.raises(ServiceError, match=r"failed \(ROLLBACK_COMPLETE\): OnRetry \(AWS::Lambda::Function\): no"):
        made.make(template, parameters)
    assert capsys.readouterr() == ("", "")


def test_each_parameter_of_the_template_is_an_option() -> None:
    assert list(parameters()) == list(KNOWN)
    assert installed.PARAMETERS.read_text() == written.text(), "run: .venv/bin/python -m tools.parameters"


def test_allowed_values_are_completed(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_WORDS", "rolekeeper deploy --mode en")
    monkeypatch.setenv("COMP_CWORD", "3")
    monkeypatch.setenv("_ROLEKEEPER_COMPLETE", "bash_complete")
    assert terminal().stdout == "plain,enforce\n"

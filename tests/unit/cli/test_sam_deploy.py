"""`make deploy`: what is deployed stays, what is given changes, and no answer is written down."""

from typing import Any

import pytest

from fakes.ec2 import client_error
from fakes.organizations import Organizations
from rolekeeper_cli.deploying.sam_deploy import main, overrides, told
from rolekeeper_cli.deploying.stack_parameters import ask, declared, deployed, merged, refused

KNOWN: dict[str, dict[str, Any]] = {
    "Mode": {"Type": "String", "Default": "observe", "Description": "observe or\n  enforce"},
    "SweepSchedule": {"Type": "String", "Default": "rate(15 minutes)", "Description": "how often"},
    "MaxChangesPerEdit": {"Type": "Number", "Default": 25, "Description": "how many"},
}


class Stacks:
    """CloudFormation's DescribeStacks."""

    def __init__(self, status: str = "UPDATE_COMPLETE", **parameters: str) -> None:
        self.status = status
        self.parameters = parameters

    def describe_stacks(self, StackName: str) -> Any:  # noqa: N803  # boto3's own name
        if self.status == "none":
            raise client_error("ValidationError", f"Stack with id {StackName} does not exist")
        if self.status == "denied":
            raise client_error("AccessDenied", "not authorized")
        rows = [{"ParameterKey": name, "ParameterValue": value} for name, value in self.parameters.items()]
        return {"Stacks": [{"StackStatus": self.status, "Parameters": rows}]}


def test_every_parameter_of_the_template_is_found_with_its_default() -> None:
    known = declared()
    assert known["Mode"]["Default"] == "observe"
    assert all("Default" in each for each in known.values())


def test_the_stacks_present_parameters_are_read() -> None:
    assert deployed(Stacks(Mode="enforce"), "rolekeeper") == {"Mode": "enforce"}


@pytest.mark.parametrize("status", ["none", "REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE"])
def test_a_stack_that_never_worked_has_none(status: str) -> None:
    assert deployed(Stacks(status), "rolekeeper") is None


def test_what_cant_be_read_is_never_taken_for_a_first_deployment() -> None:
    with pytest.raises(Exception, match="AccessDenied"):
        deployed(Stacks("denied"), "rolekeeper")


def test_what_is_deployed_stays_but_for_what_is_given() -> None:
    present = {"Mode": "enforce", "MaxChangesPerEdit": "50", "GoneParameter": "x"}
    assert merged(KNOWN, present, {"SweepSchedule": "rate(1 hour)"}) == {
        "Mode": "enforce",
        "SweepSchedule": "rate(1 hour)",
        "MaxChangesPerEdit": "50",
    }


def test_a_first_deployment_takes_the_templates_defaults() -> None:
    assert merged(KNOWN, {}, {}) == {"Mode": "observe", "SweepSchedule": "rate(15 minutes)", "MaxChangesPerEdit": "25"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Mode=enforce", {"Mode": "enforce"}),
        ("ParameterKey=Mode,ParameterValue=enforce", {"Mode": "enforce"}),
        ("SweepSchedule=rate(1 hour)", {"SweepSchedule": "rate(1 hour)"}),
        ('SweepSchedule="rate(1 hour)"', {"SweepSchedule": "rate(1 hour)"}),
        ("Mode=", {"Mode": ""}),
    ],
)
def test_a_parameter_is_given_as_the_sam_cli_takes_it(text: str, value: dict[str, str]) -> None:
    assert overrides([text], KNOWN) == value


@pytest.mark.parametrize("text", ["Mood=enforce", "Mode", ""])
def test_what_is_no_parameter_is_refused_with_those_that_there_are(text: str) -> None:
    with pytest.raises(ValueError, match="NAME=VALUE with one of Mode, SweepSchedule"):
        overrides([text], KNOWN)


def test_an_empty_answer_keeps_what_is_deployed(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []
    answers = iter(["", "rate(1 hour)", ""])

    def prompt(text: str) -> str:
        asked.append(text)
        return next(answers)

    found = ask(KNOWN, {"Mode": "enforce"}, prompt)
    assert found == {"Mode": "enforce", "SweepSchedule": "rate(1 hour)", "MaxChangesPerEdit": "25"}
    assert asked == ["Mode [enforce]: ", "SweepSchedule [rate(15 minutes)]: ", "MaxChangesPerEdit [25]: "]
    assert "Mode: observe or enforce" in capsys.readouterr().out


def test_each_parameter_is_shown_with_what_it_was() -> None:
    lines = told({"Mode": "observe", "AlarmEmail": ""}, {"Mode": "enforce", "AlarmEmail": "", "RolePath": "/x/"})
    assert lines.splitlines() == [
        "  Mode        enforce   (was observe)",
        "  AlarmEmail  (empty)",
        "  RolePath    /x/   (new)",
    ]
    assert told(None, {"Mode": "observe"}) == "  Mode  observe"


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
    known = declared()
    assert refused(known, {name: value}) == [f"{name}={value}: {known[name]['ConstraintDescription']}"]


def test_what_a_template_has_by_default_and_what_it_takes_is_not_refused() -> None:
    known = declared()
    assert refused(known, merged(known, {}, {"RolePath": "/org/roles/", "ChangesPerSecond": "12.5"})) == []


def test_nothing_is_built_for_a_parameter_that_would_be_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("boto3.Session.client", lambda *_, **__: Stacks("none"))
    monkeypatch.setattr("rolekeeper_cli.deploying.sam_deploy._sam", lambda *_: pytest.fail("it is built"))
    assert main(["--parameter-overrides", "RolePath=/aws-reserved/x/"]) == 2
    assert "RolePath=/aws-reserved/x/: must begin and end with a slash" in capsys.readouterr().err


def test_nothing_is_built_for_an_organization_that_the_account_isnt_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clients = {"cloudformation": Stacks(OrganizationId="o-example0000"), "organizations": Organizations()}
    monkeypatch.setattr("boto3.Session.client", lambda _, service, **__: clients[service])
    monkeypatch.setattr("rolekeeper_cli.deploying.sam_deploy._sam", lambda *_: pytest.fail("it is built"))
    assert main(["--parameter-overrides", "OrganizationId=o-wrongwrong1"]) == 253
    assert "is in the organization o-example0000, and can't be the hub of o-wrongwrong1" in capsys.readouterr().err

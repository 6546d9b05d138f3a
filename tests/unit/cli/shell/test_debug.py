"""`--debug`: what AWS is asked and answers, on stderr, and nothing that lets anybody in."""

import re

import boto3
import click
import pytest
from moto import mock_aws

from fixtures.terminal import Terminal
from rolekeeper_cli.options import Options
from rolekeeper_cli.shell import command as commands
from rolekeeper_cli.shell import debug
from rolekeeper_cli.shell.command import Root

KEY, SECRET, TOKEN = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIsASecret", "ATokenThatLetsYouIn"  # of nobody


@pytest.fixture
def session() -> boto3.Session:
    return boto3.Session(KEY, SECRET, TOKEN, region_name="us-east-1")


def test_each_call_is_a_line_with_its_answer(session: boto3.Session, capsys: pytest.CaptureFixture[str]) -> None:
    with mock_aws():
        debug.report(session, "http://127.0.0.1:4566")
        session.client("iam").list_roles(PathPrefix="/rolekeeper/")
        with pytest.raises(Exception, match="NoSuchEntity"):
            session.client("iam").get_role(RoleName="nosuch")
    about, where, *calls = capsys.readouterr().err.splitlines()
    assert about.startswith("debug: rolekeeper ")
    assert where == ("debug: profile default, Region us-east-1, http://127.0.0.1:4566, credentials from explicit")
    answered = [re.sub("[0-9]+ ms, request .+", "", each) for each in calls]
    assert answered == [
        'debug: iam ListRoles {"PathPrefix": "/rolekeeper/"}',
        "debug: iam ListRoles → 200 in ",
        'debug: iam GetRole {"RoleName": "nosuch"}',
        "debug: iam GetRole → 404 NoSuchEntity in ",
    ]


def test_no_credential_is_shown_and_what_is_long_is_cut(
    session: boto3.Session, capsys: pytest.CaptureFixture[str]
) -> None:
    with mock_aws():
        debug.report(session, None)
        role = "arn:aws:iam::123456789012:role/web"
        answer = session.client("sts").assume_role(RoleArn=role, RoleSessionName="me", TokenCode="123456")
        session.client("sqs").create_queue(QueueName="x" * 80, tags={"a": "b" * 250})
    shown = capsys.readouterr().err
    given = answer["Credentials"]
    secrets = (SECRET, TOKEN, '123456"', given["SecretAccessKey"], given["SessionToken"])
    assert [each for each in secrets if each in shown] == []
    assert "debug: sts AssumeRole\n" in shown
    assert max(map(len, shown.splitlines())) < 300


def test_it_is_asked_for_by_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    def shown(options: Options) -> str:
        with click.Context(Root("rolekeeper"), obj=options):
            _ = commands.deployment().session
        return capsys.readouterr().err

    assert shown(Options(region="us-east-1")) == ""
    assert "http://127.0.0.1:1" in shown(Options(region="us-east-1", endpoint_url="http://127.0.0.1:1", debug=True))


def test_an_error_is_shown_whole_before_its_two_lines(terminal: Terminal) -> None:
    plain, whole = (terminal("mapping", "get", "app=web", *more) for more in ([], ["--debug"]))
    assert (plain.exit_code, whole.exit_code, "Traceback" in plain.stderr) == (1, 1, False)
    assert "\nTraceback (most recent call last):\n" in whole.stderr
    assert whole.stderr.endswith(plain.stderr)

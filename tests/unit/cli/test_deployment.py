"""A deployment that is looked at for hours: what every page is about is asked once in a while, all else each time."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rolekeeper_cli.console.site import Cache
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.options import Options

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Aws:
    """CloudFormation and STS, with each call counted."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def describe_stacks(self, **_asked: Any) -> Any:
        self.calls.append("DescribeStacks")
        outputs = [{"OutputKey": each, "OutputValue": each} for each in ("MappingTable", "StateTable", "WorkQueue")]
        return {"Stacks": [{"Outputs": outputs, "StackStatus": "CREATE_COMPLETE", "CreationTime": START}]}

    def get_caller_identity(self) -> Any:
        self.calls.append("GetCallerIdentity")
        return {"Arn": "arn:aws:iam::1:user/me", "UserId": "id", "Account": "1"}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    made = Aws()
    monkeypatch.setattr(Deployment, "client", lambda *_: made)
    return made


def look(deployment: Deployment) -> None:
    _ = deployment.stack, deployment.caller


@pytest.fixture
def deployment(aws: Aws) -> Deployment:  # noqa: ARG001  # what it asks
    return Deployment(Options(region="eu-west-1"))


def test_ten_pages_ask_once_who_and_where_they_are_and_one_that_checks_asks_anew(
    deployment: Deployment, aws: Aws
) -> None:
    known = Cache()
    for _ in range(10):
        look(deployment.anew(known.get))
    assert aws.calls == ["DescribeStacks", "GetCallerIdentity"]
    look(deployment.anew())
    assert len(aws.calls) == 4


def test_where_aws_is_may_be_said_by_the_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("[profile lab]\nendpoint_url = http://127.0.0.1:4566\nregion = us-east-1\n[profile own]\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert Deployment(Options(profile="lab")).endpoint_url == "http://127.0.0.1:4566"
    assert Deployment(Options(profile="own")).endpoint_url == ""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://vpce.example.com")
    assert Deployment(Options(profile="lab")).endpoint_url == "https://vpce.example.com"

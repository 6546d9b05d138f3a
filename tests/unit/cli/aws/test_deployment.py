"""A deployment that is looked at for hours: what every page is about is asked once in a while, all else each time."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from rolekeeper.aws.errors import AwsRefusalError, classified
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import refusal
from rolekeeper_cli.console.cache import Cache
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


class Page(BytesIO):
    """The body of an answer, as urllib3 streams it."""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self.read()


ASKED = {"sts": "get_caller_identity", "dynamodb": "list_tables", "ec2": "describe_instances"}
ASKED["cloudformation"] = "describe_stacks"
type Answers = Callable[..., Deployment]


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """A deployment whose every call is answered with a body."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")

    def with_answer(body: bytes, kind: str = "") -> Deployment:
        made = Deployment(Options(region="us-east-1"))
        headers: Any = {"content-type": kind}

        def answer(request: Any, **_: object) -> Any:
            return AWSResponse(request.url, 200, headers, Page(body))

        made.session.events.register("before-send", answer)
        return made

    return with_answer


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html; charset=utf-8", b"<!-- a portal --><html><body>Sign in</body></html>"),
        ("", b"<!doctype html><title>Sign in to the network<p>"),
        ("text/plain", b'<?xml version="1.0"?>\n<!DOCTYPE html><html></html>'),
    ],
)
@pytest.mark.parametrize("service", ASKED)
def test_a_page_in_place_of_awss_answer_is_said_to_be_none(
    answered: Answers, service: str, kind: str, body: bytes
) -> None:
    """Most services' parsers take it for an empty answer: no instance, no mapping."""
    client = answered(body, kind).client(service)
    with pytest.raises(AwsRefusalError) as refused, classified("x:Ask", "*"):
        getattr(client, ASKED[service])()
    assert refusal(refused.value).what == "what answered isn't AWS"


def test_long_answers_are_parsed_quickly_unless_all_of_them_is_wanted(answered: Answers) -> None:
    body = b"<R><reservationSet><item><ownerId>1</ownerId></item></reservationSet></R>"
    quick, whole = answered(body), answered(body)
    whole.take_whole_answers()
    found = [each.client("ec2").describe_instances()["Reservations"] for each in (quick, whole)]
    assert found == [[{}], [{"OwnerId": "1"}]]


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

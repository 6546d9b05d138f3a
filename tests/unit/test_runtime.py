"""How a function starts: what it imports, which clients it makes, and when garbage is collected again."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.awsrequest import AWSResponse

import runtime
from rolekeeper.app import no_client
from rolekeeper.aws import CONFIG, ELSEWHERE
from rolekeeper.model.instance import Target
from support import templates

FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:rolekeeper"
LOOK = {"app", "aws", "instances", "lazy", "mail", "model", "settings", "storage", "telemetry"}
JUDGE = LOOK | {"mappings", "permissions"}
# By function: the parts that it asks for, and the packages that it may import for them.
STARTS = {
    "on_instance_event": ("app.reconciler(), app.telemetry", LOOK),
    "on_retry": ("app.reconciler(in_loop=True), app.telemetry", LOOK),
    "on_mapping_change": ("app.publisher, app.telemetry", JUDGE),
    "on_schedule": (
        "app.sweep('id', lambda: 1.0, 'run', {}), app.expiries('id', waits=True), app.telemetry",
        JUDGE | {"fleet"},
    ),
    "on_state_change": ("app.overrides, app.telemetry", JUDGE | {"fleet"}),
}
# A fresh process, as Lambda starts one: no client is made, as none could be without a Region.
START = f"""
import json, sys
import {{function}}
import gc, runtime
collects = [gc.isenabled()]
app = runtime.app({FUNCTION!r})
collects.append(gc.isenabled())
parts = {{parts}}
modules = [name for name, each in sys.modules.items() if not hasattr(each, "__path__")]
ours = sorted({{{{name.split(".")[1] for name in modules if name.startswith("rolekeeper.")}}}})
print(json.dumps([collects, gc.get_freeze_count() > 0, ours, sorted(sys.modules)]))
"""


@cache
def start(function: str) -> Any:
    """Start a function, and have its parts made; what it says of garbage collection, our packages, and all modules."""
    variables = templates.load()["Globals"]["Function"]["Environment"]["Variables"]
    words = {"PATH": os.environ["PATH"], "MODE": "observe", "POWERTOOLS_LOG_LEVEL": "INFO"}
    environ = {**dict.fromkeys(variables, "1"), **words}
    code = START.format(function=function, parts=STARTS[function][0])
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("function", STARTS)
def test_a_function_imports_its_own_packages_and_of_libraries_what_it_uses(function: str) -> None:
    _, _, ours, modules = start(function)
    assert set(ours) == STARTS[function][1]
    unused = ("boto3", "s3transfer", "aws_lambda_powertools.utilities.batch", "aws_lambda_powertools.event_handler")
    assert [each for each in modules if each.startswith(unused)] == []


def test_garbage_is_collected_from_the_first_invocation_on_and_what_the_start_made_is_left_alone() -> None:
    collects, frozen, *_ = start("on_instance_event")
    assert collects == [False, True]
    assert frozen


def test_every_function_of_the_template_is_known_here() -> None:
    handlers = [
        each["Properties"]["Handler"]
        for each in templates.load()["Resources"].values()
        if each["Type"] == "AWS::Serverless::Function"
    ]
    assert sorted(handlers) == sorted(f"{function}.handler" for function in STARTS)


# ---- the records of a stream ----


def test_a_record_that_fails_is_reported_and_logged_and_the_others_are_acted_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logged: list[tuple[str, str]] = []
    monkeypatch.setattr(
        runtime, "logger", SimpleNamespace(exception=lambda text, extra: logged.append((text, extra["event_id"])))
    )
    acted: list[str] = []

    def act(record: Mapping[str, Any]) -> None:
        acted.append(record["eventID"])
        if record["eventID"] == "b":
            raise ValueError("a bug")

    records = [{"eventID": each, "dynamodb": {"SequenceNumber": f"number-{each}"}} for each in "abc"]
    assert runtime.each_record({"Records": records}, act) == {"batchItemFailures": [{"itemIdentifier": "number-b"}]}
    assert acted == ["a", "b", "c"]
    assert logged == [("a record failed", "b")]


# ---- clients ----


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The clients that were really made."""
    names: list[str] = []
    session = runtime._session()  # noqa: SLF001
    create = session.create_client

    def created(service: str, **how: Any) -> Any:
        names.append(service)
        return create(service, **how)

    monkeypatch.setattr(session, "create_client", created)
    runtime.client.cache_clear()
    return names


def test_a_client_is_made_when_it_is_first_used_and_once(made: list[str]) -> None:
    ec2, _ = runtime.client("ec2"), runtime.client("events")
    assert made == []
    assert ec2.meta.region_name == "us-east-1"
    assert ec2.get_paginator("describe_instances")
    assert made == ["ec2"]
    assert runtime.client("ec2") is ec2


class _SentError(Exception):
    """The request would be on its way."""


def test_a_client_sends_what_it_is_given_and_leaves_checking_to_the_tests(made: list[str]) -> None:
    def sent(**_: Any) -> None:
        raise _SentError

    sqs = runtime.client("sqs")
    sqs.meta.events.register("before-send", sent)
    with pytest.raises(_SentError):
        sqs.send_message_batch(QueueUrl="https://queue")  # its Entries are missing
    assert made == ["sqs"]
    assert sqs.meta.config.read_timeout == vars(CONFIG)["read_timeout"]


def test_a_client_parses_long_answers_quickly(made: list[str]) -> None:
    ec2, body = runtime.client("ec2"), b"<R><reservationSet><item><ownerId>1</ownerId></item></reservationSet></R>"
    headers: Any = {}
    answer = AWSResponse("https://aws", 200, headers, Mock(stream=lambda: iter([body])))
    ec2.meta.events.register("before-send", lambda **_: answer)
    assert ec2.describe_instances()["Reservations"] == [{}]  # botocore would have the owner
    assert made == ["ec2"]


def test_a_hub_has_clients_in_other_targets_with_less_patience_and_any_other_deployment_none(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = templates.load()["Globals"]["Function"]["Environment"]["Variables"]
    for name, value in {**dict.fromkeys(variables, "1"), "MODE": "observe"}.items():
        monkeypatch.setenv(name, value)
    answers: dict[str, Any] = {"AccessKeyId": "a", "SecretAccessKey": "b", "SessionToken": "c"}
    answers["Expiration"] = runtime.now() + timedelta(hours=1)
    asked: list[dict[str, Any]] = []

    def assume(_client: Any, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        asked.append({"operation": operation, **arguments})
        return {"Credentials": answers}

    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", assume)
    monkeypatch.setenv("ORGANIZATION_ID", "")
    runtime.settings.cache_clear()
    assert runtime.app(FUNCTION).client_of is no_client
    monkeypatch.setenv("ORGANIZATION_ID", "o-embeddedaws")
    monkeypatch.setenv("SPOKE_SESSION", "rolekeeper-sweep")
    runtime.settings.cache_clear()
    runtime.sessions.cache_clear()
    app = runtime.app(FUNCTION)
    there = app.at(Target("111111111111", "eu-west-2"))
    client = there.ec2.client
    assert made == []
    patience: Any = client.meta.config
    assert patience.read_timeout == vars(ELSEWHERE)["read_timeout"] < vars(CONFIG)["read_timeout"]
    assert client.meta.region_name == "eu-west-2"
    assert made == ["sts", "ec2"]
    app.forget(there.settings)
    assert client.meta.region_name == "eu-west-2"
    asks = ("arn:aws:iam::111111111111:role/1-reader", "rolekeeper-sweep")
    assert [(each["RoleArn"], each["RoleSessionName"]) for each in asked] == [asks] * 2
    runtime.settings.cache_clear()
    runtime.sessions.cache_clear()


def test_a_client_that_could_not_be_made_says_why_and_is_tried_again(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(runtime, "_UNCHECKED", "no configuration")
        with pytest.raises(AttributeError, match="'str' object"):
            _ = runtime.client("sqs").meta
    assert runtime.client("sqs").meta.service_model.service_name == "sqs"
    assert made == ["sqs", "sqs"]

"""A verification as a whole: what ends it, what it says at its end, and how long it waits for AWS."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import click
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError
from click.testing import CliRunner

from fixtures.mappings import session
from fixtures.verification import CALLER
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.options import Options
from rolekeeper_verify import command as verify
from rolekeeper_verify import removal, run
from rolekeeper_verify.aws import wait_out
from rolekeeper_verify.machine import Machine
from rolekeeper_verify.names import Names
from rolekeeper_verify.removal import Found
from rolekeeper_verify.view import Outcome, Report, Step

MACHINE = Machine("t3.nano", "x86_64", subnets=("subnet-1",), vpc="vpc-1", image="ami-1")
NOTHING = Found([], [], [], [], {})


class Verified:
    """A verification whose deployment and removal are played: each ends as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        deployment = Deployment(Options())
        monkeypatch.setitem(deployment.__dict__, "session", session())
        monkeypatch.setitem(deployment.__dict__, "caller", CALLER)
        self.deploy: Callable[[], Any] = lambda: None
        self.remove: Callable[[], Any] = lambda: None
        monkeypatch.setattr(run, "deploy", lambda *_: self.deploy())
        monkeypatch.setattr(removal, "remove", lambda *_: [self.remove()] * 0)
        monkeypatch.setattr(removal, "find", lambda *_: NOTHING)
        ignore: Any = lambda _: None  # noqa: E731  # three of them
        self.made = run.Verification(
            deployment, Names("abc123"), patience=1, trail_patience=0, begins=ignore, ended=ignore, removed=ignore
        )

    def run(self) -> Report:
        with suppress(KeyboardInterrupt, ZeroDivisionError):
            self.made.run(MACHINE)
        return self.made.report


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> Verified:
    return Verified(monkeypatch)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError("a bug")])
def test_whatever_ends_it_all_is_removed_and_it_has_failed(verified: Verified, error: BaseException) -> None:
    verified.deploy = Mock(side_effect=error)
    report = verified.run()
    assert [(each.name, each.outcome) for each in report.steps] == [("end", "failed"), ("removal", "passed")]
    assert (report.outcome, report.left) == ("failed", [])


def test_an_interrupted_removal_claims_nothing(verified: Verified) -> None:
    """Ctrl-C while things are removed: what is left isn't known, and so it isn't nothing."""
    verified.deploy = verified.remove = Mock(side_effect=KeyboardInterrupt())
    report = verified.run()
    assert report.left == ["unknown: the removal was interrupted"]
    assert (report.outcome, [each.name for each in report.steps]) == ("failed", ["end"])


@pytest.mark.parametrize(
    ("outcomes", "left", "code", "says"),
    [
        (["passed"] * 3, [], ExitCode.DONE, "3 passed."),
        (["passed", "skipped"], [], ExitCode.UNPROVEN, "1 passed, 1 skipped: step-1. What these prove isn't proven"),
        (["passed", "skipped", "failed"], [], ExitCode.NO, "Failed: step-2. 1 passed, 1 failed, 1 skipped: step-1."),
        (["passed"], ["a bucket"], ExitCode.NO, "1 passed"),
    ],
)
def test_a_skipped_step_is_named_and_has_an_exit_code_of_its_own(
    outcomes: list[str], left: list[str], code: ExitCode, says: str
) -> None:
    step = Step(name="", what="", outcome=Outcome.PASSED, seconds=1, why="")
    steps = [step.but(name=f"step-{at}", outcome=Outcome(each)) for at, each in enumerate(outcomes)]
    report = Report.of(steps, left, id="abc123", version="1", region="us-east-1", began="")
    ends = click.Command("end", callback=lambda: click.get_current_context().exit(verify._end(report)))  # noqa: SLF001  # the command's end
    ran = CliRunner().invoke(ends, obj=Options())
    assert (ran.exit_code, says in ran.stderr) == (code, True), ran.stderr


# ---- AWS's throttles and faults, on a client of botocore's ----


class Wire:
    """What AWS answers, one status and code after the other; sleeping takes no time, and is counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *codes: tuple[int, str]) -> None:
        self.answers: Iterator[tuple[int, str]] = iter(codes)
        self.sent, self.now = 0, 0.0
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        monkeypatch.setattr("rolekeeper_verify.aws.time", clock)
        monkeypatch.setattr("botocore.endpoint.time", clock)
        self.session = session()
        wait_out(self.session.events, 180)
        self.client = self.session.client("sqs")
        self.client.meta.events.register("before-send", self.send)  # type: ignore[arg-type]  # its answer is taken

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.1)

    def send(self, **_: object) -> AWSResponse:
        self.sent += 1
        status, code = next(self.answers, (200, ""))
        body = json.dumps({"__type": code, "message": ""} if code else {"QueueUrls": []}).encode()
        raw: Any = SimpleNamespace(stream=lambda **_: iter([body]))
        return AWSResponse("http://sqs", status, HTTPHeaders(), raw=raw)


@pytest.mark.parametrize("code", [(400, "ThrottlingException"), (503, "ServiceUnavailable"), (500, "InternalError")])
def test_what_aws_refuses_for_a_while_is_asked_again_within_the_patience(
    monkeypatch: pytest.MonkeyPatch, code: tuple[int, str]
) -> None:
    wire = Wire(monkeypatch, *[code] * 30)
    wire.client.list_queues()
    assert wire.sent == 31
    wire = Wire(monkeypatch, *[code] * 10_000)
    with pytest.raises(ClientError):
        wire.client.list_queues()
    assert 180 < wire.now < 200


@pytest.mark.parametrize("code", [(403, "AccessDenied"), (500, "InsufficientInstanceCapacity")])
def test_what_stays_refused_is_not_asked_again(monkeypatch: pytest.MonkeyPatch, code: tuple[int, str]) -> None:
    wire = Wire(monkeypatch, *[code] * 100)
    with pytest.raises(ClientError):
        wire.client.list_queues()
    assert wire.sent < 10, "the SDK's own attempts"

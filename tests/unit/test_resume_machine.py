"""The resume machine: parseable as it stands, bounded, and run by moto's interpreter."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.machines import MachineOnMoto, on_moto
from rolekeeper.aws import errors
from support import templates

TEXT = (Path(__file__).parents[2] / "statemachines/resume.asl.json").read_text()
MACHINE: dict[str, Any] = json.loads(TEXT)
RUN: dict[str, Any] = MACHINE["States"]["Run"]
RESOURCES = templates.load()["Resources"]
STATE = {"task": "sweep", "id": "sweep-1", "instances": 200, "finished": False, "rest": {"token": "page 2"}}

# Step Functions keeps at most this many events of an execution (AWS_FACTS.md, "Step Functions").
HISTORY = 25_000
# Task: entered, scheduled, started, succeeded, exited. Choice: entered, exited.
EVENTS_PER_RUN = 5 + 2
# A run that hands over has had so long (seconds): `RESERVE` is kept of the function's time.
RUN_AT_LEAST = 300


# ---- as it stands ----


def test_the_template_substitutes_what_the_machine_leaves_open() -> None:
    substitutions = RESOURCES["ResumeStateMachine"]["Properties"]["DefinitionSubstitutions"]
    assert set(re.findall(r"\$\{(\w+)\}", TEXT)) == set(substitutions)


def test_what_is_tried_again_is_lambdas_own_trouble_or_an_error_of_ours_that_says_so() -> None:
    [retry] = RUN["Retry"]
    ours = {name for name in retry["ErrorEquals"] if "." not in name}
    passing: list[type] = [errors.RetryableError, *errors.RetryableError.__subclasses__()]
    assert ours == {each.__name__ for each in passing}, "Lambda names an error by its class"
    assert {"Lambda.Unknown", "Sandbox.Timedout"} <= set(retry["ErrorEquals"]), "a run that died, or ran out of time"
    assert not [name for name in retry["ErrorEquals"] if name.startswith("States.")]
    assert (retry["MaxAttempts"], retry["MaxDelaySeconds"], retry["JitterStrategy"]) == (10, 300, "FULL")
    assert (retry["IntervalSeconds"], retry["BackoffRate"]) == (5, 2), "some twenty minutes in all"
    lambdas = {"ServiceException", "AWSLambdaException", "SdkClientException", "TooManyRequestsException"}
    assert {f"Lambda.{each}" for each in (*lambdas, "ClientExecutionTimeoutException")} <= set(retry["ErrorEquals"])


def test_every_way_that_a_run_can_fail_is_caught_and_its_dead_letter_sent_again() -> None:
    """Step Functions' own names: a task's time-out isn't States.TaskFailed (developer guide, "Error names")."""
    [caught] = RUN["Catch"]
    assert (set(caught["ErrorEquals"]), caught["Next"]) == (
        {"States.TaskFailed", "States.Timeout"},
        "HandToDeadLetters",
    )
    [again] = MACHINE["States"]["HandToDeadLetters"]["Retry"]
    assert set(again["ErrorEquals"]) == {"SQS.SdkClientException", "SQS.AmazonSQSException"}
    assert again["MaxAttempts"] == 6


def test_the_longest_execution_fits_its_history() -> None:
    assert MACHINE["TimeoutSeconds"] / RUN_AT_LEAST * EVENTS_PER_RUN < 0.75 * HISTORY
    assert MACHINE["TimeoutSeconds"] == 24 * 3600, "a fleet of a million instances needs hours"


def test_lambda_is_heard_before_the_machines_step_times_out() -> None:
    assert RESOURCES["OnSchedule"]["Properties"]["Timeout"] < RUN["TimeoutSeconds"]


# ---- run ----


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[MachineOnMoto]:
    with on_moto(monkeypatch):
        yield MachineOnMoto(monkeypatch, "resume", "OnScheduleFunctionArn")


def following(state: dict[str, Any]) -> dict[str, Any]:
    """A page more; the fourth is the last."""
    seen = state["instances"] + 200
    return {**state, "instances": seen, "finished": seen >= 800, "rest": {"token": f"page {seen // 200 + 1}"}}


def test_run_follows_run_with_what_the_last_one_answered_until_it_is_finished(machine: MachineOnMoto) -> None:
    ended = machine.run(STATE, following)

    assert ended["status"] == "SUCCEEDED"
    assert [each["rest"]["token"] for each in machine.asked] == ["page 2", "page 3", "page 4"]
    assert json.loads(ended["output"])["instances"] == 800


def test_a_run_that_fails_is_made_again_from_the_state_with_which_it_began(machine: MachineOnMoto) -> None:
    troubles: list[Exception] = [errors.RetryableError("Throttling", ""), errors.NoResponseError("NoAnswer", "")]

    def answer(state: dict[str, Any]) -> dict[str, Any]:
        if state["rest"]["token"] == "page 3" and troubles:  # no secret
            raise troubles.pop()
        return following(state)

    ended = machine.run(STATE, answer)

    assert ended["status"] == "SUCCEEDED"
    assert [each["rest"]["token"] for each in machine.asked] == ["page 2", "page 3", "page 3", "page 3", "page 4"]


def test_what_cant_come_good_by_itself_becomes_a_dead_letter_as_lambda_writes_one(machine: MachineOnMoto) -> None:
    def answer(_state: dict[str, Any]) -> dict[str, Any]:
        raise errors.AccessDeniedError("AccessDenied", "no")

    ended = machine.run(STATE, answer)

    assert ended["status"] == "FAILED"
    assert len(machine.asked) == 1
    [message] = machine.sqs.receive_message(QueueUrl=machine.dead_letters)["Messages"]
    letter = json.loads(message["Body"])
    assert letter["requestPayload"].items() >= STATE.items()
    assert letter["responsePayload"] == {"errorMessage": "AccessDeniedError"}

"""The retry loop's machine: parseable as it stands, bounded, and run by moto's interpreter."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import state_task_service_sqs

from fixtures.machines import Answer, MachineOnMoto, on_moto
from support import templates

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "statemachines/retry.asl.json").read_text()
MACHINE: dict[str, Any] = json.loads(TEXT)
STATES: dict[str, dict[str, Any]] = MACHINE["States"]
TICK: dict[str, Any] = json.loads((ROOT / "events/retry-tick.json").read_text())

# Step Functions keeps at most this many events of an execution (AWS_FACTS.md, "Step Functions").
HISTORY = 25_000
# Wait and Choice: entered, exited. Task: entered, scheduled, started, succeeded, exited.
EVENTS_PER_LOOP = 2 + 5 + 2
# Full jitter under a cap of 60 s.
AVERAGE_WAIT = 30


TEMPLATE = templates.load()


# ---- as it stands ----


def test_the_template_substitutes_what_the_machine_leaves_open() -> None:
    substitutions = TEMPLATE["Resources"]["RetryStateMachine"]["Properties"]["DefinitionSubstitutions"]
    assert set(re.findall(r"\$\{(\w+)\}", TEXT)) == set(substitutions)


def test_only_errors_with_a_name_are_tried_again_a_bounded_number_of_times() -> None:
    retries = [retry for state in STATES.values() for retry in state.get("Retry", [])]
    assert retries
    for retry in retries:
        assert not [name for name in retry["ErrorEquals"] if name.startswith("States.")]
        assert (retry["IntervalSeconds"], retry["BackoffRate"], retry["MaxAttempts"]) == (2, 2, 6), "for two minutes"
        assert retry["MaxDelaySeconds"] == 60
        assert retry["JitterStrategy"] == "FULL"


# Of Lambda itself, of which a second try knows nothing (Step Functions developer guide, "Handle transient Lambda
# service exceptions"); one that died or ran out of time; throttled.
LAMBDAS = {
    *("Lambda.ServiceException", "Lambda.AWSLambdaException", "Lambda.SdkClientException", "Lambda.Unknown"),
    *("Lambda.ClientExecutionTimeoutException", "Lambda.TooManyRequestsException", "Sandbox.Timedout"),
}


def test_lambdas_own_troubles_are_tried_again_and_no_fault_of_ours() -> None:
    [retry] = STATES["Reconcile"]["Retry"]
    assert set(retry["ErrorEquals"]) == LAMBDAS


def test_a_loop_waits_as_long_as_it_is_told() -> None:
    assert STATES["Wait"] == {**STATES["Wait"], "Type": "Wait", "SecondsPath": "$.wait_seconds"}


def test_every_way_that_a_look_can_fail_is_caught() -> None:
    """Step Functions' own names: a task's time-out isn't States.TaskFailed (developer guide, "Error names")."""
    [caught] = STATES["Reconcile"]["Catch"]
    assert {"States.TaskFailed", "States.Timeout"} <= set(caught["ErrorEquals"])
    assert caught["Next"] == "HandToDeadLetters"


def test_a_dead_letter_is_sent_again_for_the_errors_that_the_sqs_integration_names() -> None:
    """The interpreter's names were recorded from Step Functions (LocalStack's snapshot tests)."""
    [retry] = STATES["HandToDeadLetters"]["Retry"]
    named = {state_task_service_sqs._ERROR_NAME_CLIENT, state_task_service_sqs._ERROR_NAME_AWS}  # noqa: SLF001
    assert set(retry["ErrorEquals"]) == named


def test_the_longest_loop_fits_its_history_and_its_timeout() -> None:
    longest = TEMPLATE["Parameters"]["RetryTimeoutMinutes"]["MaxValue"] * 60
    assert longest / AVERAGE_WAIT * EVENTS_PER_LOOP < 0.75 * HISTORY
    assert MACHINE["TimeoutSeconds"] > longest


# ---- run ----


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[MachineOnMoto]:
    with on_moto(monkeypatch):
        yield MachineOnMoto(monkeypatch, "retry", "OnRetryFunctionArn")


def run(room: MachineOnMoto, answer: Answer) -> dict[str, Any]:
    """A loop with the sample tick, without its wait."""
    return room.run({**TICK, "wait_seconds": 0}, answer)


def test_an_instance_is_asked_about_until_it_is_done(room: MachineOnMoto) -> None:
    def answer(tick: dict[str, Any]) -> dict[str, Any]:
        attempt = tick["attempt"] + 1
        return {**tick, "attempt": attempt, "outcome": "waiting" if attempt < 3 else "done"}

    ended = run(room, answer)

    assert ended["status"] == "SUCCEEDED"
    assert [tick["attempt"] for tick in room.asked] == [0, 1, 2]
    assert json.loads(ended["output"])["instance"] == TICK["instance"]


@pytest.mark.parametrize("outcome", ["done", "parked", "gone"])
def test_whatever_is_not_waiting_ends_the_loop(room: MachineOnMoto, outcome: str) -> None:
    ended = run(room, lambda tick: {**tick, "outcome": outcome})

    assert ended["status"] == "SUCCEEDED"
    assert len(room.asked) == 1


def test_a_fault_of_ours_is_not_repeated_but_leaves_a_request_that_can_be_redriven(room: MachineOnMoto) -> None:
    def answer(_tick: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("boom")

    ended = run(room, answer)

    assert ended["status"] == "FAILED"
    assert len(room.asked) == 1
    [message] = room.sqs.receive_message(QueueUrl=room.dead_letters)["Messages"]
    request = json.loads(message["Body"])
    sample = json.loads((ROOT / "events/reconcile-requested.json").read_text())
    assert request.keys() == sample.keys()
    assert request["detail"].keys() == sample["detail"].keys() | {"loop-failed"}
    assert (request["source"], request["detail-type"]) == (sample["source"], sample["detail-type"])
    assert request["resources"] == sample["resources"]
    assert request["detail"]["instance-id"] == TICK["instance"]["id"]
    assert request["detail"]["correlation-id"] == TICK["correlation_id"]
    assert TICK["cause"] in request["detail"]["cause"]

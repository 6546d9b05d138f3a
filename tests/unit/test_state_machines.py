"""The machines of the retry loop and of resumed runs: parseable, bounded, and run by moto's interpreter."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import state_task_service_sqs

from fixtures.machines import Answer, MachineOnMoto, on_moto
from rolekeeper.aws import errors
from support import templates

ROOT = Path(__file__).parents[2]
TEXTS = {name: (ROOT / f"statemachines/{name}.asl.json").read_text() for name in ("retry", "resume", "accounts")}
RETRY, RESUME = (json.loads(TEXTS[name]) for name in ("retry", "resume"))
RECONCILE, RUN = RETRY["States"]["Reconcile"], RESUME["States"]["Run"]
TEMPLATE = templates.load()
RESOURCES = TEMPLATE["Resources"]
TICK: dict[str, Any] = json.loads((ROOT / "events/retry-tick.json").read_text())
STATE = {"task": "sweep", "id": "sweep-1", "instances": 200, "finished": False, "rest": {"token": "page 2"}}
both = pytest.mark.parametrize("machine", [RETRY, RESUME], ids=["retry", "resume"])


# ---- as they stand ----


@pytest.mark.parametrize("name", TEXTS)
def test_the_template_substitutes_what_a_machine_leaves_open(name: str) -> None:
    substitutions = RESOURCES[f"{name.capitalize()}StateMachine"]["Properties"]["DefinitionSubstitutions"]
    assert set(re.findall(r"\$\{(\w+)\}", TEXTS[name])) == set(substitutions)


# Of Lambda itself, of which a second try knows nothing (Step Functions developer guide, "Handle transient Lambda
# service exceptions"); one that died or ran out of time; throttled.
LAMBDAS = {
    *("Lambda.ServiceException", "Lambda.AWSLambdaException", "Lambda.SdkClientException", "Lambda.Unknown"),
    *("Lambda.ClientExecutionTimeoutException", "Lambda.TooManyRequestsException", "Sandbox.Timedout"),
}


def test_lambdas_own_troubles_are_tried_again_and_of_ours_those_that_say_so() -> None:
    """Lambda names an error by its class. A loop's are left to its next look."""
    passing: list[type] = [errors.RetryableError, *errors.RetryableError.__subclasses__()]
    [of_loop], [of_run] = RECONCILE["Retry"], RUN["Retry"]
    assert set(of_loop["ErrorEquals"]) == LAMBDAS
    assert set(of_run["ErrorEquals"]) == LAMBDAS | {error.__name__ for error in passing}


def test_tries_are_bounded_with_jitter() -> None:
    [of_loop], [of_run] = RECONCILE["Retry"], RUN["Retry"]
    [letters] = RETRY["States"]["HandToDeadLetters"]["Retry"]
    for retry, seconds, times, most in ((of_loop, 2, 6, 60), (letters, 2, 6, 60), (of_run, 5, 10, 300)):
        assert (retry["IntervalSeconds"], retry["BackoffRate"], retry["MaxAttempts"]) == (seconds, 2, times)
        assert (retry["MaxDelaySeconds"], retry["JitterStrategy"]) == (most, "FULL")


def test_a_loop_waits_as_long_as_it_is_told() -> None:
    assert RETRY["States"]["Wait"] == {**RETRY["States"]["Wait"], "Type": "Wait", "SecondsPath": "$.wait_seconds"}


@pytest.mark.parametrize("step", [RECONCILE, RUN], ids=["retry", "resume"])
def test_every_way_that_a_step_can_fail_is_caught(step: dict[str, Any]) -> None:
    """Step Functions' own names: a task's time-out isn't States.TaskFailed (developer guide, "Error names")."""
    [caught] = step["Catch"]
    assert {"States.TaskFailed", "States.Timeout"} <= set(caught["ErrorEquals"])
    assert caught["Next"] == "HandToDeadLetters"


@both
def test_a_dead_letter_is_sent_again_for_the_errors_that_the_sqs_integration_names(machine: dict[str, Any]) -> None:
    """The interpreter's names were recorded from Step Functions (LocalStack's snapshot tests)."""
    [retry] = machine["States"]["HandToDeadLetters"]["Retry"]
    named = {state_task_service_sqs._ERROR_NAME_CLIENT, state_task_service_sqs._ERROR_NAME_AWS}  # noqa: SLF001
    assert (set(retry["ErrorEquals"]), retry["MaxAttempts"]) == (named, 6)


def test_the_longest_execution_fits_its_history() -> None:
    """Step Functions keeps at most 25,000 events of one (AWS_FACTS.md, "Step Functions").

    A task is entered, scheduled, started, succeeds and is exited; a wait and a choice are entered and exited.
    """
    longest = TEMPLATE["Parameters"]["RetryTimeoutMinutes"]["MaxValue"] * 60
    assert RETRY["TimeoutSeconds"] > longest
    assert longest / 30 * (2 + 5 + 2) < 0.75 * 25_000, "full jitter under a cap of 60 s"
    assert RESUME["TimeoutSeconds"] == 24 * 3600, "a fleet of a million instances needs hours"
    # A run that hands over has had 300 seconds: `RESERVE` is kept of the function's time.
    assert RESUME["TimeoutSeconds"] / 300 * (5 + 2) < 0.75 * 25_000


# ---- run ----


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], MachineOnMoto]]:
    functions = {"retry": "OnRetryFunctionArn", "resume": "OnScheduleFunctionArn"}
    with on_moto(monkeypatch):
        yield lambda name: MachineOnMoto(monkeypatch, name, functions[name])


@pytest.fixture
def loop(start: Callable[[str], MachineOnMoto]) -> MachineOnMoto:
    return start("retry")


@pytest.fixture
def runs(start: Callable[[str], MachineOnMoto]) -> MachineOnMoto:
    return start("resume")


def failing_with(error: Exception) -> Answer:
    def answer(_state: dict[str, Any]) -> dict[str, Any]:
        raise error

    return answer


def dead_letter(machine: MachineOnMoto) -> Any:
    [message] = machine.sqs.receive_message(QueueUrl=machine.dead_letters)["Messages"]
    return json.loads(message["Body"])


def test_an_instance_is_asked_about_until_it_is_done(loop: MachineOnMoto) -> None:
    def answer(tick: dict[str, Any]) -> dict[str, Any]:
        attempt = tick["attempt"] + 1
        return {**tick, "attempt": attempt, "outcome": "waiting" if attempt < 3 else "done"}

    ended = loop.run({**TICK, "wait_seconds": 0}, answer)
    assert ended["status"] == "SUCCEEDED"
    assert [tick["attempt"] for tick in loop.asked] == [0, 1, 2]
    assert json.loads(ended["output"])["instance"] == TICK["instance"]


@pytest.mark.parametrize("outcome", ["done", "parked", "gone"])
def test_whatever_is_not_waiting_ends_the_loop(loop: MachineOnMoto, outcome: str) -> None:
    ended = loop.run({**TICK, "wait_seconds": 0}, lambda tick: {**tick, "outcome": outcome})
    assert (ended["status"], len(loop.asked)) == ("SUCCEEDED", 1)


def test_a_fault_of_ours_is_not_repeated_but_leaves_a_request_that_can_be_redriven(loop: MachineOnMoto) -> None:
    ended = loop.run({**TICK, "wait_seconds": 0}, failing_with(RuntimeError("boom")))
    assert (ended["status"], len(loop.asked)) == ("FAILED", 1)
    request, sample = dead_letter(loop), json.loads((ROOT / "events/reconcile-requested.json").read_text())
    assert request.keys() == sample.keys()
    assert request["detail"].keys() == sample["detail"].keys() | {"loop-failed"}
    assert [request[name] for name in ("source", "detail-type", "resources")] == [
        sample[name] for name in ("source", "detail-type", "resources")
    ]
    assert request["detail"]["instance-id"] == TICK["instance"]["id"]
    assert request["detail"]["correlation-id"] == TICK["correlation_id"]
    assert TICK["cause"] in request["detail"]["cause"]


def following(state: dict[str, Any]) -> dict[str, Any]:
    """A page more; the fourth is the last."""
    seen = state["instances"] + 200
    return {**state, "instances": seen, "finished": seen >= 800, "rest": {"token": f"page {seen // 200 + 1}"}}


def test_run_follows_run_with_what_the_last_one_answered_and_one_that_fails_is_made_again(runs: MachineOnMoto) -> None:
    troubles: list[Exception] = [errors.RetryableError("Throttling", ""), errors.NoResponseError("NoAnswer", "")]

    def answer(state: dict[str, Any]) -> dict[str, Any]:
        if state["rest"]["token"] == "page 3" and troubles:  # no secret
            raise troubles.pop()
        return following(state)

    ended = runs.run(STATE, answer)
    assert (ended["status"], json.loads(ended["output"])["instances"]) == ("SUCCEEDED", 800)
    assert [state["rest"]["token"] for state in runs.asked] == ["page 2", "page 3", "page 3", "page 3", "page 4"]


def test_what_a_retry_cant_fix_becomes_a_dead_letter_as_lambda_writes_one(runs: MachineOnMoto) -> None:
    ended = runs.run(STATE, failing_with(errors.AccessDeniedError("AccessDenied", "no")))
    assert (ended["status"], len(runs.asked)) == ("FAILED", 1)
    letter = dead_letter(runs)
    assert letter["requestPayload"].items() >= STATE.items()
    assert letter["responsePayload"] == {"errorMessage": "AccessDeniedError"}

"""The accounts machine: parseable as it stands, bounded, and run by moto's interpreter."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import on_schedule
from fixtures.machines import MachineOnMoto, on_moto
from rolekeeper.aws import errors
from rolekeeper.fleet.sweep import RESERVE
from rolekeeper_cli.doctor.stack import IN_ACCOUNTS
from support import templates

MACHINES = Path(__file__).parents[2] / "statemachines"
MACHINE: dict[str, Any] = json.loads((MACHINES / "accounts.asl.json").read_text())
STATES: dict[str, Any] = MACHINE["States"]
CHILD: dict[str, Any] = STATES["Each"]["ItemProcessor"]["States"]["Run"]
RESUMED: dict[str, Any] = json.loads((MACHINES / "resume.asl.json").read_text())["States"]
RESOURCES = templates.load()["Resources"]
ASKED = {"task": "sweep", "id": "sweep-1", "which": "all"}
# An express execution's seconds (AWS_FACTS.md, "Lambda, SQS, ...").
EXPRESS = 300


@pytest.mark.parametrize("step", ["List", "Then"])
def test_its_steps_are_retried_and_dead_lettered_as_a_run_of_the_resume_machine(step: str) -> None:
    for name in ("Resource", "Retry", "Catch", "TimeoutSeconds"):
        assert STATES[step][name] == RESUMED["Run"][name]
    assert STATES["HandToDeadLetters"]["Retry"] == RESUMED["HandToDeadLetters"]["Retry"]


def test_a_child_is_retried_for_what_passes_soon_but_not_for_a_fault_of_ours() -> None:
    [retry] = CHILD["Retry"]
    whole = set(RESUMED["Run"]["Retry"][0]["ErrorEquals"])
    assert whole - set(retry["ErrorEquals"]) == {"Sandbox.Timedout"}, "an express execution is over by then"
    assert set(retry["ErrorEquals"]) < whole


def test_a_run_for_an_account_begins_nothing_that_its_express_execution_has_no_time_for() -> None:
    assert CHILD["TimeoutSeconds"] < EXPRESS
    begins_until = RESOURCES["OnSchedule"]["Properties"]["Timeout"] - RESERVE - on_schedule.EARLIER
    assert begins_until == EXPRESS - 60


def test_no_account_waits_for_another_and_none_ends_the_round() -> None:
    each = STATES["Each"]
    assert each["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"}
    assert (each["MaxConcurrency"], each["ToleratedFailurePercentage"]) == (IN_ACCOUNTS, 100)
    assert 400 / each["MaxConcurrency"] * EXPRESS + 2 * RESUMED["Run"]["TimeoutSeconds"] < MACHINE["TimeoutSeconds"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[MachineOnMoto]:
    with on_moto(monkeypatch):
        yield MachineOnMoto(monkeypatch, "accounts", "OnScheduleFunctionArn")


def listing(state: dict[str, Any]) -> dict[str, Any]:
    return {"accounts": ["111111111111", "222222222222"]} if state["task"] == "accounts" else {"much": "x" * 1000}


def test_each_account_that_is_listed_gets_a_run_and_then_the_last_one_comes(machine: MachineOnMoto) -> None:
    asked = {**ASKED, "wait": 0, "then": {"task": "sweep", "id": "then"}}
    ended = machine.run(asked, listing)
    assert ended["status"] == "SUCCEEDED"
    first, *children, last = machine.asked
    assert first == {"task": "accounts", "id": "sweep-1", "of": asked}
    assert sorted(each["account"] for each in children) == ["111111111111", "222222222222"]
    assert all({**each, "account": ""} == {**first, "task": "sweep", "account": ""} for each in children)
    assert last == asked["then"]
    assert "much" not in ended["output"]


@pytest.mark.parametrize("failing", ["accounts", "then", "111111111111"])
def test_what_cant_be_done_becomes_a_dead_letter(machine: MachineOnMoto, failing: str) -> None:
    asked = {**ASKED, "then": {"task": "sweep", "id": "then"}}
    child = {"task": "sweep", "id": "sweep-1", "account": failing, "of": asked}

    def answer(state: dict[str, Any]) -> dict[str, Any]:
        if failing in (state["task"], state["id"], state.get("account")):
            raise errors.AccessDeniedError("AccessDenied", "no")
        return listing(state)

    of_account = failing.isdigit()
    assert machine.run(asked, answer)["status"] == ("SUCCEEDED" if of_account else "FAILED")
    [message] = machine.sqs.receive_message(QueueUrl=machine.dead_letters)["Messages"]
    letter = {
        "requestPayload": child if of_account else asked,
        "responsePayload": {"errorMessage": "AccessDeniedError"},
    }
    assert json.loads(message["Body"]) == letter

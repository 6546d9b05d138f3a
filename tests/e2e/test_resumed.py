"""The resume machine as it is deployed: it has on_schedule go on with a sweep, as with anything that is resumed."""

import json
from typing import Any

import pytest

from rolekeeper.aws.queue import Task, resumable
from rolekeeper.fleet.sweep import SweepResult
from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually

pytestmark = pytest.mark.emulator


def resumed(world: EmulatedAccount, state: dict[str, Any]) -> dict[str, Any]:
    """What became of an execution that began with this state."""
    machines = world.aws.session().client("stepfunctions")
    (arn,) = (
        each["stateMachineArn"]
        for each in machines.list_state_machines()["stateMachines"]
        if each["name"] == "rolekeeper-resume"
    )
    execution = machines.start_execution(stateMachineArn=arn, input=json.dumps(state))["executionArn"]

    def ended() -> dict[str, Any] | None:
        seen = dict(machines.describe_execution(executionArn=execution))
        return seen if seen["status"] != "RUNNING" else None

    found = eventually(ended)
    assert found["status"] == "SUCCEEDED", found
    output: dict[str, Any] = json.loads(found["output"])
    return output


def test_a_sweep_goes_on_in_the_machine_to_its_end(deployed: EmulatedAccount) -> None:
    begun = SweepResult(instances=200, finished=False)
    swept = resumed(deployed, resumable(Task.SWEEP, "sweep-1", begun))
    assert (swept["finished"], swept["problems"], swept["rest"]["phase"]) == (True, [], "gone")
    assert swept["instances"] >= 200
    assert swept["mappings"] >= 1

"""The resume machine as it is deployed: it has on_schedule go on with a sweep and with a fan-out."""

import json
from typing import Any

import pytest

from rolekeeper.aws.queue import Task, resumable
from rolekeeper.fleet.sweep import SweepResult
from rolekeeper.mappings.accounts import FanOut
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import MappingKey
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import ACCOUNT, REGION
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
    assert (swept["finished"], swept["problems"], swept["rest"]["phase"]) == (True, [], "rows")
    assert swept["instances"] >= 200
    assert swept["mappings"] >= 1


def test_a_fan_out_goes_on_in_the_machine_to_its_end(deployed: EmulatedAccount) -> None:
    rest = FanOut.to(MappingKey("workload", "nobody"), [Target(ACCOUNT, REGION)])
    sent = resumed(deployed, resumable(Task.FAN_OUT, "edit-1", rest))
    assert (sent["finished"], sent["sent"]) == (True, 0)

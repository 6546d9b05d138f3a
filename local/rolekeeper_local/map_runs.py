"""Distributed Maps: the machine's role has to be allowed to start their children (AWS_FACTS.md, "Lambda, SQS, ...").

ministack runs a machine without asking its role anything.
"""

from collections.abc import Callable
from typing import Any

from ministack.core import iam_evaluator
from ministack.services import iam, stepfunctions

from rolekeeper_local.corrections import correct
from rolekeeper_local.iam_trust import role_of

STARTING = "states:StartExecution"


def install() -> None:
    correct(_run, "_run_distributed_map", stepfunctions)


def _run(original: Callable[..., Any], *arguments: Any) -> Any:
    machine = stepfunctions._state_machines[arguments[4]["stateMachineArn"]]
    if not _may_start(machine["roleArn"], machine["stateMachineArn"]):
        text = (
            f"{machine['roleArn']} is not authorized to perform: {STARTING} on resource: {machine['stateMachineArn']}"
        )
        raise stepfunctions._ExecutionError("States.Permissions", text)
    return original(*arguments)


def _may_start(role_arn: str, machine_arn: str) -> bool:
    """Whether the role's policies allow it to start the machine itself."""
    if (role := role_of(role_arn)) is None:
        return False
    name, account, region = role["RoleName"], role_arn.split(":")[4], machine_arn.split(":")[3]
    caller = iam_evaluator.EvalContext(
        principal_arn=f"arn:aws:sts::{account}:assumed-role/{name}/states",
        principal_type="AssumedRole",
        principal_account=account,
        action=STARTING,
        resource_arn=machine_arn,
        region=region,
        service_context={},
        principal_keys={"aws:userid": f"{role['RoleId']}:states"},
    )
    limits = iam_evaluator._permissions_boundary(iam._roles, name, account)
    policies = iam_evaluator._gather_role_policies(name, account)
    return bool(iam_evaluator.evaluate(caller, policies, *limits).decision == "Allow")

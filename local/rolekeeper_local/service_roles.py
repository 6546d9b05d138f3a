"""The roles that services act as: each service assumes one only if it trusts the service for this very resource.

So `aws:SourceArn` and `aws:SourceAccount` decide (AWS_FACTS.md, "IAM"), and what Lambda hands to a function says which
function that is (`lambda:SourceFunctionArn`). ministack asks no role whether it trusts a service.
"""

from collections.abc import Callable
from typing import Any

from ministack.core import iam_evaluator, lambda_runtime
from ministack.core.responses import error_response_json
from ministack.services import lambda_svc, stepfunctions, sts

from rolekeeper_local.corrections import correct
from rolekeeper_local.iam_trust import role_of

_FUNCTION = "SourceFunctionArn"


def install() -> None:
    correct(_execution_credentials, "execution_credentials", lambda_runtime, lambda_svc)
    correct(_principal_keys, "_principal_keys", iam_evaluator, sts)
    correct(_start_execution, "_start_execution", stepfunctions)


def assumable(role_arn: str, service: str, source_arn: str) -> dict[str, Any] | None:
    """The role, if it is in the account of the resource that the service acts for, and trusts the service for that."""
    role, account = role_of(role_arn), source_arn.split(":")[4]
    if role is None or role_arn.split(":")[4] != account:
        return None
    context = iam_evaluator.EvalContext(
        principal_arn=service,
        principal_type="AWSService",
        principal_account="",
        action="sts:AssumeRole",
        resource_arn=role["Arn"],
        region=source_arn.split(":")[3],
        service_context={"aws:sourcearn": source_arn, "aws:sourceaccount": account},
    )
    trust = role["AssumeRolePolicyDocument"]
    trusts = iam_evaluator.evaluate_resource_policy(trust, context, service=service).decision == "Allow"
    return role if trusts else None


def _execution_credentials(original: Callable[..., dict[str, str]], config: dict[str, Any]) -> dict[str, str]:
    if assumable(config["Role"], "lambda.amazonaws.com", config["FunctionArn"]) is None:
        raise PermissionError("The role defined for the function cannot be assumed by Lambda.")
    made = original(config)
    sts._sessions[made["AWS_ACCESS_KEY_ID"]][_FUNCTION] = config["FunctionArn"]
    return made


def _principal_keys(original: Callable[..., dict[str, Any]], credential: Any) -> dict[str, Any]:
    function = sts._sessions.get(credential.access_key_id, {}).get(_FUNCTION)
    return original(credential) | ({"lambda:sourcefunctionarn": function} if function else {})


def _start_execution(original: Callable[..., Any], asked: dict[str, Any]) -> Any:
    machine = stepfunctions._state_machines.get(asked.get("stateMachineArn"))
    if machine and assumable(machine["roleArn"], "states.amazonaws.com", machine["stateMachineArn"]) is None:
        text = "Neither the global service principal states.amazonaws.com, nor the regional one may assume the role."
        return error_response_json("AccessDeniedException", text, 400)
    return original(asked)

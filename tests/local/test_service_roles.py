"""The embedded AWS's services: which roles they may act as, and what a function's session says of it."""

import io
import json
import uuid
import zipfile
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rolekeeper_local.embedded import EmbeddedAws
from support.roles import assumed, make_role

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

ACCOUNT, ANOTHER = "000000000000", "111111111111"
NAME = "acts"
FUNCTION = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{NAME}"
MACHINE = f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:{NAME}"
CODE = """
import boto3
def handler(event, _):
    return boto3.client("ec2").describe_instances()["ResponseMetadata"]["HTTPStatusCode"]
"""
ENDS = json.dumps({"StartAt": "End", "States": {"End": {"Type": "Succeed"}}})


def describes(**condition: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*", "Condition": condition}


def invoked(aws: EmbeddedAws, role: str, name: str = NAME) -> Any:
    """What a new function of this role answers, which asks EC2; or the error."""
    client, code = aws.session().client("lambda"), io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("acts.py", CODE)
    client.create_function(
        FunctionName=name, Runtime="python3.13", Handler="acts.handler", Role=role, Code={"ZipFile": code.getvalue()}
    )
    try:
        return json.loads(client.invoke(FunctionName=name)["Payload"].read())
    finally:
        client.delete_function(FunctionName=name)


def test_a_functions_session_says_which_function_has_it_and_no_other_session_of_the_role_does(aws: EmbeddedAws) -> None:
    own = describes(ArnEquals={"lambda:SourceFunctionArn": FUNCTION})
    role = make_role(aws, ACCOUNT, {"Service": "lambda.amazonaws.com"}, own)
    assert invoked(aws, role) == 200
    assert "UnauthorizedOperation" in json.dumps(invoked(aws, role, "another"))
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        assumed(aws, role).client("ec2").describe_instances()


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ({"StringEquals": {"aws:SourceAccount": ACCOUNT}}, True),
        ({"ArnLike": {"aws:SourceArn": f"{FUNCTION}*"}}, True),
        ({"StringEquals": {"aws:SourceAccount": ANOTHER}}, False),
        ({"ArnLike": {"aws:SourceArn": MACHINE}}, False),
    ],
)
def test_lambda_assumes_a_role_that_trusts_it_for_this_function(
    aws: EmbeddedAws, condition: dict[str, Any], *, allowed: bool
) -> None:
    role = make_role(aws, ACCOUNT, {"Service": "lambda.amazonaws.com"}, describes(), **condition)
    answer = json.dumps(invoked(aws, role))
    assert (answer == "200", "cannot be assumed by Lambda" in answer) == (allowed, not allowed)


@pytest.mark.parametrize(
    ("service", "source", "allowed"),
    [
        ("states.amazonaws.com", MACHINE, True),
        ("states.amazonaws.com", f"{MACHINE}-other", False),
        ("lambda.amazonaws.com", MACHINE, False),
    ],
)
def test_a_machine_runs_with_a_role_that_trusts_it(
    aws: EmbeddedAws, service: str, source: str, *, allowed: bool
) -> None:
    condition: dict[str, Any] = {"ArnEquals": {"aws:SourceArn": source}, "StringEquals": {"aws:SourceAccount": ACCOUNT}}
    role = make_role(aws, ACCOUNT, {"Service": service}, **condition)
    client = aws.session().client("stepfunctions")
    machine = client.create_state_machine(name=NAME, definition=ENDS, roleArn=role)["stateMachineArn"]
    try:
        if allowed:
            client.start_execution(stateMachineArn=machine, name=uuid.uuid4().hex)
        else:
            with pytest.raises(ClientError, match="may assume the role"):
                client.start_execution(stateMachineArn=machine, name=uuid.uuid4().hex)
    finally:
        client.delete_state_machine(stateMachineArn=machine)


def test_the_callers_own_policy_can_ask_for_the_name_of_the_session(aws: EmbeddedAws) -> None:
    spoke = make_role(aws, ANOTHER, {"AWS": f"arn:aws:iam::{ACCOUNT}:root"})
    named = {"StringEquals": {"sts:RoleSessionName": "sweep"}}
    may_assume = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": spoke, "Condition": named}
    caller = assumed(aws, make_role(aws, ACCOUNT, {"AWS": "*"}, may_assume))
    assumed(aws, spoke, by=caller, name="sweep")
    with pytest.raises(ClientError, match="AccessDenied"):
        assumed(aws, spoke, by=caller, name="other")

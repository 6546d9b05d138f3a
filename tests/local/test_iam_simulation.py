"""IAM's simulation of a principal's policies, as `rolekeeper verify --pre` asks for it."""

import json
from typing import Any

import pytest

from rolekeeper_local.embedded import EmbeddedAws

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

INSTANCE = "arn:aws:ec2:us-east-1:000000000000:instance/any"


@pytest.mark.parametrize(("key", "decision"), [("tagged", "allowed"), ("other", "implicitDeny")])
def test_the_context_of_a_simulation_counts(aws: EmbeddedAws, key: str, decision: str) -> None:
    iam = aws.session().client("iam")
    user = f"simulated-{key}"
    arn = iam.create_user(UserName=user)["User"]["Arn"]
    condition = {"StringEquals": {"aws:ResourceTag/tagged": "any"}}
    statement = {"Effect": "Allow", "Action": "ec2:StopInstances", "Resource": "*", "Condition": condition}
    policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
    iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=policy)
    context: Any = [
        {"ContextKeyName": f"aws:ResourceTag/{key}", "ContextKeyValues": ["any"], "ContextKeyType": "string"}
    ]
    answer = iam.simulate_principal_policy(
        PolicySourceArn=arn, ActionNames=["ec2:StopInstances"], ResourceArns=[INSTANCE], ContextEntries=context
    )
    [result] = answer["EvaluationResults"]
    assert result["EvalDecision"] == decision

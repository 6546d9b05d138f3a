"""What a person of few permissions may do: as IAM simulates it for `rolekeeper verify --pre`, and as it is enforced."""

import json
from contextlib import nullcontext
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rolekeeper_local.embedded import EmbeddedAws
from support.grants import allow, policy

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

INSTANCE = "arn:aws:ec2:us-east-1:000000000000:instance/any"


def make_user(aws: EmbeddedAws, name: str, statement: Any) -> str:
    """Make a user who may do this; the ARN."""
    iam = aws.session().client("iam")
    arn = iam.create_user(UserName=name)["User"]["Arn"]
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy(statement)))
    return arn


@pytest.mark.parametrize(("key", "decision"), [("tagged", "allowed"), ("other", "implicitDeny")])
def test_the_context_of_a_simulation_counts(aws: EmbeddedAws, key: str, decision: str) -> None:
    condition = {"StringEquals": {"aws:ResourceTag/tagged": "any"}}
    arn = make_user(aws, f"simulated-{key}", allow("ec2:StopInstances", Condition=condition))
    context: Any = [
        {"ContextKeyName": f"aws:ResourceTag/{key}", "ContextKeyValues": ["any"], "ContextKeyType": "string"}
    ]
    answer = (
        aws.session()
        .client("iam")
        .simulate_principal_policy(
            PolicySourceArn=arn, ActionNames=["ec2:StopInstances"], ResourceArns=[INSTANCE], ContextEntries=context
        )
    )
    [result] = answer["EvaluationResults"]
    assert result["EvalDecision"] == decision


@pytest.mark.parametrize("rule", ["own-rule", "other"])
def test_a_policy_on_rules_is_about_those_of_the_default_bus(aws: EmbeddedAws, rule: str) -> None:
    """A rule of the default bus has no bus in its ARN."""
    make_user(aws, f"ruler-{rule}", allow("events:*", "arn:aws:events:us-east-1:000000000000:rule/own-*"))
    made = aws.session().client("iam").create_access_key(UserName=f"ruler-{rule}")["AccessKey"]
    credentials = {"AccessKeyId": made["AccessKeyId"], "SecretAccessKey": made["SecretAccessKey"]}
    events = aws.session(credentials=credentials).client("events")
    with pytest.raises(ClientError, match="AccessDenied") if rule == "other" else nullcontext():
        events.put_rule(Name=rule, EventPattern='{"source": ["x"]}')
    with pytest.raises(ClientError, match="AccessDenied") if rule == "other" else nullcontext():
        events.list_targets_by_rule(Rule=rule)

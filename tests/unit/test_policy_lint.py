"""What a linter of IAM policies finds in the template's: actions, resources and condition keys that don't fit together.

It knows AWS's reference of actions by heart, so it asks nobody.
"""

import json
from typing import Any

from parliament import analyze_policy_string

from spec.permitted_in_spokes import HUB, OPERATORS
from support.deployment import Deployment, deployment, translated
from support.policy_simulation import REGION

_ASSUME = "sts:AssumeRole"
_STREAM_CALLS = ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")


def _on_a_stream(call: str) -> str:
    form = "*" if call == "ListStreams" else "arn:*:dynamodb:*:*:table/*/stream/*"
    return str({"action": f"dynamodb:{call}", "required_format": form})


# What it finds, and why it stays.
STAYS = {
    # AWS's own managed policies have no account in their ARN.
    *(
        (name, "INVALID_ARN", "Account expected to be of form like 123456789012")
        for name in ("SharedPolicy", "Reader", "Viewer")
    ),
    # DynamoDB developer guide, "IAM policy to allow a Lambda function to access DynamoDB stream records", has the last
    # on the stream, though the reference knows no resource for it; and the linter knows no colons in a stream's ARN.
    *(
        (role, "RESOURCE_MISMATCH", f"[{', '.join(map(_on_a_stream, _STREAM_CALLS))}]")
        for role in ("OnMappingChangePolicy", "OnStateChangePolicy")
    ),
    # Any action may ask for it (Lambda developer guide, "Using source function ARN to control function access").
    *(
        (
            f"{name}Policy",
            "UNKNOWN_CONDITION_FOR_ACTION",
            f"Unknown condition lambda:SourceFunctionArn for action {_ASSUME}",
        )
        for name in ("ReadSpokes", "ChangeSpokes", "NotifySpokes", "SweepTargets")
    ),
    # Step Functions developer guide, "IAM policies for using Distributed Map states", has it on executions; the
    # reference also asks for express ones, which this action doesn't describe.
    (
        "AccountsStateMachineRole",
        "RESOURCE_MISMATCH",
        "[{'action': 'states:DescribeExecution', 'required_format': 'arn:*:states:*:*:express:*:*:*'}]",
    ),
}


def _documents(deployed: Deployment) -> dict[str, list[Any]]:
    kinds = ("AWS::IAM::Role", "AWS::IAM::ManagedPolicy", "AWS::IAM::Policy")
    return {
        name: [
            *[each["PolicyDocument"] for each in properties.get("Policies", [])],
            *[properties[key] for key in ("PolicyDocument",) if key in properties],
        ]
        for kind in kinds
        for name, properties in deployed.of_type(kind).items()
    }


def _found(document: Any) -> set[tuple[str, str]]:
    findings = analyze_policy_string(json.dumps(document)).findings
    return {(each.issue, str(each.detail or each.title)) for each in findings}


def test_a_policys_actions_resources_and_conditions_fit_together() -> None:
    # With everything that a parameter may add.
    documents = _documents(deployment(translated(), TakeOver="true", OrganizationId="o-a1b2c3d4e5"))
    spoke = deployment(
        translated("spoke.yaml"),
        TakeOver="true",
        **HUB,
        OtherReaders=OPERATORS,
        HomeRegion=REGION,
        EventsToAccount="true",
    )
    assert len(documents) > 5
    found = {
        (name, *finding)
        for name, each in (documents | _documents(spoke)).items()
        for one in each
        for finding in _found(one)
    }
    assert found == STAYS

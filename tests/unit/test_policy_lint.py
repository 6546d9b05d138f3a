"""What a linter of IAM policies finds in the template's: actions, resources and condition keys that don't fit together.

It knows AWS's reference of actions by heart, so it asks nobody.
"""

import json
from typing import Any

from parliament import analyze_policy_string

from spec.permitted_in_spokes import HUB
from support.deployment import Deployment, deployment, translated
from support.policy_simulation import REGION

# What it finds, and why it stays.
STAYS = {
    # AWS's own managed policies have no account in their ARN.
    *((name, "INVALID_ARN", "Account expected to be of form like 123456789012") for name in ("SharedPolicy", "Reader")),
    # DynamoDB developer guide, "IAM policy to allow a Lambda function to access DynamoDB stream records", has it on the
    # stream, though the reference knows no resource for it.
    *(
        (role, "RESOURCE_MISMATCH", "[{'action': 'dynamodb:ListStreams', 'required_format': '*'}]")
        for role in ("OnMappingChangePolicy", "OnStateChangePolicy")
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
    spoke = deployment(translated("spoke.yaml"), TakeOver="true", **HUB, HomeRegion=REGION)
    assert len(documents) > 5
    found = {
        (name, *finding)
        for name, each in (documents | _documents(spoke)).items()
        for one in each
        for finding in _found(one)
    }
    assert found == STAYS

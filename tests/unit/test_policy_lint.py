"""What a linter of IAM policies finds in the template's: actions, resources and condition keys that don't fit together.

It knows AWS's reference of actions by heart, so it asks nobody.
"""

import json
from collections import Counter
from typing import Any

from parliament import analyze_policy_string

from spec.permitted_in_spokes import HUB, OPERATORS
from support.deployment import Deployment, deployment, translated
from support.policy_simulation import REGION

# Of which policies it finds what, and why that stays. A second finding of the same kind isn't covered.
STAYS = Counter(
    [
        # AWS's own managed policies have no account in their ARN.
        *((name, "INVALID_ARN") for name in ("SharedPolicy", "Reader", "Viewer")),
        # DynamoDB developer guide, "IAM policy to allow a Lambda function to access DynamoDB stream records", has
        # ListStreams on the stream, though the reference knows no resource for it; and the linter knows no colons in a
        # stream's ARN. Step Functions developer guide, "IAM policies for using Distributed Map states", has
        # DescribeExecution on executions; the reference also asks for express ones, which this action doesn't describe.
        *((f"{name}Policy", "RESOURCE_MISMATCH") for name in ("OnMappingChange", "OnStateChange")),
        ("AccountsStateMachineRole", "RESOURCE_MISMATCH"),
        # What may see composite alarms has to see all (AWS_FACTS.md, "CloudWatch").
        ("OnSchedulePolicy", "RESOURCE_STAR"),
        # lambda:SourceFunctionArn may be in the request of any action (Lambda developer guide, "Using source function
        # ARN to control function access").
        *(
            (f"{name}Policy", "UNKNOWN_CONDITION_FOR_ACTION")
            for name in ("ReadSpokes", "ChangeSpokes", "NotifySpokes", "SweepTargets")
        ),
    ]
)


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


def test_a_policys_actions_resources_and_conditions_fit_together() -> None:
    # With everything that a parameter may add.
    hub = deployment(translated(), TakeOver="true", OrganizationId="o-a1b2c3d4e5")
    given = {**HUB, "OtherReaders": OPERATORS, "HomeRegion": REGION, "EventsToAccount": "true", "TakeOver": "true"}
    documents = _documents(hub) | _documents(deployment(translated("spoke.yaml"), **given))
    assert len(documents) > 5
    found = Counter(
        (name, finding.issue)
        for name, several in documents.items()
        for document in several
        for finding in analyze_policy_string(json.dumps(document)).findings
    )
    assert found == STAYS

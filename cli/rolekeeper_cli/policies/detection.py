"""What detection rules leave out: association calls that are Rolekeeper's own. And a pattern for everybody else's."""

from collections.abc import Sequence
from typing import Any

from rolekeeper_cli.policies.deployed import Arns

_CALLS = ("AssociateIamInstanceProfile", "ReplaceIamInstanceProfileAssociation", "DisassociateIamInstanceProfile")

ABOUT = (
    "Leave out roles (userIdentity.sessionContext.sessionIssuer.arn) or sessions (userIdentity.arn), not both.",
    "Watch who can change these roles and their functions: what they do is left out.",
    "event_pattern is for a rule of EventBridge, and needs a trail that keeps management events that write.",
    "It also matches calls that AWS refused (errorCode). A launch with a profile is another call: RunInstances.",
)


def detection(arns: Arns, names: Sequence[str]) -> dict[str, Any]:
    """The exclusion, and its counterpart.

    Args:
        arns: the deployment's.
        names: of the functions' roles that change associations; spokes' changers do too.
    """
    roles = arns.acting(names)
    # A user and root have no issuer, and anything-but matches only what is there (EventBridge user guide, "Content
    # filtering in event patterns"). A spoke may be in any account.
    left_out = {"wildcard": roles} if arns.spokes else roles
    others = [{"exists": False}, {"anything-but": left_out}]
    return {
        "roles": roles,
        "sessions": arns.sessions(names),
        "event_pattern": {
            "source": ["aws.ec2"],
            "detail-type": ["AWS API Call via CloudTrail"],
            "detail": {
                "eventSource": ["ec2.amazonaws.com"],
                "eventName": list(_CALLS),
                "userIdentity": {"sessionContext": {"sessionIssuer": {"arn": others}}},
            },
        },
    }

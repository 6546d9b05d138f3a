"""Service control policies: who may set the tags that mean a role, and who may change roles under the path.

An SCP never binds a service-linked role, nor the account that manages the organization (Organizations user guide,
"Service control policies"). Which action knows which key: service authorization reference, "Amazon EC2", "Amazon EC2
Auto Scaling", "AWS IAM".
"""

import re
from collections.abc import Sequence
from typing import Any

from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.policies.document import SCP_LIMIT, Arns, compact, pattern, policy, statement, writable

_PRINCIPAL = re.compile(r"arn:[a-z*?-]+:iam::[0-9*?]+:(root|(role|user)/[\x21-\x7e]+)")
# A launch with tags is both RunInstances (or CreateFleet, of type instant) and CreateTags (EC2 user guide, "Grant
# permission to tag Amazon EC2 resources during creation"). A group gives its tags to the instances that it launches.
_SETS_TAGS = (
    *(f"ec2:{name}" for name in ("CreateTags", "DeleteTags", "RunInstances", "CreateFleet")),
    *(f"autoscaling:{name}" for name in ("CreateOrUpdateTags", "DeleteTags", "CreateAutoScalingGroup")),
)
_HIDES_TAGS = (
    *(f"ec2:{name}" for name in ("CreateLaunchTemplate", "CreateLaunchTemplateVersion", "ModifyLaunchTemplate")),
    *("autoscaling:UpdateAutoScalingGroup", "ec2:CreateFleet", "ec2:ModifyFleet", "ec2:RequestSpotFleet"),
)
_MAKES_PROFILES = ("iam:CreateInstanceProfile", "iam:AddRoleToInstanceProfile")
_TAKES_PROFILES = ("iam:RemoveRoleFromInstanceProfile", "iam:DeleteInstanceProfile")
# What a role may do, and who may use it. Its tags count too, where a policy asks for aws:PrincipalTag.
_CHANGES_ROLES = tuple(
    f"iam:{name}"
    for name in (
        *("CreateRole", "DeleteRole", "UpdateRole", "UpdateAssumeRolePolicy", "TagRole", "UntagRole"),
        *("PutRolePolicy", "DeleteRolePolicy", "AttachRolePolicy", "DetachRolePolicy"),
        *("PutRolePermissionsBoundary", "DeleteRolePermissionsBoundary"),
    )
)
_CHANGES_POLICIES = tuple(
    f"iam:{name}"
    for name in (
        "CreatePolicy",
        "DeletePolicy",
        "CreatePolicyVersion",
        "DeletePolicyVersion",
        "SetDefaultPolicyVersion",
    )
)

_ABOUT_BOTH = (
    "It binds neither service-linked roles nor the account that manages the organization.",
    "Anyone who can make or assume what --except names can do what it denies: name whole ARNs, and guard those.",
)
ABOUT_TAGS = (
    *_ABOUT_BOTH,
    "Auto Scaling, EC2 Fleet and Spot Fleet tag what they launch, by service-linked roles.",
    "It denies giving these tags to an Auto Scaling group. No condition key shows the tags inside a launch template.",
    f"So let only those who may tag call {', '.join(_HIDES_TAGS)}.",
    "Print it again when a mapping reads another tag key: rolekeeper doctor names the keys that nothing guards.",
)
ABOUT_PATH = (
    *_ABOUT_BOTH,
    "The roles that it excepts by itself can be changed by those who deploy the stacks: guard that (docs/deploy.md).",
    "It doesn't guard managed policies outside the path: keep those of these roles under it.",
)


def about(arns: Arns, where: str) -> list[str]:
    """What an SCP is for, `where` of a deployment that is no hub."""
    if arns.spokes:
        return ["It is for every target of the hub: attach it to their accounts, or to the units that have them."]
    return [f"It is for {where}: attach it to that account."]


def principals(patterns: Sequence[str]) -> list[str]:
    """The principals that an SCP excepts, as they are given.

    Raises:
        UsageError: none is, or one can't be a principal's ARN as IAM compares it.
    """
    if not patterns:
        raise UsageError(
            "nobody is excepted, so the policy would bind everybody, you too",
            "name who may: --except arn:aws:iam::123456789012:role/NAME",
        )
    for each in patterns:
        if ":assumed-role/" in each:
            # aws:PrincipalArn of a session is its role's ARN (IAM user guide, "AWS global condition context keys").
            raise UsageError(f"{each} is a session, which IAM knows by its role", "give the role's ARN, with its path")
        if not _PRINCIPAL.fullmatch(each):
            raise UsageError(
                f"{each!r} is not the ARN of a role or a user", "write it as arn:aws:iam::123456789012:role/NAME"
            )
    return list(patterns)


def tag_policies(arns: Arns, keys: Sequence[str], excepted: Sequence[str]) -> list[dict[str, Any]]:
    """SCPs that together let only some set, change or remove the tags with these keys: as many as fit all keys.

    Raises:
        CommandError: so many are excepted that there is room for no key.
    """
    chunks: list[list[str]] = [[]]
    for key in keys:
        if len(compact(_tags(arns, [*chunks[-1], key], excepted))) > SCP_LIMIT:
            if not chunks[-1]:
                raise CommandError("there is no room for a tag key beside all who are excepted", "except fewer")
            chunks.append([])
        chunks[-1].append(key)
    return [_tags(arns, chunk, excepted) for chunk in chunks]


def _tags(arns: Arns, keys: Sequence[str], excepted: Sequence[str]) -> dict[str, Any]:
    instances = arns.served("ec2", "instance/*")
    others = {"ArnNotLike": {"aws:PrincipalArn": list(excepted)}}
    test: dict[str, Any] = {"ForAnyValue:StringEquals": {"aws:TagKeys": list(keys)}}
    if not all(map(writable, keys)):
        # Rather one key too many than one too few.
        test = {"ForAnyValue:StringLike": {"aws:TagKeys": [pattern(key) for key in keys]}}
    groups = arns.served("autoscaling", "autoScalingGroup:*")
    guards = [
        statement("GuardTheMappedTags", "Deny", _SETS_TAGS, resources=[instances, groups], **test, **others),
        # Without keys DeleteTags deletes all tags, and there is no aws:TagKeys to compare (EC2 API reference).
        statement(
            "GuardDeletingAllTags",
            "Deny",
            ["ec2:DeleteTags"],
            resources=[instances],
            Null={"aws:TagKeys": "true"},
            **others,
        ),
    ]
    return policy(guards)


def path_policy(arns: Arns, makers: Sequence[str], excepted: Sequence[str]) -> dict[str, Any]:
    """An SCP by which roles, profiles and policies under the path are changed only by some.

    Args:
        arns: the deployment's.
        makers: names of the functions' roles that make profiles for mapped roles; spokes' changers do too.
        excepted: ARNs of those who may change all of it.
    """
    kinds = ("instance-profile", "role", "policy")
    profiles, roles, policies = (arns.served_iam(kind, f"{arns.path}*") for kind in kinds)
    others, also = ({"ArnNotLike": {"aws:PrincipalArn": [*each, *excepted]}} for each in ((), arns.acting(makers)))
    rest = (*_TAKES_PROFILES, *_CHANGES_ROLES, *_CHANGES_POLICIES)
    guards = [
        statement("GuardNewProfiles", "Deny", _MAKES_PROFILES, resources=[profiles], **also),
        statement("GuardRolesAndProfiles", "Deny", rest, resources=[profiles, roles, policies], **others),
    ]
    return policy(guards)


# ---- what detection rules leave out ----


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

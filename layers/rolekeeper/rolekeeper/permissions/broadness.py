"""What is broad: permissions by which an instance could become more than its role, and trust in others than EC2. Pure.

Conditions aren't evaluated: what is allowed under one is allowed, and only a Deny that applies whenever the Allow does
takes it away. Resources count one by one: patterns that reach all only together aren't noticed.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import product

from rolekeeper.aws.iam import Document
from rolekeeper.permissions import policies
from rolekeeper.permissions.policies import Permissions, Rule, Scope, patterns_meet

# The list: actions that are broad, by the source that says so. These are on any resource.
ON_ANY = {
    'Rhino Security Labs, "AWS IAM Privilege Escalation"': """iam:AddUserToGroup iam:AttachGroupPolicy
        iam:AttachRolePolicy iam:AttachUserPolicy iam:CreateAccessKey iam:CreateLoginProfile iam:CreatePolicyVersion
        iam:PutGroupPolicy iam:PutRolePolicy iam:PutUserPolicy iam:SetDefaultPolicyVersion iam:UpdateAssumeRolePolicy
        iam:UpdateLoginProfile""",
    'IAM user guide, "Permissions boundaries for IAM entities"': """iam:DeleteRolePermissionsBoundary
        iam:DeleteUserPermissionsBoundary iam:PutRolePermissionsBoundary iam:PutUserPermissionsBoundary""",
    'IAM user guide, "Policy evaluation logic": what denies could go': """iam:DeleteRolePolicy iam:DeleteUserPolicy
        iam:DetachRolePolicy iam:DetachUserPolicy""",
    'IAM user guide, "Identity providers and federation into AWS"': """iam:AddClientIDToOpenIDConnectProvider
        iam:CreateOpenIDConnectProvider iam:CreateSAMLProvider iam:UpdateSAMLProvider""",
    'IAM Identity Center user guide, "Manage AWS accounts with permission sets"': """sso:CreateAccountAssignment
        sso:AttachManagedPolicyToPermissionSet sso:PutInlinePolicyToPermissionSet""",
}
# And these where they reach all resources: what runs or is assumed there brings a role of its own.
ON_ALL = {
    'IAM Access Analyzer policy check reference, "Pass role with star in resource"': "iam:PassRole",
    'IAM user guide, "Grant a user permissions to switch roles"': "sts:AssumeRole",
    'Rhino Security Labs, "AWS IAM Privilege Escalation"': """glue:UpdateDevEndpoint lambda:UpdateFunctionCode
        lambda:UpdateFunctionConfiguration sagemaker:CreatePresignedNotebookInstanceUrl""",
    'Systems Manager user guide, "Run Command", "Session Manager"': "ssm:SendCommand ssm:StartSession",
    'EC2 user guide, "EC2 Instance Connect"': "ec2-instance-connect:SendSSHPublicKey",
    'EC2 user guide, "Run commands at launch"': "ec2:ModifyInstanceAttribute",
    'ECS developer guide, "ECS Exec"': "ecs:ExecuteCommand",
    'CloudFormation user guide, "CloudFormation service role"': "cloudformation:UpdateStack",
    'CodeBuild user guide, "Build specification reference"': "codebuild:StartBuild codebuild:StartBuildBatch",
}
# A name that nobody gives, as long as IAM takes: what matches it in a name's place is taken to match every name.
_ANY_NAME = "zq7w" * 16
_ANY_NAMES = (_ANY_NAME, f"{_ANY_NAME}/{_ANY_NAME}")
# AWS managed policy reference, "AdministratorAccess"; IAM user guide, "IAM JSON policy elements: NotAction". Who may
# call a service that there isn't may call all, or all but those named.
EVERYTHING = Scope((f"{_ANY_NAME}:{_ANY_NAME}",))
# Service authorization reference, "AWS Identity and Access Management (IAM)": all but what reads or simulates, and what
# makes only roles that AWS services define (IAM user guide, "Create a service-linked role").
_OTHER = ("iam:createservicelinkedrole", "iam:generate*", "iam:get*", "iam:list*", "iam:simulate*")
IAM_WRITES = Scope(("iam:*",), _OTHER, "IAM writes")


def _scopes(lines: Mapping[str, str]) -> list[Scope]:
    return [Scope((name.lower(),), (), name) for names in lines.values() for name in names.split()]


# With each, whether it has to reach all resources. What covers most of the rest comes first.
_LIST = [(each, True) for each in (EVERYTHING, IAM_WRITES, *_scopes(ON_ALL))]
_LIST += [(each, False) for each in _scopes(ON_ANY)]
# The services whose resources an action is on, where they aren't its own.
_RESOURCES_OF = {"sts": ("iam",), "ec2-instance-connect": ("ec2",), "ssm": ("ec2", "ssm")}


def severe(held: Permissions) -> list[Rule]:
    """The broad part of what a role may do, by the list; what one rule covers isn't in another."""
    found: list[Rule] = []
    for (broad, on_all), rule in product(_LIST, held.allowed):
        if actions := tuple(_common(each, broad) for each in rule.actions if each.meets(broad)):
            service = broad.within[0].split(":")[0]
            services = _RESOURCES_OF.get(service, (service,))
            resources = tuple(each for each in rule.resources if _reaches(each, services, on_all=on_all))
            found += Rule(actions, resources, rule.conditions).beyond((*held.denied, *found))
    return found


def _common(action: Scope, broad: Scope) -> Scope:
    if broad is not EVERYTHING:
        return action.and_also(broad)
    return action if action.without else replace(action, shown=f"administrator access ({action.shown})")


def _reaches(resources: Scope, services: Iterable[str], *, on_all: bool) -> bool:
    """Whether resources may be these services', or all of them; those named by exceptions alone are taken for all."""
    for pattern in map(policies.without_variables, resources.within):
        # What has fewer parts than an ARN has a wildcard in the place of the others.
        _, _, service, _, _, last, *_ = [*pattern.split(":", 5), *"*****"]
        # `role/*`, `role*` and `*` reach every name, `role/web-*` doesn't.
        kind, *names = re.split("[/:]", last.lower(), maxsplit=1)
        all_names = any(patterns_meet(names[0] if names else kind[-1:], each) for each in _ANY_NAMES)
        if not any(patterns_meet(service, each) for each in services) or (on_all and not all_names):
            return False
    return True


# The partitions' DNS suffixes (botocore's partitions.json): each names EC2's service principal by its own (IAM user
# guide, "AWS service principals"). The first is understood everywhere.
_AWS = ("amazonaws.com", "amazonaws.com.cn", "amazonaws.eu")
_ISOLATED = ("c2s.ic.gov", "cloud.adc-e.uk", "csp.hci.ic.gov", "sc2s.sgov.gov")
EC2_PRINCIPALS = frozenset(("Service", f"ec2.{suffix}") for suffix in (*_AWS, *_ISOLATED))


def principals(statement: Document) -> list[tuple[str, str]]:
    """Whom a statement of a trust policy names, as `("Service", "ec2.amazonaws.com")`; everybody as `("AWS", "*")`."""
    principal = statement.get("Principal")
    kinds = principal if isinstance(principal, Mapping) else {"AWS": principal}
    return [(kind, str(who)) for kind, several in kinds.items() for who in policies.listed(several)]


def trusted_besides_ec2(trust_policy: Document) -> tuple[str, ...]:
    """Who else may assume a role, each as `AWS *` or `Service lambda.amazonaws.com`; Denies take nobody away."""
    named: list[tuple[str, str]] = []
    for each in policies.statements(trust_policy):
        actions = [str(action).lower() for action in policies.listed(each.get("Action", "*"))]
        if each.get("Effect") == "Allow" and any(patterns_meet(action, "sts:assumerole*") for action in actions):
            named += principals(each)
            named += [("everyone", "but those of a NotPrincipal")] if "NotPrincipal" in each else []
    return tuple(dict.fromkeys(" ".join(each) for each in named if each not in EC2_PRINCIPALS))

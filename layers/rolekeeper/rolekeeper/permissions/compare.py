"""What roles may do: what of it is broad, and what a change from one role's policies to another's gains and loses.

Permissions are broad if an instance could use them to get more than its role. Conditions aren't evaluated for this:
what is allowed under a condition is allowed, and only a Deny that applies whenever the Allow does takes it away.
Resources count separately: several patterns that only together reach all don't count as all.

A change gains everything that becomes allowed, and loses everything that no longer is. It may show more than that, if
only several rules together cover one.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain

from rolekeeper.aws import Iam
from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.aws.iam import Policies
from rolekeeper.permissions import policies
from rolekeeper.permissions.policies import Permissions, Rule, Scope, TooManyRulesError, patterns_meet, permissions

# The list: actions that are broad, by the source that says so; those with a plus between them only together. Public
# collections of privilege escalations are compared with it in tests/data/escalation_paths.yaml. On any resource:
ON_ANY = {
    'IAM API reference, "CreateServiceSpecificCredential"': """iam:CreateServiceSpecificCredential
        iam:ResetServiceSpecificCredential""",
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
        sso:AttachCustomerManagedPolicyReferenceToPermissionSet sso:AttachManagedPolicyToPermissionSet
        sso:PutInlinePolicyToPermissionSet""",
}
# And these where they reach all resources: what runs or is assumed there brings a role of its own.
ON_ALL = {
    'IAM Access Analyzer policy check reference, "Pass role with star in resource"': "iam:PassRole",
    'IAM user guide, "Grant a user permissions to switch roles"': "sts:AssumeRole",
    'Rhino Security Labs, "AWS IAM Privilege Escalation"': """glue:UpdateDevEndpoint lambda:UpdateFunctionCode
        lambda:UpdateFunctionConfiguration sagemaker:CreatePresignedNotebookInstanceUrl""",
    'Systems Manager user guide, "Run Command", "Session Manager"': "ssm:SendCommand ssm:StartSession",
    'Systems Manager user guide, "Automation", "State Manager"': """ssm:CreateAssociation ssm:CreateAssociationBatch
        ssm:StartAutomationExecution ssm:UpdateAssociation""",
    'EC2 user guide, "EC2 Instance Connect"': "ec2-instance-connect:SendSSHPublicKey",
    'EC2 user guide, "Run commands at launch"': """ec2:ModifyInstanceAttribute
        ec2:CreateLaunchTemplateVersion+ec2:ModifyLaunchTemplate""",
    'EC2 API reference, "AssociateIamInstanceProfile"': """ec2:AssociateIamInstanceProfile
        ec2:ReplaceIamInstanceProfileAssociation""",
    'ECS developer guide, "ECS Exec"': "ecs:ExecuteCommand",
    'EKS user guide, "Grant IAM users access to Kubernetes with EKS access entries"': """eks:AssociateAccessPolicy
        eks:CreateAccessEntry eks:UpdateAccessEntry""",
    'CloudFormation user guide, "CloudFormation service role"': """cloudformation:UpdateStack
        cloudformation:CreateChangeSet+cloudformation:ExecuteChangeSet""",
    'CloudFormation API reference, "StackSet": service-managed permissions': """cloudformation:UpdateStackSet
        cloudformation:CreateStackSet+cloudformation:CreateStackInstances""",
    'CodeBuild user guide, "Build specification reference"': """codebuild:StartBuild codebuild:StartBuildBatch
        codebuild:UpdateProject""",
    'Step Functions API reference, "UpdateStateMachine"': "states:UpdateStateMachine",
    'Service authorization reference, "Amazon EMR on EKS": ExecutionRoleArn': """emr-containers:StartJobRun
        emr-containers:GetManagedEndpointSessionCredentials""",
    'GameLift Servers developer guide, "Remotely connect to fleet instances"': """gamelift:GetComputeAccess
        gamelift:GetInstanceAccess""",
    'Datadog, "pathfinding.cloud"': """apprunner:UpdateService batch:SubmitJob
        bedrock-agentcore:InvokeAgentRuntimeCommand
        bedrock-agentcore:StartBrowserSession+bedrock-agentcore:ConnectBrowserAutomationStream
        bedrock-agentcore:StartCodeInterpreterSession+bedrock-agentcore:InvokeCodeInterpreter
        codedeploy:CreateDeployment+codedeploy:RegisterApplicationRevision
        sagemaker:CreateNotebookInstanceLifecycleConfig+sagemaker:UpdateNotebookInstance""",
}
# A name that nobody gives, as long as IAM takes: what matches it in a name's place is taken to match every name.
_ANY_NAME = "zq7w" * 16
_ANY_NAMES = (_ANY_NAME, f"{_ANY_NAME}/{_ANY_NAME}", f"{_ANY_NAME}:{_ANY_NAME}")
# AWS managed policy reference, "AdministratorAccess"; IAM user guide, "IAM JSON policy elements: NotAction". Who may
# call a service that there isn't may call all, or all but those named.
EVERYTHING = Scope((f"{_ANY_NAME}:{_ANY_NAME}",))
# Service authorization reference, "AWS Identity and Access Management (IAM)": all but what reads or simulates, and what
# makes only roles that AWS services define (IAM user guide, "Create a service-linked role").
_OTHER = ("iam:createservicelinkedrole", "iam:generate*", "iam:get*", "iam:list*", "iam:simulate*")
IAM_WRITES = Scope(("iam:*",), _OTHER, "IAM writes")
# The same, "AWS Organizations": what takes a service control policy away, or an account.
ORGANIZATION_WRITES = Scope(
    ("organizations:*",), ("organizations:describe*", "organizations:list*"), "Organizations writes"
)


def _together(lines: Mapping[str, str]) -> list[tuple[Scope, ...]]:
    rules = [rule for rules in lines.values() for rule in rules.split()]
    return [tuple(Scope((name.lower(),), (), name) for name in rule.split("+")) for rule in rules]


# With each, whether it has to reach all resources. What covers most of the rest comes first.
_LIST = [(each, True) for each in ((EVERYTHING,), (IAM_WRITES,), (ORGANIZATION_WRITES,), *_together(ON_ALL))]
_LIST += [(each, False) for each in _together(ON_ANY)]
# The services whose resources an action is on, where they aren't its own.
_RESOURCES_OF = {"sts": ("iam",), "ec2-instance-connect": ("ec2",), "ssm": ("ec2", "ssm")}


def severe(held: Permissions) -> list[Rule]:
    """The broad part of what a role may do, by the list; what one rule covers isn't in another."""
    found: list[Rule] = []
    for together, on_all in _LIST:
        parts = [_part(held, broad, on_all=on_all) for broad in together]
        for rule in chain.from_iterable(parts) if all(parts) else ():
            found += rule.beyond(found)
    return found


def _part(held: Permissions, broad: Scope, *, on_all: bool) -> list[Rule]:
    """What a role may do of one broad action."""
    part: list[Rule] = []
    for rule in held.allowed:
        if actions := tuple(_common(each, broad) for each in rule.actions if each.meets(broad)):
            service = broad.within[0].split(":")[0]
            services = _RESOURCES_OF.get(service, (service,))
            resources = tuple(each for each in rule.resources if _reaches(each, services, on_all=on_all))
            part += Rule(actions, resources, rule.conditions).beyond(held.denied)
    return part


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


CONDITION = 120  # characters of the longest condition that is shown whole


@dataclass(frozen=True, slots=True)
class Difference:
    """Permissions gained and lost, each as `s3:GetObject, s3:PutObject on arn:aws:s3:::x/*`; or why it is `unknown`."""

    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    unknown: str = ""


def difference(was: Permissions, will: Permissions) -> Difference:
    """Compare what the role that is carried may do with what the one that would be may."""
    return Difference(_more(will, was, "no longer denied"), _more(was, will, "now denied"))


def lacking(held: Permissions, wanted: Permissions) -> tuple[str, ...]:
    """What of some permissions a role lacks: it isn't allowed, or is denied, in part or under a condition."""
    missing = [part for rule in wanted.allowed for part in rule.beyond(held.allowed)]
    there = [part for rule in wanted.allowed for part in rule.beyond(missing)]
    denied = [(part, _denied(part, each)) for rule in there for each in held.denied if (part := rule.meeting(each))]
    return (*_phrases((rule, _when(rule)) for rule in missing), *_phrases(denied))


def _denied(part: Rule, by: Rule) -> str:
    if by.conditions:
        return f"denied {_when(by)}"
    return "in part denied" if part.beyond([by]) else "denied"


def in_words(difference: Difference, room: int) -> str:
    """A difference as `gains …; loses …, and 3 more`, in at most `room` characters."""
    if difference.unknown:
        return _cut(f"the permissions couldn't be compared: {difference.unknown}", room)
    gains, loses = as_many("gains", difference.gained, room), as_many("loses", difference.lost, room)
    if not (gains and loses):
        return _cut(gains or loses or "the same permissions", room)
    # Each half may have half of the room, and what the other leaves.
    shared = room - len("; ")
    gains = as_many("gains", difference.gained, max(shared // 2, shared - len(loses)))
    return _cut(f"{gains}; {as_many('loses', difference.lost, shared - len(gains))}", room)


def _more(these: Permissions, those: Permissions, denial: str) -> tuple[str, ...]:
    """What one role may do beyond another: what it is allowed, and where the other is denied."""
    allowed: list[Rule] = []
    for rule in sorted(these.allowed, key=lambda each: (each.actions, each.resources)):
        allowed += rule.beyond([*those.allowed, *allowed])
    # A Deny that only the other has matters for what both are allowed; the rest is covered above.
    common = [part for rule in these.allowed for part in rule.beyond(allowed)]
    lifted = [part for rule in those.denied for part in rule.beyond(these.denied)]
    denied = [part for rule in lifted for other in common if (part := rule.meeting(other))]
    gains = []
    for rule in allowed:
        partly = "in part denied" if any(rule.meeting(each) for each in these.denied) else ""
        gains.append((rule, "; ".join(filter(None, (_when(rule), partly)))))
    return (*_phrases(gains), *_phrases((rule, f"{denial} {_when(rule)}".rstrip()) for rule in denied))


def _phrases(rules: Iterable[tuple[Rule, str]]) -> list[str]:
    """Rules in words, each with its remark: the actions that have the same resources and remark in one phrase."""
    resources: dict[tuple[Scope, str], set[Scope]] = {}
    for rule, remark in rules:
        for action in rule.actions:
            resources.setdefault((action, remark), set()).update(rule.resources)
    actions: dict[tuple[tuple[Scope, ...], str], list[Scope]] = {}
    for (action, remark), scopes in resources.items():
        actions.setdefault((tuple(sorted(scopes)), remark), []).append(action)
    phrases = sorted((sorted(scopes), on, remark) for (on, remark), scopes in actions.items())
    return [f"{_list(scopes)} on {_list(on)}{remark and f' ({remark})'}" for scopes, on, remark in phrases]


def _when(rule: Rule) -> str:
    return f"if {_cut(' and '.join(sorted(rule.conditions)), CONDITION)}" if rule.conditions else ""


def _list(scopes: Iterable[Scope]) -> str:
    return ", ".join(scope.shown for scope in scopes)


def as_many(verb: str, phrases: Sequence[str], room: int) -> str:
    """As many phrases as there is room for, at least a piece of the first; empty when there are none."""
    said = rest = ""
    for count in range(min(len(phrases), max(room, 1)), 0, -1):
        rest = f", and {len(phrases) - count} more" if count < len(phrases) else ""
        said = f"{verb} {'; '.join(phrases[:count])}"
        if len(said + rest) <= room:
            break
    return _cut(said, room - len(rest)) + rest


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: max(room - 1, 0)]}…"


class PolicyReader:
    """Reads roles and their policies, each once in its life: one invocation.

    A role is named, or its instance profile is, by its ARN; an empty name and a profile that isn't there are no role.
    """

    def __init__(self, iam: Iam) -> None:
        self.iam = iam
        self.role = cache(iam.get_role)
        self.policies = cache(self._policies)
        self.permissions = cache(self._permissions)
        self.difference = cache(self._difference)
        self._known = cache(self._permissions_or_why)

    def allowed(self, role: str) -> tuple[str, ...]:
        """What a role may do, in words; raises AwsRefusalError, TooManyRulesError."""
        return tuple(_phrases((rule, _when(rule)) for rule in self.permissions(role).allowed))

    def severe(self, role: str) -> tuple[str, ...]:
        """What of a role's permissions is broad; raises AwsRefusalError, TooManyRulesError."""
        return tuple(_phrases((rule, "") for rule in severe(self.permissions(role))))

    def severe_gain(self, before: str, after: str) -> tuple[str, ...]:
        """What of it is new from one role to another; what can't be known may be."""
        gives = self._known(after)
        if isinstance(gives, str):
            return (f"what can't be known ({gives})",)
        broad = severe(gives)
        has = self._known(before) if broad else ""
        had = () if isinstance(has, str) else severe(has)
        return tuple(_phrases((part, "") for rule in broad for part in rule.beyond(had)))

    def _difference(self, before: str, after: str) -> Difference:
        """What going from one role to another gains and loses; it says what IAM refuses."""
        if before == after:
            return Difference()
        was, will = self._known(before), self._known(after)
        if isinstance(was, str) or isinstance(will, str):
            return Difference(unknown="; ".join(dict.fromkeys(each for each in (was, will) if isinstance(each, str))))
        return difference(was, will)

    def _policies(self, name: str) -> Policies:
        role = self.role(name) if name else None
        return self.iam.policies(role) if role else Policies()

    def _permissions(self, name: str) -> Permissions:
        return permissions(self.policies(name))

    def _permissions_or_why(self, name: str) -> Permissions | str:
        try:
            if ":" in name:
                profile = self.iam.get_instance_profile(name.rsplit("/", 1)[-1])
                name = profile.role_name if profile and profile.arn == name else ""
            return self.permissions(name) if not name or self.role(name) else f"role '{name}' doesn't exist"
        except AwsRefusalError as error:
            return f"IAM answers {error.code} to {error.action} on {error.resource}"
        except TooManyRulesError as error:
            return str(error)

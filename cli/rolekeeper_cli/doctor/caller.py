"""Whether the caller may do what the commands need. IAM is asked; nothing is tried."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolekeeper.aws.iam import Iam
from rolekeeper.settings import Access
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.doctor.view import Finding, Findings, Level, unknown, warn
from rolekeeper_cli.guard.use import Arns

_PAGE = 'ask for that permission: docs/security.md, "What the command needs"'

# What `NEEDS` is about; a hub alone has viewers in its spokes.
_ROWS, _STATE, _WORK, _VIEWERS = "mapping table", "state table", "work queue", "spokes' viewers"
_LOOK_AT_INSTANCES = "ec2:DescribeInstances ec2:DescribeIamInstanceProfileAssociations"
_READ_ROLES = "iam:GetRole iam:ListAttachedRolePolicies iam:ListRolePolicies iam:GetRolePolicy"
_LOOK = {
    "instances": _LOOK_AT_INSTANCES,
    "roles": _READ_ROLES,
    "profiles": "iam:GetInstanceProfile",
    "managed policies": "iam:GetPolicy iam:GetPolicyVersion",
}
_FIND = {"stack": "cloudformation:DescribeStackResource"}
# By what a person does, the actions on each kind of thing: docs/security.md, "What the command needs"; a test compares
# them. What doctor itself lacks, its other checks report.
NEEDS: Mapping[str, Mapping[str, str]] = {
    "reading mappings": {_ROWS: "dynamodb:Scan dynamodb:GetItem", _STATE: "dynamodb:BatchGetItem"},
    "writing mappings": {_ROWS: "dynamodb:PutItem dynamodb:UpdateItem dynamodb:DeleteItem dynamodb:BatchGetItem"},
    "approving": {_ROWS: "dynamodb:BatchGetItem", _STATE: "dynamodb:PutItem dynamodb:BatchGetItem"},
    "history, rollback, deletions": {_STATE: "dynamodb:Query dynamodb:BatchGetItem"},
    "pause, resume, mode": {_STATE: "dynamodb:UpdateItem dynamodb:BatchGetItem"},
    "pins": {_STATE: "dynamodb:PutItem dynamodb:UpdateItem dynamodb:BatchGetItem", **_LOOK},
    "release, apply": {_WORK: "sqs:SendMessage"},
    "plan, fleet, explain, history, uptake, wait": {_STATE: "dynamodb:BatchGetItem dynamodb:Query", **_LOOK},
    "fleet, explain, launches, wait, to name rows that aren't in effect": {_ROWS: "dynamodb:BatchGetItem"},
    "looking into other accounts": {_VIEWERS: "sts:AssumeRole"},
    "explain, uptake, history --who, fleet --uptake, wait --in-use": {"event history": "cloudtrail:LookupEvents"},
    "launches": {
        "launches": "ec2:DescribeLaunchTemplateVersions ec2:DescribeFleets ec2:DescribeSpotFleetRequests "
        "autoscaling:DescribeAutoScalingGroups autoscaling:DescribeLaunchConfigurations",
        "profiles": "iam:GetInstanceProfile",
        _STATE: "dynamodb:BatchGetItem",
    },
    "launches files, without -f; plan, to name rows that aren't in effect": {_ROWS: "dynamodb:Scan"},
    "plan -f, and what is shown before a question": {_ROWS: "dynamodb:Scan dynamodb:Query"},
    "targets": {_STATE: "dynamodb:Query dynamodb:BatchGetItem"},
    "targets --missing": {"organization": "organizations:ListAccounts"},
    "targets forget": {_STATE: "dynamodb:DeleteItem"},
    "guard": {_ROWS: "dynamodb:Scan", _STATE: "dynamodb:BatchGetItem", **_FIND},
    "history of the fleet": {"log groups": "logs:FilterLogEvents", **_FIND},
    "sweep": {"sweep's function": "lambda:InvokeFunction", **_FIND},
    # SQS moves with the caller's own permissions (SQS API reference, `StartMessageMoveTask`).
    "redrive": {
        "dead-letter queue": "sqs:GetQueueAttributes sqs:ReceiveMessage sqs:ChangeMessageVisibility sqs:DeleteMessage "
        "sqs:StartMessageMoveTask sqs:ListMessageMoveTasks",
        _WORK: "sqs:GetQueueAttributes sqs:SendMessage",
    },
    "roles": {
        "roles": f"{_READ_ROLES} iam:GenerateServiceLastAccessedDetails",
        "managed policies": _LOOK["managed policies"],
        "account": "iam:ListRoles iam:ListInstanceProfiles iam:GetServiceLastAccessedDetails iam:GetAccountSummary",
        "instances": _LOOK_AT_INSTANCES,
        _ROWS: "dynamodb:Scan",
        _STATE: "dynamodb:BatchGetItem",
    },
    "console --write, to set tags and to start": {"instances": "ec2:CreateTags ec2:DeleteTags ec2:StartInstances"},
}


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: a thing, and condition keys with their values."""

    resource: str
    context: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Need:
    """The actions that a purpose takes."""

    purpose: str
    actions: Sequence[str]
    request: Request


def caller(deployment: Deployment) -> Findings:
    arn = deployment.caller.arn
    if arn.endswith(":root"):
        yield warn("you are using the account's root user, which no IAM policy limits", "use an IAM role")
        return ""
    if (principal := principal_of(deployment)) is None:
        yield no_principal(arn)
        return ""
    queues = (deployment.output(each).rsplit("/", 1)[-1] for each in ("WorkQueue", "DeadLetterQueue"))
    yield from lacking(deployment, principal, operating(Arns.of(deployment), *queues))
    return f"{arn} may do what the commands need"


def no_principal(arn: str) -> Finding:
    return unknown(f"IAM can't tell what {arn} may do: it is no user and no role", _PAGE)


def principal_of(deployment: Deployment) -> str | None:
    """The user or role whose policies count, by its ARN in IAM: a role's session doesn't show the role's path."""
    caller = deployment.caller
    kind, *rest = caller.arn.split(":", 5)[5].split("/")
    if kind == "assumed-role":
        role = Iam(deployment.client("iam"), caller.account, caller.partition).get_role(rest[0])
        return role.arn if role else None
    return caller.arn if ":iam::" in caller.arn and kind == "user" else None


def operating(arns: Arns, work_queue: str, dead_letter_queue: str) -> list[Need]:
    """What the commands take on a deployment; the queues by name."""
    where = _arns(arns, work_queue, dead_letter_queue)
    return [
        Need(purpose, actions.split(), Request(where[on]))
        for purpose, needs in NEEDS.items()
        for on, actions in needs.items()
        if on in where
    ]


def _arns(arns: Arns, work_queue: str, dead_letter_queue: str) -> dict[str, str]:
    found = {
        _ROWS: arns.table(arns.mapping_table),
        _STATE: arns.table(arns.state_table),
        _WORK: arns.here("sqs", work_queue),
        "dead-letter queue": arns.here("sqs", dead_letter_queue),
        "stack": arns.here("cloudformation", f"stack/{arns.stack}/any"),
        "log groups": arns.here("logs", f"log-group:/aws/lambda/{arns.stack}/on-instance-event:*"),
        "sweep's function": arns.here("lambda", f"function:{arns.stack}-OnSchedule-any"),
        **dict.fromkeys(("instances", "account", "event history", "launches", "managed policies"), "*"),
        # Those of a name that nothing has: a policy for the whole path holds for it too.
        "roles": f"arn:{arns.partition}:iam::{arns.account}:role{arns.path}any",
        "profiles": f"arn:{arns.partition}:iam::{arns.account}:instance-profile{arns.path}any",
    }
    return {**found, _VIEWERS: arns.served_iam("role", f"/{arns.spokes}-{Access.VIEWER}")} if arns.spokes else found


def lacking(
    deployment: Deployment, principal: str, needs: Sequence[Need], *, level: Level = Level.WARN, remedy: str = _PAGE
) -> Iterator[Finding]:
    """What IAM refuses a principal of what it needs; things are asked about once each."""
    asked: dict[Request, set[str]] = {}
    for need in needs:
        asked.setdefault(need.request, set()).update(need.actions)
    answers = {each: _simulated(deployment, principal, each, actions=actions) for each, actions in asked.items()}
    for need in needs:
        answer = answers[need.request]
        refused = [each for each in need.actions if answer[each]["EvalDecision"] != "allowed"]
        if not refused:
            continue
        what = f"for {need.purpose}: {', '.join(refused)} on {need.request.resource}"
        details = [answer[each] for each in refused]
        # Of a named resource they may be with it (the same reference).
        parts = [part for each in details for part in (each, *each.get("ResourceSpecificResults", ()))]
        if keys := sorted({key for part in parts for key in part.get("MissingContextValues", ())}):
            # Nobody makes a request, so the simulation lacks what a request has, such as LeadingKeys.
            yield unknown(f"whether you may depends on {', '.join(keys)}, {what}", remedy)
        elif _refuses("Organizations", details):
            # IAM doesn't say which keys of such a policy it lacks (IAM API reference, `EvaluationResult`).
            yield unknown(f"a service control policy refuses it, or depends on the request, {what}", remedy)
        elif _refuses("PermissionsBoundary", details):
            yield Finding(level, f"your permissions boundary refuses it, {what}", remedy)
        else:
            yield Finding(level, f"you may not, {what}", remedy)


def _refuses(what: str, answers: Sequence[Mapping[str, Any]]) -> bool:
    return any(not each.get(f"{what}DecisionDetail", {}).get(f"AllowedBy{what}", True) for each in answers)


def _simulated(
    deployment: Deployment, principal: str, request: Request, actions: set[str]
) -> dict[str, Mapping[str, Any]]:
    """By each of the actions, what IAM says of it."""
    asked = {"PolicySourceArn": principal, "ActionNames": sorted(actions), "ResourceArns": [request.resource]}
    # Organizations close Regions by it.
    keys = (("aws:RequestedRegion", deployment.region), *request.context)
    context = [{"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"} for key, value in keys]
    simulate, results = "iam:SimulatePrincipalPolicy", "EvaluationResults"
    found = deployment.items(simulate, principal, results, **asked, ContextEntries=context)
    return {each["EvalActionName"]: each for each in found}

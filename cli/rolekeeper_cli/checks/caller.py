"""Whether you, who run the command, may do what its commands need. IAM is asked, nothing is tried."""

from dataclasses import dataclass
from typing import Any

from rolekeeper.settings import Access
from rolekeeper_cli.checks.deployment import DoctorDeployment, Findings, unknown, warn

_PAGE = 'have it allowed: docs/security.md, "What the command needs"'


@dataclass(frozen=True, slots=True)
class Need:
    """Actions that some commands need, on one kind of thing; with blanks between them."""

    purpose: str
    on: str
    actions: str


# Of a hub alone.
_READERS = "spokes' readers"
_LOOKS = "plan, fleet, explain, history, wait"
_LOOK_AT_INSTANCES = "ec2:DescribeInstances ec2:DescribeIamInstanceProfileAssociations"
_READ_ROLES = "iam:GetRole iam:ListAttachedRolePolicies iam:ListRolePolicies iam:GetRolePolicy"
_READ_POLICIES = "iam:GetPolicy iam:GetPolicyVersion"
# docs/security.md, "What the command needs"; a test compares them. What doctor itself lacks, its other checks tell.
NEEDS = (
    Need("reading mappings", "mapping table", "dynamodb:Scan dynamodb:GetItem"),
    Need("reading mappings", "state table", "dynamodb:BatchGetItem"),
    Need(
        "writing mappings",
        "mapping table",
        "dynamodb:PutItem dynamodb:UpdateItem dynamodb:DeleteItem dynamodb:BatchGetItem",
    ),
    Need("approving", "mapping table", "dynamodb:UpdateItem dynamodb:BatchGetItem"),
    Need("approving", "state table", "dynamodb:PutItem dynamodb:BatchGetItem"),
    Need("discarding", "mapping table", "dynamodb:UpdateItem dynamodb:BatchGetItem"),
    Need("discarding", "state table", "dynamodb:BatchGetItem"),
    Need("history, rollback, deletions", "state table", "dynamodb:Query dynamodb:BatchGetItem"),
    Need("pause, resume, mode", "state table", "dynamodb:UpdateItem dynamodb:BatchGetItem"),
    Need("pins", "state table", "dynamodb:PutItem dynamodb:UpdateItem dynamodb:DeleteItem dynamodb:BatchGetItem"),
    Need("pins", "instances", _LOOK_AT_INSTANCES),
    Need("pins", "roles", _READ_ROLES),
    Need("pins", "profiles", "iam:GetInstanceProfile"),
    Need("pins", "managed policies", _READ_POLICIES),
    Need("release, apply", "work queue", "sqs:SendMessage"),
    Need(_LOOKS, "instances", _LOOK_AT_INSTANCES),
    Need(_LOOKS, "state table", "dynamodb:BatchGetItem dynamodb:Query"),
    Need(_LOOKS, "roles", _READ_ROLES),
    Need(_LOOKS, "profiles", "iam:GetInstanceProfile"),
    Need(_LOOKS, "managed policies", _READ_POLICIES),
    Need("looking into other accounts", _READERS, "sts:AssumeRole"),
    Need("explain, to name a rollback", "mapping table", "dynamodb:GetItem"),
    Need("explain, history --who", "event history", "cloudtrail:LookupEvents"),
    Need("plan, to name rows that wait", "mapping table", "dynamodb:Scan"),
    Need("plan -f, and what is shown before a question", "mapping table", "dynamodb:Scan dynamodb:Query"),
    Need("targets", "state table", "dynamodb:Query dynamodb:BatchGetItem"),
    Need("targets forget", "state table", "dynamodb:DeleteItem"),
    Need("guard", "mapping table", "dynamodb:Scan"),
    Need("guard", "state table", "dynamodb:BatchGetItem"),
    Need("guard", "stack", "cloudformation:DescribeStackResource"),
    Need("watch", "log groups", "logs:FilterLogEvents"),
    Need("watch", "stack", "cloudformation:DescribeStackResource"),
    Need("sweep", "sweep's function", "lambda:InvokeFunction"),
    Need("sweep", "stack", "cloudformation:DescribeStackResource"),
    # SQS moves with the caller's own permissions (SQS API reference, `StartMessageMoveTask`).
    Need(
        "redrive",
        "dead-letter queue",
        "sqs:GetQueueAttributes sqs:ReceiveMessage sqs:ChangeMessageVisibility sqs:DeleteMessage "
        "sqs:StartMessageMoveTask sqs:ListMessageMoveTasks",
    ),
    Need("redrive", "work queue", "sqs:GetQueueAttributes sqs:SendMessage"),
    Need("roles", "roles", f"{_READ_ROLES} iam:GenerateServiceLastAccessedDetails"),
    Need("roles", "managed policies", _READ_POLICIES),
    Need(
        "roles",
        "account",
        "iam:ListRoles iam:ListInstanceProfiles iam:GetServiceLastAccessedDetails iam:GetAccountSummary",
    ),
    Need("console --write, to set tags and to start", "instances", "ec2:CreateTags ec2:DeleteTags ec2:StartInstances"),
    Need("roles", "instances", _LOOK_AT_INSTANCES),
    Need("roles", "mapping table", "dynamodb:Scan"),
    Need("roles", "state table", "dynamodb:BatchGetItem"),
)


def caller(deployment: DoctorDeployment) -> Findings:
    arn = deployment.caller.arn
    if arn.endswith(":root"):
        yield warn("you are using the account's root user, which no IAM policy limits", "use an IAM role")
        return ""
    if (principal := _principal(deployment)) is None:
        yield unknown(f"IAM can't tell what {arn} may do: it is no user and no role", _PAGE)
        return ""
    where = _arns(deployment)
    if not deployment.settings.organization:
        del where[_READERS]
    said = {on: _simulated(deployment, principal, on, resource=resource) for on, resource in where.items()}
    for need in (each for each in NEEDS if each.on in where):
        refused = [each for each in need.actions.split() if said[need.on][each]["EvalDecision"] != "allowed"]
        keys = sorted({key for each in refused for key in said[need.on][each].get("MissingContextValues", ())})
        if not refused:
            continue
        what = f"for {need.purpose}: {', '.join(refused)} on {where[need.on]}"
        if keys:
            # The simulation knows only what it is told: nobody makes a request, so there is no LeadingKeys, say.
            yield unknown(f"whether you may depends on {', '.join(keys)}, {what}", _PAGE)
        else:
            yield warn(f"you may not, {what}", _PAGE)
    return f"{arn} may do what the commands need"


def _principal(deployment: DoctorDeployment) -> str | None:
    """The user or role whose policies count, by its ARN in IAM: a role's session doesn't show the role's path."""
    kind, *rest = deployment.caller.arn.split(":", 5)[5].split("/")
    if kind == "assumed-role":
        role = deployment.app.iam.get_role(rest[0])
        return role.arn if role else None
    return deployment.caller.arn if ":iam::" in deployment.caller.arn and kind == "user" else None


def _arns(deployment: DoctorDeployment) -> dict[str, str]:
    partition, account, region = deployment.caller.partition, deployment.caller.account, deployment.session.region_name
    here = f"{region}:{account}"
    return {
        "mapping table": f"arn:{partition}:dynamodb:{here}:table/{deployment.settings.mapping_table}",
        "state table": f"arn:{partition}:dynamodb:{here}:table/{deployment.output('StateTable')}",
        "work queue": f"arn:{partition}:sqs:{here}:{deployment.output('WorkQueue').rsplit('/', 1)[-1]}",
        "dead-letter queue": f"arn:{partition}:sqs:{here}:{deployment.output('DeadLetterQueue').rsplit('/', 1)[-1]}",
        "stack": f"arn:{partition}:cloudformation:{here}:stack/{deployment.stack.name}/any",
        "log groups": f"arn:{partition}:logs:{here}:log-group:/aws/lambda/{deployment.stack.name}/on-instance-event:*",
        "sweep's function": f"arn:{partition}:lambda:{here}:function:{deployment.stack.name}-OnSchedule-any",
        _READERS: f"arn:{partition}:iam::*:role/{deployment.settings.namespace}-{Access.READER}",
        "instances": "*",
        "account": "*",
        "event history": "*",
        "managed policies": "*",
        # Those of a name that nothing has: a policy for the whole path holds for it too.
        "roles": deployment.app.iam.arn("role", deployment.settings.role_path, "any"),
        "profiles": deployment.app.iam.arn("instance-profile", deployment.settings.role_path, "any"),
    }


def _simulated(deployment: DoctorDeployment, principal: str, on: str, resource: str) -> dict[str, Any]:
    """By each action that is needed on a thing, what IAM says of it."""
    actions = sorted({action for need in NEEDS if need.on == on for action in need.actions.split()})
    asked = {"PolicySourceArn": principal, "ActionNames": actions, "ResourceArns": [resource]}
    pages = deployment.pages("iam:SimulatePrincipalPolicy", principal, **asked)
    return {each["EvalActionName"]: each for page in pages for each in page["EvaluationResults"]}

"""Whether the caller may do what the commands need. IAM is asked; nothing is tried."""

from collections.abc import Mapping
from typing import Any

from rolekeeper.settings import Access
from rolekeeper_cli.checks.deployment import DoctorDeployment, Findings, unknown, warn

_PAGE = 'ask for that permission: docs/security.md, "What the command needs"'


# What `NEEDS` is about; a hub alone has readers in its spokes.
_ROWS, _STATE, _WORK, _READERS = "mapping table", "state table", "work queue", "spokes' readers"
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
    "writing mappings": {
        _ROWS: "dynamodb:PutItem dynamodb:UpdateItem dynamodb:DeleteItem dynamodb:BatchGetItem",
    },
    "approving": {
        _ROWS: "dynamodb:UpdateItem dynamodb:BatchGetItem",
        _STATE: "dynamodb:PutItem dynamodb:BatchGetItem",
    },
    "discarding": {_ROWS: "dynamodb:UpdateItem dynamodb:BatchGetItem", _STATE: "dynamodb:BatchGetItem"},
    "history, rollback, deletions": {_STATE: "dynamodb:Query dynamodb:BatchGetItem"},
    "pause, resume, mode": {_STATE: "dynamodb:UpdateItem dynamodb:BatchGetItem"},
    "pins": {_STATE: "dynamodb:PutItem dynamodb:UpdateItem dynamodb:BatchGetItem", **_LOOK},
    "release, apply": {_WORK: "sqs:SendMessage"},
    "plan, fleet, explain, history, wait": {_STATE: "dynamodb:BatchGetItem dynamodb:Query", **_LOOK},
    "looking into other accounts": {_READERS: "sts:AssumeRole"},
    "explain, to name a rollback": {_ROWS: "dynamodb:GetItem"},
    "explain, history --who": {"event history": "cloudtrail:LookupEvents"},
    "plan, to name rows that wait": {_ROWS: "dynamodb:Scan"},
    "plan -f, and what is shown before a question": {_ROWS: "dynamodb:Scan dynamodb:Query"},
    "targets": {_STATE: "dynamodb:Query dynamodb:BatchGetItem"},
    "targets forget": {_STATE: "dynamodb:DeleteItem"},
    "guard": {_ROWS: "dynamodb:Scan", _STATE: "dynamodb:BatchGetItem", **_FIND},
    "watch": {"log groups": "logs:FilterLogEvents", **_FIND},
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
    "console --write, to set tags and to start": {
        "instances": "ec2:CreateTags ec2:DeleteTags ec2:StartInstances",
    },
}


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
    answers = {on: _simulated(deployment, principal, on, resource=resource) for on, resource in where.items()}
    needed = [
        (purpose, on, actions) for purpose, needs in NEEDS.items() for on, actions in needs.items() if on in where
    ]
    for purpose, on, actions in needed:
        refused = [each for each in actions.split() if answers[on][each]["EvalDecision"] != "allowed"]
        keys = sorted({key for each in refused for key in answers[on][each].get("MissingContextValues", ())})
        if not refused:
            continue
        what = f"for {purpose}: {', '.join(refused)} on {where[on]}"
        if keys:
            # Nobody makes a request, so the simulation lacks what a request has, such as LeadingKeys.
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
        _ROWS: f"arn:{partition}:dynamodb:{here}:table/{deployment.settings.mapping_table}",
        _STATE: f"arn:{partition}:dynamodb:{here}:table/{deployment.output('StateTable')}",
        _WORK: f"arn:{partition}:sqs:{here}:{deployment.output('WorkQueue').rsplit('/', 1)[-1]}",
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
    actions = sorted({action for needs in NEEDS.values() for action in needs.get(on, "").split()})
    asked = {"PolicySourceArn": principal, "ActionNames": actions, "ResourceArns": [resource]}
    pages = deployment.pages("iam:SimulatePrincipalPolicy", principal, **asked)
    return {each["EvalActionName"]: each for page in pages for each in page["EvaluationResults"]}

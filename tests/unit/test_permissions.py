"""The policies in the template and the calls in the code are one: nothing called that isn't allowed, nor the reverse.

Which function needs which is heard while they run (test_least_privilege); here the code itself is read, so that a call
which no run makes is found too.
"""

import ast
import re
from pathlib import Path
from typing import Any

from support import templates

ROOT = Path(__file__).parents[2]
CODE = ROOT / "layers/rolekeeper/rolekeeper"
# The module that calls services, and the names that IAM has for them.
SERVICES = {
    "telemetry.py": ("events",),
    "aws/ec2.py": ("ec2",),
    "aws/iam.py": ("iam",),
    "aws/queue.py": ("sqs", "states", "lambda"),
    "instances/retry.py": ("states",),
    "mail.py": ("sns",),
    "mappings/table.py": ("dynamodb",),
    "storage/table.py": ("dynamodb",),
    "../../../functions/sessions.py": ("sts",),
}
# Calls that IAM authorizes by other names (service authorization reference).
AUTHORIZED_AS = {
    "dynamodb:TransactWriteItems": {"dynamodb:PutItem", "dynamodb:UpdateItem"},
    "lambda:Invoke": {"lambda:InvokeFunction"},
    "sqs:SendMessageBatch": {"sqs:SendMessage"},
}
# What EC2 and IAM check beside the call itself, when a role is passed.
PASSED = {"iam:PassRole"}
# What Lambda does with a function's role, not its code.
PLUMBING = {
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListStreams",
    # SNS uses the topic's key on behalf of who publishes.
    "kms:Decrypt",
    "kms:GenerateDataKey",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:DeleteMessage",
    "sqs:ReceiveMessage",
}
# The template's conditions as a hub that makes profiles meets them: with all that a function may be allowed.
DEPLOYED = ("MakesProfiles", "ServesOrganization", "MakesSpokesProfiles")
FUNCTION_ROLES = ("OnInstanceEventRole", "OnRetryRole", "OnMappingChangeRole", "OnScheduleRole", "OnStateChangeRole")


def called() -> set[str]:
    """Every action that the code's calls need."""
    actions: set[str] = set()
    for module, services in SERVICES.items():
        for node in ast.walk(ast.parse((CODE / module).read_text())):
            if operation := _operation(node):
                service = services[{"invoke": -1, "start_execution": -2}.get(operation, 0) if services[1:] else 0]
                action = f"{service}:{''.join(word.capitalize() for word in operation.split('_'))}"
                actions |= AUTHORIZED_AS.get(action, {action})
    return actions


def _operation(node: ast.AST) -> str:
    """The operation of `self.client.operation`, or of `self.client.get_paginator("operation")`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get_paginator":
        (name,) = node.args
        assert isinstance(name, ast.Constant)
        return str(name.value)
    value = node.value if isinstance(node, ast.Attribute) else None
    if isinstance(value, ast.Call):  # a client that is made when it is used
        value = value.func
    if isinstance(node, ast.Attribute) and isinstance(value, ast.Attribute) and value.attr in {"client", "_client"}:
        return "" if node.attr in {"get_paginator", "meta"} else node.attr
    return ""


def allowed() -> set[str]:
    """Every action that a function's policy allows."""
    resources = templates.load()["Resources"]
    actions: set[str] = set()
    for role in FUNCTION_ROLES:
        for statement in templates.policy_statements(resources, role, met=DEPLOYED):
            actions |= _listed(statement["Action"])
    return actions


def _listed(value: Any) -> set[str]:
    return set(value) if isinstance(value, list) else {value}


def test_the_reading_finds_calls_of_every_kind() -> None:
    assert {"ec2:DescribeInstances", "dynamodb:BatchGetItem", "sqs:SendMessage", "states:StartExecution"} <= called()


def test_no_module_calls_aws_beside_those_listed() -> None:
    callers = {
        str(path.relative_to(CODE, walk_up=True))
        for path in (*CODE.rglob("*.py"), *(ROOT / "functions").glob("*.py"))
        if re.search(r"self\._?client(\(\))?\.", path.read_text())
    }
    assert callers == set(SERVICES)


def test_every_call_is_allowed_and_every_permission_is_called() -> None:
    assert allowed() - PLUMBING - PASSED == called()

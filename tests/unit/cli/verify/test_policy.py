"""The policies of those who verify: enough for it, and of no use on what a verification didn't make."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from fixtures.terminal import Terminal
from rolekeeper.permissions.policies import listed, pattern_covers
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.guard.use import MANAGED_LIMIT, compact, verifiers_policies
from rolekeeper_verify.aws import permission_of
from rolekeeper_verify.names import PREFIX, TAG, Names
from support.deployment import deployment, translated
from support.policy_simulation import ACCOUNT, REGION, Policies, Request, needs_node, simulate
from support.templates import ROOT, load

BOTH = verifiers_policies("aws", ACCOUNT, REGION)
STATEMENTS: Sequence[Mapping[str, Any]] = [statement for policy in BOTH for statement in policy["Statement"]]
ACTIONS = {action for each in STATEMENTS for action in each["Action"]}
VERIFYING = ROOT / "verify/rolekeeper_verify"
ME = f"arn:aws:iam::{ACCOUNT}:role/verifier"
OWN = Names("abc123").stack
INSTANCE = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-1"
TAGGED, LAUNCH = {f"aws:ResourceTag/{TAG}": "abc123"}, {"ec2:CreateAction": "RunInstances"}


def allows(action: str) -> bool:
    return any(pattern_covers(each.lower(), action.lower()) for each in ACTIONS)


# ---- the document ----


@pytest.mark.parametrize(
    ("partition", "region"), [("aws", "ap-southeast-1"), ("aws-cn", "cn-northwest-1"), ("aws-us-gov", "us-gov-west-1")]
)
def test_each_fits_into_a_managed_policy(partition: str, region: str) -> None:
    for policy in verifiers_policies(partition, ACCOUNT, region):
        assert len(compact(policy)) <= MANAGED_LIMIT


def test_the_command_prints_both_without_a_deployment(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deployment, "stack", property(lambda _: pytest.fail("it asks for a stack")))
    ran = terminal("guard", "verifiers")
    second = terminal("guard", "verifiers", "--part", "2")
    assert [json.loads(each.stdout) for each in (ran, second)] == BOTH
    assert "Part 1 of 2, both are needed" in ran.stderr


# ---- what it allows ----


@dataclass(frozen=True, slots=True)
class Case:
    """An action of a statement, on a thing of a verification or on another one."""

    action: str
    resource: str
    context: Mapping[str, str | Sequence[str]]

    @property
    def request(self) -> Request:
        return Request(principal=ME, action=self.action, resource=self.resource, context=self.context)


# What is about no verification's own things. AWS's reference lacks the ARNs of its transform and its parameters.
ANYBODYS = {"WithoutNames", "LogDelivery", "LaunchesIn", "NewGroup", "Image", "Looks", "Serverless"}


def shown(pattern: str, *, own: bool) -> str:
    """What a pattern stands for: a thing of a verification, or of a deployment that is in use."""
    return pattern.replace(f"{PREFIX}*", OWN if own else "rolekeeper").replace("*", "one" if len(pattern) > 1 else "*")


def cases(*, own: bool) -> Iterator[Case]:
    """Each action as a verification asks it; or as it would be asked on another's things."""
    for statement in STATEMENTS:
        tests = [
            (key, listed(each)[0]) for test in statement.get("Condition", {}).values() for key, each in test.items()
        ]
        # Another's thing has none of a verification's tags.
        context = {key: shown(value, own=own) for key, value in tests if own or PREFIX in value}
        for resource, action in product(listed(statement["Resource"]), statement["Action"]):
            known = not any(each in resource for each in (":transform/", "::parameter/"))
            if known and "*" not in action and (own or statement["Sid"] not in ANYBODYS):
                yield Case(action, shown(resource, own=own), context)


@needs_node
@pytest.mark.parametrize("own", [True, False], ids=["its own", "a deployment that is in use"])
def test_it_may_do_what_it_does_to_its_own_things_and_none_of_it_to_others(*, own: bool) -> None:
    asked = list(cases(own=own))
    assert len(asked) > 100
    answers = simulate([(each.request, Policies(identity=BOTH)) for each in asked])
    assert [each for each, answer in zip(asked, answers, strict=True) if answer.allowed != own] == []


@needs_node
@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/rolekeeper/web", {"iam:PassedToService": "ec2.amazonaws.com"}),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/{OWN}/a", {"iam:PassedToService": "ecs-tasks.amazonaws.com"}),
        # By the tag, another instance would become one of the verification's.
        ("ec2:CreateTags", INSTANCE, {f"aws:RequestTag/{TAG}": "abc123", "aws:TagKeys": [TAG]}),
        # By another tag, a deployment that is in use would give its role to the verification's instance.
        ("ec2:CreateTags", INSTANCE, {**TAGGED, "aws:RequestTag/app": "web", "aws:TagKeys": ["app"]}),
        ("ec2:CreateTags", INSTANCE, {**LAUNCH, "aws:RequestTag/app": "web", "aws:TagKeys": [TAG, "app"]}),
        ("ec2:CreateTags", INSTANCE, {**LAUNCH, "aws:RequestTag/Name": "web", "aws:TagKeys": ["Name"]}),
        ("ec2:RunInstances", INSTANCE, {"aws:RequestTag/Name": "web"}),
        ("ec2:TerminateInstances", INSTANCE, {"aws:ResourceTag/Name": OWN}),
    ],
)
def test_what_would_lead_out_of_the_verification_is_refused(
    action: str, resource: str, context: Mapping[str, str | Sequence[str]]
) -> None:
    [answer] = simulate([(Case(action, resource, context).request, Policies(identity=BOTH))])
    assert not answer.allowed


# ---- whether it is enough ----

# What CloudFormation does for properties that the templates don't have, and what the policies of AWS's own keys allow.
UNUSED = [
    *("kms:*", "kinesis:*", "firehose:*", "elasticfilesystem:*", "s3files:*", "s3:GetObject?*", "s3:REST.*"),
    *("dynamodb:*Item", "dynamodb:Scan", "dynamodb:ImportTable", "dynamodb:*Replica"),
    *("dynamodb:*KinesisStreamingDestination", "dynamodb:UpdateContributorInsights"),
    *("ec2:AuthorizeSecurityGroupIngress", "ec2:DescribeVpcs", "ec2:DescribeNetworkInterfaces"),
    *("iam:*GroupPolicy", "iam:*UserPolicy", "iam:DeletePolicyVersion", "iam:UntagRole", "iam:CreateServiceLinkedRole"),
    *("lambda:AssociateRuntimeAlias", "lambda:PassCapacityProvider", "lambda:PutFunctionConcurrency"),
    *("lambda:PutRuntimeManagementConfig", "lambda:PutFunctionScalingConfig", "logs:PutBearerTokenAuthentication"),
    *("logs:*LogStream*", "logs:PutLogEvents", "logs:CreateLogDelivery", "logs:*ResourcePolic*", "logs:PutIndexPolicy"),
    *("logs:*DataProtectionPolicy", "sns:PutDataProtectionPolicy", "sns:Subscribe"),
]


def handlers() -> dict[str, set[str]]:
    """By resource type, what CloudFormation's registry says that making and deleting one takes."""
    schemas = Path(str(files("cfnlint"))) / "data/schemas"
    names, found = json.loads((schemas / "providers/us-east-1.json").read_text()), dict[str, set[str]]()
    for type_ in types():
        takes = json.loads((schemas / f"resources/{names[type_]}.json").read_text()).get("handlers", {})
        asked = [takes.get(each, {}).get("permissions", ()) for each in ("create", "delete")]
        found[type_] = {action for each in asked for action in each}
    return found


def types() -> set[str]:
    scene = load("verify/rolekeeper_verify/scene.yaml")
    return {each["Type"] for each in (*deployment(translated()).resources.values(), *scene["Resources"].values())}


def test_it_allows_what_cloudformation_does_for_each_resource() -> None:
    missing = {action for takes in handlers().values() for action in takes if not allows(action)}
    assert {each for each in missing if not any(pattern_covers(one, each) for one in UNUSED)} == set()
    assert [one for one in UNUSED if not any(pattern_covers(one, each) for each in missing)] == []


def test_it_allows_every_call_that_the_code_names() -> None:
    named = {
        permission_of(call)
        for file in VERIFYING.glob("*.py")
        for call in re.findall(r'"((?!tag:)[a-z0-9]+:[A-Z][A-Za-z]+)["\ ]', file.read_text())
    }
    assert {each for each in named if not allows(each)} == set()

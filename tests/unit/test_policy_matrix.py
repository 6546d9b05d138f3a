"""IAM's answer to each request of `spec.permitted`, and that no guard of a policy can be lost unnoticed."""

import functools
from typing import Any

import pytest

from spec import permitted
from spec.permitted import CASES, KEYS, PLACES, SECTIONS, Case
from support import deployment, templates
from support.deployment import Deployment
from support.lost_guards import answered_otherwise, unnoticed
from support.policy_simulation import ACCOUNT, FULL_ACCESS, Document, Policies, Request, needs_node

STRANGERS_ARN = f"arn:aws:iam::{permitted.OTHER_ACCOUNT}:role/admin"


def _statement(principal: Any, action: str) -> Document:
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*"}],
    }


MAY_WRITE: Document = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "dynamodb:*Item", "Resource": "*"}],
}
# What other accounts let us do is no guard of ours, so they let us do everything where their resources can say so.
# IAM's word counts for a key only if the key's policy says that, as the console writes it.
OTHERS_POLICIES = {
    **dict.fromkeys(("bus of others", "queue of others", "table of others", "topic of others"), _statement("*", "*")),
    **dict.fromkeys(("key", "own key"), _statement({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "kms:*")),
    # As spoke.yaml names the hub's account, whose own policies then count.
    **{
        place: _statement({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "sts:*")
        for place in PLACES
        if place.startswith(("reader", "changer", "notifier", "administrator"))
    },
}


def _arn(place: str, deployed: Deployment) -> str:
    name, _, inside = place.partition(":")
    if name in PLACES:
        arn = PLACES[name]
    elif name in deployed.arns:
        arn = deployed.arns[name].removesuffix(":*")
        inside = f"log-stream:{inside}" if ":log-group:" in arn else inside
    else:
        raise KeyError(place)
    return f"{arn}{':' if ':log-group:' in arn else '/'}{inside}" if inside else arn


def _values(key: str, value: str | tuple[str, ...], deployed: Deployment) -> str | list[str]:
    if isinstance(value, tuple) or key == "item":
        return [value] if isinstance(value, str) else list(value)
    return _arn(value, deployed) if value in PLACES or value in deployed.arns else value


def _asked(case: Case, deployed: Deployment) -> tuple[Request, Policies]:
    identity: tuple[Document, ...] = ()
    match case.who:
        case permitted.STRANGER:
            principal, identity = STRANGERS_ARN, (FULL_ACCESS,)
        case permitted.ADMIN:
            principal, identity = PLACES["user"], (FULL_ACCESS,)
        case permitted.ROOT:
            principal, identity = f"arn:aws:iam::{ACCOUNT}:root", (FULL_ACCESS,)
        case permitted.OPERATOR:
            principal, identity = PLACES["role outside"], (MAY_WRITE,)
        case permitted.USER:
            principal = PLACES["user"]
        case service if service.endswith(".amazonaws.com"):
            principal = service
        case role:
            principal, identity = deployed.arns[role], deployed.identity_policies(role)
    name = case.on.partition(":")[0]
    on_log = name in deployed.resources and deployed.resources[name]["Type"] == "AWS::Logs::LogGroup"
    policy = OTHERS_POLICIES.get(name) if name in PLACES else deployed.resource_policy(name)
    account = permitted.OTHER_ACCOUNT if name.endswith("of others") else ACCOUNT
    context = {KEYS[key]: _values(key, value, deployed) for key, value in case.given}
    request = Request(
        principal=principal, action=case.action, resource=_arn(case.on, deployed), account=account, context=context
    )
    return request, Policies(identity=identity, resource=None if on_log else policy)


@functools.cache
def _today() -> dict[bool, Deployment]:
    """By whether it may take over; with a key of somebody's, and as a hub, which adds what is allowed for those."""
    more = {"KmsKeyArn": PLACES["own key"], "OrganizationId": permitted.ORG}
    template = deployment.translated()
    return {over: deployment.deployment(template, TakeOver=str(over).lower(), **more) for over in (False, True)}


# Which actions are allowed but for those of the functions; test_least_privilege hears what these call. On what they are
# allowed, when and to whom is in spec.permitted.
ACTIONS = {
    "RetryStateMachineRole": "lambda:InvokeFunction",
    "ResumeStateMachineRole": "lambda:InvokeFunction",
    # A Distributed Map starts children, and watches them ("IAM policies for using Distributed Map states").
    "AccountsStateMachineRole": (
        "lambda:InvokeFunction states:StartExecution states:DescribeExecution states:StopExecution"
    ),
    "StateMachinePolicy": (
        "sqs:SendMessage logs:CreateLogDelivery logs:GetLogDelivery logs:UpdateLogDelivery logs:DeleteLogDelivery "
        "logs:ListLogDeliveries logs:PutResourcePolicy logs:DescribeResourcePolicies logs:DescribeLogGroups"
    ),
    "UseKeyPolicy": "kms:Decrypt kms:DescribeKey kms:Encrypt kms:GenerateDataKey* kms:ReEncrypt*",
    "WorkQueuePolicy": "sqs:SendMessage",
    "DeadLetterQueuePolicy": "sqs:SendMessage",
    "AlarmTopicPolicy": "sns:Publish",
    "AlarmKey": "kms:* kms:GenerateDataKey* kms:Decrypt",
    "SpokeBusPolicy": "events:PutEvents",
}
OF_FUNCTIONS = {
    *("SharedPolicy", "PublishPolicy", *(f"{name}Policy" for name in permitted.FUNCTION.values())),
    *("ReadSpokesPolicy", "ChangeSpokesPolicy", "NotifySpokesPolicy", "SweepTargetsPolicy"),
}


def test_only_these_actions_are_allowed_beside_those_of_the_functions() -> None:
    resources = _today()[True].resources
    found = {name: templates.allowed_actions(each) for name, each in resources.items() if name not in OF_FUNCTIONS}
    roles = {name for name in found if resources[name]["Type"] == "AWS::IAM::Role"}
    expected = {name: set(ACTIONS.get(name, "").split()) for name in found}
    assert found == {name: each | ({"sts:AssumeRole"} if name in roles else set()) for name, each in expected.items()}
    permissions = [each for each in resources.values() if each["Type"] == "AWS::Lambda::Permission"]
    assert {each["Properties"]["Action"] for each in permissions} == {"lambda:InvokeFunction"}


@functools.cache
def _otherwise() -> list[Case]:
    return answered_otherwise(CASES, _today(), _asked)


@needs_node
@pytest.mark.parametrize("section", SECTIONS)
def test_a_role_may_do_what_its_function_does_and_no_more(section: str) -> None:
    assert [str(each) for each in _otherwise() if each in SECTIONS[section]] == []


# What can be lost without a request that tells, and why.
UNNOTICED = {
    # The account's roles, profiles and policies, and AWS's policies, are all that the account can ask for.
    "SharedPolicy.PolicyDocument: SeeRolesAndProfiles on everything",
    "SharedPolicy.PolicyDocument: SeePolicies on everything",
    # StringEquals takes no wildcard.
    "SharedPolicy.PolicyDocument: EncryptMails, kms:ViaService in every Region",
    "OnStateChangePolicy.PolicyDocument: EncryptMails, kms:ViaService in every Region",
    # It is met by default, or here.
    "PublishPolicy.PolicyDocument: MakesProfiles taken for met",
    "SharedPolicy.PolicyDocument: HasKey taken for met",
    "OnStateChangePolicy.PolicyDocument: HasKey taken for met",
    "OnInstanceEventPolicy.PolicyDocument: ServesOrganization taken for met",
    # Each caller that is of an organization has an ARN.
    "SpokeBusPolicy.Statement: trust with ArnLikeIfExists",
    # NobodyElseMayPublish holds alone.
    "AlarmTopicPolicy.PolicyDocument: OurAlarmsMayPublish for everybody",
}


@needs_node
def test_no_guard_can_be_lost_unnoticed() -> None:
    """A guard that is lost allows more, so one of the requests that are refused today has to be allowed."""
    refused = [case for case in CASES if not case.allowed]
    ours = {case for case in refused if case.who in permitted.ALL}
    lost = unnoticed(deployment.translated(), _today(), refused, _asked, ours)
    assert sorted(lost ^ UNNOTICED) == []

"""The simulation of IAM's policies answers as IAM's documentation says, or says why it can't."""

from typing import Any

import pytest

from support import policy_simulation
from support.policy_simulation import Answer, Document, Policies, Request, needs_node, simulate

ROLE = f"arn:aws:iam::{policy_simulation.ACCOUNT}:role/rolekeeper/web"
READER = f"arn:aws:iam::{policy_simulation.ACCOUNT}:role/reader"
QUEUE = f"arn:aws:sqs:{policy_simulation.REGION}:{policy_simulation.ACCOUNT}:queue"
PASSING = Request(principal=READER, action="iam:PassRole", resource=ROLE, context={"iam:PassedToService": "ec2.a"})


def _policy(effect: str, **more: Any) -> Document:
    return {"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": "*", "Resource": "*"} | more]}


ALLOW, DENY = _policy("Allow"), _policy("Deny")
TO_EC2 = _policy("Allow", Condition={"StringEquals": {"iam:PassedToService": "ec2.a"}})
TO_LAMBDA = _policy("Allow", Condition={"StringEquals": {"iam:PassedToService": "lambda.a"}})
OVER_TLS = _policy("Deny", Action="sqs:*", Principal="*", Condition={"Bool": {"aws:SecureTransport": "false"}})
RULES_SEND = _policy(
    "Allow", Action="sqs:SendMessage", Principal={"Service": "events.amazonaws.com"},
    Condition={"ArnEquals": {"aws:SourceArn": "arn:aws:events:us-east-1:123456789012:rule/ours"}},
)  # fmt: skip


def _send(principal: str, **context: str) -> Request:
    return Request(principal=principal, action="sqs:SendMessage", resource=QUEUE, context=context)


ANSWERS = [
    (PASSING, Policies(), Answer.IMPLICITLY_DENIED),
    (PASSING, Policies(identity=[ALLOW]), Answer.ALLOWED),
    (PASSING, Policies(identity=[ALLOW, DENY]), Answer.EXPLICITLY_DENIED),
    (PASSING, Policies(identity=[TO_EC2]), Answer.ALLOWED),
    (PASSING, Policies(identity=[TO_LAMBDA]), Answer.IMPLICITLY_DENIED),
    (PASSING, Policies(identity=[ALLOW], boundaries=[TO_EC2]), Answer.ALLOWED),
    (PASSING, Policies(identity=[ALLOW], boundaries=[TO_LAMBDA]), Answer.IMPLICITLY_DENIED),
    (PASSING, Policies(boundaries=[ALLOW]), Answer.IMPLICITLY_DENIED),
    (PASSING, Policies(identity=[ALLOW], scps=[DENY]), Answer.EXPLICITLY_DENIED),
    (PASSING, Policies(identity=[ALLOW], scps=[_policy("Deny", Action="s3:*")]), Answer.ALLOWED),
    (_send(READER), Policies(identity=[ALLOW], resource=OVER_TLS), Answer.ALLOWED),
    (
        _send(READER, **{"aws:SecureTransport": "false"}),
        Policies(identity=[ALLOW], resource=OVER_TLS),
        Answer.EXPLICITLY_DENIED,
    ),
    (
        _send("events.amazonaws.com", **{"aws:SourceArn": "arn:aws:events:us-east-1:123456789012:rule/ours"}),
        Policies(resource=RULES_SEND),
        Answer.ALLOWED,
    ),
    (
        _send("events.amazonaws.com", **{"aws:SourceArn": "arn:aws:events:us-east-1:123456789012:rule/other"}),
        Policies(resource=RULES_SEND),
        Answer.IMPLICITLY_DENIED,
    ),
    # Who calls from another account needs both sides.
    (
        _send("arn:aws:iam::999999999999:role/reader"),
        Policies(identity=[ALLOW], resource=RULES_SEND),
        Answer.IMPLICITLY_DENIED,
    ),
]


@needs_node
def test_requests_are_answered_as_iam_would() -> None:
    answers = simulate([(request, policies) for request, policies, _ in ANSWERS])
    assert answers == [answer for _, _, answer in ANSWERS]


@needs_node
@pytest.mark.parametrize(
    ("request_", "policies", "says"),
    [
        (Request(principal=READER, action="iam:PasRole", resource=ROLE), Policies(), "invalid.action"),
        (Request(principal=READER, action="iam:PassRole", resource=QUEUE), Policies(), "no.resource.types"),
        (PASSING, Policies(identity=[_policy("Maybe")]), "policy.errors"),
        (
            Request(
                principal=READER,
                action="ec2:TerminateInstances",
                resource="arn:aws:ec2:us-east-1:123456789012:instance/i-1",
                context={"iam:PassedToService": "ec2.a"},
            ),
            Policies(),
            "has no iam:PassedToService",
        ),
    ],
)
def test_what_aws_would_never_be_asked_is_refused(request_: Request, policies: Policies, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        simulate([(request_, policies)])


def test_where_node_is_missing_nothing_is_taken_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_simulation, "MISSING", "Node is not installed")
    with pytest.raises(RuntimeError, match="Node is not installed"):
        simulate([(PASSING, Policies())])

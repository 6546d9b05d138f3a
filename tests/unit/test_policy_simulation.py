"""The simulation of IAM's policies refuses what AWS would never be asked; spec/permitted.py shows what it answers."""

import pytest

from support import policy_simulation
from support.policy_simulation import Document, Policies, Request, needs_node, simulate

ROLE = f"arn:aws:iam::{policy_simulation.ACCOUNT}:role/rolekeeper/web"
READER = f"arn:aws:iam::{policy_simulation.ACCOUNT}:role/reader"
QUEUE = f"arn:aws:sqs:{policy_simulation.REGION}:{policy_simulation.ACCOUNT}:queue"
PASSING = Request(principal=READER, action="iam:PassRole", resource=ROLE, context={"iam:PassedToService": "ec2.a"})
PERHAPS: Document = {"Version": "2012-10-17", "Statement": [{"Effect": "Maybe", "Action": "*", "Resource": "*"}]}


@needs_node
@pytest.mark.parametrize(
    ("request_", "policies", "says"),
    [
        (Request(principal=READER, action="iam:PasRole", resource=ROLE), Policies(), "invalid.action"),
        (Request(principal=READER, action="iam:PassRole", resource=QUEUE), Policies(), "no.resource.types"),
        (PASSING, Policies(identity=[PERHAPS]), "policy.errors"),
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

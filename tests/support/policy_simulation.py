"""Whether IAM would allow a request, by `@cloud-copilot/iam-simulate`: one Node process answers a whole batch.

It is the evaluator that knows conditions, SCPs and resource policies and needs no account. It is a
development tool only: its licence is the AGPL.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".envs/node"
ACCOUNT = "123456789012"
REGION = "us-east-1"

Document = Mapping[str, Any]

# AWS attaches it wherever no SCP of one's own takes its place.
FULL_ACCESS: Document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}

# `make unit` sets it up, with Node; who runs pytest alone may not have it.
MISSING = "" if (ENVIRONMENT / "done").exists() else ".envs/node isn't set up: make .envs/node/done"
needs_node = pytest.mark.skipif(bool(MISSING), reason=MISSING)


class Answer(StrEnum):
    """IAM's answer to a request."""

    ALLOWED = "Allowed"
    EXPLICITLY_DENIED = "ExplicitlyDenied"
    IMPLICITLY_DENIED = "ImplicitlyDenied"

    @property
    def allowed(self) -> bool:
        return self is Answer.ALLOWED


@dataclass(frozen=True, kw_only=True)
class Request:
    """What somebody asks of AWS: a role, a user, a session (their ARN) or a service, as "events.amazonaws.com".

    `account` is the resource's. `context` has the condition keys beside those that every request has.
    """

    principal: str
    action: str
    resource: str = "*"
    account: str = ACCOUNT
    context: Mapping[str, str | Sequence[str]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        always = {"aws:SecureTransport": "true", "aws:PrincipalIsAWSService": "false"}
        # A session's aws:PrincipalArn is its role's, whose path the session's ARN doesn't tell: say it in the context.
        if ":iam::" in self.principal:
            always |= {"aws:PrincipalArn": self.principal, "aws:PrincipalAccount": self.principal.split(":")[4]}
        if self.principal.endswith(".amazonaws.com"):
            always |= {"aws:PrincipalIsAWSService": "true", "aws:PrincipalServiceName": self.principal}
        return {
            "principal": self.principal,
            "action": self.action,
            "resource": {"resource": self.resource, "accountId": self.account},
            "contextVariables": always | dict(self.context),
        }


@dataclass(frozen=True, kw_only=True)
class Policies:
    """The documents that apply to a request: the principal's, those of its account and that of the resource.

    `scps` are those beside `FullAWSAccess`.
    """

    identity: Sequence[Document] = ()
    scps: Sequence[Document] = ()
    resource: Document | None = None


def simulate(asked: Sequence[tuple[Request, Policies]]) -> list[Answer]:
    """IAM's answers, in the order of what is asked.

    Raises:
        ValueError: a policy or a request isn't valid, or a condition key doesn't belong to the action. AWS would never
            send such a key, so a case that names it proves nothing.
    """
    documents: dict[str, int] = {}

    def number(document: Document) -> int:
        return documents.setdefault(json.dumps(document), len(documents))

    cases = [
        {
            "request": request.as_json(),
            "identity": [number(each) for each in policies.identity],
            "scps": [number(each) for each in (FULL_ACCESS, *policies.scps)] if policies.scps else [],
            "resource": None if policies.resource is None else number(policies.resource),
        }
        for request, policies in asked
    ]
    answered = _run({"policies": [json.loads(each) for each in documents], "cases": cases})
    assert len(answered) == len(asked)
    for (request, _), answer in zip(asked, answered, strict=True):
        if answer["error"]:
            raise ValueError(f"{request}: {json.dumps(answer['error'])}")
        if answer["ignored"]:
            raise ValueError(f"{request}: {request.action} on this resource has no {', '.join(answer['ignored'])}")
    return [Answer(answer["answer"]) for answer in answered]


def _run(batch: dict[str, Any]) -> list[dict[str, Any]]:
    if MISSING:
        raise RuntimeError(MISSING)
    script = Path(__file__).with_name("simulate.mjs")
    done = subprocess.run(
        [str(ENVIRONMENT / "bin/node"), str(script), str(ENVIRONMENT)],
        input=json.dumps(batch),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers

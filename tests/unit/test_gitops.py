"""The roles of the pipeline read what its commands need, write rows alone, and trust one repository's runs."""

import tomllib
from typing import Any

import pytest

from rolekeeper_cli.doctor.caller import Need, operating
from rolekeeper_cli.guard import use as guard
from rolekeeper_cli.guard.use import Arns
from support import templates
from support.policy_simulation import ACCOUNT, REGION, Document, Policies, Request, needs_node, simulate
from support.templates import ROOT

ARNS = Arns("aws", ACCOUNT, REGION, "/rolekeeper/", "rolekeeper", "mappings", "state")
VALUES = {
    "AWS::Partition": "aws",
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "StackName": "rolekeeper",
    "MappingTable": "mappings",
    "StateTable": "state",
    "WorkQueueName": "work",
    "RolePath": "/rolekeeper/",
    "Subject": "repo:o/r",
    "Branch": "main",
    "ReadPolicy": "read",
    "EditorsPolicy": "editors",
}
# What the commands of the pipeline are, in docs/security.md.
READS = {
    "reading mappings",
    "plan, fleet, explain, history, uptake, wait",
    "plan, to name rows that wait",
    "plan -f, and what is shown before a question",
}
WRITES = {"writing mappings", "approving", "release, apply", "pins", "pause, resume, mode"}


def properties(name: str, *met: str) -> Any:
    resource = templates.load("examples/gitops/pipeline.yaml")["Resources"][name]
    return templates.filled(templates.chosen(resource["Properties"], met), VALUES)


def policies(role: str) -> Policies:
    found = properties(role)
    managed = {"read": properties("ReadPolicy")["PolicyDocument"], "editors": guard.editors_policy(ARNS)}
    own: list[Document] = [each["PolicyDocument"] for each in found.get("Policies", [])]
    return Policies(identity=[*own, *(managed[each] for each in found["ManagedPolicyArns"])])


def asked(need: Need) -> list[Request]:
    me, one = f"arn:aws:iam::{ACCOUNT}:role/pipeline", "arn:aws:iam::aws:policy/One"
    return [
        Request(principal=me, action=each, resource=one if each.startswith("iam:GetPolicy") else need.request.resource)
        for each in need.actions
    ]


def refused(purposes: set[str], role: str) -> set[str]:
    """The actions, as ACTION RESOURCE, that a role's policies refuse."""
    needs = [each for each in operating(ARNS, "work", "dead") if each.purpose in purposes]
    requests = [each for need in needs for each in asked(need)]
    answers = simulate([(each, policies(role)) for each in requests])
    named = [f"{each.action} {each.resource.rpartition(':')[2]}" for each in requests]
    return {name for name, answer in zip(named, answers, strict=True) if not answer.allowed}


@needs_node
@pytest.mark.parametrize("role", ["ReviewRole", "PublishRole"])
def test_both_roles_read_all_that_the_commands_read(role: str) -> None:
    assert refused(READS, role) == set()


@needs_node
def test_reviewing_writes_nothing_and_publishing_writes_no_state() -> None:
    writing = {
        f"dynamodb:{action} table/{table}"
        for table, actions in (
            ("mappings", ("PutItem", "UpdateItem", "DeleteItem")),
            ("state", ("PutItem", "UpdateItem")),
        )
        for action in actions
    }
    assert refused(WRITES, "ReviewRole") == {*writing, "sqs:SendMessage work"}
    # Rows are written with conditions on their columns: test_guard_policies.py.
    rows = {"dynamodb:PutItem table/mappings", "dynamodb:UpdateItem table/mappings"}
    assert refused(WRITES, "PublishRole") - rows == {"dynamodb:PutItem table/state", "dynamodb:UpdateItem table/state"}


GITHUB, GITLAB = "token.actions.githubusercontent.com", "gitlab.com"


@pytest.mark.parametrize(
    ("role", "host", "subjects"),
    [
        ("ReviewRole", GITHUB, {"StringEquals": ["repo:o/r:pull_request", "repo:o/r:ref:refs/heads/main"]}),
        ("PublishRole", GITHUB, {"StringEquals": "repo:o/r:ref:refs/heads/main"}),
        ("ReviewRole", GITLAB, {"StringLike": "repo:o/r:ref_type:branch:ref:*"}),
        ("PublishRole", GITLAB, {"StringEquals": "repo:o/r:ref_type:branch:ref:main"}),
    ],
)
def test_a_role_trusts_the_runs_of_one_repository(role: str, host: str, subjects: dict[str, Any]) -> None:
    [statement] = properties(role, *["AtGitHub"] * (host == GITHUB))["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{host}"}
    conditions = statement["Condition"]
    assert conditions["StringEquals"][f"{host}:aud"] == "sts.amazonaws.com"
    assert {test: found for test, keys in conditions.items() if (found := keys.get(f"{host}:sub"))} == subjects


def test_the_action_installs_what_the_command_needs() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    lines = (ROOT / "requirements/command.in").read_text().splitlines()
    assert [line for line in lines if not line.startswith(("#", "-"))] == wanted

"""`rolekeeper doctor`, as a process, on the embedded AWS: well, and ill in one way at a time."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fixtures.command import Command
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import EmbeddedAws
from support.waiting import eventually

pytestmark = pytest.mark.emulator

TRUSTS_LAMBDA = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"},'
    ' "Action": "sts:AssumeRole"}]}'
)


@pytest.fixture(scope="module")
def deployed(free_port: Callable[[], int]) -> Iterator[EmulatedAccount]:
    """A deployment of its own: what other tests leave behind would be found here."""
    with EmbeddedAws(port=free_port()) as aws:
        aws.deploy()
        yield EmulatedAccount(aws)


@pytest.fixture(scope="module")
def rolekeeper(deployed: EmulatedAccount) -> Command:
    return Command(deployed.aws.env)


def findings(rolekeeper: Command, check: str, *, code: int = 0) -> list[dict[str, Any]]:
    document = json.loads(rolekeeper("doctor", "--output", "json", code=code).stdout)
    return [each for each in document["findings"] if each["check"] == check]


@contextmanager
def a_role_for_lambda(deployed: EmulatedAccount) -> Iterator[str]:
    iam = deployed.aws.session().client("iam")
    iam.create_role(RoleName="for-lambda", Path="/rolekeeper/", AssumeRolePolicyDocument=TRUSTS_LAMBDA)
    try:
        yield "for-lambda"
    finally:
        iam.delete_role(RoleName="for-lambda")


@pytest.fixture
def no_dead_letters(deployed: EmulatedAccount) -> Iterator[str]:
    """The dead-letter queue, without what other tests left in it."""
    sqs, url = deployed.aws.session().client("sqs"), deployed.aws.stack_outputs()["DeadLetterQueue"]
    sqs.purge_queue(QueueUrl=url)
    yield url
    sqs.purge_queue(QueueUrl=url)


@pytest.fixture(autouse=True)
def _well(no_dead_letters: str) -> None:
    """Each story begins with a deployment in which nothing fails."""
    del no_dead_letters


def test_a_deployment_that_is_well(rolekeeper: Command) -> None:
    ran = rolekeeper("doctor")
    shown = {line.split()[1]: line.split()[0] for line in ran.stdout.splitlines()[1:] if not line.startswith(" ")}
    # Nobody is mailed there, and no trail and no organization guards it: exactly that is to be said.
    assert [name for name, level in shown.items() if level == "warn"] == ["subscribers", "trail", "tags"]
    assert ran.stderr.startswith("0 to fix, ")
    assert "aws cloudtrail create-trail --name NAME" in ran.stdout
    assert set(shown.values()) == {"ok", "warn"}, ran.stdout


def test_a_rule_that_somebody_disabled(rolekeeper: Command, deployed: EmulatedAccount) -> None:
    events = deployed.aws.session().client("events")
    [rule] = [each["Name"] for each in events.list_rules()["Rules"] if "InstanceTagRule" in each["Name"]]
    events.disable_rule(Name=rule)
    try:
        ran = rolekeeper("doctor", code=1)
        at = next(at for at, line in enumerate(ran.stdout.splitlines()) if line.startswith("fail"))
        assert ran.stdout.splitlines()[at].split() == [
            "fail", "rules", "rule", "InstanceTagRule", "is", "disabled,", "so", "nothing", "comes", "of", "it",
        ]  # fmt: skip
        assert ran.stdout.splitlines()[at + 1].strip() == f"aws events enable-rule --name {rule}"
        assert ran.stderr.startswith("1 to fix, ")
        [found] = findings(rolekeeper, "rules", code=1)
        assert (found["level"], found["remedy"]) == ("fail", f"aws events enable-rule --name {rule}")
    finally:
        events.enable_rule(Name=rule)
    assert findings(rolekeeper, "rules")[0]["level"] == "ok"


def test_a_function_that_isn_t_woken(rolekeeper: Command, deployed: EmulatedAccount) -> None:
    client = deployed.aws.session().client("lambda")
    [source] = client.list_event_source_mappings(FunctionName=deployed.function_name("OnStateChange"))[
        "EventSourceMappings"
    ]
    client.update_event_source_mapping(UUID=source["UUID"], Enabled=False)
    try:
        [found] = findings(rolekeeper, "sources", code=1)
        assert found["remedy"] == f"aws lambda update-event-source-mapping --uuid {source['UUID']} --enabled"
    finally:
        client.update_event_source_mapping(UUID=source["UUID"], Enabled=True)
    assert findings(rolekeeper, "sources")[0]["level"] == "ok"


def test_a_dead_letter(rolekeeper: Command, deployed: EmulatedAccount, no_dead_letters: str) -> None:
    deployed.aws.session().client("sqs").send_message(QueueUrl=no_dead_letters, MessageBody="{}")
    [found] = findings(rolekeeper, "dead-letters", code=1)
    assert (found["level"], found["what"]) == (
        "fail",
        "1 message lies in the dead-letter queue: what could not be done",
    )
    assert found["remedy"].endswith("rolekeeper redrive")


def test_a_role_that_only_lambda_can_assume(rolekeeper: Command, deployed: EmulatedAccount) -> None:
    with a_role_for_lambda(deployed) as role:
        [found] = findings(rolekeeper, "roles")
        assert (found["level"], found["what"]) == ("warn", f"EC2 can't assume role {role}; no mapping gives it")
        assert "make it anew outside /rolekeeper/" in found["remedy"]
        assert "update-assume-role-policy" not in found["remedy"]
        # A mapping to it is rejected, and then somebody waits for it.
        deployed.put_mapping("doctor", "a", role=role)
        try:
            eventually(lambda: deployed.mapping_status("doctor", "a", "Rejected"))
            [found] = findings(rolekeeper, "roles", code=1)
            assert (found["level"], found["what"]) == (
                "fail",
                f"EC2 can't assume role {role}, which doctor=a is to give",
            )
            assert found["remedy"].startswith(f"aws iam update-assume-role-policy --role-name {role} ")
            assert any("doctor=a is Rejected" in each["what"] for each in findings(rolekeeper, "mappings", code=1))
        finally:
            deployed.delete_mapping("doctor", "a")


def test_a_pause_is_told_and_is_no_failure(rolekeeper: Command) -> None:
    rolekeeper("pause")
    try:
        assert findings(rolekeeper, "mode")[0]["level"] == "warn"
    finally:
        rolekeeper("resume")


def test_a_stack_that_isn_t_there(rolekeeper: Command) -> None:
    assert "there is no stack 'nosuch'" in rolekeeper("doctor", "--stack", "nosuch", code=253).stderr

"""Attacks, each as it would be made, and each ends refused and visible: docs/security.md, "Threat model"."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fixtures.aws_cli import aws_command, session
from fixtures.command import Command
from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually, stays

pytestmark = pytest.mark.emulator

SECRET = {"db-password": "correct-horse-battery"}


@pytest.fixture(scope="module")
def rolekeeper(deployed: EmulatedAccount) -> Command:
    return Command(deployed.aws.env)


@pytest.fixture(scope="module")
def mails(deployed: EmulatedAccount) -> Iterator[Callable[[], list[str]]]:
    """The mails so far, as a queue at the alarm topic gets them."""
    aws = deployed.aws.session()
    sqs, sns = aws.client("sqs"), aws.client("sns")
    url = sqs.create_queue(QueueName="attack-mails")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = deployed.aws.stack_outputs()["AlarmTopic"]
    allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    ours = {**allow, "Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": topic}}}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [ours]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True)
    read: list[str] = []

    def so_far() -> list[str]:
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", ()):
            read.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return read

    yield so_far
    sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])


def running(world: EmulatedAccount, **tags: str) -> str:
    instance = world.launch("attacked", **tags)
    eventually(lambda: world.state(instance) == "running")
    return instance


def logged(world: EmulatedAccount, name: str) -> str:
    """All that a function logged."""
    pages = world.aws.session().client("logs").get_paginator("filter_log_events")
    group = world.lambda_.get_function_configuration(FunctionName=world.function_name(name))["LoggingConfig"][
        "LogGroup"
    ]
    return "\n".join(each["message"] for page in pages.paginate(logGroupName=group) for each in page["events"])


def lines(world: EmulatedAccount) -> list[dict[str, Any]]:
    """The log lines of the work queue's function; what Lambda itself says is none."""
    return [json.loads(each) for each in logged(world, "OnInstanceEvent").splitlines() if each.startswith("{")]


# ---- forged input ----


def test_a_forged_message_for_another_account_moves_nothing(deployed: EmulatedAccount) -> None:
    instance = running(deployed)
    forged = {
        "source": "rolekeeper",
        "detail-type": "Reconcile Requested",
        "account": "999999999999",
        "region": "us-east-1",
        "detail": {"instance-id": instance, "cause": "forged", "correlation-id": "forged-message"},
    }
    sqs = deployed.aws.session().client("sqs")
    sqs.send_message(QueueUrl=deployed.aws.stack_outputs()["WorkQueue"], MessageBody=json.dumps(forged))
    dropped = {"message": "dropped", "reason": "from another account: 999999999999"}
    eventually(lambda: dropped in [{name: each.get(name) for name in dropped} for each in lines(deployed)])
    assert deployed.shown(instance) is None


def test_a_forged_input_of_the_retry_loop_moves_nothing(deployed: EmulatedAccount) -> None:
    tick = {
        "instance": {"account": "999999999999", "region": "us-east-1", "id": "i-0123456789abcdef0"},
        "cause": "forged",
        "correlation_id": "forged-tick",
        "attempt": 0,
        "asked_at": "2026-01-01T00:00:00Z",
        "deadline": "2099-01-01T00:00:00Z",
    }
    answer = deployed.lambda_.invoke(FunctionName=deployed.function_name("OnRetry"), Payload=json.dumps(tick).encode())
    assert json.load(answer["Payload"])["outcome"] == "dropped"
    assert eventually(lambda: "from another account: 999999999999" in logged(deployed, "OnRetry"))


def test_a_forged_event_is_no_mail(deployed: EmulatedAccount, mails: Callable[[], list[str]]) -> None:
    detail = {"tag-key": "team", "tag-value": "x", "reason": "call this number", "to": "observe"}
    events = deployed.aws.session().client("events")
    for kind in ("Mapping Held", "Mode Changed", "Permission Missing"):
        events.put_events(Entries=[{"Source": "rolekeeper", "DetailType": kind, "Detail": json.dumps(detail)}])
    stays(lambda: not any("call this number" in each for each in mails()), 3)


# ---- rows ----


def test_a_hand_written_status_puts_nothing_in_effect(deployed: EmulatedAccount) -> None:
    instance = running(deployed, forged="x")
    row = {"tag_key": "forged", "tag_value": "x", "role": "no-such-role", "status": "Published"}
    item: Any = {name: {"S": value} for name, value in row.items()} | {"status_revision": {"N": "7"}}
    deployed.dynamodb.put_item(TableName=deployed.mapping_table, Item=item)
    eventually(lambda: deployed.mapping("forged", "x").get("status") == "Rejected")
    assert deployed.mapping("forged", "x")["status_revision"] == 0
    assert deployed.shown(instance) is None


def test_who_edits_cannot_approve_their_own_edit(deployed: EmulatedAccount, rolekeeper: Command) -> None:
    cli, env = aws_command(deployed.aws.env), deployed.aws.env
    deployed.make_role("wide")
    for _ in range(26):
        deployed.launch("attacked", wide="x")
    people = {}
    for part in ("editors", "approvers"):
        policy = json.loads(rolekeeper("guard", part).stdout)
        people[part] = aws_command({**env, **session(cli, part, "mallory", *policy["Statement"])})
    table = ["--table-name", deployed.mapping_table]
    key = json.dumps({"tag_key": {"S": "wide"}, "tag_value": {"S": "x"}})
    row = json.dumps({"tag_key": {"S": "wide"}, "tag_value": {"S": "x"}, "role": {"S": "wide"}})
    people["editors"]("dynamodb", "put-item", *table, "--item", row)
    eventually(lambda: deployed.mapping("wide", "x").get("status") == "Held")

    approved = json.dumps({**json.loads(row), "approve": {"N": "1"}})
    approval = json.dumps({":number": {"N": "1"}})
    approve = ["--key", key, "--update-expression", "SET approve = :number", "--expression-attribute-values", approval]
    with pytest.raises(AssertionError, match="AccessDenied"):
        people["editors"]("dynamodb", "update-item", *table, *approve)
    with pytest.raises(AssertionError, match="AccessDenied"):
        people["editors"]("dynamodb", "put-item", *table, "--item", approved)
    assert deployed.mapping("wide", "x")["status"] == "Held"
    with pytest.raises(AssertionError, match="AccessDenied"):
        people["approvers"]("dynamodb", "put-item", *table, "--item", row)
    people["approvers"]("dynamodb", "update-item", *table, *approve)
    eventually(lambda: deployed.mapping("wide", "x")["status"] == "Published")


def test_a_wide_change_split_over_rows_waits_as_one_row_does(
    deployed: EmulatedAccount, mails: Callable[[], list[str]]
) -> None:
    deployed.make_role("split")
    instances = {part: [deployed.launch("attacked", part=part) for _ in range(20)] for part in ("one", "two")}
    everybody = [each for some in instances.values() for each in some]
    eventually(lambda: all(deployed.state(each) == "running" for each in everybody))

    def status(part: str) -> object:
        return deployed.mapping("part", part).get("status")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda part: deployed.put_mapping("part", part, role="split"), instances))
    eventually(lambda: {status(part) for part in instances} == {"Held", "Published"})
    waits, passed = sorted(instances, key=lambda part: str(status(part)))

    row = deployed.mapping("part", waits)
    assert "it would attach 20, replace 0 and detach 0 instances, and other edits changed 20" in row["status_reason"]
    eventually(lambda: any("Mapping Held" in each and waits in each for each in mails()))
    eventually(lambda: all(deployed.carries(each, "split") for each in instances[passed]))
    assert not any(deployed.shown(each) for each in instances[waits])
    approved = {name: row[name] for name in ("role", "status", "held_revision")} | {"approve": row["held_revision"]}
    deployed.put_mapping("part", waits, **approved)
    eventually(lambda: all(deployed.carries(each, "split") for each in everybody))


def test_a_role_that_is_swapped_inside_its_profile_is_given_to_nobody_else(
    deployed: EmulatedAccount, mails: Callable[[], list[str]]
) -> None:
    for name in ("small", "large"):
        deployed.make_role(name)
    deployed.put_mapping("swapped", "x", role="small")
    eventually(lambda: deployed.mapping_status("swapped", "x", "Published"))
    before = running(deployed, swapped="x")
    eventually(lambda: deployed.carries(before, "small"))

    iam = deployed.aws.session().client("iam")
    iam.remove_role_from_instance_profile(InstanceProfileName="small", RoleName="small")
    iam.add_role_to_instance_profile(InstanceProfileName="small", RoleName="large")
    deployed.sweep()
    eventually(lambda: any("Mapping Suspended" in each and "holds role 'large'" in each for each in mails()))
    after = running(deployed, swapped="x")
    eventually(lambda: deployed.condition(after, "suspended"))
    assert deployed.shown(after) is None
    assert deployed.carries(before, "small"), "what carries it is left as it is"


def may(world: EmulatedAccount, role: str, action: str) -> None:
    """Give a role an inline policy."""
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam = world.aws.session().client("iam")
    iam.put_role_policy(RoleName=role, PolicyName="does-little", PolicyDocument=document)


def test_an_administrators_role_is_given_to_nobody_by_the_row_alone(
    deployed: EmulatedAccount, mails: Callable[[], list[str]]
) -> None:
    deployed.make_role("all-powerful")
    may(deployed, "all-powerful", "*")
    instance = running(deployed, power="x")
    deployed.put_mapping("power", "x", role="all-powerful", allow_broad=True)
    eventually(lambda: deployed.mapping_status("power", "x", "Rejected"))
    reason = str(deployed.mapping("power", "x")["status_reason"])
    assert "role 'all-powerful' is broad: its policies allow administrator access (*) on *" in reason
    assert reason.endswith("deploy with AllowBroadRoles=true")
    eventually(lambda: any("Mapping Rejected" in each and "all-powerful" in each for each in mails()))
    stays(lambda: deployed.shown(instance) is None, 3)


def test_a_role_that_grows_broad_once_it_is_published_is_given_to_nobody_else(
    deployed: EmulatedAccount, mails: Callable[[], list[str]]
) -> None:
    deployed.make_role("modest")
    may(deployed, "modest", "s3:GetObject")
    deployed.put_mapping("grown", "x", role="modest")
    eventually(lambda: deployed.mapping_status("grown", "x", "Published"))
    before = running(deployed, grown="x")
    eventually(lambda: deployed.carries(before, "modest"))

    may(deployed, "modest", "iam:PutRolePolicy")
    deployed.sweep()
    eventually(lambda: any("Mapping Suspended" in each and "iam:PutRolePolicy on *" in each for each in mails()))
    after = running(deployed, grown="x")
    eventually(lambda: deployed.condition(after, "suspended"))
    assert deployed.shown(after) is None
    assert deployed.carries(before, "modest"), "what carries it is left as it is"


# ---- secrets ----


def test_a_secret_in_a_tag_that_no_mapping_reads_appears_nowhere(
    deployed: EmulatedAccount, mails: Callable[[], list[str]]
) -> None:
    instance = running(deployed, workload="s3-reader", **SECRET)
    eventually(lambda: deployed.carries(instance, "s3-read"))
    deployed.untag(instance, "workload")
    eventually(lambda: deployed.shown(instance) is None)
    pages = deployed.dynamodb.get_paginator("scan").paginate(TableName=deployed.state_table)
    kept = json.dumps([each for page in pages for each in page["Items"]], default=str)
    log = "\n".join(logged(deployed, name) for name in ("OnInstanceEvent", "OnRetry", "OnSchedule"))
    assert instance in kept
    assert instance in log
    for told in (kept, log, *mails()):
        assert not any(name in told or value in told for name, value in SECRET.items())

"""Attacks, each as it would be made, and each ends refused and visible: docs/security.md, "Threat model"."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fixtures.aws_cli import aws_command, session
from fixtures.command import Command
from rolekeeper_local.account import EmulatedAccount
from support.buses import Bus, Queue
from support.fleets import launch_many
from support.waiting import eventually, stays

pytestmark = pytest.mark.emulator

SECRET = {"db-password": "correct-horse-battery"}


@pytest.fixture(scope="module")
def rolekeeper(deployed: EmulatedAccount) -> Command:
    return Command(deployed.aws.env)


@pytest.fixture(scope="module")
def mails(deployed: EmulatedAccount) -> Iterator[Callable[[], list[str]]]:
    """The mails so far, as a queue at the alarm topic gets them."""
    session, topic = deployed.aws.session(), deployed.aws.stack_outputs()["AlarmTopic"]
    queue, sns = Queue(session).lets_send("sns", ArnEquals={"aws:SourceArn": topic}), session.client("sns")
    subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue.arn, ReturnSubscriptionArn=True)
    yield queue.taken
    sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])


@pytest.fixture(scope="module")
def bus(deployed: EmulatedAccount) -> Iterator[Bus]:
    """Rolekeeper's events, as a rule of somebody's gets them."""
    made = Bus(deployed.aws).listen({"source": ["rolekeeper"]})
    yield made
    made.forget(made.listening)


def running(world: EmulatedAccount, **tags: str) -> str:
    instance = world.launch("attacked", **tags)
    eventually(lambda: world.state(instance) == "running")
    return instance


def logged(world: EmulatedAccount, name: str) -> str:
    """All that a function logged."""
    pages = world.aws.session().client("logs").get_paginator("filter_log_events")
    group = world.lambda_.get_function_configuration(FunctionName=world.aws.function_name(name))["LoggingConfig"][
        "LogGroup"
    ]
    return "\n".join(each["message"] for page in pages.paginate(logGroupName=group) for each in page["events"])


def stays_with_who_carries_it(world: EmulatedAccount, before: str, role: str, **tags: str) -> None:
    """A suspended role is given to nobody else."""
    after = running(world, **tags)
    eventually(lambda: world.condition(after, "suspended"))
    assert world.shown(after) is None
    assert world.carries(before, role), "what carries it is left as it is"


def lines(world: EmulatedAccount) -> list[dict[str, Any]]:
    """The log lines of the work queue's function; what Lambda itself says is none."""
    return [json.loads(each) for each in logged(world, "OnInstanceEvent").splitlines() if each.startswith("{")]


# ---- forged input ----


def test_a_forged_event_is_no_mail(deployed: EmulatedAccount, mails: Callable[[], list[str]]) -> None:
    detail = {"tag-key": "team", "tag-value": "x", "reason": "call this number", "to": "observe"}
    events = deployed.aws.session().client("events")
    for kind in ("Mapping Held", "Mode Changed", "Permission Missing"):
        events.put_events(Entries=[{"Source": "rolekeeper", "DetailType": kind, "Detail": json.dumps(detail)}])
    stays(lambda: not any("call this number" in each for each in mails()), 3)


# ---- rows ----


def held_because(world: EmulatedAccount, value: str, words: str) -> bool:
    row = world.mapping("wide", value)
    return row.get("status") == "Held" and words in row["status_reason"]


def test_who_edits_cannot_approve_their_own_edit(deployed: EmulatedAccount, rolekeeper: Command) -> None:
    cli, env = aws_command(deployed.aws.env), deployed.aws.env
    deployed.make_role("wide")
    launch_many(deployed, 26, wide="x")  # more than an edit may change without approval
    people, names = {}, {}
    for part, person in (("editors", "mallory"), ("approvers", "grace"), ("approvers", "mallory")):
        policy = json.loads(rolekeeper("guard", part).stdout)
        variables = {**env, **session(cli, f"{part}-{person}", person, *policy["Statement"])}
        people[part, person], names[part, person] = aws_command(variables), Command(variables)
    table = ["--table-name", deployed.mapping_table]
    key = json.dumps({"tag_key": {"S": "wide"}, "tag_value": {"S": "x"}})
    row = json.dumps({"tag_key": {"S": "wide"}, "tag_value": {"S": "x"}, "role": {"S": "wide"}})
    editor, approver = people["editors", "mallory"], people["approvers", "grace"]
    editor("dynamodb", "put-item", *table, "--item", row)
    eventually(lambda: deployed.mapping("wide", "x").get("status") == "Held")

    # The editor can write neither the number, nor a signature, be it in another's name.
    approved = json.dumps({**json.loads(row), "approve": {"N": "1"}})
    number = json.dumps({":number": {"N": "1"}})
    approve = ["--key", key, "--update-expression", "SET approve = :number", "--expression-attribute-values", number]
    grace = approver("sts", "get-caller-identity")["UserId"]
    sign = ["put-item", "--table-name", deployed.state_table, "--item"]
    forged = json.dumps({"pk": {"S": f"approval#{grace}"}, "sk": {"S": "mapping#4:wide#x#1"}})
    for asked in (["update-item", *table, *approve], ["put-item", *table, "--item", approved], [*sign, forged]):
        with pytest.raises(AssertionError, match="AccessDenied"):
            editor("dynamodb", *asked)
    assert deployed.mapping("wide", "x")["status"] == "Held"

    # An approver can't edit, nor sign for another; and a number that nobody signed approves nothing.
    for asked in (["put-item", *table, "--item", row], [*sign, forged]):
        with pytest.raises(AssertionError, match="AccessDenied"):
            people["approvers", "mallory"]("dynamodb", *asked)
    approver("dynamodb", "update-item", *table, *approve)
    eventually(lambda: held_because(deployed, "x", "approve is 1, but nobody has signed it"))

    names["approvers", "grace"]("mapping", "approve", "wide=x", "--yes")
    newest = rolekeeper.json("mapping", "history", "wide=x")[0]
    assert (newest["event"], newest["approved_by"]) == ("Mapping Published", grace)
    assert newest["approver_claims"].endswith("/approvers-grace/grace")


def test_a_wide_change_split_over_rows_waits_as_one_row_does(
    deployed: EmulatedAccount, mails: Callable[[], list[str]]
) -> None:
    deployed.make_role("split")
    instances = {part: launch_many(deployed, 20, part=part) for part in ("one", "two")}
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
    deployed.approve("part", waits, int(row["held_revision"]))
    eventually(lambda: all(deployed.carries(each, "split") for each in everybody))


def may(world: EmulatedAccount, role: str, action: str) -> None:
    """Give a role an inline policy."""
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam = world.aws.session().client("iam")
    iam.put_role_policy(RoleName=role, PolicyName="does-little", PolicyDocument=document)


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
    stays_with_who_carries_it(deployed, before, "modest", grown="x")


# ---- the state table ----


def put_state(world: EmulatedAccount, item: dict[str, Any]) -> None:
    """As whoever may write the state table does, with the plain AWS CLI."""
    table = ["--table-name", world.state_table]
    aws_command(world.aws.env)("dynamodb", "put-item", *table, "--item", json.dumps(item))


def test_a_pause_by_a_plain_call_is_mailed_an_event_and_in_the_history(
    deployed: EmulatedAccount,
    rolekeeper: Command,
    mails: Callable[[], list[str]],
    bus: Bus,
) -> None:
    key = {"pk": {"S": "control"}, "sk": {"S": "control"}}
    try:
        put_state(deployed, {**key, "paused": {"BOOL": True}, "reason": {"S": "quiet night\u2028"}})
        eventually(lambda: any("Control Changed" in each and "paused, mode as deployed" in each for each in mails()))
        eventually(lambda: any(each["detail-type"] == "Control Changed" for each in bus.heard()))
        [told] = json.loads(rolekeeper("history", "--control", "--limit", "1", "--output", "json").stdout)
        assert (told["to"], told["claimed_reason"]) == ("paused, mode as deployed", r"quiet night\u2028")
    finally:
        deployed.dynamodb.delete_item(TableName=deployed.state_table, Key=key)
    eventually(lambda: any(each["detail"].get("from", "").startswith("paused") for each in bus.heard()))


# ---- what is written into logs, mails and files ----

EVIL = 'x\n{"message": "all is well"}\r\x1b[2J\u202e\u2066\u2028\u200f'


def test_nothing_that_is_injected_breaks_a_line_or_turns_it_round(
    deployed: EmulatedAccount, rolekeeper: Command, mails: Callable[[], list[str]]
) -> None:
    instance = running(deployed, **{"rolekeeper:ignore": "true\u202e\u2028", "no\nte": "two\nlines"})
    forged = {
        "source": "rolekeeper",
        "detail-type": "Reconcile Requested",
        "account": "000000000000",
        "region": "us-east-1",
        "detail": {"instance-id": instance, "cause": f"injected {EVIL}", "correlation-id": f"injected {EVIL}"},
    }
    sqs = deployed.aws.session().client("sqs")
    sqs.send_message(QueueUrl=deployed.aws.stack_outputs()["WorkQueue"], MessageBody=json.dumps(forged))
    row = {"tag_key": "injected", "tag_value": "x", "role": "no-such-role", "edited_by": f"ada {EVIL}"}
    row |= {"description": f"it is {EVIL}"}
    item: Any = {name: {"S": value} for name, value in row.items()}
    deployed.dynamodb.put_item(TableName=deployed.mapping_table, Item=item)
    eventually(lambda: deployed.condition(instance, "ignore-unclear"))
    eventually(lambda: any(str(each.get("cause", "")).startswith("injected") for each in lines(deployed)))
    mail = eventually(lambda: next((each for each in mails() if "injected=x" in each), None))

    raw = {*"\x1b\u202e\u2066\u2028\u200f"}
    log = [*logged(deployed, "OnInstanceEvent").splitlines(), *logged(deployed, "OnMappingChange").splitlines()]
    ours = [each for each in log if "injected" in each]
    assert ours
    assert all(isinstance(json.loads(each), dict) for each in ours), "each line is one object"
    assert not any(json.loads(each).get("message") == "all is well" for each in log if each.startswith("{"))
    seen = [
        rolekeeper(*each.split()).stdout
        for each in (
            f"explain {instance} --no-who",
            f"history {instance} --output yaml",
            "mapping get injected=x",
            "mapping ls --output yaml",
        )
    ]
    for text in (*ours, json.loads(mail)["Message"] if mail.startswith("{") else mail, *seen):
        assert not raw & set(text), text
    assert r"ada x\n" in mail.replace("\\\\", "\\")


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

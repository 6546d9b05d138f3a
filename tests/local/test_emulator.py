"""The embedded AWS as a client sees it: one emulator process, asked with boto3."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import EmbeddedAws
from rolekeeper_local.settings import ACCOUNTS
from support.grants import policy
from support.listener import make_function, make_table
from support.ports import free_port
from support.roles import ANYBODY, assumed, make_profile, make_role
from support.waiting import eventually

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

TIMINGS = Timings(pending=0.5, stopping=0.5, shutting_down=0.2, associating=0.1, disassociating=0.1, propagation=1.0)
#: The emulator looks for new profiles every 50 ms.
PROPAGATED = TIMINGS.propagation + 0.2


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    with EmbeddedAws(port=free_port(), timings=TIMINGS, directory=tmp_path_factory.mktemp("aws")) as embedded:
        yield embedded


@pytest.fixture(scope="module")
def ec2(aws: EmbeddedAws) -> Any:
    return aws.session().client("ec2")


@pytest.fixture(scope="module")
def profiles(aws: EmbeddedAws) -> None:
    """Profiles `web` and `db` under the path and `admin` outside it, old enough for EC2."""
    for name in ("web", "db"):
        make_profile(aws, name)
    make_profile(aws, "admin", path="/")
    time.sleep(PROPAGATED)


def launch(ec2: Any, **tags: str) -> str:
    specifications = [
        {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
    ]
    made = ec2.run_instances(
        ImageId="ami-1", MinCount=1, MaxCount=1, **({"TagSpecifications": specifications} if tags else {})
    )
    return str(made["Instances"][0]["InstanceId"])


def state(ec2: Any, instance_id: str) -> str:
    found = ec2.describe_instances(InstanceIds=[instance_id])
    return str(found["Reservations"][0]["Instances"][0]["State"]["Name"])


def running(ec2: Any, **tags: str) -> str:
    instance_id = launch(ec2, **tags)
    eventually(lambda: state(ec2, instance_id) == "running")
    return instance_id


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call()
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


# ---- time and events ----


def test_every_instance_asked_for_is_launched(ec2: Any) -> None:
    assert len(ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=3)["Instances"]) == 3


def test_a_launch_is_known_by_its_client_token_and_happens_once(ec2: Any) -> None:
    first, again = (ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, ClientToken="once") for _ in range(2))
    [made] = first["Instances"]
    assert [each["InstanceId"] for each in again["Instances"]] == [made["InstanceId"]]
    ec2.create_tags(Resources=[made["InstanceId"]], Tags=[{"Key": "client-token", "Value": "another"}])
    [group] = ec2.describe_instances(Filters=[{"Name": "client-token", "Values": ["once"]}])["Reservations"]
    assert (group["Instances"][0]["InstanceId"], group["Instances"][0]["ClientToken"]) == (made["InstanceId"], "once")


def test_stop_start_and_terminate_are_shown_by_every_describe_call(ec2: Any) -> None:
    instance_id = running(ec2)
    (change,) = ec2.stop_instances(InstanceIds=[instance_id])["StoppingInstances"]
    assert (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("running", "stopping")
    eventually(lambda: state(ec2, instance_id) == "stopped")
    (status,) = ec2.describe_instance_status(InstanceIds=[instance_id], IncludeAllInstances=True)["InstanceStatuses"]
    assert status["InstanceState"]["Name"] == "stopped"
    attached: Any = {"Filters": [{"Name": "attachment.instance-id", "Values": [instance_id]}]}
    assert len(ec2.describe_volumes(**attached)["Volumes"]) == 1
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert refusal(lambda: ec2.start_instances(InstanceIds=[instance_id]))[0] == "IncorrectInstanceState"
    eventually(lambda: state(ec2, instance_id) == "terminated")
    assert ec2.describe_volumes(**attached)["Volumes"] == []


def test_a_terminated_instance_that_is_shown_no_more_does_not_rise_again(tmp_path: Path) -> None:
    timings = Timings(pending=0.1, shutting_down=0.1, terminated_visible=0.1)
    with EmbeddedAws(port=free_port(), timings=timings, directory=tmp_path) as aws:
        ec2 = aws.session().client("ec2")
        instance_id = running(ec2, workload="web")
        ec2.terminate_instances(InstanceIds=[instance_id])
        shown: Any = {"Filters": [{"Name": "instance-id", "Values": [instance_id]}]}
        eventually(lambda: not ec2.describe_instances(**shown)["Reservations"])
        assert refusal(lambda: state(ec2, instance_id))[0] == "InvalidInstanceID.NotFound"
        # The other answers may show it a moment longer: the emulator forgets it at its next look.
        every: Any = {"IncludeAllInstances": True}
        eventually(lambda: not ec2.describe_instance_status(**every)["InstanceStatuses"])
        tagged: Any = {"Filters": [{"Name": "resource-id", "Values": [instance_id]}]}
        eventually(lambda: not ec2.describe_tags(**tagged)["Tags"])


def test_a_dry_run_changes_nothing(ec2: Any) -> None:
    instance_id = running(ec2, workload="web")
    for call in (
        lambda: ec2.stop_instances(InstanceIds=[instance_id], DryRun=True),
        lambda: ec2.terminate_instances(InstanceIds=[instance_id], DryRun=True),
        lambda: ec2.delete_tags(Resources=[instance_id], Tags=[{"Key": "workload"}], DryRun=True),
        lambda: ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, DryRun=True),
    ):
        assert refusal(call)[0] == "DryRunOperation"
    (found,) = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"]
    assert (found["State"]["Name"], found["Tags"]) == ("running", [{"Key": "workload", "Value": "web"}])


def test_the_fleet_is_read_by_filter_and_in_pages(ec2: Any) -> None:
    group = uuid.uuid4().hex
    launched = [launch(ec2, group=group, empty="") for _ in range(6)]
    filters = [{"Name": "tag:group", "Values": [group]}, {"Name": "tag:empty", "Values": [""]}]
    pages = list(ec2.get_paginator("describe_instances").paginate(Filters=filters, PaginationConfig={"PageSize": 5}))
    assert [len(page["Reservations"]) for page in pages] == [5, 1]
    assert [r["Instances"][0]["InstanceId"] for page in pages for r in page["Reservations"]] == launched
    by_id = ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": [launched[2], "i-00000000000000000"]}])
    assert [r["Instances"][0]["InstanceId"] for r in by_id["Reservations"]] == [launched[2]]


def test_a_page_takes_5_to_1000(ec2: Any) -> None:
    for size in (-1, 0, 4, 1001):
        code, message = refusal(lambda size=size: ec2.describe_instances(MaxResults=size))  # type: ignore[misc]  # bound at once
        assert (code, "maxResults" in message) == ("InvalidParameterValue", True)


# ---- who may do what ----


@pytest.mark.parametrize("key", ["AKIAWHOEVER", "12345678901", "test", "me@example.com"])
def test_made_up_credentials_are_the_accounts_administrator(aws: EmbeddedAws, key: str) -> None:
    keys = {"AccessKeyId": key, "SecretAccessKey": "anything", "SessionToken": "anything"}
    stranger = aws.session(credentials=keys).client("sts")
    assert stranger.get_caller_identity()["Account"] == "000000000000"
    assert aws.session().client("iam").list_roles()


def as_role(aws: EmbeddedAws, *statements: dict[str, Any]) -> boto3.Session:
    """A session of a new role with this policy."""
    allowed = [{"Effect": "Allow", "Resource": "*", **each} for each in statements]
    return assumed(aws, make_role(aws, "000000000000", ANYBODY, *allowed, path="/"))


@pytest.mark.usefixtures("profiles")
def test_a_path_in_iams_own_resources_is_a_ceiling(aws: EmbeddedAws) -> None:
    under = ["arn:aws:iam::000000000000:role/rolekeeper/*", "arn:aws:iam::000000000000:instance-profile/rolekeeper/*"]
    role = as_role(aws, {"Action": "iam:*", "Resource": under}).client("iam")
    role.get_role(RoleName="web")
    role.get_instance_profile(InstanceProfileName="web")
    role.create_instance_profile(InstanceProfileName="made-under", Path="/rolekeeper/")
    role.add_role_to_instance_profile(InstanceProfileName="made-under", RoleName="web")
    role.create_instance_profile(InstanceProfileName="made-for-admin", Path="/rolekeeper/")
    for call in (
        lambda: role.get_role(RoleName="admin"),
        lambda: role.get_instance_profile(InstanceProfileName="admin"),
        lambda: role.create_instance_profile(InstanceProfileName="made-outside"),
        lambda: role.add_role_to_instance_profile(InstanceProfileName="made-for-admin", RoleName="admin"),
    ):
        assert refusal(call)[0] == "AccessDenied"


def test_sending_a_batch_needs_only_the_permission_to_send(aws: EmbeddedAws) -> None:
    url = aws.session().client("sqs").create_queue(QueueName="batch")["QueueUrl"]
    queue: Any = as_role(aws, {"Action": "sqs:SendMessage"}).client("sqs")
    sent = queue.send_message_batch(QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "hello"}])
    assert len(sent["Successful"]) == 1
    assert refusal(lambda: queue.receive_message(QueueUrl=url))[0] in ("AccessDenied", "AccessDeniedException")


def test_the_source_of_an_event_and_the_tags_of_an_instance_are_conditions(aws: EmbeddedAws, ec2: Any) -> None:
    session = as_role(
        aws,
        {"Action": "events:PutEvents", "Condition": {"ForAllValues:StringEquals": {"events:source": "rolekeeper"}}},
        {"Action": "ec2:StopInstances", "Condition": {"StringEquals": {"aws:ResourceTag/mine": "yes"}}},
    )
    events: Any = session.client("events")
    entry: Any = {"DetailType": "Test", "Detail": "{}"}
    events.put_events(Entries=[{**entry, "Source": "rolekeeper"}])
    assert refusal(lambda: events.put_events(Entries=[{**entry, "Source": "rolekeeper"}, {**entry, "Source": "x"}]))
    role = session.client("ec2")
    role.stop_instances(InstanceIds=[running(ec2, mine="yes")])
    foreign = running(ec2)
    assert refusal(lambda: role.stop_instances(InstanceIds=[foreign]))[0] == "UnauthorizedOperation"


def test_a_session_is_its_role_to_a_topics_policy_which_denies_all_others(aws: EmbeddedAws) -> None:
    owner = aws.session().client("sns")
    topic = owner.create_topic(Name="mails")["TopicArn"]
    ours, theirs = (as_role(aws, {"Action": "sns:Publish"}) for _ in range(2))
    arns = [each.client("sts").get_caller_identity()["Arn"] for each in (ours, theirs)]
    role = arns[0].split("/")[1]
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sns:Publish",
        "Resource": topic,
        "Condition": {
            "ArnNotEquals": {"aws:PrincipalArn": [f"arn:aws:iam::000000000000:role/{role}"]},
            "BoolIfExists": {"aws:PrincipalIsAWSService": "false"},
        },
    }
    owner.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(policy(statement)))
    ours.client("sns").publish(TopicArn=topic, Message="believed")
    stranger = theirs.client("sns")
    assert "Auth" in refusal(lambda: stranger.publish(TopicArn=topic, Message="forged"))[0]


def keyed(*keys: str, without: str = "") -> dict[str, Any]:
    """A condition on the items' partition keys, and on what they may not hold."""
    none = {"ForAllValues:StringNotEquals": {"dynamodb:Attributes": [without]}} if without else {}
    has_key = {"Null": {"dynamodb:LeadingKeys": "false"}}
    return {"Condition": {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": list(keys)}, **has_key, **none}}


def item(pk: str, sk: str = "s", **texts: str) -> dict[str, Any]:
    return {name: {"S": text} for name, text in {"pk": pk, "sk": sk, **texts}.items()}


@pytest.fixture(scope="module")
def keys_role(aws: EmbeddedAws) -> Any:
    """DynamoDB for a role that reads `a#...` and `fleet`, and writes `a#...` without the attribute `role`."""
    make_table(aws, "items")
    reads = ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:Scan", "dynamodb:PartiQLSelect"]
    writes = ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem"]
    session = as_role(
        aws, {"Action": reads, **keyed("a#*", "fleet")}, {"Action": writes, **keyed("a#*", without="role")}
    )
    return session.client("dynamodb")


def query(client: Any, pk: str) -> None:
    client.query(
        TableName="items",
        KeyConditionExpression="#p = :pk AND begins_with(sk, :sk)",
        ExpressionAttributeValues={":pk": {"S": pk}, ":sk": {"S": "s"}},
        ExpressionAttributeNames={"#p": "pk"},
    )


def update(pk: str, name: str) -> dict[str, Any]:
    return {
        "TableName": "items",
        "Key": item(pk),
        "UpdateExpression": "SET #n = :v, another = if_not_exists(another, :v) ADD writes :n",
        "ExpressionAttributeNames": {"#n": name},
        "ExpressionAttributeValues": {":v": {"S": "x"}, ":n": {"N": "1"}},
    }


def test_a_role_reads_and_writes_the_items_under_its_keys_and_nothing_else(keys_role: Any) -> None:
    allowed: list[Callable[[], object]] = [
        lambda: keys_role.put_item(TableName="items", Item=item("a#1", note="x")),
        lambda: keys_role.update_item(**update("a#1", "note")),
        lambda: keys_role.get_item(TableName="items", Key=item("a#1")),
        lambda: keys_role.batch_get_item(RequestItems={"items": {"Keys": [item("a#1"), item("fleet")]}}),
        lambda: query(keys_role, "a#1"),
        lambda: keys_role.transact_write_items(
            TransactItems=[{"Put": {"TableName": "items", "Item": item("a#2")}}, {"Update": update("a#3", "note")}]
        ),
        lambda: keys_role.batch_write_item(RequestItems={"items": [{"DeleteRequest": {"Key": item("a#2")}}]}),
        lambda: keys_role.delete_item(TableName="items", Key=item("a#1")),
    ]
    for call in allowed:
        call()
    with_role = {"TableName": "items", "Item": item("a#1", role="web")}
    guarded = {"TableName": "items", "Key": item("a#1"), "ConditionExpression": "attribute_exists(pk) AND role = :r"}
    removal = {"TableName": "items", "Key": item("a#1"), "UpdateExpression": "REMOVE role"}
    good, bad = ({"Put": {"TableName": "items", "Item": item(pk)}} for pk in ("a#2", "b#2"))
    refused: list[Callable[[], object]] = [
        lambda: keys_role.put_item(TableName="items", Item=item("b#1")),
        lambda: keys_role.update_item(**update("fleet", "note")),
        lambda: keys_role.get_item(TableName="items", Key=item("b#1")),
        lambda: keys_role.batch_get_item(RequestItems={"items": {"Keys": [item("a#1"), item("b#1")]}}),
        lambda: query(keys_role, "b#1"),
        lambda: keys_role.scan(TableName="items"),
        lambda: keys_role.execute_statement(Statement="SELECT * FROM items WHERE pk = 'a#1'"),
        lambda: keys_role.delete_item(TableName="items", Key=item("fleet")),
        lambda: keys_role.batch_write_item(RequestItems={"items": [{"PutRequest": {"Item": item("b#1")}}]}),
        # Each item of a transaction is judged by its own key.
        lambda: keys_role.transact_write_items(TransactItems=[good, bad]),
        lambda: keys_role.transact_write_items(TransactItems=[bad, good]),
        lambda: keys_role.transact_write_items(TransactItems=[good, {"Update": update("b#3", "note")}]),
        # The attributes of an item, and those that an expression names.
        lambda: keys_role.put_item(**with_role),
        lambda: keys_role.update_item(**update("a#1", "role")),
        lambda: keys_role.update_item(**removal),
        lambda: keys_role.delete_item(**guarded, ExpressionAttributeValues={":r": {"S": "x"}}),
        lambda: keys_role.transact_write_items(TransactItems=[{"Update": update("a#1", "note")}, {"Put": with_role}]),
    ]
    assert [refusal(call)[0] for call in refused] == ["AccessDeniedException"] * len(refused)


def test_a_role_with_a_wrong_secret_is_refused(aws: EmbeddedAws) -> None:
    got = as_role(aws, {"Action": "*"}).get_credentials()
    assert got is not None
    keys = {"AccessKeyId": got.access_key, "SecretAccessKey": "wrong", "SessionToken": str(got.token)}
    forged = aws.session(credentials=keys).client("ec2")
    assert refusal(forged.describe_instances)[0] in ("SignatureDoesNotMatch", "AuthFailure")


FUNCTION = """
import importlib.util, os, boto3
from botocore.exceptions import ClientError

def refused(call):
    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"]

def handler(event, context):
    return {
        "found": {name: importlib.util.find_spec(name) is not None for name in event["modules"]},
        "describe": refused(boto3.client("ec2").describe_instances),
        "tables": refused(boto3.client("dynamodb").list_tables),
        "pid": os.getpid(),
        "temporary": os.environ["TMPDIR"],
        "code": os.path.realpath(os.environ["LAMBDA_TASK_ROOT"]),
    }
"""


def test_a_function_runs_with_its_own_role_and_finds_boto3_and_nothing_else(aws: EmbeddedAws) -> None:
    make_function(aws, "function", FUNCTION, "ec2:Describe*")
    modules = ["boto3", "dateutil", "pydantic", "ministack", "aws_lambda_powertools", "rolekeeper", "rolekeeper_local"]

    def invoke() -> dict[str, Any]:
        payload = json.dumps({"modules": modules})
        answer = aws.session().client("lambda").invoke(FunctionName="function", Payload=payload)
        return dict(json.load(answer["Payload"]))

    first = invoke()
    assert {name for name, found in first["found"].items() if found} == {"boto3", "dateutil"}
    assert first["describe"] is None
    assert first["tables"] == "AccessDeniedException"
    assert first["temporary"].startswith(str(aws.directory))
    assert "/tmp/unpacked/" in first["code"], "once for all processes that have the same code"
    assert invoke()["pid"] == first["pid"], "a warm function's process serves again"


# ---- the end ----

HOLD = """
import pathlib, signal, sys
from rolekeeper_local.embedded import EmbeddedAws
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
with EmbeddedAws(port=int(sys.argv[1]), directory=pathlib.Path(sys.argv[2])) as aws:
    print("up", flush=True)
    aws.wait()
"""
BUSY = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def handler(event, context):
    time.sleep(300)
"""


@pytest.mark.parametrize("endings", [(signal.SIGINT,), (signal.SIGINT, signal.SIGINT), (signal.SIGKILL,)])
def test_ctrl_c_and_even_a_kill_of_the_launcher_leave_no_process_behind(
    tmp_path: Path, endings: Sequence[signal.Signals]
) -> None:
    """Whatever runs: here a function in each of three accounts, which no SIGTERM ends, and who waits for it."""
    aws = EmbeddedAws(port=free_port(), directory=tmp_path)
    line = [sys.executable, "-c", HOLD, str(aws.port), str(tmp_path)]
    with ThreadPoolExecutor() as clients, subprocess.Popen(line, stdout=subprocess.PIPE) as launcher:
        try:
            assert launcher.stdout
            assert launcher.stdout.readline() == b"up\n"
            for account in ACCOUNTS:
                make_function(aws, "busy", BUSY, account=account)
                clients.submit(aws.session(account=account).client("lambda").invoke, FunctionName="busy")
            eventually(lambda: len(processes_with(str(tmp_path))) == 2 + len(ACCOUNTS))
            for ending in endings:
                launcher.send_signal(ending)
                with suppress(subprocess.TimeoutExpired):
                    launcher.wait(1)
            launcher.wait(15)
        finally:
            launcher.kill()
        eventually(lambda: not processes_with(str(tmp_path)))
    if signal.SIGKILL not in endings:
        assert not (tmp_path / "tmp").exists()


def processes_with(word: str) -> list[str]:
    """Processes other than this one whose command line holds a word."""
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    lines = [line.strip() for line in listed.splitlines() if word in line]
    return [line for line in lines if int(line.split()[0]) != os.getpid()]

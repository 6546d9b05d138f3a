"""What Rolekeeper needs of the embedded AWS beside EC2: schedules, streams, queues and tables as AWS has them."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from socket import socket
from typing import Any, Literal

import pytest
from botocore.exceptions import ClientError

from fakes.listener import Listener, make_table
from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import EmbeddedAws
from support.waiting import eventually, stays

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

MINUTE = 1.5


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    timings = Timings(minute=MINUTE)
    with EmbeddedAws(port=port, timings=timings, directory=tmp_path_factory.mktemp("aws")) as embedded:
        make_table(embedded, "heard")
        yield embedded


def schedule(aws: EmbeddedAws, listener: Listener, **target: Any) -> Callable[[], object]:
    """A rule for every minute; returns how it is deleted."""
    events, name = aws.session().client("events"), uuid.uuid4().hex
    events.put_rule(Name=name, ScheduleExpression="rate(1 minute)")
    targets: Any = [{"Id": "function", "Arn": listener.arn, **target}]
    events.put_targets(Rule=name, Targets=targets)
    return lambda: (events.remove_targets(Rule=name, Ids=["function"]), events.delete_rule(Name=name))


# ---- what EventBridge refuses ----


@pytest.mark.parametrize("rate", ["rate(1 minutes)", "rate(5 minute)", "rate(0 minutes)"])
def test_a_rate_whose_number_and_unit_disagree_is_refused(aws: EmbeddedAws, rate: str) -> None:
    with pytest.raises(ClientError, match="ValidationException"):
        aws.session().client("events").put_rule(Name="refused", ScheduleExpression=rate)


def test_a_stack_whose_rule_is_refused_fails_with_the_reason(aws: EmbeddedAws) -> None:
    """Both days are said, which EventBridge doesn't take; the template's own pattern doesn't see it."""
    client = aws.session().client("cloudformation")
    rule: Any = {"Type": "AWS::Events::Rule", "Properties": {"ScheduleExpression": "cron(0 * * * * *)"}}
    client.create_stack(StackName="refused", TemplateBody=json.dumps({"Resources": {"Rule": rule}}))
    eventually(lambda: status_of(client, "refused") == "ROLLBACK_COMPLETE")
    events = client.describe_stack_events(StackName="refused")["StackEvents"]
    [reason] = [each["ResourceStatusReason"] for each in events if each["ResourceStatus"] == "CREATE_FAILED"]
    assert "Parameter ScheduleExpression is not valid" in reason


def test_more_than_256_kb_of_events_in_a_request_are_refused_whole(aws: EmbeddedAws) -> None:
    events = aws.session().client("events")
    entry: Any = {"Source": "mine", "DetailType": "Large", "Detail": json.dumps({"text": "x" * 200_000})}
    assert events.put_events(Entries=[entry])["FailedEntryCount"] == 0
    with pytest.raises(ClientError, match="ValidationException"):
        events.put_events(Entries=[entry, entry])


# ---- schedules ----


def test_a_scheduled_rule_gives_its_target_its_input_each_minute_the_first_time_after_one(aws: EmbeddedAws) -> None:
    listener, made = Listener(aws), time.time()
    delete = schedule(aws, listener, Input=json.dumps({"task": "expiries"}))
    heard = eventually(lambda: listener.heard() if len(listener.heard()) >= 3 else None)
    delete()
    assert {json.dumps(event) for _, event in heard} == {'{"task": "expiries"}'}
    assert heard[0][0] - made >= MINUTE
    # From its second time on the function is warm.
    assert heard[2][0] - heard[1][0] == pytest.approx(MINUTE, abs=1)


def test_a_target_without_an_input_gets_a_scheduled_event(aws: EmbeddedAws) -> None:
    listener = Listener(aws)
    delete = schedule(aws, listener)
    event = eventually(listener.heard)[0][1]
    delete()
    assert (event["source"], event["detail-type"], event["detail"]) == ("aws.events", "Scheduled Event", {})
    assert abs(datetime.fromisoformat(event["time"]).timestamp() - time.time()) < 30
    assert datetime.fromisoformat(event["time"]).tzinfo == UTC


def test_a_rule_that_a_stack_made_fires_and_a_disabled_one_does_not(aws: EmbeddedAws) -> None:
    on, off = Listener(aws), Listener(aws)
    rules = {
        name: {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "ScheduleExpression": "rate(1 minute)",
                "State": state,
                "Targets": [{"Id": "function", "Arn": listener.arn}],
            },
        }
        for name, state, listener in (("On", "ENABLED", on), ("Off", "DISABLED", off))
    }
    cloudformation = aws.session().client("cloudformation")
    cloudformation.create_stack(StackName="schedules", TemplateBody=json.dumps({"Resources": rules}))
    eventually(on.heard)
    cloudformation.delete_stack(StackName="schedules")
    assert off.heard() == []


def test_a_scheduled_function_that_fails_is_tried_again_then_put_aside(aws: EmbeddedAws) -> None:
    listener, sqs = Listener(aws, FAILS="yes"), aws.session().client("sqs")
    url = sqs.create_queue(QueueName="aside")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    aws.session().client("lambda").put_function_event_invoke_config(
        FunctionName=listener.name, MaximumRetryAttempts=1, DestinationConfig={"OnFailure": {"Destination": arn}}
    )
    delete = schedule(aws, listener, Input='{"task": "fails"}')
    first = eventually(lambda: sqs.receive_message(QueueUrl=url).get("Messages"))[0]
    delete()
    assert json.loads(first["Body"])["requestPayload"] == {"task": "fails"}
    assert len(listener.heard()) >= 2


# ---- the work queue ----


def test_a_message_with_a_delay_is_not_shown_before(aws: EmbeddedAws) -> None:
    sqs = aws.session().client("sqs")
    url = sqs.create_queue(QueueName="delayed")["QueueUrl"]
    sent = time.monotonic()
    sqs.send_message_batch(
        QueueUrl=url,
        Entries=[{"Id": "1", "MessageBody": "late", "DelaySeconds": 2}, {"Id": "2", "MessageBody": "now"}],
    )

    def arrived() -> list[str]:
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        return [message["Body"] for message in messages]

    assert eventually(arrived) == ["now"]
    assert eventually(arrived) == ["late"]
    assert time.monotonic() - sent >= 1.9


def test_a_function_gets_a_delayed_message_when_it_is_due(aws: EmbeddedAws) -> None:
    sqs, listener = aws.session().client("sqs"), Listener(aws)
    url = sqs.create_queue(QueueName="delayed-work", Attributes={"VisibilityTimeout": "120"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    aws.session().client("lambda").create_event_source_mapping(
        FunctionName=listener.name, EventSourceArn=arn, BatchSize=10
    )
    sqs.send_message(QueueUrl=url, MessageBody="warms the function up")
    eventually(listener.heard)
    sent = time.time()
    sqs.send_message(QueueUrl=url, MessageBody="late", DelaySeconds=3)
    at = eventually(lambda: listener.heard()[1:])[0][0]
    assert 2.9 <= at - sent <= 60  # not the 120 s of its visibility


def test_a_group_with_many_messages_in_flight_keeps_no_other_waiting(aws: EmbeddedAws) -> None:
    sqs, events = aws.session().client("sqs"), aws.session().client("events")
    url = sqs.create_queue(QueueName="fair", Attributes={"VisibilityTimeout": "300"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="fair", EventPattern=json.dumps({"source": ["fair"]}))
    events.put_targets(Rule="fair", Targets=[{"Id": "1", "Arn": arn, "SqsParameters": {"MessageGroupId": "$.source"}}])
    for number in range(4):
        sqs.send_message(QueueUrl=url, MessageBody=f"noisy {number}", MessageGroupId="noisy")

    def receive() -> list[str]:
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=2, MessageSystemAttributeNames=["MessageGroupId"])
        return [each.get("Attributes", {}).get("MessageGroupId", "none") for each in found.get("Messages", [])]

    assert receive() == ["noisy", "noisy"]
    events.put_events(Entries=[{"Source": "fair", "DetailType": "quiet", "Detail": "{}"}])
    sqs.send_message(QueueUrl=url, MessageBody="of no group")
    assert eventually(receive) == ["fair", "none"]
    assert receive() == ["noisy", "noisy"]
    events.remove_targets(Rule="fair", Ids=["1"])
    events.delete_rule(Name="fair")


# ---- the state table ----


@pytest.mark.parametrize(("recursion", "runs"), [("Terminate", 16), ("Allow", 20)])
def test_a_chain_of_a_functions_own_messages_is_stopped_unless_the_function_allows_it(
    aws: EmbeddedAws, recursion: Literal["Allow", "Terminate"], runs: int
) -> None:
    sqs, lambda_ = aws.session().client("sqs"), aws.session().client("lambda")

    def queue(name: str, **attributes: str) -> tuple[str, str]:
        url = sqs.create_queue(QueueName=f"{name}-{recursion}", Attributes=attributes)["QueueUrl"]  # type: ignore[arg-type]  # names as asked
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, answer["Attributes"]["QueueArn"]

    dead, dead_arn = queue("dead")
    policy = {"deadLetterTargetArn": dead_arn, "maxReceiveCount": 3}
    url, arn = queue("loop", VisibilityTimeout="30", RedrivePolicy=json.dumps(policy))
    listener = Listener(aws, PASSES_ON=url)
    lambda_.put_function_recursion_config(FunctionName=listener.name, RecursiveLoop=recursion)
    mapping = lambda_.create_event_source_mapping(FunctionName=listener.name, EventSourceArn=arn)
    sqs.send_message(QueueUrl=url, MessageBody="round")
    eventually(lambda: len(listener.heard()) >= runs)
    if recursion == "Terminate":
        (stopped,) = eventually(lambda: sqs.receive_message(QueueUrl=dead).get("Messages"))
        assert stopped["Body"] == "round"
        assert len(listener.heard()) == runs
    lambda_.delete_event_source_mapping(UUID=mapping["UUID"])


def test_of_a_tables_stream_a_function_gets_only_what_its_filter_names_with_keys_only(aws: EmbeddedAws) -> None:
    dynamodb, listener = aws.session().client("dynamodb"), Listener(aws)
    stream = {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    table = make_table(aws, "filtered", StreamSpecification=stream)
    patterns: list[Any] = [
        {"dynamodb": {"Keys": {"pk": {"S": ["control"]}}}},
        {"dynamodb": {"Keys": {"sk": {"S": ["pin"]}}}},
    ]
    aws.session().client("lambda").create_event_source_mapping(
        FunctionName=listener.name,
        EventSourceArn=table["LatestStreamArn"],
        StartingPosition="TRIM_HORIZON",
        FilterCriteria={"Filters": [{"Pattern": json.dumps(each)} for each in patterns]},
    )
    for pk, sk in (("instance#i-1", "record"), ("instance#i-1", "pin"), ("control", "control"), ("fleet", "fleet")):
        dynamodb.put_item(TableName="filtered", Item={"pk": {"S": pk}, "sk": {"S": sk}, "more": {"S": "x"}})
    dynamodb.delete_item(TableName="filtered", Key={"pk": {"S": "control"}, "sk": {"S": "control"}})

    def records() -> list[Any]:
        return [record for _, event in listener.heard() for record in event["Records"]]

    eventually(lambda: len(records()) == 3)
    stays(lambda: len(records()) == 3, 1)
    told = {(each["eventName"], each["dynamodb"]["Keys"]["sk"]["S"]) for each in records()}
    assert told == {("INSERT", "pin"), ("INSERT", "control"), ("REMOVE", "control")}
    assert all(set(each["dynamodb"]) & {"NewImage", "OldImage"} == set() for each in records())


def read_stream(aws: EmbeddedAws, listener: Listener, table: Any, **more: Any) -> None:
    aws.session().client("lambda").create_event_source_mapping(
        FunctionName=listener.name,
        EventSourceArn=table["LatestStreamArn"],
        StartingPosition="TRIM_HORIZON",
        **more,
    )


def test_a_bad_record_is_put_aside_alone_and_those_around_it_are_given(aws: EmbeddedAws) -> None:
    dynamodb, sqs, listener = aws.session().client("dynamodb"), aws.session().client("sqs"), Listener(aws)
    table = make_table(aws, "bad", StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"})
    url = sqs.create_queue(QueueName="bad-records")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    for pk in ("a", "b", "bad", "c", "d"):
        dynamodb.put_item(TableName="bad", Item={"pk": {"S": pk}, "sk": {"S": "x"}})
    read_stream(
        aws,
        listener,
        table,
        FunctionResponseTypes=["ReportBatchItemFailures"],
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": arn}},
    )
    aside = eventually(lambda: sqs.receive_message(QueueUrl=url).get("Messages"))
    assert json.loads(aside[0]["Body"])["DDBStreamBatchInfo"]["batchSize"] == 1

    def given() -> list[str]:
        return [record["dynamodb"]["Keys"]["pk"]["S"] for _, event in listener.heard() for record in event["Records"]]

    eventually(lambda: given()[-1] == "d")
    assert given().count("bad") >= 3
    assert {given().count(pk) for pk in "ab"} == {1}


def test_a_slow_reader_of_one_stream_holds_up_no_other(aws: EmbeddedAws) -> None:
    dynamodb, slow, quick = aws.session().client("dynamodb"), Listener(aws, TAKES="45"), Listener(aws)
    keys_only = {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    for name, listener in (("slow", slow), ("quick", quick)):
        read_stream(aws, listener, make_table(aws, name, StreamSpecification=keys_only))
    dynamodb.put_item(TableName="slow", Item={"pk": {"S": "a"}, "sk": {"S": "x"}})
    eventually(slow.heard)
    for number in range(3):
        dynamodb.put_item(TableName="quick", Item={"pk": {"S": str(number)}, "sk": {"S": "x"}})
    eventually(lambda: sum(len(event["Records"]) for _, event in quick.heard()) == 3, 40)


def test_a_condition_that_fails_can_show_the_item_that_it_failed_on(aws: EmbeddedAws) -> None:
    dynamodb = aws.session().client("dynamodb")
    make_table(aws, "conditions")
    key = {"pk": {"S": "a"}, "sk": {"S": "b"}}
    dynamodb.put_item(TableName="conditions", Item={**key, "number": {"N": "7"}})
    with pytest.raises(ClientError) as refused:
        dynamodb.update_item(
            TableName="conditions",
            Key=key,
            UpdateExpression="SET #number = :three",
            ConditionExpression="#number < :three",
            ExpressionAttributeNames={"#number": "number"},
            ExpressionAttributeValues={":three": {"N": "3"}},
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert refused.value.response["Error"]["Code"] == "ConditionalCheckFailedException"
    assert dict(refused.value.response)["Item"] == {**key, "number": {"N": "7"}}


@pytest.mark.parametrize("limit", [10, 3])
def test_a_transaction_of_an_update_and_a_put_is_written_whole_or_not_at_all(aws: EmbeddedAws, limit: int) -> None:
    written = limit > 5
    dynamodb, table = aws.session().client("dynamodb"), f"transactions-{limit}"
    make_table(aws, table)
    counter: dict[str, Any] = {"pk": {"S": "counter"}, "sk": {"S": "counter"}}
    dynamodb.put_item(TableName=table, Item={**counter, "number": {"N": "5"}})

    def transact() -> None:
        dynamodb.transact_write_items(
            TransactItems=[
                {
                    "Update": {
                        "TableName": table,
                        "Key": counter,
                        "UpdateExpression": "ADD #number :one",
                        "ConditionExpression": "#number < :limit",
                        "ExpressionAttributeNames": {"#number": "number"},
                        "ExpressionAttributeValues": {":one": {"N": "1"}, ":limit": {"N": str(limit)}},
                        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                    }
                },
                {"Put": {"TableName": table, "Item": {"pk": {"S": "entry"}, "sk": {"S": "1"}}}},
            ]
        )

    if written:
        transact()
    else:
        with pytest.raises(ClientError) as cancelled:
            transact()
        reasons: Any = dict(cancelled.value.response)["CancellationReasons"]
        assert [each["Code"] for each in reasons] == ["ConditionalCheckFailed", "None"]
        assert reasons[0]["Item"]["number"] == {"N": "5"}
    found = {item["pk"]["S"]: item for item in dynamodb.scan(TableName=table, ConsistentRead=True)["Items"]}
    assert found["counter"]["number"] == {"N": "6" if written else "5"}
    assert ("entry" in found) is written


# ---- what a deployment asks of S3 and CloudFormation ----


def test_a_bucket_of_another_account_than_the_expected_owner_is_refused(aws: EmbeddedAws) -> None:
    session = aws.session()
    s3, account = session.client("s3"), session.client("sts").get_caller_identity()["Account"]
    s3.create_bucket(Bucket="owned")
    s3.put_object(Bucket="owned", Key="mine", Body=b"x", ExpectedBucketOwner=account)
    for call in (s3.head_bucket, lambda **named: s3.put_object(Key="theirs", Body=b"x", **named)):
        with pytest.raises(ClientError, match=r"403|AccessDenied"):
            call(Bucket="owned", ExpectedBucketOwner="111122223333")
    assert [each["Key"] for each in s3.list_objects_v2(Bucket="owned")["Contents"]] == ["mine"]


def test_a_stack_that_came_of_a_change_set_has_its_templates_description(aws: EmbeddedAws) -> None:
    client = aws.session().client("cloudformation")
    queue: Any = {"Description": "One queue.", "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}
    client.create_change_set(
        StackName="described", ChangeSetName="first", ChangeSetType="CREATE", TemplateBody=json.dumps(queue)
    )
    client.execute_change_set(StackName="described", ChangeSetName="first")
    eventually(lambda: status_of(client, "described") == "CREATE_COMPLETE")
    assert client.describe_stacks(StackName="described")["Stacks"][0]["Description"] == "One queue."


def status_of(client: Any, stack: str) -> str:
    return str(client.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"])

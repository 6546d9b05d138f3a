"""What Rolekeeper needs of the embedded AWS beside EC2: schedules, streams, queues and tables as AWS has them."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import pytest
from botocore.exceptions import ClientError

from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import EmbeddedAws
from support.buses import Bus, Queue
from support.grants import allow
from support.listener import Listener, make_function, make_table
from support.ports import free_port
from support.roles import make_role
from support.waiting import eventually, stays

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

MINUTE = 1.5


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    timings, directory = Timings(minute=MINUTE), tmp_path_factory.mktemp("aws")
    with EmbeddedAws(port=free_port(), timings=timings, directory=directory) as embedded:
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


def test_a_function_writes_into_the_log_group_that_it_names_and_does_not_make_it_again(aws: EmbeddedAws) -> None:
    functions, logs = aws.session().client("lambda"), aws.session().client("logs")
    group = "/aws/lambda/writer/own"
    make_function(aws, "writer", "def handler(event, context): print('written')")
    functions.update_function_configuration(FunctionName="writer", LoggingConfig={"LogGroup": group})
    logs.create_log_group(logGroupName=group)
    functions.invoke(FunctionName="writer")
    assert logs.describe_log_streams(logGroupName=group)["logStreams"]
    logs.delete_log_group(logGroupName=group)
    functions.invoke(FunctionName="writer")
    assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"] == []


# ---- schedules ----


def test_a_scheduled_rule_gives_its_target_its_input_each_minute_the_first_time_after_one(aws: EmbeddedAws) -> None:
    listener, made = Listener(aws), time.time()
    delete = schedule(aws, listener, Input=json.dumps({"task": "expiries"}))
    heard = eventually(lambda: listener.heard() if len(listener.heard()) >= 3 else None)
    delete()
    assert {json.dumps(event) for _, event in heard} == {'{"task": "expiries"}'}
    assert heard[0][0] - made >= MINUTE


def test_a_scheduled_function_that_fails_is_tried_again_then_put_aside(aws: EmbeddedAws) -> None:
    listener, aside = Listener(aws, FAILS="yes"), Queue(aws.session())
    aws.session().client("lambda").put_function_event_invoke_config(
        FunctionName=listener.name, MaximumRetryAttempts=1, DestinationConfig={"OnFailure": {"Destination": aside.arn}}
    )
    delete = schedule(aws, listener, Input='{"task": "fails"}')
    first = eventually(aside.taken)[0]
    delete()
    assert json.loads(first)["requestPayload"] == {"task": "fails"}
    assert len(listener.heard()) >= 2


# ---- the work queue ----


def test_a_group_with_many_messages_in_flight_keeps_no_other_waiting(aws: EmbeddedAws) -> None:
    queue, bus = Queue(aws.session(), VisibilityTimeout="300"), Bus(aws)
    rule = bus.rule({"source": ["fair"]}, Arn=queue.arn, SqsParameters={"MessageGroupId": "$.detail.of"})
    for number in range(4):
        queue.sends(f"noisy {number}", MessageGroupId="noisy")

    def receive() -> list[str]:
        found = queue.receive(MaxNumberOfMessages=2, MessageSystemAttributeNames=["MessageGroupId"])
        return [each.get("Attributes", {}).get("MessageGroupId", "none") for each in found]

    assert receive() == ["noisy", "noisy"]
    bus.events.put_events(Entries=[{"Source": "fair", "DetailType": "quiet", "Detail": '{"of": "fair"}'}])
    queue.sends("of no group")
    assert eventually(receive) == ["fair", "none"]
    assert receive() == ["noisy", "noisy"]
    bus.forget(rule)


# ---- the state table ----


@pytest.mark.parametrize(("recursion", "runs"), [("Terminate", 16), ("Allow", 20)])
def test_a_chain_of_a_functions_own_messages_is_stopped_unless_the_function_allows_it(
    aws: EmbeddedAws, recursion: Literal["Allow", "Terminate"], runs: int
) -> None:
    dead, lambda_ = Queue(aws.session()), aws.session().client("lambda")
    policy = {"deadLetterTargetArn": dead.arn, "maxReceiveCount": 3}
    queue = Queue(aws.session(), VisibilityTimeout="30", RedrivePolicy=json.dumps(policy))
    listener = Listener(aws, PASSES_ON=queue.url)
    lambda_.put_function_recursion_config(FunctionName=listener.name, RecursiveLoop=recursion)
    mapping = listener.reads(queue.arn)
    queue.sends("round")
    eventually(lambda: len(listener.heard()) >= runs)
    if recursion == "Terminate":
        assert eventually(dead.taken) == ["round"]
        assert len(listener.heard()) == runs
    lambda_.delete_event_source_mapping(UUID=mapping)


FROM_ITS_BEGINNING: Any = {"StartingPosition": "TRIM_HORIZON"}


def stream(aws: EmbeddedAws, table: str) -> str:
    """The stream of a new table: keys only."""
    view = {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    return str(make_table(aws, table, StreamSpecification=view)["LatestStreamArn"])


def test_of_a_tables_stream_a_function_gets_only_what_its_filter_names_with_keys_only(aws: EmbeddedAws) -> None:
    dynamodb, listener = aws.session().client("dynamodb"), Listener(aws)
    patterns: list[Any] = [
        {"dynamodb": {"Keys": {"pk": {"S": ["control"]}}}},
        {"dynamodb": {"Keys": {"sk": {"S": ["pin"]}}}},
    ]
    filters = {"Filters": [{"Pattern": json.dumps(each)} for each in patterns]}
    listener.reads(stream(aws, "filtered"), FilterCriteria=filters, **FROM_ITS_BEGINNING)
    for pk, sk in (("instance#i-1", "record"), ("instance#i-1", "pin"), ("control", "control"), ("targets", "rounds")):
        dynamodb.put_item(TableName="filtered", Item={"pk": {"S": pk}, "sk": {"S": sk}, "more": {"S": "x"}})
    dynamodb.delete_item(TableName="filtered", Key={"pk": {"S": "control"}, "sk": {"S": "control"}})

    def records() -> list[Any]:
        return [record for _, event in listener.heard() for record in event["Records"]]

    eventually(lambda: len(records()) == 3)
    stays(lambda: len(records()) == 3, 1)
    told = {(each["eventName"], each["dynamodb"]["Keys"]["sk"]["S"]) for each in records()}
    assert told == {("INSERT", "pin"), ("INSERT", "control"), ("REMOVE", "control")}
    assert all(set(each["dynamodb"]) & {"NewImage", "OldImage"} == set() for each in records())


def test_a_bad_record_is_put_aside_alone_and_those_around_it_are_given(aws: EmbeddedAws) -> None:
    dynamodb, aside, listener = aws.session().client("dynamodb"), Queue(aws.session()), Listener(aws)
    arn = stream(aws, "bad")
    for pk in ("a", "b", "bad", "c", "d"):
        dynamodb.put_item(TableName="bad", Item={"pk": {"S": pk}, "sk": {"S": "x"}})
    listener.reads(
        arn,
        FunctionResponseTypes=["ReportBatchItemFailures"],
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": aside.arn}},
        **FROM_ITS_BEGINNING,
    )
    assert json.loads(eventually(aside.taken)[0])["DDBStreamBatchInfo"]["batchSize"] == 1

    def given() -> list[str]:
        return [record["dynamodb"]["Keys"]["pk"]["S"] for _, event in listener.heard() for record in event["Records"]]

    eventually(lambda: given()[-1] == "d")
    assert given().count("bad") >= 3
    assert {given().count(pk) for pk in "ab"} == {1}


def test_a_slow_reader_of_one_stream_holds_up_no_other(aws: EmbeddedAws) -> None:
    dynamodb, slow, quick = aws.session().client("dynamodb"), Listener(aws, TAKES="45"), Listener(aws)
    for name, listener in (("slow", slow), ("quick", quick)):
        listener.reads(stream(aws, name), **FROM_ITS_BEGINNING)
    dynamodb.put_item(TableName="slow", Item={"pk": {"S": "a"}, "sk": {"S": "x"}})
    eventually(slow.heard)
    for number in range(3):
        dynamodb.put_item(TableName="quick", Item={"pk": {"S": str(number)}, "sk": {"S": "x"}})
    eventually(lambda: sum(len(event["Records"]) for _, event in quick.heard()) == 3)


# ---- Distributed Maps ----


def accounts_machine(aws: EmbeddedAws, listener: Listener, *allowed: str) -> tuple[str, Queue]:
    """The accounts machine as it is deployed, whose role may do these actions; and its dead-letter queue."""
    session, name = aws.session(), uuid.uuid4().hex[:8]
    dead = Queue(session)
    role = make_role(aws, "000000000000", {"Service": "states.amazonaws.com"}, allow(allowed))
    definition = (Path(__file__).parents[2] / "statemachines/accounts.asl.json").read_text()
    given = {"Partition": "aws", "OnScheduleFunctionArn": listener.arn, "DeadLetterQueueUrl": dead.url}
    for place, value in given.items():
        definition = definition.replace(f"${{{place}}}", value)
    made = session.client("stepfunctions").create_state_machine(name=name, definition=definition, roleArn=role)
    return made["stateMachineArn"], dead


def test_the_accounts_machine_has_each_account_done_and_then_goes_on_though_one_fails(aws: EmbeddedAws) -> None:
    asked = {"task": "sweep", "id": "1", "then": {"task": "after"}}
    listener = Listener(aws, ACCOUNTS="111111111111 222222222222", FAILS_FOR="111111111111")
    machine, _ = accounts_machine(aws, listener, "states:StartExecution", "lambda:InvokeFunction")
    aws.session().client("stepfunctions").start_execution(stateMachineArn=machine, input=json.dumps(asked))
    eventually(lambda: len(listener.heard()) == 4)
    listing, *children, after = (event for _, event in listener.heard())
    assert listing == {"task": "accounts", "id": "1", "of": asked}
    child = {"task": "sweep", "id": "1", "of": asked}
    assert sorted(children, key=itemgetter("account")) == [
        {**child, "account": each} for each in ("111111111111", "222222222222")
    ]
    assert after == {"task": "after"}


def test_a_distributed_map_whose_machine_may_not_start_itself_starts_no_child(aws: EmbeddedAws) -> None:
    listener = Listener(aws, ACCOUNTS="111111111111")
    machine, dead = accounts_machine(aws, listener, "lambda:InvokeFunction")
    asked = {"task": "sweep", "id": "1"}
    aws.session().client("stepfunctions").start_execution(stateMachineArn=machine, input=json.dumps(asked))
    [letter] = eventually(dead.taken)
    assert json.loads(letter) == {"requestPayload": asked, "responsePayload": {"errorMessage": "States.Permissions"}}
    assert [event["task"] for _, event in listener.heard()] == ["accounts"]


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


def test_a_stacks_saved_query_is_listed_until_the_stack_is_deleted(aws: EmbeddedAws) -> None:
    stacks, logs = aws.session().client("cloudformation"), aws.session().client("logs")
    query = {"Type": "AWS::Logs::QueryDefinition", "Properties": {"Name": "saved/one", "QueryString": "limit 1"}}

    def names() -> list[str]:
        found = logs.describe_query_definitions(queryDefinitionNamePrefix="saved/")["queryDefinitions"]
        return [each["name"] for each in found]

    def delete_by_hand() -> None:
        [found] = logs.describe_query_definitions()["queryDefinitions"]
        logs.delete_query_definition(queryDefinitionId=found["queryDefinitionId"])

    delete: Callable[[], object]
    for delete in (partial(stacks.delete_stack, StackName="saved"), delete_by_hand):
        stacks.create_stack(StackName="saved", TemplateBody=json.dumps({"Resources": {"Query": query}}))
        eventually(lambda: names() == ["saved/one"])
        delete()
        eventually(lambda: names() == [])


def status_of(client: Any, stack: str) -> str:
    return str(client.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"])

"""The whole way of a row, with real clients: an edit, the stream, the handler, the verdict, the queue."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

import on_mapping_change
import runtime
from fixtures.account import MAPPING_TABLE
from fixtures.mappings import TRUSTS_EC2, TRUSTS_LAMBDA
from fixtures.state_table import STATE_TABLE, state_table_client, table_properties
from rolekeeper.mappings.revisions import Revisions
from rolekeeper.model.mapping import MappingKey, PublishedMapping
from rolekeeper.storage import codec
from rolekeeper.storage.table import Store

REGION, ACCOUNT = "us-east-1", "123456789012"
CONTEXT = SimpleNamespace(
    function_name="on_mapping_change",
    memory_limit_in_mb=512,
    invoked_function_arn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:on_mapping_change",
    aws_request_id="request-1",
)


class Account:
    """An account in moto, and the stream that brings its edits to the handler."""

    def __init__(self) -> None:
        self.dynamodb = state_table_client()
        table = self.dynamodb.create_table(
            TableName=MAPPING_TABLE,
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            **table_properties("MappingTable"),
        )
        self.iam, self.sqs = boto3.client("iam"), boto3.client("sqs")
        self.ec2, self.streams = boto3.client("ec2"), boto3.client("dynamodbstreams")
        self.queue_url = self.sqs.create_queue(QueueName="work")["QueueUrl"]
        arn = table["TableDescription"]["LatestStreamArn"]
        shard = self.streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
        self._iterator = self.streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]

    def role(self, name: str, trust: Any = TRUSTS_EC2, path: str = "/rolekeeper/") -> None:
        """Make a role, without a profile."""
        self.iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=json.dumps(trust))

    def launch(self, **tags: str) -> str:
        """Launch an instance."""
        specification: Any = [{"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]
        answer = self.ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, TagSpecifications=specification)
        return str(answer["Instances"][0]["InstanceId"])

    def put(self, **attributes: Any) -> None:
        """Put the row workload=web."""
        key = {"tag_key": {"S": "workload"}, "tag_value": {"S": "web"}}
        self.dynamodb.put_item(TableName=MAPPING_TABLE, Item={**attributes, **key})

    def delete(self) -> None:
        """Delete the row workload=web."""
        key = {"tag_key": {"S": "workload"}, "tag_value": {"S": "web"}}
        self.dynamodb.delete_item(TableName=MAPPING_TABLE, Key=key)

    def deliver(self) -> int:
        """Bring what the stream holds to the handler, until there is nothing new; returns how many records."""
        delivered = 0
        for _ in range(5):
            answer = self.streams.get_records(ShardIterator=self._iterator)
            self._iterator = answer["NextShardIterator"]
            if not answer["Records"]:
                return delivered
            delivered += len(answer["Records"])
            assert on_mapping_change.handler({"Records": answer["Records"]}, CONTEXT) == {"batchItemFailures": []}
        raise AssertionError("our own writes wake us for ever")

    def row(self) -> dict[str, Any]:
        """The row workload=web, plain."""
        key = {"tag_key": {"S": "workload"}, "tag_value": {"S": "web"}}
        return codec.from_attributes(self.dynamodb.get_item(TableName=MAPPING_TABLE, Key=key)["Item"])

    def served(self) -> PublishedMapping:
        """What is published under workload=web."""
        mapping = Revisions(Store(self.dynamodb, STATE_TABLE)).read(MappingKey("workload", "web")).published
        assert mapping
        return mapping

    def sent(self) -> list[str]:
        """The instances that wait in the work queue; taken from it."""
        answer = self.sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10)
        for message in answer.get("Messages", ()):
            self.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])
        return sorted(json.loads(each["Body"])["detail"]["instance-id"] for each in answer.get("Messages", ()))


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    # moto knows no account-bound endpoints for streams (AWS_FACTS.md "What the emulators forgive").
    monkeypatch.setenv("AWS_ACCOUNT_ID_ENDPOINT_MODE", "disabled")
    monkeypatch.setattr(runtime.metrics.provider, "namespace", "Rolekeeper")
    monkeypatch.setattr(runtime.metrics.provider, "service", "rolekeeper")
    with mock_aws():
        runtime.client.cache_clear()
        runtime.settings.cache_clear()
        made = Account()
        for name, value in {
            "MAPPING_TABLE": MAPPING_TABLE,
            "STATE_TABLE": STATE_TABLE,
            "WORK_QUEUE_URL": made.queue_url,
            "ALARM_TOPIC": boto3.client("sns").create_topic(Name="alarms")["TopicArn"],
            "ROLE_PATH": "/rolekeeper/",
            "TAKE_OVER": "false",
            "CREATE_MISSING_PROFILES": "true",
            "ALLOW_BROAD_ROLES": "false",
            "REQUIRE_PERMISSIONS_BOUNDARY": "",
            "MODE": "enforce",
            "RETRY_TIMEOUT_MINUTES": "60",
            "HISTORY_DAYS": "90",
            "MAX_CHANGES_PER_EDIT": "25",
            "MAX_CHANGES_PERCENT": "20",
            "CHANGE_WINDOW_MINUTES": "10",
            "CHANGES_PER_SECOND": "4.8",
            "WORKERS": "5",
            "CONTESTED_AFTER": "3",
            "CONTESTED_WINDOW_MINUTES": "30",
        }.items():
            monkeypatch.setenv(name, value)
        yield made
    runtime.client.cache_clear()
    runtime.settings.cache_clear()


def test_an_edit_goes_all_the_way_and_our_status_write_ends_there(account: Account) -> None:
    instance = account.launch(workload="web")
    account.launch(workload="other")
    account.role("web")
    account.put(role={"S": "web"})

    assert account.deliver() == 2, "the edit, and our status write, which wakes nobody"

    row = account.row()
    assert (row["status"], row["status_reason"], row["status_revision"], row["matched"]) == (
        "Published",
        "in effect",
        1,
        1,
    )
    assert account.served().profile_arn == f"arn:aws:iam::{ACCOUNT}:instance-profile/rolekeeper/web"
    assert account.sent() == [instance]


def test_a_bad_edit_leaves_the_old_one_serving_until_a_better_one_comes(account: Account) -> None:
    instance = account.launch(workload="web")
    for name in ("web", "api"):
        account.role(name)
    account.role("distrustful", TRUSTS_LAMBDA)
    account.put(role={"S": "web"})
    account.deliver()
    account.sent()

    for bad in ({"S": "nobody"}, {"S": "distrustful"}, {"N": "1"}, {"S": f"arn:aws:iam::{ACCOUNT}:role/web"}):
        account.put(role=bad)
        account.deliver()
        assert account.row()["status"] == "Rejected"
        assert account.row()["status_revision"] == 1
        assert account.served().spec.role == "web"
        assert account.sent() == []

    account.put(role={"S": "api"})
    account.deliver()
    assert (account.row()["status"], account.row()["status_revision"]) == ("Published", 2)
    assert account.served().spec.role == "api"
    assert account.sent() == [instance]


def test_a_deleted_row_unpublishes(account: Account) -> None:
    instance = account.launch(workload="web")
    account.role("web")
    account.put(role={"S": "web"})
    account.deliver()
    account.sent()

    account.delete()
    account.deliver()

    assert account.served().deleted
    assert account.sent() == [instance]


def test_a_row_put_and_deleted_before_anybody_looked_leaves_nothing(account: Account) -> None:
    account.role("web")
    account.put(role={"S": "web"})
    account.delete()
    assert account.deliver() == 2
    assert Revisions(Store(account.dynamodb, STATE_TABLE)).read(MappingKey("workload", "web")).published is None


def test_a_held_edit_that_is_discarded_ends_with_the_row_as_it_was(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.role("web")
    account.role("db")
    account.put(role={"S": "web"})
    account.deliver()
    for name in ("MAX_CHANGES_PER_EDIT", "MAX_CHANGES_PERCENT"):
        monkeypatch.setenv(name, "0")
    runtime.settings.cache_clear()
    account.launch(workload="web")
    account.put(role={"S": "db"})
    account.deliver()
    assert account.row()["status"] == "Held"

    account.dynamodb.update_item(
        TableName=MAPPING_TABLE,
        Key={"tag_key": {"S": "workload"}, "tag_value": {"S": "web"}},
        UpdateExpression="SET discard = :number",
        ExpressionAttributeValues={":number": {"N": "2"}},
    )
    # The number, the row that was put back, and the verdict on it.
    assert account.deliver() == 3

    row = account.row()
    assert (row["role"], row["status"], row["status_revision"]) == ("web", "Published", 1)
    assert row.keys().isdisjoint({"discard", "held_revision"})
    assert account.served().revision == 1

"""Policies of DynamoDB's tables: kept by a stack and by their API, and asked of everybody, the account's root too."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rolekeeper_local.embedded import EmbeddedAws
from support.roles import ANYBODY, assumed, make_role

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

ACCOUNT, STACK, TABLE = "000000000000", "guarded", "guarded-table"
MAY_ALL = {"Effect": "Allow", "Action": "dynamodb:*", "Resource": "*"}
KEYS = "dynamodb:LeadingKeys"


def deny(actions: str | list[str], **condition: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Principal": "*", "Action": actions, "Resource": "*", "Condition": condition}


def template(*statements: Any) -> str:
    properties: dict[str, Any] = {
        "TableName": TABLE,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    }
    if statements:
        properties["ResourcePolicy"] = {"PolicyDocument": {"Version": "2012-10-17", "Statement": list(statements)}}
    return json.dumps({"Resources": {"Table": {"Type": "AWS::DynamoDB::Table", "Properties": properties}}})


@pytest.fixture(scope="module")
def keeper(aws: EmbeddedAws) -> str:
    """A role that the table's policy leaves out of its denials."""
    return make_role(aws, ACCOUNT, ANYBODY, MAY_ALL)


@pytest.fixture(scope="module")
def stranger(aws: EmbeddedAws) -> str:
    return make_role(aws, ACCOUNT, ANYBODY, MAY_ALL)


@pytest.fixture(scope="module")
def guarded(aws: EmbeddedAws, keeper: str) -> Any:
    """The stack's table, as root sees it. Its policy is of the state table's form (template.yaml)."""
    but_keeper = {"ArnNotEquals": {"aws:PrincipalArn": [keeper]}}
    statements = [
        deny(["dynamodb:BatchWriteItem", "dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate", "dynamodb:PartiQLDelete"]),
        deny(
            ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"],
            **{"ForAnyValue:StringLike": {KEYS: "own#*"}, "ForAnyValue:StringNotEquals": {KEYS: "own#${aws:userid}"}},
        ),
        deny(
            ["dynamodb:PutItem", "dynamodb:UpdateItem"],
            **{"ForAnyValue:StringNotLike": {KEYS: ["own#*", "open", "part#*"]}},
            **but_keeper,
        ),
        deny(
            "dynamodb:*Item",
            **{"ForAnyValue:StringLike": {KEYS: "part#*"}},
            **{"ForAnyValue:StringNotLike": {"dynamodb:Attributes": ["pk", "note", "change:*"]}},
            **but_keeper,
        ),
    ]
    cloudformation = aws.session().client("cloudformation")
    cloudformation.create_stack(StackName=STACK, TemplateBody=template(*statements))
    cloudformation.get_waiter("stack_create_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1})
    return aws.session().client("dynamodb")


def put(client: Any, pk: str, **texts: str) -> Any:
    return client.put_item(TableName=TABLE, Item={name: {"S": text} for name, text in {"pk": pk, **texts}.items()})


def refused(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(ClientError, match="AccessDeniedException") as refusal:
        call(*arguments, **named)
    return str(refusal.value.response["Error"]["Message"])


def of(aws: EmbeddedAws, role: str) -> Any:
    return assumed(aws, role).client("dynamodb")


def test_a_stacks_table_has_its_policy_which_denies_even_root(aws: EmbeddedAws, guarded: Any, keeper: str) -> None:
    arn = f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/{TABLE}"
    assert keeper in guarded.get_resource_policy(ResourceArn=arn)["Policy"]
    put(guarded, "open")
    assert refused(put, guarded, "closed") == (
        f"User: arn:aws:iam::{ACCOUNT}:root is not authorized to perform: dynamodb:PutItem on resource: {arn} "
        "with an explicit deny in a resource-based policy"
    )
    put(of(aws, keeper), "closed")


def test_who_may_all_by_their_own_policy_is_denied_what_only_the_named_role_may(
    aws: EmbeddedAws, guarded: Any, keeper: str, stranger: str
) -> None:
    put(of(aws, stranger), "open")
    refused(put, of(aws, stranger), "closed")
    refused(of(aws, stranger).update_item, TableName=TABLE, Key={"pk": {"S": "closed"}})
    of(aws, keeper).update_item(TableName=TABLE, Key={"pk": {"S": "closed"}})
    assert guarded.scan(TableName=TABLE)["Items"], "what no statement denies"


@pytest.mark.usefixtures("guarded")
def test_an_own_partition_is_known_by_the_callers_id(aws: EmbeddedAws, stranger: str) -> None:
    for session in (aws.session(), assumed(aws, stranger)):
        own = session.client("sts").get_caller_identity()["UserId"]
        put(session.client("dynamodb"), f"own#{own}")
        refused(put, session.client("dynamodb"), f"own#{own}x")


@pytest.mark.parametrize("who", ["root", "stranger"])
def test_only_some_attributes_of_an_item_may_be_written(
    aws: EmbeddedAws, guarded: Any, stranger: str, who: str
) -> None:
    client, key = of(aws, stranger) if who == "stranger" else guarded, {"pk": {"S": "part#1"}}
    put(client, "part#1", note="x", **{"change:1": "x"})
    refused(put, client, "part#1", grant="x")
    wanted: dict[str, Any] = {"ExpressionAttributeValues": {":v": {"S": "x"}}, "TableName": TABLE, "Key": key}
    client.update_item(**wanted, UpdateExpression="SET note = :v")
    refused(client.update_item, **wanted, UpdateExpression="SET #g = :v", ExpressionAttributeNames={"#g": "grant"})
    refused(client.update_item, TableName=TABLE, Key=key, AttributeUpdates={"grant": {"Value": {"S": "x"}}})


def test_one_item_of_a_transaction_is_enough_to_deny_all(aws: EmbeddedAws, guarded: Any, keeper: str) -> None:
    items = [{"Put": {"TableName": TABLE, "Item": {"pk": {"S": pk}}}} for pk in ("open", "together")]
    guarded.transact_write_items(TransactItems=items[:1])
    refused(guarded.transact_write_items, TransactItems=items)
    of(aws, keeper).transact_write_items(TransactItems=items)


def test_batches_and_partiql_are_denied_by_actions_of_their_own(aws: EmbeddedAws, guarded: Any, keeper: str) -> None:
    wanted = {TABLE: [{"PutRequest": {"Item": {"pk": {"S": "open"}}}}]}
    read, write = f"SELECT * FROM \"{TABLE}\" WHERE pk = 'open'", f"INSERT INTO \"{TABLE}\" VALUE {{'pk': 'new'}}"
    for client in (guarded, of(aws, keeper)):
        refused(client.batch_write_item, RequestItems=wanted)
        client.execute_statement(Statement=read)
        assert "dynamodb:PartiQLInsert" in refused(client.execute_statement, Statement=write)
        client.batch_execute_statement(Statements=[{"Statement": read}])
        refused(client.batch_execute_statement, Statements=[{"Statement": "nonsense"}, {"Statement": write}])
        client.execute_transaction(TransactStatements=[{"Statement": read}])
        change = f"UPDATE \"{TABLE}\" SET note = 'x' WHERE pk = 'open'"
        refused(client.execute_transaction, TransactStatements=[{"Statement": change}])
    assert "Item" not in guarded.get_item(TableName=TABLE, Key={"pk": {"S": "new"}})

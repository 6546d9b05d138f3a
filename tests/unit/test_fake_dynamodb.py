"""The DynamoDB in memory answers as moto does, and where moto forgives, as AWS documents."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

from fakes.dynamodb import FakeDynamoDB
from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.storage import layout
from rolekeeper.storage.state import Store, Write
from strategies import store_steps

STATE = "state"
TABLES = {STATE: ("pk", "sk")}
KEY = {"pk": {"S": "a"}, "sk": {"S": "b"}}


# ---- the same as moto ----


class Side:
    """One client with what stands on it."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.store = Store(client, STATE, sleep=lambda _: None)

    def does(self, act: Callable[[Store], Any]) -> Any:
        """The answer, or what was refused and why."""
        try:
            return act(self.store)
        except AwsRefusalError as refused:
            answer: Any = getattr(refused.__cause__, "response", {})
            reasons = [each["Code"] for each in answer.get("CancellationReasons", ())]
            return type(refused), refused.code, reasons

    def items(self) -> list[Any]:
        """All items of the table, raw."""
        if isinstance(self.client, FakeDynamoDB):
            return self.client.items(STATE)
        return list(self.client.scan(TableName=STATE)["Items"])

    def by_key(self) -> dict[Any, Any]:
        items = map(layout.from_attributes, self.items())
        return {(item["pk"], item["sk"]): item for item in items}


@pytest.fixture(scope="module")
def moto() -> Iterator[Side]:
    """Moto with the table."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        client = boto3.client("dynamodb", region_name="us-east-1")
        client.create_table(
            TableName=STATE,
            AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield Side(client)


def empty(side: Side) -> None:
    for item in side.items():
        side.client.delete_item(TableName=STATE, Key={"pk": item["pk"], "sk": item["sk"]})


@settings(max_examples=40)
@given(st.lists(store_steps.puts, max_size=6), st.lists(store_steps.steps, min_size=4, max_size=14))
def test_random_operations_are_answered_as_by_moto(
    moto: Side, seeds: list[Callable[[Store], Write]], acts: list[Callable[[Store], Any]]
) -> None:
    empty(moto)
    fake = Side(FakeDynamoDB(TABLES, page_items=None))
    for side in (fake, moto):
        for seed in seeds:
            store_steps.written(side.store, [seed])
    for act in acts:
        assert (act, fake.does(act)) == (act, moto.does(act))
    assert fake.by_key() == moto.by_key()


# ---- refused, as AWS documents it ----


@pytest.fixture
def fake() -> FakeDynamoDB:
    made = FakeDynamoDB(TABLES, page_items=None)
    put(made, n={"N": "5"}, s={"S": "t"}, tags={"SS": ["x"]})
    return made


def put(client: FakeDynamoDB, pk: str = "a", sk: str = "b", **attributes: Any) -> None:
    client.put_item(TableName=STATE, Item={"pk": {"S": pk}, "sk": {"S": sk}, **attributes})


def found(client: FakeDynamoDB, pk: str = "a", sk: str = "b") -> Any:
    return client.get_item(TableName=STATE, Key={"pk": {"S": pk}, "sk": {"S": sk}}, ConsistentRead=True).get("Item")


def update(text: str, names: Any = None, key: Any = KEY, condition: str = "", **values: Any) -> dict[str, Any]:
    """An update; `values` are those of its placeholders."""
    long = {
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": {f":{name}": each for name, each in values.items()} or None,
        "ConditionExpression": condition or None,
    }
    given = {name: each for name, each in long.items() if each is not None}
    return {"TableName": STATE, "Key": key, "UpdateExpression": text, **given}


def query(text: str = "pk = :a", start: Any = None, **given: Any) -> dict[str, Any]:
    values = {f":{name}": {"S": each} for name, each in (given or {"a": "a"}).items()}
    asked = {"TableName": STATE, "ConsistentRead": True, "KeyConditionExpression": text}
    begins = {"ExclusiveStartKey": {**KEY, **start}} if start else {}
    return {**asked, "ExpressionAttributeValues": values, **begins}


def batch(*keys: Any) -> dict[str, Any]:
    return {"RequestItems": {STATE: {"Keys": list(keys), "ConsistentRead": True}}}


def numbered(count: int) -> list[Any]:
    return [{"pk": {"S": "a"}, "sk": {"S": str(number)}} for number in range(count)]


ONE, TEXT, SET = {"N": "1"}, {"S": "x"}, {"SS": ["x"]}
LARGEST = 409_600 - len("pkaskbv")


def put_of(**attributes: Any) -> dict[str, Any]:
    return {"TableName": STATE, "Item": {**KEY, **attributes}}


def get_of(**attributes: Any) -> dict[str, Any]:
    return {"TableName": STATE, "Key": {**KEY, **attributes}}


def deletes(*keys: Any) -> dict[str, Any]:
    return {"TransactItems": [{"Delete": {"TableName": STATE, "Key": key}} for key in keys]}


# By what a request has: what it asks for.
OPERATIONS = {
    "UpdateExpression": "update_item",
    "Item": "put_item",
    "Key": "get_item",
    "KeyConditionExpression": "query",
    "RequestItems": "batch_get_item",
    "TransactItems": "transact_write_items",
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    # Expressions.
    "paths overlap": (update("SET n = :v REMOVE n", v=ONE), "overlap with each other"),
    "a clause twice": (update("REMOVE n REMOVE s"), "can only be used once"),
    "an empty update": (update(""), "can not be empty"),
    "an unused name": (update("REMOVE n", {"#s": "s"}), "unused in expressions: keys: {#s}"),
    "an unused value": (update("REMOVE n", v=ONE), "unused in expressions: keys: {:v}"),
    "no names": (update("REMOVE n", {}), "must not be empty"),
    "an undefined name": (update("REMOVE #n"), "not defined; attribute name: #n"),
    "an undefined value": (update("SET n = :v"), "not defined; attribute value: :v"),
    "a reserved word": (update("REMOVE n", condition="attribute_exists(role)"), "reserved keyword: role"),
    "parentheses twice": (update("REMOVE n", condition="((attribute_exists(n)))"), "redundant"),
    "more than 4 KB": (update("REMOVE n, " + "n" * 4_100), "expression size: 4110"),
    "a key that is updated": (update("SET pk = :v", v=TEXT), "Cannot update attribute pk"),
    # Operands.
    "ADD of a text": (update("ADD n :v", v=TEXT), "ADD, operand type: STRING"),
    "ADD of a number to a text": (update("ADD s :v", v=ONE), "incorrect data type"),
    "DELETE of a number": (update("DELETE n :v", v=ONE), "DELETE, operand type: NUMBER"),
    "DELETE of a set from a text": (update("DELETE s :v", v=SET), "incorrect data type"),
    "an order of booleans": (update("REMOVE n", condition="n < :v", v={"BOOL": True}), "operand type: BOOLEAN"),
    # Keys.
    "an empty partition key": (get_of(pk={"S": ""}), "empty string"),
    "an empty sort key": (put_of(sk={"S": ""}), "Key: sk"),
    "a key of another type": (put_of(sk=ONE), "expected: S actual: N"),
    "an item without a key": ({"TableName": STATE, "Item": {"pk": TEXT}}, "Missing the key sk"),
    "more than a key": (get_of(n=ONE), "does not match the schema"),
    "a long partition key": (get_of(pk={"S": "é" * 1_025}), "2048 bytes"),
    "a long sort key": (get_of(sk={"S": "x" * 1_025}), "1024 bytes"),
    # Values.
    "an empty set": (put_of(v={"L": [{"SS": []}]}), "set  may not be empty"),
    "a member twice": (put_of(v={"NS": ["1", "1.0"]}), "duplicates"),
    "a value of two types": (put_of(v={**ONE, **TEXT}), "more than one"),
    "more than 400 KB": (put_of(v={"S": "x" * (LARGEST + 1)}), "Item size has exceeded"),
    "an update to more than 400 KB": (update("SET v = :v", v={"S": "x" * 409_590}), "Item size to update has exceeded"),
    # Limits and places.
    "a key twice": (batch(KEY, KEY), "contains duplicates"),
    "101 keys": (batch(*numbered(101)), "Too many items"),
    "101 writes": (deletes(*numbered(101)), "less than or equal to 100"),
    "an item twice in a transaction": (deletes(KEY, KEY), "multiple operations on one item"),
    "an empty key in a transaction": (deletes({**KEY, "pk": {"S": ""}}), "empty string"),
    "a query for an empty key": (query("pk = :a AND sk <= :b", a="a", b=""), "empty string"),
    "a start outside the partition": (query("pk = :a", {"pk": {"S": "c"}}, a="a"), "outside query boundaries"),
    "a start outside what is asked for": (
        query("pk = :a AND sk <= :b", {"sk": {"S": "c"}}, a="a", b="b"),
        "does not match the range key predicate",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_dynamodb_refuses_is_refused_in_its_words_and_changes_nothing(fake: FakeDynamoDB, case: str) -> None:
    request, words = REFUSED[case]
    operation = next(operation for name, operation in OPERATIONS.items() if name in request)
    before = fake.items(STATE)
    with pytest.raises(ClientError, match=re.escape(words)) as refused:
        getattr(fake, operation)(**request)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert fake.items(STATE) == before


@pytest.mark.parametrize(
    "request_",
    [
        {"ReturnValues": "ALL_OLD"},
        update("SET n = n + :v", v=ONE),
        update("SET n = if_not_exists(n, :v)", v=ONE),
        update("SET a.b = :v", v=ONE),
        update("SET n :v", v=ONE),
        update("REMOVE n", condition="NOT n = :v", v=ONE),
        update("REMOVE n", condition="n BETWEEN :v AND :v", v=ONE),
        update("REMOVE n", condition="(n = :v", v=ONE),
        update("REMOVE n", condition="n = :v )", v=ONE),
    ],
)
def test_what_the_fake_doesnt_know_it_says_loudly(fake: FakeDynamoDB, request_: dict[str, Any]) -> None:
    with pytest.raises(NotImplementedError):
        fake.update_item(**update("REMOVE n") | request_)


# ---- writes ----


def test_a_transaction_that_is_cancelled_says_why_for_each_write(fake: FakeDynamoDB) -> None:
    """A key of another type is a reason too: AWS's own answers are in paritysuite/dynamodb-conformance, pull 46."""
    writes = [
        {"Update": update("REMOVE n", key=numbered(1)[0])},
        {"Update": update("REMOVE n", condition="attribute_not_exists(n)")},
        {"Update": update("ADD s :v", key={**KEY, "pk": {"S": "c"}}, v=ONE)},
        {"Put": {"TableName": STATE, "Item": {**KEY, "sk": {"S": "large"}, "v": {"S": "x" * 410_000}}}},
    ]
    put(fake, "c", s=TEXT)
    with pytest.raises(ClientError) as refused:
        fake.transact_write_items(TransactItems=writes)
    answer: Any = refused.value.response
    reasons = ["None", "ConditionalCheckFailed", "ValidationError", "ValidationError"]
    assert f"[{', '.join(reasons)}]" in answer["Error"]["Message"]
    assert [each["Code"] for each in answer["CancellationReasons"]] == reasons
    assert found(fake, "a", "0") is None
    with pytest.raises(ClientError) as refused:
        fake.transact_write_items(TransactItems=[{"Put": {"TableName": STATE, "Item": {**KEY, "sk": ONE}}}])
    answer = refused.value.response
    assert [each["Code"] for each in answer["CancellationReasons"]] == ["ValidationError"]


# ---- reads ----


def sorts(answer: Any) -> list[str]:
    return [each["sk"]["S"] for each in answer["Items"]]


@pytest.mark.parametrize("limit", [{}, {"Limit": 50}])
def test_a_page_has_two_items_where_nobody_says_otherwise(limit: dict[str, int]) -> None:
    fake = FakeDynamoDB(TABLES)
    for sort in "xyz":
        put(fake, "p", sort)
    for page in fake.query(**query(a="p"), **limit), fake.scan(TableName=STATE, ConsistentRead=True, **limit):
        assert (sorts(page), page["LastEvaluatedKey"]["sk"]) == (["x", "y"], {"S": "y"})
    assert sorts(fake.query(**query(a="p"), Limit=1)) == ["x"]


def test_a_read_that_is_not_consistent_sees_each_item_as_it_was_before_the_last_write(fake: FakeDynamoDB) -> None:
    def seen(**consistency: bool) -> list[Any]:
        which = {"TableName": STATE, "Key": KEY, **consistency}
        asked = {"RequestItems": {STATE: {"Keys": [KEY], **consistency}}}
        return [
            fake.get_item(**which).get("Item"),
            *(fake.batch_get_item(**asked)["Responses"][STATE] or [None]),
            *(fake.query(**query() | {"ConsistentRead": False} | consistency)["Items"] or [None]),
            *(fake.scan(TableName=STATE, **consistency)["Items"] or [None]),
        ]

    first = found(fake)
    assert seen() == [None] * 4
    put(fake, n=ONE)
    assert seen() == seen(ConsistentRead=False) == [first] * 4
    assert seen(ConsistentRead=True) == [{**KEY, "n": ONE}] * 4
    fake.delete_item(TableName=STATE, Key=KEY)
    assert seen() == [{**KEY, "n": ONE}] * 4
    assert seen(ConsistentRead=True) == [None] * 4


# ---- who is told ----


def test_a_change_is_told_once_all_of_the_write_took_effect_and_one_that_changes_nothing_isnt(
    fake: FakeDynamoDB,
) -> None:
    told: list[Any] = []
    before, other = found(fake), numbered(1)[0]
    fake.on_change = lambda *change: told.append((*change, found(fake), found(fake, "a", "0")))
    fake.put_item(TableName=STATE, Item=before)
    fake.delete_item(TableName=STATE, Key=other)
    with pytest.raises(ClientError):
        fake.update_item(**update("REMOVE n", condition="attribute_not_exists(n)"))
    assert told == []
    writes = [{"Update": update("SET n = :v", v=ONE)}, {"Put": {"TableName": STATE, "Item": other}}]
    fake.transact_write_items(TransactItems=writes)
    after = {**before, "n": ONE}
    assert told == [(STATE, ("a", "b"), before, after, after, other), (STATE, ("a", "0"), None, other, after, other)]

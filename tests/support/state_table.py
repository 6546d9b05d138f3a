"""The tables' keys as the template makes them, and the state table in moto."""

from functools import cache
from typing import Any

import boto3

from support import templates

STATE_TABLE = "rolekeeper-state"


@cache
def table_keys(resource: str) -> tuple[str, ...]:
    """The names of a table's key attributes, all strings, the partition's first; `resource` is the template's name."""
    properties = table_properties(resource)
    assert {each["AttributeType"] for each in properties["AttributeDefinitions"]} == {"S"}
    return tuple(each["AttributeName"] for each in properties["KeySchema"])


def table_properties(resource: str) -> dict[str, Any]:
    """What CreateTable takes of a table of the template."""
    properties = templates.load()["Resources"][resource]["Properties"]
    return {name: properties[name] for name in ("AttributeDefinitions", "KeySchema", "BillingMode")}


def state_table_client() -> Any:
    """A DynamoDB client of moto's (inside `mock_aws`) that has the state table."""
    client = boto3.client("dynamodb", region_name="us-east-1")
    client.create_table(TableName=STATE_TABLE, **table_properties("StateTable"))
    return client


def leave_unprocessed(client: Any, answers: int) -> None:
    """The next answers of BatchGetItem leave out what they were asked for, as `UnprocessedKeys`."""
    left = [answers]

    def leave_out(parsed: dict[str, Any], **_: Any) -> None:
        if left[0]:
            left[0] -= 1
            items = parsed["Responses"].pop(STATE_TABLE, [])
            keys = [{name: item[name] for name in ("pk", "sk")} for item in items]
            parsed["UnprocessedKeys"] = {STATE_TABLE: {"Keys": keys, "ConsistentRead": True}}

    client.meta.events.register("after-call.dynamodb.BatchGetItem", leave_out)

"""The state table as the template makes it, in moto."""

from typing import Any

import boto3

from support import templates

STATE_TABLE = "rolekeeper-state"


def state_table_client() -> Any:
    """A DynamoDB client of moto's (inside `mock_aws`) that has the state table, with the template's own keys."""
    template = templates.load()
    properties = template["Resources"]["StateTable"]["Properties"]
    client = boto3.client("dynamodb", region_name="us-east-1")
    client.create_table(
        TableName=STATE_TABLE,
        **{name: properties[name] for name in ("AttributeDefinitions", "KeySchema", "BillingMode")},
    )
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

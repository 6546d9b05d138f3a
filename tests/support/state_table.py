"""The state table as the template makes it, in moto."""

from pathlib import Path
from typing import Any

import boto3
import yaml

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
STATE_TABLE = "rolekeeper-state"


class _Loader(yaml.SafeLoader):
    """Reads a template; what CloudFormation's tags mean is of no interest here."""


_Loader.add_multi_constructor("!", lambda _loader, _suffix, _node: None)


def state_table_client() -> Any:
    """A DynamoDB client of moto's (inside `mock_aws`) that has the state table, with the template's own keys."""
    template = yaml.load(TEMPLATE.read_text(), Loader=_Loader)
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

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

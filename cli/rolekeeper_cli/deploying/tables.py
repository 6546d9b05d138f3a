"""`rolekeeper deploy --import-tables`: a new deployment begins with two tables that were restored from backups.

CloudFormation imports them into a new stack, which the deployment then updates (CloudFormation user guide, "Import AWS
resources into a CloudFormation stack"). Nobody writes into the state table, so its own policy needs no exception.
"""

import json
from typing import Any

from rolekeeper.model.instance import Target
from rolekeeper.storage import layout
from rolekeeper.storage.state import Store
from rolekeeper_cli import terminal
from rolekeeper_cli.deploying.rollout import Rollout, Template, start
from rolekeeper_cli.deploying.stack import HUB
from rolekeeper_cli.errors import ConfigurationError

_TABLE, _IMPORTED = "AWS::DynamoDB::Table", {"IMPORT_COMPLETE"}
# By their names in the template.
_KEYS = {"MappingTable": ["tag_key", "tag_value"], "StateTable": ["pk", "sk"]}
# The deployment sets all else without replacing a table (CloudFormation, "AWS::DynamoDB::Table", "Update requires").
_DESCRIBED = ("KeySchema", "AttributeDefinitions")

type Tables = tuple[str, str]


def import_tables(tables: Tables, rollout: Rollout, dynamodb: Any, home: Target) -> None:
    """Make a stack of a mapping table and a state table. As in any new one nothing changes before a sweep of `home`.

    Raises:
        ConfigurationError: they aren't such tables.
    """
    named = dict(zip(_KEYS, tables, strict=True))
    resources = {logical: _resource(logical, dynamodb, name) for logical, name in named.items()}
    terminal.confirm(f"Import the tables {' and '.join(tables)}?", yes=rollout.yes)
    # The former deployment's switch and sweep; and the new one's own place, which may have had a spoke before.
    store = Store(dynamodb, named["StateTable"])
    for key in (layout.CONTROL, layout.FLEET, layout.target_key(home)):
        store.write(store.delete(key))
    imports = [
        {"ResourceType": _TABLE, "LogicalResourceId": logical, "ResourceIdentifier": {"TableName": name}}
        for logical, name in named.items()
    ]
    body = json.dumps({"Description": HUB, "Resources": resources})
    template = Template({"TemplateBody": body, "ResourcesToImport": imports}, (), "IMPORT")
    operation = start(rollout.client, rollout.stack, template, [], rollout.sleep)
    operation.follow(f"the import of the tables into {rollout.stack}", _IMPORTED)


def _resource(logical: str, dynamodb: Any, name: str) -> dict[str, Any]:
    try:
        table = dynamodb.describe_table(TableName=name)["Table"]
    except dynamodb.exceptions.ResourceNotFoundException as error:
        raise ConfigurationError(f"there is no table {name} here", "name the restored tables, and --region") from error
    keys = [each["AttributeName"] for each in table["KeySchema"]]
    if keys != _KEYS[logical]:
        what = f"{name} has the keys {', '.join(keys)}; a {logical} has {', '.join(_KEYS[logical])}"
        raise ConfigurationError(what, "name the mapping table first, then the state table")
    described = {each: table[each] for each in _DESCRIBED}
    properties = {"BillingMode": "PAY_PER_REQUEST", **described}
    return {"Type": _TABLE, "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain", "Properties": properties}

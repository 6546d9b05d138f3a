"""`rolekeeper deploy --import-tables`: a new deployment begins with two tables that were restored from backups.

CloudFormation imports them into a new stack, which the deployment then updates (CloudFormation user guide, "Import AWS
resources into a CloudFormation stack"). Nobody writes into the state table, so its own policy needs no exception.
"""

import json
from typing import Any

from rolekeeper.aws.errors import NotFoundError
from rolekeeper.model.instance import Target
from rolekeeper.storage import layout
from rolekeeper.storage.state import Store
from rolekeeper_cli import terminal
from rolekeeper_cli.deploying.rollout import Rollout, Template, start
from rolekeeper_cli.deploying.stack import HUB
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import ConfigurationError
from rolekeeper_cli.layout import several

_TABLE, _IMPORTED = "AWS::DynamoDB::Table", {"IMPORT_COMPLETE"}
# By their names in the template.
_KEYS = {"MappingTable": ["tag_key", "tag_value"], "StateTable": ["pk", "sk"]}
# The deployment sets all else without replacing a table (CloudFormation, "AWS::DynamoDB::Table", "Update requires").
_DESCRIBED = ("KeySchema", "AttributeDefinitions")

type Tables = tuple[str, str]


def import_tables(deployment: Deployment, tables: Tables, rollout: Rollout) -> None:
    """Make a stack of a mapping table and a state table. As in any new one nothing changes before its first sweep.

    Raises:
        ConfigurationError: they aren't such tables, or one is in use.
    """
    named = dict(zip(_KEYS, tables, strict=True))
    resources = {logical: _resource(deployment, logical, name) for logical, name in named.items()}
    terminal.confirm(f"Import the tables {several(tables)}?", yes=rollout.yes)
    # The former deployment's sweep and switch; and the new one's own place, which may have had a spoke before.
    home = Target(deployment.caller.account, str(deployment.session.region_name))
    store = Store(deployment.client("dynamodb"), named["StateTable"])
    for key in (layout.FLEET, layout.CONTROL, layout.target_key(home)):
        store.write(store.delete(key))
    imports = [
        {"ResourceType": _TABLE, "LogicalResourceId": logical, "ResourceIdentifier": {"TableName": name}}
        for logical, name in named.items()
    ]
    body = json.dumps({"Description": HUB, "Resources": resources})
    template = Template({"TemplateBody": body, "ResourcesToImport": imports}, capabilities=(), kind="IMPORT")
    operation = start(rollout.client, rollout.stack, template, parameters=[], sleep=rollout.sleep)
    operation.follow(f"the import of the tables into {rollout.stack}", _IMPORTED)


def _resource(deployment: Deployment, logical: str, name: str) -> dict[str, Any]:
    try:
        table = deployment.ask("dynamodb:DescribeTable", name, TableName=name)["Table"]
    except NotFoundError as error:
        raise ConfigurationError(f"there is no table {name} here", "name the restored tables, and --region") from error
    keys = [each["AttributeName"] for each in table["KeySchema"]]
    if keys != _KEYS[logical]:
        what = f"{name} has the keys {several(keys)}; a {logical} has {several(_KEYS[logical])}"
        raise ConfigurationError(what, "name the mapping table first, then the state table")
    # A restored table has none (DynamoDB API reference, `RestoreTableToPointInTime`).
    if table.get("LatestStreamArn"):
        raise ConfigurationError(f"{name} has a stream, as one that a deployment uses", "restore a copy, and name that")
    properties = {"BillingMode": "PAY_PER_REQUEST", **{each: table[each] for each in _DESCRIBED}}
    return {"Type": _TABLE, "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain", "Properties": properties}

"""`rolekeeper deploy --import-tables`: a new deployment begins with two tables that were restored from backups.

CloudFormation imports them into a new stack, which the deployment then updates (CloudFormation user guide, "Import AWS
resources into a CloudFormation stack"). Nobody writes into the state table, so its own policy needs no exception.
"""

import json
from typing import Any

from rolekeeper.aws.errors import NotFoundError
from rolekeeper.fleet.targets import Registry
from rolekeeper.model.instance import Target
from rolekeeper.storage import layout
from rolekeeper.storage.state import Store
from rolekeeper_cli import installed
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.deploy.rollout import Rollout, Template
from rolekeeper_cli.deploy.stack import HUB, read_template
from rolekeeper_cli.errors import ConfigurationError
from rolekeeper_cli.shell import terminal

type Tables = tuple[str, str]

# The deployment sets all else without replacing a table (CloudFormation, "AWS::DynamoDB::Table", "Update requires").
_IMPORTED = ("BillingMode", "KeySchema", "AttributeDefinitions")


def import_tables(deployment: Deployment, tables: Tables, rollout: Rollout) -> None:
    """Make a stack of two tables; it changes nothing before its first sweep. ConfigurationError if one doesn't fit."""
    named = dict(zip(("MappingTable", "StateTable"), tables, strict=True))
    resources = {logical: _resource(deployment, logical, name) for logical, name in named.items()}
    terminal.confirm(f"Import the tables {' and '.join(tables)}?", yes=rollout.yes)
    # The former deployment's switch and own target; and the new one's, which may have had a spoke before.
    home = Target(deployment.caller.account, deployment.region)
    store = Store(deployment.client("dynamodb"), named["StateTable"])
    former = [each.target for each in Registry(store).all() if each.fleet is not None]
    for key in (layout.CONTROL, *map(layout.target_key, (home, *former))):
        store.write(store.delete(key))
    ids = {logical: {"TableName": name} for logical, name in named.items()}
    imports = [
        {"LogicalResourceId": logical, "ResourceType": each["Type"], "ResourceIdentifier": ids[logical]}
        for logical, each in resources.items()
    ]
    body = json.dumps({"Description": HUB, "Resources": resources})
    template = Template({"TemplateBody": body, "ResourcesToImport": imports}, capabilities=(), kind="IMPORT")
    operation = rollout.start(template, parameters=[])
    operation.follow(f"the import of the tables into {rollout.stack}", {"IMPORT_COMPLETE"})


def _resource(deployment: Deployment, logical: str, name: str) -> dict[str, Any]:
    declared = read_template(installed.file("template.yaml").read_text())["Resources"][logical]
    try:
        table = deployment.ask("dynamodb:DescribeTable", name, TableName=name)["Table"]
    except NotFoundError as error:
        raise ConfigurationError(f"there is no table {name} here", "name the restored tables, and --region") from error
    if table["KeySchema"] != declared["Properties"]["KeySchema"]:
        raise ConfigurationError(f"{name} is no {logical}", "name the mapping table first, then the state table")
    # A restored table has none (DynamoDB API reference, `RestoreTableToPointInTime`).
    if table.get("LatestStreamArn"):
        raise ConfigurationError(f"{name} has a stream, as one that a deployment uses", "restore a copy, and name that")
    return {**declared, "Properties": {each: declared["Properties"][each] for each in _IMPORTED}}

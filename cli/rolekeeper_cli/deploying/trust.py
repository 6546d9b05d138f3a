"""Whether IAM takes the trust policies of a template's roles: known before CloudFormation is asked."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rolekeeper.model.instance import partition_of
from rolekeeper_cli.deploying.stack import read_template
from rolekeeper_cli.errors import UsageError

# By default (IAM user guide, "IAM and AWS STS quotas"), white space aside.
LONGEST = 2_048


def require_fits(template: Path, parameters: Mapping[str, str]) -> None:
    """Refuse parameters with which a role's trust policy gets too long; UsageError names the role."""
    document = read_template(template.read_text())
    lists = {name for name, each in document["Parameters"].items() if each["Type"] == "CommaDelimitedList"}
    values: dict[str, Any] = {"AWS::Partition": partition_of(parameters["HubRegion"]), "AWS::AccountId": "0" * 12}
    values |= {name: text.split(",") if name in lists else text for name, text in parameters.items()}
    for resource in document["Resources"].values():
        properties = resource["Properties"]
        policy = _resolved(properties.get("AssumeRolePolicyDocument"), values)
        if (length := len(json.dumps(policy, separators=(",", ":")))) > LONGEST:
            role = _resolved(properties["RoleName"], values)
            what = f"the trust policy of the role {role} would have {length:,} characters, and IAM takes {LONGEST:,}"
            raise UsageError(what, "name fewer roles with --reader: let people assume one role that may look there")


def _resolved(node: Any, values: Mapping[str, Any]) -> Any:
    """What CloudFormation makes of a node at most: every condition is taken for met."""
    match node:
        case {"Ref": name}:
            return values.get(name)
        case {"Sub": str(text)}:
            return re.sub(r"\$\{([^}]+)\}", lambda found: str(values.get(found[1], found[0])), text)
        case {"If": [_, then, _]}:
            return _resolved(then, values)
        case dict():
            return {name: _resolved(each, values) for name, each in node.items()}
        case list():
            return [_resolved(each, values) for each in node]
    return node

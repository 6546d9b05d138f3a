"""The stack as it is before it is deployed to or deleted: whether there is one, its version and its parameters."""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rolekeeper.model.instance import partition_of
from rolekeeper_cli import installed
from rolekeeper_cli.aws.deployment import describe_stack, outputs_of, parameters_of
from rolekeeper_cli.errors import CommandError, ConfigurationError, UsageError

# A stack whose creation failed is empty, and can only be deleted (CloudFormation user guide, "Stack status codes").
NEVER_WORKED = "ROLLBACK_COMPLETE"
# A stack of which there are change sets only.
REVIEWED = "REVIEW_IN_PROGRESS"
# How the descriptions of the two templates begin: a stack with another description isn't Rolekeeper's.
HUB, SPOKE = "Rolekeeper.", "Rolekeeper, a spoke."
TABLES = frozenset({"MappingTable", "StateTable"})
type Parameters = dict[str, str]

# Of a role's trust policy by default (IAM user guide, "IAM and AWS STS quotas"), white space aside.
_LONGEST = 2_048
_WORKS = frozenset(
    {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}
)


@dataclass(frozen=True, slots=True)
class Present:
    """What is deployed; without a status there is no stack."""

    status: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None
    id: str = ""

    @classmethod
    def read(cls, client: Any, stack: str, kind: str = HUB) -> "Present":
        """Ask CloudFormation for a stack of a kind. ConfigurationError if it can't be deployed to as it is."""
        found = describe_stack(client, stack)
        if found is None:
            return cls()
        status = found["StackStatus"]
        if status != REVIEWED:
            _require_kind(found, stack, kind)
        if status in {NEVER_WORKED, REVIEWED}:
            return cls(status, id=found["StackId"])
        if status not in _WORKS:
            busy = status.endswith("_IN_PROGRESS")
            what = f"stack '{stack}' is {status}" + (": CloudFormation is at work on it" if busy else "")
            raise ConfigurationError(what, "try again when it is done" if busy else "repair it in CloudFormation first")
        return cls(status, parameters_of(found), outputs_of(found).get("Version"), found["StackId"])

    @property
    def is_deployed(self) -> bool:
        return self.status in _WORKS


def existing(client: Any, stack: str, kind: str = HUB) -> Mapping[str, Any]:
    """A stack that is to be deleted, as DescribeStacks answers. ConfigurationError if it can't be."""
    found = describe_stack(client, stack)
    if found is None:
        raise ConfigurationError(f"there is no stack '{stack}'", "say where it is: --stack, --region, --profile")
    _require_kind(found, stack, kind)
    if found["StackStatus"].endswith("_IN_PROGRESS"):
        raise ConfigurationError(f"stack '{stack}' is {found['StackStatus']}", "try again when it is done")
    return found


def _require_kind(found: Mapping[str, Any], stack: str, kind: str) -> None:
    if not str(found.get("Description", "")).startswith(kind):
        whose = "Rolekeeper's" if kind == HUB else "a spoke of Rolekeeper"
        raise ConfigurationError(f"stack '{stack}' isn't {whose}", "give another name: --stack")


def refuse_downgrade(present: Present, *, allowed: bool) -> None:
    """Refuse to replace a newer version by this one, unless that is allowed."""
    ours = installed.version()
    if present.version and installed.ordered(present.version) > installed.ordered(ours) and not allowed:
        what = f"version {present.version} is deployed, which is newer than this {ours}"
        raise CommandError(what, "upgrade the command, or go back with --allow-downgrade")


def versions(present: Present) -> str:
    ours = installed.version()
    if not present.is_deployed:
        return f"new, with version {ours}"
    if present.version == ours:
        return f"version {ours} is deployed"
    deployed = f"version {present.version}" if present.version else "an earlier version, which has no number,"
    return f"{deployed} is deployed, and would be {ours}"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml's is ten times faster
    """Reads a template with its short functions: `!Ref X` as {"Ref": "X"}."""


def _function(loader: Any, name: str, node: yaml.Node) -> dict[str, Any]:
    match node:
        case yaml.SequenceNode():
            return {name: loader.construct_sequence(node, deep=True)}
        case yaml.MappingNode():
            return {name: loader.construct_mapping(node, deep=True)}
    return {name: node.value}


_Loader.add_multi_constructor("!", _function)


def read_template(text: str) -> Any:
    return yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader


def declared(template: Path) -> dict[str, dict[str, Any]]:
    parameters: dict[str, dict[str, Any]] = read_template(template.read_text())["Parameters"]
    return parameters


def merged(known: Mapping[str, Any], present: Mapping[str, str], given: Mapping[str, str]) -> Parameters:
    """The parameters to deploy: as given, or as deployed, or the template's defaults."""
    kept = {name: value for name, value in present.items() if name in known}
    defaults = {name: str(each["Default"]) for name, each in known.items() if "Default" in each}
    return {**defaults, **kept, **given}


def refused(
    known: Mapping[str, Mapping[str, Any]], parameters: Mapping[str, str], shown: Callable[[str], str] = str
) -> dict[str, str]:
    """The parameters that CloudFormation would refuse, and why: known before anything is built."""
    return {
        name: f"{shown(name)} {value or "''"} {known[name].get('ConstraintDescription', 'is not allowed')}"
        for name, value in parameters.items()
        if not is_allowed(value, known[name])
    }


def is_allowed(value: str, parameter: Mapping[str, Any]) -> bool:
    """By the template's own limits, as CloudFormation reads them (user guide, "Parameters")."""
    if parameter["Type"] == "Number":
        within = (parameter.get("MinValue", 0), parameter.get("MaxValue", math.inf))
        form = "[0-9]+" if isinstance(parameter["Default"], int) else r"[0-9]+(\.[0-9]+)?"
        if not (re.fullmatch(form, value) and within[0] <= float(value) <= within[1]):
            return False
    if "AllowedValues" in parameter and value not in map(str, parameter["AllowedValues"]):
        return False
    # Of a list, each value has to match.
    values = value.split(",") if parameter["Type"] == "CommaDelimitedList" else [value]
    fits = len(value) <= parameter.get("MaxLength", math.inf)
    return fits and all(re.fullmatch(parameter.get("AllowedPattern", "(?s:.*)"), each) for each in values)


def require_fits(template: Path, parameters: Mapping[str, str]) -> None:
    """Refuse parameters with which a role's trust policy gets too long; UsageError names the role."""
    document = read_template(template.read_text())
    lists = {name for name, each in document["Parameters"].items() if each["Type"] == "CommaDelimitedList"}
    values: dict[str, Any] = {"AWS::Partition": partition_of(parameters["HubRegion"]), "AWS::AccountId": "0" * 12}
    values |= {name: text.split(",") if name in lists else text for name, text in parameters.items()}
    for resource in document["Resources"].values():
        properties = resource["Properties"]
        policy = _resolved(properties.get("AssumeRolePolicyDocument"), values)
        if (length := len(json.dumps(policy, separators=(",", ":")))) > _LONGEST:
            role = _resolved(properties["RoleName"], values)
            what = f"the trust policy of the role {role} would have {length:,} characters, and IAM takes {_LONGEST:,}"
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

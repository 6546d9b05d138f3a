"""Reading CloudFormation templates with their short tags."""

import pickle
import re
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


class _Loader(yaml.CSafeLoader):
    """Reads CloudFormation's short tags as what they stand for: `!Ref X` as {"Ref": "X"}, `!Sub s` as {"Sub": s}."""


def _short_tag(loader: yaml.CSafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {suffix: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _short_tag)


@cache
def _read(path: str) -> bytes:
    return pickle.dumps(yaml.load((ROOT / path).read_text(), Loader=_Loader))


def load(path: str = "template.yaml") -> Any:
    """A template of this repository, a copy of the caller's own; `path` is from its top."""
    return pickle.loads(_read(path))


def of_type(kind: str, path: str = "template.yaml") -> dict[str, Any]:
    """The properties of the resources of a type, by their names."""
    return {name: each["Properties"] for name, each in load(path)["Resources"].items() if each["Type"] == kind}


def listed(value: Any) -> list[Any]:
    """IAM takes a single action or resource without brackets."""
    return value if isinstance(value, list) else [value]


def filled(value: Any, values: Mapping[str, str]) -> Any:
    """The same with what references stand for: `values` are by what is written, as "StateTable.Arn"."""
    if isinstance(value, list):
        return [filled(each, values) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() <= {"Ref", "GetAtt"}:
        return values[next(iter(value.values()))]
    if value.keys() == {"Sub"}:
        return re.sub(r"\$\{([^}]+)\}", lambda found: values[found[1]], value["Sub"])
    return {name: filled(each, values) for name, each in value.items()}


def policy_statements(resources: Any, role: str, *, met: Collection[str] = ()) -> list[dict[str, Any]]:
    """All statements of a role: its own, and those of the template's policies that it names or that name it.

    Args:
        resources: the template's.
        role: its name.
        met: the template's conditions that are taken for met, as `MayTakeOver` is with `TakeOver=true`.
    """

    properties = resources[role]["Properties"]
    documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
    for policy in chosen(
        [each if isinstance(each, dict) else {"Ref": each} for each in properties.get("ManagedPolicyArns", [])], met
    ):
        managed = resources.get(policy.get("Ref"), {})
        assert managed.get("Type") == "AWS::IAM::ManagedPolicy", f"{role}: AWS's {policy} reaches the whole account"
        documents.append(managed["Properties"]["PolicyDocument"])
    documents += [
        each["Properties"]["PolicyDocument"]
        for each in resources.values()
        if each["Type"] in {"AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"}
        and each.get("Condition") in {None, *met}
        and {"Ref": role} in chosen(each["Properties"].get("Roles", []), met)
    ]
    found: list[dict[str, Any]] = chosen([each for document in documents for each in document["Statement"]], met)
    return found


def chosen(node: Any, met: Collection[str] = ()) -> Any:
    """What `!If` chooses, at whatever depth, where these conditions are met; what has no value is left out."""
    if isinstance(node, list):
        return [each for each in (chosen(one, met) for one in node) if each != {"Ref": "AWS::NoValue"}]
    if not isinstance(node, dict):
        return node
    if node.keys() == {"If"}:
        condition, then, otherwise = node["If"]
        return chosen(then if condition in met else otherwise, met)
    return {name: value for name, each in node.items() if (value := chosen(each, met)) != {"Ref": "AWS::NoValue"}}


def allowed_actions(node: Any) -> set[str]:
    """The actions that statements allow, at whatever depth of a resource they are."""
    if isinstance(node, list):
        return set().union(*map(allowed_actions, node))
    if not isinstance(node, dict):
        return set()
    if node.get("Effect") == "Allow":
        return set(listed(node["Action"]))
    return set().union(*map(allowed_actions, node.values()))

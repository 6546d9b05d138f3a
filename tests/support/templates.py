"""Reading CloudFormation templates with their short tags."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short tags as what they stand for: `!Ref X` as {"Ref": "X"}, `!Sub s` as {"Sub": s}."""


def _short_tag(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {suffix: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _short_tag)


def load(path: str = "template.yaml") -> Any:
    """A template of this repository; `path` is from its top."""
    return yaml.load((ROOT / path).read_text(), Loader=_Loader)


def policy_statements(resources: Any, role: str, *, met: bool = False) -> list[dict[str, Any]]:
    """All statements of a role: its own, and those of the template's own managed policies that it names.

    Args:
        resources: the template's.
        role: its name.
        met: whether the template's conditions are taken for met: as deployed with `TakeOver=true`.
    """
    properties = resources[role]["Properties"]
    documents = [policy["PolicyDocument"] for policy in properties["Policies"]]
    for policy in properties.get("ManagedPolicyArns", []):
        managed = resources.get(policy.get("Ref") if isinstance(policy, dict) else None, {})
        assert managed.get("Type") == "AWS::IAM::ManagedPolicy", f"{role}: AWS's {policy} reaches the whole account"
        documents.append(managed["Properties"]["PolicyDocument"])
    written = [statement for document in documents for statement in document["Statement"]]
    chosen = [each["If"][1 if met else 2] if "If" in each else each for each in written]
    return [each for each in chosen if each != {"Ref": "AWS::NoValue"}]

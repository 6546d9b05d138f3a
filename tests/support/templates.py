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

"""The stack's parameters: what the template declares, what is deployed of it, and what may be said instead."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

TEMPLATE = Path("template.yaml")

type Parameters = dict[str, str]


class TemplateLoader(yaml.SafeLoader):
    """Reads a template without what its short functions (`!Ref`) stand for: parameters use none."""


TemplateLoader.add_multi_constructor("!", lambda _loader, _suffix, _node: None)


def declared(template: Path = TEMPLATE) -> dict[str, dict[str, Any]]:
    """The template's parameters, by name, in its order."""
    parameters: dict[str, dict[str, Any]] = yaml.load(template.read_text(), TemplateLoader)["Parameters"]  # noqa: S506  # a SafeLoader
    return parameters


def merged(known: Mapping[str, Any], present: Mapping[str, str], given: Mapping[str, str]) -> Parameters:
    """The parameters to deploy: as given, else as deployed, else as the template has them, if it does."""
    kept = {name: value for name, value in present.items() if name in known}
    defaults = {name: str(each["Default"]) for name, each in known.items() if "Default" in each}
    return {**defaults, **kept, **given}


def refused(known: Mapping[str, Mapping[str, Any]], parameters: Mapping[str, str]) -> list[str]:
    """What CloudFormation would refuse of the parameters, and why: better known before all is built."""
    return [
        f"{name}={value}: {known[name].get('ConstraintDescription', 'is not allowed')}"
        for name, value in parameters.items()
        if not is_allowed(value, known[name])
    ]


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

"""The parameters of template.yaml, from JSON that `tools/parameters.py` makes of it, and their options."""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from rolekeeper_cli import installed


@cache
def parameters() -> dict[str, dict[str, Any]]:
    """By name, in the template's order, with what the help shows of them."""
    found: dict[str, dict[str, Any]] = json.loads(installed.PARAMETERS.read_text())
    return found


def option_of(parameter: str) -> str:
    """`MaxChangesPerEdit` as `--max-changes-per-edit`."""
    return "--" + "-".join(part.lower() for part in re.findall("[A-Z][a-z]*", parameter))


def given_parameters(options: Mapping[str, str | None]) -> dict[str, str]:
    """Click's names and values of such options as the template's; those that weren't given are left out."""
    return {name.title().replace("_", ""): value for name, value in options.items() if value is not None}

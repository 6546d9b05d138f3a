"""The parameters of template.yaml, from JSON that `tools/parameters.py` makes of it, and their options."""

import json
import re
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

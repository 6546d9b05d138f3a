"""The parameters of template.yaml, from JSON that `tools/parameters.py` makes of it.

YAML takes longer to read than a command's help may take.
"""

import json
from functools import cache
from typing import Any

from rolekeeper_cli import installed


@cache
def parameters() -> dict[str, dict[str, Any]]:
    """By name, in the template's order, with what the help shows of them."""
    found: dict[str, dict[str, Any]] = json.loads(installed.PARAMETERS.read_text())
    return found

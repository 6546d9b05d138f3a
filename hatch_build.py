"""Puts what `make wheel` built into the wheel. Without it (`pipx install .`) the wheel has the command alone."""

import os
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: Names the folder that `tools/artifacts.py` wrote.
VARIABLE = "ROLEKEEPER_ARTIFACTS"


class Artifacts(BuildHookInterface[Any]):
    """Hatchling looks for one such class here."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folder, unless the wheel is the editable one, which reads the clone."""
        folder = os.environ.get(VARIABLE)
        if folder and version == "standard":
            build_data["force_include"][folder] = "rolekeeper_cli/artifacts"

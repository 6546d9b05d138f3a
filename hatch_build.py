"""Puts what `make artifacts` built into wheel and source archive. Without it (`pipx install .`) they lack it."""

import os
from pathlib import Path
from typing import Any, ClassVar

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: Names the folder that `tools/artifacts.py` wrote; a source archive has it beside this file.
VARIABLE = "ROLEKEEPER_ARTIFACTS"
FOLDER = "artifacts"


class Artifacts(BuildHookInterface[Any]):
    """Hatchling looks for one such class here."""

    PLACES: ClassVar = {"sdist": FOLDER, "wheel": f"rolekeeper_cli/{FOLDER}"}

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folder, unless the wheel is the editable one, which reads the clone."""
        beside = Path(self.root, FOLDER)
        folder = os.environ.get(VARIABLE) or (str(beside) if beside.is_dir() else "")
        if folder and version == "standard":
            build_data["force_include"][folder] = self.PLACES[self.target_name]

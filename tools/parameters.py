"""Writes the template's parameters as the help of `rolekeeper deploy` shows them: `python -m tools.parameters`."""

import json
from pathlib import Path

from rolekeeper_cli import installed
from rolekeeper_cli.deploy.stack import declared

ROOT = Path(__file__).parents[1]
_SHOWN = ("Type", "Description", "Default", "AllowedValues")


def text() -> str:
    """What the file has to hold: a line for each parameter."""
    lines = []
    for name, parameter in declared(ROOT / "template.yaml").items():
        shown = {part: parameter[part] for part in _SHOWN if part in parameter}
        shown["Description"] = " ".join(shown["Description"].split())
        lines.append(f"{json.dumps(name)}: {json.dumps(shown)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    installed.PARAMETERS.write_text(text())

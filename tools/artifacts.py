"""What the wheel carries for a deployment: `python -m tools.artifacts LAYER FOLDER`, as `make wheel` runs it.

The same sources give the same bytes: files are sorted, and carry no time and no owner.
"""

import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
TEMPLATE = "template.yaml"
# As they lie in the repository, so that what reads them finds them in a clone and in the wheel alike.
FILES = (
    "spoke.yaml",
    "statemachines/retry.asl.json",
    "statemachines/resume.asl.json",
    "statemachines/accounts.asl.json",
    "examples/roles.yaml",
    "examples/mappings.yaml",
    "events/sweep.json",
)
# The earliest time that a ZIP archive can hold; and a plain file that everybody may read, as Lambda wants it.
_NO_TIME, _READABLE = (1980, 1, 1, 0, 0, 0), 0o100644 << 16


def collect(layer: Path, folder: Path) -> None:
    """Write the artifacts.

    Args:
        layer: what `layers/rolekeeper/Makefile` built: a folder that holds `python`.
        folder: takes them; what it held is gone.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    (folder / TEMPLATE).write_text(without_anchors((ROOT / TEMPLATE).read_text()))
    archive(layer, "**/*", folder / "layer.zip")
    archive(ROOT / "functions", "*.py", folder / "functions.zip")


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short tags as the functions that they stand for."""


def _function(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        # Only the short tag takes `Resource.Attribute` (CloudFormation user guide, "Fn::GetAtt").
        return {"Fn::GetAtt": value.split(".", 1)} if tag == "GetAtt" else {_named(tag): value}
    assert isinstance(node, yaml.SequenceNode)
    return {_named(tag): loader.construct_sequence(node, deep=True)}


def _named(tag: str) -> str:
    return tag if tag in {"Ref", "Condition"} else f"Fn::{tag}"


_Loader.add_multi_constructor("!", _function)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # the base's
        return True


def without_anchors(template: str) -> str:
    """The template with its anchors written out, which CloudFormation doesn't know, as `sam build` does it."""
    return yaml.dump(yaml.load(template, _Loader), Dumper=_Dumper, sort_keys=False, width=1000)  # noqa: S506  # a SafeLoader


def archive(root: Path, pattern: str, to: Path) -> None:
    """Pack the files that match, named as they are below the root."""
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for file in sorted(each for each in root.glob(pattern) if each.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(root).as_posix(), _NO_TIME)
            entry.external_attr = _READABLE
            packed.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    collect(Path(sys.argv[1]), Path(sys.argv[2]))

"""What the wheel carries for a deployment: `python -m tools.artifacts LAYER FOLDER`, as `make wheel` runs it.

The same sources give the same bytes: files are sorted, and carry no time and no owner.
"""

import shutil
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
# As they lie in the repository, so that what reads them finds them in a clone and in the wheel alike.
FILES = (
    "template.yaml",
    "spoke.yaml",
    "statemachines/retry.asl.json",
    "statemachines/resume.asl.json",
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
    archive(layer, "**/*", folder / "layer.zip")
    archive(ROOT / "functions", "*.py", folder / "functions.zip")


def archive(root: Path, pattern: str, to: Path) -> None:
    """Pack the files that match, named as they are below the root."""
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for file in sorted(each for each in root.glob(pattern) if each.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(root).as_posix(), _NO_TIME)
            entry.external_attr = _READABLE
            packed.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    collect(Path(sys.argv[1]), Path(sys.argv[2]))

"""Functions' code and layers, unpacked once for all of their processes, which read them only, as on Lambda.

ministack unpacks both again for each process that it starts: 600 files, which took longer than all else of a cold
start, and as long once more at the end, when they were removed. It also checks each name in a layer, of which ours has
none that leads elsewhere.
"""

import hashlib
import threading
import types
import zipfile
from pathlib import Path
from typing import Self

from ministack.core import lambda_runtime

_UNPACKING = threading.Lock()


def install(folder: Path) -> None:
    """Correct this process; the folder takes what is unpacked."""
    folder.mkdir()

    class Archive:
        """What ministack asks of a `zipfile.ZipFile`."""

        def __init__(self, file: str) -> None:
            self._file = file

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_error: object) -> None:
            pass

        def namelist(self) -> list[str]:
            """The names to check: none."""
            return []

        def extractall(self, path: str) -> None:
            """Into an empty folder, as ministack does it; a link takes its place."""
            with Path(self._file).open("rb") as file:
                there = folder / hashlib.file_digest(file, "sha256").hexdigest()[:32]
            Path(path).rmdir()
            with _UNPACKING:
                if not there.exists():
                    with zipfile.ZipFile(self._file) as archive:
                        archive.extractall(there)
            Path(path).symlink_to(there)

    lambda_runtime.zipfile = types.SimpleNamespace(**{**vars(zipfile), "ZipFile": Archive})

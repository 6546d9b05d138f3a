"""Functions' code and layers, unpacked once for all of their processes, which read them only, as on Lambda.

ministack unpacks both again for each process that it starts: 600 files, which took longer than all else of a cold
start, and as long once more at the end, when they were removed.
"""

import hashlib
import threading
import types
import zipfile
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime

_UNPACKING = threading.Lock()


def install(folder: Path) -> None:
    """Correct this process; the folder takes what is unpacked."""
    folder.mkdir()

    class Archive(zipfile.ZipFile):
        def extractall(self, path: Any = None, members: Any = None, pwd: bytes | None = None) -> None:
            """Into an empty folder, as ministack does it; a link takes its place."""
            there = folder / _digest(self)
            with _UNPACKING:
                if there.exists():
                    Path(path).rmdir()
                else:
                    super().extractall(path, members, pwd)
                    Path(path).rename(there)
            Path(path).symlink_to(there)

    lambda_runtime.zipfile = types.SimpleNamespace(**{**vars(zipfile), "ZipFile": Archive})


def _digest(archive: zipfile.ZipFile) -> str:
    contents = [(each.filename, each.CRC, each.file_size) for each in archive.infolist()]
    return hashlib.sha256(repr(contents).encode()).hexdigest()[:32]

"""Where the embedded AWS is on this machine: its interpreter, and the folder in which it keeps its log and its build.

In a clone both are the clone's, each environment made from its lock. Installed as a wheel, the emulator comes with the
extra `local`, in the command's own environment, and its folder is under the user's cache.
"""

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from rolekeeper_cli import installed

REPOSITORY = Path(__file__).resolve().parents[2]
#: The folder that holds this package: from there `python -m` finds it, and in a clone none of the other packages.
PACKAGES = Path(__file__).resolve().parents[1]


class EmbeddedAwsError(Exception):
    """The embedded AWS can't be started or deployed to; the message says why, and what to do."""


def folder_for(port: int, environ: Mapping[str, str] = os.environ) -> Path:
    if installed.is_clone():
        return REPOSITORY / ".local" / str(port)
    cache = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "rolekeeper" / str(port)


def interpreter() -> Path:
    if installed.is_clone():
        python = REPOSITORY / ".envs/emulator/bin/python"
        if not python.exists():
            raise EmbeddedAwsError("the emulator is not set up: run `make setup`")
        return python
    if find_spec("ministack") is None:
        command = "uv tool install --force 'rolekeeper[local] @ file:///path/to/the.whl'"
        raise EmbeddedAwsError(f"the embedded AWS is not installed: install the extra `local` of the wheel: {command}")
    return Path(sys.executable)

"""The port that a stack's console had before, in the user's state folder: so its addresses last.

The host name of its pages isn't kept: another user may listen at this port while no console runs, and what a browser
got from there must have no part in the next console (docs/security.md).
"""

import hashlib
import os
import stat
from pathlib import Path
from tempfile import NamedTemporaryFile

from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.shell import terminal

_PORTS = range(1_024, 65_536)


def file_of(deployment: Deployment) -> Path:
    """The file with the port of a stack's console."""
    where = (deployment.caller.account, deployment.session.region_name, deployment.stack_name, deployment.endpoint_url)
    name = hashlib.sha256(repr(where).encode()).hexdigest()[:32]
    root = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(root) / "rolekeeper/console" / name


def kept(file: Path) -> int:
    """The port that the last console had; 0 if none is kept. CommandError if what is there can't be trusted."""
    remedy = f"delete {file.parent}"
    try:
        unsafe = any(_others_may_change(each) for each in (file.parent, file))
        text = "" if unsafe else file.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise CommandError(f"the port of the last console can't be read: {error}", remedy) from error
    if text not in map(str, _PORTS):
        raise CommandError(f"{file} {'can be changed by others' if unsafe else 'holds no port'}", remedy)
    return int(text)


def keep(file: Path, port: int) -> bool:
    """Whether the port could be kept for the next console."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=file.parent, delete=False) as made:  # of mode 0600
            made.write(f"{port}\n")
        Path(made.name).replace(file)
    except OSError as error:
        terminal.warn(f"the port of this console isn't kept for the next one: {error}")
        return False
    return True


def _others_may_change(path: Path) -> bool:
    found = path.lstat()
    writable = stat.S_ISLNK(found.st_mode) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    # Elsewhere a home folder is its user's, and modes say nothing.
    return os.name == "posix" and (found.st_uid != os.geteuid() or bool(writable))

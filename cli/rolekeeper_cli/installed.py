"""Where the files are that go with the command: beside its modules once the wheel is installed, else in the clone."""

import os
import re
from pathlib import Path

from rolekeeper_cli.errors import ConfigurationError

_BESIDE = Path(__file__).parent / "artifacts"
CLONE = Path(__file__).parents[2]
_PACKAGE = Path(__file__).parent
STATIC = _PACKAGE / "console" / "static"
# The module that has a part in what the pages' templates are compiled to.
TEMPLATES = _PACKAGE / "console" / "page.py"
# What `rolekeeper guard` prints is made of these.
POLICIES = _PACKAGE / "guard" / "policies"
# What `rolekeeper launches boot-script` prints.
BOOT_SCRIPT = _PACKAGE / "launch" / "wait_for_role.sh"
# The parameters of template.yaml, of which `rolekeeper deploy` makes its options.
PARAMETERS = _PACKAGE / "deploy" / "parameters.json"


def template_folders() -> list[Path]:
    """What the console's pages are made of: a folder beside the modules of each page, and what all pages share."""
    return [_PACKAGE / "console" / "templates", *sorted({each.parent for each in _PACKAGE.glob("*/*.html")})]


def is_clone() -> bool:
    """Whether the modules are those of a clone, which builds what it deploys."""
    return not _BESIDE.is_dir() and (CLONE / "template.yaml").exists()


def file(name: str) -> Path:
    """A file of the repository that is in the wheel too, as `template.yaml`. ConfigurationError if it isn't there."""
    for folder in (_BESIDE, CLONE):
        if (folder / name).exists():
            return folder / name
    raise _incomplete()


def artifacts() -> Path:
    """The folder with the built layer and functions. ConfigurationError if this is no wheel of `make wheel`."""
    if not (_BESIDE / "layer.zip").exists():
        raise _incomplete()
    return _BESIDE


def cache_folder() -> Path:
    """Where the user's caches are."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rolekeeper"


def version() -> str:
    """The version of the command, and of what it deploys."""
    from importlib import metadata  # noqa: PLC0415  # it takes 10 ms of the 80 that a --help has

    return metadata.version("rolekeeper")


def ordered(version: str) -> tuple[int, ...]:
    """A version's numbers: `1.10.0` is above `1.9.2`."""
    return tuple(int(each) for each in re.findall("[0-9]+", version))


def _incomplete() -> ConfigurationError:
    what = "this installation of rolekeeper has the command alone, and nothing to deploy"
    return ConfigurationError(what, "in a clone, run: make wheel; and install the wheel from dist/")

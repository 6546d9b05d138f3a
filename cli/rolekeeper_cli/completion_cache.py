"""The cache of names that completion reads: one file for each deployment.

Where it is old or missing, a process of its own fills it (`completion_refresh`), and nobody waits for that.
"""

import hashlib
import json
import os
import subprocess
import sys
import time

from rolekeeper_cli.options import Options

# How old names may be before they are asked for again, and before they are no longer offered; and how soon after one
# attempt the next is made, which may have failed. In seconds.
_FRESH, _KEPT, _PAUSE = 60, 86_400, 20


def cache_file(options: Options) -> str:
    """Where the names are that a deployment has: one file for each profile, Region, endpoint and stack."""
    said = (options.profile, options.region, options.endpoint_url, options.stack)
    named = ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "ROLEKEEPER_STACK")
    # Of keys, only which: nobody learns them from a name of a file.
    whose = [*said, *map(os.environ.get, named), os.environ.get("AWS_ACCESS_KEY_ID")]
    name = hashlib.sha256(repr(whose).encode()).hexdigest()[:32]
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")  # noqa: PTH111, PTH118  # pathlib takes 10 ms
    return os.path.join(root, "rolekeeper", f"{name}.json")  # noqa: PTH118  # the same


def names(options: Options, kind: str) -> dict[str, str]:
    """The names of one kind, each with what is said of it; none where there are none yet."""
    file, now = cache_file(options), time.time()
    age = now - _modified(file)
    if age > _FRESH and now - _modified(f"{file}.asked") > _PAUSE:
        _refresh(options, file)
    if age > _KEPT:
        return {}
    with open(file, encoding="utf-8") as cache:  # noqa: PTH123  # the same
        return dict(json.load(cache)[kind])


def _modified(file: str) -> float:
    try:
        return os.stat(file).st_mtime  # noqa: PTH116  # the same
    except FileNotFoundError:
        return 0.0


def _refresh(options: Options, file: str) -> None:
    """Start what fills the cache, and note when; it ends by itself, and says nothing."""
    os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120  # the same
    with open(f"{file}.asked", "w", encoding="utf-8"):  # noqa: PTH123  # the same
        pass
    os.utime(f"{file}.asked")
    said = {name: getattr(options, name) for name in ("profile", "region", "endpoint_url", "stack")}
    subprocess.Popen(  # noqa: S603  # ourselves, with options that the person typed
        [sys.executable, "-m", "rolekeeper_cli.completion_refresh", file, json.dumps(said)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

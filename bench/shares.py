"""Where a program's time goes, by whose code it is: shares of what cProfile saw, without what waits for AWS."""

import pstats
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

# By the beginning of a module's path below the folders that Python searches; the first that fits.
GROUPS = {
    "parsing answers": ("botocore/parsers.py", "rolekeeper/aws/answers.py", "xml/", "json/"),
    "the SDK making requests": (
        "boto3/",
        "botocore/",
        "urllib3/",
        "http/",
        "email/",
        "urllib/",
        "socket.py",
        "hashlib",
    ),
    "reading the state table's items": ("rolekeeper/storage/",),
    "our own": ("rolekeeper/", "runtime.py", "on_schedule.py", "dataclasses.py", "<string>", "enum.py"),
}
REST = "Python's start, and other modules"
# Below one of these a module's path begins; what has none is built in, or was made while running.
_SEARCHED = re.compile(r"^.*?/(?:python/|site-packages/|lib/python3\.\d+/|OnSchedule/)")
_BUILT_IN = "~"
_WAITS = ("recv", "poll", "sleep", "connect")


def shares(dump: Path) -> Mapping[str, float]:
    """The share of each group, the largest first. Time in what is built in counts for whoever called it."""
    spent: Counter[str] = Counter()
    stats = pstats.Stats(str(dump)).stats  # type: ignore[attr-defined]  # the stubs leave it out
    for (file, _, name), (_, _, own, _, callers) in stats.items():
        if file != _BUILT_IN:
            spent[group(file)] += own
        elif not any(each in name for each in _WAITS):
            for (caller, _, _), (_, _, took, _) in callers.items():
                spent[group(caller)] += took
    whole = sum(spent.values())
    return {name: took / whole for name, took in spent.most_common()}


def group(file: str) -> str:
    """Whose code a file is."""
    module = _SEARCHED.sub("", file)
    return next((name for name, begins in GROUPS.items() if module.startswith(begins)), REST)

"""What completion offers for roles, mappings, instances, targets: names from a small cache, so no prompt ever waits.

A completion asks AWS nothing. It offers what the cache has, one file for each deployment; where that is old or
missing, a process of its own fills it (`completion_refresh`), and nobody waits for that. Whatever fails, it stays
silent. This module is imported when a shell asks (`arguments.completes`).
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

from rolekeeper_cli import uses
from rolekeeper_cli.options import Options

# A shell puts what is offered into the command line as it is: a tag's value is anybody's, and may be `$(…)`.
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@+=,-]*")
_NO_ROLE = "NONE"

type Offered = list[CompletionItem[str]]


def roles(context: click.Context, incomplete: str) -> Offered:
    return _offered(_cached(context, "roles"), incomplete)


def roles_or_none(context: click.Context, incomplete: str) -> Offered:
    return _offered({**_cached(context, "roles"), _NO_ROLE: "no role"}, incomplete)


def mappings(context: click.Context, incomplete: str) -> Offered:
    return _offered(_cached(context, "mappings"), incomplete)


def instances(context: click.Context, incomplete: str) -> Offered:
    """The instances by their Name tags, each said with its id; by id those that have none, or where one is typed."""
    found = _cached(context, "instances")
    count = Counter(found.values())
    by_name = {name: id_ for id_, name in found.items() if count[name] == 1 and _SAFE.fullmatch(name)}
    by_id = found if incomplete.startswith("i-") else {id_: name for id_, name in found.items() if name not in by_name}
    return _offered({**by_name, **by_id}, incomplete)


def targets(context: click.Context, incomplete: str) -> Offered:
    """The accounts, the Regions, and once an account is typed its ACCOUNT/REGION."""
    found = _cached(context, "targets")
    parts = {part: "" for each in found for part in each.split("/")}
    return _offered(found if "/" in incomplete else {**parts, **found} if incomplete else parts, incomplete)


def one_target(context: click.Context, incomplete: str) -> Offered:
    return _offered(_cached(context, "targets"), incomplete)


def key(context: click.Context, incomplete: str) -> Offered:
    return [] if _names_a_key(context) else mappings(context, incomplete)


def key_and_columns(context: click.Context, incomplete: str) -> Offered:
    """One mapping, then columns, each with a `=`; after `role=` the roles."""
    if not _names_a_key(context):
        return mappings(context, incomplete)
    name, equals, text = incomplete.partition("=")
    if not equals:
        return _offered({f"{each}=": "" for each in uses.schema.column_names(keys=False)}, incomplete)
    found = roles_or_none(context, text) if name == "role" else []
    for each in found:
        each.value = f"role={each.value}"
    return found


def columns(_context: click.Context, incomplete: str) -> Offered:
    return _offered(dict.fromkeys(uses.schema.column_names(keys=True)), incomplete)


def words(choices: Sequence[str], incomplete: str) -> Offered:
    """Some words as they are written, whatever the case of what is typed."""
    return [CompletionItem(each) for each in choices if each.casefold().startswith(incomplete.casefold())]


def _names_a_key(context: click.Context) -> bool:
    return bool(context.params.get("words") or context.params.get("tag_key"))


def _cached(context: click.Context, kind: str) -> dict[str, str]:
    """The names of one kind, each with what is said of it; none where there are none yet, or anything fails."""
    try:
        return names(context.find_root().ensure_object(Options), kind)
    except Exception:  # noqa: BLE001  # a prompt must not be disturbed
        return {}


def _offered(found: Mapping[str, Any], incomplete: str) -> Offered:
    names: Iterable[str] = (name for name in found if name.startswith(incomplete) and _SAFE.fullmatch(name))
    return [CompletionItem(name, help=_words(found[name])) for name in sorted(names)]


def _words(about: object) -> str | None:
    """What a shell shows beside an offer: plain characters, as a tag's value is anybody's."""
    return re.sub(r"[^ -~]", "?", str(about)) if about else None


# ---- the cache ----


# How old names may be before they are asked for again, and before they are no longer offered; and how soon after one
# attempt the next is made, which may have failed. In seconds.
_FRESH, _KEPT, _PAUSE = 60, 86_400, 20


def cache_file(options: Options) -> Path:
    """Where the names are that a deployment has: one file for each profile, Region, endpoint and stack."""
    said = (options.profile, options.region, options.endpoint_url, options.stack)
    named = ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "ROLEKEEPER_STACK")
    # Of keys, only which: nobody learns them from a name of a file.
    whose = [*said, *map(os.environ.get, named), os.environ.get("AWS_ACCESS_KEY_ID")]
    name = hashlib.sha256(repr(whose).encode()).hexdigest()[:32]
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "rolekeeper" / f"{name}.json"


def names(options: Options, kind: str) -> dict[str, str]:
    """The names of one kind, each with what is said of it; none where there are none yet."""
    file, now = cache_file(options), time.time()
    age = now - _modified(file)
    if age > _FRESH and now - _modified(asked_file(file)) > _PAUSE:
        _refresh(options, file)
    return {} if age > _KEPT else dict(json.loads(file.read_text(encoding="utf-8"))[kind])


def asked_file(file: Path) -> Path:
    """The file whose time says when the names were last asked for."""
    return file.with_suffix(".json.asked")


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _refresh(options: Options, file: Path) -> None:
    """Start what fills the cache, and note when; it ends by itself, and says nothing."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    asked_file(file).touch()
    said = {name: getattr(options, name) for name in ("profile", "region", "endpoint_url", "stack")}
    subprocess.Popen(  # noqa: S603  # ourselves, with options that the person typed
        [sys.executable, "-m", "rolekeeper_cli.completion_refresh", str(file), json.dumps(said)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


# ---- completion in bash ----


def use_bash_words() -> None:
    """Have bash's words put together again, where completion is for bash."""
    if os.environ.get("_ROLEKEEPER_COMPLETE", "").startswith("bash_complete"):
        add_completion_class(Bash)


_BREAKS = "=:"


class Bash(BashComplete):
    """click's own, but for words that hold a `=` or a `:`."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is completed, and that one."""
        words = split_arg_string(os.environ["COMP_WORDS"])[1 : int(os.environ["COMP_CWORD"]) + 1]
        if len(words) < int(os.environ["COMP_CWORD"]):
            words.append("")  # nothing is typed of it yet
        whole: list[str] = []
        joins = False
        for word in words:
            breaks = bool(word) and not word.strip(_BREAKS)
            if whole and (joins or breaks):
                whole[-1] += word
            else:
                whole.append(word)
            joins = breaks
        *before, self._incomplete = whole or [""]
        return before, self._incomplete

    def format_completion(self, item: CompletionItem[str]) -> str:
        """What bash puts in the place of what is typed after the last break."""
        kept = max(self._incomplete.rfind(each) for each in _BREAKS) + 1
        if item.type == "plain" and item.value.startswith(self._incomplete[:kept]):
            return f"{item.type},{item.value[kept:]}"
        return super().format_completion(item)

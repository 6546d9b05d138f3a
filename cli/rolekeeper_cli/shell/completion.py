"""What completion offers for roles, mappings, instances, targets: names from a small cache, so no prompt ever waits.

A completion makes no call to AWS. It offers what the cache has, one file for each deployment. If the cache is old or
missing, a background process fills it (`completion_refresh`). Errors are silent. This module is imported when a shell
asks (`arguments.completes`).
"""

import hashlib
import json
import math
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

from rolekeeper_cli.installed import cache_folder
from rolekeeper_cli.options import Options

# A shell puts what is offered into the command line as it is: a tag's value is anybody's, and may be `$(…)`.
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@+=,-]*")
_NO_ROLE = "NONE"
_REVISIONS = 20

type Offered = list[CompletionItem[str]]


def mappings(context: click.Context, incomplete: str) -> Offered:
    """One mapping; none after the command's key."""
    return [] if names_a_key(context) else offered(_cached(context, "mappings"), incomplete)


def instances(context: click.Context, incomplete: str) -> Offered:
    """Instances by their Name tags, with their ids beside; by id if the name isn't unique, or if an id is typed."""
    found = _cached(context, "instances")
    count = Counter(found.values())
    by_name = {name: id_ for id_, name in found.items() if count[name] == 1 and _SAFE.fullmatch(name)}
    by_id = found if incomplete.startswith("i-") else {id_: name for id_, name in found.items() if name not in by_name}
    return offered({**by_name, **by_id}, incomplete)


def targets(context: click.Context, incomplete: str) -> Offered:
    """The accounts, the Regions, and once an account is typed its ACCOUNT/REGION."""
    found = _cached(context, "targets")
    parts = {part: "" for each in found for part in each.split("/")}
    return offered(found if "/" in incomplete else {**parts, **found} if incomplete else parts, incomplete)


def revisions(context: click.Context, incomplete: str) -> Offered:
    """The last revisions of the command's mapping before the one in effect, the newest first."""
    # While an option lacks its value, click leaves the arguments there.
    number = int(_cached(context, "revisions").get("".join(context.args[:1]), 0))
    return words(map(str, range(number - 1, max(number - 1 - _REVISIONS, 0), -1)), incomplete)


def words(choices: Iterable[str], incomplete: str) -> Offered:
    """Some words in their own case, whatever the case of what is typed; click's own makes them lower."""
    return [CompletionItem(each) for each in choices if each.casefold().startswith(incomplete.casefold())]


def roles_and_none(context: click.Context, typed: str) -> dict[str, str]:
    """The roles and NONE: not NONE alone, which Tab would insert, and which takes roles away."""
    found = {name: about for name, about in _cached(context, "roles").items() if _SAFE.fullmatch(name)}
    return {**found, _NO_ROLE: "no role"} if found or typed else {}


def names_a_key(context: click.Context) -> bool:
    return bool(context.params.get("words"))


def offered(found: Mapping[str, str], incomplete: str) -> Offered:
    names: Iterable[str] = (name for name in found if name.startswith(incomplete) and _SAFE.fullmatch(name))
    # Beside a name only plain characters: anybody may set a tag's value.
    return [CompletionItem(name, help=re.sub(r"[^ -~]", "?", str(found[name] or "")) or None) for name in sorted(names)]


OFFERS: Mapping[str, Callable[[click.Context, str], Offered]] = {
    "roles": lambda context, incomplete: offered(_cached(context, "roles"), incomplete),
    "roles_or_none": lambda context, incomplete: offered(roles_and_none(context, incomplete), incomplete),
    "mappings": mappings,
    "instances": instances,
    "targets": targets,
    "one_target": lambda context, incomplete: offered(_cached(context, "targets"), incomplete),
    "revisions": revisions,
}

# After how many seconds names are asked for again, and are no longer offered.
_FRESH, _KEPT = 60, 86_400


def cache_file(options: Options) -> Path:
    """The file with a deployment's names: one for each profile, Region, endpoint, stack and access key's id."""
    given = (options.profile, options.region, options.endpoint_url, options.stack)
    variables = ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "ROLEKEEPER_STACK")
    whose = [*given, *map(os.environ.get, variables), os.environ.get("AWS_ACCESS_KEY_ID")]
    name = hashlib.sha256(repr(whose).encode()).hexdigest()[:32]
    return cache_folder() / f"{name}.json"


def _cached(context: click.Context, kind: str) -> dict[str, str]:
    """The names of one kind, each with the text to show beside it; empty if there are none yet, or anything fails."""
    options = context.find_root().ensure_object(Options)
    try:
        file = cache_file(options)
        if _age(asked_file(file)) > _FRESH:
            _refresh(options, file)
        return {} if _age(file) > _KEPT else dict(json.loads(file.read_text(encoding="utf-8"))[kind])
    except Exception:  # noqa: BLE001  # a prompt must not be disturbed
        return {}


def asked_file(file: Path) -> Path:
    """The file whose time says when the names were last asked for."""
    return file.with_suffix(".json.asked")


def _age(file: Path) -> float:
    """Seconds since it was written; infinite if it doesn't exist."""
    try:
        return time.time() - file.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _refresh(options: Options, file: Path) -> None:
    """Start the process that fills the cache; the time of a file says when."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    asked_file(file).touch()
    given = {name: getattr(options, name) for name in ("profile", "region", "endpoint_url", "stack")}
    subprocess.Popen(  # noqa: S603  # ourselves, with options that the person typed
        [sys.executable, "-m", "rolekeeper_cli.completion_refresh", str(file), json.dumps(given)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def use_bash_words() -> None:
    """Join the words that bash splits, if the completion is for bash."""
    if os.environ.get("_ROLEKEEPER_COMPLETE", "").startswith("bash_"):
        add_completion_class(Bash)


_BREAKS = "=:"


class Bash(BashComplete):
    """click's own, except for words with a `=` or a `:`, at which bash splits (COMP_WORDBREAKS).

    After `role=` there is no blank: the value follows.
    """

    _ADDS = "COMPREPLY+=($value)"
    source_template = BashComplete.source_template.replace(_ADDS, f"[[ $value == *= ]] && compopt -o nospace; {_ADDS}")

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
        """The text that bash puts in the place of the word's part after the last break."""
        kept = max(self._incomplete.rfind(each) for each in _BREAKS) + 1
        if item.type == "plain" and item.value.startswith(self._incomplete[:kept]):
            return f"{item.type},{item.value[kept:]}"
        return super().format_completion(item)

"""What completion offers for roles, mappings, instances, targets: names from a small cache, so no prompt ever waits.

A completion asks AWS nothing. It offers what the cache has. Whatever fails, it stays silent.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

from rolekeeper_cli import uses
from rolekeeper_cli.options import Options

# A shell puts what is offered into the command line as it is: a tag's value is anybody's, and may be `$(…)`.
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@+=,-]*")
_NO_ROLE = "NONE"

type Offers = Callable[[click.Context, click.Parameter, str], "list[CompletionItem[str]]"]


def roles(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem[str]]":
    return _offered(_cached(context, "roles"), incomplete)


def roles_or_none(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem[str]]":
    """The same, and the word for no role."""
    return _offered({**_cached(context, "roles"), _NO_ROLE: "no role"}, incomplete)


def mappings(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem[str]]":
    return _offered(_cached(context, "mappings"), incomplete)


def instances(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem[str]]":
    """The instances by their Name tags, each said with its id; by id those that have none, or where one is typed."""
    found = _cached(context, "instances")
    count: dict[str, int] = {}
    for name in found.values():
        count[name] = count.get(name, 0) + 1
    by_name = {name: id_ for id_, name in found.items() if count[name] == 1 and _SAFE.fullmatch(name)}
    by_id = found if incomplete.startswith("i-") else {id_: name for id_, name in found.items() if name not in by_name}
    return _offered({**by_name, **by_id}, incomplete)


def targets(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem[str]]":
    """The accounts, the Regions, and once an account is typed its ACCOUNT/REGION."""
    found = _cached(context, "targets")
    parts = {part: "" for each in found for part in each.split("/")}
    return _offered(found if "/" in incomplete else {**parts, **found} if incomplete else parts, incomplete)


def one_target(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem[str]]":
    return _offered(_cached(context, "targets"), incomplete)


def key(context: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem[str]]":
    return (
        [] if context.params.get("words") or context.params.get("tag_key") else mappings(context, parameter, incomplete)
    )


def key_and_columns(context: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem[str]]":
    """One mapping, then columns, each with a `=`; after `role=` the roles."""
    if not (context.params.get("words") or context.params.get("tag_key")):
        return mappings(context, parameter, incomplete)
    name, equals, text = incomplete.partition("=")
    if not equals:
        return _offered(dict.fromkeys(f"{each}=" for each in _columns(keys=False)), incomplete)
    found = roles_or_none(context, parameter, text) if name == "role" else []
    for each in found:
        each.value = f"role={each.value}"
    return found


def columns(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem[str]]":
    return _offered(dict.fromkeys(_columns(keys=True)), incomplete)


def _cached(context: click.Context, kind: str) -> dict[str, str]:
    """The names of one kind, each with what is said of it; none where there are none yet, or anything fails."""
    try:
        from rolekeeper_cli.completion_cache import names  # noqa: PLC0415  # a --help needs none

        return names(context.find_root().ensure_object(Options), kind)
    except Exception:  # noqa: BLE001  # a prompt must not be disturbed
        return {}


def _columns(*, keys: bool) -> Sequence[str]:
    return list(uses.schema.column_names(keys=keys))


def _offered(found: Mapping[str, Any], incomplete: str) -> "list[CompletionItem[str]]":
    names: Iterable[str] = (name for name in found if name.startswith(incomplete) and _SAFE.fullmatch(name))
    return [CompletionItem(name, help=_words(found[name])) for name in sorted(names)]


def _words(about: object) -> str | None:
    """What a shell shows beside an offer: plain characters, as a tag's value is anybody's."""
    return re.sub(r"[^ -~]", "?", str(about)) if about else None


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

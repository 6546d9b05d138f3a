"""The mapping that a command is about, as people type it: its key, and `column=value`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from rolekeeper_cli.errors import ExitCode, UsageError
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell.arguments import Function, completes

with lazily():
    from rolekeeper_cli.row import names, schema
    from rolekeeper_cli.shell import completion

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from rolekeeper.model.mapping import MappingKey

type Offers = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]

_KEY = r"The mapping, as tag_key=tag_value: workload=web. An equals sign in the tag's key is written \=."
# `role = web`, `role =web` and `role= web` as a shell gives them, with NUL between the words. `role= owner=x` is fine.
_BLANKS = re.compile(r"(?:^|\0)([^=\0]+)(?:\0=\0?|=\0(?=[^=\0]+(?:\0|$)))([^\0]+)")


def _key_and_rest(words: tuple[str, ...]) -> tuple[MappingKey, list[str]]:
    """The mapping that a command is about, and the other words."""
    if not words:
        raise UsageError("no mapping is named", "name one as tag_key=tag_value, like workload=web")
    if blanks := _BLANKS.search("\0".join(words)):
        meant = quote(f"{blanks[1]}={blanks[2]}")
        raise UsageError("there are blanks around '='", f"write {meant}, without blanks")
    return names.mapping_key(words[0]), list(words[1:])


def _offers_key_and_columns(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """One mapping, then columns, each with a `=`; then the roles, or the values of a column that takes only some."""
    if not completion.names_a_key(context):
        return completion.mappings(context, incomplete)
    column, equals, typed = incomplete.partition("=")
    if not equals:
        return completion.offered({f"{each}=": "" for each in schema.column_names(keys=False)}, incomplete)
    is_role = column == "role"
    values = completion.roles_and_none(context, typed) if is_role else dict.fromkeys(schema.choices(column), "")
    return completion.offered({f"{column}={each}": about for each, about in values.items()}, incomplete)


def _takes(
    metavar: str, about: str, *, offers: Offers, given: Callable[[tuple[str, ...]], tuple[Any, ...]]
) -> Callable[[Function], Function]:
    """Give a command words as its arguments, and the function what they are."""

    def takes(function: Function) -> Function:
        @wraps(function)
        def run(words: tuple[str, ...], **others: Any) -> ExitCode | None:
            return function(*given(words), **others)

        return click.argument("words", nargs=-1, metavar=metavar, help=about, shell_complete=offers)(run)

    return takes


def _key_alone(words: tuple[str, ...]) -> tuple[MappingKey]:
    key, rest = _key_and_rest(words)
    if rest:
        raise UsageError(f"{rest[0]!r} is an unexpected argument", "name one mapping, as tag_key=tag_value")
    return (key,)


def _keys(words: tuple[str, ...]) -> tuple[list[MappingKey]]:
    return (list(dict.fromkeys(_key_and_rest((word,))[0] for word in words)),)


_VALUES = "An empty VALUE takes the column away; the entries of lists and tags have ; between them."
takes_key = _takes("KEY", _KEY, offers=completes("mappings"), given=_key_alone)
takes_keys = _takes("KEY...", _KEY, offers=completes("mappings"), given=_keys)
takes_key_and_columns = _takes(
    "KEY COLUMN=VALUE...", f"{_KEY} {_VALUES}", offers=_offers_key_and_columns, given=_key_and_rest
)

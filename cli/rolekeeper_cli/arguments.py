"""What people type as arguments: a mapping's key, `column=value`, a duration."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import reduce, wraps
from shlex import quote
from typing import TYPE_CHECKING, Any, Literal

import click

import rolekeeper_cli
from rolekeeper_cli import uses
from rolekeeper_cli.errors import ExitCode, UsageError
from rolekeeper_cli.suggest import did_you_mean

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from rolekeeper.model.mapping import MappingKey

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=3650)
# `role = web`, `role =web` and `role= web` as a shell gives them, with NUL between the words. `role= owner=x` is fine.
_BLANKS = re.compile(r"(?:^|\0)([^=\0]+)(?:\0=\0?|=\0(?=[^=\0]+(?:\0|$)))([^\0]+)")


def _key_and_rest(words: tuple[str, ...]) -> tuple[MappingKey, list[str]]:
    """The mapping that a command is about, and the other words."""
    if not words:
        raise UsageError("no mapping is named", "name one as tag_key=tag_value, like workload=web")
    if blanks := _BLANKS.search("\0".join(words)):
        meant = quote(f"{blanks[1]}={blanks[2]}")
        raise UsageError("there are blanks around '='", f"write {meant}, without blanks")
    return uses.names.mapping_key(words[0]), list(words[1:])


class Duration(click.ParamType[timedelta]):
    """How long, as `30m`, `8h` or `7d`."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"([0-9]{1,6})([smhdw])", str(value), re.ASCII)
        # Six digits overflow in no unit.
        length = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else timedelta(0)
        if not timedelta(0) < length <= _LONGEST:
            self.fail(f"{value!r} is no duration up to ten years; write it as 30m, 8h or 7d", param, ctx)
        return length


class OneOf(click.Choice[str]):
    """One of some words, in upper or lower case; the error for another word suggests the nearest one."""

    def __init__(self, choices: Iterable[str]) -> None:
        super().__init__(tuple(choices), case_sensitive=False)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        del ctx, param
        return rolekeeper_cli.completion.words(self.choices, incomplete)

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:  # noqa: ARG002  # click's own
        meant = did_you_mean(str(value), self.choices)
        return f"{value!r} is none of {', '.join(self.choices)}" + (f"; {meant}" if meant else "")


type Function = Callable[..., ExitCode | None]
type Option = Callable[[Function], Function]
type Completed = Literal[
    "roles",
    "roles_or_none",
    "mappings",
    "instances",
    "targets",
    "one_target",
    "key_and_columns",
    "revisions",
]


def completes(kind: Completed) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]:
    """What a shell is offered for an argument."""
    return lambda context, _, incomplete: getattr(rolekeeper_cli.completion, kind)(context, incomplete)


INSTANCE = "The instance's id, or its Name tag if no other has it; of another target, ACCOUNT/REGION/ID."
_KEY = r"The mapping, as tag_key=tag_value: workload=web. An equals sign in the tag's key is written \=."

instance_argument = click.argument("instance", help=INSTANCE, shell_complete=completes("instances"))
waits = click.option(
    "--wait/--no-wait",
    default=None,
    help="--wait: until the instances carry what they should, with progress. By default only until Rolekeeper judged "
    "what was written; --no-wait: not even that.",
)
yes = click.option("--yes", is_flag=True, help="Do it without asking; needed where there is no terminal.")
yes_to_all = click.option("--yes", is_flag=True, help="Do it without showing what it would do, and without asking.")
takes_targets = click.option(
    "--target",
    "targets",
    metavar="TARGET",
    multiple=True,
    shell_complete=completes("targets"),
    help="Of a hub: only there, an account, a Region, or ACCOUNT/REGION; may be given again.",
)
detailed_exitcode = click.option(
    "--detailed-exitcode",
    is_flag=True,
    help="Exit with 2 when something would change, unless rows are rejected (3) or held (4).",
)


limit = click.option(
    "--limit", type=click.IntRange(1, 1_000), default=20, show_default=True, help="Maximum number of entries."
)
mappings_file = click.argument("file", metavar="FILE", type=click.Path(), help="A YAML file; - is stdin.")
dry_run = click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
allow_downgrade = click.option("--allow-downgrade", is_flag=True, help="Allow an older version to replace a newer one.")


def together(*options: Option) -> Option:
    """Several options, in their order in the help."""
    return lambda function: reduce(lambda inner, option: option(inner), reversed(options), function)


def takes_key(function: Function) -> Function:
    """The command's first argument is the mapping's key."""

    @wraps(function)
    def run(words: tuple[str, ...], **others: Any) -> ExitCode | None:
        key, rest = _key_and_rest(words)
        if rest:
            raise UsageError(f"{rest[0]!r} is an unexpected argument", "name one mapping, as tag_key=tag_value")
        return function(key, **others)

    return _named(run, "KEY", _KEY, offers="mappings")


def takes_key_and_columns(function: Function) -> Function:
    """The command's first argument is the mapping's key, its second a list of `column=value`."""

    @wraps(function)
    def run(words: tuple[str, ...], **others: Any) -> ExitCode | None:
        return function(*_key_and_rest(words), **others)

    about = "An empty VALUE takes the column away; the entries of lists and tags have ; between them."
    return _named(run, "KEY COLUMN=VALUE...", f"{_KEY} {about}", offers="key_and_columns")


def _named(function: Function, metavar: str, about: str, offers: Completed) -> Function:
    return click.argument("words", nargs=-1, metavar=metavar, help=about, shell_complete=completes(offers))(function)

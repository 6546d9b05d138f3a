"""What several commands take: a duration, an instance, targets, whether to wait or to ask."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial, reduce
from typing import TYPE_CHECKING, Literal

import click

from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.options import Options
from rolekeeper_cli.shell.suggest import did_you_mean

with lazily():
    from rolekeeper_cli.shell import completion

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=3650)


class Duration(click.ParamType[timedelta]):
    """How long, as `30m`, `8h` or `7d`."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        found = re.fullmatch(r"([0-9]{1,6})([smhdw])", str(value), re.ASCII)
        # Six digits overflow in no unit.
        length = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else timedelta(0)
        if not timedelta(0) < length <= _LONGEST:
            self.fail(f"{value!r} isn't a duration up to ten years; write it as 30m, 8h or 7d", param, ctx)
        return length


class OneOf(click.Choice[str]):
    """One of some words, in upper or lower case; the error for another word suggests the nearest one."""

    def __init__(self, choices: Iterable[str]) -> None:
        super().__init__(tuple(choices), case_sensitive=False)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        del ctx, param
        return completion.words(self.choices, incomplete)

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:  # noqa: ARG002  # click's own
        meant = did_you_mean(str(value), self.choices)
        return f"{value!r} is none of {', '.join(self.choices)}" + (f"; {meant}" if meant else "")


type Function = Callable[..., ExitCode | None]
type Option = Callable[[Function], Function]
type Completed = Literal["roles", "roles_or_none", "mappings", "instances", "targets", "one_target", "revisions"]


def completes(kind: Completed) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]:
    """What a shell is offered for an argument."""
    return lambda context, _, incomplete: completion.OFFERS[kind](context, incomplete)


INSTANCE = "The instance's id, or its Name tag if no other has it; of another target, ACCOUNT/REGION/ID."

instance_argument = click.argument("instance", help=INSTANCE, shell_complete=completes("instances"))
waits = click.option(
    "--wait/--no-wait",
    default=None,
    help="--wait: until the instances carry what they should, with progress. By default only until Rolekeeper judged "
    "what was written; --no-wait: not even that.",
)
yes = click.option("--yes", is_flag=True, help="Do it without asking; needed without a terminal.")
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
mappings_file = click.argument("file", metavar="FILE", type=click.Path(), help="A YAML file; - is stdin.")
_SHOWS = "Show what would change, and change nothing."
allow_downgrade = click.option("--allow-downgrade", is_flag=True, help="Allow an older version to replace a newer one.")


def together(*options: Option) -> Option:
    """Several options, in their order in the help."""
    return lambda function: reduce(lambda inner, option: option(inner), reversed(options), function)


# Kept for the one place that ends a dry run (`terminal.confirm`).
_kept = partial(
    click.option,
    is_flag=True,
    expose_value=False,
    callback=lambda context, option, value: setattr(context.find_root().ensure_object(Options), option.name, value),
)
dry_run = _kept("--dry-run", help=_SHOWS)
dry_runs = together(
    _kept("--dry-run", help=f"{_SHOWS} Exit with 3 when a row would be rejected, with 4 when held."),
    _kept("--detailed-exitcode", help="With --dry-run: else exit with 2 when something would change."),
)

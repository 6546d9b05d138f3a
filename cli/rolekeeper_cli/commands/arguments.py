"""What several commands take."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from rolekeeper_cli import completion
from rolekeeper_cli.arguments import key_and_rest, only_key
from rolekeeper_cli.errors import ExitCode

type Function = Callable[..., ExitCode]

INSTANCE = "The instance's id, or its Name tag if no other has it; of another target, ACCOUNT/REGION/ID."
_KEY = "The mapping, as tag_key=tag_value: workload=web. The first '=' splits."

instance_argument = click.argument("instance", help=INSTANCE, shell_complete=completion.instances)
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
    shell_complete=completion.targets,
    help="Of a hub: only there, an account, a Region, or ACCOUNT/REGION; may be given again.",
)
detailed_exitcode = click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when something would change.")
# Files have one format; scripts may still name it.
yaml_format = click.option(
    "--format", type=click.Choice(["yaml"]), hidden=True, expose_value=False, help="The format of the file."
)


def takes_key(function: Function) -> Function:
    """The command's first argument is the mapping's key."""

    @wraps(function)
    def run(words: tuple[str, ...], tag_key: str | None, tag_value: str | None, **others: Any) -> ExitCode:
        return function(only_key(words, tag_key, tag_value), **others)

    return _named(run, "KEY", _KEY, offers=completion.key)


def takes_key_and_columns(function: Function) -> Function:
    """The command's first argument is the mapping's key, its second a list of `column=value`."""

    @wraps(function)
    def run(words: tuple[str, ...], tag_key: str | None, tag_value: str | None, **others: Any) -> ExitCode:
        return function(*key_and_rest(words, tag_key, tag_value), **others)

    about = "An empty VALUE takes the column away; the entries of lists and tags have ; between them."
    return _named(run, "KEY COLUMN=VALUE...", f"{_KEY} {about}", offers=completion.key_and_columns)


def _named(function: Function, metavar: str, about: str, offers: completion.Offers) -> Function:
    for parameter in (
        click.option("--tag-value", metavar="VALUE", help="The tag's value, beside --tag-key."),
        click.option("--tag-key", metavar="KEY", help="The tag's key, instead of KEY, when it holds a '='."),
        click.argument("words", nargs=-1, metavar=metavar, help=about, shell_complete=offers),
    ):
        function = parameter(function)
    return function

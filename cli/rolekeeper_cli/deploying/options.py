"""An option for each parameter of the template, made when it is asked for: no other command's help waits for them."""

import re
from typing import Any

import click

from rolekeeper_cli.command import Command

_ALLOWED_SHOWN = 4


class WithParameters(Command):
    """A command that takes the template's parameters."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own options, and one for each parameter."""
        from rolekeeper_cli.deploying.stack import parameters

        return [*super().get_params(ctx), *(_option(name, each) for name, each in parameters().items())]


def option_of(parameter: str) -> str:
    """`MaxChangesPerEdit` as `--max-changes-per-edit`."""
    return "--" + "-".join(part.lower() for part in re.findall("[A-Z][a-z]*", parameter))


def named(given: dict[str, str | None]) -> dict[str, str]:
    """Click's names and values of such options as the template's; those that weren't given are left out."""
    from rolekeeper_cli.deploying.stack import parameters

    names = {option_of(each).removeprefix("--").replace("-", "_"): each for each in parameters()}
    return {names[name]: value for name, value in given.items() if value is not None}


def _option(name: str, parameter: dict[str, Any]) -> click.Option:
    allowed = [str(each) for each in parameter.get("AllowedValues", ())]
    few = allowed and len(allowed) <= _ALLOWED_SHOWN
    return click.Option(
        [option_of(name)],
        metavar="|".join(allowed) if few else parameter["Type"].upper(),
        help=f"{parameter['Description']} ({name})",
        shell_complete=lambda _context, _parameter, begun: [each for each in allowed if each.startswith(begun)],
    )

"""An option for each parameter of the template, made when they are asked for: no other command's help waits for them.

`template_parameters.py` is made of the template, as reading that takes longer than a help may. After a change write
into it what `python -m rolekeeper_cli.deploying.parameter_options` prints; a test compares them.
"""

import re
from typing import Any

import click

from rolekeeper_cli.command import Command

_ALLOWED_SHOWN = 4


class WithParameters(Command):
    """A command that takes the template's parameters."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own options, and one for each parameter."""
        from rolekeeper_cli.deploying.template_parameters import PARAMETERS

        return [*super().get_params(ctx), *(_option(name, each) for name, each in PARAMETERS.items())]


def option_of(parameter: str) -> str:
    """`MaxChangesPerEdit` as `--max-changes-per-edit`."""
    return "--" + "-".join(part.lower() for part in re.findall("[A-Z][a-z]*", parameter))


def named(given: dict[str, str | None]) -> dict[str, str]:
    """Click's names and values of such options as the template's; those that weren't given are left out."""
    from rolekeeper_cli.deploying.template_parameters import PARAMETERS

    names = {option_of(each).removeprefix("--").replace("-", "_"): each for each in PARAMETERS}
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


def source() -> str:
    """The text of `template_parameters.py`."""
    import json

    from rolekeeper_cli import installed
    from rolekeeper_cli.deploying.stack_parameters import declared

    shown = ("Type", "Description", "Default", "AllowedValues")
    parameters = {
        name: {
            part: " ".join(each[part].split()) if part == "Description" else each[part]
            for part in shown
            if part in each
        }
        for name, each in declared(installed.file("template.yaml")).items()
    }
    about = '"""The parameters of template.yaml, as the help shows them. Made by `parameter_options.py`."""'
    values = json.dumps(parameters, indent=4)
    return f"{about}\n\nfrom typing import Any\n\nPARAMETERS: dict[str, dict[str, Any]] = {values}\n"


if __name__ == "__main__":
    click.echo(source(), nl=False)

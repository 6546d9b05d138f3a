"""The options that every command takes, wherever they stand: `rolekeeper --region x mapping ls`, or after `ls`."""

from dataclasses import dataclass
from typing import Any

import click

OUTPUTS = ("table", "json")


@dataclass(slots=True)
class Options:
    """What was given of them; of an option given twice, the last holds."""

    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    stack: str | None = None
    output: str = OUTPUTS[0]


class CommonOption(click.Option):
    """An option that is kept in `Options` instead of going to the command."""

    def __init__(self, name: str, **attributes: Any) -> None:
        super().__init__([name], expose_value=False, callback=self._keep, **attributes)

    def _keep(self, context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            setattr(context.find_root().ensure_object(Options), str(self.name), value)


def common_options() -> list[click.Parameter]:
    """One of each, for one command."""
    return [
        CommonOption("--profile", metavar="NAME", help="AWS profile (or AWS_PROFILE)."),
        CommonOption("--region", metavar="REGION", help="AWS Region (or AWS_REGION, or the profile's)."),
        CommonOption("--endpoint-url", metavar="URL", help="Where AWS is (or AWS_ENDPOINT_URL)."),
        CommonOption("--stack", metavar="NAME", help="Rolekeeper's stack (or ROLEKEEPER_STACK; 'rolekeeper')."),
        CommonOption("--output", type=click.Choice(OUTPUTS), help="How data is shown; a table unless told."),
    ]

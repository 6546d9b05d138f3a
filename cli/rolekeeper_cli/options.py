"""The options that every command takes, wherever they stand: `rolekeeper --region x mapping ls`, or after `ls`."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import click

OUTPUTS = ("table", "json", "yaml", "csv")


@dataclass(slots=True)
class Options:
    """What was given of them; of an option given twice, the last holds."""

    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    stack: str | None = None
    output: str = OUTPUTS[0]
    query: str | None = None


class CommonOption(click.Option):
    """An option that is kept in `Options` instead of going to the command."""

    def __init__(self, name: str, **attributes: Any) -> None:
        super().__init__([name], expose_value=False, callback=self._keep, **attributes)

    def _keep(self, context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            setattr(context.find_root().ensure_object(Options), str(self.name), value)


class _Query(click.ParamType[str]):
    """A JMESPath expression, as the AWS CLI's `--query`."""

    name = "query"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what is none, before anything is asked."""
        import jmespath
        from jmespath.exceptions import JMESPathError

        try:
            jmespath.compile(value)
        except JMESPathError as error:
            self.fail(f"{value!r} is no JMESPath expression: {' '.join(str(error).split())}", param, ctx)
        return value


@cache
def common_options() -> tuple[click.Parameter, ...]:
    """One of each, which all commands share: to make them anew for each took 3 ms of every --help."""
    return (
        CommonOption("--profile", metavar="NAME", help="AWS profile (or AWS_PROFILE)."),
        CommonOption("--region", metavar="REGION", help="AWS Region (or AWS_REGION, or the profile's)."),
        CommonOption("--endpoint-url", metavar="URL", help="Where AWS is (or AWS_ENDPOINT_URL)."),
        CommonOption("--stack", metavar="NAME", help="Rolekeeper's stack (or ROLEKEEPER_STACK; 'rolekeeper')."),
        CommonOption("--output", type=click.Choice(OUTPUTS), help="How data is shown; a table unless told."),
        CommonOption("--query", type=_Query(), metavar="JMESPATH", help="What to show of the data."),
    )

"""The options that every command takes, wherever they stand: `rolekeeper --region x mapping ls`, or after `ls`."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import click

# For people, then for programs.
TABLE, WIDE = "table", "wide"
OUTPUTS = (TABLE, WIDE, "json", "yaml", "csv")


@dataclass(slots=True)
class Options:
    """What was given of them; of an option given twice, the last holds.

    Attributes:
        regions: all that were given where `region` was given last, for a command that works in several.
    """

    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    stack: str | None = None
    output: str = OUTPUTS[0]
    query: str | None = None
    debug: bool = False
    regions: tuple[str, ...] = ()

    @property
    def for_people(self) -> bool:
        """Whether it is people who read what is shown."""
        return self.output in {TABLE, WIDE} and not self.query


class CommonOption(click.Option):
    """An option that is kept in `Options` instead of going to the command."""

    def __init__(self, *names: str, **attributes: Any) -> None:
        super().__init__(names, expose_value=False, callback=self._keep, **attributes)

    def _keep(self, context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        options = context.find_root().ensure_object(Options)
        if self.multiple and value:
            options.region, options.regions = value[-1], value
        elif value is not None and not self.multiple:
            setattr(options, str(self.name), value)


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
def common_options(*, short: bool = True) -> tuple[click.Parameter, ...]:
    """One of each, which all commands share: to make them anew for each took 3 ms of every --help.

    Args:
        short: whether `-o` is `--output`; not where it is a file, as for compilers and for curl.
    """
    output = ("-o", "--output") if short else ("--output",)
    return (
        CommonOption("--profile", metavar="NAME", help="AWS profile (or AWS_PROFILE)."),
        CommonOption("--region", metavar="REGION", multiple=True, help="AWS Region (or AWS_REGION, or the profile's)."),
        CommonOption("--endpoint-url", metavar="URL", help="Where AWS is (or AWS_ENDPOINT_URL)."),
        CommonOption("--stack", metavar="NAME", help="Rolekeeper's stack (or ROLEKEEPER_STACK; 'rolekeeper')."),
        CommonOption(*output, type=click.Choice(OUTPUTS), help="How data is shown; wide: a table with all columns."),
        CommonOption("--query", type=_Query(), metavar="JMESPATH", help="What to show of the data."),
        CommonOption("--debug", is_flag=True, default=None, help="Say on stderr what AWS is asked and answers."),
    )

"""The help of every command as Markdown: `make site` adds it to docs/cli.md."""

from collections.abc import Iterator

import click

from rolekeeper_cli.deploy.command import HELP_ALL
from rolekeeper_cli.main import cli
from rolekeeper_cli.shell.command import Group

_WIDTH = 100
_COMMON = "Options of every command:"


def page() -> str:
    """A section for the options of every command, then one for each command."""
    common = _help("rolekeeper", cli).partition(_COMMON)[2].partition("\n\n")[0]
    parts = [f"\n## {_COMMON.rstrip(':')}\n\n```\n{common.strip(chr(10))}\n```\n"]
    parts += [f"## {path}\n\n```\n{_without_common(_help(path, each))}\n```\n" for path, each in commands()]
    return "\n".join(parts)


def commands(group: Group = cli, path: str = "rolekeeper") -> Iterator[tuple[str, click.Command]]:
    """Every command that can be run, by its whole name, in alphabetical order."""
    for name, each in group.all().items():
        if not isinstance(each, Group) or each.invoke_without_command:
            yield f"{path} {name}", each
        if isinstance(each, Group):
            yield from commands(each, f"{path} {name}")


def _help(path: str, command: click.Command) -> str:
    context = click.Context(command, info_name=path, terminal_width=_WIDTH, **cli.context_settings)
    context.meta[HELP_ALL] = True
    return command.get_help(context)


def _without_common(text: str) -> str:
    own, _, after = text.partition(f"\n\n{_COMMON}")
    _, _, examples = after.partition("\n\n")
    return f"{own}\n\n{examples}".rstrip()


if __name__ == "__main__":
    click.echo(page(), nl=False)

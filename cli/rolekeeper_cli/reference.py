"""docs/cli.md, made from the commands themselves.

Run `python -m rolekeeper_cli.reference > docs/cli.md` after a change; a test compares them.
"""

from collections.abc import Iterator

import click

from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.main import cli

_WIDTH = 100
_COMMON = "Options of every command:"
_CODES = {
    ExitCode.DONE: "it is done, or there was nothing to do",
    ExitCode.NO: "it ran, and the answer is no: a bad row, a row that isn't published as written, a refusal, a "
    "question answered with no, rows that another actor changed meanwhile",
    ExitCode.CHANGES: "with `--detailed-exitcode`: something would change",
    ExitCode.INTERRUPTED: "Ctrl-C; what was written stays written",
    ExitCode.USAGE: "the command line can't be meant, or nobody can be asked (no terminal, and no `--yes`)",
    ExitCode.CONFIGURATION: "no credentials, no Region, or no such stack",
    ExitCode.SERVICE: "AWS refused, or couldn't be reached",
    ExitCode.FAILED: "what was waited for didn't come in time; or a bug, with its traceback",
}
_HEAD = """# The command line

The command `rolekeeper` is for the people who run Rolekeeper. It talks to AWS with your own credentials, as the AWS CLI
does, and decides nothing by itself: rows are read and roles are checked by the very modules that the functions run.

<!-- Made by `python -m rolekeeper_cli.reference`; edit the commands instead. -->

In this repository it is `.venv/bin/rolekeeper`, after any `make` target that sets up. On its own it is the wheel that
`make wheel` builds in `dist/`: `pipx install` or `uv tool install` it, with the extra `local` for `rolekeeper local`
and `demo`. What `pipx install .` installs in a clone has the same commands, but nothing to deploy.

Completion of commands, options, files, roles, mappings, statuses and instances, once it is on your `PATH`; a new
terminal has it:

- bash, from 4.4 on: in `~/.bashrc` the line `eval "$(_ROLEKEEPER_COMPLETE=bash_source rolekeeper)"`
- zsh: in `~/.zshrc`, after `compinit`, the line `eval "$(_ROLEKEEPER_COMPLETE=zsh_source rolekeeper)"`
- fish: in `~/.config/fish/completions/rolekeeper.fish` the line `_ROLEKEEPER_COMPLETE=fish_source rolekeeper | source`

Names come from a file under `~/.cache/rolekeeper` (or `XDG_CACHE_HOME`) that only you can read, one for each profile,
Region, endpoint and stack. No prompt waits for AWS: where the file is older than a minute, a process in the
background fills it anew, and the next Tab has the names. Without credentials nothing is offered, and nothing is said.
What a shell could run, as `$(…)` in a tag, is never offered.

What holds for all commands:

- Data goes to stdout, messages to stderr. `-o json`, `yaml` or `csv` gives data that programs read, and `--query`
  (JMESPath, as in the AWS CLI) what you want of it. All forms have the same fields; times are UTC, as
  `2026-01-31T18:00:00.000000Z`; what is absent is null. People see a long list page by page while it is read; programs
  get it once it is whole.
- A list has the same columns however long it is. On a terminal, names give way and ids, states and keys stay whole;
  `-o wide` has all columns. In a pipe a line is a row.
- `--debug` says on stderr what AWS is asked and what it answers, without credentials.
- An error is two lines: what happened, and what to do.
- On a terminal, before something is changed, it is shown what would happen: to the rows, to how many instances, which
  permissions they gain and lose. Then it is asked about; `--yes` does without. Without a terminal nobody is asked: what
  deletes, imports, goes back, approves or discards wants `--yes` there, `detach` its word, and the rest is done.
  `apply` doesn't ask: its plan was looked at.
- Colours are for terminals only, and not with `NO_COLOR`.
- What is written into the mapping table names you (`edited_by`), and so does the mapping's history.

| exit code | says |
|---|---|
"""


def page() -> str:
    """The whole page."""
    codes = "".join(f"| {code.value} | {_CODES[code]} |\n" for code in ExitCode)
    common = _help("rolekeeper", cli).partition(_COMMON)[2].partition("\n\n")[0]
    parts = [f"{_HEAD}{codes}", f"## {_COMMON.rstrip(':')}\n\n```\n{common.strip(chr(10))}\n```\n"]
    parts += [f"## {path}\n\n```\n{_without_common(_help(path, each))}\n```\n" for path, each in commands()]
    return "\n".join(parts)


def commands(group: click.Group = cli, path: str = "rolekeeper") -> Iterator[tuple[str, click.Command]]:
    """Every command that can be run, by its whole name, in alphabetical order."""
    for name, each in sorted(group.commands.items()):
        if not isinstance(each, click.Group) or each.invoke_without_command:
            yield f"{path} {name}", each
        if isinstance(each, click.Group):
            yield from commands(each, f"{path} {name}")


def _help(path: str, command: click.Command) -> str:
    return command.get_help(click.Context(command, info_name=path, terminal_width=_WIDTH, **cli.context_settings))


def _without_common(text: str) -> str:
    own, _, after = text.partition(f"\n\n{_COMMON}")
    _, _, examples = after.partition("\n\n")
    return f"{own}\n\n{examples}".rstrip()


if __name__ == "__main__":
    click.echo(page(), nl=False)

"""What all commands have in common: options, those of each list, examples in the help, and exit codes."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Never

import click
from click.core import ParameterSource

from rolekeeper_cli.errors import CommandError, ExitCode, UsageError
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.options import MARKDOWN, OUTPUTS, Options
from rolekeeper_cli.progress import Silent
from rolekeeper_cli.shell import terminal
from rolekeeper_cli.shell.arguments import OneOf
from rolekeeper_cli.shell.suggest import commands_meant, near
from rolekeeper_cli.shell.terminal import Progress, wrapped
from rolekeeper_cli.shell.view import schema_of, shapes

with lazily():
    from rolekeeper_cli.aws import deployment as aws_deployment
    from rolekeeper_cli.aws import explained
    from rolekeeper_cli.shell import debug, queries

if TYPE_CHECKING:
    import boto3

    from rolekeeper_cli.aws.deployment import Deployment


type Sections = Mapping[str, Mapping[str, tuple[str, str]]]

# The sections of options in a help.
OPTIONS, EVERY_LIST, EVERY_COMMAND = "Options", "Options of every list", "Options of every command"
# The exit codes of every command, of those that ask AWS, and of a group that does nothing alone.
_EVERY = frozenset({ExitCode.DONE, ExitCode.NO, ExitCode.INTERRUPTED, ExitCode.USAGE, ExitCode.FAILED})
_OF_AWS = frozenset({ExitCode.CONFIGURATION, ExitCode.SERVICE})
_OF_GROUP = frozenset({ExitCode.DONE, ExitCode.USAGE})


class _Formatter(click.HelpFormatter):
    """Breaks no word and no command, where click's own does; and it is as narrow as the terminal."""

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        narrow = min(shutil.get_terminal_size().columns, max_width or 80) - 2
        super().__init__(indent_increment, width or narrow, max_width)

    def write_heading(self, heading: str) -> None:
        self.write("\n".join(wrapped(f"{heading}:", self.width)) + "\n")

    def write_text(self, text: str) -> None:
        margin = " " * self.current_indent
        for number, paragraph in enumerate(text.split("\n\n")):
            lines = wrapped(" ".join(paragraph.split()), self.width - len(margin))
            self.write("\n" * bool(number) + "".join(f"{margin}{line}\n" for line in lines))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        rows = list(rows)
        most = min(max(len(name) for name, _ in rows), col_max, max(12, self.width - 48))
        margin, column = " " * self.current_indent, " " * (most + col_spacing)
        for name, text in rows:
            lines = [column + line for line in wrapped(text, self.width - len(margin + column))] if text else []
            if lines and len(name) <= most:
                lines[0] = name + lines[0][len(name) :]
            else:
                lines = [*wrapped(name, self.width - len(margin)), *lines]
            self.write("".join(f"{margin}{line}\n" for line in lines))


class _Context(click.Context):
    formatter_class = _Formatter


def section_of(parameter: click.Parameter) -> str:
    return getattr(parameter, "section", OPTIONS)


class Command(click.Command):
    """A command with the common options, and examples in its help. It returns its `ExitCode`; None is `DONE`.

    `markdown` says whether it, or a command of it, has that output, beside those of every command. `prints` and `exits`
    are as the decorator `prints` declares.
    """

    context_class = _Context

    def __init__(
        self, *arguments: Any, examples: Sequence[str] = (), markdown: bool = False, **attributes: Any
    ) -> None:
        # Its own, not its group's: click keeps what the first reader asked for, who may ask it alone.
        super().__init__(*arguments, **attributes)
        self.context_settings = {"help_option_names": ["-h", "--help"]}
        self.examples = tuple(examples)
        self.prints: Mapping[str, Any] = {}
        does_nothing = isinstance(self, click.Group) and not self.invoke_without_command
        self.exits = _OF_GROUP if does_nothing else _EVERY | _OF_AWS
        self.markdown = markdown
        short = not any("-o" in each.opts for each in self.params)
        self.params += common_options(short=short, markdown=markdown)
        # The first sentence, whole: click cuts it to 45 characters for a shell's completion.
        self.short_help = self.get_short_help_str(1_000)

    def invoke(self, ctx: click.Context) -> Any:
        options = ctx.find_root().ensure_object(Options)
        self._refuse_options(ctx, options)
        # A group's subcommand has options and documents of its own; click says in no other way whether there is one.
        if subcommand := ctx._protected_args:  # noqa: SLF001
            for each in self.params:
                given = ctx.get_parameter_source(str(each.name)) is ParameterSource.COMMANDLINE
                if given and section_of(each) != EVERY_COMMAND:
                    raise UsageError(f"{each.opts[-1]} isn't an option of {subcommand[0]}", "leave it out")
        elif options.query:
            queries.refuse_unknown(options.query, [*map(schema_of, self.prints.values())])
        run = partial(super().invoke, ctx)
        return terminal.repeat(run, _report_known) if options.watch else run()

    def _refuse_options(self, ctx: click.Context, options: Options) -> None:
        if options.output == MARKDOWN and not self.markdown:
            raise UsageError(f"{ctx.command_path} has no output {MARKDOWN}", f"it has {', '.join(OUTPUTS)}")
        if options.output == MARKDOWN and options.query:
            raise UsageError(f"--query can't be used with --output {MARKDOWN}", "leave one of them out")
        if options.detailed_exitcode and not options.dry_run:
            raise UsageError("--detailed-exitcode is for a dry run", "add --dry-run")
        for each in self.params:
            # As by a variable of a script that isn't set. Of --reader it means none.
            if each.multiple and each.name != "readers" and "" in ctx.params.get(str(each.name), options.regions):
                raise UsageError(f"{each.opts[-1]} is empty", "leave it out, or name something")
            if isinstance(each, click.Argument) and ctx.params.get(str(each.name)) == "":
                raise UsageError(f"{each.human_readable_name} is empty", f"see: {ctx.command_path} --help")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, those of a list, a group's commands, then the common options."""
        sections: dict[str, list[tuple[str, str]]] = {OPTIONS: [], EVERY_LIST: [], EVERY_COMMAND: []}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)):
                sections[section_of(parameter)].append(record)
        common = sections.pop(EVERY_COMMAND)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)
        self._format_fields(formatter)
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), code.says.replace("`", "")) for code in sorted(self.exits)])
        with formatter.section(EVERY_COMMAND):
            formatter.write_dl(common)

    def _format_fields(self, formatter: click.HelpFormatter) -> None:
        for noun, document in self.prints.items():
            listed = list(shapes(document))
            with formatter.section(f"Fields of -o json (what they are: rolekeeper schema {noun})"):
                for path, names in listed or [("", ["those of other programs"])]:
                    formatter.write_text(f"{path and f'{path}: '}{', '.join(names)}")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples" if len(self.examples) > 1 else "Example"):
                formatter.write("".join(f"{'':{formatter.current_indent}}{each}\n" for each in self.examples))


class Group(Command, click.Group):
    """A command of commands. Those of a table are imported when they are called, as click's documentation has it.

    `lazy` has by section of the help, then by name, where a command is, as `module:attribute`, and the first sentence
    of its help.
    """

    command_class = Command
    group_class = type

    def __init__(self, *arguments: Any, lazy: Sections | None = None, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self._sections = lazy or {}
        self._lazy = {name: each for section in self._sections.values() for name, each in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self._lazy and cmd_name not in self.commands:
            module, _, attribute = self._lazy[cmd_name][0].partition(":")
            self.add_command(getattr(import_module(module, "rolekeeper_cli"), attribute))
        return super().get_command(ctx, cmd_name)

    def all(self) -> dict[str, click.Command]:
        """All commands by name, imported."""
        context = click.Context(self)
        return {name: each for name in self.list_commands(context) if (each := self.get_command(context, name))}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each section's commands with the first sentence of their help, without importing one."""
        del ctx
        eager = [(name, each.get_short_help_str()) for name, each in self.commands.items() if name not in self._lazy]
        sections = {"Commands": eager} if eager else {}
        for title, section in self._sections.items():
            sections[title] = sections.get(title, []) + [(name, text) for name, (_, text) in section.items()]
        width = max(len(name) for section in sections.values() for name, _ in section)
        for title, commands in sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in commands])


def command(name: str, *examples: str, markdown: bool = False) -> Callable[[Callable[..., ExitCode | None]], Command]:
    """A command of this name; each example is a whole command line, `markdown` as `Command`."""
    return click.command(name, cls=Command, examples=examples, markdown=markdown)


def prints[Declared: click.Command](
    *codes: ExitCode, asks_aws: bool = True, **documents: Any
) -> Callable[[Declared], Declared]:
    """Declare the exit codes that a command has beside those of every command, and the types of its documents.

    These are views or lists of them, by the noun of their schema.
    """

    def declare(command: Declared) -> Declared:
        assert isinstance(command, Command)  # as a group's are (`command_class`)
        detailed = [ExitCode.CHANGES for each in command.params if each.name == "detailed_exitcode"]
        command.exits = _EVERY.union(codes, detailed, _OF_AWS if asks_aws else ())
        command.prints = {noun.replace("_", "-"): document for noun, document in documents.items()}
        return command

    return declare


def lists[Declared: click.Command](*, limit: int | None = None, watch: bool = True) -> Callable[[Declared], Declared]:
    """Give a command the options of every list, which `render` applies.

    Args:
        limit: the number of rows that it shows by default.
        watch: whether it can be repeated; not if it changes something.
    """

    def declare(command: Declared) -> Declared:
        command.params += list_options(limit)[: None if watch else -1]
        return command

    return declare


class Root(Group):
    """The whole command line. However a command ends, a message and an exit code follow here."""

    def main(  # type: ignore[override]  # it always exits
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Never:
        # https://no-color.org; without a terminal click leaves colours out.
        colour = False if os.environ.get("NO_COLOR") else None
        extra.pop("standalone_mode", None)
        sys.exit(self._run(args, prog_name, color=colour, **extra))

    def _run(self, args: Sequence[str] | None, prog_name: str | None, **extra: Any) -> int:
        options = Options()
        try:
            code: object = super().main(args, prog_name, standalone_mode=False, obj=options, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            return ExitCode.DONE
        except click.ClickException as error:
            return _report(_invalid(error), extra["color"])
        except (click.Abort, KeyboardInterrupt) as error:
            # click ends the line of Ctrl-C, but not that of a question.
            click.echo("Stopped." if error.__cause__ else "\nStopped.", err=True)
            return ExitCode.INTERRUPTED
        except Exception as error:  # noqa: BLE001  # explained, or shown with its traceback
            known = _known(error)
            if known is None or options.debug:
                sys.excepthook(type(error), error, error.__traceback__)
            return _report(known, extra["color"]) if known else ExitCode.FAILED
        return code if isinstance(code, int) else ExitCode.DONE


def _known(error: Exception) -> CommandError | None:
    return error if isinstance(error, CommandError) else explained.explained(error)


def _report_known(error: Exception) -> None:
    """Report an error after which a list may be asked for again; raise any other."""
    if (known := _known(error)) is None:
        raise error
    _report(known, None)


def _invalid(error: click.ClickException) -> UsageError:
    """The error for an invalid command line, with the nearest names; click suggests `--profile` for `--role`."""
    if not (isinstance(error, click.UsageError) and error.ctx):
        return UsageError(error.format_message(), "see: rolekeeper --help")
    known, help_ = error.ctx.command, f"see: {error.ctx.command_path} --help"
    found: list[str] = []
    if isinstance(error, click.NoSuchOption):
        argument = error.option_name.lstrip("-").upper()
        if any(isinstance(each, click.Argument) and each.make_metavar(error.ctx) == argument for each in known.params):
            return UsageError(error.message, f"{argument} is given without a name; {help_}")
        names = (name for each in known.params if isinstance(each, click.Option) for name in each.opts)
        found = near(error.option_name, names)
    elif isinstance(error, click.NoSuchCommand) and isinstance(known, click.Group):
        found = commands_meant(error.ctx.command_path, error.command_name)
        found = found or near(error.command_name, known.list_commands(error.ctx))
    else:
        # click has no class for an argument too many.
        file = type(error) is click.UsageError and any("-f" in each.opts for each in known.params)
        return UsageError(error.format_message(), f"give a file with -f; {help_}" if file else help_)
    meant = f" Did you mean {' or '.join(map(repr, found))}?" if found else ""
    return UsageError(f"{error.message}{meant}", help_)


def _report(error: CommandError, colour: bool | None) -> int:  # noqa: FBT001  # click's own three values
    terminal.bad(error.details, colour)
    terminal.marked("Error:", error.what, "red", bold=True, colour=colour)
    terminal.say(str(error.remedy), indent=2)
    return error.exit_code


class CommonOption(click.Option):
    """An option that is kept in `Options` instead of going to the command."""

    def __init__(self, *names: str, section: str = EVERY_COMMAND, **attributes: Any) -> None:
        super().__init__(names, expose_value=False, callback=self._keep, **attributes)
        self.section = section  # of the help

    def _keep(self, context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        options = context.find_root().ensure_object(Options)
        if self.multiple and value:
            options.region, options.regions = value[-1], value
        elif value is not None and not self.multiple:
            setattr(options, str(self.name), value)


@cache
def common_options(*, short: bool = True, markdown: bool = False) -> tuple[click.Parameter, ...]:
    """The same objects for all commands: new ones for each took 3 ms of every --help.

    Args:
        short: whether `-o` is `--output`; not for a command whose `-o` is a file, as with compilers and curl.
        markdown: whether that is among the outputs.
    """
    forms = OneOf((*OUTPUTS, MARKDOWN) if markdown else OUTPUTS)
    page = f"; {MARKDOWN}, of plan: a page for a pull request" if markdown else ""
    output = ("-o", "--output") if short else ("--output",)
    return (
        CommonOption("--profile", metavar="NAME", help="AWS profile (or AWS_PROFILE)."),
        CommonOption("--region", metavar="REGION", multiple=True, help="AWS Region (or AWS_REGION, or the profile's)."),
        CommonOption("--endpoint-url", metavar="URL", help="Where AWS is (or AWS_ENDPOINT_URL)."),
        CommonOption("--stack", metavar="NAME", help="Rolekeeper's stack (or ROLEKEEPER_STACK; 'rolekeeper')."),
        CommonOption(*output, type=forms, help=f"How data is shown; wide: a table with all columns{page}."),
        CommonOption("--query", metavar="JMESPATH", help="What to show of the data."),
        CommonOption("--debug", is_flag=True, default=None, help="Say on stderr what AWS is asked and answers."),
    )


@cache
def list_options(limit: int | None) -> tuple[click.Parameter, ...]:
    """The options of a list that shows this many rows by default."""
    every = f"every {terminal.WATCH_SECONDS:.0f} seconds until Ctrl-C, each time by the same calls to AWS"
    number: dict[str, Any] = {"type": click.IntRange(1), "default": limit, "show_default": limit is not None}
    of_list = partial(CommonOption, section=EVERY_LIST)
    return (
        of_list("--sort", metavar="COLUMN", help="By this column, or field of -o json; -COLUMN: from the highest."),
        of_list("--limit", metavar="N", help="Maximum number of rows.", **number),
        of_list("--watch", is_flag=True, default=None, help=f"Show it again {every}. As JSON, a line each time."),
    )


def deployment(options: Options | None = None, progress: type[Silent] = Progress) -> Deployment:
    return aws_deployment.Deployment(options or terminal.options(), progress, _debug)


def _debug(session: boto3.Session, endpoint_url: str | None) -> None:
    debug.report(session, endpoint_url)

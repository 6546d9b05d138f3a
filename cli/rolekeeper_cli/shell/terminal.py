"""What people see: messages on stderr, and lines of data on stdout (`render` has data in every form).

Text that comes from AWS may hold anything. Characters that can't be printed are shown by their numbers: a tag must not
be able to move a cursor.
"""

import io
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from typing import Never, NoReturn, TextIO

import click

from rolekeeper.model.text import escaped
from rolekeeper_cli.errors import CommandError, ExitCode, UsageError
from rolekeeper_cli.options import Options
from rolekeeper_cli.progress import Silent


def options() -> Options:
    return click.get_current_context().find_root().ensure_object(Options)


def say(text: str, *, indent: int = 0) -> None:
    """A message to the person, on stderr."""
    click.echo(_fitted(text, sys.stderr, indent), err=True)


def warn(text: str) -> None:
    marked("Warning:", text, "yellow")


def bad(texts: Iterable[str], colour: bool | None = None) -> None:  # noqa: FBT001  # click's own three values
    """Things that are wrong, each on a line of its own, on stderr."""
    for each in texts:
        marked("!", each, "red", colour=colour)


def marked(mark: str, text: str, fg: str, *, bold: bool | None = None, colour: bool | None = None) -> None:
    shown = _fitted(f"{mark} {text}", sys.stderr).removeprefix(mark)
    click.echo(f"{click.style(mark, fg=fg, bold=bold)}{shown}", err=True, color=colour)


def line(text: str, colour: str | None = None, *, indent: int = 0) -> None:
    shown = _fitted(text, sys.stdout, indent)
    click.echo(click.style(shown, fg=colour) if colour else shown)


def _fitted(text: str, stream: TextIO, indent: int = 0) -> str:
    """A text for people, which breaks between words on a terminal, and in no command."""
    lines, room = printable(text).split("\n"), width(stream)
    if room:
        lines = [line for each in lines for line in _hanging(each, room - indent)]
    return textwrap.indent("\n".join(lines), " " * indent)


def _hanging(text: str, room: int) -> Iterator[str]:
    """Break a line; what follows its first part is indented more."""
    margin = text[: len(text) - len(text.lstrip(" "))]
    first, *others = wrapped(text.strip(" "), room - len(margin) - 2)
    yield margin + first
    yield from (f"{margin}  {each}" for each in others)


# A command in a sentence, up to a word that only a sentence has, or the end of its clause.
_COMMAND = re.compile(
    r"(?<!\S)\(?(?:rolekeeper|aws|terraform) [a-z][a-z0-9-]*"
    r"(?:(?<![;,:.)]) (?!(?:and|or|to|in|on|if|for|of|with|which|that|says|shows|gives|ends|then|is|has|needs)\b)"
    r"""(?:'[^']*'|"[^"]*"|[^\s('"])+)*"""
)
_BLANK = "\ue000"  # within a command, while its text is split: as wide as a blank, and in no printable text


def wrapped(text: str, room: int, size: Callable[[str], int] = len) -> list[str]:
    """Lines of whole words and commands; one that is wider than the room has a line of its own."""
    lines: list[str] = []
    for word in _COMMAND.sub(lambda found: found[0].replace(" ", _BLANK), text).split(" "):
        if lines and size(lines[-1]) + 1 + size(word) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [line for each in lines if (line := each.strip().replace(_BLANK, " "))] or [""]


def printable(text: str) -> str:
    """A text whose unprintable characters are visible; line ends stay."""
    return escaped(text, keep="\n")


def width(stream: TextIO | None = None) -> int | None:
    """The width of the terminal that a stream, by default that of data, goes to; None for a pipe or a file."""
    return shutil.get_terminal_size().columns if (stream or sys.stdout).isatty() else None


def is_terminal() -> bool:
    """Whether a person can be asked: they type on a terminal, and see the question there."""
    return sys.stdin.isatty() and sys.stderr.isatty()


# ---- the same again, until Ctrl-C ----

WATCH_SECONDS = 5.0


class _Held(io.StringIO):
    """What a terminal shows once all of it is there."""

    def isatty(self) -> bool:
        return True


def repeat(draw: Callable[[], object], report: Callable[[Exception], None]) -> Never:
    """Draw again and again, on a terminal in the place of what was drawn before.

    What the first time raises ends it. A later error is reported below what is there, and the next time may succeed.
    """

    def turn(drawn: Callable[[], object]) -> None:
        drawn()
        if options().for_people:
            at = time.strftime("%H:%M:%S UTC", time.gmtime())
            say(f"As of {at}; again in {WATCH_SECONDS:.0f} seconds. Ctrl-C ends it.")
        time.sleep(WATCH_SECONDS)

    turn(draw)
    while True:
        try:
            turn(partial(_replace, draw) if sys.stdout.isatty() and options().for_people else draw)
        except Exception as error:  # noqa: BLE001  # reported, or raised again
            report(error)
            time.sleep(WATCH_SECONDS)


def _replace(draw: Callable[[], object]) -> None:
    """Draw in the place of what is on the terminal, once all of it is known."""
    with redirect_stdout(_Held()) as held, redirect_stderr(held if sys.stderr.isatty() else sys.stderr):
        draw()
    click.clear()
    click.echo(held.getvalue(), nl=False)


# ---- asking before something is done. Without a terminal nobody is asked ----

_CASE = "upper and lower case count"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, once the `lines` are shown.

    A dry run shows them too, and with `show` what programs get otherwise once it is done; it ends with the `code`.
    If it wouldn't change anything, a detailed exit code says so too.
    """

    text: str
    lines: Iterable[str] = ()
    show: Callable[[], None] = lambda: None
    code: Callable[[], ExitCode] = lambda: ExitCode.DONE
    changes: bool = True


def _cancel() -> NoReturn:
    say("Cancelled. Nothing was changed.")
    raise click.exceptions.Exit(ExitCode.NO)


def require_answer(*, yes: bool, typed: bool = False) -> None:
    """Before anything is read: UsageError without a terminal, unless --yes or --dry-run do and nothing is `typed`."""
    if not (is_terminal() or (not typed and (yes or options().dry_run))):
        raise UsageError("there is no terminal to ask on", "give --yes to do it without asking")


def asks(*, yes: bool) -> bool:
    """Whether it is shown what would happen: a dry run, or --yes didn't answer already and there is a terminal."""
    return options().dry_run or (not yes and is_terminal())


def confirm(question: str | Question, *, yes: bool) -> None:
    """Ask, unless --yes answered already; the command ends if the answer is no, or with --dry-run."""
    asked, given = question if isinstance(question, Question) else Question(question), options()
    if given.dry_run:
        asked.show()
        say("Dry run: nothing was changed.")
        code = asked.code()
        raise click.exceptions.Exit(code or (ExitCode.CHANGES if given.detailed_exitcode and asked.changes else code))
    if not yes and not _says_yes(asked.text):
        _cancel()


def agree(expected: Callable[[], Question], *, yes: bool) -> None:
    """Show what would happen, and ask; neither with --yes, nor without a terminal. The command ends as in `confirm`.

    `expected` is called only if it is shown.
    """
    if asks(yes=yes):
        question = expected()
        if lines := "\n".join(question.lines):
            say(lines)
        confirm(question, yes=False)


def offer(question: str) -> bool:
    """Whether the person wants something optional; no without a terminal."""
    return is_terminal() and not options().dry_run and _says_yes(question)


def _says_yes(question: str) -> bool:
    ask = _fitted(f"{question} [y/N]:", sys.stderr)
    return click.confirm(ask, err=True, show_default=False, prompt_suffix=" ")


def require_word(word: str, given: str | None) -> None:
    """Before anything is read: UsageError if another word was given, or none and there is no terminal to ask on."""
    if given not in {None, word}:
        raise UsageError(f"--confirm is {given!r}", f"give --confirm {word}; {_CASE}")
    if given is None and not (options().dry_run or is_terminal()):
        raise UsageError("there is no terminal to ask on", f"give --confirm {word}")


def confirm_word(word: str, question: str, given: str | None) -> None:
    """Ask for a word to be typed, as the console does, unless it was given; the command ends as in `confirm`."""
    if given is None:
        ask = _fitted(f"{question} Type {word} to go on ({_CASE})", sys.stderr)
        typed = click.prompt(ask, err=True, default="", show_default=False)
        if typed != word and typed.casefold() == word.casefold():
            raise CommandError(
                f"cancelled: {typed!r} isn't {word!r} ({_CASE})", "nothing was changed; type the word as shown"
            )
        if typed != word:
            _cancel()


# Shorter work shows none.
_AFTER_SECONDS = 1.0
_EVERY_SECONDS = 0.1


class Progress(Silent):
    """Counts up to a total, if it is known, on one line of the terminal, which it clears at the end."""

    def __init__(self, total: int | None, what: str) -> None:
        super().__init__(total, what)
        self._shows = sys.stderr.isatty()
        self._next = time.monotonic() + _AFTER_SECONDS
        self._shown = False

    def hide(self) -> None:
        if self._shown:
            click.echo("\r\033[K", nl=False, err=True)
            self._shown = False

    def at(self, done: int, total: int | None = None, rest: str = "") -> None:
        """`rest` is shown as far as the line has room."""
        if self._shows and time.monotonic() >= self._next:
            text = self.in_words(done, total, rest)
            click.echo(f"\r\033[K{wrapped(text, shutil.get_terminal_size().columns - 1)[0]}", nl=False, err=True)
            self._next = time.monotonic() + _EVERY_SECONDS
            self._shown = True

"""What people see: messages on stderr, and lines of data on stdout (`render` has data in every form).

Text that comes from AWS may hold anything. On its way to a terminal, what can't be printed is shown by its number: a
tag must not be able to move somebody's cursor.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterable

import click

from rolekeeper.model.text import escaped
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.options import Options
from rolekeeper_cli.progress import Silent


def options() -> Options:
    """The common options of the command that runs."""
    return click.get_current_context().find_root().ensure_object(Options)


def say(text: str) -> None:
    """A message to the person, on stderr."""
    click.echo(printable(text), err=True)


def warn(text: str) -> None:
    """A message that should not be overlooked."""
    click.echo(f"{click.style('Warning:', fg='yellow')} {printable(text)}", err=True)


def bad(texts: Iterable[str], colour: bool | None = None) -> None:  # noqa: FBT001  # click's own three values
    """Things that are wrong, each on a line of its own, on stderr."""
    for each in texts:
        click.echo(f"{click.style('!', fg='red')} {printable(each)}", err=True, color=colour)


def line(text: str, colour: str | None = None) -> None:
    click.echo(click.style(printable(text), fg=colour) if colour else printable(text))


def printable(text: str) -> str:
    """A text in which what can't be printed is made visible; line ends stay."""
    return escaped(text, keep="\n")


def one_line(text: str) -> str:
    """A text for one line of a table."""
    return escaped(text)


def width() -> int | None:
    """The columns of the terminal that data goes to; None where it goes into a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def is_terminal() -> bool:
    """Whether a person can be asked: what they type comes from a terminal, and they see the question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


# ---- asking before something is done. Without a terminal nobody is asked ----


_CASE = "upper and lower case count"


class DeclinedError(CommandError):
    """The person said no."""

    def __init__(self) -> None:
        super().__init__("cancelled", "nothing was changed")


def require_answer(*, yes: bool) -> None:
    """Refuse at once, before anything is read, what nobody could be asked.

    Raises:
        UsageError: there is no terminal, and no --yes.
    """
    if not (yes or is_terminal()):
        raise UsageError("there is no terminal to ask on", "give --yes to do it without asking")


def asks(*, yes: bool) -> bool:
    """Whether a person is asked: --yes didn't answer already, and there is a terminal."""
    return not yes and is_terminal()


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless --yes answered already.

    Raises:
        DeclinedError: the answer is no.
    """
    if not yes and not click.confirm(printable(question), err=True):
        raise DeclinedError


def agree(expected: Callable[[], tuple[Iterable[str], str]], *, yes: bool) -> None:
    """Show a person what would happen, and ask whether to do it; --yes answers, and without a terminal nobody is asked.

    Args:
        expected: gives what is shown, and the question. It isn't called where nobody is asked.

    Raises:
        DeclinedError: the answer is no.
    """
    if asks(yes=yes):
        lines, question = expected()
        for each in lines:
            say(each)
        confirm(question, yes=False)


def offer(question: str) -> bool:
    """Offer something that may as well be left; without a terminal it is."""
    return is_terminal() and click.confirm(printable(question), err=True)


def require_word(word: str, given: str | None) -> None:
    """Refuse at once what nobody could be asked, or what was answered wrongly.

    Raises:
        UsageError: another word was given, or none and there is no terminal.
    """
    if given not in {None, word}:
        raise UsageError(f"--confirm is {given!r}", f"give --confirm {word}; {_CASE}")
    if given is None and not is_terminal():
        raise UsageError("there is no terminal to ask on", f"give --confirm {word}")


def confirm_word(word: str, question: str, given: str | None) -> None:
    """Ask for a word to be typed, as the console does, unless it was given.

    Raises:
        DeclinedError: something else was typed.
    """
    if given is None:
        ask = printable(f"{question} Type {word} to go on ({_CASE})")
        typed = click.prompt(ask, err=True, default="", show_default=False)
        if typed != word and typed.casefold() == word.casefold():
            raise CommandError(
                f"cancelled: {typed!r} isn't {word!r} ({_CASE})",
                "nothing was changed; type the word as shown",
            )
        if typed != word:
            raise DeclinedError


# ---- how far a longer work is, for the person who waits ----


# Shorter work needs no telling.
_AFTER_SECONDS = 1.0
_EVERY_SECONDS = 0.1


class Progress(Silent):
    """Counts up to a total, if it is known. It leaves the line as it found it."""

    def __init__(self, total: int | None, what: str) -> None:
        super().__init__(total, what)
        self._of = "" if total is None else f" of {total:,}"
        self._what = what
        self._shows = sys.stderr.isatty()
        self._next = time.monotonic() + _AFTER_SECONDS
        self._shown = False

    def hide(self) -> None:
        """Clear the line, for what is written next."""
        if self._shown:
            click.echo("\r\033[K", nl=False, err=True)
            self._shown = False

    def at(self, done: int, total: int | None = None, rest: str = "") -> None:
        """This many are done, of a total that is known by now; `rest` is shown as far as the line has room."""
        if self._shows and time.monotonic() >= self._next:
            of = self._of if total is None else f" of {total:,}"
            text = f"{done:,}{of} {self._what}{f'; {rest}' if rest else ''}"
            click.echo(f"\r\033[K{text[: shutil.get_terminal_size().columns - 1]}", nl=False, err=True)
            self._next = time.monotonic() + _EVERY_SECONDS
            self._shown = True

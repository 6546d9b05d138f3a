"""Asking before something is done. Without a terminal nobody is asked: then the option that answers must be there."""

import click

from rolekeeper_cli import output
from rolekeeper_cli.errors import CommandError, UsageError

_CASE = "upper and lower case count"


class DeclinedError(CommandError):
    """The person said no."""

    def __init__(self) -> None:
        super().__init__("nothing was changed", "run it again when you want it")


def require_answer(*, yes: bool) -> None:
    """Refuse at once, before anything is read, what nobody could be asked.

    Raises:
        UsageError: there is no terminal, and no --yes.
    """
    if not (yes or output.is_terminal()):
        raise UsageError("there is no terminal to ask on", "give --yes to do it without asking")


def asks(*, yes: bool) -> bool:
    """Whether a person is asked: --yes didn't answer already, and there is a terminal."""
    return not yes and output.is_terminal()


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless --yes answered already.

    Raises:
        DeclinedError: the answer is no.
    """
    if not yes and not click.confirm(output.printable(question), err=True):
        raise DeclinedError


def offer(question: str) -> bool:
    """Offer something that may as well be left; without a terminal it is."""
    return output.is_terminal() and click.confirm(output.printable(question), err=True)


def require_word(word: str, given: str | None) -> None:
    """Refuse at once what nobody could be asked, or what was answered wrongly.

    Raises:
        UsageError: another word was given, or none and there is no terminal.
    """
    if given not in {None, word}:
        raise UsageError(f"--confirm is {given!r}", f"give --confirm {word}; {_CASE}")
    if given is None and not output.is_terminal():
        raise UsageError("there is no terminal to ask on", f"give --confirm {word}")


def confirm_word(word: str, question: str, given: str | None) -> None:
    """Ask for a word to be typed, as the console does, unless it was given.

    Raises:
        DeclinedError: something else was typed.
    """
    if given is None:
        ask = output.printable(f"{question} Type {word} to go on ({_CASE})")
        typed = click.prompt(ask, err=True, default="", show_default=False)
        if typed != word and typed.casefold() == word.casefold():
            raise CommandError(
                f"nothing was changed: {typed!r} isn't {word!r}, as {_CASE}", "run it again, and type that"
            )
        if typed != word:
            raise DeclinedError

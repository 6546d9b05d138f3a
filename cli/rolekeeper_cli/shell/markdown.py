"""Text in a Markdown page that makes no markup, wherever it comes from."""

import re

from rolekeeper.model import text as texts

_MARKUP = re.compile(r"([\\`*_\[\]<>|&#~!@$])")


class Markdown(str):
    """A text that is Markdown already."""

    __slots__ = ()


def escaped(value: object) -> object:
    """A value that Markdown shows as it is, in one cell of a table."""
    return value if isinstance(value, Markdown) else _MARKUP.sub(r"\\\1", str(value))


def code(text: str) -> Markdown:
    """A text from outside: in code GitHub and GitLab link no name, number or address.

    A cell's code can't hold every character; those that can't be printed are shown by their numbers.
    """
    return Markdown(f"`{texts.escaped(text).replace('`', "'").replace('|', '¦')}`" if text else "")

"""What the fleet's search field holds: words and filters, such as `web status:blocked tag:"team=a b"`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# What begins with a quote ends with the next one, or with the text; in it a backslash takes the next character along.
_TERM = re.compile(r'([^\s":]*:)?"((?:[^"\\]|\\.)*)(?:"|\\?\Z)|(\S+)', re.DOTALL)
_NEEDS_QUOTES = re.compile(r'\A"|\s|\A\Z')
# More narrow nothing down, and each is asked of every instance.
_MOST = 50


@dataclass(frozen=True, slots=True)
class Term:
    """A filter, as `status:blocked`; without a key it is a word."""

    key: str
    value: str

    def __str__(self) -> str:
        quoted = _NEEDS_QUOTES.search(self.value) or (not self.key and ":" in self.value)
        text = '"' + re.sub(r'(["\\])', r"\\\1", self.value) + '"' if quoted else self.value
        return f"{self.key}:{text}" if self.key else text


def read(text: str) -> tuple[Term, ...]:
    """The terms of a text, each once; any text has some, or none."""
    return distinct(_term(*found.groups()) for found in _TERM.finditer(text))


def distinct(terms: Iterable[Term]) -> tuple[Term, ...]:
    return tuple(dict.fromkeys(terms))[:_MOST]


def written(terms: Iterable[Term]) -> str:
    """The text that reads as these terms."""
    return " ".join(map(str, terms))


def _term(key: str | None, quoted: str | None, plain: str | None) -> Term:
    if quoted is not None:
        return Term((key or "")[:-1], re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL))
    key, colon, value = (plain or "").partition(":")
    return Term(key, value) if key and colon else Term("", plain or "")

"""How to write text from outside for people and programs, so that it moves no cursor and breaks no line.

In a sentence it is escaped. A key stays as it is: JSON and YAML escape it.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

# Drawn as nothing, though their category says letter, mark or symbol (Unicode, "Default_Ignorable_Code_Point").
UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0]")
# Control, format and half characters, and every separator but the blank (Unicode, "General_Category").
UNPLAIN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})
_NOT_ASCII = re.compile("[^ -~]")
# A backslash takes the next character along.
_KEY = re.compile(r"((?:[^=\\]|\\.?)*)(=?)(.*)", re.DOTALL)
# The most characters of a sentence, and of a person's words in it.
SENTENCE, WORDS = 2_000, 300


def _by_number(character: str) -> str:
    number = f"\\u{ord(character):04x}" if character <= "\uffff" else f"\\U{ord(character):08x}"
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, number)


def escaped(text: str, keep: str = "", escape: Callable[[str], str] = _by_number) -> str:
    """Escape a text's control, format (so bidirectional), separator, unassigned and unseen characters."""
    if text.isascii() and text.isprintable():  # nearly all of them
        return text

    def written(found: re.Match[str]) -> str:
        seen = found[0].isprintable() and not UNSEEN.match(found[0])
        return found[0] if seen or found[0] in keep else escape(found[0])

    return _NOT_ASCII.sub(written, text)


def in_words(value: object) -> str:
    """Write a value for people: `true`, a UTC time, `a, b` of several, `key=value` of a map; empty for None."""
    match value:
        case str():  # nearly all of them
            return value
        case None:
            return ""
        case bool():
            return str(value).lower()
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case Mapping():
            return ", ".join(f"{name}={in_words(member)}" for name, member in sorted(value.items()))
        case list() | tuple():
            return ", ".join(map(in_words, value))
        case set() | frozenset():
            return ", ".join(sorted(map(in_words, value)))
    return str(value)


def unplain_at(text: str) -> int | None:
    """Find the first character that isn't seen, or isn't seen as what it is; None if there is none.

    No row's key has one, and so no partition of the state table: EC2's tags may.
    """
    if text.isascii() and text.isprintable():
        return None
    for position, character in enumerate(text):
        if character != " " and (unicodedata.category(character) in UNPLAIN or UNSEEN.match(character)):
            return position
    return None


def shown(text: str, longest: int = WORDS) -> str:
    """Escape a person's words and cut them to a length, for a sentence."""
    plain = escaped(text[: longest + 1])
    return plain if len(plain) <= longest else cut(plain, longest)


def cut(text: str, longest: int) -> str:
    """Cut a text to a length, and show that it was."""
    return text if len(text) <= longest else f"{text[: max(longest - 1, 0)]}…"


def key_text(tag_key: str, tag_value: str) -> str:
    r"""Write a mapping's key as it is typed, `KEY=VALUE`; in the tag's key `\=` is an equals sign, `\\` a backslash."""
    return f"{tag_key.replace('\\', r'\\').replace('=', r'\=')}={tag_value}"


def split_key(text: str) -> tuple[str, str, str]:
    """Split such a text into the tag's key, the `=` and the tag's value; the last two are empty without such an `=`."""
    key, equals, value = _KEY.fullmatch(text).groups()  # type: ignore[union-attr]  # it matches any text
    return re.sub(r"\\([=\\])", r"\1", key), equals, value


def escaped_json(text: str) -> str:
    """Escape the texts in JSON, which reads back as the same; line ends are between values only."""
    return escaped(text, "\n", lambda character: json.dumps(character)[1:-1])

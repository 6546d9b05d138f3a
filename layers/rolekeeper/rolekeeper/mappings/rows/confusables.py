"""Text that isn't what it looks like: invisible characters, foreign blanks, full-width and mixed letters. Pure.

A tag is matched character by character, so a row that merely looks right governs nothing, and nobody sees why.
Categories and names are Unicode's own (`unicodedata`); the idea of mixed scripts is that of Unicode TS 39.
"""

import re
import unicodedata

# The longest piece of somebody's text that a reason repeats.
QUOTED = 60

_HIDDEN_CATEGORIES = {
    "Cc": "a control character",
    "Cf": "an invisible character",
    "Cs": "half of a character",
    "Zl": "a line break",
    "Zp": "a line break",
}
# Drawn as nothing, though their category says letter, mark or symbol (Unicode, "Default_Ignorable_Code_Point").
_HIDDEN_OTHERS = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0]")
_WORDS = re.compile(r"[^\W\d_]+")
_LATIN = "LATIN"
# The first words of the names of letters that look like Latin ones (Unicode, "confusables.txt").
_TWINS = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU", "FULLWIDTH", "MATHEMATICAL")


def quote(text: str) -> str:
    """A piece of text to show in a reason: cut to a readable length, with the unprintable made visible."""
    cut = text[:QUOTED]
    shown = "".join(
        each if each.isprintable() and not _HIDDEN_OTHERS.match(each) else f"\\u{ord(each):04x}" for each in cut
    )
    return f"'{shown}…'" if len(text) > QUOTED else f"'{shown}'"


def quote_plain(text: str) -> str:
    """The same for a text that belongs in plain letters: the first other character is named, as it may mislead."""
    foreign = next((at for at, each in enumerate(text) if not each.isascii()), None)
    if foreign is None:
        return quote(text)
    return f"{quote(text)}, with {name_of(text[foreign])} at position {foreign + 1}"


def name_of(character: str) -> str:
    """A character by its Unicode name and number, as `ZERO WIDTH SPACE (U+200B)`; control characters have no name."""
    number = f"U+{ord(character):04X}"
    name = unicodedata.name(character, "")
    return f"{name} ({number})" if name else number


def hidden(text: str) -> str:
    """What is invisible in a text, in words; empty when nothing is."""
    for position, character in enumerate(text, 1):
        if what := _HIDDEN_CATEGORIES.get(unicodedata.category(character)):
            return f"has {what}, {name_of(character)}, at position {position}; remove it"
        if _HIDDEN_OTHERS.match(character):
            return f"has an invisible character, {name_of(character)}, at position {position}; remove it"
        if character != " " and unicodedata.category(character) == "Zs":
            return f"has {name_of(character)} at position {position}, which looks like a blank; use a plain blank"
    return ""


def edge_blank(text: str) -> str:
    """Whether a text begins or ends with a blank, in words; empty when it doesn't."""
    if not text.strip():
        return "is empty" if not text else "is blank"
    if text != text.strip():
        return f"{'begins' if text[0].isspace() else 'ends'} with a blank; remove it"
    return ""


def mistakable(text: str) -> str:
    """Why a tag's key or value would be mistaken for another, in words; empty when it wouldn't.

    Text that is wholly of one script, whichever, is fine.
    """
    if said := edge_blank(text) or hidden(text):
        return said
    if not text.isascii() and unicodedata.normalize("NFKC", text).isascii():
        position, character = next((at, each) for at, each in enumerate(text, 1) if not each.isascii())
        plain = unicodedata.normalize("NFKC", text)
        return f"has {name_of(character)} at position {position}, which looks like plain text; write {quote(plain)}"
    return _mixed(text)


def _mixed(text: str) -> str:
    for word in _WORDS.finditer(text):
        if word[0].isascii():
            continue
        scripts = [unicodedata.name(each, "").split(" ", 1)[0] for each in word[0]]
        twin = next((at for at, script in enumerate(scripts) if script in _TWINS), None)
        if twin is not None and _LATIN in scripts:
            return (
                f"mixes alphabets: {name_of(word[0][twin])} at position {word.start() + twin + 1} "
                f"stands among Latin letters; write the word in one alphabet"
            )
    return ""


def decomposed(text: str) -> str:
    """Whether a letter is written as letter and accent, which looks the same and isn't; in words, empty when not."""
    composed = unicodedata.normalize("NFC", text)
    if composed == text:
        return ""
    position = next(at for at, (one, other) in enumerate(zip(text, f"{composed}\0", strict=False)) if one != other)
    return (
        f"{quote(text)} isn't composed from position {position + 1} on: the same text in composed letters, as most "
        f"keyboards write it, is another tag"
    )

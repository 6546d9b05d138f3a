"""What a person may have meant by a name that isn't there: the few that a slip of the fingers away."""

from collections.abc import Iterable

_MOST = 3
# The slips that a word of up to this many characters may hold, and the most.
_SLIPS = {2: 0, 4: 1, 9: 2}
_MOST_SLIPS = 3
# A beginning this long is taken for the beginning of a longer name.
_BEGINNING = 2


def near(text: str, names: Iterable[str], most: int = _MOST) -> list[str]:
    """The names that are most like a text, the nearest first.

    difflib counts the characters in common, so `--role` would be `--profile`; what counts here are slips: a character
    too many, one missing, one for another, two swapped. Upper and lower case are alike, dashes at the front are none.
    """
    typed = _plain(text)
    allowed = next((slips for longest, slips in _SLIPS.items() if len(typed) <= longest), _MOST_SLIPS)
    found: set[tuple[float, str]] = set()
    for name in names:
        plain = _plain(name)
        if plain.startswith(typed) and len(typed) >= _BEGINNING:
            # Rather a slip than the beginning of something long.
            found.add((min(len(plain) - len(typed), allowed + 0.5), name))
        elif _may_be_near(typed, plain, allowed) and (slips := _slips(typed, plain)) <= allowed:
            found.add((slips, name))
    return [name for _, name in sorted(found)[:most]]


def did_you_mean(text: str, names: Iterable[str]) -> str:
    """The question, if there is a near name; empty otherwise."""
    found = near(text, names)
    return f"did you mean {' or '.join(found)}?" if found else ""


def _plain(text: str) -> str:
    return text.lstrip("-").casefold()


def _may_be_near(one: str, other: str, allowed: int) -> bool:
    """Whether it is worth counting; over a large fleet counting takes long."""
    return abs(len(one) - len(other)) <= allowed and len(set(one) ^ set(other)) <= 2 * allowed


def _slips(one: str, other: str) -> int:
    """The slips from one word to another: their optimal string alignment distance."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, character in enumerate(one, start=1):
        now = [row]
        for column, wanted in enumerate(other, start=1):
            cost = min(last[column] + 1, now[-1] + 1, last[column - 1] + (character != wanted))
            if row > 1 and column > 1 and (character, one[row - 2]) == (other[column - 2], wanted):
                cost = min(cost, before[column - 2] + 1)
            now.append(cost)
        before, last = last, now
    return last[-1]

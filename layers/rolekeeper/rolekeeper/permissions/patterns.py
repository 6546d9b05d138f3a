"""The wildcards of IAM policies: which pattern covers which, and which meet. Pure.

`*` stands for any characters, `?` for exactly one, and nothing else is special (IAM user guide, "IAM JSON policy
elements: Resource"). There `*` within an ARN's segment doesn't reach over a colon, except at the segment's end; here it
always does, which differs only for ARNs that leave a colon to a wildcard.
"""

import re
from functools import lru_cache

# What a policy variable such as `${aws:PrincipalTag/team}` comes to is known only when a request is made.
_VARIABLE = re.compile(r"\$\{[^}]*\}")
# Wildcards that match texts of any length from some length on.
_OPEN_RUN = re.compile(r"(\?*\*[*?]*)")
# In characters by characters: two ARNs are walked, and of longer ones it is taken that they may meet.
_LONGEST_WALK = 50_000
# More than the patterns of two roles; a Lambda function's memory is to stay small.
_KEPT = 16_384


@lru_cache(_KEPT)
def covers(wide: str, narrow: str) -> bool:
    """Whether everything that one pattern matches is matched by another; never true wrongly."""
    return wide == narrow or bool(_covered_by(wide).fullmatch(_without_variables(narrow)))


def meet(one: str, other: str) -> bool:
    """Whether two patterns may match the same text; never false wrongly."""
    mine, theirs = head(one), head(other)
    alike = mine.startswith(theirs) or theirs.startswith(mine)
    return alike and _meet(_without_variables(one), _without_variables(other))


@lru_cache(_KEPT)
def head(pattern: str) -> str:
    """What stands before a pattern's first wildcard or variable: all that it covers begins so."""
    return re.split(r"[*?]", _without_variables(pattern), maxsplit=1)[0]


def _without_variables(pattern: str) -> str:
    return _VARIABLE.sub("*", pattern)


@lru_cache(_KEPT)
def _covered_by(wide: str) -> re.Pattern[str]:
    """An expression for the patterns that one covers: it reads a pattern's wildcards as characters.

    A `?` takes a character or a `?`, never a `*`, for that may be empty. A `*` takes anything. Between two of them the
    first fit is as good as any later one, so what lies between is atomic: matching never takes exponential time. Only
    the last text has to end where the pattern does.
    """
    parts = _OPEN_RUN.split(wide)
    first, *texts = [re.escape(text).replace(r"\?", "[^*]") for text in parts[::2]]
    if texts:
        texts[-1] += r"\Z"
    least = [len(run.replace("*", "")) for run in parts[1::2]]
    rest = [rf"(?>(?:\**[^*]){{{count}}}.*?{text})" for count, text in zip(least, texts, strict=True)]
    return re.compile(first + "".join(rest), re.DOTALL)


@lru_cache(_KEPT)
def _meet(one: str, other: str) -> bool:
    """Walk both patterns at once; the row tells with which beginnings of `other` the beginning of `one` can agree."""
    if covers(one, other) or covers(other, one) or len(one) * len(other) > _LONGEST_WALK:
        return True
    row = [not other[:end].strip("*") for end in range(len(other) + 1)]
    for mine in one:
        above, row = row, [row[0] and mine == "*"]
        for at, theirs in enumerate(other):
            if "*" in {mine, theirs}:
                row.append(above[at + 1] or row[at])
            else:
                row.append(above[at] and (mine == theirs or "?" in {mine, theirs}))
    return row[-1]

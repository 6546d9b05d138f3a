"""Which pattern covers which, against every short text over a small alphabet."""

import re
import time
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.permissions.policies import pattern_covers, pattern_head, patterns_meet

# Patterns of up to five of these, and the texts that tell them apart: `$` stands for whatever no pattern names.
SHORT = st.text("ab*?", max_size=5)
TEXTS = ["".join(each) for length in range(8) for each in product("ab$", repeat=length)]


def matched(pattern: str) -> set[str]:
    expression = re.compile("".join({"*": ".*", "?": "."}.get(each, each) for each in pattern))
    return {text for text in TEXTS if expression.fullmatch(text)}


@given(SHORT, SHORT)
def test_one_covers_another_when_it_matches_all_that_the_other_does(wide: str, narrow: str) -> None:
    assert pattern_covers(wide, narrow) == (matched(narrow) <= matched(wide))


@given(SHORT, SHORT)
def test_two_meet_when_both_match_something(one: str, other: str) -> None:
    assert patterns_meet(one, other) == bool(matched(one) & matched(other))


@given(SHORT, SHORT)
def test_what_is_covered_begins_like_what_covers_it(wide: str, narrow: str) -> None:
    if pattern_covers(wide, narrow):
        assert narrow.startswith(pattern_head(wide))


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [("s3:Get[O]bject", "s3:GetObject"), ("s3:[!P]*", "s3:GetObject"), (".*", "s3:GetObject"), ("s3:Get+", "s3:Gett")],
)
def test_only_the_two_wildcards_are_special(wide: str, narrow: str) -> None:
    assert not pattern_covers(wide, narrow)
    assert pattern_covers(wide, wide)


def test_a_variable_may_come_to_anything() -> None:
    home, exact = "arn:aws:s3:::home/${aws:PrincipalTag/team}/*", "arn:aws:s3:::home/web/*"
    assert pattern_covers(home, home)
    assert pattern_covers("arn:aws:s3:::home/*", home)
    assert not pattern_covers(home, exact)
    assert not pattern_covers(exact, home)
    assert not pattern_covers("?" * len("${aws:x}"), "${aws:x}")
    assert patterns_meet(home, exact)
    assert patterns_meet(exact, home)


def test_a_pattern_made_to_be_slow_is_not() -> None:
    slow, long = "*a" * 500 + "b", "a" * 2_000
    started = time.process_time()
    assert not pattern_covers(slow, long)
    assert patterns_meet(slow, "*b" * 500 + "c"), "too long to be walked, so it counts as meeting"
    assert time.process_time() - started < 2

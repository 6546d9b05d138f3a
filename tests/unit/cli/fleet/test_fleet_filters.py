"""The text of the fleet's search field."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rolekeeper_cli.fleet.page import Term, distinct, terms_of

TERMS = st.builds(Term, st.sampled_from(["", "status", "tag", "reason"]), st.text())


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        ("  web   prod ", [("", "web"), ("", "prod")]),
        ("status:blocked web", [("status", "blocked"), ("", "web")]),
        ('tag:"team=a b" x', [("tag", "team=a b"), ("", "x")]),
        ('tag:a="b', [("tag", 'a="b')]),
        ('"a:b"', [("", "a:b")]),
        ("tag:aws:group=x", [("tag", "aws:group=x")]),
        (r'tag:"a\"b\\c"', [("tag", r'a"b\c')]),
        (r"mapping:a\=b=c", [("mapping", r"a\=b=c")]),
        ("status:", [("status", "")]),
        (":x", [("", ":x")]),
        ('reason:"foreign ro', [("reason", "foreign ro")]),
        ("web web", [("", "web")]),
    ],
)
def test_words_and_filters_are_read(text: str, terms: list[tuple[str, str]]) -> None:
    assert terms_of(text) == tuple(Term(*each) for each in terms)


@given(st.lists(TERMS, max_size=4))
@example([Term("tag", '"'), Term("", ":"), Term("tag", "\\"), Term("tag", " ")])
def test_what_is_written_reads_as_the_same(terms: list[Term]) -> None:
    assert terms_of(" ".join(map(str, terms))) == distinct(terms)


@given(st.text(st.sampled_from('a:"\\ \n\t=') | st.characters()))
def test_any_text_is_read_and_once_written_stays_as_it_is(text: str) -> None:
    terms = terms_of(text)
    assert terms_of(" ".join(map(str, terms))) == terms


def test_a_simple_value_is_written_without_quotes() -> None:
    assert (
        " ".join(map(str, [Term("tag", "app=web"), Term("", "web-1"), Term("reason", "a b")]))
        == 'tag:app=web web-1 reason:"a b"'
    )


def test_a_text_without_end_is_read_at_once() -> None:
    assert len(terms_of("a:b " * 100_000)) == 1
    assert len(terms_of(" ".join(map(str, range(100_000))))) == 50
    assert len(terms_of('"' * 100_001)) == 1

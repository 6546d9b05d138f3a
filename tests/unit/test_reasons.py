"""A stored reason is a code with arguments: its text is made from them, and anybody may have written what is read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.mappings.verdict import approval_steps
from rolekeeper.model.mapping import MappingKey
from rolekeeper.model.problem import (
    DETAILS,
    NAMED,
    REASON,
    STEPS,
    Problem,
    Reason,
    ReasonCode,
    details,
    sentence,
    stored,
)
from rolekeeper.storage import layout

ROOT = Path(__file__).parents[2]
ACCOUNTS = [str(number) * 12 for number in range(1, 8)]


# ---- texts ----


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (ReasonCode.IN_EFFECT(), "in effect"),
        (ReasonCode.IN_EFFECT(all=1200), "in effect in 1,200 accounts"),
        (ReasonCode.IN_EFFECT(some=1, of=2), "in effect in 1 of 2 accounts"),
        (Problem("is 'x'", "give a role", column="role").reason(), "role: is 'x'; give a role"),
        (Problem("it is broad").reason(), "it is broad"),
        (
            Problem("role 'x' doesn't exist", "create it", account="1").reason(),
            "role 'x' doesn't exist in account 1; create it",
        ),
        (
            ReasonCode.OUTGROWN(revision=5, changes=3000, accounts=ACCOUNTS[:2]),
            "as revision 5 it would have changed 3,000, and 111111111111, 222222222222 came into its scope since",
        ),
        (ReasonCode.OUTGROWN(revision=5, changes=30, accounts=[]), "as revision 5 it would have changed 30"),
        (ReasonCode.PROBLEM(what="a [note] {in} brackets"), "a [note] {in} brackets"),
    ],
)
def test_a_text_is_made_of_the_code_and_of_the_arguments_that_are_given(made: Reason, text: str) -> None:
    assert str(made) == text


def test_of_many_texts_the_first_are_named_and_the_others_counted() -> None:
    made = ReasonCode.NOT_IN_EFFECT_IN(revision=2, accounts=ACCOUNTS)
    assert str(made) == f"revision 2 isn't in effect in {', '.join(ACCOUNTS[:NAMED])} and 2 more"
    assert details([made])[0]["more"] == 2


def test_the_steps_about_a_held_deletion_are_commands_to_type() -> None:
    steps = approval_steps(MappingKey("app", "a b"), 2, deletes=True)
    assert list(map(str, steps)) == [
        "to delete it: rolekeeper mapping approve 'app=a b' --revision 2",
        "to keep it: rolekeeper mapping discard 'app=a b'",
    ]


def test_a_long_text_is_cut_before_what_ends_it() -> None:
    stays, refused = ReasonCode.STAYS_IN_EFFECT(revision=4), ReasonCode.APPROVED_OWN_EDIT()
    text = sentence([stays, ReasonCode.TEXT(text="x" * 2 * REASON), refused])
    assert (len(text), text.endswith(f"x… {stays}; {refused}")) == (REASON, True)


def test_a_refused_approval_of_a_first_edit_is_told_apart_from_what_is_before_it() -> None:
    would, refused = ReasonCode.WOULD_CHANGE(extent="attach 9"), ReasonCode.APPROVED_OWN_EDIT()
    assert sentence([would, refused]) == f"it would attach 9; {refused}"


# ---- what is stored ----

TAKES = {code: sorted(set(re.findall(r"{(\w+)", code.value)) - {"approve", "discard"}) for code in ReasonCode}
NUMBERS = {code: set(re.findall(r"{(\w+):,}", code.value)) for code in ReasonCode}


@st.composite
def reasons_of_any_code(draw: st.DrawFn) -> Reason:
    """One whose arguments are all given; of lists there may be many texts."""
    code = draw(st.sampled_from(ReasonCode))
    texts = st.text(min_size=1, max_size=20)
    given = {
        name: draw(st.integers(0, 10**6) if name in NUMBERS[code] else texts | st.lists(texts, min_size=1, max_size=7))
        for name in TAKES[code]
    }
    key = {name: draw(texts) for name in ("tag_key", "tag_value")} | {"revision": draw(st.integers(1, 9999))}
    made: Reason = code(**{**(key if code in STEPS else {}), **given})
    return made


@given(st.lists(reasons_of_any_code(), min_size=1, max_size=3))
def test_reasons_come_back_from_a_row_as_they_were(reasons: list[Reason]) -> None:
    row = layout.from_attributes(layout.to_attributes({"status_details": details(reasons)}))
    assert stored(sentence(reasons), row["status_details"]) == tuple(reasons)


@pytest.mark.parametrize(
    "written",
    [
        None,
        "in-effect",
        7,
        [7],
        [{}],
        [{"code": "no-such-code"}],
        [{"code": 7}],
        [{"code": "expired"}],
        [{"code": "in-effect", "all": "many"}],
        [{"code": "in-effect", "all": [1]}],
        [{"code": "text", "text": "something else"}],
        [{"code": "in-effect", "some": {"M": 1}, "of": None}],
    ],
)
def test_what_anybody_wrote_beside_a_text_is_not_believed(written: Any) -> None:
    assert stored("it is as it is", written) == (ReasonCode.TEXT(text="it is as it is"),)
    assert sentence(stored("in effect", written)) == "in effect"


def test_what_an_older_version_stored_has_only_a_text() -> None:
    assert stored("in effect", None) == (ReasonCode.IN_EFFECT(),)
    assert stored("in effect in 2 accounts", None) == (ReasonCode.TEXT(text="in effect in 2 accounts"),)
    assert stored("", None) == ()


def test_values_that_would_fill_a_row_are_left_out() -> None:
    assert details([ReasonCode.TEXT(text="x" * DETAILS)]) == []
    assert len(details([ReasonCode.TEXT(text="x" * 1000)] * 3)) == 3


# ---- nobody takes one apart ----

_OF_TEXTS = {"replace", "split", "partition", "rpartition", "removeprefix", "removesuffix", "startswith", "endswith"}


def _taken_apart(source: str) -> Iterator[int]:
    """The lines in which a method of texts, a search or a comparison looks into the reason of a row or a verdict."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(attr=method, value=value)) if method in _OF_TEXTS and _is_reason(value):
                yield node.lineno
            case ast.Call(func=ast.Attribute(value=ast.Name("re")), args=args) if any(map(_is_reason, args)):
                yield node.lineno
            case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[right]) if _is_reason(right):
                yield node.lineno


def _is_reason(node: ast.expr) -> bool:
    match node:
        case ast.Attribute(attr="reason", value=ast.Name(name)):
            return name not in ("decision", "condition", "shown", "withheld", "error")  # these are no row's
        case ast.Subscript(slice=ast.Constant("status_reason")) | ast.Call(args=[*_, ast.Constant("status_reason")]):
            return True
        case ast.Call(func=ast.Name("str" | "sentence"), args=[inner, *_]):
            return _is_reason(inner)
    return False


def test_no_module_takes_a_stored_reason_apart() -> None:
    for bad in (
        "verdict.reason.replace('a', '')",
        "re.sub('a', '', row['status_reason'])",
        "'a' in text_in(row, 'status_reason')",
        "str(row.get('status_reason')).startswith('a')",
    ):
        assert list(_taken_apart(bad)) == [1], "the control"
    files = [file for top in ("cli", "verify", "layers", "functions") for file in (ROOT / top).rglob("*.py")]
    found = {str(file.relative_to(ROOT)): [*_taken_apart(file.read_text())] for file in files}
    assert len(files) > 200
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_no_template_compares_one_or_changes_it() -> None:
    changes = re.compile(r"reason\b[^%}]*(\breplace\(|\bin \(|==|split\()")
    assert changes.search('{% elif reason not in ("", "in effect") %}'), "the control"
    pages = [*(ROOT / "cli").rglob("*.html")]
    assert len(pages) > 10
    found = [line for page in pages for line in page.read_text().splitlines() if changes.search(line)]
    assert found == []

"""What policies come to: statements read into rules, cut by denials and by a boundary."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.aws.iam import Policies
from rolekeeper.permissions.policies import Rule, TooManyRulesError, listed, permissions, statements
from support.grants import allow, deny, policy


def shown(*rules: Rule) -> list[tuple[list[str], list[str], list[str]]]:
    return [
        ([each.shown for each in rule.actions], [each.shown for each in rule.resources], sorted(rule.conditions))
        for rule in rules
    ]


def allowed(*documents: Any, boundary: Any = None) -> list[tuple[list[str], list[str], list[str]]]:
    return shown(*permissions(Policies(documents, boundary)).allowed)


def test_a_list_of_one_needs_no_brackets() -> None:
    bare = {"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}}
    assert allowed(bare) == [(["s3:GetObject"], ["*"], [])]
    assert listed(None) == []
    assert listed("a") == listed(["a"]) == ["a"]


def test_statements_on_the_same_resources_are_one_rule_without_what_a_wildcard_holds() -> None:
    document = policy(allow("s3:GetObject", "r"), allow(["S3:get*", "sqs:*"], "r"), allow("s3:GetObject", "other"))
    assert allowed(document) == [(["S3:get*", "sqs:*"], ["r"], []), (["s3:GetObject"], ["other"], [])]


def test_everything_but_some_is_read() -> None:
    document = policy({"Effect": "Allow", "NotAction": ["iam:*", "sts:*"], "NotResource": "r"})
    assert allowed(document) == [(["everything but iam:* and sts:*"], ["everything but r"], [])]


def test_conditions_are_told_test_by_test() -> None:
    condition = {"StringEquals": {"aws:SourceVpc": ["vpc-2", "vpc-1"]}, "Bool": {"aws:SecureTransport": True}}
    ((_, _, tests),) = allowed(policy(allow("s3:*", Condition=condition)))
    assert tests == ['Bool aws:SecureTransport "true"', 'StringEquals aws:SourceVpc "vpc-1", "vpc-2"']


def test_a_deny_takes_away_what_it_covers_whole_and_nothing_else() -> None:
    grants = allow(["s3:GetObject", "s3:PutObject", "sqs:SendMessage"], ["a", "b"])
    left = allowed(policy(grants, deny("s3:*", "a")), policy(deny("sqs:*")))
    assert left == [(["s3:GetObject", "s3:PutObject"], ["b"], [])]
    assert allowed(policy(allow("s3:*"), deny("s3:GetObject"))) == [(["s3:*"], ["*"], [])]


def test_a_deny_under_a_condition_takes_away_only_what_is_allowed_under_that_condition() -> None:
    tested = {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    assert allowed(policy(allow("s3:*"), deny("s3:*", **tested))) == [(["s3:*"], ["*"], [])]
    assert allowed(policy(allow("s3:*", **tested), deny("*", **tested))) == []


@pytest.mark.parametrize(
    ("grants", "boundary", "left"),
    [
        (allow("s3:*"), allow("*"), [(["s3:*"], ["*"], [])]),
        (allow("*"), allow("s3:*", "a"), [(["s3:*"], ["a"], [])]),
        (allow("s3:Get*"), allow("s3:*", "a"), [(["s3:Get*"], ["a"], [])]),
        (allow("s3:*", "a"), allow("sqs:*"), []),
        (allow("s3:*", "a"), {}, []),
        (allow("s3:Get*"), allow("s3:*Object"), [(["s3:Get* within s3:*Object"], ["*"], [])]),
        (allow("*"), {"NotAction": "iam:*", "Resource": "*"}, [(["everything but iam:*"], ["*"], [])]),
        (allow("iam:*"), {"NotAction": "iam:*", "Resource": "*"}, []),
        (
            allow("sqs:*", Condition={"a": {"b": "c"}}),
            allow("*", Condition={"d": {"e": "f"}}),
            [(["sqs:*"], ["*"], ['a b "c"', 'd e "f"'])],
        ),
    ],
)
def test_a_boundary_leaves_what_both_allow(grants: Any, boundary: Any, left: list[Any]) -> None:
    assert allowed(policy(grants), boundary=policy({"Effect": "Allow", **boundary})) == left


@pytest.mark.parametrize(
    "statement",
    [
        "nonsense",
        7,
        None,
        {},
        {"Effect": "Allow"},
        {"Effect": "Allow", "Action": "s3:*"},
        {"Effect": "Allow", "Resource": "*"},
        {"Effect": "Allow", "Action": [], "Resource": "*"},
        {"Effect": "Allow", "Action": {"s3:*": 1}, "Resource": [None, 7, ["*"]]},
        {"Effect": ["Allow"], "Action": "s3:*", "Resource": "*"},
        {"Effect": "allow", "Action": "s3:*", "Resource": "*"},
    ],
)
def test_a_statement_that_iam_would_not_take_allows_nothing(statement: Any) -> None:
    assert allowed({"Statement": statement}) == []
    assert allowed(policy(statement, allow("sqs:*"))) == [(["sqs:*"], ["*"], [])]


@pytest.mark.parametrize("condition", [7, "text", ["a", 1], {"Bool": 7}, {"Bool": {"key": {"a": [1]}}}])
def test_a_condition_that_is_no_condition_is_still_one(condition: Any) -> None:
    ((_, _, tests),) = allowed(policy(allow("s3:*", Condition=condition)))
    assert tests


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.sampled_from(["*", "Allow"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
ELEMENTS = ["Effect", "Action", "NotAction", "Resource", "NotResource", "Condition", "Principal"]
STATEMENTS = JSON | st.dictionaries(st.sampled_from(ELEMENTS), JSON).map(lambda each: {"Effect": "Allow", **each})


@given(st.dictionaries(st.sampled_from(["Statement", "Version"]), st.lists(STATEMENTS, max_size=3) | JSON))
def test_whatever_a_policy_holds_it_is_read(document: dict[str, Any]) -> None:
    assert all(isinstance(each, dict) for each in statements(document))
    permissions(Policies((document,), document))


def test_policies_too_large_to_compare_are_refused_at_once() -> None:
    many = policy(*[allow("s3:*", f"*{number}") for number in range(500)])
    assert len(permissions(Policies((many,))).allowed) == 500, "as docs/mappings.md says"
    with pytest.raises(TooManyRulesError, match="500"):
        permissions(Policies((many, policy(allow("s3:*", "one more")))))
    with pytest.raises(TooManyRulesError):
        permissions(Policies((many,), policy(*[allow("*", f"{number}*") for number in range(5)])))

"""What a change of role gains and loses: stories, and every question of a small world asked of IAM's own rule."""

import re
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.aws.iam import Policies
from rolekeeper.permissions import comparison
from rolekeeper.permissions.comparison import Difference, in_words
from rolekeeper.permissions.policies import listed, permissions
from support.grants import allow, deny, policy

REPORTS = "arn:aws:s3:::reports/*"
MFA = {"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}}
NOTHING = Policies()


def role(*statements: Any, boundary: Any = None) -> Policies:
    return Policies((policy(*statements),), boundary and policy(boundary))


def difference(before: Policies, after: Policies) -> Difference:
    return comparison.difference(permissions(before), permissions(after))


def gained(before: Policies, after: Policies) -> list[str]:
    """What is gained, where nothing is lost."""
    change = difference(before, after)
    assert change.lost == ()
    return list(change.gained)


def lacks(held: Policies, wanted: Policies) -> tuple[str, ...]:
    return comparison.lacking(permissions(held), permissions(wanted))


def test_a_role_lacks_what_it_isnt_allowed_on_all_that_is_wanted() -> None:
    agent = role(allow(["ssm:PutInventory", "ssm:GetParameter"]), allow("s3:GetObject", REPORTS))
    assert lacks(role(allow("ssm:*"), allow("s3:Get*")), agent) == ()
    assert lacks(NOTHING, agent) == (f"s3:GetObject on {REPORTS}", "ssm:GetParameter, ssm:PutInventory on *")
    here = role(allow("ssm:PutInventory"), allow("ssm:GetParameter", "arn:aws:ssm:*:*:parameter/web/*"))
    assert lacks(here, agent) == (f"s3:GetObject on {REPORTS}", "ssm:GetParameter on *")
    assert lacks(role(allow(["ssm:*", "s3:*"], **MFA)), agent) == lacks(NOTHING, agent)
    assert lacks(role(allow("*"), boundary=allow("ssm:*")), agent) == (f"s3:GetObject on {REPORTS}",)


def test_a_role_lacks_what_it_is_denied_maybe_under_a_condition() -> None:
    agent = role(allow(["ssm:PutInventory", "ssm:GetParameter"]))
    assert lacks(role(allow("*"), deny("ssm:Put*")), agent) == ("ssm:PutInventory on * (denied)",)
    assert lacks(role(allow("ssm:*"), deny("ssm:*")), agent) == ("ssm:GetParameter, ssm:PutInventory on *",)
    assert lacks(role(allow("*"), deny("ssm:GetParameter", REPORTS)), agent) == (
        "ssm:GetParameter on * (in part denied)",
    )
    tested = role(allow("*"), deny("ssm:*", **MFA), deny("iam:*"))
    assert lacks(tested, agent) == (
        'ssm:GetParameter, ssm:PutInventory on * (denied if Bool aws:MultiFactorAuthPresent "true")',
    )


def test_a_deny_on_other_resources_is_no_lack() -> None:
    reader = role(allow("s3:GetObject", REPORTS))
    assert lacks(role(allow("*"), deny("s3:GetObject", "arn:aws:s3:::secrets/*")), reader) == ()


def test_no_role_loses_all() -> None:
    assert difference(role(allow("dynamodb:*"), deny("dynamodb:DeleteTable")), NOTHING) == Difference(
        (), ("dynamodb:* on * (in part denied)",)
    )


def test_actions_on_the_same_resources_are_one_phrase() -> None:
    after = role(allow("s3:PutObject", [REPORTS, "b"]), allow("s3:GetObject", REPORTS), allow("s3:GetObject", "b"))
    assert gained(NOTHING, after) == [f"s3:GetObject, s3:PutObject on {REPORTS}, b"]


def test_only_what_is_not_covered_is_told() -> None:
    before = role(allow("s3:Get*"), allow("sqs:*", "arn:aws:sqs:*:*:work-?"))
    after = role(allow(["S3:GETOBJECT", "s3:PutObject"], REPORTS), allow("sqs:SendMessage", "arn:aws:sqs:x:y:work-1"))
    assert difference(before, after) == Difference(
        (f"s3:PutObject on {REPORTS}",), ("s3:Get* on *", "sqs:* on arn:aws:sqs:*:*:work-?")
    )


def test_what_another_gain_covers_is_not_told_again() -> None:
    after = Policies((policy(allow("s3:GetObject", REPORTS)), policy(allow("*")), policy(allow("s3:*"))))
    assert gained(NOTHING, after) == ["* on *"]


def test_everything_but_some_covers_what_it_does_not_exclude() -> None:
    before = role({"Effect": "Allow", "NotAction": ["iam:*", "sts:*"], "Resource": "*"})
    assert gained(before, role(allow(["s3:*", "iam:PassRole"]), *before.documents[0]["Statement"])) == [
        "iam:PassRole on *"
    ]
    fewer = role({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"})
    assert gained(before, fewer) == ["everything but iam:* on *"]
    assert gained(fewer, role(allow("*"))) == ["* on *"]


def test_a_condition_covers_the_same_and_what_has_more_of_them() -> None:
    both = {"Condition": {**MFA["Condition"], "StringEquals": {"aws:SourceVpc": "vpc-1"}}}
    assert gained(role(allow("s3:*", **MFA)), role(allow("s3:*"))) == ["s3:* on *"]
    assert gained(role(allow("s3:*", **both)), role(allow("s3:*", **MFA))) == [
        's3:* on * (if Bool aws:MultiFactorAuthPresent "true")'
    ]
    assert difference(role(allow("s3:*")), role(allow("s3:Get*", **MFA))).gained == ()


def test_a_long_condition_is_cut() -> None:
    many = {"Condition": {"StringEquals": {"aws:SourceVpc": [f"vpc-{number}" for number in range(100)]}}}
    (phrase,) = gained(NOTHING, role(allow("s3:*", **many)))
    assert phrase.startswith('s3:* on * (if StringEquals aws:SourceVpc "vpc-0", "vpc-1"')
    assert len(phrase) < 150
    assert phrase.endswith("…)")


def test_a_deny_that_comes_or_goes_is_told() -> None:
    free, limited = role(allow("s3:*")), role(allow("s3:*"), deny("s3:DeleteObject", REPORTS))
    assert difference(free, limited) == Difference((), (f"s3:DeleteObject on {REPORTS} (now denied)",))
    assert difference(limited, free) == Difference((f"s3:DeleteObject on {REPORTS} (no longer denied)",), ())
    tested = role(allow("s3:*"), deny("s3:*", **MFA))
    assert difference(free, tested).lost == ('s3:* on * (now denied if Bool aws:MultiFactorAuthPresent "true")',)


def test_a_deny_of_what_neither_allows_makes_no_difference() -> None:
    assert difference(role(allow("s3:*")), role(allow("s3:*"), deny("iam:*"))) == Difference()


OLD = {"DateLessThan": {"aws:TokenIssueTime": "2026-11-28T10:15:00Z"}}


@pytest.mark.parametrize("more", [{}, {"StringEquals": {"aws:userid": "AROAWEB:i-0abc"}}], ids=["AWS's own", "ours"])
def test_a_deny_of_credentials_that_were_given_before_a_time_is_no_difference(more: dict[str, Any]) -> None:
    """An instance that gets the role has new ones."""
    held = role(allow("s3:*"))
    revoked = role(allow("s3:*"), deny("*", Condition={**OLD, **more}))
    assert difference(held, revoked) == difference(revoked, held) == Difference()
    assert lacks(revoked, held) == ()


def test_a_deny_by_another_time_is_one() -> None:
    until = {"DateLessThan": {"aws:CurrentTime": "2027-01-01T00:00:00Z"}}
    assert gained(role(allow("s3:*"), deny("*", Condition=until)), role(allow("s3:*"))) != []


def test_a_narrower_deny_within_the_same_is_told_as_the_wider_one_gone() -> None:
    before, after = role(allow("s3:*"), deny("s3:Delete*")), role(allow("s3:*"), deny("s3:DeleteBucket"))
    assert gained(before, after) == ["s3:Delete* on * (no longer denied)"]


def test_a_gain_that_is_denied_in_part_says_so() -> None:
    assert gained(NOTHING, role(allow("s3:*", **MFA), deny("s3:Delete*"))) == [
        's3:* on * (if Bool aws:MultiFactorAuthPresent "true"; in part denied)'
    ]


def test_a_boundary_that_goes_is_a_gain() -> None:
    assert gained(role(allow("*"), boundary=allow("s3:*", REPORTS)), role(allow("*"))) == ["* on *"]


# ---- every question of a small world ----

ACTIONS, RESOURCES, TESTS = ("a:x", "a:y", "b:x"), ("r1", "r2", "s1"), ("one", "two")
ACTION_PATTERNS = st.sampled_from(["*", "a:*", "A:X", "a:x", "?:x", "a:y", "b:*"])
RESOURCE_PATTERNS = st.sampled_from(["*", "r*", "r1", "?1", "s1", "r?"])


def names(patterns: st.SearchStrategy[str], element: str) -> st.SearchStrategy[dict[str, Any]]:
    either = st.sampled_from([element, element, f"Not{element}"])
    return st.builds(lambda name, found: {name: found}, either, patterns | st.lists(patterns, min_size=1, max_size=2))


def statement_of(effect: str) -> st.SearchStrategy[dict[str, Any]]:
    tests = st.sets(st.sampled_from(TESTS)).map(lambda keys: {"Condition": {"Bool": dict.fromkeys(keys, "true")}})
    return st.builds(
        lambda *parts: {"Effect": effect, **parts[0], **parts[1], **parts[2]},
        names(ACTION_PATTERNS, "Action"),
        names(RESOURCE_PATTERNS, "Resource"),
        st.just({}) | tests,
    )


ALLOWING, DENYING = statement_of("Allow"), statement_of("Deny")
DOCUMENTS = st.lists(ALLOWING | DENYING, max_size=3).map(lambda each: policy(*each))
POLICIES = st.builds(Policies, st.lists(DOCUMENTS, max_size=2).map(tuple), st.none() | st.none() | DOCUMENTS)


def fits(patterns: Any, text: str) -> bool:
    """Whether one of some patterns matches, actions as they are written anyhow."""
    spelt = [re.sub(r"[*?]", lambda each: {"*": ".*", "?": "."}[each[0]], pattern.lower()) for pattern in patterns]
    return any(re.fullmatch(each, text) for each in spelt)


def says(statement: dict[str, Any], action: str, resource: str, met: set[str]) -> bool:
    for element, text in (("Action", action), ("Resource", resource)):
        if element in statement and not fits(listed(statement[element]), text):
            return False
        if element not in statement and fits(listed(statement[f"Not{element}"]), text):
            return False
    return set(statement.get("Condition", {}).get("Bool", {})) <= met


def may(policies: Policies, action: str, resource: str, met: set[str]) -> bool:
    """IAM's own rule (IAM user guide, "Policy evaluation logic")."""

    def any_says(effect: str, documents: Any) -> bool:
        found = [each for document in documents for each in document["Statement"] if each["Effect"] == effect]
        return any(says(each, action, resource, met) for each in found)

    boundary = [] if policies.boundary is None else [policies.boundary]
    return (
        any_says("Allow", policies.documents)
        and (policies.boundary is None or any_says("Allow", boundary))
        and not any_says("Deny", [*policies.documents, *boundary])
    )


def tells(phrase: str, action: str, resource: str) -> bool:
    """Whether a phrase names this action on this resource."""
    found = re.fullmatch(r"(.*) on (.*?)(?: \(.*\))?", phrase)
    assert found, phrase
    return all(
        any(all(_is_in(each, text) for each in scope.split(" within ")) for scope in scopes.split(", "))
        for scopes, text in zip(found.groups(), (action, resource), strict=True)
    )


def _is_in(scope: str, text: str) -> bool:
    without = scope.removeprefix("everything but ")
    return fits([scope], text) if scope == without else not fits(without.split(" and "), text)


QUESTIONS = list(product(ACTIONS, RESOURCES, [set(), {"one"}, {"two"}, {"one", "two"}]))


@given(POLICIES, POLICIES)
def test_whatever_becomes_allowed_is_told_and_whatever_no_longer_is(before: Policies, after: Policies) -> None:
    change = difference(before, after)
    for action, resource, met in QUESTIONS:
        was, will = may(before, action, resource, met), may(after, action, resource, met)
        if will and not was:
            assert any(tells(each, action, resource) for each in change.gained)
        if was and not will:
            assert any(tells(each, action, resource) for each in change.lost)


@given(POLICIES)
def test_equal_policies_make_no_difference(policies: Policies) -> None:
    assert difference(policies, policies) == Difference()
    backwards = Policies(policies.documents[::-1], policies.boundary)
    assert difference(policies, backwards) == Difference()


@given(POLICIES, POLICIES)
def test_the_way_back_swaps_what_is_gained_and_lost(before: Policies, after: Policies) -> None:
    there, back = difference(before, after), difference(after, before)
    assert [each.replace("no longer denied", "now denied") for each in back.gained] == list(there.lost)
    assert [each.replace("now denied", "no longer denied") for each in back.lost] == list(there.gained)


@given(POLICIES, ALLOWING)
def test_allowing_more_loses_nothing(before: Policies, more: dict[str, Any]) -> None:
    assert difference(before, Policies((*before.documents, policy(more)), before.boundary)).lost == ()


@given(POLICIES, DENYING)
def test_denying_more_gains_nothing(before: Policies, more: dict[str, Any]) -> None:
    after = Policies((*before.documents, policy(more)), before.boundary)
    assert difference(before, after).gained == ()


# ---- in words ----

CHANGE = Difference(
    ("s3:GetObject, s3:PutObject on arn:aws:s3:::reports/*", "sqs:SendMessage on *"),
    ("dynamodb:* on *", "ec2:* on *", "iam:* on *"),
)


def test_the_words_say_both_halves() -> None:
    assert in_words(CHANGE, 200) == (
        "gains s3:GetObject, s3:PutObject on arn:aws:s3:::reports/*; sqs:SendMessage on *; "
        "loses dynamodb:* on *; ec2:* on *; iam:* on *"
    )
    assert in_words(Difference(CHANGE.gained), 200).startswith("gains s3:")
    assert in_words(Difference((), CHANGE.lost), 200) == "loses dynamodb:* on *; ec2:* on *; iam:* on *"
    assert in_words(Difference(), 200) == "the same permissions"


@pytest.mark.parametrize(
    ("room", "gains", "loses"),
    [
        (
            117,
            "gains s3:GetObject, s3:PutObject on arn:aws:s3:::reports/*, and 1 more",
            "loses dynamodb:* on *; ec2:* on *; iam:* on *",
        ),
        (80, "gains s3:GetObject, s3:Put…, and 1 more", "loses dynamodb:* on *, and 2 more"),
    ],
)
def test_what_there_is_no_room_for_is_counted(room: int, gains: str, loses: str) -> None:
    assert in_words(CHANGE, room) == f"{gains}; {loses}"


def test_of_several_each_phrase_is_told_once_and_of_many_the_first() -> None:
    assert Difference.of_all([CHANGE, CHANGE], 1) == Difference(CHANGE.gained[:1], CHANGE.lost[:1])


def test_what_is_not_known_is_said() -> None:
    assert in_words(Difference(unknown="IAM is tired"), 200) == "the permissions couldn't be compared: IAM is tired"


PHRASES = st.lists(st.text("abc ", min_size=1, max_size=40), max_size=6).map(tuple)


@given(st.builds(Difference, PHRASES, PHRASES, st.just("") | st.text(max_size=60)), st.integers(1, 300))
def test_the_words_keep_to_their_room(change: Difference, room: int) -> None:
    assert 0 < len(in_words(change, room)) <= room

"""Smaller policies: which services go, from which statements, and that nothing else changes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.aws.iam import Policies
from rolekeeper.permissions.comparison import difference
from rolekeeper.permissions.policies import permissions
from rolekeeper_cli.role.usage import smaller
from rolekeeper_cli.role.view import SmallerPolicyView
from support.grants import allow, deny, policy

AWS = "arn:aws:iam::aws:policy/AmazonSNSFullAccess"
OWN = "arn:aws:iam::123456789012:policy/rolekeeper/web"


def inline(*statements: Any) -> Policies:
    """A role with one inline policy."""
    return Policies((policy(*statements),), names=("it",))


def less(policies: Policies, *never: str) -> list[SmallerPolicyView]:
    return smaller("web", policies, never, editable=("it", OWN))


def left(policies: Policies, *never: str) -> Any:
    """The statements that are left of the one policy; None where it stays as it is, or goes."""
    return next((found.document and found.document["Statement"] for found in less(policies, *never)), None)


def test_a_service_goes_from_every_statement_and_the_rest_stays_word_by_word() -> None:
    odd = {**allow(["SNS:Publish", "s3:GetObject"], "arn:x"), "Sid": "Both", "Condition": {"Bool": {"a": "true"}}}
    role = inline(odd, allow("sns:*"), allow("sqs:SendMessage"), deny("sns:Delete*"))
    [found] = less(role, "sns")
    assert (found.policy, found.drops) == ("it", ["sns"])
    assert found.document == policy({**odd, "Action": ["s3:GetObject"]}, allow("sqs:SendMessage"), deny("sns:Delete*"))


@pytest.mark.parametrize(
    "stays",
    [
        {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"},
        {"Effect": "Allow", "Action": "sns:*", "NotResource": "arn:x"},
        allow("*"),
        allow("*:*"),
        allow("s*:Publish"),
        allow("?ns:Publish"),
    ],
)
def test_a_service_that_a_statement_may_still_allow_doesnt_go(stays: Any) -> None:
    assert less(inline(allow(["sns:Publish", "sqs:SendMessage"]), stays), "sns") == []


def test_and_another_service_goes_beside_it() -> None:
    role = inline(allow(["sns:Publish", "sqs:SendMessage"]), allow("sn*:Publish"))
    assert left(role, "sns", "sqs") == [allow(["sns:Publish"]), allow("sn*:Publish")]


@pytest.mark.parametrize(
    ("actions", "never", "rest"),
    [
        (["iam:PassRole", "iam:ListRoles", "s3:GetObject"], "iam", None),
        (["iam:Pass*", "s3:GetObject"], "iam", None),
        (["iam:ListRoles", "s3:GetObject"], "iam", ["s3:GetObject"]),
        (["kms:Decrypt", "s3:GetObject"], "kms", None),
    ],
    ids=["no report shows that roles are passed", "with a wildcard", "without it", "others use keys in its name"],
)
def test_what_a_report_may_not_show_isnt_dropped(actions: list[str], never: str, rest: list[str] | None) -> None:
    assert left(inline(allow(actions)), never) == (None if rest is None else [allow(rest)])


def test_an_inline_policy_of_which_nothing_is_left_is_deleted() -> None:
    [found] = less(inline(allow("sns:Publish"), allow("sqs:*")), "sns", "sqs")
    assert (found.policy, found.drops, found.document) == ("it", ["sns", "sqs"], None)
    assert found.command == "aws iam delete-role-policy --role-name web --policy-name it"


def test_denials_that_are_left_are_a_policy_too() -> None:
    assert left(inline(allow("sns:Publish"), deny("s3:*")), "sns") == [deny("s3:*")]


def test_a_policy_that_cant_be_changed_goes_whole_or_stays_as_it_is() -> None:
    whole = Policies((policy(allow("sns:*")),), names=(AWS,))
    [found] = less(whole, "sns")
    assert (found.policy, found.drops, found.document) == (AWS, ["sns"], None)
    assert found.command == f"aws iam detach-role-policy --role-name web --policy-arn {AWS}"
    part = Policies((policy(allow("sns:*"), allow("sqs:ListQueues")), policy(allow("sns:Publish"))), names=(AWS, "it"))
    assert less(part, "sns") == [], "what another policy still allows, this one needn't lose"
    assert less(Policies((policy(allow("sns:*"), deny("s3:*")),), names=(AWS,)), "sns") == []


def test_a_managed_policy_of_its_own_gets_a_new_version() -> None:
    [found] = less(Policies((policy(allow(["sns:*", "s3:*"])),), names=(OWN,)), "sns")
    assert found.command == (
        f"aws iam create-policy-version --policy-arn {OWN} --set-as-default --policy-document "
        """'{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":"*"}]}'"""
    )


SERVICES = ("s3", "sns", "sqs", "iam", "kms")
ACTIONS = [f"{service}:{verb}" for service in SERVICES for verb in ("Get", "PassRole", "*")]
STATEMENTS = st.one_of(
    st.builds(
        lambda effect, actions, resource: {"Effect": effect, "Action": actions, "Resource": resource},
        st.sampled_from(["Allow", "Allow", "Deny"]),
        st.lists(st.sampled_from([*ACTIONS, "s*:Get"]), min_size=1, max_size=4),
        st.sampled_from(["*", "arn:x"]),
    ),
    st.just({"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}),
)
DOCUMENTS = st.lists(st.lists(STATEMENTS, min_size=1, max_size=3), min_size=1, max_size=3)


@given(DOCUMENTS, st.sets(st.sampled_from(SERVICES)), st.sets(st.sampled_from(["p0", "p1", "p2"])))
def test_nothing_is_gained_and_only_what_goes_is_lost(
    documents: list[list[Any]], never: set[str], editable: set[str]
) -> None:
    names = tuple(f"p{number}" for number in range(len(documents)))
    before = Policies(tuple(policy(*each) for each in documents), names=names)
    edits = {each.policy: each for each in smaller("web", before, never, editable=editable)}
    after = [
        edits[name].document if name in edits else each for name, each in zip(names, before.documents, strict=True)
    ]
    assert all(edits[name].document is None for name in edits if name not in editable)
    change = difference(permissions(before), permissions(Policies(tuple(each for each in after if each))))
    drops = {service for each in edits.values() for service in each.drops}
    assert drops <= never - {"kms"}
    assert change.gained == ()
    lost = {action.partition(":")[0] for phrase in change.lost for action in phrase.partition(" on ")[0].split(", ")}
    assert lost <= drops

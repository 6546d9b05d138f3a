"""A broad role, or one without the boundary that the stack requires: refused, suspended, or held for approval."""

import json

import pytest

from fixtures.account import ACCOUNT
from fixtures.mappings import Desk
from rolekeeper.mappings.verdict import Status
from support.grants import allow, policy

TAG = "workload=web"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/limits/web"

pytestmark = pytest.mark.desk(roles=["web", "admin"], grants={"web": "s3:GetObject", "admin": "*"})


def lets_broad(desk: Desk) -> None:
    desk.world.allow_broad_roles = True


# ---- refused ----


@pytest.mark.parametrize(
    ("row", "stack", "remedy"),
    [
        (False, False, "narrow it, or set allow_broad: true and deploy with AllowBroadRoles=true"),
        (True, False, "narrow it, or deploy with AllowBroadRoles=true"),
        (False, True, "narrow it, or set allow_broad: true"),
    ],
)
def test_an_administrator_is_refused_and_it_is_said_which_word_is_missing(
    desk: Desk, remedy: str, *, row: bool, stack: bool
) -> None:
    desk.world.allow_broad_roles = stack
    desk.edit(TAG, role="admin", allow_broad=row)
    reason = f"role 'admin' is broad: its policies allow administrator access (*) on *; {remedy}"
    assert desk.shows(TAG) == ("Rejected", reason, 0)
    assert desk.served(TAG) is None
    assert desk.world.events.kinds == ["Mapping Rejected"]
    assert len(desk.world.topic.mails) == 1


def test_with_both_words_it_waits_for_a_second_person_and_is_given(desk: Desk) -> None:
    lets_broad(desk)
    assert desk.edit(TAG, role="admin", allow_broad=True).status is Status.HELD
    assert desk.approve(TAG, 1).status is Status.PUBLISHED
    assert desk.converged("admin", workload="web")


def test_a_role_that_others_may_assume_is_refused(desk: Desk) -> None:
    principal = {"Service": ["ec2.amazonaws.com", "lambda.amazonaws.com"], "AWS": "*"}
    desk.retrust("web", policy({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}))
    desk.edit(TAG, role="web")
    status, reason, _ = desk.shows(TAG)
    assert status == "Rejected"
    assert "is broad: its trust policy also lets in Service lambda.amazonaws.com; AWS *; narrow it" in reason


def test_policies_that_cannot_be_judged_are_never_passed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolekeeper.permissions.policies.MOST_RULES", 0)
    desk.edit(TAG, role="web")
    status, reason, _ = desk.shows(TAG)
    assert status == "Rejected"
    assert "its policies can't be checked: a role's policies hold more than 0 different" in reason


def test_much_that_is_broad_leaves_room_for_what_to_do(desk: Desk) -> None:
    many = [allow("iam:PutRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/{at}" + "x" * 60) for at in range(50)]
    desk.iam.put_role_policy(RoleName="web", PolicyName="many", PolicyDocument=json.dumps(policy(*many)))
    desk.edit(TAG, role="web")
    assert desk.shows(TAG)[1].endswith("and deploy with AllowBroadRoles=true")


# ---- a role that became broad ----


def test_a_role_that_became_broad_is_suspended_reported_and_taken_from_nobody(desk: Desk) -> None:
    desk.edit(TAG, role="web")
    carrier = desk.converged("web", workload="web")
    desk.quiet()
    desk.grant("web", "iam:*")
    desk.recheck(TAG)
    reason = desk.shows(TAG)[1]
    assert "role 'web' is broad: its policies allow IAM writes on *" in reason
    assert reason.endswith("(revision 1 is suspended: its instances stay as they are)")
    assert desk.world.events.kinds == ["Mapping Suspended", "Mapping Rejected"]
    assert desk.world.topic.mails[0][0] == "Rolekeeper: Mapping Suspended: workload=web"
    later = desk.world.running(workload="web")
    desk.world.reconcile(carrier, later)
    assert (desk.world.carries(carrier), desk.world.carries(later)) == ("web", "")
    assert desk.world.shows(later) == "suspended"

    desk.grant("web", "s3:GetObject")
    desk.recheck(TAG)
    assert desk.shows(TAG)[0] == "Published"
    desk.world.reconcile(later)
    assert desk.world.carries(later) == "web"


# ---- the boundary ----


@pytest.mark.parametrize(
    "required", [BOUNDARY, "arn:aws:iam::*:policy/limits/*", f"arn:aws:iam::{ACCOUNT}:policy/limits/w?b"]
)
def test_a_role_has_to_have_the_boundary_that_the_stack_requires(desk: Desk, required: str) -> None:
    desk.world.boundary = required
    desk.edit(TAG, role="web")
    status, reason, _ = desk.shows(TAG)
    assert status == "Rejected"
    assert reason == (
        f"role 'web' has none as its permissions boundary, and the stack requires {required}; set it: aws iam "
        f"put-role-permissions-boundary --role-name web --permissions-boundary {required}"
    )
    bound(desk, BOUNDARY)
    desk.publish(TAG)
    assert desk.shows(TAG)[0] == "Published"


@pytest.mark.parametrize("required", ["*", BOUNDARY[:-1], "arn:aws:iam::*:policy/web"])
def test_another_boundary_or_none_wont_do(desk: Desk, required: str) -> None:
    desk.world.boundary = required
    if required != "*":
        bound(desk, BOUNDARY)
    desk.edit(TAG, role="web")
    assert desk.shows(TAG)[0] == "Rejected"


def bound(desk: Desk, arn: str) -> None:
    _, _, path_and_name = arn.partition(":policy")
    path, _, name = path_and_name.rpartition("/")
    desk.iam.create_policy(PolicyName=name, Path=f"{path}/", PolicyDocument=json.dumps(policy(allow("*"))))
    desk.iam.put_role_permissions_boundary(RoleName="web", PermissionsBoundary=arn)


# ---- held for its severity ----


def test_one_instance_that_would_gain_is_enough(desk: Desk) -> None:
    lets_broad(desk)
    desk.edit(TAG, role="web", allow_broad=True)
    desk.converged("web", workload="web")
    desk.quiet()
    desk.world.profile("admin")
    assert desk.edit(TAG, role="admin", allow_broad=True).status is Status.HELD
    reason = desk.shows(TAG)[1]
    assert reason.startswith(
        "it would give severe permissions: administrator access (*) on *; it would replace 1 "
        "instance; gains * on *; to approve it: rolekeeper mapping approve"
    )
    [event] = desk.world.events.named("Mapping Held")
    assert event["effect"] == {
        "attach": 0,
        "replace": 1,
        "detach": 0,
        "gained": ["* on *"],
        "lost": [],
        "severe": ["administrator access (*) on *"],
    }
    [(_, mail)] = desk.world.topic.mails
    assert "Permissions that instances would gain: * on *\nPermissions that they would lose: none\n" in mail
    desk.approve(TAG, 2)
    [event] = desk.world.events.named("Mapping Published")
    assert event["effect"]["gained"] == ["* on *"]


def test_consent_to_a_role_that_grew_broad_waits_too(desk: Desk) -> None:
    """No instance matches, and the role is the one that is published: but nobody approved it as it is now."""
    desk.edit(TAG, role="web")
    desk.grant("web", "iam:*")
    lets_broad(desk)
    assert desk.edit(TAG, role="web", allow_broad=True).status is Status.HELD

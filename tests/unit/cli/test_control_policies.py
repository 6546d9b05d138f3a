"""What IAM would answer under the SCPs of `rolekeeper guard`; and that nothing in them is idle.

Each is weakened in every way, by leaving out one thing of it: a case has to notice.
"""

import json
from collections.abc import Iterable
from functools import partial

import pytest

from rolekeeper_cli.uses import guard
from support.policy_cases import ARNS, STRANGER, Case, Story, ask, may, may_not
from support.policy_simulation import ACCOUNT, REGION, Request, needs_node

pytestmark = needs_node

ADMIN, TAGGER = f"arn:aws:iam::{ACCOUNT}:role/admin", f"arn:aws:iam::{ACCOUNT}:role/ops/tagger-1"
EXCEPTED = [ADMIN, f"arn:aws:iam::{ACCOUNT}:role/ops/tagger-*"]

# ---- the mapped tags ----

KEYS = ["environment", "rolekeeper:ignore", "workload"]
INSTANCE, GROUP = (
    f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-1",
    f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:u:autoScalingGroupName/web",
)


def tagging(action: str, *keys: str, who: str = STRANGER, on: str = INSTANCE, **context: str) -> Request:
    return ask(action, on, who, {"aws:TagKeys": keys, **context} if keys else context)


def tag_cases() -> Iterable[Case]:
    create, delete, run = "ec2:CreateTags", "ec2:DeleteTags", "ec2:RunInstances"
    for key in KEYS:
        yield may_not(f"a stranger sets {key}", tagging(create, key, "Name"))
        yield may_not(f"a stranger removes {key}", tagging(delete, key))
        yield may_not(f"a stranger launches with {key}", tagging(run, key))
    yield may_not("a stranger removes all tags", tagging(delete))
    yield may("a stranger sets another tag", tagging(create, "Name", "team"))
    yield may("a stranger sets a tag of another case", tagging(create, "Workload"))
    yield may("a stranger removes another tag", tagging(delete, "Name"))
    yield may("a stranger launches without tags", tagging(run))
    yield may("a stranger launches with another tag", tagging(run, "Name"))
    by_launch = {"ec2:CreateAction": "RunInstances"}
    yield may_not("a launch of a stranger sets workload", tagging(create, "workload", **by_launch))
    yield may("a launch of a stranger sets another tag", tagging(create, "Name", **by_launch))
    yield may_not("a fleet of a stranger sets workload", tagging("ec2:CreateFleet", "workload"))
    volume, elsewhere = INSTANCE.replace("instance/i", "volume/vol"), INSTANCE.replace(REGION, "eu-west-1")
    yield may("a stranger tags a volume", tagging(create, "workload", on=volume))
    yield may("a stranger tags an instance in another Region", tagging(create, "workload", on=elsewhere))
    for action in ("CreateOrUpdateTags", "DeleteTags", "CreateAutoScalingGroup"):
        on_group = partial(tagging, f"autoscaling:{action}", on=GROUP)
        yield may_not(f"a stranger gives a group workload: {action}", on_group("workload"))
        yield may(f"a stranger gives a group another tag: {action}", on_group("Name"))
    yield may("a stranger makes a group", tagging("autoscaling:CreateAutoScalingGroup", on=GROUP))
    for who in (ADMIN, TAGGER):
        yield may(f"{who} sets workload", tagging(create, "workload", who=who))
        yield may(f"{who} removes all tags", tagging(delete, who=who))
    session = {"aws:PrincipalArn": TAGGER}
    assumed = f"arn:aws:sts::{ACCOUNT}:assumed-role/tagger-1/me"
    yield may("a session sets workload", tagging(create, "workload", who=assumed, **session))
    for who in (f"{ADMIN}-2", f"arn:aws:iam::{ACCOUNT}:role/tagger-1", f"arn:aws:iam::{ACCOUNT}:user/admin"):
        yield may_not(f"{who} sets workload", tagging(create, "workload", who=who))


# ---- the role path ----

MAKERS = ["rolekeeper-OnMappingChangeRole-1", "rolekeeper-OnScheduleRole-1"]
PROFILE_ACTIONS = [
    f"iam:{name}InstanceProfile" for name in ("Create", "Delete", "AddRoleTo", "RemoveRoleFrom")
]  # fmt: skip
ROLE_ACTIONS = [
    f"iam:{name}"
    for name in (
        *("CreateRole", "DeleteRole", "UpdateRole", "UpdateAssumeRolePolicy", "TagRole", "UntagRole"),
        *("PutRolePolicy", "DeleteRolePolicy", "AttachRolePolicy", "DetachRolePolicy"),
        *("PutRolePermissionsBoundary", "DeleteRolePermissionsBoundary"),
    )
]
POLICY_ACTIONS = [
    f"iam:{name}"
    for name in (
        "CreatePolicy",
        "DeletePolicy",
        "CreatePolicyVersion",
        "DeletePolicyVersion",
        "SetDefaultPolicyVersion",
    )
]


def path_cases() -> Iterable[Case]:
    kinds = {"instance-profile": PROFILE_ACTIONS, "role": ROLE_ACTIONS, "policy": POLICY_ACTIONS}
    for kind, actions in kinds.items():
        for action in actions:
            under, beside = (f"arn:aws:iam::{ACCOUNT}:{kind}/{path}/web" for path in ("rolekeeper", "rolekeeper-2"))
            yield may_not(f"a stranger: {action}", ask(action, under))
            yield may(f"a stranger beside the path: {action}", ask(action, beside))
            for who in (ADMIN, TAGGER):
                yield may(f"{who}: {action}", ask(action, under, who))
    profile, role = (f"arn:aws:iam::{ACCOUNT}:{kind}/rolekeeper/web" for kind in ("instance-profile", "role"))
    for name in MAKERS:
        function = f"arn:aws:iam::{ACCOUNT}:role/{name}"
        for action in PROFILE_ACTIONS:
            makes = action in {"iam:CreateInstanceProfile", "iam:AddRoleToInstanceProfile"}
            yield Case(f"{name}: {action}", ask(action, profile, function), allowed=makes)
        yield may_not(f"{name} changes a role", ask("iam:PutRolePolicy", role, function))
    other = f"arn:aws:iam::{ACCOUNT}:role/rolekeeper-OnInstanceEventRole-1"
    yield may_not("a function that makes no profiles", ask("iam:AddRoleToInstanceProfile", profile, other))
    for action in ("iam:GetRole", "iam:PassRole"):
        yield may(f"a stranger: {action}", ask(action, role))


# ---- both ----

[TAGS] = guard.tag_policies(ARNS, KEYS, EXCEPTED)
STORIES = {
    "tags": Story(TAGS, [*tag_cases()], scp=True),
    "path": Story(guard.path_policy(ARNS, MAKERS, EXCEPTED), [*path_cases()], scp=True),
}


@pytest.mark.parametrize("name", STORIES)
def test_each_may_do_what_is_meant_and_no_more(name: str) -> None:
    assert STORIES[name].wrong() == []


@pytest.mark.parametrize("name", STORIES)
def test_nothing_can_be_left_out_unnoticed(name: str) -> None:
    assert STORIES[name].unnoticed() == []


@pytest.mark.parametrize(
    ("name", "before", "after", "noticed_by"),
    [
        ("tags", '"ForAnyValue:', '"ForAllValues:', "a stranger sets workload"),
        ("tags", '"aws:TagKeys": "true"', '"aws:TagKeys": "false"', "a stranger removes all tags"),
        ("tags", '"workload"', '"Workload"', "a stranger launches with workload"),
        ("tags", "ops/tagger-*", "*", f"{ADMIN}-2 sets workload"),
        ("path", "role/rolekeeper/*", "role/rolekeeper/x*", "a stranger: iam:UpdateAssumeRolePolicy"),
        ("path", "/rolekeeper/*", "/rolekeeper*", "a stranger beside the path: iam:CreateRole"),
    ],
)
def test_what_is_weakened_is_noticed(name: str, before: str, after: str, noticed_by: str) -> None:
    assert STORIES[name].notices(before, after, noticed_by)


def test_a_key_that_no_policy_can_hold_is_covered_by_a_pattern() -> None:
    odd = ["caf\u00e9", "\u90e8\u7f72", "a${b}", "x*y"]
    [document] = guard.tag_policies(ARNS, odd, EXCEPTED)
    assert all(" " <= character <= "\u00ff" for character in json.dumps(document, ensure_ascii=False))
    cases = [may_not(key, tagging("ec2:CreateTags", key)) for key in odd]
    cases += [may(key, tagging("ec2:CreateTags", key)) for key in ("cafe", "a-b", "x--y")]
    assert Story(document, cases, scp=True).wrong() == []

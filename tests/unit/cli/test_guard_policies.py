"""What IAM would answer where the documents of `rolekeeper guard` are attached; and that nothing in them is idle.

Each document is weakened in every way, by leaving out one thing of it: each has to be noticed by a case.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from rolekeeper.mappings.rows.columns import OURS
from rolekeeper_cli.policies import control, mapping_table
from rolekeeper_cli.policies.deployed import Arns
from support.policy_mutants import mutants
from support.policy_simulation import ACCOUNT, FULL_ACCESS, REGION, Document, Policies, Request, needs_node, simulate

pytestmark = needs_node

ARNS = Arns("aws", ACCOUNT, REGION, "/rolekeeper/", "rolekeeper", "mappings", "state")
STRANGER = f"arn:aws:iam::{ACCOUNT}:role/stranger"
ADMIN, TAGGER = f"arn:aws:iam::{ACCOUNT}:role/admin", f"arn:aws:iam::{ACCOUNT}:role/ops/tagger-1"
EXCEPTED = [ADMIN, f"arn:aws:iam::{ACCOUNT}:role/ops/tagger-*"]


type Context = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Case:
    """What somebody asks, and whether they may. `more` is what they carry beside the document."""

    says: str
    request: Request
    allowed: bool
    more: Sequence[Document] = ()


@dataclass(frozen=True, slots=True)
class Story:
    """A document with all its cases. `scp` says whether it is one, or a policy of those who ask."""

    document: dict[str, Any]
    cases: Sequence[Case]
    scp: bool = False

    def policies(self, document: Document, case: Case) -> Policies:
        return (
            Policies(identity=[FULL_ACCESS], scps=[document]) if self.scp else Policies(identity=[document, *case.more])
        )


def may(says: str, request: Request) -> Case:
    return Case(says, request, allowed=True)


def may_not(says: str, request: Request) -> Case:
    return Case(says, request, allowed=False)


def ask(action: str, resource: str, who: str = STRANGER, context: Context | None = None) -> Request:
    return Request(principal=who, action=action, resource=resource, context=context or {})


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


# ---- the mapping table ----

TABLE, STATE, OTHER = (f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}" for name in ("mappings", "state", "other"))
STACK = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/rolekeeper/1"
WRITES = ["PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "PartiQLInsert", "PartiQLUpdate", "PartiQLDelete"]
EVERYTHING = [FULL_ACCESS]


def item(action: str, *columns: str, on: str = TABLE, key: str = "workload", **context: str) -> Request:
    """A request on a row; DynamoDB names the keys among its attributes."""
    named = {"dynamodb:Attributes": ["tag_key", "tag_value", *columns], "dynamodb:LeadingKeys": [key]}
    return ask(f"dynamodb:{action}", on, context={**named, **context})


def whatever_else(cases: Iterable[Case]) -> Iterable[Case]:
    """The same where the person may do everything by another policy."""
    for case in cases:
        yield case
        yield replace(case, says=f"{case.says}, who is allowed everything", more=EVERYTHING)


def both_cases() -> Iterable[Case]:
    for action in ("GetItem", "BatchGetItem", "Query", "Scan"):
        yield may(f"{action} of rows", ask(f"dynamodb:{action}", TABLE))
    for action in ("BatchGetItem", "Query"):
        yield may(f"{action} of history", ask(f"dynamodb:{action}", STATE))
    yield may("finds the tables", ask("cloudformation:DescribeStacks", STACK))
    yield may_not("another stack", ask("cloudformation:DescribeStacks", STACK.replace("rolekeeper", "rolekeeper-2")))
    yield may_not("rows of another table", item("UpdateItem", on=OTHER))
    yield may_not("an update that names no attribute", ask("dynamodb:UpdateItem", TABLE))
    yield from whatever_else(may_not(f"{each} to the state table", item(each, on=STATE)) for each in WRITES)
    for each in ("BatchWriteItem", "PartiQLInsert", "PartiQLUpdate", "PartiQLDelete"):
        yield from whatever_else([may_not(each, item(each))])
    for column in (*OURS, "unknown"):
        yield from whatever_else([may_not(f"writes {column}", item("UpdateItem", column))])
    in_transaction = {"dynamodb:EnclosingOperation": "TransactWriteItems"}
    yield from whatever_else([may_not("status in a transaction", item("UpdateItem", "status", **in_transaction))])


def editor_cases() -> Iterable[Case]:
    yield from both_cases()
    edited = [each for each in mapping_table.EDITORS_COLUMNS if each not in {"tag_key", "tag_value"}]
    for column in edited:
        yield from whatever_else([may(f"edits {column}", item("UpdateItem", column))])
    yield from whatever_else([may("puts a row", item("PutItem", *edited))])
    yield from whatever_else([may("deletes a row", item("DeleteItem"))])
    for action in ("PutItem", "UpdateItem"):
        approves = [may_not(f"approves: {action}", item(action, "role", "approve"))]
        yield from whatever_else(approves)
        yield from whatever_else([may_not(f"hand-written status: {action}", item(action, "role", "status"))])
    for answer, allowed in {"NONE": True, "UPDATED_OLD": True, "UPDATED_NEW": True, "ALL_OLD": False}.items():
        answers = item("UpdateItem", "role", **{"dynamodb:ReturnValues": answer})
        yield Case(f"an update answers {answer}", answers, allowed=allowed)


def approver_cases() -> Iterable[Case]:
    yield from both_cases()
    yield from whatever_else([may("approves", item("UpdateItem", "approve", "edited_by"))])
    yield from whatever_else([may("approves without a name", item("UpdateItem", "approve"))])
    for column in ("role", "priority", "owner"):
        yield from whatever_else([may_not(f"edits {column}", item("UpdateItem", "approve", column))])
    yield from whatever_else([may_not("puts an approval", item("PutItem", "approve"))])
    yield from whatever_else([may_not("deletes a row", item("DeleteItem"))])
    for answer, allowed in {"NONE": True, "UPDATED_OLD": True, "UPDATED_NEW": True, "ALL_NEW": False}.items():
        answers = item("UpdateItem", "approve", **{"dynamodb:ReturnValues": answer})
        yield Case(f"an update answers {answer}", answers, allowed=allowed)


def narrow_cases() -> Iterable[Case]:
    """An editor of the rows of two tag keys."""
    for key, allowed in {"workload": True, "team": True, "quarantine": False}.items():
        yield Case(f"edits {key}", item("UpdateItem", "role", key=key), allowed=allowed)
        yield Case(f"puts {key}", item("PutItem", "role", key=key), allowed=allowed)
        yield Case(f"deletes {key}", item("DeleteItem", key=key), allowed=allowed)
    for key in ("dynamodb:Attributes", "dynamodb:LeadingKeys"):
        only = ask("dynamodb:UpdateItem", TABLE, context={key: ["role" if key.endswith("Attributes") else "workload"]})
        yield may_not(f"an update with nothing but {key}", only)
    yield may_not("a deletion of no key", ask("dynamodb:DeleteItem", TABLE))
    yield from editor_cases()
    yield may("reads every row", ask("dynamodb:Scan", TABLE))


EDITORS, APPROVERS = mapping_table.editors_policy(ARNS), mapping_table.approvers_policy(ARNS)
[TAGS] = control.tag_policies(ARNS, KEYS, EXCEPTED)
STORIES = {
    "scp-tags": Story(TAGS, [*tag_cases()], scp=True),
    "scp-path": Story(control.path_policy(ARNS, MAKERS, EXCEPTED), [*path_cases()], scp=True),
    "editors": Story(EDITORS, [*editor_cases()]),
    "approvers": Story(APPROVERS, [*approver_cases()]),
    "editors of two tag keys": Story(mapping_table.editors_policy(ARNS, ["workload", "team"]), [*narrow_cases()]),
}


def wrong(story: Story, document: Document, cases: Sequence[Case]) -> list[str]:
    """The cases that a document answers otherwise than it should."""
    answers = simulate([(case.request, story.policies(document, case)) for case in cases])
    return [case.says for case, answer in zip(cases, answers, strict=True) if answer.allowed != case.allowed]


@pytest.mark.parametrize("name", STORIES)
def test_each_may_do_what_is_meant_and_no_more(name: str) -> None:
    story = STORIES[name]
    assert wrong(story, story.document, story.cases) == []


def test_a_person_with_both_policies_can_neither_edit_nor_approve() -> None:
    both = Policies(identity=[EDITORS, APPROVERS, FULL_ACCESS])
    asked = [item("UpdateItem", "role"), item("PutItem", "role"), item("DeleteItem"), item("UpdateItem", "approve")]
    reads = item("Query")
    assert [answer.allowed for answer in simulate([(each, both) for each in (*asked, reads)])] == [*[False] * 4, True]


# ---- weaker documents ----


def weaker(story: Story) -> Iterable[tuple[str, Document, Sequence[Case]]]:
    """The document without one thing, in every way, with the cases that may notice.

    What allows is looked at without what denies: each has to hold alone, as DynamoDB may one day know a way of writing
    that no Deny here names.
    """
    allows = [each for each in story.document["Statement"] if each["Effect"] == "Allow"]
    denies = [each for each in story.document["Statement"] if each["Effect"] == "Deny"]
    alone = [case for case in story.cases if not case.more]
    for statements, others, cases in ((allows, [], alone), (denies, allows, story.cases)):
        for said, touched, document in mutants({**story.document, "Statement": statements}):
            may_notice = [case for case in cases if case.request.action in touched]
            yield said, {**document, "Statement": [*others, *document["Statement"]]}, may_notice


# The narrow one has all that the other editors' has.
@pytest.mark.parametrize("name", [name for name in STORIES if name != "editors"])
def test_nothing_can_be_left_out_unnoticed(name: str) -> None:
    story = STORIES[name]
    asked = [(said, document, case) for said, document, cases in weaker(story) for case in cases]
    answers = simulate([(case.request, story.policies(document, case)) for _, document, case in asked])
    noticed = {said for (said, _, case), answer in zip(asked, answers, strict=True) if answer.allowed != case.allowed}
    assert [said for said, *_ in weaker(story) if said not in noticed] == []


@pytest.mark.parametrize(
    ("name", "before", "after", "noticed_by"),
    [
        ("scp-tags", '"ForAnyValue:', '"ForAllValues:', "a stranger sets workload"),
        ("scp-tags", '"aws:TagKeys": "true"', '"aws:TagKeys": "false"', "a stranger removes all tags"),
        ("scp-tags", '"workload"', '"Workload"', "a stranger launches with workload"),
        ("scp-tags", "ops/tagger-*", "*", f"{ADMIN}-2 sets workload"),
        ("scp-path", "role/rolekeeper/*", "role/rolekeeper/x*", "a stranger: iam:UpdateAssumeRolePolicy"),
        ("scp-path", "/rolekeeper/*", "/rolekeeper*", "a stranger beside the path: iam:CreateRole"),
        ("editors", '"description"', '"description", "status"', "hand-written status: PutItem"),
        ("editors", '"description"', '"description", "held_revision"', "writes held_revision"),
        ("editors", '"description"', '"description", "approve"', "approves: UpdateItem, who is allowed everything"),
        ("approvers", '"approve"', '"approve", "role"', "edits role"),
        ("approvers", '"approve"', '"approve", "held_revision"', "writes held_revision"),
        ("editors of two tag keys", '"team"', '"team", "quarantine"', "deletes quarantine"),
    ],
)  # fmt: skip
def test_what_is_widened_is_noticed(name: str, before: str, after: str, noticed_by: str) -> None:
    story, written = STORIES[name], json.dumps(STORIES[name].document)
    assert before in written
    [case] = [each for each in story.cases if each.says == noticed_by]
    assert wrong(story, json.loads(written.replace(before, after)), [case]) == [noticed_by]


# ---- odd tag keys ----


def test_a_key_that_no_policy_can_hold_is_covered_by_a_pattern() -> None:
    odd = ["caf\u00e9", "\u90e8\u7f72", "a${b}", "x*y"]
    [document] = control.tag_policies(ARNS, odd, EXCEPTED)
    assert json.dumps(document, ensure_ascii=False).isprintable()
    assert all(character <= "\u00ff" for character in json.dumps(document, ensure_ascii=False))
    story = Story(document, [], scp=True)
    cases = [may_not(key, tagging("ec2:CreateTags", key)) for key in odd]
    cases += [may(key, tagging("ec2:CreateTags", key)) for key in ("cafe", "a-b", "x--y")]
    assert wrong(story, document, cases) == []

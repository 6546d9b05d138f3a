"""Who may do what under the policies and the SCPs of `rolekeeper guard`, as tables of requests that IAM answers.

A line of a table says who may, or may not, call which actions on what; `given` are the values of condition keys.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from fixtures.mappings import Desk
from fixtures.terminal import USER_ID, Terminal
from rolekeeper.settings import Limits
from rolekeeper_cli.guard import use as guard
from rolekeeper_cli.guard.use import Arns
from rolekeeper_cli.instance.revoked_policy import Entry
from spec.permitted import KEYS, Case, Value, may, may_not
from support.policy_simulation import ACCOUNT, FULL_ACCESS, REGION, Document, Policies, Request, needs_node, simulate

pytestmark = needs_node

ARNS = Arns("aws", ACCOUNT, REGION, "/rolekeeper/", "rolekeeper", "mappings", "state")
IAM = f"arn:aws:iam::{ACCOUNT}"
TABLE, STATE = ARNS.table("mappings"), ARNS.table("state")

# Who asks. An SCP binds whoever is allowed everything; a policy's own person is tried with nothing else, and with
# everything else.
PERSON, POWERFUL = EITHER = ("a person", "a person who is allowed everything else")
STRANGER, ADMIN, TAGGER = "a stranger", "the administrator", "a tagger"
EXCEPTED = [f"{IAM}:role/admin", f"{IAM}:role/ops/tagger-*"]
ALMOST_EXCEPTED = (f"{IAM}:role/admin-2", f"{IAM}:role/tagger-1", f"{IAM}:user/admin")
TAGGERS_SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/tagger-1/me"
MAKERS = ("OnMappingChangeRole", "OnScheduleRole")
PRINCIPALS = {
    **dict.fromkeys((*EITHER, STRANGER), f"{IAM}:role/stranger"),
    ADMIN: f"{IAM}:role/admin",
    TAGGER: f"{IAM}:role/ops/tagger-1",
    **{name: f"{IAM}:role/rolekeeper-{name}-1" for name in (*MAKERS, "OnInstanceEventRole")},
}
# On what. Of a row and of an approval DynamoDB tells IAM the keys, of the tables nothing.
INSTANCE, GROUP = "an instance", "an Auto Scaling group"
UNDER, BESIDE = "under the path", "beside the path"
PLACES = {
    **dict.fromkeys(("a row", "the mapping table"), TABLE),
    **dict.fromkeys(("an approval", "the state table"), STATE),
    "a row of another table": ARNS.table("other"),
    "an item of the state table": STATE,
    "the stack": ARNS.here("cloudformation", "stack/rolekeeper/1"),
    "another stack": ARNS.here("cloudformation", "stack/rolekeeper-2/1"),
    "everything": "*",
    INSTANCE: ARNS.here("ec2", "instance/i-1"),
    "an instance of another Region": ARNS.here("ec2", "instance/i-1").replace(REGION, "eu-west-1"),
    "a volume": ARNS.here("ec2", "volume/vol-1"),
    GROUP: ARNS.here("autoscaling", "autoScalingGroup:u:autoScalingGroupName/web"),
    **{
        f"a {kind} {where}": f"{IAM}:{kind}/{path}web"
        for kind in ("instance-profile", "role", "policy")
        for where, path in ((UNDER, "rolekeeper/"), (BESIDE, "rolekeeper-2/"))
    },
}

# ---- people who edit rows, and people who approve ----

ME, OTHERS = "AROAPEOPLE:grace", "AROAPEOPLE:ada"
MINE = f"approval#{ME}#workload"
NOT_MINE = (f"approval#{OTHERS}#workload", "approval#", "approval#*", f"approval#{ME}", f"approval#{ME}2#workload")
# Rolekeeper's own columns (docs/mappings.md), and one that nobody has.
OURS: list[Value] = [
    "status",
    "status_reason",
    "status_revision",
    "matched",
    "occupied",
    "held_revision",
    "judging",
    "unknown",
]
EDITED = [name for name in guard.EDITORS_COLUMNS if name not in {"tag_key", "tag_value"}]
ONE, SEVERAL = (
    "dynamodb:UpdateItem dynamodb:DeleteItem",
    "dynamodb:BatchWriteItem dynamodb:PartiQLInsert dynamodb:PartiQLUpdate dynamodb:PartiQLDelete",
)
PUT, UPDATE, DELETE = "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"

EDITORS_AND_APPROVERS = [
    *may(PERSON, "dynamodb:GetItem dynamodb:BatchGetItem dynamodb:Query dynamodb:Scan", "the mapping table"),
    *may(PERSON, "dynamodb:GetItem dynamodb:BatchGetItem dynamodb:Query", "the state table"),
    *may(PERSON, "cloudformation:DescribeStacks", "the stack"),
    *may_not(PERSON, "cloudformation:DescribeStacks", "another stack"),
    *may_not(PERSON, UPDATE, "a row of another table"),
    *may_not(PERSON, UPDATE, "the mapping table"),
    *may_not(EITHER, SEVERAL, "a row"),
    *may_not(EITHER, UPDATE, "a row", attributes=OURS),
    *may_not(EITHER, UPDATE, "a row", attributes="status", within="TransactWriteItems"),
    *may_not(EITHER, f"{PUT} {ONE} {SEVERAL}", "an item of the state table", attributes="role"),
    *may_not(EITHER, f"{ONE} {SEVERAL}", "an approval", item=MINE),
    *may_not(EITHER, PUT, "an approval", item=[*NOT_MINE, (MINE, NOT_MINE[0]), "control", "mapping#3:app#web"]),
]
EDITORS = [
    *EDITORS_AND_APPROVERS,
    *may(EITHER, UPDATE, "a row", attributes=[*EDITED]),
    *may(EITHER, PUT, "a row", attributes=tuple(EDITED)),
    *may(EITHER, DELETE, "a row"),
    *may_not(EITHER, f"{PUT} {UPDATE}", "a row", attributes=("role", "status")),
    *may_not(EITHER, PUT, "an approval", item=MINE),
    # ALL_OLD would show columns that the request doesn't name.
    *may(PERSON, UPDATE, "a row", attributes="role", answers=["NONE", "UPDATED_OLD", "UPDATED_NEW"]),
    *may_not(PERSON, UPDATE, "a row", attributes="role", answers="ALL_OLD"),
]
EDITORS_OF_TWO_KEYS = [
    *EDITORS,
    *may(PERSON, f"{PUT} {UPDATE}", "a row", attributes="role", item=["workload", "team"]),
    *may(PERSON, DELETE, "a row", item=["workload", "team"]),
    *may_not(PERSON, f"{PUT} {UPDATE}", "a row", attributes="role", item="quarantine"),
    *may_not(PERSON, DELETE, "a row", item="quarantine"),
    *may_not(PERSON, UPDATE, "the mapping table", attributes="role"),
    *may_not(PERSON, UPDATE, "the mapping table", item="workload"),
    *may_not(PERSON, DELETE, "the mapping table"),
]
APPROVERS = [
    *EDITORS_AND_APPROVERS,
    *may(EITHER, PUT, "an approval", item=MINE),
    *may(EITHER, PUT, "an approval", item=f"approval#{ACCOUNT}#workload", me=ACCOUNT),  # the account's root
    *may_not(PERSON, PUT, "the state table"),
    *may_not(EITHER, f"{PUT} {ONE}", "a row", attributes="role"),
]
# One of the keys reads like a pattern.
APPROVERS_OF_TWO_KEYS = [
    *APPROVERS,
    *may(EITHER, PUT, "an approval", item=f"approval#{ME}#team*"),
    *may_not(EITHER, PUT, "an approval", item=[f"approval#{ME}#teams", f"approval#{ME}#quarantine"]),
]
BOTH_POLICIES = [
    *may(PERSON, "dynamodb:Query", "the mapping table"),
    *may_not(POWERFUL, f"{PUT} {ONE}", "a row", attributes="role"),
    *may_not(POWERFUL, PUT, "an approval", item=MINE),
]

# ---- the mapped tags ----

MAPPED = ["environment", "rolekeeper:ignore", "workload"]
TAG, UNTAG, RUN = "ec2:CreateTags", "ec2:DeleteTags", "ec2:RunInstances"
TAG_GROUP = "autoscaling:CreateOrUpdateTags autoscaling:DeleteTags autoscaling:CreateAutoScalingGroup"
TAGS = [
    *may_not(STRANGER, f"{TAG} {UNTAG} {RUN} ec2:CreateFleet", INSTANCE, tags=[*MAPPED, ("workload", "Name")]),
    *may_not(STRANGER, TAG, INSTANCE, tags="workload", during="RunInstances"),
    *may_not(STRANGER, UNTAG, INSTANCE),  # without keys: all of them
    *may_not(STRANGER, TAG_GROUP, GROUP, tags="workload"),
    *may_not(ALMOST_EXCEPTED, TAG, INSTANCE, tags="workload"),
    *may(STRANGER, f"{TAG} {UNTAG} {RUN}", INSTANCE, tags=["Name", ("Name", "team"), "Workload"]),
    *may(STRANGER, TAG, INSTANCE, tags="Name", during="RunInstances"),
    *may(STRANGER, RUN, INSTANCE),
    *may(STRANGER, TAG, ("a volume", "an instance of another Region"), tags="workload"),
    *may(STRANGER, TAG_GROUP, GROUP, tags="Name"),
    *may(STRANGER, "autoscaling:CreateAutoScalingGroup", GROUP),
    *may((ADMIN, TAGGER), f"{TAG} {UNTAG}", INSTANCE, tags="workload"),
    *may((ADMIN, TAGGER), UNTAG, INSTANCE),
    *may(TAGGERS_SESSION, TAG, INSTANCE, tags="workload", role=PRINCIPALS[TAGGER]),
]

# ---- the role path ----

MAKE = "iam:CreateInstanceProfile iam:AddRoleToInstanceProfile"
UNMAKE = "iam:DeleteInstanceProfile iam:RemoveRoleFromInstanceProfile"
CHANGE_ROLE = (
    "iam:CreateRole iam:DeleteRole iam:UpdateRole iam:UpdateAssumeRolePolicy iam:TagRole iam:UntagRole "
    "iam:PutRolePolicy iam:DeleteRolePolicy iam:AttachRolePolicy iam:DetachRolePolicy "
    "iam:PutRolePermissionsBoundary iam:DeleteRolePermissionsBoundary"
)
CHANGE_POLICY = (
    "iam:CreatePolicy iam:DeletePolicy iam:CreatePolicyVersion iam:DeletePolicyVersion iam:SetDefaultPolicyVersion"
)
KINDS = {"instance-profile": f"{MAKE} {UNMAKE}", "role": CHANGE_ROLE, "policy": CHANGE_POLICY}
PATH = [
    *(case for kind, actions in KINDS.items() for case in may_not(STRANGER, actions, f"a {kind} {UNDER}")),
    *(case for kind, actions in KINDS.items() for case in may(STRANGER, actions, f"a {kind} {BESIDE}")),
    *(case for kind, actions in KINDS.items() for case in may((ADMIN, TAGGER), actions, f"a {kind} {UNDER}")),
    *may(STRANGER, "iam:GetRole iam:PassRole", f"a role {UNDER}"),
    *may(MAKERS, MAKE, f"a instance-profile {UNDER}"),
    *may_not(MAKERS, UNMAKE, f"a instance-profile {UNDER}"),
    *may_not(MAKERS, "iam:PutRolePolicy", f"a role {UNDER}"),
    *may_not("OnInstanceEventRole", MAKE, f"a instance-profile {UNDER}"),
]

# ---- where an instance's credentials work ----

EXEMPT = f"{IAM}:role/rolekeeper/batch-*"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role"
# What EC2 gave a session: its role, the instance, its VPC and address there.
GOT = {"instance": PLACES[INSTANCE], "vpc_of_it": "vpc-1", "address_of_it": "10.0.0.4"}
OF_WEB = {**GOT, "role": f"{IAM}:role/rolekeeper/web"}
DESCRIBE, WEB = "ec2:DescribeInstances", f"{SESSION}/web/i-1"
SOURCE = [
    *may(WEB, DESCRIBE, "everything", **OF_WEB, vpc="vpc-1", address="10.0.0.4"),
    *may_not(WEB, DESCRIBE, "everything", **OF_WEB, vpc="vpc-2", address="10.0.0.4"),
    *may_not(WEB, DESCRIBE, "everything", **OF_WEB, vpc="vpc-1", address="10.0.0.5"),
    # Without a VPC endpoint, as from anywhere; unless it is a service that calls, or a database within the VPC.
    *may_not(WEB, DESCRIBE, "everything", **OF_WEB, ip="203.0.113.7"),
    *may(WEB, DESCRIBE, "everything", **OF_WEB, by_service="true"),
    *may(WEB, "rds-db:connect", "everything", **OF_WEB),
    *may(WEB, DESCRIBE, "everything", **GOT, role=f"{IAM}:role/web", vpc="vpc-2", address="10.0.0.4"),
    *may(f"{SESSION}/batch-1/i-1", DESCRIBE, "everything", **GOT, role=f"{IAM}:role/rolekeeper/batch-1", vpc="vpc-2"),
    *may(STRANGER, DESCRIBE, "everything", role=f"{IAM}:role/rolekeeper/web"),  # no instance's session
]

# ---- who revokes, and who is revoked ----

REVOKERS = [
    *may(PERSON, "iam:PutRolePolicy iam:DeleteRolePolicy", f"a role {UNDER}"),
    *may_not(PERSON, "iam:PutRolePolicy iam:DeleteRolePolicy", f"a role {BESIDE}"),
    *may(PERSON, "iam:GetRole iam:GetRolePolicy iam:ListInstanceProfilesForRole", f"a role {BESIDE}"),
    *may_not(PERSON, "iam:AttachRolePolicy iam:UpdateAssumeRolePolicy iam:DeleteRole iam:PassRole", f"a role {UNDER}"),
    *may(PERSON, "dynamodb:Query", "the state table"),
    *may_not(PERSON, PUT, "the state table", item="instance#1"),
    *may(PERSON, "cloudtrail:LookupEvents", "everything"),
]
EARLIER, AT_THAT_TIME = "2026-11-28T10:14:59Z", "2026-11-28T10:15:00Z"
REVOKED = [
    *may_not(
        POWERFUL, f"{DESCRIBE} s3:ListAllMyBuckets sts:AssumeRole", "everything", me="AROAWEB:i-1", issued=EARLIER
    ),
    *may(POWERFUL, "sts:GetCallerIdentity", "everything", me="AROAWEB:i-1", issued=EARLIER),  # no policy denies it
    *may(POWERFUL, DESCRIBE, "everything", me="AROAWEB:i-1", issued=AT_THAT_TIME),
    *may(POWERFUL, DESCRIBE, "everything", me=["AROAWEB:i-2", "AROADB:i-1"], issued=EARLIER),
]

# ---- IAM's answers ----


@dataclass(frozen=True, slots=True)
class Guard:
    """The document with its table. `scp` says whether it binds whoever asks, or is a policy of theirs."""

    cases: Sequence[Case]
    documents: Sequence[Document]
    scp: bool = False

    def wrong(self, documents: Sequence[Document] = ()) -> list[str]:
        """The cases that the documents answer otherwise than the table; by default, its own."""
        asked = [(request_of(case), self._policies(case, documents or self.documents)) for case in self.cases]
        answers = simulate(asked)
        return [str(case) for case, answer in zip(self.cases, answers, strict=True) if answer.allowed != case.allowed]

    def _policies(self, case: Case, documents: Sequence[Document]) -> Policies:
        if self.scp:
            return Policies(identity=[FULL_ACCESS], scps=documents)
        return Policies(identity=[*documents, *([FULL_ACCESS] if case.who == POWERFUL else [])])


def request_of(case: Case) -> Request:
    given: dict[str, Any] = dict(case.given)
    if case.on in {"a row", "a row of another table", "an item of the state table"}:
        columns = given.get("attributes", ())
        given["attributes"] = ("tag_key", "tag_value", *([columns] if isinstance(columns, str) else columns))
        given = {"item": "workload", **given}
    if case.action.startswith("dynamodb:") and {"item", "attributes"} & given.keys():
        given = {"me": ME, **given}
    several = {"item", "attributes", "tags"}
    context = {
        KEYS[key]: [value] if key in several and isinstance(value, str) else value for key, value in given.items()
    }
    return Request(
        principal=PRINCIPALS.get(case.who, case.who), action=case.action, resource=PLACES[case.on], context=context
    )


[TAGS_SCP] = guard.tag_policies(ARNS, MAPPED, EXCEPTED)
EDITORS_POLICY, APPROVERS_POLICY = guard.editors_policy(ARNS), guard.approvers_policy(ARNS)
BEFORE = datetime(2026, 11, 28, 10, 15, tzinfo=UTC)
REVOCATION = {"Version": "2012-10-17", "Statement": [Entry("AROAWEB:i-1", BEFORE).statement]}
MAKING = [f"rolekeeper-{name}-1" for name in MAKERS]
GUARDS = {
    "editors": Guard(EDITORS, [EDITORS_POLICY]),
    "editors of two tag keys": Guard(EDITORS_OF_TWO_KEYS, [guard.editors_policy(ARNS, ["workload", "team"])]),
    "approvers": Guard(APPROVERS, [APPROVERS_POLICY]),
    "approvers of two tag keys": Guard(APPROVERS_OF_TWO_KEYS, [guard.approvers_policy(ARNS, ["workload", "team*"])]),
    "both policies": Guard(BOTH_POLICIES, [EDITORS_POLICY, APPROVERS_POLICY]),
    "tags": Guard(TAGS, [TAGS_SCP], scp=True),
    "path": Guard(PATH, [guard.rendered("scp-path", arns=ARNS, makers=MAKING, excepted=EXCEPTED)], scp=True),
    "source": Guard(SOURCE, [guard.rendered("scp-source", arns=ARNS, excepted=[EXEMPT])], scp=True),
    "revokers": Guard(REVOKERS, [guard.rendered("revokers", arns=ARNS)]),
    "revoked": Guard(REVOKED, [REVOCATION]),
}


@pytest.mark.parametrize("name", GUARDS)
def test_each_may_do_what_is_meant_and_no_more(name: str) -> None:
    assert GUARDS[name].wrong() == []


@pytest.mark.parametrize(
    ("name", "text", "instead"),
    [
        ("editors", '"description"', '"description", "status"'),
        ("editors", '"description"', '"description", "held_revision"'),
        ("approvers", "${aws:userid}#*", "${aws:userid}*"),
        ("approvers", "${aws:userid}", "AROAPEOPLE:*"),
        ("approvers of two tag keys", "Equals", "Like"),
        ("editors of two tag keys", '"team"', '"team", "quarantine"'),
        ("tags", '"ForAnyValue:', '"ForAllValues:'),
        ("tags", '"aws:TagKeys": "true"', '"aws:TagKeys": "false"'),
        ("tags", '"workload"', '"Workload"'),
        ("tags", "ops/tagger-*", "*"),
        ("source", "${aws:SourceVpc, 'none'}", "vpc-1"),
        ("source", "${aws:VpcSourceIp, 'none'}", "10.0.0.4"),
        ("source", '"aws:ViaAWSService": "false"', '"aws:ViaAWSService": "true"'),
        ("source", '"ec2:SourceInstanceARN": "false"', '"ec2:SourceInstanceARN": "true"'),
        ("source", '"rds-db:connect"', '"rds:connect"'),
        ("source", "role/rolekeeper/*", "role/*"),
        ("source", "batch-*", "batch"),
        ("revoked", "10:15:00Z", "10:14:59Z"),
        ("revokers", "role/rolekeeper/*", "role/*"),
        ("path", "role/rolekeeper/*", "role/rolekeeper/x*"),
        ("path", "/rolekeeper/*", "/rolekeeper*"),
    ],
)
def test_a_document_that_says_something_else_is_noticed(name: str, text: str, instead: str) -> None:
    [document] = GUARDS[name].documents
    written = json.dumps(document)
    assert text in written
    assert GUARDS[name].wrong([json.loads(written.replace(text, instead))]) != []


def test_a_key_that_no_policy_can_hold_is_covered_by_a_pattern() -> None:
    odd = ["caf\u00e9", "\u90e8\u7f72", "a${b}", "x*y"]
    [document] = guard.tag_policies(ARNS, odd, EXCEPTED)
    assert all(" " <= character <= "\u00ff" for character in json.dumps(document, ensure_ascii=False))
    cases = [
        *may_not(STRANGER, TAG, INSTANCE, tags=[*odd]),
        *may(STRANGER, TAG, INSTANCE, tags=["cafe", "a-b", "x--y"]),
    ]
    assert Guard(cases, [document], scp=True).wrong() == []


# ---- the command, with exactly these policies ----


@pytest.fixture
def requests(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What the command asks of DynamoDB, as IAM sees it."""
    asked: list[Request] = []
    for operation in ("GetItem", "BatchGetItem", "Query", "Scan", "PutItem", "UpdateItem", "DeleteItem"):
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()
        call = getattr(desk.world.dynamodb, name)

        def record(operation: str = operation, call: Any = call, **arguments: Any) -> Any:
            asked.append(seen_by_iam(operation, arguments))
            return call(**arguments)

        monkeypatch.setattr(desk.world.dynamodb, name, record)
    return asked


def seen_by_iam(operation: str, arguments: Mapping[str, Any]) -> Request:
    [table] = [arguments["TableName"]] if "TableName" in arguments else arguments["RequestItems"]
    row = {**arguments.get("Item", {}), **arguments.get("Key", {})}
    columns = {*row, *arguments.get("ExpressionAttributeNames", {}).values()}
    context: dict[str, Sequence[str]] = {}
    if operation in {"PutItem", "UpdateItem", "DeleteItem"}:
        leading = [row[key]["S"] for key in ("tag_key", "pk") if key in row]
        context = {"dynamodb:Attributes": sorted(columns), "dynamodb:LeadingKeys": leading, "aws:userid": USER_ID}
    return Request(
        principal=PRINCIPALS[PERSON], action=f"dynamodb:{operation}", resource=ARNS.table(table), context=context
    )


def refused(document: Document, requests: Sequence[Request]) -> list[Request]:
    answers = simulate([(request, Policies(identity=[document])) for request in requests])
    return [request for request, answer in zip(requests, answers, strict=True) if not answer.allowed]


def test_editors_and_approvers_can_use_the_command(terminal: Terminal, desk: Desk, requests: list[Request]) -> None:
    for role in ("web", "db"):
        desk.role(role)
    editors, approvers = (
        json.loads(terminal("guard", part, "--tag-key", "workload").stdout) for part in ("editors", "approvers")
    )

    def runs(*line: str) -> None:
        ran = terminal(*line)
        assert ran.exit_code == 0, ran.output

    desk.edit("workload=web", role="web")
    desk.converged("web", workload="web")
    requests.clear()
    runs("mapping", "set", "workload=new", "role=web", "--no-wait")
    runs("mapping", "set", "workload=web", "owner=me", "--no-wait")
    runs("mapping", "ls")
    runs("mapping", "set", "workload=a", "role=db", "owner=me", "--no-wait")
    runs("mapping", "rollback", "workload=web", "--to", "1", "--yes", "--no-wait")
    runs("mapping", "history", "workload=web")
    runs("mapping", "rm", "workload=a", "--yes", "--no-wait")
    assert {each.action for each in requests} >= {
        f"dynamodb:{name}" for name in ("PutItem", "UpdateItem", "DeleteItem")
    }
    assert refused(editors, requests) == []

    desk.limits = Limits(0, 0)
    desk.put("workload=web", role="db", edited_by="ada")
    desk.publish("workload=web")
    requests.clear()
    runs("mapping", "approve", "workload=web", "--yes", "--no-wait")
    assert refused(approvers, requests) == []
    assert [each.action for each in refused(editors, requests)] == ["dynamodb:PutItem"]

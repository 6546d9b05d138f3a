"""What IAM would answer under the policies and the SCPs of `rolekeeper guard`."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from fixtures.mappings import Desk
from fixtures.terminal import USER_ID, Terminal
from rolekeeper.settings import Limits
from rolekeeper_cli.uses import guard
from rolekeeper_cli.uses.guard import Arns
from rolekeeper_cli.uses.revoked_policy import Entry
from support.policy_simulation import ACCOUNT, FULL_ACCESS, REGION, Document, Policies, Request, needs_node, simulate

pytestmark = needs_node

# A deployment, and a person whom no document names.
ARNS = Arns("aws", ACCOUNT, REGION, "/rolekeeper/", "rolekeeper", "mappings", "state")
STRANGER = f"arn:aws:iam::{ACCOUNT}:role/stranger"

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
        if self.scp:
            return Policies(identity=[FULL_ACCESS], scps=[document])
        return Policies(identity=[document, *case.more])

    def changed(self, before: str, after: str, says: str) -> "Story":
        """The document that says something else, with the case that is to go wrong."""
        written = json.dumps(self.document)
        assert before in written
        [case] = [each for each in self.cases if each.says == says]
        return Story(json.loads(written.replace(before, after)), [case], self.scp)


def wrong(stories: Iterable[Story]) -> list[str]:
    """The cases that the documents answer otherwise than they should."""
    asked = [(story, case) for story in stories for case in story.cases]
    answers = simulate([(case.request, story.policies(story.document, case)) for story, case in asked])
    return [case.says for (_, case), answer in zip(asked, answers, strict=True) if answer.allowed != case.allowed]


def may(says: str, request: Request) -> Case:
    return Case(says, request, allowed=True)


def may_not(says: str, request: Request) -> Case:
    return Case(says, request, allowed=False)


def ask(action: str, resource: str, who: str = STRANGER, context: Context | None = None) -> Request:
    return Request(principal=who, action=action, resource=resource, context=context or {})


# ---- the tables ----

TABLE, STATE, OTHER = (f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}" for name in ("mappings", "state", "other"))
STACK = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/rolekeeper/1"
ME, OTHERS = "AROAPEOPLE:grace", "AROAPEOPLE:ada"
OWN = f"approval#{ME}#workload"
# Rolekeeper's own columns (docs/mappings.md).
OURS = ("status", "status_reason", "status_revision", "matched", "occupied", "held_revision", "judging")
WRITES = ["PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "PartiQLInsert", "PartiQLUpdate", "PartiQLDelete"]


def item(action: str, *columns: str, on: str = TABLE, key: str = "workload", **context: str) -> Request:
    """A request on a row; DynamoDB names the keys among its attributes."""
    named = {"dynamodb:Attributes": ["tag_key", "tag_value", *columns], "dynamodb:LeadingKeys": [key], "aws:userid": ME}
    return ask(f"dynamodb:{action}", on, context={**named, **context})


def approval(action: str, *partitions: str, me: str = ME, **context: str) -> Request:
    """A request on items of the state table in these partitions."""
    named = {"dynamodb:LeadingKeys": list(partitions), "aws:userid": me}
    return ask(
        f"dynamodb:{action}", STATE, context={**{key: value for key, value in named.items() if value}, **context}
    )


def whatever_else(cases: Iterable[Case]) -> Iterable[Case]:
    """The same where the person may do everything by another policy."""
    for case in cases:
        yield case
        yield replace(case, says=f"{case.says}, who is allowed everything", more=[FULL_ACCESS])


def both_cases() -> Iterable[Case]:
    for action in ("GetItem", "BatchGetItem", "Query", "Scan"):
        yield may(f"{action} of rows", ask(f"dynamodb:{action}", TABLE))
    for action in ("BatchGetItem", "GetItem", "Query"):
        yield may(f"{action} of history", ask(f"dynamodb:{action}", STATE))
    yield may("finds the tables", ask("cloudformation:DescribeStacks", STACK))
    yield may_not("another stack", ask("cloudformation:DescribeStacks", STACK.replace("rolekeeper", "rolekeeper-2")))
    yield may_not("rows of another table", item("UpdateItem", on=OTHER))
    yield may_not("an update that names no attribute", ask("dynamodb:UpdateItem", TABLE))
    yield from whatever_else(may_not(f"{each} to the state table", item(each, on=STATE)) for each in WRITES)
    for partition in (
        f"approval#{OTHERS}#workload",
        "approval#",
        "approval#*",
        f"approval#{ME}",
        f"approval#{ME}2#workload",
        "control",
        "mapping#3:app#web",
    ):
        yield from whatever_else([may_not(f"puts into {partition}", approval("PutItem", partition))])
    two = approval("PutItem", OWN, f"approval#{OTHERS}#workload")
    yield from whatever_else([may_not("signs for two in one transaction", two)])
    for each in WRITES[1:]:
        yield from whatever_else([may_not(f"{each} of an own approval", approval(each, OWN))])
    for each in ("BatchWriteItem", "PartiQLInsert", "PartiQLUpdate", "PartiQLDelete"):
        yield from whatever_else([may_not(each, item(each))])
    for column in (*OURS, "unknown"):
        yield from whatever_else([may_not(f"writes {column}", item("UpdateItem", column))])
    in_transaction = {"dynamodb:EnclosingOperation": "TransactWriteItems"}
    yield from whatever_else([may_not("status in a transaction", item("UpdateItem", "status", **in_transaction))])


def editor_cases() -> Iterable[Case]:
    yield from both_cases()
    edited = [each for each in guard.EDITORS_COLUMNS if each not in {"tag_key", "tag_value"}]
    for column in edited:
        yield from whatever_else([may(f"edits {column}", item("UpdateItem", column))])
    yield from whatever_else([may("puts a row", item("PutItem", *edited))])
    yield from whatever_else([may("deletes a row", item("DeleteItem"))])
    for action in ("PutItem", "UpdateItem"):
        yield from whatever_else([may_not(f"hand-written status: {action}", item(action, "role", "status"))])
    yield from whatever_else([may_not("signs", approval("PutItem", OWN))])
    for answer, allowed in {"NONE": True, "UPDATED_OLD": True, "UPDATED_NEW": True, "ALL_OLD": False}.items():
        answers = item("UpdateItem", "role", **{"dynamodb:ReturnValues": answer})
        yield Case(f"an update answers {answer}", answers, allowed=allowed)


def approver_cases() -> Iterable[Case]:
    yield from both_cases()
    yield from whatever_else([may("signs", approval("PutItem", OWN))])
    yield from whatever_else([may("signs as root", approval("PutItem", f"approval#{ACCOUNT}#workload", me=ACCOUNT))])
    yield may_not("signs in no partition", approval("PutItem"))
    for action in ("PutItem", "UpdateItem", "DeleteItem"):
        yield from whatever_else([may_not(f"{action} of a row", item(action, "role"))])


def narrow_approver_cases() -> Iterable[Case]:
    """An approver of the rows of two tag keys, one of which reads like a pattern."""
    yield from approver_cases()
    for key, allowed in {"team*": True, "teams": False, "quarantine": False}.items():
        yield from whatever_else([Case(f"signs for {key}", approval("PutItem", f"approval#{ME}#{key}"), allowed)])


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


# ---- the mapped tags ----

ADMIN, TAGGER = f"arn:aws:iam::{ACCOUNT}:role/admin", f"arn:aws:iam::{ACCOUNT}:role/ops/tagger-1"
EXCEPTED = [ADMIN, f"arn:aws:iam::{ACCOUNT}:role/ops/tagger-*"]
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


# ---- where an instance's credentials work ----

EXEMPT = f"arn:aws:iam::{ACCOUNT}:role/rolekeeper/batch-*"
OTHER_VPC: Context = {"aws:SourceVpc": "vpc-2", "aws:VpcSourceIp": "10.0.0.4"}
AT_HOME: Context = {"aws:SourceVpc": "vpc-1", "aws:VpcSourceIp": "10.0.0.4"}


def by_instance(role: str, where: Context, action: str = "ec2:DescribeInstances", **more: str) -> Request:
    """A call with what an instance got of a role."""
    got = {
        "aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role{role}",
        "ec2:SourceInstanceARN": INSTANCE,
        "aws:EC2InstanceSourceVPC": "vpc-1",
        "aws:EC2InstanceSourcePrivateIPv4": "10.0.0.4",
    }
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.rsplit('/', 1)[-1]}/i-1"
    return ask(action, "*", session, {**got, **where, **more})


def source_cases() -> Iterable[Case]:
    web = "/rolekeeper/web"
    yield may("on the instance, through an endpoint", by_instance(web, AT_HOME))
    yield may_not("without an endpoint, as from anywhere", by_instance(web, {"aws:SourceIp": "203.0.113.7"}))
    yield may_not("in another VPC at the same address", by_instance(web, OTHER_VPC))
    yield may_not("by another machine of the VPC", by_instance(web, {**AT_HOME, "aws:VpcSourceIp": "10.0.0.5"}))
    yield may("by a service, for the instance", by_instance(web, {"aws:ViaAWSService": "true"}))
    yield may("to a database within the VPC", by_instance(web, {}, "rds-db:connect"))
    yield may("a role beside the path", by_instance("/web", OTHER_VPC))
    yield may("a role that is excepted", by_instance("/rolekeeper/batch-1", OTHER_VPC))
    person = {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role{web}"}
    yield may("a session that is no instance's", ask("ec2:DescribeInstances", "*", STRANGER, person))


# ---- who revokes ----

ROLE = f"arn:aws:iam::{ACCOUNT}:role/rolekeeper/web"


def revoker_cases() -> Iterable[Case]:
    beside = ROLE.replace("/rolekeeper/", "/")
    for action in ("iam:PutRolePolicy", "iam:DeleteRolePolicy"):
        yield may(f"{action} under the path", ask(action, ROLE))
        yield may_not(f"{action} beside the path", ask(action, beside))
    for action in ("iam:GetRole", "iam:GetRolePolicy", "iam:ListInstanceProfilesForRole"):
        yield may(f"{action} beside the path", ask(action, beside))
    for action in ("iam:AttachRolePolicy", "iam:UpdateAssumeRolePolicy", "iam:DeleteRole", "iam:PassRole"):
        yield may_not(action, ask(action, ROLE))
    yield may("reads history", ask("dynamodb:Query", STATE))
    yield may_not("writes history", ask("dynamodb:PutItem", STATE, context={"dynamodb:LeadingKeys": ["instance#1"]}))
    yield may("asks CloudTrail", ask("cloudtrail:LookupEvents", "*"))


# ---- who is revoked ----

BEFORE = datetime(2026, 11, 28, 10, 15, tzinfo=UTC)


def revoked_cases() -> Iterable[Case]:
    """In force for one instance, whatever it calls, and for what it got before."""

    def call(user: str, issued: str, action: str = "ec2:DescribeInstances") -> Case:
        context = {"aws:userid": user, "aws:TokenIssueTime": issued, "aws:PrincipalArn": ROLE}
        session = f"arn:aws:sts::{ACCOUNT}:assumed-role/web/{user.partition(':')[2]}"
        return Case(f"{user} of {issued}: {action}", ask(action, "*", session, context), allowed=True)

    for action in ("ec2:DescribeInstances", "s3:ListAllMyBuckets", "sts:AssumeRole"):
        yield replace(call("AROAWEB:i-1", "2026-11-28T10:14:59Z", action), allowed=False)
    yield call("AROAWEB:i-1", "2026-11-28T10:14:59Z", "sts:GetCallerIdentity")  # no policy denies it
    yield call("AROAWEB:i-1", "2026-11-28T10:15:00Z")
    yield call("AROAWEB:i-2", "2026-11-28T09:00:00Z")
    yield call("AROADB:i-1", "2026-11-28T09:00:00Z")


REVOKED = {
    "Version": "2012-10-17",
    "Statement": [*FULL_ACCESS["Statement"], Entry("AROAWEB:i-1", BEFORE).statement],
}

# ---- all of them ----

EDITORS, APPROVERS = guard.editors_policy(ARNS), guard.approvers_policy(ARNS)
[TAGS] = guard.tag_policies(ARNS, KEYS, EXCEPTED)
STORIES = {
    "editors": Story(EDITORS, [*editor_cases()]),
    "approvers": Story(APPROVERS, [*approver_cases()]),
    "approvers of two tag keys": Story(guard.approvers_policy(ARNS, ["workload", "team*"]), [*narrow_approver_cases()]),
    "editors of two tag keys": Story(guard.editors_policy(ARNS, ["workload", "team"]), [*narrow_cases()]),
    "tags": Story(TAGS, [*tag_cases()], scp=True),
    "source": Story(guard.rendered("scp-source", arns=ARNS, excepted=[EXEMPT]), [*source_cases()], scp=True),
    "revoked": Story(REVOKED, [*revoked_cases()]),
    "revokers": Story(guard.rendered("revokers", arns=ARNS), [*revoker_cases()]),
    "path": Story(guard.rendered("scp-path", arns=ARNS, makers=MAKERS, excepted=EXCEPTED), [*path_cases()], scp=True),
}


def test_each_may_do_what_is_meant_and_no_more() -> None:
    assert wrong(STORIES.values()) == []


# In which document what is replaced, and the case that goes wrong then.
CHANGES = [
    ("editors", '"description"', '"description", "status"', "hand-written status: PutItem"),
    ("editors", '"description"', '"description", "held_revision"', "writes held_revision"),
    ("approvers", "${aws:userid}#*", "${aws:userid}*", f"puts into approval#{ME}2#workload"),
    ("approvers", "${aws:userid}", "AROAPEOPLE:*", f"puts into approval#{OTHERS}#workload"),
    ("approvers of two tag keys", "Equals", "Like", "signs for teams"),
    ("editors of two tag keys", '"team"', '"team", "quarantine"', "deletes quarantine"),
    ("tags", '"ForAnyValue:', '"ForAllValues:', "a stranger sets workload"),
    ("tags", '"aws:TagKeys": "true"', '"aws:TagKeys": "false"', "a stranger removes all tags"),
    ("tags", '"workload"', '"Workload"', "a stranger launches with workload"),
    ("tags", "ops/tagger-*", "*", f"{ADMIN}-2 sets workload"),
    ("source", "${aws:SourceVpc, 'none'}", "vpc-1", "in another VPC at the same address"),
    ("source", "${aws:VpcSourceIp, 'none'}", "10.0.0.4", "by another machine of the VPC"),
    ("source", '"aws:ViaAWSService": "false"', '"aws:ViaAWSService": "true"', "by a service, for the instance"),
    (
        "source",
        '"ec2:SourceInstanceARN": "false"',
        '"ec2:SourceInstanceARN": "true"',
        "a session that is no instance's",
    ),
    ("source", '"rds-db:connect"', '"rds:connect"', "to a database within the VPC"),
    ("source", "role/rolekeeper/*", "role/*", "a role beside the path"),
    ("source", "batch-*", "batch", "a role that is excepted"),
    ("revoked", "10:15:00Z", "10:14:59Z", "AROAWEB:i-1 of 2026-11-28T10:14:59Z: s3:ListAllMyBuckets"),
    ("revokers", "role/rolekeeper/*", "role/*", "iam:PutRolePolicy beside the path"),
    ("path", "role/rolekeeper/*", "role/rolekeeper/x*", "a stranger: iam:UpdateAssumeRolePolicy"),
    ("path", "/rolekeeper/*", "/rolekeeper*", "a stranger beside the path: iam:CreateRole"),
]


def test_what_says_something_else_is_noticed() -> None:
    changed = [STORIES[name].changed(before, after, says) for name, before, after, says in CHANGES]
    assert wrong(changed) == [says for *_, says in CHANGES]


def test_a_person_with_both_policies_can_neither_edit_nor_approve() -> None:
    both = Policies(identity=[EDITORS, APPROVERS, FULL_ACCESS])
    asked = [item("UpdateItem", "role"), item("PutItem", "role"), item("DeleteItem"), approval("PutItem", OWN)]
    reads = item("Query")
    assert [answer.allowed for answer in simulate([(each, both) for each in (*asked, reads)])] == [*[False] * 4, True]


def test_a_key_that_no_policy_can_hold_is_covered_by_a_pattern() -> None:
    odd = ["caf\u00e9", "\u90e8\u7f72", "a${b}", "x*y"]
    [document] = guard.tag_policies(ARNS, odd, EXCEPTED)
    assert all(" " <= character <= "\u00ff" for character in json.dumps(document, ensure_ascii=False))
    cases = [may_not(key, tagging("ec2:CreateTags", key)) for key in odd]
    cases += [may(key, tagging("ec2:CreateTags", key)) for key in ("cafe", "a-b", "x--y")]
    assert wrong([Story(document, cases, scp=True)]) == []


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
    return ask(f"dynamodb:{operation}", ARNS.here("dynamodb", f"table/{table}"), context=context)


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

    rows = "mappings:\n- {tag_key: workload, tag_value: a, role: db, owner: me}\n"
    desk.edit("workload=web", role="web")
    desk.converged("web", workload="web")
    requests.clear()
    runs("mapping", "set", "workload=new", "role=web", "--no-wait")
    runs("mapping", "set", "workload=web", "owner=me", "--no-wait")
    runs("mapping", "ls")
    assert terminal("mapping", "import", "-", "--yes", "--no-wait", stdin=rows).exit_code == 0
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

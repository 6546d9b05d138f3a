"""What each of the stack's roles may do, and what it may not, as a table of requests: one line for a story.

It is written from docs/security.md, not from the policies. `tests/unit/test_policy_matrix.py` asks IAM's evaluator.
That a function may do nothing that it never does is in `tests/unit/test_least_privilege.py`, not here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product

from support.policy_simulation import ACCOUNT, REGION

OTHER_ACCOUNT, OTHER_REGION = "999999999999", "eu-west-1"

EVENT, RETRY, MAPPING, SCHEDULE, STATE = (
    *("OnInstanceEventRole", "OnRetryRole", "OnMappingChangeRole", "OnScheduleRole", "OnStateChangeRole"),
)
LOOP, RESUME, EACH = "RetryStateMachineRole", "ResumeStateMachineRole", "AccountsStateMachineRole"
MACHINES = (LOOP, RESUME, EACH)
RECONCILING, PUBLISHING = (EVENT, RETRY), (MAPPING, SCHEDULE)
LOOKING = (*RECONCILING, *PUBLISHING)
# One changes instances, and those that make profiles pass roles too.
PASSING, NOT_CHANGING = (EVENT, *PUBLISHING), (RETRY, *PUBLISHING, STATE, LOOP)
FUNCTIONS = (*LOOKING, STATE)
ALL = (*FUNCTIONS, *MACHINES)
STRANGER = "an administrator of another account"
# The organization that the hub serves, and another one.
ORG, OTHER_ORG = "o-a1b2c3d4e5", "o-stranger01"
USER = "a user without permissions"
ADMIN, ME, ANOTHER = "an administrator of this account", "AIDAADMIN", "AIDAGRACE"
ROOT, OPERATOR = "the account's root", "an operator who may write both tables"
PEOPLE = (ADMIN, ROOT, OPERATOR)
EVENTBRIDGE, CLOUDWATCH, LAMBDA, STATES = (
    *("events.amazonaws.com", "cloudwatch.amazonaws.com", "lambda.amazonaws.com", "states.amazonaws.com"),
)

# The service, as AWS names the condition key's value.
EC2 = "ec2.amazonaws.com"

_IAM, _THEIRS = f"arn:aws:iam::{ACCOUNT}", f"arn:aws:iam::{OTHER_ACCOUNT}"


def _here(service: str, name: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{name}"


def _there(service: str, name: str) -> str:
    return f"arn:aws:{service}:{REGION}:{OTHER_ACCOUNT}:{name}"


# What isn't the stack's own, by the name that the table uses. The stack's own has its name in the template.
PLACES = {
    "everything": "*",
    "instance": _here("ec2", "instance/i-0123456789abcdef0"),
    "instance elsewhere": f"arn:aws:ec2:{OTHER_REGION}:{ACCOUNT}:instance/i-0123456789abcdef0",
    "instance of others": _there("ec2", "instance/i-0123456789abcdef0"),
    "role": f"{_IAM}:role/rolekeeper/web",
    "role deeper": f"{_IAM}:role/rolekeeper/team/web",
    "role outside": f"{_IAM}:role/admin",
    "role beside": f"{_IAM}:role/rolekeeper-admin",
    "role under a longer path": f"{_IAM}:role/rolekeeper2/admin",
    "role of others": f"{_THEIRS}:role/rolekeeper/web",
    "profile": f"{_IAM}:instance-profile/rolekeeper/web",
    "other profile": f"{_IAM}:instance-profile/rolekeeper/batch",
    "profile outside": f"{_IAM}:instance-profile/admin",
    "profile beside": f"{_IAM}:instance-profile/rolekeeper-admin",
    "profile of others": f"{_THEIRS}:instance-profile/rolekeeper/web",
    "policy": f"{_IAM}:policy/some",
    "policy of AWS": "arn:aws:iam::aws:policy/AdministratorAccess",
    "user": f"{_IAM}:user/somebody",
    "bus": _here("events", "event-bus/default"),
    "other bus": _here("events", "event-bus/other"),
    "bus elsewhere": f"arn:aws:events:{OTHER_REGION}:{ACCOUNT}:event-bus/default",
    "bus of others": _there("events", "event-bus/default"),
    "forwarder of others": f"{_THEIRS}:role/rolekeeper-forwarder-{OTHER_REGION}",
    "forwarder of another namespace of others": f"{_THEIRS}:role/second-forwarder-{OTHER_REGION}",
    "rule": _here("events", "rule/somebodys"),
    "rule of others": _there("events", "rule/InstanceStateRule"),
    "table": _here("dynamodb", "table/somebodys"),
    "table of others": _there("dynamodb", "table/StateTable"),
    "queue": _here("sqs", "somebodys"),
    "queue of others": _there("sqs", "WorkQueue"),
    "topic": _here("sns", "somebodys"),
    "topic of others": _there("sns", "AlarmTopic"),
    "key": _here("kms", "key/somebodys"),
    "own key": _here("kms", "key/own"),
    "function": _here("lambda", "function:somebodys"),
    "machine": _here("states", "stateMachine:somebodys"),
    "resume machine elsewhere": f"arn:aws:states:{OTHER_REGION}:{ACCOUNT}:stateMachine:rolekeeper-resume",
    "resume machine of others": _there("states", "stateMachine:rolekeeper-resume"),
    "accounts machine elsewhere": f"arn:aws:states:{OTHER_REGION}:{ACCOUNT}:stateMachine:rolekeeper-accounts",
    "accounts machine of others": _there("states", "stateMachine:rolekeeper-accounts"),
    "children's machine": _here("states", "stateMachine:rolekeeper-accounts/Each"),
    "child of the accounts machine": _here("states", "execution:rolekeeper-accounts/Each:one"),
    "child elsewhere": f"arn:aws:states:{OTHER_REGION}:{ACCOUNT}:execution:rolekeeper-accounts/Each:one",
    "child of another map": _here("states", "execution:rolekeeper-accounts/Other:one"),
    "execution of the accounts machine": _here("states", "execution:rolekeeper-accounts:one"),
    "execution": _here("states", "execution:somebodys:one"),
    "log": _here("logs", "log-group:somebodys:log-stream:one"),
    "reader of others": f"{_THEIRS}:role/rolekeeper-reader",
    "changer of others": f"{_THEIRS}:role/rolekeeper-changer",
    "notifier of others": f"{_THEIRS}:role/rolekeeper-notifier",
    "reader of another namespace of others": f"{_THEIRS}:role/second-reader",
    "changer of another namespace of others": f"{_THEIRS}:role/second-changer",
    "notifier of another namespace of others": f"{_THEIRS}:role/second-notifier",
    "reader under a path of others": f"{_THEIRS}:role/rolekeeper-reader/web",
    "changer under a path of others": f"{_THEIRS}:role/rolekeeper-changer/web",
    "notifier under a path of others": f"{_THEIRS}:role/rolekeeper-notifier/web",
    "administrator of others": f"{_THEIRS}:role/admin",
    "reader": f"{_IAM}:role/rolekeeper-reader",
    "changer": f"{_IAM}:role/rolekeeper-changer",
    "notifier": f"{_IAM}:role/rolekeeper-notifier",
    "alarm": _here("cloudwatch", "alarm:somebodys"),
    "alarm elsewhere": f"arn:aws:cloudwatch:{OTHER_REGION}:{ACCOUNT}:alarm:rolekeeper-contested",
    "alarm of others": _there("cloudwatch", "alarm:rolekeeper-contested"),
}
KEYS = {
    "new": "ec2:NewInstanceProfile",
    "now": "ec2:InstanceProfile",
    "to": "iam:PassedToService",
    "source": "events:source",
    "type": "events:detail-type",
    "by": "aws:SourceArn",
    "of": "aws:SourceAccount",
    "tls": "aws:SecureTransport",
    "org": "aws:PrincipalOrgID",
    "org_of_it": "aws:ResourceOrgID",
    "item": "dynamodb:LeadingKeys",
    "attributes": "dynamodb:Attributes",
    "me": "aws:userid",
    "role": "aws:PrincipalArn",
    "via": "kms:ViaService",
    "function": "lambda:SourceFunctionArn",
    "session": "sts:RoleSessionName",
    "region": "aws:RequestedRegion",
    # Of the documents that `rolekeeper guard` prints.
    "answers": "dynamodb:ReturnValues",
    "within": "dynamodb:EnclosingOperation",
    "tags": "aws:TagKeys",
    "during": "ec2:CreateAction",
    "instance": "ec2:SourceInstanceARN",
    "vpc_of_it": "aws:EC2InstanceSourceVPC",
    "address_of_it": "aws:EC2InstanceSourcePrivateIPv4",
    "vpc": "aws:SourceVpc",
    "address": "aws:VpcSourceIp",
    "ip": "aws:SourceIp",
    "by_service": "aws:ViaAWSService",
    "issued": "aws:TokenIssueTime",
}
INSTANCE_ITEM, MAPPING_ITEM = f"instance#{ACCOUNT}#{REGION}#i-0123456789abcdef0", "mapping#3:app#web"


@dataclass(frozen=True)
class Case:
    """One request, and whether it is allowed.

    Attributes:
        who: a role of the template, a service, STRANGER, USER or one of PEOPLE.
        on: a resource of the template, or one of PLACES. After a colon: what is in it, as a log's stream.
        given: values of KEYS; a resource's name stands for its ARN.
        takes_over: whether the stack has TakeOver=true.
    """

    who: str
    action: str
    on: str
    given: tuple[tuple[str, str | tuple[str, ...]], ...]
    allowed: bool
    takes_over: bool = False

    def __str__(self) -> str:
        given = "".join(f", {key} {value}" for key, value in self.given)
        stack = ", TakeOver" if self.takes_over else ""
        return f"{self.who} {'may' if self.allowed else 'may not'} {self.action} on {self.on}{given}{stack}"


type Value = str | tuple[str, ...]
"""What a key holds: several at once as a tuple."""
type Given = Value | list[Value]
"""A list stands for a case of each."""


def _cases(
    allowed: bool,  # noqa: FBT001  # only `may` and `may_not` call it
    who: str | Sequence[str],
    actions: str,
    on: str | Sequence[str],
    **given: Given,
) -> Iterator[Case]:
    assert given.keys() <= KEYS.keys()
    several = [each if isinstance(each, list) else [each] for each in given.values()]
    whos, places = ((each,) if isinstance(each, str) else each for each in (who, on))
    for each, action, place, values in product(whos, actions.split(), places, product(*several)):
        yield Case(each, action, place, tuple(zip(given, values, strict=True)), allowed)


def may(who: str | Sequence[str], actions: str, on: str | Sequence[str], **given: Given) -> Iterator[Case]:
    return _cases(True, who, actions, on, **given)  # noqa: FBT003  # the same


def may_not(who: str | Sequence[str], actions: str, on: str | Sequence[str], **given: Given) -> Iterator[Case]:
    return _cases(False, who, actions, on, **given)  # noqa: FBT003  # the same


ATTACH, REPLACE, DETACH = (
    "ec2:AssociateIamInstanceProfile",
    "ec2:ReplaceIamInstanceProfileAssociation",
    "ec2:DisassociateIamInstanceProfile",
)
READING = "ec2:DescribeInstances ec2:DescribeIamInstanceProfileAssociations"
ALL_ROLES = "iam:GetAccountAuthorizationDetails"
POLICIES_OF_A_ROLE = "iam:ListAttachedRolePolicies iam:ListRolePolicies iam:GetRolePolicy"
OUTSIDE: list[Value] = ["profile outside", "profile beside", "profile of others"]
ELSEWHERE = ("instance elsewhere", "instance of others")


def changes(who: str, here: str | Sequence[str], elsewhere: str | Sequence[str]) -> Iterator[Case]:
    """Who changes what instances carry does so under the path, in its own place, and does nothing else to them."""
    yield from may(who, ATTACH, here, new="profile")
    yield from may(who, REPLACE, here, now="profile", new="other profile")
    yield from may(who, DETACH, here, now="profile")
    yield from may_not(who, ATTACH, "instance", new=OUTSIDE)
    yield from may_not(who, ATTACH, "instance")
    yield from may_not(who, REPLACE, "instance", now="profile", new=OUTSIDE)
    yield from may_not(who, REPLACE, "instance", now=OUTSIDE, new="profile")
    yield from may_not(who, REPLACE, "instance", new="profile")
    yield from may_not(who, DETACH, "instance", now=OUTSIDE)
    yield from may_not(who, DETACH, "instance")
    yield from may_not(who, ATTACH, elsewhere, new="profile")
    yield from may_not(who, REPLACE, elsewhere, now="profile", new="other profile")
    yield from may_not(who, DETACH, elsewhere, now="profile")


def takes_over(
    who: str, others: Sequence[str], here: str | Sequence[str], elsewhere: str | Sequence[str]
) -> Iterator[Case]:
    """With TakeOver a foreign role may go; what an instance gets stays under the path all the same."""
    cases = [
        may(who, REPLACE, here, now="profile outside", new="profile"),
        may(who, DETACH, here, now="profile outside"),
        may_not(who, REPLACE, "instance", now="profile outside", new=OUTSIDE),
        may_not(who, REPLACE, "instance", now="profile outside"),
        may_not(who, ATTACH, "instance", new="profile outside"),
        may_not(who, REPLACE, elsewhere, now="profile outside", new="profile"),
        may_not(who, DETACH, elsewhere, now="profile outside"),
        may_not(others, DETACH, "instance", now="profile outside"),
        may_not(who, "ec2:TerminateInstances", "instance", now="profile outside"),
    ]
    for each in chain.from_iterable(cases):
        yield replace(each, takes_over=True)


MAKING = "iam:CreateInstanceProfile iam:AddRoleToInstanceProfile"


def passes(who: str | Sequence[str]) -> Iterator[Case]:
    """Who passes roles passes those under the path alone, and to EC2 alone."""
    yield from may(who, "iam:PassRole", ("role", "role deeper"), to=EC2)
    yield from may_not(who, "iam:PassRole", ("role outside", "role beside", "role under a longer path"), to=EC2)
    yield from may_not(who, "iam:PassRole", "role of others", to=EC2)
    yield from may_not(who, "iam:PassRole", "role", to=["lambda.amazonaws.com", "ec2.evil.example"])
    yield from may_not(who, "iam:PassRole", "role")


def makes_profiles(who: str | Sequence[str]) -> Iterator[Case]:
    yield from may(who, MAKING, "profile")
    yield from may_not(who, MAKING, ("profile outside", "profile beside", "profile of others"))


def sees_instances(who: str | Sequence[str], *regions: str, elsewhere: str) -> Iterator[Case]:
    yield from may(who, READING, "everything", region=[*regions])
    yield from may_not(who, READING, "everything", region=elsewhere)
    yield from may_not(who, READING, "everything")


def reads_roles(who: str | Sequence[str]) -> Iterator[Case]:
    """What a role may do is read of those only that could be given."""
    yield from may(who, "iam:GetRole", ("role", "role outside"))
    yield from may(who, POLICIES_OF_A_ROLE, ("role", "role deeper"))
    yield from may_not(who, POLICIES_OF_A_ROLE, ("role outside", "role beside", "role under a longer path"))
    yield from may(who, "iam:GetInstanceProfile", ("profile", "profile outside"))
    yield from may(who, "iam:GetPolicy iam:GetPolicyVersion", ("policy", "policy of AWS"))


INSTANCES = [*changes(EVENT, "instance", ELSEWHERE)]

TAKE_OVER = [*takes_over(EVENT, NOT_CHANGING, "instance", ELSEWHERE)]

ROLES = [
    *passes(PASSING),
    # Those that reconcile check pins.
    *sees_instances(LOOKING, REGION, elsewhere=OTHER_REGION),
    *reads_roles(LOOKING),
    *may(SCHEDULE, ALL_ROLES, "everything"),
    *makes_profiles(PUBLISHING),
]

_PUTS = "dynamodb:PutItem dynamodb:UpdateItem"
SINGLE = f"{_PUTS} dynamodb:DeleteItem"
OTHER_WAYS = "dynamodb:BatchWriteItem dynamodb:PartiQLInsert dynamodb:PartiQLUpdate dynamodb:PartiQLDelete"
MINE, THEIRS = f"approval#{ME}#app", f"approval#{ANOTHER}#app"
ANSWERS = "judging#1"  # of accounts, while a row is judged
OWN = (INSTANCE_ITEM, MAPPING_ITEM, "timers", "control-history")
WRITTEN_BY_FUNCTIONS = (
    ANSWERS,
    *("window#changes#123456789012#eu-west-1", "window#edits", "window#3:app#web"),
    *("deployed", "timers", "follow-ups#1", "control-history", "anything else"),
)
OURS = ("grant:arn:aws:iam::123456789012:instance-profile/rolekeeper/admin", "condition", "pin", "outcome")
# A pin as the command and docs/operations.md write it, and what `release` changes in a contested instance's record.
PINNING = ("pk", "sk", "role", "profile_arn", "expires_at", "at", "by", "reason", "allow_broad", "expires")
LAPSING = ("pk", "sk", "version", "writes", "change:2026-03-02T09:16:00.000000Z")
VERDICT = (
    "tag_key",
    "tag_value",
    "status",
    "status_reason",
    "status_details",
    "status_revision",
    "matched",
    "held_revision",
    "edited_by",
)
STREAM = "stream/2026-01-01T00:00:00.000"
READING_A_STREAM = "dynamodb:GetRecords dynamodb:GetShardIterator dynamodb:DescribeStream"

TABLES = [
    # A request without a key, and with one of no family; then what none may do with its own families.
    *may_not(FUNCTIONS, "dynamodb:BatchGetItem dynamodb:Query", "StateTable"),
    *may_not(FUNCTIONS, SINGLE, "StateTable"),
    *may_not(
        FUNCTIONS, "dynamodb:BatchGetItem dynamodb:Query", "StateTable", item=["another", (INSTANCE_ITEM, "another")]
    ),
    *may_not(FUNCTIONS, SINGLE, "StateTable", item=["control", *((each, "control") for each in OWN)]),
    *may_not(
        FUNCTIONS,
        f"dynamodb:BatchGetItem dynamodb:Query {SINGLE}",
        "table",
        item=[*OWN, "control", "deployed", "targets", ANSWERS],
    ),
    # Who signs an approval: anybody, for themselves alone. No function does, not even for itself.
    *may_not(FUNCTIONS, SINGLE, "StateTable", item=MINE, me=ME),
    *may(PEOPLE, SINGLE, "StateTable", item=MINE, me=ME),
    *may_not(
        PEOPLE,
        f"{SINGLE} {OTHER_WAYS}",
        "StateTable",
        item=[THEIRS, (MINE, THEIRS), "approval#", f"approval#{ME}", f"approval#{ME}X#app"],
        me=ME,
    ),
    # What people write: the control item, pins, the end of a contention. All else is the functions' alone, so nobody
    # forges what is published or granted, nor frees a window; but a target can be forgotten.
    *may(PEOPLE, SINGLE, "StateTable", item="control", attributes=("pk", "sk", "mode", "paused", "by", "reason")),
    *may(PEOPLE, SINGLE, "StateTable", item=INSTANCE_ITEM, attributes=PINNING),
    *may(PEOPLE, "dynamodb:UpdateItem", "StateTable", item=INSTANCE_ITEM, attributes=LAPSING),
    *may(PEOPLE, "dynamodb:DeleteItem", "StateTable", item="targets"),
    *may_not(PEOPLE, f"{_PUTS} {OTHER_WAYS}", "StateTable", item="targets"),
    *may_not(PEOPLE, f"{SINGLE} {OTHER_WAYS}", "StateTable", item=("control", MAPPING_ITEM)),
    *may_not(PEOPLE, OTHER_WAYS, "StateTable", item=("control", INSTANCE_ITEM)),
    *may_not(PEOPLE, f"{SINGLE} {OTHER_WAYS}", "StateTable", item=[MAPPING_ITEM, *WRITTEN_BY_FUNCTIONS]),
    *may_not(PEOPLE, _PUTS, "StateTable", item=INSTANCE_ITEM, attributes=[("pk", "sk", each) for each in OURS]),
    *may_not(PEOPLE, _PUTS, "StateTable", item=INSTANCE_ITEM, attributes=(*PINNING, "grant:x")),
    *may_not(RECONCILING, "dynamodb:PutItem", "StateTable", item=INSTANCE_ITEM, attributes=("pk", "sk", "role")),
    *may_not(RECONCILING, "dynamodb:BatchGetItem", "StateTable", item=INSTANCE_ITEM, tls="false"),
    *may_not(PUBLISHING, "dynamodb:GetItem", "MappingTable", item="app", tls="false"),
    # A verdict is in columns of its own; what a person wrote no verdict changes.
    *may(PUBLISHING, "dynamodb:UpdateItem", "MappingTable", item="app", attributes=VERDICT),
    *may_not(
        PUBLISHING,
        "dynamodb:UpdateItem",
        "MappingTable",
        item="app",
        attributes=[(*VERDICT, "role"), ("tag_key", "tag_value", "allow_broad"), (*VERDICT, "anything")],
    ),
    *may_not(PUBLISHING, "dynamodb:UpdateItem", "MappingTable", item="app"),
    *may_not(PUBLISHING, "dynamodb:UpdateItem", "table", item="app", attributes=VERDICT),
    *may_not(FUNCTIONS, "dynamodb:PutItem dynamodb:BatchGetItem dynamodb:UpdateItem", "table of others"),
    *may(MAPPING, READING_A_STREAM, f"MappingTable:{STREAM}"),
    *may(STATE, READING_A_STREAM, f"StateTable:{STREAM}"),
    *may_not(MAPPING, "dynamodb:GetRecords", (f"StateTable:{STREAM}", f"table:{STREAM}", "MappingTable:stream/1")),
    *may_not(STATE, "dynamodb:GetRecords", (f"MappingTable:{STREAM}", f"table:{STREAM}", "StateTable:stream/1")),
    *may_not(STRANGER, "dynamodb:GetItem dynamodb:PutItem", ("MappingTable", "StateTable")),
]

BOTH = ("WorkQueue", "DeadLetterQueue")
SCHEDULES: list[Value] = ["OnScheduleSweep", "OnScheduleExpiries"]
QUEUES = [
    *may(EVENT, "sqs:ReceiveMessage sqs:DeleteMessage sqs:GetQueueAttributes", "WorkQueue"),
    *may(SCHEDULE, "sqs:GetQueueAttributes", "WorkQueue"),
    *may_not(SCHEDULE, "sqs:GetQueueAttributes", ("DeadLetterQueue", "queue", "queue of others")),
    *may_not(EVENT, "sqs:ReceiveMessage sqs:DeleteMessage", ("DeadLetterQueue", "queue", "queue of others")),
    *may((*PUBLISHING, STATE), "sqs:SendMessage", "WorkQueue"),
    *may((EVENT, RETRY), "sqs:SendMessage", "WorkQueue"),
    *may((*PUBLISHING, STATE, *MACHINES), "sqs:SendMessage", "DeadLetterQueue"),
    *may_not(RECONCILING, "sqs:SendMessage", "DeadLetterQueue"),
    *may_not(ALL, "sqs:SendMessage", ("queue", "queue of others")),
    *may(EVENTBRIDGE, "sqs:SendMessage", BOTH, by=["InstanceStateRule", "InstanceTagRule"]),
    *may(EVENTBRIDGE, "sqs:SendMessage", BOTH, by=["SpokeStateRule", "SpokeTagRule", "SpokePresentRule"]),
    *may(EVENTBRIDGE, "sqs:SendMessage", "DeadLetterQueue", by=SCHEDULES),
    *may_not(EVENTBRIDGE, "sqs:SendMessage", "WorkQueue", by="OnScheduleSweep"),
    *may_not(EVENTBRIDGE, "sqs:SendMessage", BOTH, by=["rule", "rule of others"]),
    *may_not(EVENTBRIDGE, "sqs:SendMessage", BOTH),
    *may_not("sns.amazonaws.com", "sqs:SendMessage", BOTH, by="InstanceStateRule"),
    *may_not((STRANGER, USER), "sqs:SendMessage sqs:ReceiveMessage", BOTH),
    *may_not(STRANGER, "sqs:SendMessage", BOTH, by="InstanceStateRule"),
    *may_not(EVENT, "sqs:ReceiveMessage", "WorkQueue", tls="false"),
    *may_not(MAPPING, "sqs:SendMessage", BOTH, tls="false"),
]

MAILS = [
    *may(FUNCTIONS, "events:PutEvents", "bus", source="rolekeeper"),
    *may_not(FUNCTIONS, "events:PutEvents", "bus", source=["aws.ec2", ("rolekeeper", "somebody")]),
    *may_not(FUNCTIONS, "events:PutEvents", ("other bus", "bus elsewhere", "bus of others"), source="rolekeeper"),
    *may(FUNCTIONS, "sns:Publish", "AlarmTopic"),
    *may_not(FUNCTIONS, "sns:Publish", "AlarmTopic", tls="false"),
    *may_not(FUNCTIONS, "sns:Publish", ("topic", "topic of others")),
    *may(FUNCTIONS, "kms:GenerateDataKey kms:Decrypt", "AlarmKey", via=f"sns.{REGION}.amazonaws.com"),
    *may_not(
        FUNCTIONS, "kms:Decrypt", "AlarmKey", via=[f"sqs.{REGION}.amazonaws.com", f"sns.{OTHER_REGION}.amazonaws.com"]
    ),
    *may_not(FUNCTIONS, "kms:Decrypt", "AlarmKey"),
    *may_not(FUNCTIONS, "kms:ScheduleKeyDeletion kms:PutKeyPolicy", "AlarmKey", via=f"sns.{REGION}.amazonaws.com"),
    *may_not(FUNCTIONS, "kms:Decrypt", "key", via=f"sns.{REGION}.amazonaws.com"),
    *may(CLOUDWATCH, "sns:Publish", "AlarmTopic", by="ContestedAlarm", of=ACCOUNT),
    *may_not(CLOUDWATCH, "sns:Publish", "AlarmTopic", by=["alarm", "alarm elsewhere"], of=ACCOUNT),
    *may_not(CLOUDWATCH, "sns:Publish", "AlarmTopic", by="ContestedAlarm"),
    *may_not(CLOUDWATCH, "sns:Publish", "AlarmTopic", of=ACCOUNT),
    *may_not(CLOUDWATCH, "sns:Publish", "AlarmTopic", by="alarm of others", of=OTHER_ACCOUNT),
    *may_not(CLOUDWATCH, "sns:Publish", "AlarmTopic", by="ContestedAlarm", of=ACCOUNT, tls="false"),
    *may_not(EVENTBRIDGE, "sns:Publish", "AlarmTopic", by="rule", of=ACCOUNT),
    *may_not((STRANGER, USER), "sns:Publish sns:Subscribe", "AlarmTopic"),
    # A mail is believed: no administrator sends one, whatever they are allowed.
    *may_not((ADMIN, ROOT), "sns:Publish", "AlarmTopic"),
    *may_not(STRANGER, "sns:Publish", "AlarmTopic", by="ContestedAlarm", of=ACCOUNT),
    *may(CLOUDWATCH, "kms:GenerateDataKey kms:Decrypt", "AlarmKey", by="ContestedAlarm", of=ACCOUNT),
    *may_not(CLOUDWATCH, "kms:Decrypt", "AlarmKey", by=["alarm", "alarm elsewhere"], of=ACCOUNT),
    *may_not(CLOUDWATCH, "kms:Decrypt", "AlarmKey", by="alarm of others", of=OTHER_ACCOUNT),
    *may_not(CLOUDWATCH, "kms:Decrypt", "AlarmKey", by="ContestedAlarm"),
    *may_not(CLOUDWATCH, "kms:Decrypt", "AlarmKey", of=ACCOUNT),
    *may_not(EVENTBRIDGE, "kms:Decrypt", "AlarmKey", by="ContestedAlarm", of=ACCOUNT),
    *may_not((STRANGER, USER), "kms:Decrypt", "AlarmKey"),
    *may_not(STRANGER, "kms:Decrypt", "AlarmKey", by="ContestedAlarm", of=ACCOUNT),
]

CODE = [
    *may(EVENT, "states:StartExecution", "RetryStateMachine"),
    *may(PUBLISHING, "states:StartExecution", ("ResumeStateMachine", "AccountsStateMachine")),
    *may_not((EVENT, *PUBLISHING), "states:StartExecution", "machine"),
    *may_not(PUBLISHING, "states:StartExecution", ("resume machine elsewhere", "resume machine of others")),
    *may(EACH, "states:StartExecution", "AccountsStateMachine"),
    *may(EACH, "states:DescribeExecution states:StopExecution", "child of the accounts machine"),
    *may_not(
        (EACH, *PUBLISHING), "states:StartExecution", ("accounts machine elsewhere", "accounts machine of others")
    ),
    *may_not(EACH, "states:StartExecution", ("ResumeStateMachine", "RetryStateMachine", "machine")),
    *may_not(
        EACH,
        "states:DescribeExecution states:StopExecution",
        ("execution", "execution of the accounts machine", "child of another map", "child elsewhere"),
    ),
    *may(EACH, "lambda:InvokeFunction", "OnSchedule"),
    *may_not(EACH, "lambda:InvokeFunction", ("OnRetry", "OnMappingChange", "function")),
    *may(STATE, "lambda:InvokeFunction", "OnSchedule"),
    *may_not(STATE, "lambda:InvokeFunction", ("OnRetry", "OnInstanceEvent", "function")),
    *may(LOOP, "lambda:InvokeFunction", "OnRetry"),
    *may_not(LOOP, "lambda:InvokeFunction", ("OnSchedule", "OnMappingChange", "function")),
    *may(RESUME, "lambda:InvokeFunction", "OnSchedule"),
    *may_not(RESUME, "lambda:InvokeFunction", ("OnRetry", "OnMappingChange", "function")),
    *may(SCHEDULE, "lambda:InvokeFunction", "OnSchedule"),
    *may_not(LOOKING, "lambda:InvokeFunction", ("OnRetry", "function")),
    *may(EVENTBRIDGE, "lambda:InvokeFunction", "OnSchedule", by=SCHEDULES),
    *may_not(EVENTBRIDGE, "lambda:InvokeFunction", "OnSchedule", by=["rule", "rule of others"]),
    *may_not(EVENTBRIDGE, "lambda:InvokeFunction", ("OnRetry", "OnInstanceEvent"), by="OnScheduleSweep"),
    *may_not((STRANGER, USER), "lambda:InvokeFunction", ("OnSchedule", "OnRetry", "OnMappingChange")),
    *may_not(STRANGER, "lambda:InvokeFunction", "OnSchedule", by=SCHEDULES),
]

LOGS = {
    EVENT: "OnInstanceEventLogs",
    RETRY: "OnRetryLogs",
    MAPPING: "OnMappingChangeLogs",
    SCHEDULE: "OnScheduleLogs",
    STATE: "OnStateChangeLogs",
}
WRITING = [
    *(each for role, log in LOGS.items() for each in may(role, "logs:CreateLogStream logs:PutLogEvents", f"{log}:1")),
    *may_not(ALL, "logs:PutLogEvents logs:CreateLogStream", "log"),
    *may(MACHINES, "logs:CreateLogDelivery logs:ListLogDeliveries", "everything"),
]

MACHINE_ARNS: list[Value] = ["RetryStateMachine", "ResumeStateMachine", "AccountsStateMachine", "children's machine"]
TRUST = [
    *may(LAMBDA, "sts:AssumeRole", FUNCTIONS, of=ACCOUNT),
    *may_not(LAMBDA, "sts:AssumeRole", FUNCTIONS, of=OTHER_ACCOUNT),
    *may_not(LAMBDA, "sts:AssumeRole", FUNCTIONS),
    *may(STATES, "sts:AssumeRole", MACHINES, of=ACCOUNT, by=MACHINE_ARNS),
    *may_not(STATES, "sts:AssumeRole", MACHINES, of=ACCOUNT, by=["machine", "resume machine elsewhere"]),
    *may_not(STATES, "sts:AssumeRole", MACHINES, of=OTHER_ACCOUNT, by="resume machine of others"),
    *may_not(STATES, "sts:AssumeRole", MACHINES, of=OTHER_ACCOUNT, by="ResumeStateMachine"),
    *may_not(STATES, "sts:AssumeRole", MACHINES, by="ResumeStateMachine"),
    *may_not(STATES, "sts:AssumeRole", MACHINES, of=ACCOUNT),
    *may_not(STATES, "sts:AssumeRole", MACHINES),
    *may_not(STATES, "sts:AssumeRole", FUNCTIONS, of=ACCOUNT),
    *may_not(LAMBDA, "sts:AssumeRole", MACHINES, of=ACCOUNT, by="ResumeStateMachine"),
    *may_not((EC2, EVENTBRIDGE, STRANGER, USER), "sts:AssumeRole", ALL),
    *may_not((EC2, EVENTBRIDGE, STRANGER), "sts:AssumeRole", FUNCTIONS, of=ACCOUNT),
    *may_not(STRANGER, "sts:AssumeRole", LOOP, of=ACCOUNT, by="RetryStateMachine"),
]

# What a hub may do in other accounts is to be three roles of its organization, and no other; what those may is in
# `permitted_in_spokes`. An account may trust anybody, and a stranger's may trust us in order to be served.
READERS, CHANGERS, NOTIFIERS = ((f"{role} of others", role) for role in ("reader", "changer", "notifier"))
OF_SPOKES = (*READERS, *CHANGERS, *NOTIFIERS)
NO_SPOKES = (
    "administrator of others",
    "role of others",
    *(f"{role} of another namespace of others" for role in ("reader", "changer", "notifier")),
    *(f"{role} under a path of others" for role in ("reader", "changer", "notifier")),
)
# What the session of a function's role says, which function has it; and by which name it goes on.
FUNCTION = {role: role.removesuffix("Role") for role in FUNCTIONS}
SESSION = dict.fromkeys(FUNCTIONS, "rolekeeper") | {SCHEDULE: "rolekeeper-sweep"}


def in_spokes(
    says: Callable[..., Iterator[Case]], who: Sequence[str], on: Sequence[str], *, without: str = "", **given: Given
) -> Iterator[Case]:
    """A case for each function, which asks as it does by itself, but `without` one value and for what is given."""
    for role in who:
        asked = {"function": FUNCTION[role], "session": SESSION[role], "org_of_it": ORG, **given}
        yield from says(role, "sts:AssumeRole", on, **{key: asked[key] for key in asked if key != without})


def forwarded(says: Callable[..., Iterator[Case]], *, without: str = "", **given: Given) -> Iterator[Case]:
    """What a forwarder of the organization sends to the bus, but `without` one value and for what is given."""
    role, kind = "forwarder of others", "EC2 Instance State-change Notification"
    sent = {"org": ORG, "role": role, "source": "aws.ec2", "type": kind, **given}
    yield from says(STRANGER, "events:PutEvents", "SpokeBus", **{key: sent[key] for key in sent if key != without})


SPOKES = [
    *in_spokes(may, LOOKING, READERS),
    *in_spokes(may, PASSING, CHANGERS),
    *in_spokes(may, RECONCILING, NOTIFIERS),
    *in_spokes(may_not, (*PUBLISHING, STATE), NOTIFIERS),
    *in_spokes(may_not, (RETRY, STATE), CHANGERS),
    *in_spokes(may_not, FUNCTIONS, OF_SPOKES, org_of_it=OTHER_ORG),
    *in_spokes(may_not, FUNCTIONS, NO_SPOKES),
    # A function's role that another function got, or a person.
    *in_spokes(may_not, LOOKING, OF_SPOKES, function=["function", "OnStateChange"]),
    *in_spokes(may_not, FUNCTIONS, OF_SPOKES, without="function"),
    # The sweep's name is no other function's, and it has no other for what it reads.
    *in_spokes(may_not, (*RECONCILING, MAPPING), READERS, session="rolekeeper-sweep"),
    *in_spokes(may_not, (SCHEDULE,), READERS, session="rolekeeper"),
    *in_spokes(may_not, FUNCTIONS, OF_SPOKES, session="anything"),
    *in_spokes(may_not, FUNCTIONS, OF_SPOKES, without="session"),
    *in_spokes(may_not, FUNCTIONS, OF_SPOKES, without="org_of_it"),
    *may_not(MACHINES, "sts:AssumeRole", OF_SPOKES, org_of_it=ORG),
    # The bus: the forwarders of the organization's accounts send it what AWS says, and do nothing else there.
    *forwarded(may),
    *forwarded(may, source="aws.tag", type="Tag Change on Resource"),
    *forwarded(may, source="aws.events", type="Scheduled Event"),
    *forwarded(may_not, source=["my.ec2", ("aws.ec2", "my.ec2"), "aws.s3"]),
    *forwarded(may_not, type="EC2 Spot Instance Interruption Warning"),
    *forwarded(may_not, org=OTHER_ORG),
    *forwarded(
        may_not, role=["administrator of others", "reader of others", "forwarder of another namespace of others"]
    ),
    *forwarded(may_not, without="org"),
    *forwarded(may_not, without="role"),
    *may_not(STRANGER, "events:PutRule events:PutTargets events:DeleteRule", "SpokeStateRule", org=ORG),
    *may_not(USER, "events:PutEvents", "SpokeBus"),
    # The registry of targets.
    *may_not(EVENT, "dynamodb:Query", "table", item="targets"),
    *may_not(SCHEDULE, "dynamodb:PutItem", "table", item="targets"),
]

# The key of KmsKeyArn: through the services that encrypt with it, for whoever uses them.
_TABLES = f"dynamodb.{REGION}.amazonaws.com"
OWN_KEY = [
    *may(ALL, "kms:Decrypt kms:GenerateDataKey", "own key", via=[_TABLES, f"sqs.{REGION}.amazonaws.com"]),
    *may_not(ALL, "kms:Decrypt", "own key", via=f"s3.{REGION}.amazonaws.com"),
    *may_not(ALL, "kms:Decrypt", "own key"),
    *may_not(
        ALL, "kms:Decrypt", "own key", via=[f"{each}.{OTHER_REGION}.amazonaws.com" for each in ("sqs", "dynamodb")]
    ),
    *may_not(ALL, "kms:Decrypt", "key", via=_TABLES),
]

SECTIONS = {
    "what instances carry": INSTANCES,
    "what instances carry, with TakeOver": TAKE_OVER,
    "roles and profiles": ROLES,
    "tables": TABLES,
    "queues": QUEUES,
    "events and mails": MAILS,
    "a key of the user's": OWN_KEY,
    "functions and the retry loop": CODE,
    "other accounts and Regions": SPOKES,
    "logs": WRITING,
    "who may be one of the roles": TRUST,
}
CASES = [case for section in SECTIONS.values() for case in section]

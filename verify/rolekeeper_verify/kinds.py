"""What a verification can leave in an account: how each service lists such things, and how each is deleted."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from botocore import xform_name

from rolekeeper.permissions.policies import listed
from rolekeeper_verify import proof
from rolekeeper_verify.aws import Aws
from rolekeeper_verify.names import PREFIX, TAG, Names, id_in, id_in_tag
from rolekeeper_verify.proof import (
    INSTANCE,
    LAUNCH,
    LOG_GROUP,
    PROFILE,
    RECORD,
    RULE,
    STACK,
    VOLUME,
    Key,
    Record,
    begin,
)

# ---- a thing, and its kind ----


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that looks as if a verification had left it."""

    kind: "Kind" = field(repr=False)
    id: str  # the verification's, by the thing's name or tag, which prove nothing
    name: str  # what people call it; `ref` is what the call that deletes it takes
    ref: str
    region: str = field(compare=False)  # the Region of the verification: of a bucket, the one that its name says
    # When it was made, or last changed; None if its list doesn't say.
    since: datetime | None = field(default=None, compare=False)
    failed: str = field(default="", compare=False)  # why its last deletion failed
    keys: tuple[Key, ...] = field(default=(), compare=False)  # what has to be proven of it, all of them
    # What is proven too, once this is: of an instance its volumes, of a stack its id.
    proves: tuple[Key, ...] = field(default=(), compare=False)
    # Its name says so, which is given when it is made; else only a tag does.
    is_named: bool = field(default=True, compare=False)

    @property
    def words(self) -> str:
        """Its kind and its name, with the id if the id isn't in it; no name that anybody may set."""
        if not self.is_named:
            return f"{self.kind.name} {self.ref}"
        return f"{self.kind.name} {self.name}" + ("" if self.name in self.ref else f" ({self.ref})")


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind of thing."""

    name: str
    type: str  # what CloudFormation calls it
    # The call that lists it, with each of `asked`, and what takes the things out of a page: each with `ref`, and with
    # `name`, `since`, `tags` and `failed` if known.
    lists: str
    deletes: str  # the call that asks for the deletion of one, which may take longer, and its parameter for `ref`
    empty: Callable[[Aws, str], None] = lambda _aws, _ref: None  # deletes first what it holds
    asked: Sequence[Mapping[str, Any]] = ({},)
    patience: int = 180  # how many seconds its deletion may take
    key: Callable[[str], str] = str  # what CloudFormation's physical id and `ref` have in common

    def found(self, aws: Aws, records: Sequence[Record] = ()) -> list[Leftover]:
        """All of this kind that have a verification's name, path or tag, or that are in a record.

        AwsRefusalError if the service doesn't list them.
        """
        found = (self._leftover(aws, item) for item in self._items(aws, records))
        return list(dict.fromkeys(leftover for leftover in found if leftover))

    def delete(self, aws: Aws, ref: str) -> None:
        self.empty(aws, ref)
        call, parameter = self.deletes.split()
        aws.call(call, **{parameter: [ref] if parameter.endswith("s") else ref})

    def by_hand(self, ref: str) -> str:
        """The command that deletes one, once what it holds is gone; empty if it should stay."""
        service, operation, parameter = re.split("[: ]", self.deletes)
        command, option = xform_name(operation, "-"), xform_name(parameter, "-")
        return f"aws {'s3api' if service == 's3' else service} {command} --{option} {ref}"

    def _items(self, aws: Aws, records: Sequence[Record]) -> Iterable[Mapping[str, Any]]:
        del records
        return self._listed(aws, self.asked)

    def _listed(self, aws: Aws, requests: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
        call, _, query = self.lists.partition(" ")
        return chain.from_iterable(aws.items(call, query, **asked) for asked in requests)

    def _leftover(self, aws: Aws, item: Mapping[str, Any]) -> Leftover | None:
        tags = {each["Key"]: each["Value"] for each in item.get("tags") or ()}
        ref = item["ref"]
        name = item.get("name") or ref
        found = named = id_in(name) or id_in(item.get("path") or "")
        if "name" not in item:  # as an instance, which has tags only
            title = tags.get("Name", "")
            found = found or id_in(item.get("token") or "") or id_in_tag(tags.get(TAG, "")) or id_in(title)
            name = title or name
        if not found:
            return None
        if ":" in name:  # of an ARN or a URL, the name
            name = name[max(0, name.find(PREFIX)) :]
        return Leftover(
            self,
            found,
            name,
            ref=ref,
            region=aws.region,
            since=item.get("since"),
            failed=item.get("failed") or "",
            keys=self._keys(item),
            proves=self._proves(item),
            is_named=bool(named),
        )

    def _keys(self, item: Mapping[str, Any]) -> tuple[Key, ...]:
        return ((self.type, self.key(item["ref"])),)

    def _proves(self, item: Mapping[str, Any]) -> tuple[Key, ...]:
        del item
        return ()


# EC2 shows a terminated instance for about an hour (`Timings` of the embedded AWS; EC2 user guide, "Terminate").
_SHOWN_FOR = timedelta(minutes=50)


class _Instances(Kind):
    """By the client tokens of their launches, which can't be set later; and those that EC2 doesn't show yet."""

    def _items(self, aws: Aws, records: Sequence[Record]) -> Iterator[Mapping[str, Any]]:
        known = {id_: record for record in records for id_ in record.refs(INSTANCE)}
        by = {"instance-id": [*known], "client-token": [token for record in records for token in record.refs(LAUNCH)]}
        asked = [{"Filters": [{"Name": name, "Values": values}]} for name, values in by.items() if values]
        shown = {item["ref"]: item for item in self._listed(aws, [*self.asked, *asked])}
        yield from (item for item in shown.values() if item["state"] != "terminated")
        for id_, record in known.items():
            at = record.made[INSTANCE, id_]
            # It was launched just now, or has been terminated for so long that EC2 forgot it.
            if id_ not in shown and aws.now() - at < _SHOWN_FOR:
                yield {"ref": id_, "since": at, "token": record.names.stack, "launched": id_}

    def _keys(self, item: Mapping[str, Any]) -> tuple[Key, ...]:
        token = item.get("token") or ""
        if "launched" in item:
            return ((INSTANCE, item["launched"]),)
        return ((LAUNCH, token),) if id_in(token) else ()

    def _proves(self, item: Mapping[str, Any]) -> tuple[Key, ...]:
        return tuple((VOLUME, volume) for volume in item.get("volumes") or ())


class _Layers(Kind):
    def delete(self, aws: Aws, ref: str) -> None:
        for version in list(aws.items("lambda:ListLayerVersions", "LayerVersions[].Version", LayerName=ref)):
            aws.call("lambda:DeleteLayerVersion", LayerName=ref, VersionNumber=version)


class _Stacks(Kind):
    """By their ids. One that has made nothing yet may be none that the record has, as its change set was cut off."""

    def _keys(self, item: Mapping[str, Any]) -> tuple[Key, ...]:
        return ((STACK, item["name" if item["status"] == "REVIEW_IN_PROGRESS" else "ref"]),)

    def _proves(self, item: Mapping[str, Any]) -> tuple[Key, ...]:
        return ((STACK, item["ref"]),)  # it loses that status while it is deleted


class _Buckets(Kind):
    """Buckets whose names say this account; S3 lists those of all Regions."""

    def _leftover(self, aws: Aws, item: Mapping[str, Any]) -> Leftover | None:
        found = super()._leftover(aws, item)
        region = Names(found.id).region_of(found.name, aws.account) if found else ""
        return replace(found, region=region) if found and region else None

    def delete(self, aws: Aws, ref: str) -> None:
        begin(ref)  # without its record, only this machine knows
        self.empty(aws, ref)
        # Anyone can make a bucket of that name once ours is gone.
        aws.call("s3:DeleteBucket", Bucket=ref, ExpectedBucketOwner=aws.account)


# As in a statement of AWS's (Step Functions developer guide, "Using CloudWatch Logs to log execution history").
_LOG_GROUP = re.compile(rf"arn:[^:]+:logs:[^:]+:\d+:log-group:((?:/[\w-]+)+/{PREFIX}[^:*?]+)(?::log-stream)?(?::\*)?")


class _ResourcePolicies(Kind):
    """What lets AWS deliver a machine's log. One policy has all machines of the account, so it may be others' too."""

    def by_hand(self, ref: str) -> str:
        del ref
        return ""  # others need it

    def _leftover(self, aws: Aws, item: Mapping[str, Any]) -> Leftover | None:
        groups = [_LOG_GROUP.fullmatch(arn) for arn in _resources(item["document"])]
        names = [group[1] for group in groups if group]
        ids = [id_ for name in names if (id_ := id_in(name))]
        if not ids:
            return None
        # All log groups that it is about; none if it is about another thing too.
        keys = tuple((LOG_GROUP, name) for name in names) if all(groups) else ()
        return Leftover(self, ids[0], item["ref"], ref=item["ref"], region=aws.region, keys=keys, is_named=False)


def _resources(document: str) -> list[str]:
    """What a policy is about; of a statement that can't be read so, something that is no log group."""
    try:
        statements = listed(json.loads(document)["Statement"])
        return [str(arn) for statement in statements for arn in listed(statement.get("Resource", "*"))]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ["*"]


# ---- how a thing is emptied ----


def _empty_rule(aws: Aws, rule: str) -> None:
    if targets := list(aws.items("events:ListTargetsByRule", "Targets[].Id", Rule=rule)):
        aws.call("events:RemoveTargets", Rule=rule, Ids=targets)


def _unprotect_table(aws: Aws, table: str) -> None:
    [protected] = aws.items("dynamodb:DescribeTable", "[Table.DeletionProtectionEnabled || `false`]", TableName=table)
    if protected:
        # With recovery on, DynamoDB would keep a backup for 35 days (docs/AWS_FACTS.md, "Lambda, SQS, DynamoDB …").
        off = {"PointInTimeRecoveryEnabled": False}
        aws.call("dynamodb:UpdateContinuousBackups", TableName=table, PointInTimeRecoverySpecification=off)
        aws.call("dynamodb:UpdateTable", TableName=table, DeletionProtectionEnabled=False)


def _empty_profile(aws: Aws, profile: str) -> None:
    named = {"InstanceProfileName": profile}
    for role in list(aws.items("iam:GetInstanceProfile", "InstanceProfile.Roles[].RoleName", **named)):
        aws.call("iam:RemoveRoleFromInstanceProfile", **named, RoleName=role)


def _empty_role(aws: Aws, role: str) -> None:
    for arn in list(aws.items("iam:ListAttachedRolePolicies", "AttachedPolicies[].PolicyArn", RoleName=role)):
        aws.call("iam:DetachRolePolicy", RoleName=role, PolicyArn=arn)
    for policy in list(aws.items("iam:ListRolePolicies", "PolicyNames", RoleName=role)):
        aws.call("iam:DeleteRolePolicy", RoleName=role, PolicyName=policy)


def _empty_bucket(aws: Aws, bucket: str) -> None:
    """Delete all that it holds; the record last, as it proves the rest."""
    named = {"Bucket": bucket, "ExpectedBucketOwner": aws.account}
    for upload in list(aws.items("s3:ListMultipartUploads", "Uploads[].{Key: Key, UploadId: UploadId}", **named)):
        aws.call("s3:AbortMultipartUpload", **named, **upload)
    query = "[Versions, DeleteMarkers][].{Key: Key, VersionId: VersionId}"
    for version in sorted(aws.items("s3:ListObjectVersions", query, **named), key=lambda each: each["Key"] == RECORD):
        aws.call("s3:DeleteObject", **named, **version)


# ---- all kinds, in the order in which they are deleted ----

# Two requests: what one asks for has to pass all of its filters.
_TAGGED = [
    {"Filters": [{"Name": "tag-key", "Values": [TAG]}]},
    {"Filters": [{"Name": "tag:Name", "Values": [f"{PREFIX}*"]}]},
]
_LARGE_PAGES = {"PaginationConfig": {"PageSize": 1000}}

# It is the first thing that a verification makes, and the last one that is deleted: as long as something of it may be
# left there is its bucket, in whose name is the Region.
BUCKET = _Buckets(
    "S3 bucket",
    proof.BUCKET,
    "s3:ListBuckets Buckets[].{ref: Name, since: CreationDate}",
    deletes="s3:DeleteBucket Bucket",
    empty=_empty_bucket,
)
KINDS: Sequence[Kind] = (
    _Instances(
        "EC2 instance",
        INSTANCE,
        "ec2:DescribeInstances Reservations[].Instances[].{ref: InstanceId, since: LaunchTime, tags: Tags, token: "
        "ClientToken, state: State.Name, volumes: BlockDeviceMappings[].Ebs.VolumeId}",
        deletes="ec2:TerminateInstances InstanceIds",
        asked=_TAGGED,
        patience=600,
    ),
    # Before the stacks: a role that a probe's profile has can't be deleted.
    Kind(
        "instance profile",
        PROFILE,
        "iam:ListInstanceProfiles InstanceProfiles[].{ref: InstanceProfileName, path: Path, since: CreateDate}",
        deletes="iam:DeleteInstanceProfile InstanceProfileName",
        empty=_empty_profile,
        asked=[_LARGE_PAGES],
    ),
    _Stacks(
        "CloudFormation stack",
        STACK,
        "cloudformation:DescribeStacks Stacks[].{ref: StackId, name: StackName, since: CreationTime, status: "
        "StackStatus, failed: StackStatus == 'DELETE_FAILED' && (StackStatusReason || StackStatus)}",
        deletes="cloudformation:DeleteStack StackName",
        patience=1800,
    ),
    Kind(
        "Lambda event source mapping",
        "AWS::Lambda::EventSourceMapping",
        "lambda:ListEventSourceMappings EventSourceMappings[].{ref: UUID, name: FunctionArn, since: LastModified}",
        deletes="lambda:DeleteEventSourceMapping UUID",
    ),
    Kind(
        "Lambda function",
        "AWS::Lambda::Function",
        "lambda:ListFunctions Functions[].{ref: FunctionName}",
        deletes="lambda:DeleteFunction FunctionName",
    ),
    _Layers(
        "Lambda layer",
        "AWS::Lambda::LayerVersion",
        "lambda:ListLayers Layers[].{ref: LayerName}",
        deletes="lambda:DeleteLayerVersion LayerName",
        key=lambda ref: re.sub(r"^arn:.*:layer:|:\d+$", "", ref),
    ),
    Kind(
        "EventBridge rule",
        RULE,
        "events:ListRules Rules[].{ref: Name}",
        deletes="events:DeleteRule Name",
        empty=_empty_rule,
        asked=[{"NamePrefix": PREFIX}],
    ),
    Kind(
        "Step Functions state machine",
        "AWS::StepFunctions::StateMachine",
        "stepfunctions:ListStateMachines stateMachines[].{ref: stateMachineArn, name: name, since: creationDate}",
        deletes="stepfunctions:DeleteStateMachine stateMachineArn",
    ),
    Kind(
        "CloudWatch alarm",
        "AWS::CloudWatch::Alarm",
        "cloudwatch:DescribeAlarms MetricAlarms[].{ref: AlarmName, since: AlarmConfigurationUpdatedTimestamp}",
        deletes="cloudwatch:DeleteAlarms AlarmNames",
        asked=[{"AlarmNamePrefix": PREFIX}],
    ),
    Kind(
        "CloudWatch dashboard",
        "AWS::CloudWatch::Dashboard",
        "cloudwatch:ListDashboards DashboardEntries[].{ref: DashboardName, since: LastModified}",
        deletes="cloudwatch:DeleteDashboards DashboardNames",
        asked=[{"DashboardNamePrefix": PREFIX}],
    ),
    Kind(
        "Logs Insights query",
        "AWS::Logs::QueryDefinition",
        "logs:DescribeQueryDefinitions queryDefinitions[].{ref: queryDefinitionId, name: name}",
        deletes="logs:DeleteQueryDefinition queryDefinitionId",
        asked=[{"queryDefinitionNamePrefix": PREFIX}],
    ),
    Kind("SNS topic", "AWS::SNS::Topic", "sns:ListTopics Topics[].{ref: TopicArn}", deletes="sns:DeleteTopic TopicArn"),
    Kind(
        "SQS queue",
        "AWS::SQS::Queue",
        "sqs:ListQueues QueueUrls[].{ref: @}",
        deletes="sqs:DeleteQueue QueueUrl",
        asked=[{"QueueNamePrefix": PREFIX, **_LARGE_PAGES}],
        key=lambda url: url.rpartition("/")[2],  # a queue has URLs under several hosts
    ),
    Kind(
        "DynamoDB table",
        "AWS::DynamoDB::Table",
        "dynamodb:ListTables TableNames[].{ref: @}",
        deletes="dynamodb:DeleteTable TableName",
        empty=_unprotect_table,
        patience=600,
    ),
    _ResourcePolicies(
        "CloudWatch Logs resource policy",
        "AWS::Logs::ResourcePolicy",
        "logs:DescribeResourcePolicies resourcePolicies[].{ref: policyName, document: policyDocument}",
        deletes="logs:DeleteResourcePolicy policyName",
    ),
    Kind(
        "log group",
        LOG_GROUP,
        "logs:DescribeLogGroups logGroups[].{ref: logGroupName}",
        deletes="logs:DeleteLogGroup logGroupName",
        asked=[{"logGroupNamePrefix": f"/aws/{each}/{PREFIX}"} for each in ("lambda", "vendedlogs/states")],
    ),
    Kind(
        "EBS volume",
        VOLUME,
        "ec2:DescribeVolumes Volumes[].{ref: VolumeId, since: CreateTime, tags: Tags}",
        deletes="ec2:DeleteVolume VolumeId",
        asked=_TAGGED,
    ),
    Kind(
        "security group",
        "AWS::EC2::SecurityGroup",
        "ec2:DescribeSecurityGroups SecurityGroups[].{ref: GroupId, name: GroupName}",
        deletes="ec2:DeleteSecurityGroup GroupId",
        asked=[_LARGE_PAGES],
    ),
    Kind(
        "IAM role",
        "AWS::IAM::Role",
        "iam:ListRoles Roles[].{ref: RoleName, path: Path, since: CreateDate}",
        deletes="iam:DeleteRole RoleName",
        empty=_empty_role,
        asked=[_LARGE_PAGES],
    ),
    Kind(
        "IAM policy",
        "AWS::IAM::ManagedPolicy",
        "iam:ListPolicies Policies[].{ref: Arn, name: PolicyName, path: Path, since: CreateDate}",
        deletes="iam:DeletePolicy PolicyArn",
        asked=[{"Scope": "Local", **_LARGE_PAGES}],
    ),
    BUCKET,
)


def key_of(type_: str, physical_id: str) -> str:
    """What proves a thing by CloudFormation's name for it."""
    return next((kind.key(physical_id) for kind in KINDS if kind.type == type_), physical_id)

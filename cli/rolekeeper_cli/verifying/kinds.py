"""What a verification can leave in an account: how each service lists such things, and how each is deleted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from typing import Any

from rolekeeper_cli.verifying.aws import Aws
from rolekeeper_cli.verifying.names import PREFIX, TAG, Names, id_in, id_in_tag

# ---- a thing, and its kind ----


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that a verification left.

    Attributes:
        id: the verification's.
        name: what people call it; `ref` is what the call that deletes it takes.
        region: the Region of the verification: of a bucket, the one that its name says.
        since: when it was made, or last changed; None if its list doesn't say.
        failed: why its last deletion failed.
        is_proof: whether it proves that there was a verification. A name alone doesn't: anyone can use it.
    """

    kind: "Kind" = field(repr=False)
    id: str
    name: str
    ref: str
    region: str = field(compare=False)
    since: datetime | None = field(default=None, compare=False)
    failed: str = field(default="", compare=False)
    is_proof: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind of thing.

    Attributes:
        listed_by: the call that lists it, with each of `asked`.
        query: takes the things out of a page, each with `ref`, and with `name`, `since`, `tags` and `failed` if known.
        delete: asks for the deletion of one, which may take longer than the call.
        patience: how many seconds its deletion may take.
        proves: whether one proves that there was a verification, tagged or not.
    """

    name: str
    listed_by: str
    query: str
    delete: Callable[[Aws, Leftover], None]
    asked: Sequence[Mapping[str, Any]] = ({},)
    patience: int = 180
    proves: bool = False

    def found(self, aws: Aws) -> list[Leftover]:
        """All of this kind that are a verification's by tag, name or path.

        Raises:
            AwsRefusalError: the service doesn't list them.
        """
        pages = (aws.items(self.listed_by, self.query, **asked) for asked in self.asked)
        return list(dict.fromkeys(leftover for each in chain(*pages) if (leftover := self._leftover(aws, each))))

    def _leftover(self, aws: Aws, item: Mapping[str, Any]) -> Leftover | None:
        tags = {each["Key"]: each["Value"] for each in item.get("tags") or ()}
        ref, tagged = item["ref"], id_in_tag(tags.get(TAG, ""))
        name = item.get("name") or ref
        found = id_in(name) or id_in(item.get("path") or "")
        if "name" not in item:  # as an instance, which has tags only
            found = found or tagged or id_in(tags.get("Name", ""))
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
            is_proof=self.proves or tagged == found,
        )


class _Buckets(Kind):
    """Buckets whose names say this account; S3 lists those of all Regions."""

    def _leftover(self, aws: Aws, item: Mapping[str, Any]) -> Leftover | None:
        found = super()._leftover(aws, item)
        region = Names(found.id).region_of(found.name, aws.account) if found else ""
        return replace(found, region=region) if found and region else None


# ---- how a thing is deleted that takes more than one call ----


def _by(call: str, asked: Callable[[str], Mapping[str, Any]]) -> Callable[[Aws, Leftover], None]:
    """By one call, to which `asked` gives what the list calls it."""
    return lambda aws, leftover: aws.call(call, **asked(leftover.ref))


def _delete_layer(aws: Aws, layer: Leftover) -> None:
    for version in list(aws.items("lambda:ListLayerVersions", "LayerVersions[].Version", LayerName=layer.ref)):
        aws.call("lambda:DeleteLayerVersion", LayerName=layer.ref, VersionNumber=version)


def _delete_rule(aws: Aws, rule: Leftover) -> None:
    if targets := list(aws.items("events:ListTargetsByRule", "Targets[].Id", Rule=rule.ref)):
        aws.call("events:RemoveTargets", Rule=rule.ref, Ids=targets)
    aws.call("events:DeleteRule", Name=rule.ref)


def _delete_table(aws: Aws, table: Leftover) -> None:
    [protected] = aws.items(
        "dynamodb:DescribeTable", "[Table.DeletionProtectionEnabled || `false`]", TableName=table.ref
    )
    if protected:
        # With recovery on, DynamoDB would keep a backup for 35 days (docs/AWS_FACTS.md, "Lambda, SQS, DynamoDB …").
        off = {"PointInTimeRecoveryEnabled": False}
        aws.call("dynamodb:UpdateContinuousBackups", TableName=table.ref, PointInTimeRecoverySpecification=off)
        aws.call("dynamodb:UpdateTable", TableName=table.ref, DeletionProtectionEnabled=False)
    aws.call("dynamodb:DeleteTable", TableName=table.ref)


def _delete_profile(aws: Aws, profile: Leftover) -> None:
    named = {"InstanceProfileName": profile.ref}
    for role in list(aws.items("iam:GetInstanceProfile", "InstanceProfile.Roles[].RoleName", **named)):
        aws.call("iam:RemoveRoleFromInstanceProfile", **named, RoleName=role)
    aws.call("iam:DeleteInstanceProfile", **named)


def _delete_role(aws: Aws, role: Leftover) -> None:
    named = {"RoleName": role.ref}
    for arn in list(aws.items("iam:ListAttachedRolePolicies", "AttachedPolicies[].PolicyArn", **named)):
        aws.call("iam:DetachRolePolicy", **named, PolicyArn=arn)
    for policy in list(aws.items("iam:ListRolePolicies", "PolicyNames", **named)):
        aws.call("iam:DeleteRolePolicy", **named, PolicyName=policy)
    aws.call("iam:DeleteRole", **named)


def _delete_bucket(aws: Aws, bucket: Leftover) -> None:
    # Anyone can make a bucket of that name once ours is gone.
    named = {"Bucket": bucket.ref, "ExpectedBucketOwner": aws.account}
    versions = "[Versions, DeleteMarkers][].{Key: Key, VersionId: VersionId}"
    for version in list(aws.items("s3:ListObjectVersions", versions, **named)):
        aws.call("s3:DeleteObject", **named, **version)
    for upload in list(aws.items("s3:ListMultipartUploads", "Uploads[].{Key: Key, UploadId: UploadId}", **named)):
        aws.call("s3:AbortMultipartUpload", **named, **upload)
    aws.call("s3:DeleteBucket", **named)


# ---- all kinds, in the order in which they are deleted ----


# Two requests: what one asks for has to pass all of its filters.
_TAGGED = [
    {"Filters": [{"Name": "tag-key", "Values": [TAG]}]},
    {"Filters": [{"Name": "tag:Name", "Values": [f"{PREFIX}*"]}]},
]
_LARGE_PAGES = {"PaginationConfig": {"PageSize": 1000}}
_STACK_FAILED = "StackStatus == 'DELETE_FAILED' && (StackStatusReason || StackStatus)"

# It is the first thing that a verification makes, and the last one that is deleted: as long as something of it may be
# left there is its bucket, in whose name is the Region.
BUCKET = _Buckets(
    "S3 bucket", "s3:ListBuckets", "Buckets[].{ref: Name, since: CreationDate}", delete=_delete_bucket, proves=True
)
KINDS: Sequence[Kind] = (
    Kind(
        "EC2 instance",
        "ec2:DescribeInstances",
        "Reservations[].Instances[] | [?State.Name != 'terminated'].{ref: InstanceId, since: LaunchTime, tags: Tags}",
        delete=_by("ec2:TerminateInstances", lambda id_: {"InstanceIds": [id_]}),
        asked=_TAGGED,
        patience=600,
    ),
    # Before the stacks: a role that a probe's profile has can't be deleted.
    Kind(
        "instance profile",
        "iam:ListInstanceProfiles",
        "InstanceProfiles[].{ref: InstanceProfileName, path: Path, since: CreateDate}",
        delete=_delete_profile,
        asked=[_LARGE_PAGES],
    ),
    Kind(
        "CloudFormation stack",
        "cloudformation:DescribeStacks",
        f"Stacks[].{{ref: StackId, name: StackName, since: CreationTime, tags: Tags, failed: {_STACK_FAILED}}}",
        delete=_by("cloudformation:DeleteStack", lambda id_: {"StackName": id_}),
        patience=1800,
    ),
    Kind(
        "Lambda event source mapping",
        "lambda:ListEventSourceMappings",
        "EventSourceMappings[].{ref: UUID, name: FunctionArn, since: LastModified}",
        delete=_by("lambda:DeleteEventSourceMapping", lambda uuid: {"UUID": uuid}),
    ),
    Kind(
        "Lambda function",
        "lambda:ListFunctions",
        "Functions[].{ref: FunctionName}",
        delete=_by("lambda:DeleteFunction", lambda name: {"FunctionName": name}),
    ),
    Kind("Lambda layer", "lambda:ListLayers", "Layers[].{ref: LayerName}", delete=_delete_layer),
    Kind(
        "EventBridge rule",
        "events:ListRules",
        "Rules[].{ref: Name}",
        delete=_delete_rule,
        asked=[{"NamePrefix": PREFIX}],
    ),
    Kind(
        "Step Functions state machine",
        "stepfunctions:ListStateMachines",
        "stateMachines[].{ref: stateMachineArn, name: name, since: creationDate}",
        delete=_by("stepfunctions:DeleteStateMachine", lambda arn: {"stateMachineArn": arn}),
    ),
    Kind(
        "CloudWatch alarm",
        "cloudwatch:DescribeAlarms",
        "MetricAlarms[].{ref: AlarmName, since: AlarmConfigurationUpdatedTimestamp}",
        delete=_by("cloudwatch:DeleteAlarms", lambda name: {"AlarmNames": [name]}),
        asked=[{"AlarmNamePrefix": PREFIX}],
    ),
    Kind(
        "CloudWatch dashboard",
        "cloudwatch:ListDashboards",
        "DashboardEntries[].{ref: DashboardName, since: LastModified}",
        delete=_by("cloudwatch:DeleteDashboards", lambda name: {"DashboardNames": [name]}),
        asked=[{"DashboardNamePrefix": PREFIX}],
    ),
    Kind(
        "Logs Insights query",
        "logs:DescribeQueryDefinitions",
        "queryDefinitions[].{ref: queryDefinitionId, name: name}",
        delete=_by("logs:DeleteQueryDefinition", lambda id_: {"queryDefinitionId": id_}),
        asked=[{"queryDefinitionNamePrefix": PREFIX}],
    ),
    Kind(
        "SNS topic",
        "sns:ListTopics",
        "Topics[].{ref: TopicArn}",
        delete=_by("sns:DeleteTopic", lambda arn: {"TopicArn": arn}),
    ),
    Kind(
        "SQS queue",
        "sqs:ListQueues",
        "QueueUrls[].{ref: @}",
        delete=_by("sqs:DeleteQueue", lambda url: {"QueueUrl": url}),
        asked=[{"QueueNamePrefix": PREFIX, **_LARGE_PAGES}],
    ),
    Kind("DynamoDB table", "dynamodb:ListTables", "TableNames[].{ref: @}", delete=_delete_table, patience=600),
    Kind(
        "log group",
        "logs:DescribeLogGroups",
        "logGroups[].{ref: logGroupName}",
        delete=_by("logs:DeleteLogGroup", lambda name: {"logGroupName": name}),
        asked=[{"logGroupNamePrefix": f"/aws/{each}/{PREFIX}"} for each in ("lambda", "vendedlogs/states")],
    ),
    Kind(
        "EBS volume",
        "ec2:DescribeVolumes",
        "Volumes[].{ref: VolumeId, since: CreateTime, tags: Tags}",
        delete=_by("ec2:DeleteVolume", lambda id_: {"VolumeId": id_}),
        asked=_TAGGED,
    ),
    Kind(
        "security group",
        "ec2:DescribeSecurityGroups",
        "SecurityGroups[].{ref: GroupId, name: GroupName, tags: Tags}",
        delete=_by("ec2:DeleteSecurityGroup", lambda id_: {"GroupId": id_}),
        asked=[_LARGE_PAGES],
    ),
    Kind(
        "IAM role",
        "iam:ListRoles",
        "Roles[].{ref: RoleName, path: Path, since: CreateDate}",
        delete=_delete_role,
        asked=[_LARGE_PAGES],
    ),
    Kind(
        "IAM policy",
        "iam:ListPolicies",
        "Policies[].{ref: Arn, name: PolicyName, path: Path, since: CreateDate}",
        delete=_by("iam:DeletePolicy", lambda arn: {"PolicyArn": arn}),
        asked=[{"Scope": "Local", **_LARGE_PAGES}],
    ),
    BUCKET,
)

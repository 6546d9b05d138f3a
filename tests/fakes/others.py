"""What Rolekeeper tells others, kept for the test to read: events, metrics, executions."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

from fakes.calls import Calls
from fakes.ec2 import client_error
from rolekeeper.model.instance import InstanceKey
from rolekeeper_local.ec2_model import Profile

# AWS_FACTS.md, "Limits and names".
PUT_EVENTS_BYTES = 262_144


class FakeEvents:
    """EventBridge's PutEvents. `refuses` is how many entries of each call it refuses."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.batches: list[int] = []
        self.sent: list[dict[str, Any]] = []
        self.refuses = 0

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803  # boto3's own name
        self._calls.starts("PutEvents")
        texts = (each for entry in Entries for each in (entry["Source"], entry["DetailType"], entry["Detail"]))
        if sum(len(text.encode()) for text in texts) > PUT_EVENTS_BYTES:
            raise client_error("ValidationException", "Total size of the entries in the request is over the limit.")
        self.batches.append(len(Entries))
        self.sent += [{**entry, "Detail": json.loads(entry["Detail"])} for entry in Entries]
        return {"FailedEntryCount": self.refuses, "Entries": [{"EventId": "e"} for _ in Entries]}

    def named(self, detail_type: str) -> list[dict[str, Any]]:
        return [each["Detail"] for each in self.sent if each["DetailType"] == detail_type]

    @property
    def kinds(self) -> list[str]:
        return [each["DetailType"] for each in self.sent]


class FakeTopic:
    """SNS's Publish: the mails that people got."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.mails: list[tuple[str, str]] = []

    def publish(self, TopicArn: str, Subject: str, Message: str) -> dict[str, Any]:  # noqa: N803, ARG002  # boto3's own names
        self._calls.starts("Publish")
        # SNS API reference, `Publish`.
        if not (Subject.isascii() and Subject.isprintable() and 0 < len(Subject) <= 100):
            raise client_error("InvalidParameter", "Invalid parameter: Subject")
        if not Message or len(Message.encode()) > PUT_EVENTS_BYTES:
            raise client_error("InvalidParameter", "Invalid parameter: Message")
        self.mails.append((Subject, Message))
        return {"MessageId": "m"}


class FakeAlarms:
    """CloudWatch's DescribeAlarms: `states` are those of metric alarms, by name, and `composite` ones of the others."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.states: dict[str, str] = {}
        self.composite: dict[str, str] = {}

    def describe_alarms(self, **arguments: Any) -> dict[str, Any]:
        self._calls.starts("DescribeAlarms")
        names, types = arguments["AlarmNames"], arguments.get("AlarmTypes", ["MetricAlarm"])
        assert 0 < len(names) <= 100, "CloudWatch API reference"

        def found(kind: str, states: Mapping[str, str]) -> list[dict[str, str]]:
            named = {name: states[name] for name in names if name in states and kind in types}
            arn = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:"
            return [{"AlarmName": name, "AlarmArn": arn + name, "StateValue": state} for name, state in named.items()]

        return {
            "MetricAlarms": found("MetricAlarm", self.states),
            "CompositeAlarms": found("CompositeAlarm", self.composite),
        }


class FakeStepFunctions:
    """Step Functions' StartExecution."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.started: list[dict[str, Any]] = []

    def start_execution(self, **arguments: Any) -> dict[str, Any]:
        self._calls.starts("StartExecution")
        self.started.append({**arguments, "input": json.loads(arguments["input"])})
        self._calls.ends("StartExecution")
        return {"executionArn": arguments["name"]}


class FakeLambda:
    """Lambda's Invoke, as an event: what functions were asked for."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.invoked: list[dict[str, Any]] = []

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803, ARG002  # boto3's own names
        self._calls.starts("Invoke")
        assert InvocationType == "Event"
        self.invoked.append(json.loads(Payload))
        return {"StatusCode": 202}


class FakeQueue:
    """SQS: what was sent, with how long it is kept back; and how many messages it says that wait.

    `instances` are those that the messages name, whole.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.sent: list[tuple[str, int]] = []
        self.instances: list[InstanceKey] = []
        self.waiting = self.delayed = 0
        self.bodies: list[dict[str, Any]] = []

    def clear(self) -> None:
        for each in (self.sent, self.instances, self.bodies):
            each.clear()

    def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
        self._calls.starts("GetQueueAttributes")
        waiting = {"ApproximateNumberOfMessages": self.waiting, "ApproximateNumberOfMessagesDelayed": self.delayed}
        return {"Attributes": {name: str(number) for name, number in waiting.items()}}

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803, ARG002  # boto3's own names
        self._calls.starts("SendMessageBatch")
        for entry in Entries:
            body = json.loads(entry["MessageBody"])
            self.bodies.append(body)
            self.sent.append((body["detail"]["instance-id"], entry.get("DelaySeconds", 0)))
            self.instances.append(InstanceKey(body["account"], body["region"], body["detail"]["instance-id"]))
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}


class CountedMetrics(Metrics):
    """Powertools' metrics, counted here and never printed."""

    def __init__(self) -> None:
        super().__init__(service="rolekeeper", namespace="Rolekeeper")
        self.counts: Counter[str] = Counter()

    def add_metric(self, name: str, unit: MetricUnit | str, value: float, resolution: Any = 60) -> None:  # noqa: ARG002  # Powertools' own shape
        self.counts[name] += int(value)


_MADE = datetime(2026, 1, 1, tzinfo=UTC)


class FakeIam:
    """IAM's roles and instance profiles, as far as a pin is checked: every profile's role is there, and trusts EC2."""

    def __init__(self, profiles: dict[str, Profile], calls: Calls, account: str) -> None:
        self._profiles = profiles
        self._calls = calls
        self._account = account
        # The policies of roles that have one, by name.
        self.inline: dict[str, dict[str, Any]] = {}
        # Roles that no profile holds, as IAM describes them, by name.
        self.others: dict[str, dict[str, Any]] = {}

    def get_role(self, RoleName: str) -> dict[str, Any]:  # noqa: N803  # boto3's own name
        self._calls.starts("GetRole")
        return {
            "Role": self._role(RoleName),
            "ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(_MADE, usegmt=True)}},
        }

    def _role(self, name: str) -> dict[str, Any]:
        if name in self.others:
            return self.others[name]
        arns = {arn.rpartition("/")[2]: arn for profile in self._profiles.values() for arn in profile.roles}
        if name not in arns:
            raise client_error("NoSuchEntity", f"The role with name {name} cannot be found.")
        statement = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
        named = {"RoleName": name, "Arn": arns[name], "Path": _path(arns[name]), "CreateDate": _MADE}
        return {**named, "RoleId": f"AROA{name.upper()}", "AssumeRolePolicyDocument": {"Statement": [statement]}}

    def get_instance_profile(self, InstanceProfileName: str) -> dict[str, Any]:  # noqa: N803  # the same
        self._calls.starts("GetInstanceProfile")
        if InstanceProfileName not in self._profiles:
            raise client_error("NoSuchEntity", f"Instance Profile {InstanceProfileName} cannot be found.")
        return {"InstanceProfile": self._profile(InstanceProfileName)}

    def _profile(self, name: str) -> dict[str, Any]:
        found = self._profiles[name]
        roles = [{"Arn": arn, "RoleName": arn.rpartition("/")[2]} for arn in found.roles]
        named = {"InstanceProfileName": name, "Arn": found.arn, "Path": _path(found.arn), "InstanceProfileId": found.id}
        return {**named, "Roles": roles}

    def get_account_authorization_details(
        self,
        Filter: list[str],  # noqa: N803  # boto3's own names
        MaxItems: int = 100,  # noqa: N803
        Marker: str = "0",  # noqa: N803
    ) -> dict[str, Any]:
        """A page of the roles; in another order than they were made."""
        self._calls.starts("GetAccountAuthorizationDetails")
        assert Filter == ["Role"]
        names = {arn.rpartition("/")[2] for profile in self._profiles.values() for arn in profile.roles}
        roles, first = sorted({*names, *self.others}, reverse=True), int(Marker)
        end = first + MaxItems
        more = {"IsTruncated": True, "Marker": str(end)} if end < len(roles) else {"IsTruncated": False}
        return {"RoleDetailList": [self._detail(each) for each in roles[first:end]], **more}

    def _detail(self, name: str) -> dict[str, Any]:
        role = self._role(name)
        held = [each for each, profile in self._profiles.items() if role["Arn"] in profile.roles]
        inline = {"PolicyName": "inline", "PolicyDocument": self.inline.get(name)}
        return {
            **role,
            "InstanceProfileList": [{**self._profile(each), "CreateDate": _MADE, "Roles": [role]} for each in held],
            "RolePolicyList": [inline] if name in self.inline else [],
            "AttachedManagedPolicies": [],
        }

    def get_paginator(self, name: str) -> Any:
        if name == "get_account_authorization_details":
            return _Details(self)
        self._calls.starts(name)
        return self

    def paginate(self, RoleName: str) -> list[dict[str, Any]]:  # noqa: N803  # the same
        empty: dict[str, Any] = {"PolicyNames": [], "AttachedPolicies": []}
        return [empty, {**empty, "PolicyNames": ["inline"] if RoleName in self.inline else []}]

    def get_role_policy(self, RoleName: str, PolicyName: str) -> dict[str, Any]:  # noqa: N803  # the same
        self._calls.starts("GetRolePolicy")
        if RoleName not in self.inline:
            raise client_error("NoSuchEntity", f"The role policy with name {PolicyName} cannot be found.")
        return {"RoleName": RoleName, "PolicyName": PolicyName, "PolicyDocument": self.inline[RoleName]}

    def create_instance_profile(self, InstanceProfileName: str, Path: str) -> dict[str, Any]:  # noqa: N803  # the same
        self._calls.starts("CreateInstanceProfile")
        arn = f"arn:aws:iam::{self._account}:instance-profile{Path}{InstanceProfileName}"
        made = Profile(InstanceProfileName, arn, f"AIPA{InstanceProfileName.upper()}", (), 0.0)
        self._profiles[InstanceProfileName] = made
        return {"InstanceProfile": {"InstanceProfileId": made.id}}

    def add_role_to_instance_profile(self, InstanceProfileName: str, RoleName: str) -> dict[str, Any]:  # noqa: N803  # the same
        self._calls.starts("AddRoleToInstanceProfile")
        role = self.others[RoleName]["Arn"]
        self._profiles[InstanceProfileName] = replace(self._profiles[InstanceProfileName], roles=(role,))
        return {}


class _Details:
    """The pages of `get_account_authorization_details`, as botocore's paginator gives them."""

    def __init__(self, iam: FakeIam) -> None:
        self._iam = iam

    def paginate(self, Filter: list[str], PaginationConfig: dict[str, int]) -> Iterator[dict[str, Any]]:  # noqa: N803  # the same
        asked: dict[str, Any] = {"Filter": Filter, "MaxItems": PaginationConfig["PageSize"]}
        while True:
            page = self._iam.get_account_authorization_details(**asked)
            yield page
            if not page["IsTruncated"]:
                return
            asked["Marker"] = page["Marker"]


def _path(arn: str) -> str:
    return f"/{arn.partition('/')[2].rpartition('/')[0]}/".replace("//", "/")

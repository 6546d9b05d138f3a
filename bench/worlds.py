"""What the server on loopback answers: one instance that a tag asks a role for, over the tests' own AWS."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from typing import Any

from botocore import xform_name

from bench import wire
from fakes.clock import START
from fixtures.account import FakeAccount

INSTANCE = "i-0abcd1234ef567890"
ROLE, TAG = "web", "app=web"


class OneInstance:
    """A running instance without a role, and the mapping of its tag. Time is real; EC2 associates in 0.2 s."""

    def __init__(self) -> None:
        self._closing = ExitStack()
        self._world = FakeAccount(self._closing)
        self._world.clock.seconds = (datetime.now(UTC) - START).total_seconds()
        self._world.publish(TAG, ROLE)
        key, _, value = TAG.partition("=")
        self._world.truth.launch(instance_id=INSTANCE, tags={key: value, "Name": "web-1", "env": "prod"})
        self._world.wait(3)
        self._ahead = 3.0

    def answer(self, request: wire.Request) -> Mapping[str, Any]:
        world = self._world
        world.clock.seconds = (datetime.now(UTC) - START).total_seconds() + self._ahead
        world.truth.tick()
        client = world.clients[request.service]
        if request.service == "ec2" and request.operation.startswith("Describe"):
            found: dict[str, Any] = _page(client, request)
            rows = [row for group in found.get("Reservations", ()) for row in group["Instances"]]
            for row in rows:
                row.update({**_fields(), **row})
            return found
        params = request.params
        if named := params.get("IamInstanceProfile", {}).get("Name"):
            params = {**params, "IamInstanceProfile": {"Arn": world.profiles[named].arn}}
        answer: Mapping[str, Any] = getattr(client, xform_name(request.operation))(**params)
        return answer


def _page(client: Any, request: wire.Request) -> Any:
    """One page of a describe call; ids come as a filter or by themselves."""
    params = dict(request.params)
    if ids := params.pop("InstanceIds", None):
        params["Filters"] = [{"Name": "instance-id", "Values": ids}]
    return next(iter(client.get_paginator(xform_name(request.operation)).paginate(**params)))


@cache
def _fields() -> dict[str, Any]:
    """What EC2 says of every instance beside what the tests' own AWS does, about as much as it does."""
    group = [{"GroupName": "web", "GroupId": "sg-0123456789abcdef0"}]
    address = {"Primary": True, "PrivateDnsName": "ip-10-0-0-1.ec2.internal", "PrivateIpAddress": "10.0.0.1"}
    interface = {
        "Attachment": {"AttachmentId": "eni-attach-0123456789abcdef0", "DeviceIndex": 0, "Status": "attached"},
        "Description": "",
        "Groups": group,
        "MacAddress": "0a:00:00:00:00:01",
        "NetworkInterfaceId": "eni-0123456789abcdef0",
        "OwnerId": "123456789012",
        "PrivateDnsName": "ip-10-0-0-1.ec2.internal",
        "PrivateIpAddress": "10.0.0.1",
        "PrivateIpAddresses": [address],
        "SourceDestCheck": True,
        "Status": "in-use",
        "SubnetId": "subnet-0123456789abcdef0",
        "VpcId": "vpc-0123456789abcdef0",
        "InterfaceType": "interface",
    }
    volume = {"AttachTime": "2026-11-01T00:00:00Z", "DeleteOnTermination": True, "Status": "attached"}
    return {
        "AmiLaunchIndex": 0,
        "ImageId": "ami-0123456789abcdef0",
        "InstanceType": "t3.medium",
        "KeyName": "web",
        "LaunchTime": "2026-11-01T00:00:00Z",
        "Monitoring": {"State": "disabled"},
        "Placement": {"AvailabilityZone": "us-east-1a", "GroupName": "", "Tenancy": "default"},
        "PrivateDnsName": "ip-10-0-0-1.ec2.internal",
        "PrivateIpAddress": "10.0.0.1",
        "PublicDnsName": "",
        "SubnetId": "subnet-0123456789abcdef0",
        "VpcId": "vpc-0123456789abcdef0",
        "Architecture": "x86_64",
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {**volume, "VolumeId": "vol-0123456789abcdef0"}}],
        "ClientToken": "01234567-89ab-cdef-0123-456789abcdef",
        "EbsOptimized": False,
        "EnaSupport": True,
        "Hypervisor": "xen",
        "NetworkInterfaces": [interface],
        "RootDeviceName": "/dev/xvda",
        "RootDeviceType": "ebs",
        "SecurityGroups": group,
        "SourceDestCheck": True,
        "VirtualizationType": "hvm",
        "CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 2},
        "HibernationOptions": {"Configured": False},
        "MetadataOptions": {"State": "applied", "HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        "EnclaveOptions": {"Enabled": False},
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "PrivateDnsNameOptions": {"HostnameType": "ip-name", "EnableResourceNameDnsARecord": False},
        "MaintenanceOptions": {"AutoRecovery": "default"},
        "CurrentInstanceBootMode": "legacy-bios",
    }


WORLDS: dict[str, Callable[..., Any]] = {"one_instance": OneInstance}

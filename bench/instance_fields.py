"""What EC2 says of every instance beside what the tests' own AWS does; about as much as it says."""

from typing import Any

_group = [{"GroupName": "web", "GroupId": "sg-0123456789abcdef0"}]
_address = {"Primary": True, "PrivateDnsName": "ip-10-0-0-1.ec2.internal", "PrivateIpAddress": "10.0.0.1"}
_interface = {
    "Attachment": {"AttachmentId": "eni-attach-0123456789abcdef0", "DeviceIndex": 0, "Status": "attached"},
    "Description": "",
    "Groups": _group,
    "MacAddress": "0a:00:00:00:00:01",
    "NetworkInterfaceId": "eni-0123456789abcdef0",
    "OwnerId": "123456789012",
    "PrivateDnsName": "ip-10-0-0-1.ec2.internal",
    "PrivateIpAddress": "10.0.0.1",
    "PrivateIpAddresses": [_address],
    "SourceDestCheck": True,
    "Status": "in-use",
    "SubnetId": "subnet-0123456789abcdef0",
    "VpcId": "vpc-0123456789abcdef0",
    "InterfaceType": "interface",
}
_volume = {"AttachTime": "2026-11-01T00:00:00Z", "DeleteOnTermination": True, "Status": "attached"}
FIELDS: dict[str, Any] = {
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
    "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {**_volume, "VolumeId": "vol-0123456789abcdef0"}}],
    "ClientToken": "01234567-89ab-cdef-0123-456789abcdef",
    "EbsOptimized": False,
    "EnaSupport": True,
    "Hypervisor": "xen",
    "NetworkInterfaces": [_interface],
    "RootDeviceName": "/dev/xvda",
    "RootDeviceType": "ebs",
    "SecurityGroups": _group,
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

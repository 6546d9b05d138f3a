"""What the two instances of a verification are: the type, the subnet and the AMI."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolekeeper.aws.errors import classified
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_verify.names import TAG

ARM, INTEL = "arm64", "x86_64"  # as EC2 has them
# The cheapest first. Not every Region has every family, nor every zone of one.
SMALLEST: Mapping[str, str] = {"t4g.nano": ARM, "t3.nano": INTEL, "t4g.micro": ARM, "t3.micro": INTEL}
# AWS's public parameter with the AMI of Amazon Linux (Amazon Linux user guide, "AL2023 on Amazon EC2").
IMAGE_PARAMETER = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for; what is None is chosen."""

    instance_type: str | None = None
    subnet: str | None = None
    ami: str | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """What both instances are launched as, in the first of the subnets that has room for it."""

    instance_type: str
    architecture: str
    subnets: tuple[str, ...]
    vpc: str
    image: str

    def launch_request(self, id_: str, tags: Mapping[str, str]) -> dict[str, Any]:
        """What RunInstances takes for one instance of a verification beside a subnet, with further tags.

        It has no tag that a mapping of another deployment may be about, such as `Name`.
        """
        tag = [{"Key": TAG, "Value": id_}]
        more = [{"Key": key, "Value": value} for key, value in tags.items()]
        return {
            "ImageId": self.image,
            "InstanceType": self.instance_type,
            "MinCount": 1,
            "MaxCount": 1,
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {"HttpTokens": "required"},
            "TagSpecifications": [
                {"ResourceType": "instance", "Tags": [*tag, *more]},
                {"ResourceType": "volume", "Tags": tag},
            ],
        }


def resolve(deployment: Deployment, wanted: Wanted) -> Machine:
    """The smallest type that a zone of the subnets offers, and Amazon Linux for its processor.

    CommandError if the account or the Region lacks one of them; AwsRefusalError if the caller may not ask, or what was
    named doesn't exist.
    """
    ec2 = deployment.client("ec2")
    types = _types(ec2, wanted)
    subnets = _subnets(ec2, wanted.subnet)
    offered = _offered(ec2, [*types], [*subnets])
    for name, architecture in types.items():
        if zones := sorted(zone for zone in subnets if (name, zone) in offered):
            image = wanted.ami or _amazon_linux(deployment, architecture)
            found, vpc = [subnets[zone] for zone in zones], subnets[zones[0]]["VpcId"]
            ids = tuple(subnet["SubnetId"] for subnet in found if subnet["VpcId"] == vpc)
            return Machine(name, architecture, subnets=ids, vpc=vpc, image=image)
    what = f"{' and '.join(sorted(subnets))} offer none of {', '.join(types)}"
    raise CommandError(what, "choose others: --instance-type, --subnet")


def _types(ec2: Any, wanted: Wanted) -> Mapping[str, str]:
    """The types that may be used, in the order of preference, each with its processor architecture."""
    if name := wanted.instance_type:
        with classified("ec2:DescribeInstanceTypes", name):
            [found] = ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"]
        return {name: ARM if ARM in found["ProcessorInfo"]["SupportedArchitectures"] else INTEL}
    if not wanted.ami:
        return SMALLEST
    with classified("ec2:DescribeImages", wanted.ami):
        images = ec2.describe_images(ImageIds=[wanted.ami])["Images"]
    if not images:
        raise CommandError(f"there is no AMI {wanted.ami} here", "choose one of this Region, or leave out --ami")
    return {name: each for name, each in SMALLEST.items() if each == images[0]["Architecture"]}


def _subnets(ec2: Any, wanted: str | None) -> dict[str, dict[str, str]]:
    """The subnets that may be used, by their zones: the named one, or the default ones."""
    asked = {"SubnetIds": [wanted]} if wanted else {"Filters": [{"Name": "default-for-az", "Values": ["true"]}]}
    with classified("ec2:DescribeSubnets", wanted or "*"):
        found = ec2.describe_subnets(**asked)["Subnets"]
    if not found:
        raise CommandError("the Region has no default subnet", "choose one: --subnet; it needs no way out")
    return {each["AvailabilityZone"]: each for each in found}


def _offered(ec2: Any, types: Sequence[str], zones: Sequence[str]) -> set[tuple[str, str]]:
    filters = [{"Name": "instance-type", "Values": types}, {"Name": "location", "Values": zones}]
    with classified("ec2:DescribeInstanceTypeOfferings", "*"):
        pages = ec2.get_paginator("describe_instance_type_offerings").paginate(
            LocationType="availability-zone", Filters=filters
        )
        return {(each["InstanceType"], each["Location"]) for page in pages for each in page["InstanceTypeOfferings"]}


def _amazon_linux(deployment: Deployment, architecture: str) -> str:
    name = IMAGE_PARAMETER.format(architecture)
    with classified("ssm:GetParameter", name):
        return str(deployment.client("ssm").get_parameter(Name=name)["Parameter"]["Value"])

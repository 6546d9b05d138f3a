"""What the two instances of a verification are: the type, the subnet and the AMI."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_verify.aws import Aws
from rolekeeper_verify.names import TAG

ARM, INTEL = "arm64", "x86_64"  # as EC2 has them
# The cheapest first. Not every Region has every family, nor every zone of one.
SMALLEST: Mapping[str, str] = {"t4g.nano": ARM, "t3.nano": INTEL, "t4g.micro": ARM, "t3.micro": INTEL}
# AWS's public parameter with the AMI of Amazon Linux (Amazon Linux user guide, "AL2023 on Amazon EC2").
IMAGE_PARAMETER = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{}"
_OFFERS = "InstanceTypeOfferings[].[InstanceType, Location]"


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
    aws = Aws(deployment)
    types, subnets = _types(aws, wanted), _subnets(aws, wanted.subnet)
    filters = [{"Name": "instance-type", "Values": [*types]}, {"Name": "location", "Values": [*subnets]}]
    asked = {"LocationType": "availability-zone", "Filters": filters}
    offered = list(aws.items("ec2:DescribeInstanceTypeOfferings", _OFFERS, **asked))
    for name, architecture in types.items():
        if zones := sorted(zone for zone in subnets if [name, zone] in offered):
            parameter = {"Name": IMAGE_PARAMETER.format(architecture)}
            image = wanted.ami or str(aws.call("ssm:GetParameter", **parameter)["Parameter"]["Value"])
            found, vpc = [subnets[zone] for zone in zones], subnets[zones[0]]["VpcId"]
            ids = tuple(subnet["SubnetId"] for subnet in found if subnet["VpcId"] == vpc)
            return Machine(name, architecture, subnets=ids, vpc=vpc, image=image)
    what = f"{' and '.join(sorted(subnets))} offer none of {', '.join(types)}"
    raise CommandError(what, "choose others: --instance-type, --subnet")


def _types(aws: Aws, wanted: Wanted) -> Mapping[str, str]:
    """The types that may be used, in the order of preference, each with its processor architecture."""
    if name := wanted.instance_type:
        [found] = aws.call("ec2:DescribeInstanceTypes", InstanceTypes=[name])["InstanceTypes"]
        return {name: ARM if ARM in found["ProcessorInfo"]["SupportedArchitectures"] else INTEL}
    if not wanted.ami:
        return SMALLEST
    images = aws.call("ec2:DescribeImages", ImageIds=[wanted.ami])["Images"]
    if not images:
        raise CommandError(f"there is no AMI {wanted.ami} here", "choose one of this Region, or leave out --ami")
    return {name: each for name, each in SMALLEST.items() if each == images[0]["Architecture"]}


def _subnets(aws: Aws, wanted: str | None) -> dict[str, dict[str, str]]:
    """The subnets that may be used, by their zones: the named one, or the default ones."""
    asked = {"SubnetIds": [wanted]} if wanted else {"Filters": [{"Name": "default-for-az", "Values": ["true"]}]}
    found = aws.call("ec2:DescribeSubnets", **asked)["Subnets"]
    if not found:
        raise CommandError("the Region has no default subnet", "choose one: --subnet; it needs no way out")
    return {each["AvailabilityZone"]: each for each in found}

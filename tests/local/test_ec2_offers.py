"""What a verification asks of the Region before it launches, on the embedded AWS."""

from typing import Any

import pytest

from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.options import Options
from rolekeeper_local.embedded import EmbeddedAws
from rolekeeper_verify.machine import Wanted, resolve

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]


def test_it_offers_the_smallest_type_with_a_subnet_and_an_ami(aws: EmbeddedAws) -> None:
    deployment = Deployment(Options(endpoint_url=aws.endpoint))
    deployment.session = aws.session()
    made = resolve(deployment, Wanted())
    assert (made.instance_type, made.architecture) == ("t3.nano", "x86_64")
    ec2 = aws.session().client("ec2")
    assert ec2.describe_subnets(SubnetIds=[made.subnets[0]])["Subnets"][0]["VpcId"] == made.vpc
    assert ec2.describe_images(ImageIds=[made.image])["Images"]


def test_a_type_that_no_zone_offers_isn_t_listed(aws: EmbeddedAws) -> None:
    filters: Any = [
        {"Name": "instance-type", "Values": ["t4g.nano", "t3.nano"]},
        {"Name": "location", "Values": ["us-east-1b"]},
    ]
    offered = (
        aws.session().client("ec2").describe_instance_type_offerings(LocationType="availability-zone", Filters=filters)
    )
    assert [(each["InstanceType"], each["Location"]) for each in offered["InstanceTypeOfferings"]] == [
        ("t3.nano", "us-east-1b")
    ]

"""What a verification launches: the smallest type that a zone offers, in a subnet that is there, and its AMI."""

from typing import Any

import pytest
from moto.ec2.models import ec2_backends

from fixtures.account import ACCOUNT, REGION
from fixtures.mappings import session
from fixtures.terminal import Terminal
from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.options import Options
from rolekeeper_verify import machine
from rolekeeper_verify.machine import IMAGE_PARAMETER, Wanted, resolve


@pytest.fixture
def ec2(terminal: Terminal) -> Any:
    """moto's, with the Region's own offers."""
    terminal.clients |= {"ec2": session().client("ec2"), "ssm": session().client("ssm")}
    return terminal.clients["ec2"]


def test_by_default_it_is_the_cheapest_type_with_amazon_linux_in_a_default_subnet(ec2: Any) -> None:
    made = resolve(Deployment(Options()), Wanted())
    [subnet] = ec2.describe_subnets(SubnetIds=[made.subnets[0]])["Subnets"]
    linux = session().client("ssm").get_parameter(Name=IMAGE_PARAMETER.format("arm64"))["Parameter"]["Value"]
    assert (made.instance_type, made.architecture, made.image) == ("t4g.nano", "arm64", linux)
    assert (subnet["AvailabilityZone"], subnet["VpcId"]) == (f"{REGION}a", made.vpc)


def test_a_zone_without_the_small_types_is_left_out(ec2: Any) -> None:
    """moto knows, as AWS does, that us-east-1e offers neither family."""
    for each in ec2.describe_subnets()["Subnets"]:
        if each["AvailabilityZone"] not in {f"{REGION}e", f"{REGION}f"}:
            ec2.delete_subnet(SubnetId=each["SubnetId"])
    made = resolve(Deployment(Options()), Wanted())
    assert ec2.describe_subnets(SubnetIds=[made.subnets[0]])["Subnets"][0]["AvailabilityZone"] == f"{REGION}f"


def test_where_no_zone_offers_one_it_says_so(ec2: Any) -> None:
    subnets = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": [f"{REGION}e"]}])["Subnets"]
    with pytest.raises(CommandError, match=r"us-east-1e offer none of t4g\.nano, t3\.nano.*\n.*--instance-type"):
        resolve(Deployment(Options()), Wanted(subnet=subnets[0]["SubnetId"]))


def test_what_is_named_is_taken(ec2: Any) -> None:
    subnet = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": [f"{REGION}b"]}])["Subnets"][0]
    made = resolve(Deployment(Options()), Wanted("m5.large", subnet["SubnetId"], "ami-mine"))
    assert made == machine.Machine("m5.large", "x86_64", (subnet["SubnetId"],), subnet["VpcId"], "ami-mine")


def test_the_type_fits_the_ami(ec2: Any) -> None:
    image = ec2.register_image(Name="mine")
    # Moto doesn't keep what it is registered with.
    ec2_backends[ACCOUNT][REGION].amis[image["ImageId"]].architecture = "x86_64"
    made = resolve(Deployment(Options()), Wanted(ami=image["ImageId"]))
    assert (made.instance_type, made.image) == ("t3.nano", image["ImageId"])


def test_a_region_without_a_default_subnet_needs_one_named(ec2: Any) -> None:
    for each in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=each["SubnetId"])
    with pytest.raises(CommandError, match=r"no default subnet\n.*--subnet"):
        resolve(Deployment(Options()), Wanted())


@pytest.mark.parametrize(
    "wanted", [Wanted(subnet="subnet-0123"), Wanted("t9.none"), Wanted(ami="ami-0123456789abcdef0")]
)
def test_what_is_named_and_doesn_t_exist_is_aws_s_refusal(ec2: Any, wanted: Wanted) -> None:
    del ec2
    with pytest.raises(AwsRefusalError, match=r"t9\.none|0123"):
        resolve(Deployment(Options()), wanted)

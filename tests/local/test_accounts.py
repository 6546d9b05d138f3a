"""The embedded AWS's accounts and Regions: whose a call is, and where what it does shows."""

import pytest
from botocore.exceptions import ClientError

from rolekeeper_local.embedded import EmbeddedAws
from support.buses import Bus
from support.waiting import eventually, stays

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

HOME, SPOKE, OTHER = "000000000000", "111111111111", "222222222222"
AMI = "ami-0abcdef1234567890"


def test_a_key_of_twelve_digits_is_the_root_of_that_account(aws: EmbeddedAws) -> None:
    for account in (HOME, SPOKE, "987654321098"):
        caller = aws.session(account=account).client("sts").get_caller_identity()
        assert (caller["Account"], caller["Arn"]) == (account, f"arn:aws:iam::{account}:root")


def test_what_one_account_or_region_has_no_other_has(aws: EmbeddedAws) -> None:
    made = aws.session(account=SPOKE, region="eu-west-1")
    assert f":{SPOKE}:" in made.client("sns").create_topic(Name="here")["TopicArn"]
    made.client("iam").create_role(RoleName="global", AssumeRolePolicyDocument="{}")
    for account, region in ((SPOKE, "us-east-1"), (OTHER, "eu-west-1")):
        assert aws.session(account=account, region=region).client("sns").list_topics()["Topics"] == []
    role = aws.session(account=SPOKE).client("iam").get_role(RoleName="global")["Role"]
    assert role["Arn"] == f"arn:aws:iam::{SPOKE}:role/global", "IAM knows no Regions"
    with pytest.raises(ClientError, match="NoSuchEntity"):
        aws.session(account=OTHER).client("iam").get_role(RoleName="global")


def test_an_instances_events_go_to_the_default_bus_of_its_account_and_region_only(aws: EmbeddedAws) -> None:
    pattern = {"source": ["aws.ec2", "aws.tag"]}
    here = Bus(aws, SPOKE, "eu-west-1").listen(pattern)
    others = [Bus(aws, *place).listen(pattern) for place in ((SPOKE, "us-east-1"), (OTHER, "eu-west-1"))]
    launched = here.session.client("ec2").run_instances(
        ImageId=AMI,
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "workload", "Value": "web"}]}],
    )
    arn = f"arn:aws:ec2:eu-west-1:{SPOKE}:instance/{launched['Instances'][0]['InstanceId']}"
    heard = eventually(lambda: here.heard() if len(here.heard()) == 3 else None)
    assert {(each["account"], each["region"], *each["resources"]) for each in heard} == {(SPOKE, "eu-west-1", arn)}
    assert sorted(each["source"] for each in heard) == ["aws.ec2", "aws.ec2", "aws.tag"]
    stays(lambda: not any(each.heard() for each in others), 0.5)

"""What a role may do, as a line that a person reads, and by service."""

import pytest

from rolekeeper.aws.iam import Policies
from rolekeeper.permissions.policies import permissions
from rolekeeper_cli.role.access import Access, Level, accesses, summary
from support.grants import allow, policy

pytestmark = pytest.mark.usefixtures("web_and_db", "silence")


def of(*statements: dict[str, object]) -> list[Access]:
    return accesses(permissions(Policies((policy(*statements),))).allowed)


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        (["s3:GetObject", "s3:ListBucket", "sqs:ReceiveMessage"], "reads S3 and SQS"),
        (["dynamodb:PutItem", "dynamodb:Query"], "writes DynamoDB; reads DynamoDB"),
        (["S3:getobject"], "reads S3"),
        (["s3:Get*"], "reads S3"),
        (["dynamodb:*"], "full access to DynamoDB"),
        (["iam:PutRolePolicy", "kms:CreateGrant", "s3:PutObjectAcl"], "manages permissions of IAM, KMS and S3"),
        (["autoscaling:PutScalingPolicy", "ec2:CreateNetworkAcl"], "writes EC2 and autoscaling"),
        (["sts:AssumeRole", "kms:Decrypt", "s3:G*"], "may use KMS, S3 and STS"),
        (["*"], "everything on *"),
        (["*:*"], "everything on *"),
        (["*:Get*"], "*:Get* on *"),
        (["*", "s3:GetObject"], "everything on *"),
    ],
)
def test_actions_are_grouped_by_what_their_names_say(actions: list[str], said: str) -> None:
    assert summary(of(allow(actions))) == said


def test_what_goes_furthest_comes_first() -> None:
    found = of(allow(["s3:GetObject"], "arn:aws:s3:::logs/*"), allow(["sqs:*"]), allow(["iam:AttachRolePolicy"], "*"))
    assert summary(found) == "full access to SQS; manages permissions of IAM; reads S3"


def test_everything_but_something_says_so() -> None:
    [found] = of({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"})
    assert (found.level, summary([found])) == (Level.FULL, "everything but iam:* on *")


def test_what_several_policies_let_through_together_is_what_the_narrowest_does() -> None:
    held = Policies((policy(allow(["s3:*"])),), boundary=policy(allow(["s3:Get*", "ec2:*"])))
    assert summary(accesses(permissions(held).allowed)) == "reads S3"


def test_each_is_given_with_its_actions_resources_and_conditions_as_policies_write_them() -> None:
    test = {"StringEquals": {"aws:SourceVpc": "vpc-1"}}
    [found] = of({**allow(["s3:GetObject", "s3:ListBucket"], "arn:aws:s3:::logs/*"), "Condition": test})
    on, conditions = ("arn:aws:s3:::logs/*",), ('StringEquals aws:SourceVpc "vpc-1"',)
    assert found == Access("S3", Level.READS, ("s3:GetObject", "s3:ListBucket"), on, conditions)

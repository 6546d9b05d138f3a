"""The embedded AWS's sts:AssumeRole across accounts: who gets in, as whom, and who doesn't."""

from collections.abc import Callable

import boto3
import pytest
from botocore.exceptions import ClientError

from rolekeeper_local.embedded import EmbeddedAws
from support.roles import ANYBODY, assumed, make_role

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

HUB, SPOKE, STRANGER = "000000000000", "111111111111", "333333333333"


def may_assume(arn: str) -> dict[str, str]:
    return {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": arn}


def refused(call: Callable[[], object]) -> bool:
    with pytest.raises(ClientError) as refusal:
        call()
    return refusal.value.response["Error"]["Code"] == "AccessDenied"


@pytest.fixture(scope="module")
def hub(aws: EmbeddedAws) -> str:
    """The hub's role, which may assume any role called reader-… under the path; its ARN."""
    arn = "arn:aws:iam::*:role/rolekeeper/reader-*"
    return make_role(aws, HUB, ANYBODY, may_assume(arn), name="hub")


@pytest.fixture(scope="module")
def as_hub(aws: EmbeddedAws, hub: str) -> boto3.Session:
    return assumed(aws, hub, by=aws.session())


def test_a_session_acts_in_the_roles_account_with_its_policy(aws: EmbeddedAws, hub: str, as_hub: boto3.Session) -> None:
    describe = {"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"}
    conditions = {"aws:PrincipalOrgID": "o-embeddedaws", "aws:PrincipalArn": hub}
    arn = make_role(aws, SPOKE, {"AWS": hub}, describe, name="reader-one", StringEquals=conditions)
    (launched,) = (
        aws.session(account=SPOKE).client("ec2").run_instances(ImageId="ami-1", MinCount=1, MaxCount=1)["Instances"]
    )
    reader = assumed(aws, arn, by=as_hub)
    caller = reader.client("sts").get_caller_identity()
    assert caller["Arn"] == f"arn:aws:sts::{SPOKE}:assumed-role/reader-one/test"
    assert caller["Account"] == SPOKE
    (seen,) = reader.client("ec2").describe_instances()["Reservations"]
    assert seen["Instances"][0]["InstanceId"] == launched["InstanceId"]
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        reader.client("ec2").terminate_instances(InstanceIds=[launched["InstanceId"]])


def test_a_session_ends_with_its_role_also_where_another_has_its_name_now(
    aws: EmbeddedAws, hub: str, as_hub: boto3.Session
) -> None:
    describe = {"Effect": "Allow", "Action": ["ec2:DescribeInstances", "iam:GetRole"], "Resource": "*"}
    iam = aws.session(account=SPOKE).client("iam")

    def made() -> boto3.Session:
        return assumed(aws, make_role(aws, SPOKE, {"AWS": hub}, describe, name="reader-anew"), by=as_hub)

    def asks(session: boto3.Session) -> None:
        session.client("ec2").describe_instances()
        session.client("iam").get_role(RoleName="reader-anew")

    former = made()
    asks(former)
    iam.delete_role_policy(RoleName="reader-anew", PolicyName="policy")
    iam.delete_role(RoleName="reader-anew")
    for again in (False, True):
        if again:
            asks(made())
        with pytest.raises(ClientError, match="AuthFailure"):
            former.client("ec2").describe_instances()
        with pytest.raises(ClientError, match="InvalidClientTokenId"):
            former.client("iam").get_role(RoleName="reader-anew")


def test_it_takes_both_the_roles_trust_and_the_callers_own_policy(
    aws: EmbeddedAws, hub: str, as_hub: boto3.Session
) -> None:
    outside = make_role(aws, SPOKE, {"AWS": hub}, name="outside-of-the-hubs-policy")
    assert refused(lambda: assumed(aws, outside, by=as_hub))
    other = make_role(aws, HUB, ANYBODY)
    untrusting = make_role(aws, SPOKE, {"AWS": other}, name="reader-untrusting")
    assert refused(lambda: assumed(aws, untrusting, by=as_hub))


def test_a_role_is_asked_for_by_its_whole_arn(aws: EmbeddedAws, hub: str, as_hub: boto3.Session) -> None:
    arn = make_role(aws, SPOKE, {"AWS": hub}, name="reader-whole")
    assumed(aws, arn, by=as_hub)
    assert refused(lambda: assumed(aws, arn.replace("/rolekeeper/", "/"), by=aws.session()))


def test_the_root_of_another_account_is_no_service(aws: EmbeddedAws) -> None:
    arn = make_role(aws, SPOKE, {"Service": "ec2.amazonaws.com"})
    assert refused(lambda: assumed(aws, arn, by=aws.session(account=STRANGER)))
    assert refused(lambda: assumed(aws, arn, by=aws.session(account=HUB)))


def test_a_trusted_account_is_all_that_its_own_policies_let_ask(aws: EmbeddedAws) -> None:
    name = "reader-of-an-account"
    arn = make_role(aws, SPOKE, {"AWS": f"arn:aws:iam::{HUB}:root"}, name=name)
    allowed = assumed(aws, make_role(aws, HUB, ANYBODY, may_assume(arn)), by=aws.session())
    assumed(aws, arn, by=allowed)
    not_allowed = assumed(aws, make_role(aws, HUB, ANYBODY), by=aws.session())
    assert refused(lambda: assumed(aws, arn, by=not_allowed))


@pytest.mark.parametrize(
    "principal",
    [
        f"arn:aws:iam::{HUB}:role/rolekeeper/nobody",
        f"arn:aws:iam::{HUB}:role/hub",
        f"arn:aws:iam::{HUB}:role/rolekeeper/*",
        f"arn:aws:iam::{HUB}:user/nobody",
    ],
)
def test_a_principal_that_is_not_there_is_refused_when_the_role_is_made(
    aws: EmbeddedAws, hub: str, principal: str
) -> None:
    with pytest.raises(ClientError, match="Invalid principal in policy") as refusal:
        make_role(aws, SPOKE, {"AWS": [hub, principal]})
    assert refusal.value.response["Error"]["Code"] == "MalformedPolicyDocument"
    assert principal in str(refusal.value)

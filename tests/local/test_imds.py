"""The embedded AWS's metadata service, what software does with its credentials, and what the event history shows."""

import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError

import pytest
from botocore.credentials import InstanceMetadataProvider
from botocore.exceptions import ClientError
from botocore.utils import InstanceMetadataFetcher

from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import EmbeddedAws
from rolekeeper_local.software import CURL, Sdk, Software
from support.grants import allow
from support.ports import free_port
from support.roles import make_profile
from support.waiting import eventually, stays

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

HOUR = 2.0
LIFETIME = {"x-aws-ec2-metadata-token-ttl-seconds": "60"}
LOOK = allow(["ec2:DescribeInstances", "s3:ListAllMyBuckets"])


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    timings = Timings(pending=0, stopping=0, propagation=0, recording=0, hour=HOUR)
    with EmbeddedAws(port=free_port(), timings=timings, directory=tmp_path_factory.mktemp("aws")) as embedded:
        yield embedded


class Machine:
    """An instance, its profiles, each with a role of its name, and curl on it."""

    def __init__(self, aws: EmbeddedAws, *roles: str) -> None:
        self.aws, self.ec2 = aws, aws.session().client("ec2")
        for role in roles:
            make_profile(aws, role, LOOK)
        made = self.ec2.run_instances(
            ImageId="ami-12345678", MinCount=1, MaxCount=1, IamInstanceProfile={"Name": roles[0]}
        )
        self.id = made["Instances"][0]["InstanceId"]
        self.carries(roles[0])

    def carries(self, role: str) -> None:
        """Wait until its metadata service hands out this role."""
        eventually(lambda: self.role() == role)

    def role(self) -> str:
        try:
            return self.get("meta-data/iam/security-credentials/")
        except HTTPError as refused:
            return str(refused.code)

    def replace(self, role: str) -> None:
        self.ec2.replace_iam_instance_profile_association(
            AssociationId=self.association(), IamInstanceProfile={"Name": role}
        )

    def association(self) -> str:
        shown = self.ec2.describe_iam_instance_profile_associations(
            Filters=[{"Name": "instance-id", "Values": [self.id]}]
        )
        return shown["IamInstanceProfileAssociations"][0]["AssociationId"]

    def get(self, path: str, token: str = "") -> str:
        return self.ask(path, {"x-aws-ec2-metadata-token": token or self.ask("api/token", LIFETIME, method="PUT")})

    def ask(self, path: str, headers: dict[str, str], method: str = "GET") -> str:
        request = urllib.request.Request(f"{self.aws.imds(self.id)}latest/{path}", headers=headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return str(answer.read().decode())

    def software(self, sdk: Sdk) -> Software:
        return Software(self.aws, self.id, sdk, hour=HOUR)


def found(aws: EmbeddedAws, key: str, value: str) -> list[dict[str, Any]]:
    """The records found by an attribute, newest first."""
    attribute: Any = {"AttributeKey": key, "AttributeValue": value}
    answer = aws.session().client("cloudtrail").lookup_events(LookupAttributes=[attribute])
    return [json.loads(each["CloudTrailEvent"]) for each in answer["Events"]]


# ---- the metadata service ----


def test_it_wants_a_token_and_shows_the_role_with_its_credentials(aws: EmbeddedAws) -> None:
    machine = Machine(aws, "web")
    for headers in ({}, {"x-aws-ec2-metadata-token": "guessed"}):
        with pytest.raises(HTTPError, match="401"):
            machine.ask("meta-data/iam/security-credentials/", headers)
    assert machine.get("meta-data/instance-id") == machine.id
    assert json.loads(machine.get("meta-data/iam/info"))["InstanceProfileArn"].endswith(
        ":instance-profile/rolekeeper/web"
    )
    shown = json.loads(machine.get("meta-data/iam/security-credentials/web"))
    assert shown.keys() == {"Code", "LastUpdated", "Type", "AccessKeyId", "SecretAccessKey", "Token", "Expiration"}
    valid = datetime.fromisoformat(shown["Expiration"]) - datetime.fromisoformat(shown["LastUpdated"])
    assert abs(valid - timedelta(seconds=6 * HOUR)) <= timedelta(seconds=1)


def test_without_a_role_or_while_stopped_it_has_no_credentials(aws: EmbeddedAws) -> None:
    machine = Machine(aws, "web")
    machine.ec2.stop_instances(InstanceIds=[machine.id])
    eventually(lambda: machine.role() == "404")
    machine.ec2.start_instances(InstanceIds=[machine.id])
    machine.carries("web")
    machine.ec2.disassociate_iam_instance_profile(AssociationId=machine.association())
    assert machine.role() == "404"
    with pytest.raises(HTTPError, match="404"):
        machine.get("meta-data/iam/info")


def test_a_role_that_does_not_trust_ec2_is_not_delivered(aws: EmbeddedAws) -> None:
    machine = Machine(aws, "web", "db")
    trust = aws.session().client("iam").get_role(RoleName="db")["Role"]["AssumeRolePolicyDocument"]
    without = json.dumps(trust).replace("ec2.amazonaws.com", "lambda.amazonaws.com")
    aws.session().client("iam").update_assume_role_policy(RoleName="db", PolicyDocument=without)
    machine.replace("db")
    eventually(lambda: machine.role() == "404")
    stays(lambda: machine.role() == "404", 2 * HOUR)
    aws.session().client("iam").update_assume_role_policy(RoleName="db", PolicyDocument=json.dumps(trust))
    machine.carries("db")


def test_botocore_takes_its_credentials_from_there(aws: EmbeddedAws) -> None:
    machine = Machine(aws, "web")
    fetcher = InstanceMetadataFetcher(base_url=aws.imds(machine.id), env={}, config={"ec2_metadata_v1_disabled": True})
    keys: Any = InstanceMetadataProvider(iam_role_fetcher=fetcher).load()
    credentials = {"AccessKeyId": keys.access_key, "SecretAccessKey": keys.secret_key, "SessionToken": keys.token}
    answer = aws.session(credentials=credentials).client("sts").get_caller_identity()
    assert answer["Arn"] == f"arn:aws:sts::000000000000:assumed-role/web/{machine.id}"
    role = aws.session().client("iam").get_role(RoleName="web")["Role"]
    assert answer["UserId"] == f"{role['RoleId']}:{machine.id}"


# ---- software ----


def test_credentials_that_expired_are_refused_and_nobody_becomes_the_administrator_with_them(aws: EmbeddedAws) -> None:
    machine = Machine(aws, "web")
    shown = json.loads(machine.get("meta-data/iam/security-credentials/web"))
    kept = aws.session(credentials={**shown, "SessionToken": shown["Token"]})
    machine.ec2.disassociate_iam_instance_profile(AssociationId=machine.association())
    stays(lambda: bool(kept.client("ec2").describe_instances()), 2)

    def refused() -> str:
        try:
            kept.client("sts").get_caller_identity()
        except ClientError as error:
            return error.response["Error"]["Code"]
        return ""

    assert eventually(refused) == "ExpiredToken"
    Machine(aws, "web")  # new sessions, at which ministack forgets those that expired
    assert refused() == "ExpiredToken"


# ---- the event history ----


def test_ec2s_deliveries_are_found_by_instance_and_role_and_name_no_user(aws: EmbeddedAws) -> None:
    machine = Machine(aws, "web")
    eventually(lambda: len(found(aws, "ResourceName", machine.id)) > 2)
    newest, before, *_, launched = found(aws, "ResourceName", machine.id)
    assert launched["eventName"] == "RunInstances"
    assert newest["userIdentity"] == {"type": "AWSService", "invokedBy": "ec2.amazonaws.com"}
    role = "arn:aws:iam::000000000000:role/rolekeeper/web"
    assert newest["requestParameters"] == {"roleArn": role, "roleSessionName": machine.id}
    assert newest["resources"] == [{"ARN": role, "accountId": "000000000000", "type": "AWS::IAM::Role"}]
    at, valid_until = (datetime.fromisoformat(newest["eventTime"]), newest["responseElements"]["credentials"])
    expires = datetime.strptime(valid_until["expiration"], "%b %d, %Y %I:%M:%S %p").replace(tzinfo=UTC)
    assert abs(expires - at - timedelta(seconds=6 * HOUR)) <= timedelta(seconds=1)
    assert newest["eventID"] in [each["eventID"] for each in found(aws, "ResourceName", role)]
    assert newest["eventID"] in [each["eventID"] for each in found(aws, "EventName", "AssumeRole")]
    assert before["responseElements"]["credentials"]["accessKeyId"] != valid_until["accessKeyId"]
    assert found(aws, "Username", machine.id) == [], "no software has called yet"


def test_calls_of_software_are_found_by_the_instance_but_data_events_are_not(aws: EmbeddedAws) -> None:
    machine = Machine(aws, "web")
    curl = machine.software(CURL)
    curl.calls()
    curl.calls("s3", "list_buckets")
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        curl.calls("ec2", "create_tags", Resources=[machine.id], Tags=[{"Key": "a", "Value": "b"}])
    with pytest.raises(ClientError, match="AccessDenied"):
        curl.calls("dynamodb", "describe_table", TableName="orders")
    with pytest.raises(ClientError, match="AccessDenied"):
        curl.calls("dynamodb", "query", TableName="orders", KeyConditionExpression="id = :id")
    with pytest.raises(ClientError, match="AccessDenied"):
        curl.calls("s3", "list_objects_v2", Bucket="reports")
    records = found(aws, "Username", machine.id)
    assert [(each["eventSource"].partition(".")[0], each["eventName"], each.get("errorCode")) for each in records] == [
        ("dynamodb", "DescribeTable", "AccessDenied"),
        ("ec2", "CreateTags", "Client.UnauthorizedOperation"),
        ("s3", "ListBuckets", None),
        ("sts", "GetCallerIdentity", None),
    ]
    assert {each["userAgent"] for each in records} == {CURL.user_agent}
    by = records[0]["userIdentity"]
    assert (by["type"], by["arn"]) == ("AssumedRole", f"arn:aws:sts::000000000000:assumed-role/web/{machine.id}")
    session, (delivered, *_) = by["sessionContext"], found(aws, "ResourceName", machine.id)
    assert session["sessionIssuer"]["arn"] == "arn:aws:iam::000000000000:role/rolekeeper/web"
    assert by["principalId"] == f"{session['sessionIssuer']['principalId']}:{machine.id}"
    assert session["ec2RoleDelivery"] == "2.0"
    assert session["attributes"]["creationDate"] <= delivered["eventTime"]

"""The embedded AWS's IAM: when a role was last used, for which services, and how many profiles an account may have."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rolekeeper_local.embedded import REGION, EmbeddedAws
from support.grants import allow, deny
from support.roles import ANYBODY, assumed, make_role
from support.waiting import eventually

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

JUNE = datetime(2026, 6, 1, 12, tzinfo=UTC)


def make(aws: EmbeddedAws, name: str, *statements: Any) -> str:
    return make_role(aws, "000000000000", ANYBODY, *statements, name=name)


def last_used(aws: EmbeddedAws, name: str) -> Any:
    return aws.session().client("iam").get_role(RoleName=name)["Role"]["RoleLastUsed"]


def report(aws: EmbeddedAws, arn: str) -> list[Any]:
    """What a report says of the services of a role, once it is there."""
    iam = aws.session().client("iam")
    job = iam.generate_service_last_accessed_details(Arn=arn)["JobId"]
    done: Any = eventually(lambda: completed(iam.get_service_last_accessed_details(JobId=job)))
    return list(done["ServicesLastAccessed"])


def completed(answer: Any) -> Any:
    return answer if answer["JobStatus"] == "COMPLETED" else None


def test_a_job_takes_a_moment_and_lists_what_the_roles_own_policies_allow(aws: EmbeddedAws) -> None:
    arn = make(aws, "reader", allow(["s3:GetObject", "DynamoDB:Query"]), deny("sqs:*"))
    iam = aws.session().client("iam")
    job = iam.generate_service_last_accessed_details(Arn=arn)["JobId"]
    running = iam.get_service_last_accessed_details(JobId=job)
    assert (running["JobStatus"], running["ServicesLastAccessed"]) == ("IN_PROGRESS", [])
    assert "JobCompletionDate" not in running
    done = eventually(lambda: completed(iam.get_service_last_accessed_details(JobId=job)))
    assert done["JobType"] == "SERVICE_LEVEL"
    assert done["JobCompletionDate"] >= done["JobCreationDate"]
    assert [each["ServiceNamespace"] for each in done["ServicesLastAccessed"]] == ["dynamodb", "s3"]
    assert all("LastAuthenticated" not in each for each in done["ServicesLastAccessed"])


def test_a_call_counts_whether_it_is_allowed_or_denied_and_nobody_elses_does(aws: EmbeddedAws) -> None:
    arn = make(aws, "caller", allow(["s3:ListAllMyBuckets", "sqs:ReceiveMessage", "sns:Publish"]))
    assert last_used(aws, "caller") == {}
    aws.session().client("sns").list_topics()
    before = datetime.now(UTC).replace(microsecond=0)
    session = assumed(aws, arn)
    session.client("s3").list_buckets()
    with pytest.raises(ClientError, match="AccessDenied"):
        session.client("sqs").list_queues()
    found = {each["ServiceNamespace"]: each for each in report(aws, arn)}
    assert found.keys() == {"s3", "sns", "sqs"}
    assert found["s3"]["LastAuthenticated"] >= before
    assert found["sqs"]["LastAuthenticated"] >= before, "a denied attempt is one"
    assert (found["s3"]["LastAuthenticatedEntity"], found["s3"]["LastAuthenticatedRegion"]) == (arn, REGION)
    assert (found["sns"]["TotalAuthenticatedEntities"], "LastAuthenticated" in found["sns"]) == (0, False)
    used = last_used(aws, "caller")
    assert (used["LastUsedDate"] >= before, used["Region"]) == (True, REGION)
    [listed] = [each for each in aws.session().client("iam").list_roles()["Roles"] if each["RoleName"] == "caller"]
    assert "RoleLastUsed" not in listed, "ListRoles doesn't have it"


def test_the_control_door_puts_a_role_into_the_past_until_it_is_made_anew(aws: EmbeddedAws) -> None:
    arn = make(aws, "old", allow(["s3:*", "sqs:*"]))
    month = timedelta(days=30)
    services = {"s3": JUNE.isoformat(), "sqs": (JUNE - month).isoformat()}
    aws.control("role-past", {"role": "old", "created": (JUNE - month).isoformat(), "services": services})
    role = aws.session().client("iam").get_role(RoleName="old")["Role"]
    assert role["CreateDate"] == JUNE - month
    assert role["RoleLastUsed"] == {"LastUsedDate": JUNE, "Region": REGION}
    assert [each["LastAuthenticated"] for each in report(aws, arn)] == [JUNE, JUNE - month]
    iam = aws.session().client("iam")
    iam.delete_role_policy(RoleName="old", PolicyName="policy")
    iam.delete_role(RoleName="old")
    make(aws, "old", allow("s3:*"))
    assert last_used(aws, "old") == {}


def test_a_wildcard_lists_every_service(aws: EmbeddedAws) -> None:
    names = [each["ServiceNamespace"] for each in report(aws, make(aws, "admin", allow("*")))]
    assert names == sorted(set(names))
    assert {"ec2", "s3", "sts"} <= set(names)


def test_the_account_summary_counts_instance_profiles(aws: EmbeddedAws) -> None:
    iam = aws.session().client("iam")
    before = iam.get_account_summary()["SummaryMap"]
    iam.create_instance_profile(InstanceProfileName="one-more")
    after = iam.get_account_summary()["SummaryMap"]
    assert after["InstanceProfiles"] == before["InstanceProfiles"] + 1
    assert after["InstanceProfilesQuota"] == 1_000
    assert after["RolesQuota"] == 1_000

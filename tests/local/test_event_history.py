"""The embedded AWS's event history of CloudTrail: who changed what, as LookupEvents tells it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rolekeeper_local.embedded import EmbeddedAws
from support.grants import allow
from support.roles import ANYBODY, assumed, make_profile, make_role
from support.waiting import eventually

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("emulator")]

ROOT = "arn:aws:iam::000000000000:root"


def launch(aws: EmbeddedAws, **given: Any) -> str:
    ec2 = aws.session().client("ec2")
    made = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1, **given)["Instances"][0]["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[made], WaiterConfig={"Delay": 1})
    return made


def looked_up(aws: EmbeddedAws, key: str, value: str, **given: Any) -> list[dict[str, Any]]:
    """The records found by an attribute, newest first."""
    pages = (
        aws.session()
        .client("cloudtrail")
        .get_paginator("lookup_events")
        .paginate(LookupAttributes=[{"AttributeKey": key, "AttributeValue": value}], **given)  # type: ignore[typeddict-item]
    )
    return [json.loads(each["CloudTrailEvent"]) for page in pages for each in page["Events"]]


def test_launches_and_tags_are_found_by_the_instance_with_who_asked_for_what(aws: EmbeddedAws) -> None:
    ec2 = aws.session().client("ec2")
    tags: Any = [{"ResourceType": "instance", "Tags": [{"Key": "app", "Value": "web"}]}]
    one = launch(aws, TagSpecifications=tags)
    ec2.create_tags(Resources=[one], Tags=[{"Key": "app", "Value": "db"}])
    ec2.delete_tags(Resources=[one], Tags=[{"Key": "app"}])
    deleted, created, launched = looked_up(aws, "ResourceName", one)
    assert deleted["requestParameters"] == {
        "resourcesSet": {"items": [{"resourceId": one}]},
        "tagSet": {"items": [{"key": "app"}]},
    }
    assert created["requestParameters"]["tagSet"] == {"items": [{"key": "app", "value": "db"}]}
    assert created["userIdentity"] == {"type": "Root", "arn": ROOT, "accountId": "000000000000"}
    assert launched["requestParameters"]["tagSpecificationSet"]["items"] == [
        {"resourceType": "instance", "tags": [{"key": "app", "value": "web"}]}
    ]
    [answered] = launched["responseElements"]["instancesSet"]["items"]
    assert (answered["instanceId"], answered["tagSet"]) == (one, {"items": [{"key": "app", "value": "web"}]})


def test_calls_on_associations_are_found_by_their_name_with_both_ids(aws: EmbeddedAws) -> None:
    ec2 = aws.session().client("ec2")
    for name in ("first", "second"):
        make_profile(aws, name)
    one = launch(aws)
    made = ec2.associate_iam_instance_profile(InstanceId=one, IamInstanceProfile={"Name": "first"})
    first = made["IamInstanceProfileAssociation"]["AssociationId"]
    made = ec2.replace_iam_instance_profile_association(AssociationId=first, IamInstanceProfile={"Name": "second"})
    second = made["IamInstanceProfileAssociation"]["AssociationId"]
    ec2.disassociate_iam_instance_profile(AssociationId=second)
    assert [each["eventName"] for each in looked_up(aws, "ResourceName", one)] == ["RunInstances"]
    [replaced] = looked_up(aws, "EventName", "ReplaceIamInstanceProfileAssociation")
    assert replaced["requestParameters"] == {
        "ReplaceIamInstanceProfileAssociationRequest": {
            "AssociationId": first,
            "IamInstanceProfile": {"Name": "second"},
        }
    }
    answered = replaced["responseElements"]["ReplaceIamInstanceProfileAssociationResponse"]
    association = answered["iamInstanceProfileAssociation"]
    assert (association["associationId"], association["instanceId"]) == (second, one)
    [detached] = looked_up(aws, "EventName", "DisassociateIamInstanceProfile")
    assert detached["requestParameters"]["DisassociateIamInstanceProfileRequest"] == {"AssociationId": second}


def test_an_assumed_role_is_named_with_its_session_and_its_issuer(aws: EmbeddedAws) -> None:
    one, may = launch(aws), allow("ec2:CreateTags")
    arn = make_role(aws, "000000000000", ANYBODY, may, name="deployer", path="/team/")
    as_alice = assumed(aws, arn, name="alice").client("ec2")
    eventually(lambda: as_alice.create_tags(Resources=[one], Tags=[{"Key": "app", "Value": "web"}]))
    by = looked_up(aws, "ResourceName", one)[0]["userIdentity"]
    assert (by["type"], by["arn"]) == ("AssumedRole", "arn:aws:sts::000000000000:assumed-role/deployer/alice")
    assert by["sessionContext"]["sessionIssuer"]["arn"] == arn
    assert "creationDate" in by["sessionContext"]["attributes"]
    assert "ec2RoleDelivery" not in by["sessionContext"], "nobody got it from IMDS"


def test_a_call_that_ec2_refused_shows_its_error(aws: EmbeddedAws) -> None:
    with pytest.raises(ClientError, match=r"InvalidInstanceID\.NotFound"):
        aws.session().client("ec2").create_tags(Resources=["i-00000000000000fff"], Tags=[{"Key": "a", "Value": "b"}])
    [refused] = looked_up(aws, "ResourceName", "i-00000000000000fff")
    assert (refused["errorCode"], refused["responseElements"]) == ("Client.InvalidInstanceID.NotFound", None)


def test_it_pages_and_keeps_to_the_time_that_is_asked_for(aws: EmbeddedAws) -> None:
    ec2, one = aws.session().client("ec2"), launch(aws)
    for value in range(3):
        ec2.create_tags(Resources=[one], Tags=[{"Key": "app", "Value": str(value)}])
    found = looked_up(aws, "ResourceName", one, PaginationConfig={"PageSize": 2})
    values = [each["requestParameters"].get("tagSet", {"items": []})["items"] for each in found]
    assert values == [[{"key": "app", "value": str(value)}] for value in (2, 1, 0)] + [[]]
    assert looked_up(aws, "ResourceName", one, StartTime=datetime.now(UTC) + timedelta(minutes=-1))
    assert not looked_up(aws, "ResourceName", one, EndTime=datetime.now(UTC) + timedelta(minutes=-1))
    client: Any = aws.session().client("cloudtrail")
    two = [
        {"AttributeKey": "ResourceName", "AttributeValue": one},
        {"AttributeKey": "EventName", "AttributeValue": "x"},
    ]
    with pytest.raises(ClientError, match="InvalidLookupAttributesException"):
        client.lookup_events(LookupAttributes=two)

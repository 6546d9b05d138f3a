"""Tags of the embedded AWS's EC2: what it takes reads back everywhere as it was, and what it can't write it refuses."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper_local import ec2_tags
from rolekeeper_local.ec2_model import Ec2Error
from rolekeeper_local.embedded import EmbeddedAws
from support.buses import Bus
from support.waiting import eventually

pytestmark = pytest.mark.xdist_group("emulator")


@pytest.fixture(scope="module")
def ec2(aws: EmbeddedAws) -> Any:
    return aws.session().client("ec2")


def pairs(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def launch(ec2: Any, tags: dict[str, str]) -> str:
    specifications = [{"ResourceType": "instance", "Tags": pairs(tags)}] if tags else []
    made = ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, TagSpecifications=specifications)
    return str(made["Instances"][0]["InstanceId"])


def shown(ec2: Any, instance_id: str) -> dict[str, str]:
    """The tags in DescribeInstances; DescribeTags agrees."""
    (group,) = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    tags = {tag["Key"]: tag["Value"] for tag in group["Instances"][0].get("Tags", [])}
    listed = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [instance_id]}])["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in listed} == tags
    return tags


def everybody(ec2: Any) -> int:
    """How many instances the whole account has: the answer that one bad character made unreadable."""
    return sum(len(group["Instances"]) for group in ec2.describe_instances()["Reservations"])


def code(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


#: Of all that XML can't carry; which these are is what `taken` is asked below.
BAD = "\x01"
ODD = {
    "tab\tand line feed\n": "\t\n",
    "carriage return\r": "\r, and with a line feed\r\n",
    "<key>&amp;\"'": "</value>]]>&#1;<![CDATA[",
    "\x7f\x80\x85\x9f": "\u2028\u202e\u200b\ufeff",
    "🔑 ключ": "\U0010ffff\ue000\ufffd",
    " ": "",
}


@pytest.mark.emulator
def test_a_tag_that_xml_can_not_carry_is_refused_and_changes_nothing(ec2: Any) -> None:
    instance_id, before = launch(ec2, {"kept": "as it was"}), everybody(ec2)
    for tags in ({"fine": "too", "key": f"a{BAD}b"}, {f"a{BAD}b": "value"}):
        assert code(partial(ec2.create_tags, Resources=[instance_id], Tags=pairs(tags))) == "InvalidCharacter"
        assert code(partial(launch, ec2, tags)) == "InvalidCharacter"
    assert shown(ec2, instance_id) == {"kept": "as it was"}
    assert everybody(ec2) == before


@pytest.mark.emulator
def test_any_other_character_reads_back_as_it_was_from_calls_filters_and_events(aws: EmbeddedAws, ec2: Any) -> None:
    bus = Bus(aws).listen({"source": ["aws.tag"]})
    instance_id = launch(ec2, ODD)
    assert shown(ec2, instance_id) == ODD
    assert eventually(bus.heard)[0]["detail"]["tags"] == ODD
    for key, value in ODD.items():
        found = ec2.describe_instances(Filters=[{"Name": f"tag:{key}", "Values": [value.replace("\\", "\\\\")]}])
        assert [group["Instances"][0]["InstanceId"] for group in found["Reservations"]] == [instance_id]
    ec2.delete_tags(Resources=[instance_id], Tags=[{"Key": key} for key in ODD])
    assert shown(ec2, instance_id) == {}


@pytest.mark.emulator
def test_tags_that_come_in_by_a_stack_break_no_answer(aws: EmbeddedAws, ec2: Any) -> None:
    tags = [{"Key": "control", "Value": "a\x01b"}, {"Key": "surrogate", "Value": "\ud800"}]
    vpc = {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.9.0.0/16", "Tags": tags}}
    cloudformation = aws.session().client("cloudformation")
    cloudformation.create_stack(StackName="network", TemplateBody=json.dumps({"Resources": {"Vpc": vpc}}))
    cloudformation.get_waiter("stack_create_complete").wait(StackName="network", WaiterConfig={"Delay": 1})
    listed = {tag["Key"]: tag["Value"] for tag in ec2.describe_tags()["Tags"]}
    assert (listed["control"], listed["surrogate"]) == ("a\ufffdb", "\ufffd")
    assert ec2.describe_vpcs()["Vpcs"]


@pytest.mark.emulator
def test_more_or_longer_tags_than_ec2_takes_are_refused(ec2: Any) -> None:
    longest = {"k" * 128: "v" * 256, "🔑" * 128: "🔑" * 256}
    fifty = {**longest, **{f"key-{n}": "" for n in range(48)}}
    instance_id = launch(ec2, fifty)
    for tags, refused in (
        ({"one-more": ""}, "TagLimitExceeded"),
        ({"k" * 129: "v"}, "InvalidParameterValue"),
        ({"key-1": "v" * 257}, "InvalidParameterValue"),
    ):
        assert code(partial(ec2.create_tags, Resources=[instance_id], Tags=pairs(tags))) == refused
    assert code(lambda: launch(ec2, {**fifty, "one-more": ""})) == "TagLimitExceeded"
    assert shown(ec2, instance_id) == fifty
    ec2.create_tags(Resources=[instance_id], Tags=pairs({"key-1": "may change"}))


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=256))
def test_content_of_an_answer_is_always_parsable_and_what_is_taken_reads_back(text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    read = ET.fromstring(f"<a>{ec2_tags.parsable(escaped)}</a>".encode()).text or ""
    assert len(read) == len(text)
    assert (read == text) == taken(text)


def taken(value: str) -> bool:
    try:
        ec2_tags.check({"Action": "CreateTags", "Tag.1.Key": "key", "Tag.1.Value": value}, lambda _: ())
    except Ec2Error:
        return False
    return True


@pytest.mark.parametrize("bad", [*"\0\x01\x08\x0b\x0c\x1b\x1f\ufffe\uffff"])
def test_no_character_that_xml_can_not_carry_is_taken(bad: str) -> None:
    assert not taken(f"a{bad}b")


def test_tags_of_aws_are_not_counted() -> None:
    had = [f"aws:{n}" for n in range(10)] + [f"key-{n}" for n in range(49)]
    asked = {"Action": "CreateTags", "ResourceId.1": "i-1", "Tag.1.Key": "new", "Tag.1.Value": ""}
    ec2_tags.check(asked, lambda _: had)
    with pytest.raises(Ec2Error, match="TagLimitExceeded"):
        ec2_tags.check({**asked, "Tag.2.Key": "newer"}, lambda _: had)


def test_one_resource_of_many_that_is_full_refuses_the_request() -> None:
    had = {"i-1": [], "i-2": [f"key-{n}" for n in range(50)]}
    asked = {"Action": "CreateTags", "ResourceId.1": "i-1", "ResourceId.2": "i-2", "Tag.1.Key": "new"}
    with pytest.raises(Ec2Error, match="TagLimitExceeded"):
        ec2_tags.check(asked, had.__getitem__)


def test_a_tag_that_came_in_another_way_can_be_deleted() -> None:
    ec2_tags.check({"Action": "DeleteTags", "ResourceId.1": "i-1", "Tag.1.Key": "a\x01" * 100}, lambda _: ())

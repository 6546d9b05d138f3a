"""The long answers are parsed in place of botocore: as it has them, and what is unusual is left to it."""

import json
from functools import cache
from typing import Any
from unittest.mock import Mock
from urllib.parse import quote
from xml.etree import ElementTree as ET

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from botocore.parsers import JSONParser, ResponseParserError

from rolekeeper.aws.answers import MEMBERS, parse_quickly

NAMESPACE = ' xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'
TAGS = "<tagSet><item><key>a&amp;b</key><value>é</value></item><item><key>Name</key><value/></item></tagSet>"
STATE = "<instanceState><code>16</code><name>running</name></instanceState>"
OPERATOR = "<operator><managed>true</managed><principal>ecs.amazonaws.com</principal></operator>"
INTERFACES = f"<networkInterfaceSet><item><state>in-use</state>{TAGS}</item></networkInterfaceSet>"
COMMENT = "<!-- <networkInterfaceSet> --><reservationSet/><!-- </networkInterfaceSet> -->"
INSTANCES = (
    "<requestId>r-1</requestId><reservationSet><item><ownerId>123456789012</ownerId><instancesSet>"
    f"<item><instanceId>i-1</instanceId>{STATE}{TAGS}<launchTime>2026-03-01T09:00:00.000Z</launchTime></item>"
    f"<item><networkInterfaceSet/><instanceId>i-2</instanceId>{STATE}{OPERATOR}<tagSet/></item>"
    f"<item>{INTERFACES}<instanceId>i-3</instanceId>{STATE}{INTERFACES}{TAGS}</item>"
    "</instancesSet></item><item><instancesSet/></item></reservationSet><nextToken>more</nextToken>"
)
ASSOCIATIONS = (
    "<requestId>r-2</requestId><iamInstanceProfileAssociationSet><item><associationId>iip-1</associationId>"
    "<instanceId>i-1</instanceId><iamInstanceProfile><arn>arn:aws:iam::1:instance-profile/x</arn><id>AIPA</id>"
    "</iamInstanceProfile><state>associated</state></item></iamInstanceProfileAssociationSet>"
)
TRUST, MAY = (quote(json.dumps({"Statement": [{"Effect": "Allow", "Action": each}]})) for each in ("sts:*", "s3:*"))
HELD = f"<Roles><member><Arn>arn:r</Arn><AssumeRolePolicyDocument>{TRUST}</AssumeRolePolicyDocument></member></Roles>"
ROLE = (
    "<member><Path>/app/</Path><RoleName>web</RoleName><Arn>arn:aws:iam::1:role/app/web</Arn><RoleId>AROA</RoleId>"
    f"<CreateDate>2026-01-01T00:00:00Z</CreateDate><AssumeRolePolicyDocument>{TRUST}</AssumeRolePolicyDocument>"
    f"<InstanceProfileList><member><InstanceProfileName>web</InstanceProfileName>{HELD}<Arn>arn:p</Arn></member>"
    "</InstanceProfileList><RolePolicyList><member><PolicyName>a</PolicyName>"
    f"<PolicyDocument>{MAY}</PolicyDocument></member></RolePolicyList><AttachedManagedPolicies/><Tags/></member>"
)
ROLES = (
    '<R xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetAccountAuthorizationDetailsResult>'
    f"<IsTruncated>true</IsTruncated><Marker>more</Marker><RoleDetailList>{ROLE * 2}</RoleDetailList><Policies/>"
    "</GetAccountAuthorizationDetailsResult><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></R>"
)
KEY = {"pk": {"S": "a"}, "sk": {"S": "b"}}
ITEM = '{"pk":{"S":"é \\"B\\": 1"},"n":{"N":"1"},"m":{"M":{"l":{"L":[{"NULL":true},{"BOOL":false}]}}},"s":{"SS":["x"]}}'
type Call = tuple[str, str, dict[str, Any]]
FLEET: Call = ("ec2", "describe_instances", {})
TAKEN: Call = ("ec2", "describe_iam_instance_profile_associations", {})
READ: Call = ("dynamodb", "batch_get_item", {"RequestItems": {"t": {"Keys": [KEY]}}})
GET: Call = ("dynamodb", "get_item", {"TableName": "t", "Key": KEY})
LISTED: Call = ("iam", "get_account_authorization_details", {"Filter": ["Role"]})
SCAN, QUERY = (("dynamodb", operation, {"TableName": "t"}) for operation in ("scan", "query"))
ANSWERS = [
    (FLEET, f"<R{NAMESPACE}>{INSTANCES}</R>"),
    (FLEET, f"<R>{INSTANCES}</R>"),
    (FLEET, f"<R{NAMESPACE}><reservationSet/></R>"),
    (FLEET, f"<R>{COMMENT}</R>"),
    (TAKEN, f"<R{NAMESPACE}>{ASSOCIATIONS}</R>"),
    (READ, f'{{"Responses":{{"t":[{ITEM}]}},"UnprocessedKeys":{{"t":{{"Keys":[{{"pk":{{"S":"a"}}}}]}}}}}}'),
    (READ, '{"Responses":{"t":[{"pk":{"B":"Ynl0ZXM="}}]},"UnprocessedKeys":{}}'),
    (READ, '{"Responses":{"t":[{"pk":{"BS" : ["Ynl0ZXM="]}}]}}'),
    (SCAN, f'{{"Items":[{ITEM}],"Count":1,"ScannedCount":1,"LastEvaluatedKey":{{}}}}'),
    (QUERY, '{"Items":[],"Count":0,"ScannedCount":0}'),
    (GET, f'{{"Item":{ITEM}}}'),
    (GET, "{}"),
]
DENIED = '{"__type":"com.amazonaws.dynamodb.v20120810#AccessDeniedException","Message":"no"}'
UNAUTHORIZED = (
    "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no</Message></Error></Errors></Response>"
)


def asked(call: Call, body: str, status: int = 200, *, quickly: bool = True) -> Any:
    """What the SDK gives for an answer with these bytes."""
    service, operation, arguments = call
    made = client(service, quickly=quickly)
    headers: Any = {"x-amzn-requestid": "r-3"}
    answer: Any = lambda **_: AWSResponse("https://aws", status, headers, Mock(stream=lambda: [body.encode()]))  # noqa: E731  # a hook
    made.meta.events.register("before-send", answer, unique_id="answer")
    try:
        return getattr(made, operation)(**arguments)
    finally:
        made.meta.events.unregister("before-send", unique_id="answer")


@cache
def client(service: str, *, quickly: bool) -> Any:
    session = botocore.session.Session()
    session.set_credentials("a", "b")
    if quickly:
        parse_quickly(session.register)
    return session.create_client(service, "eu-west-1")


def read(name: str, value: Any) -> Any:
    """What the layer reads of botocore's own answer."""
    if isinstance(value, list):
        return [read(name, each) for each in value]
    wanted = MEMBERS.get(name, value)
    inside = {"Reservations": "Reservation", "Instances": "Instance"}
    inside["IamInstanceProfileAssociations"] = "IamInstanceProfileAssociation"
    return {key: read(inside[key], each) if key in inside else each for key, each in value.items() if key in wanted}


@pytest.mark.parametrize(("call", "body"), ANSWERS)
def test_a_long_answer_reads_as_botocore_reads_it(call: Call, body: str) -> None:
    theirs = asked(call, body, quickly=False)
    assert asked(call, body) == (read("", theirs) if call[0] == "ec2" else theirs)
    assert len(theirs) > 1 or body == "{}"


def test_roles_read_as_botocore_reads_them_without_times_and_without_themselves_in_their_profiles() -> None:
    ours, theirs = asked(LISTED, ROLES), asked(LISTED, ROLES, quickly=False)
    assert theirs["RoleDetailList"][1]["RolePolicyList"][0]["PolicyDocument"]["Statement"][0]["Action"] == "s3:*"
    for role in theirs["RoleDetailList"]:
        for name in role.keys() - MEMBERS["RoleDetail"]:
            del role[name]
        for profile in role["InstanceProfileList"]:
            del profile["Roles"]
    assert ours == theirs
    assert ours["Marker"] == "more"


def test_items_without_bytes_are_what_json_has(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    monkeypatch.setattr(JSONParser, "_handle_map", lambda _self, shape, _value: parsed.append(shape.name))
    asked(READ, f'{{"Responses":{{"t":[{ITEM}]}}}}')
    assert parsed == []
    asked(READ, '{"Responses":{"t":[{"pk":{"B":"Ynl0ZXM="}}]}}')
    assert parsed == ["BatchGetResponseMap"]


def test_of_an_instance_only_what_is_read_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = Mock(wraps=ET.fromstring)
    monkeypatch.setattr(ET, "fromstring", parse)
    found = asked(FLEET, ANSWERS[0][-1])
    [body] = parse.call_args.args
    assert b"in-use" not in body  # of an interface
    assert set(found["Reservations"][0]["Instances"][0]) == {"InstanceId", "LaunchTime", "State", "Tags"}


@pytest.mark.parametrize(
    ("call", "body", "code"), [(FLEET, UNAUTHORIZED, "UnauthorizedOperation"), (READ, DENIED, "AccessDeniedException")]
)
def test_a_refusal_is_the_sdk_s_own(call: Call, body: str, code: str) -> None:
    with pytest.raises(ClientError) as refused:
        asked(call, body, 400)
    assert refused.value.response["Error"]["Code"] == code


@pytest.mark.parametrize("body", ["<html><p>no XML", "", "[]"])
def test_what_is_no_answer_is_left_to_the_sdk(body: str) -> None:
    with pytest.raises(ResponseParserError):
        asked(FLEET, body)
    theirs: list[str] = []
    for quickly in (True, False):
        try:
            theirs.append(str(asked(READ, body, quickly=quickly)))
        except Exception as error:  # noqa: BLE001  # whatever the SDK makes of it
            theirs.append(repr(error))
    assert theirs[0] == theirs[1]

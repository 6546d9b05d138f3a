"""CloudTrail's event history, for LookupEvents, with three kinds of records in the shapes of AWS_FACTS.md.

- Who launched or tagged an instance, or changed its association. Where no source says what AWS does, it is pessimistic:
  calls on associations list no resource, so they are found by their name only.
- Each call by software on an instance, but no data events; of it only who, what, when, and whether it was refused.
- Each time that EC2 got credentials of an instance's role.

Each record is late by half of the longest delay, or by all of it, in turn; so they don't appear in their order.
"""

import json
import re
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

from ministack import app
from ministack.core import iam_actions
from ministack.core.iam_evaluator import caller_arn
from ministack.core.responses import get_account_id, get_region
from ministack.core.router import extract_access_key_id
from ministack.services import cloudtrail, iam, sts

from rolekeeper_local import ec2_wire
from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_wire import Params, Response

type Event = dict[str, Any]

#: The most events of an account and Region that are kept.
_KEPT = 10_000
_LARGEST_PAGE = 50
_EC2 = "ec2.amazonaws.com"
#: In a session that IMDS hands out, the version of IMDS.
DELIVERED_BY = "Ec2RoleDelivery"
_TAGS = ("CreateTags", "DeleteTags")
_ASSOCIATIONS = (
    "AssociateIamInstanceProfile",
    "ReplaceIamInstanceProfileAssociation",
    "DisassociateIamInstanceProfile",
)
_RECORDED = frozenset({"RunInstances", *_TAGS, *_ASSOCIATIONS})
#: The session of software on an instance: EC2 names it by the instance's id.
_ON_INSTANCE = re.compile(r":assumed-role/[^/]+/i-[0-9a-f]+$")
#: What is a data event (CloudTrail user guide, "Logging data events"), by the IAM action: of S3 all that is about
#: objects, of DynamoDB items, of the others messages, metrics, log events and invocations.
_DATA_EVENT = re.compile(
    r"s3:(\w+Object\w*|ListBucket(Versions|MultipartUploads)?|\w+MultipartUpload\w*)"
    r"|dynamodb:(\w*Item|Query|Scan|PartiQL\w+|GetRecords|GetShardIterator)"
    r"|sqs:(\w+Message|ChangeMessageVisibility)|sns:Publish|kinesis:(Put|Get)\w+"
    r"|lambda:Invoke\w+|logs:PutLogEvents|cloudwatch:(Put|Get)Metric\w+"
)
#: IAM has another name for it.
_CALLS = {"ListAllMyBuckets": "ListBuckets"}
_READS = re.compile("Get|List|Describe|Lookup|AssumeRole")
#: An error's code, in XML or JSON.
_CODE = re.compile(rb"<Code>(\w[\w.]*)</Code>|\"__type\": ?\"(?:[^\"]*#)?(\w+)\"")
#: The attributes of LookupEvents.
_ATTRIBUTES = ("EventId", "EventName", "EventSource", "ResourceName", "Username")


@dataclass(frozen=True, slots=True)
class _Kept:
    """An event, its number in the order in which they happened, and the time since which it is found."""

    number: int
    found_since: float
    event: Event


class EventHistory:
    """The events of each account and Region, oldest first; `delay` is the longest, in seconds."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._events: dict[tuple[str, str], deque[_Kept]] = {}
        self._recorded = 0

    async def recorded(self, original: Callable[..., Awaitable[Response]], *request: Any) -> Response:
        """Answer any request as ministack does, and record it if it is of a kind that is recorded."""
        answer = await original(*request)
        method, path, headers, body, query_params, _request_id = request
        routing = app._routing_params(method, path, headers, body, query_params)
        params = ec2_wire.params_of(b"", routing)
        action = ""
        if params.get("Action") in _RECORDED:
            action = f"ec2:{params['Action']}"
        elif _ON_INSTANCE.search(str(caller_arn())):
            service = app.detect_service(method, path, headers, routing)
            action = iam_actions.extract_iam_action(service, method, path, headers, body, routing) or ""
        if action and not _DATA_EVENT.fullmatch(action):
            by = _identity(caller_arn(), params.get("Operator.Principal", ""))
            if session := sts._sessions.get(extract_access_key_id(headers, query_params)):
                by |= _session(session, by)
            self._record(action, params, answer, user_agent=headers.get("user-agent", ""), by=by)
        return answer

    def delivered(self, instance_id: str, role_arn: str, *, access_key: str, expires: float) -> None:
        """Record that EC2 got credentials of a role for an instance, which are valid until `expires`."""
        record = _begun("AssumeRole", "sts", {"type": "AWSService", "invokedBy": _EC2}) | {
            "sourceIPAddress": _EC2,
            "userAgent": _EC2,
            "requestParameters": {"roleArn": role_arn, "roleSessionName": instance_id},
            "responseElements": {"credentials": {"accessKeyId": access_key, "expiration": _expiration(expires)}},
            "resources": [{"ARN": role_arn, "accountId": get_account_id(), "type": "AWS::IAM::Role"}],
        }
        named = {instance_id: "AWS::STS::AssumedRole", role_arn: "AWS::IAM::Role"}
        self._keep(record, [{"ResourceName": name, "ResourceType": kind} for name, kind in named.items()])

    def lookup(self, body: dict[str, Any]) -> Response:
        """Answer LookupEvents, newest first."""
        attributes = body.get("LookupAttributes", [])
        if len(attributes) > 1 or any(each["AttributeKey"] not in _ATTRIBUTES for each in attributes):
            return _refusal("InvalidLookupAttributesException", "One lookup attribute that is kept here, or none.")
        size = int(body.get("MaxResults", _LARGEST_PAGE))
        if not 1 <= size <= _LARGEST_PAGE:
            return _refusal("InvalidMaxResultsException", f"MaxResults must be from 1 to {_LARGEST_PAGE}.")
        first, last = float(body.get("StartTime", 0)), float(body.get("EndTime", time.time()))
        if first > last:
            return _refusal("InvalidTimeRangeException", "The start time is after the end time.")
        before = int(body.get("NextToken", self._recorded + 1))
        found = [
            kept
            for kept in reversed(self._here())
            if kept.number < before
            and kept.found_since <= time.time()
            and first <= kept.event["EventTime"] <= last
            and all(each["AttributeValue"] in _values(kept.event, each["AttributeKey"]) for each in attributes)
        ]
        page = found[:size]
        more = {"NextToken": str(page[-1].number)} if len(found) > size else {}
        answer: Response = cloudtrail._ok({"Events": [kept.event for kept in page], **more})
        return answer

    def _here(self) -> deque[_Kept]:
        return self._events.setdefault((get_account_id(), get_region()), deque(maxlen=_KEPT))

    def _record(self, action: str, params: Params, answer: Response, *, user_agent: str, by: dict[str, Any]) -> None:
        """Record a call that was answered; what it asked and was told only of the calls in _RECORDED."""
        source, _, name = action.partition(":")
        status, _, body = answer
        done = status < 400  # noqa: PLR2004 - HTTP's
        record = _begun(_CALLS.get(name, name), source, by) | {"userAgent": user_agent}
        if name in _RECORDED:
            record["requestParameters"] = _request(name, params)
        if name in _RECORDED and done:
            root = _value(ET.fromstring(body))  # noqa: S314 - our own answer, made a moment ago
            record["responseElements"] = _response(name, root)
        if not done:
            record["errorCode"] = _error_code(source, body)
        self._keep(record, _resources(record), Username=by["arn"].rsplit("/", 1)[-1].rsplit(":", 1)[-1])

    def _keep(self, record: dict[str, Any], resources: list[dict[str, str]], **also: str) -> None:
        self._recorded += 1
        now = time.time()
        record["eventTime"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        event = {
            "EventId": record["eventID"],
            "EventName": record["eventName"],
            "EventSource": record["eventSource"],
            "EventTime": int(now),
            "ReadOnly": str(record["readOnly"]).lower(),
            "Resources": resources,
            "CloudTrailEvent": json.dumps(record),
            **also,
        }
        found_since = now + self._delay / (1 + self._recorded % 2)
        self._here().append(_Kept(self._recorded, found_since, event))


def _values(event: Event, attribute: str) -> list[str]:
    if attribute == "ResourceName":
        return [each["ResourceName"] for each in event["Resources"]]
    # What a service does for itself has no name of a user.
    return [event[attribute]] if attribute in event else []


def install(delay: float) -> EventHistory:
    history = EventHistory(delay)
    cloudtrail._DISPATCH["LookupEvents"] = history.lookup
    correct(history.recorded, "_dispatch_service_request", app)
    return history


def _begun(name: str, source: str, by: dict[str, Any]) -> dict[str, Any]:
    return {
        "eventVersion": "1.11",
        "userIdentity": by,
        "eventSource": f"{source}.amazonaws.com",
        "eventName": name,
        "awsRegion": get_region(),
        "requestParameters": None,
        "responseElements": None,
        "eventID": str(uuid.uuid4()),
        "readOnly": bool(_READS.match(name)),
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": get_account_id(),
        "eventCategory": "Management",
    }


def _error_code(source: str, body: bytes) -> str:
    """As CloudTrail has it: of EC2 the code says whose error it was, and of JSON services it lacks `Exception`."""
    found = _CODE.search(body)
    code = (found[1] or found[2]).decode() if found else ""
    return f"Client.{code}" if source == "ec2" else code.replace("AccessDeniedException", "AccessDenied")


def _expiration(at: float) -> str:
    """As "Jul 4, 2019 4:29:29 PM", in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%b %-d, %Y %-I:%M:%S %p}"


def _identity(arn: str, service: str) -> dict[str, Any]:
    kind, *names = arn.split(":", 5)[5].split("/")
    base: dict[str, Any] = {"arn": arn, "accountId": arn.split(":")[4]}
    if service:
        base["invokedBy"] = service
    if kind == "root":
        return {"type": "Root", **base}
    if kind != "assumed-role":
        return {"type": "IAMUser", "userName": names[-1], **base}
    role = iam._roles.get(names[0])
    role_arn, id_ = (role["Arn"], role["RoleId"]) if role else ("", "")
    issuer = {"type": "Role", "principalId": id_, "arn": role_arn, "userName": names[0]}
    base["principalId"] = f"{id_}:{names[-1]}"
    return {"type": "AssumedRole", **base, "sessionContext": {"sessionIssuer": issuer}}


def _session(session: Mapping[str, Any], by: Mapping[str, Any]) -> dict[str, Any]:
    """What a record has of the session itself: the role may be another one of that name by then."""
    user, issued = session["UserId"], time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(session["IssuedAt"]))
    shown = {**by.get("sessionContext", {}), "attributes": {"creationDate": issued, "mfaAuthenticated": "false"}}
    if "sessionIssuer" in shown:
        shown["sessionIssuer"] = {**shown["sessionIssuer"], "principalId": user.partition(":")[0]}
    if DELIVERED_BY in session:
        shown["ec2RoleDelivery"] = session[DELIVERED_BY]
    return {"principalId": user, "sessionContext": shown}


def _request(name: str, params: Params) -> dict[str, Any]:
    if name == "RunInstances":
        launched = {"imageId": params.get("ImageId", ""), "minCount": int(params.get("MinCount", 1))}
        specified = [
            {
                "resourceType": params[f"TagSpecification.{n}.ResourceType"],
                "tags": _tags(ec2_wire.tags(ec2_wire.below(params, f"TagSpecification.{n}."))),
            }
            for n in range(1, 11)
            if f"TagSpecification.{n}.ResourceType" in params
        ]
        profile = {key.lower(): value for key, value in ec2_wire.below(params, "IamInstanceProfile.").items()}
        template = {key[0].lower() + key[1:]: value for key, value in ec2_wire.below(params, "LaunchTemplate.").items()}
        return {
            "instancesSet": {"items": [launched]},
            **({"tagSpecificationSet": {"items": specified}} if specified else {}),
            **({"iamInstanceProfile": profile} if profile else {}),
            **({"launchTemplate": template} if template else {}),
        }
    if name in _TAGS:
        ids = [{"resourceId": each} for each in ec2_wire.members(params, "ResourceId")]
        return {"resourcesSet": {"items": ids}, "tagSet": {"items": _tags(ec2_wire.tags(params))}}
    asked: dict[str, Any] = {key: params[key] for key in ("InstanceId", "AssociationId") if key in params}
    if profile := ec2_wire.below(params, "IamInstanceProfile."):
        asked["IamInstanceProfile"] = profile
    return {f"{name}Request": asked}


def _response(name: str, root: dict[str, Any]) -> dict[str, Any]:
    if name in _TAGS:
        return {"_return": True}
    return {f"{name}Response": root} if name in _ASSOCIATIONS else root


def _resources(record: Mapping[str, Any]) -> list[dict[str, str]]:
    if record["eventName"] in _TAGS:
        ids = [each["resourceId"] for each in record["requestParameters"]["resourcesSet"]["items"]]
    elif record["eventName"] == "RunInstances" and record["responseElements"]:
        ids = [each["instanceId"] for each in record["responseElements"]["instancesSet"]["items"]]
    else:
        ids = []
    kinds = {each: {"ResourceType": "AWS::EC2::Instance"} if each.startswith("i-") else {} for each in ids}
    return [{"ResourceName": each, **kind} for each, kind in kinds.items()]


def _value(element: ET.Element) -> Any:
    """An XML element as CloudTrail has it: a list under `items`, without namespaces."""
    children = list(element)
    if not children:
        return {} if element.tag.endswith("Set") else element.text or ""
    if all(_name(each) == "item" for each in children):
        return {"items": [_value(each) for each in children]}
    return {_name(each): _value(each) for each in children}


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _tags(tags: Mapping[str, str | None]) -> list[dict[str, str]]:
    return [{"key": key, **({} if value is None else {"value": value})} for key, value in tags.items()]


def _refusal(code: str, message: str) -> Response:
    answer: Response = cloudtrail._err(code, message)
    return answer

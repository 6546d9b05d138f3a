"""CloudTrail's event history: who changed something by EC2's API, for LookupEvents.

Shapes as in AWS_FACTS.md, "CloudTrail's event history". Where no source says what AWS does, it is pessimistic: calls on
associations list no resource, so they are found by their name only. Calls that IAM refuses are missing, and no event is
late.
"""

import json
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from xml.etree import ElementTree as ET

from ministack.core.iam_evaluator import caller_arn
from ministack.core.responses import get_account_id, get_region
from ministack.services import cloudtrail, ec2, iam

from rolekeeper_local import ec2_wire
from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_wire import Params, Response

type Event = dict[str, Any]

#: The most events of an account and Region that are kept.
_KEPT = 10_000
_LARGEST_PAGE = 50
_TAGS = ("CreateTags", "DeleteTags")
_ASSOCIATIONS = (
    "AssociateIamInstanceProfile",
    "ReplaceIamInstanceProfileAssociation",
    "DisassociateIamInstanceProfile",
)
_RECORDED = frozenset({"RunInstances", *_TAGS, *_ASSOCIATIONS})
#: The attributes of LookupEvents.
_ATTRIBUTES = ("EventId", "EventName", "EventSource", "ResourceName", "Username")


class EventHistory:
    """The events of each account and Region, oldest first, each with its number."""

    def __init__(self) -> None:
        self._events: dict[tuple[str, str], deque[tuple[int, Event]]] = {}
        self._recorded = 0

    async def recorded(self, original: Callable[..., Awaitable[Response]], *request: Any) -> Response:
        """EC2's handler; records the changing calls."""
        answer = await original(*request)
        _method, _path, _headers, body, query_params = request
        params = ec2_wire.params_of(body, query_params)
        if params.get("Action") in _RECORDED:
            self._record(params["Action"], params, answer)
        return answer

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
            (number, event)
            for number, event in reversed(self._here())
            if number < before
            and first <= event["EventTime"] <= last
            and all(each["AttributeValue"] in _values(event, each["AttributeKey"]) for each in attributes)
        ]
        page = found[:size]
        more = {"NextToken": str(page[-1][0])} if len(found) > size else {}
        answer: Response = cloudtrail._ok({"Events": [event for _, event in page], **more})
        return answer

    def _here(self) -> deque[tuple[int, Event]]:
        return self._events.setdefault((get_account_id(), get_region()), deque(maxlen=_KEPT))

    def _record(self, name: str, params: Params, answer: Response) -> None:
        status, _, body = answer
        root = _value(ET.fromstring(body))  # noqa: S314 - our own answer, made a moment ago
        done = status == 200  # noqa: PLR2004 - HTTP's
        by, now = _identity(caller_arn(), params.get("Operator.Principal", "")), int(time.time())
        record = {
            "eventVersion": "1.11",
            "userIdentity": by,
            "eventTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
            "eventSource": "ec2.amazonaws.com",
            "eventName": name,
            "awsRegion": get_region(),
            "requestParameters": _request(name, params),
            "responseElements": _response(name, root) if done else None,
            "eventID": str(uuid.uuid4()),
            "readOnly": False,
            "eventType": "AwsApiCall",
            "managementEvent": True,
            "recipientAccountId": get_account_id(),
            "eventCategory": "Management",
        }
        if not done:
            error = root["Errors"]["Error"]
            record |= {"errorCode": f"Client.{error['Code']}", "errorMessage": error["Message"]}
        event = {
            "EventId": record["eventID"],
            "EventName": name,
            "EventSource": record["eventSource"],
            "EventTime": now,
            "ReadOnly": "false",
            "Username": by["arn"].rsplit("/", 1)[-1].rsplit(":", 1)[-1],
            "Resources": _resources(record),
            "CloudTrailEvent": json.dumps(record),
        }
        self._recorded += 1
        self._here().append((self._recorded, event))


def _values(event: Event, attribute: str) -> list[str]:
    if attribute == "ResourceName":
        return [each["ResourceName"] for each in event["Resources"]]
    return [event[attribute]]


def install() -> None:
    """Correct this process, after `ec2_api`."""
    history = EventHistory()
    cloudtrail._DISPATCH["LookupEvents"] = history.lookup
    correct(history.recorded, "handle_request", ec2)


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
    issuer = {"type": "Role", "arn": role["Arn"] if role else "", "userName": names[0]}
    return {"type": "AssumedRole", **base, "sessionContext": {"sessionIssuer": issuer}}


def _request(name: str, params: Params) -> dict[str, Any]:
    if name == "RunInstances":
        launched = {"imageId": params.get("ImageId", ""), "minCount": int(params.get("MinCount", 1))}
        specified = [
            {
                "resourceType": params[f"TagSpecification.{n}.ResourceType"],
                "tags": _tags(ec2_wire.tags(_below(params, f"TagSpecification.{n}."))),
            }
            for n in range(1, 11)
            if f"TagSpecification.{n}.ResourceType" in params
        ]
        profile = {key.lower(): value for key, value in _below(params, "IamInstanceProfile.").items()}
        return {
            "instancesSet": {"items": [launched]},
            **({"tagSpecificationSet": {"items": specified}} if specified else {}),
            **({"iamInstanceProfile": profile} if profile else {}),
        }
    if name in _TAGS:
        ids = [{"resourceId": each} for each in ec2_wire.members(params, "ResourceId")]
        return {"resourcesSet": {"items": ids}, "tagSet": {"items": _tags(ec2_wire.tags(params))}}
    asked: dict[str, Any] = {key: params[key] for key in ("InstanceId", "AssociationId") if key in params}
    if profile := _below(params, "IamInstanceProfile."):
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


def _below(params: Params, prefix: str) -> Params:
    return {key.removeprefix(prefix): value for key, value in params.items() if key.startswith(prefix)}


def _refusal(code: str, message: str) -> Response:
    answer: Response = cloudtrail._err(code, message)
    return answer

"""Parses the answers that are long, in place of botocore, whose parser takes several times as long as all else of ours.

What is parsed here is as botocore has it; of the lists of EC2 and IAM only the members that the layer reads. What
looks unusual, as an error does, is left to botocore, and so is the rest of each answer: its token and its request's id.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from xml.etree import ElementTree as ET

# What the layer reads of large shapes: of over sixty members of an instance these. `slim.py` keeps no others.
MEMBERS = {
    "IamInstanceProfileAssociation": ["AssociationId", "IamInstanceProfile", "InstanceId", "State"],
    "Instance": ["InstanceId", "LaunchTime", "Operator", "State", "Tags"],
    "Reservation": ["Instances"],
    "RoleDetail": [
        *("Arn", "AssumeRolePolicyDocument", "AttachedManagedPolicies", "InstanceProfileList"),
        *("Path", "PermissionsBoundary", "RoleName", "RolePolicyList"),
    ],
}
# By service and operation the list, by botocore's name, that is parsed here; and what nobody reads of it and is cut out
# before: a large part of an instance; and in a profile the role that it is listed with, once more.
_LISTS = {
    "ec2.DescribeInstances": ("Reservations", b"networkInterfaceSet"),
    "ec2.DescribeIamInstanceProfileAssociations": ("IamInstanceProfileAssociations", b""),
    "iam.GetAccountAuthorizationDetails": ("RoleDetailList", b"Roles"),
}
_ITEMS = ("BatchGetItem", "GetItem", "Query", "Scan")
# Bytes, which botocore decodes; few rows have some.
_BINARY = re.compile(rb'"BS?"\s*:')
_OK = 200
_TEXTS: Mapping[str, Callable[[str], Any]] = {
    "boolean": "true".__eq__,
    "integer": int,
    "timestamp": datetime.fromisoformat,
}  # all that is read is among these, or text

type Read = Callable[[ET.Element], Any]


def parse_quickly(register: Callable[[str, Callable[..., None]], object]) -> None:
    """Register for the events of a session, before it makes clients; or unregister."""
    for operation in _LISTS:
        register(f"before-parse.{operation}", _parse_list)
    for operation in _ITEMS:
        register(f"before-parse.dynamodb.{operation}", _parse_items)


def _parse_list(
    operation_model: Any, response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
) -> None:
    if response_dict["status_code"] != _OK:
        return
    name, cut = _LISTS[f"{operation_model.service_model.endpoint_prefix}.{operation_model.name}"]
    output = operation_model.output_shape
    try:
        root = ET.fromstring(_without(response_dict["body"], cut))  # noqa: S314  # what botocore does
    except ET.ParseError:
        return
    namespace = root.tag[: root.tag.find("}") + 1]
    wrapper, shape = output.serialization.get("resultWrapper"), output.members[name]
    inside = root if wrapper is None else root.find(f"{namespace}{wrapper}")
    if inside is not None and (found := inside.find(f"{namespace}{_tag(shape, name)}")) is not None:
        customized_response_dict[name] = _reader(shape, namespace)(found)
        inside.remove(found)
        response_dict["body"] = ET.tostring(root)


def _without(body: bytes, name: bytes) -> bytes:
    """Cut out the elements of a name that has none of its own inside: a text of XML has no `<`."""
    if not name or b"<!" in body:  # but a comment and a CDATA section may
        return body
    first, *others = body.split(b"<%s>" % name)
    return first + b"".join(part.partition(b"</%s>" % name)[2] for part in others)


def _reader(shape: Any, namespace: str) -> Read:
    """Return a reader of a shape's elements."""
    if shape.type_name == "structure":
        wanted = MEMBERS.get(shape.name, shape.members)
        members = [
            (name, f"{namespace}{_tag(member, name)}", _reader(member, namespace))
            for name, member in shape.members.items()
            if name in wanted and (member.type_name != "timestamp" or shape.name in MEMBERS)
        ]
        return lambda node: {name: read(found) for name, tag, read in members if (found := node.find(tag)) is not None}
    if shape.type_name == "list":
        one = _reader(shape.member, namespace)
        return lambda node: [one(child) for child in node]
    read = _TEXTS.get(shape.type_name, str)
    return lambda node: read(node.text or "")


def _tag(member: Any, name: str) -> str:
    return str(member.serialization.get("name", name))


def _parse_items(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Parse items: DynamoDB's JSON has them as botocore gives them, but for bytes."""
    body = response_dict["body"]
    if response_dict["status_code"] == _OK and not _BINARY.search(body):
        try:
            parsed = json.loads(body)
        except ValueError:
            return
        if isinstance(parsed, dict):
            customized_response_dict.update(parsed)
            response_dict["body"] = b"{}"

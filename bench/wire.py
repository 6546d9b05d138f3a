"""AWS's protocols on the wire, from botocore's own models: a request's operation and parameters, an answer's bytes.

JSON for DynamoDB, EventBridge, SQS and Step Functions; forms and XML for EC2, IAM, SNS, STS and CloudFormation.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, quote
from xml.sax.saxutils import escape

import botocore.session
from botocore.model import OperationModel, ServiceModel, Shape

_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/[^/]+/([^/]+)/aws4_request")
_SERVICES = {"monitoring": "cloudwatch", "states": "stepfunctions"}  # how a signature calls them


@dataclass(frozen=True)
class Request:
    """One call: the service by its boto3 name, the operation, its parameters; and what was sent."""

    service: str
    operation: str
    params: dict[str, Any]
    headers: Mapping[str, str]
    body: str


@cache
def model(service: str) -> ServiceModel:
    """A service's model, of the newest version that botocore brings."""
    return botocore.session.get_session().get_service_model(service)


def read(headers: Mapping[str, str], body: str) -> Request:
    """Read a request; raises a ValueError at one that isn't signed."""
    scope = _SCOPE.search(headers.get("Authorization", ""))
    if not scope:
        raise ValueError("the request isn't signed")
    service = _SERVICES.get(scope[1], scope[1])
    if target := headers.get("X-Amz-Target"):
        params = json.loads(body)
        # The SDK's own addition, which repeats of one call share.
        params.pop("ClientRequestToken", None)
        return Request(service, target.rpartition(".")[2], params, headers, body)
    form = dict(parse_qsl(body, keep_blank_values=True))
    operation = form["Action"]
    shape = model(service).operation_model(operation).input_shape
    return Request(service, operation, _value(shape, "", form) if shape else {}, headers, body)


def _value(shape: Shape, prefix: str, form: Mapping[str, str]) -> Any:
    """What a form says of a shape; None where it says nothing."""
    at = f"{prefix}." if prefix else ""
    kind: Any = shape
    if shape.type_name == "structure":
        members = ((name, member, _form_name(member, name)) for name, member in kind.members.items())
        read_ = {name: _value(member, f"{at}{inside}", form) for name, member, inside in members}
        return {name: each for name, each in read_.items() if each is not None} or (None if prefix else {})
    if shape.type_name == "list":
        return [*_items(kind.member, prefix, form)] or None
    text = form.get(prefix)
    if text is None:
        return None
    if shape.type_name == "boolean":
        return text == "true"
    return int(text) if shape.type_name in {"integer", "long"} else text


def _items(member: Shape, prefix: str, form: Mapping[str, str]) -> Iterator[Any]:
    flat = next((each for each in (prefix, f"{prefix}.member") if _any(form, f"{each}.1")), prefix)
    for number in range(1, 10_000):
        if not _any(form, f"{flat}.{number}"):
            return
        yield _value(member, f"{flat}.{number}", form)


def _any(form: Mapping[str, str], name: str) -> bool:
    return name in form or any(each.startswith(f"{name}.") for each in form)


def _form_name(member: Shape, name: str) -> str:
    """As botocore writes it (botocore.serialize, `EC2Serializer`)."""
    said = member.serialization
    if "queryName" in said:
        return str(said["queryName"])
    written = str(said.get("name", name))
    return written[0].upper() + written[1:]


def write(service: str, operation: str, answer: Mapping[str, Any]) -> tuple[str, bytes]:
    """An answer's content type and bytes."""
    known = model(service)
    if known.metadata["protocol"] in {"json", "smithy-rpc-v2-cbor"}:
        return "application/x-amz-json-1.0", json.dumps(answer, default=_plain).encode()
    inner = xml(service, operation, answer)
    wrapper = _wrapper(known.operation_model(operation))
    if wrapper:
        inner = f"<{wrapper}>{inner}</{wrapper}>"
    return "text/xml", f"<{operation}Response><requestId>r</requestId>{inner}</{operation}Response>".encode()


def xml(service: str, operation: str, answer: Mapping[str, Any]) -> str:
    """The members of an answer as elements."""
    shape: Any = model(service).operation_model(operation).output_shape
    return "".join(_members(shape, answer)) if shape else ""


def _wrapper(operation: OperationModel) -> str:
    shape = operation.output_shape
    return str(shape.serialization.get("resultWrapper", "")) if shape else ""


def _members(shape: Any, value: Mapping[str, Any]) -> Iterator[str]:
    for name, member in shape.members.items():
        if value.get(name) is not None:
            yield _element(member, str(member.serialization.get("name", name)), value[name])


def _element(shape: Any, name: str, value: Any) -> str:
    if shape.type_name == "structure":
        return f"<{name}>{''.join(_members(shape, value))}</{name}>"
    if shape.type_name == "list":
        if shape.serialization.get("flattened"):
            return "".join(_element(shape.member, name, each) for each in value)
        inside = str(shape.member.serialization.get("name", "member"))
        return f"<{name}>{''.join(_element(shape.member, inside, each) for each in value)}</{name}>"
    if shape.type_name == "map":
        pairs = (_element(shape.key, "key", key) + _element(shape.value, "value", value[key]) for key in value)
        return f"<{name}>{''.join(f'<entry>{each}</entry>' for each in pairs)}</{name}>"
    if isinstance(value, dict):
        # A policy's document, which IAM encodes (botocore.handlers, `json_decode_policies`).
        return f"<{name}>{quote(json.dumps(value))}</{name}>"
    return f"<{name}>{escape(_plain(value))}</{name}>"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, datetime) else str(value)


def refusal(service: str, code: str, message: str) -> tuple[str, bytes]:
    """An error's content type and bytes."""
    if model(service).metadata["protocol"] in {"json", "smithy-rpc-v2-cbor"}:
        return "application/x-amz-json-1.0", json.dumps({"__type": code, "message": message}).encode()
    error = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    if service == "ec2":
        error = f"<Errors>{error}</Errors><RequestID>r</RequestID>"
        return "text/xml", f"<Response>{error}</Response>".encode()
    return "text/xml", f"<ErrorResponse>{error}</ErrorResponse>".encode()

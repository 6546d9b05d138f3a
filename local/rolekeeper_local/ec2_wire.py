"""EC2's Query API on the wire: parameters by number on the way in, XML on the way out."""

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from ministack.services import ec2

from rolekeeper_local import ec2_tags
from rolekeeper_local.ec2_model import Association, Ec2Error

type Params = dict[str, str]
type Response = tuple[int, dict[str, str], bytes]

SMALLEST_PAGE, LARGEST_PAGE = 5, 1000


def install() -> None:
    """Keep all of EC2's answers parsable: tags of a CloudFormation template are not checked on their way in."""
    answer, error = ec2._xml, ec2._error
    ec2._xml = lambda status, root, inner: answer(status, root, ec2_tags.parsable(inner))
    ec2._error = lambda code, message, status: error(code, ec2_tags.parsable(message), status)


def params_of(body: bytes, query_params: Mapping[str, Any]) -> Params:
    """A request's parameters, from its address and its body; the last value of one that comes twice."""
    parsed = {**query_params, **parse_qs(body.decode("utf-8", errors="replace"), keep_blank_values=True)}
    return {key: value[-1] if isinstance(value, list) else value for key, value in parsed.items()}


def members(params: Params, prefix: str) -> list[str]:
    """Read ``<prefix>.1``, ``.2`` and so on; an empty value counts."""
    values = (params.get(f"{prefix}.{n}") for n in itertools.count(1))
    return list(itertools.takewhile(lambda value: value is not None, values))  # type: ignore[arg-type]


def tags(params: Params) -> dict[str, str | None]:
    """Read ``Tag.N.Key`` and ``Tag.N.Value``; a key without a value is None (DeleteTags: whatever its value)."""
    return {params[f"Tag.{n}.Key"]: params.get(f"Tag.{n}.Value") for n in range(1, 1001) if f"Tag.{n}.Key" in params}


def below(params: Params, prefix: str) -> Params:
    """The parameters whose names begin so, without that."""
    return {key.removeprefix(prefix): value for key, value in params.items() if key.startswith(prefix)}


def instance_tags(params: Params) -> dict[str, str]:
    """The tags that a request has for the instances that it launches."""
    found: dict[str, str] = {}
    for n in itertools.takewhile(lambda n: f"TagSpecification.{n}.ResourceType" in params, itertools.count(1)):
        if params[f"TagSpecification.{n}.ResourceType"] == "instance":
            given = tags(below(params, f"TagSpecification.{n}."))
            found |= {key: value or "" for key, value in given.items()}
    return found


def instance_tag_params(tags: Mapping[str, str]) -> Params:
    """The parameters of a request that tags the instances that it launches."""
    named = [(f"TagSpecification.1.Tag.{n}.", each) for n, each in enumerate(tags.items(), 1)]
    pairs = {f"{name}{part}": text for name, each in named for part, text in zip(("Key", "Value"), each, strict=True)}
    return {"TagSpecification.1.ResourceType": "instance", **pairs}


def profile(params: Params, *, required: bool = True) -> str:
    """Read the ARN or the name of the instance profile; empty if there is none and it isn't required."""
    reference = params.get("IamInstanceProfile.Arn") or params.get("IamInstanceProfile.Name") or ""
    if required and not reference:
        raise Ec2Error("MissingParameter", "The request must contain the parameter IamInstanceProfile")
    return reference


def page(params: Params) -> dict[str, Any]:
    """Read filters, page size and token as the truth's describe calls take them.

    A page takes 5 to 1,000 (EC2 API reference, MaxResults of both describe calls; the words are inferred).
    """
    names = ((n, params.get(f"Filter.{n}.Name")) for n in itertools.count(1))
    filters = [
        (name, members(params, f"Filter.{n}.Value"))
        for n, name in itertools.takewhile(lambda pair: pair[1] is not None, names)
    ]
    size = params.get("MaxResults")
    if size and not (size.isascii() and size.isdigit() and SMALLEST_PAGE <= int(size) <= LARGEST_PAGE):
        expected = f"Expecting a value from {SMALLEST_PAGE} to {LARGEST_PAGE}."
        text = f"Value ( {size} ) for parameter maxResults is invalid. {expected}"
        raise Ec2Error("InvalidParameterValue", text)
    token = params.get("NextToken") or None
    return {"filters": filters, "max_results": int(size) if size else None, "next_token": token}


def cut[Row](rows: Sequence[Row], params: Params, *, size: int | None = None) -> tuple[Sequence[Row], str | None]:
    """A page of rows and the token of the next one, of calls for which `page` isn't; `size` unless asked."""
    token = params.get("NextToken") or "0"
    if not token.isdecimal():
        raise Ec2Error("InvalidNextToken", f"The token '{token}' is invalid")
    first = int(token)
    last = first + int(params.get("MaxResults") or params.get("MaxRecords") or size or len(rows))
    return rows[first:last], str(last) if last < len(rows) else None


def token_xml(token: str | None) -> str:
    return f"<nextToken>{token}</nextToken>" if token else ""


def association_xml(row: Association, tag: str) -> str:
    shown = {
        "AssociationId": row.id,
        "InstanceId": row.instance_id,
        "IamInstanceProfile": {"Arn": row.profile_arn, "Id": row.profile_id},
        "State": str(row.state),
        "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(row.timestamp)),
    }
    return str(ec2._iam_instance_profile_association_xml(shown, tag=tag))


def answer(action: str, inner: str) -> Response:
    answer: Response = ec2._xml(200, f"{action}Response", inner)
    return answer


def refusal(error: Ec2Error, status: int = 400) -> Response:
    answer: Response = ec2._error(error.code, escape(error.message), status)
    return answer

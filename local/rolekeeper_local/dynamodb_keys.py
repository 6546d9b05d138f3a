"""The condition keys that DynamoDB gives IAM of a request's items: `dynamodb:LeadingKeys` and `dynamodb:Attributes`.

ministack supplies neither for writes. Here they are read from the request, for each item of a transaction its own
(docs/AWS_FACTS.md, "IAM"). A request that names no key, as a scan or PartiQL, has no leading keys.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from ministack.services import dynamodb

type Keys = dict[str, Any]

LEADING_KEYS, ATTRIBUTES = "dynamodb:LeadingKeys", "dynamodb:Attributes"
# In the order in which ministack checks them.
_KINDS = ("ConditionCheck", "Put", "Update", "Delete", "Get")
_EXPRESSIONS = ("UpdateExpression", "ConditionExpression", "FilterExpression", "KeyConditionExpression")
# Parameters of before there were expressions (DynamoDB developer guide, "Legacy conditional parameters").
_LEGACY = ("AttributeUpdates", "Expected", "AttributesToGet", "KeyConditions", "QueryFilter", "ScanFilter")
# An attribute or its placeholder at the beginning of a path; values begin with ":", functions go before "(".
_NAME = re.compile(r"(?<![\w:#.])#?[A-Za-z_]\w*(?!\w|\s*\()")
_WORDS = {"SET", "REMOVE", "ADD", "DELETE", "AND", "OR", "NOT", "BETWEEN", "IN"}
_PARTITION = re.compile(r"(#?\w+)\s*=\s*(:\w+)")


def keys_of(body: bytes) -> tuple[Keys, list[Keys]]:
    """The keys of a request as a whole, and those of each item where it is a transaction."""
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        return {}, []
    if not isinstance(request, dict):
        return {}, []
    if "TransactItems" in request:
        items = [(each, kind) for each in request["TransactItems"] for kind in _KINDS if kind in each]
        return {}, [_of_one(each[kind]) for each, kind in items]
    if "RequestItems" in request:
        found = [key for table, each in request["RequestItems"].items() for key in _of_batch(table, each)]
        return ({LEADING_KEYS: found} if found else {}), []
    return _of_one(request), []


def _of_batch(table: str, asked: Any) -> list[str]:
    items = asked["Keys"] if isinstance(asked, dict) else [_written(each) for each in asked]
    return [key for item in items for key in _leading(table, item)]


def _written(each: Mapping[str, Any]) -> Any:
    return each["PutRequest"]["Item"] if "PutRequest" in each else each["DeleteRequest"]["Key"]


def _of_one(request: Mapping[str, Any]) -> Keys:
    item = request.get("Item") or request.get("Key") or {}
    names = request.get("ExpressionAttributeNames") or {}
    expressions = " ".join(str(request.get(each) or "") for each in _EXPRESSIONS)
    attributes = {*item, *(names.get(name, name) for name in _NAME.findall(expressions) if name not in _WORDS)}
    attributes |= {name for each in _LEGACY for name in request.get(each) or ()}
    leading = _leading(request.get("TableName", ""), item) or _queried(request, names)
    return {name: found for name, found in ((LEADING_KEYS, leading), (ATTRIBUTES, sorted(attributes))) if found}


def _leading(table: str, item: Mapping[str, Any]) -> list[str]:
    value = item.get(_partition_key(table), {})
    return [str(each) for each in value.values()]


def _queried(request: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    partition, values = _partition_key(request.get("TableName", "")), request.get("ExpressionAttributeValues") or {}
    for name, value in _PARTITION.findall(request.get("KeyConditionExpression") or ""):
        if names.get(name, name) == partition and value in values:
            return [str(each) for each in values[value].values()]
    return []


def _partition_key(table: str) -> str:
    known = dynamodb._tables.get(table.rsplit("/", 1)[-1])
    return str(known["pk_name"]) if known else ""

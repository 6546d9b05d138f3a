"""What a call of a boto3 client asks of IAM: the action, and of DynamoDB the table, the keys and the attributes.

Only the operations that Rolekeeper calls are known; each method's name says its action, but for those below.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from support.templates import listed

# A boto3 service's prefix in IAM, where it is another (service authorization reference).
_PREFIXES = {"stepfunctions": "states"}
# An operation's action, where it has another name; and the actions that it takes besides (the same).
_ACTIONS = {"sqs:SendMessageBatch": "sqs:SendMessage", "lambda:Invoke": "lambda:InvokeFunction"}
_PASSES_A_ROLE = {
    "ec2:AssociateIamInstanceProfile",
    "ec2:ReplaceIamInstanceProfileAssociation",
    "iam:AddRoleToInstanceProfile",
}
# The partition key of either table.
_PARTITION_KEYS = ("pk", "tag_key")


@dataclass(frozen=True, slots=True)
class IamRequest:
    """One request as IAM judges it.

    `keys` and `attributes` are DynamoDB's `LeadingKeys` and `Attributes`; `role` is the ARN of one that is assumed, and
    `session` by which name.
    """

    action: str
    table: str = ""
    keys: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    role: str = ""
    session: str = ""

    def joined(self, others: "Iterable[IamRequest]") -> "IamRequest":
        """The same, if IAM judged each item of a transaction by the keys and attributes of all of them."""
        same = [each for each in others if each.table == self.table]
        keys = frozenset[str]().union(*(each.keys for each in same))
        return replace(self, keys=keys, attributes=frozenset[str]().union(*(each.attributes for each in same)))

    def passes(self, statement: Mapping[str, Any], table: str) -> bool:
        """Whether a statement of the template allows it; `table` is its table's logical id, empty for no table."""
        on_it = not table or statement["Resource"] == {"GetAtt": f"{table}.Arn"}
        if self.role and self.action in listed(statement["Action"]):
            # Whose organization it is in, and which function asks, can't be told here: test_policy_matrix.
            names = listed(statement["Condition"]["StringEquals"]["sts:RoleSessionName"])
            return self.session in names and fnmatchcase(self.role, _filled(statement["Resource"]["Sub"]))
        return self.action in listed(statement["Action"]) and on_it and (not table or self._meets(statement))

    def _meets(self, statement: Mapping[str, Any]) -> bool:
        context = {"dynamodb:LeadingKeys": self.keys, "dynamodb:Attributes": self.attributes}
        tests: dict[str, Callable[[frozenset[str], list[str]], bool]] = {
            "ForAllValues:StringLike": lambda values, these: all(any(fnmatchcase(v, t) for t in these) for v in values),
            "ForAllValues:StringEquals": lambda values, these: values <= set(these),
            "ForAllValues:StringNotEquals": lambda values, these: not values & set(these),
            "Null": lambda values, these: these == [str(not values).lower()],
        }
        return all(
            tests[operator](context[key], listed(these))
            for operator, block in statement.get("Condition", {}).items()
            for key, these in block.items()
        )


class Recorded:
    """A client whose calls are heard as requests: each one's own, one for each item of a transaction."""

    def __init__(self, service: str, client: Any, heard: Callable[[list[IamRequest]], object]) -> None:
        self._service = service
        self._client = client
        self._heard = heard

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(*args: Any, **arguments: Any) -> Any:
            # A paginator is asked for by the name of the operation that it makes.
            self._heard(requests(self._service, args[0] if name == "get_paginator" else name, arguments))
            return found(*args, **arguments)

        return call


def _filled(pattern: str) -> str:
    return pattern.replace("${AWS::Partition}", "aws").replace("${Namespace}", "rolekeeper")


def action_of(service: str, operation: str) -> str:
    """The action that IAM asks for an operation of boto3's service."""
    action = f"{_PREFIXES.get(service, service)}:{operation}"
    return _ACTIONS.get(action, action)


def requests(service: str, method: str, arguments: Mapping[str, Any]) -> list[IamRequest]:
    action = action_of(service, "".join(part.title() for part in method.split("_")))
    if service == "sts":
        return [IamRequest(action, role=arguments["RoleArn"], session=arguments["RoleSessionName"])]
    if service != "dynamodb":
        return [IamRequest(each) for each in (action, *(("iam:PassRole",) if action in _PASSES_A_ROLE else ()))]
    if method == "transact_write_items":
        # Not an action of its own (DynamoDB developer guide, "Using IAM with DynamoDB transactions").
        written = [(kind, each) for item in arguments["TransactItems"] for kind, each in item.items()]
        return [_on_item(f"dynamodb:{kind}Item", each) for kind, each in written]
    if method == "batch_get_item":
        asked = arguments["RequestItems"].items()
        return [IamRequest(action, table, frozenset(map(_partition, each["Keys"]))) for table, each in asked]
    return [_on_item(action, arguments)]


def _on_item(action: str, arguments: Mapping[str, Any]) -> IamRequest:
    item = arguments.get("Item") or arguments.get("Key") or {}
    values = arguments.get("ExpressionAttributeValues", {})
    # A query names the partition that it reads in its condition.
    keys = [_partition(item)] if item else [values[name]["S"] for name in (":pk", ":tag_key") if name in values]
    names = arguments.get("ExpressionAttributeNames", {}).values()
    return IamRequest(action, arguments["TableName"], frozenset(keys), frozenset({*item, *names}))


def _partition(item: Mapping[str, Any]) -> str:
    (name,) = (each for each in _PARTITION_KEYS if each in item)
    return str(item[name]["S"])

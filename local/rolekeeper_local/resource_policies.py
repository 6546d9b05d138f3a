"""Policies of DynamoDB's tables; and an account's root, which the policies of tables and buses bind too.

- ministack keeps a table's policy for its API alone: it asks it nowhere, and its CloudFormation drops `ResourcePolicy`.
  Here it is asked for each table and index that a request names. A Deny binds everybody, the owner's root too; another
  account's root needs an Allow (IAM user guide, "Policy evaluation logic"). ministack lets every root do everything.
- A statement of PartiQL needs an action of its own on its table (DynamoDB developer guide, "IAM security policies with
  PartiQL for DynamoDB"), as an item of a transaction does. Its keys aren't known here.
- A table keeps the name with which it was imported into a stack, as its template names none (CloudFormation user guide,
  "Import AWS resources into a CloudFormation stack"). ministack's next update puts an empty one in its place.
"""

import json
from collections.abc import Callable
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.core.arn import ArnParseError, parse_arn
from ministack.core.responses import get_account_id
from ministack.services import dynamodb
from ministack.services.cloudformation import provisioners

from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_wire import Response

type Resource = tuple[str, dict[str, Any]]
type Props = dict[str, Any]

_BIND_ROOT = ("dynamodb", "events")
#: Where a request has its statements, by its action.
_STATEMENTS: dict[str, Callable[[Any], list[Any]]] = {
    "dynamodb:ExecuteStatement": lambda asked: [asked],
    "dynamodb:BatchExecuteStatement": lambda asked: asked["Statements"],
    "dynamodb:ExecuteTransaction": lambda asked: asked["TransactStatements"],
}


def install() -> None:
    """Correct this process, before the other corrections of IAM: they tell one item's keys from another's."""
    dynamodb.table_policy_for_arn = policy_of
    iam_evaluator._RESOURCE_POLICY_LOOKUPS["dynamodb"] = ("dynamodb", "table_policy_for_arn")
    correct(_enforce, "enforce", iam_evaluator)
    correct(_checks, "dynamodb_transaction_checks", iam_actions)
    correct(_delete_table, "_delete_table", dynamodb)
    tables = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]
    correct(_create, "create", tables)
    correct(_update, "update", tables)
    correct(_delete, "delete", tables)


def policy_of(arn: str) -> tuple[str | None, str] | None:
    """A table's policy, if it has one, and whose it is; None for an ARN of something else."""
    try:
        found = parse_arn(arn)
    except ArnParseError:
        return None
    kind, _, name = found.resource.partition("/")
    if found.service != "dynamodb" or kind != "table":
        return None
    table = _arn(found.region, found.account_id, name.partition("/")[0])
    kept = dynamodb._resource_policies.get_scoped(found.account_id, found.region, table) or {}
    return kept.get("Policy"), str(found.account_id)


def _arn(region: str, account: str, table: str) -> str:
    return f"arn:aws:dynamodb:{region}:{account}:table/{table}"


# ---- who may do what ----


def _enforce(original: Callable[..., Any], *request: str, **named: Any) -> Any:
    access_key_id, iam_action, service, region = request
    refused = original(*request, **named)
    resource = named.get("resource_arn", "*")
    found = iam_evaluator._resource_policy(service, resource) if service in _BIND_ROOT and not refused else None
    if found is None:
        return refused
    caller = iam_evaluator.resolve_principal(access_key_id or "", get_account_id())
    if caller.policies is not None:
        return None
    context = iam_evaluator.EvalContext(
        principal_arn=caller.arn,
        principal_type=caller.type,
        principal_account=caller.account,
        action=iam_action,
        resource_arn=resource,
        region=region,
        service_context={key.lower(): value for key, value in (named.get("service_context") or {}).items()},
        principal_keys=caller.keys,
    )
    own = iam_evaluator.EvalResult("Allow", caller.arn)
    result = iam_evaluator.combine_resource_policy(own, context, *found)
    result.principal_arn = caller.arn
    return None if result.decision == "Allow" else result


def _checks(original: Callable[..., Any], iam_action: str, body: bytes, region: str, account: str) -> Any:
    """The actions and resources of a request's statements, as of a transaction's items."""
    if iam_action not in _STATEMENTS:
        return original(iam_action, body, region, account)
    try:
        statements = [_parsed(asked) for asked in _STATEMENTS[iam_action](json.loads(body))]
    except (KeyError, TypeError, ValueError):
        return []
    return [
        (
            f"dynamodb:PartiQL{read['op'].capitalize()}",
            _arn(region, account, read["table"]) + (f"/index/{read['index']}" if read.get("index") else ""),
        )
        for read in statements
        if read
    ]


def _parsed(asked: Any) -> dict[str, Any]:
    """A statement; an empty one if it can't be read, which is refused when it is executed."""
    try:
        parsed: dict[str, Any] = dynamodb._parse_partiql(asked["Statement"], asked.get("Parameters"))
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}
    # EXISTS reads.
    return {"op": "SELECT", **parsed["select"]} if parsed["op"] == "EXISTS" else parsed


# ---- stacks ----


def _create(original: Callable[..., Resource], logical_id: str, props: Props, stack: str) -> Resource:
    made = original(logical_id, props, stack)
    _keep(made[1]["Arn"], props)
    return made


def _update(  # noqa: PLR0913, PLR0917  # ministack's own
    original: Callable[..., Resource], physical_id: str, old: Props, new: Props, stack: str, logical_id: str = ""
) -> Resource:
    imported = physical_id != provisioners._physical_name(stack, logical_id, max_len=255)
    name = {"TableName": physical_id} if imported and physical_id in dynamodb._tables else {}
    made = original(physical_id, {**name, **old}, {**name, **new}, stack, logical_id)
    _keep(made[1]["Arn"], new)
    return made


def _keep(arn: str, props: Props) -> None:
    if not (document := props.get("ResourcePolicy", {}).get("PolicyDocument")):
        dynamodb._resource_policies.pop(arn, None)
        return
    status, _headers, answer = dynamodb._put_resource_policy({"ResourceArn": arn, "Policy": json.dumps(document)})
    if status >= 400:  # noqa: PLR2004  # HTTP's
        raise ValueError(f"AWS::DynamoDB::Table: {answer!r}")


def _delete(original: Callable[..., None], physical_id: str, props: Props) -> None:
    if table := dynamodb._tables.get(physical_id):
        dynamodb._resource_policies.pop(table["TableArn"], None)
    original(physical_id, props)


def _delete_table(original: Callable[[Any], Response], asked: Any) -> Response:
    answer = original(asked)
    arn = json.loads(answer[2]).get("TableDescription", {}).get("TableArn")
    dynamodb._resource_policies.pop(arn, None)
    return answer

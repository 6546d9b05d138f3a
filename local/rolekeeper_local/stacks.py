"""CloudFormation where a deployment needs more than ministack has.

- A condition may compare pseudo parameters (CloudFormation user guide, "CloudFormation template Conditions syntax",
  "Get AWS values using pseudo parameters"). ministack compares their names. `AWS::StackName` and `AWS::StackId` aren't
  known here either.
- A resource that a condition leaves out is ignored, or deleted if it exists (the same guide, "Conditions"), so a change
  set shows it only then. ministack shows all of them as added.
- A stack has its template's description (CloudFormation API reference, `Stack`); ministack loses it with a change set.
- ministack refuses a stack with saved queries of CloudWatch Logs, or with alarms over an expression. Here a query's
  name is kept, listed and deleted, and the alarm is over the expression's metric.
- A generated name is another one in each Region, as CloudFormation's are random: a second deployment in the account
  would otherwise take the first one's roles, which are the same in all Regions.
- CloudFormation makes a number of a parameter's text; with the text ministack's poller polls nothing.
- ministack reads a template with YAML's loader in Python, which holds up all else for a tenth of a second; here the one
  in C does it, with the same constructors.
"""

import hashlib
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import yaml
from ministack.core.responses import AccountRegionScopedDict, get_account_id, get_region, json_response
from ministack.services import cloudformation, cloudwatch_logs
from ministack.services.cloudformation import changesets, engine, handlers, provisioners, stacks

from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_wire import Response

type Resource = tuple[str, dict[str, Any]]


def install() -> None:
    python = engine.CfnLoader
    engine.CfnLoader = type("CfnLoader", (yaml.CSafeLoader,), {"yaml_constructors": python.yaml_constructors})
    correct(_evaluate_conditions, "_evaluate_conditions", engine, changesets, handlers, stacks)
    correct(_resolve_props_for_diff, "_resolve_props_for_diff", changesets)
    correct(_execute_change_set, "ExecuteChangeSet", handlers._ACTION_HANDLERS)
    correct(_physical_name, "_physical_name", provisioners)
    correct(_alarm_record, "_cw_metric_alarm_record", provisioners)
    resources = provisioners._RESOURCE_HANDLERS
    correct(_create_event_source, "create", resources["AWS::Lambda::EventSourceMapping"])
    resources["AWS::Logs::QueryDefinition"] = {
        "create": lambda _logical_id, props, _stack: _query(str(uuid.uuid4()), props),
        "update": lambda physical_id, _old, new, _stack: _query(physical_id, new),
        "delete": lambda physical_id, _props: _queries.pop(physical_id, None),
    }
    correct(_logs, "handle_request", cloudwatch_logs)


def _evaluate_conditions(
    original: Callable[..., dict[str, bool]], template: dict[str, Any], parameters: dict[str, Any]
) -> dict[str, bool]:
    # All of them are of the partition `aws` here.
    place = {
        "AWS::Region": get_region(),
        "AWS::AccountId": get_account_id(),
        "AWS::Partition": "aws",
        "AWS::URLSuffix": "amazonaws.com",
    }
    return original(template, {**parameters, **{name: {"Value": value} for name, value in place.items()}})


def _resolve_props_for_diff(
    original: Callable[..., dict[str, Any]], template: dict[str, Any], parameters: dict[str, Any], *stack: str
) -> dict[str, Any]:
    found = original(template, parameters, *stack)
    made = changesets._evaluate_conditions(template, parameters) if template else {}
    resources = {
        name: resource
        for name, resource in found.get("Resources", {}).items()
        if made.get(resource.get("Condition"), True)
    }
    return {**found, "Resources": resources} if found else found


def _execute_change_set(original: Callable[[Any], Any], params: Any) -> Any:
    name, stack_name = handlers._p(params, "ChangeSetName"), handlers._p(params, "StackName")
    _id, change_set = changesets._find_change_set(name, stack_name)
    answer = original(params)
    stack = cloudformation._stacks.get(change_set["StackName"]) if change_set else None
    if stack:
        stack["Description"] = change_set["_template"].get("Description", "")
    return answer


def _physical_name(original: Callable[..., str], *arguments: Any, **named: Any) -> str:
    name = original(*arguments, **named)
    suffix = hashlib.sha256(f"{name} {get_region()}".encode()).hexdigest()[: len(name.rpartition("-")[2])]
    return name[: -len(suffix)] + (suffix if name.islower() else suffix.upper())


def _alarm_record(original: Callable[..., Any], name: str, props: dict[str, Any]) -> Any:
    """An alarm's record, with the metric of its first `MetricStat` in the place of its expression."""
    if "Metrics" in props:
        stat = next(each["MetricStat"] for each in props["Metrics"] if "MetricStat" in each)
        plain = {name: value for name, value in props.items() if name != "Metrics"}
        props = {**plain, **stat["Metric"], "Statistic": stat["Stat"], "Period": stat["Period"]}
    return original(name, props)


def _create_event_source(
    original: Callable[..., Resource], logical_id: str, props: dict[str, Any], stack_name: str
) -> Resource:
    scaling = {name: int(value) for name, value in props.get("ScalingConfig", {}).items()}
    return original(logical_id, {**props, **({"ScalingConfig": scaling} if scaling else {})}, stack_name)


_queries = AccountRegionScopedDict()


def _query(physical_id: str, props: dict[str, Any]) -> Resource:
    _queries[physical_id] = props["Name"]
    return physical_id, {"QueryDefinitionId": physical_id}


async def _logs(original: Callable[..., Awaitable[Response]], *request: Any) -> Response:
    _method, _path, headers, body, *_ = request
    answer: dict[str, Any]
    match headers.get("x-amz-target", "").rpartition(".")[2]:
        case "DescribeQueryDefinitions":
            prefix = json.loads(body).get("queryDefinitionNamePrefix", "")
            found = [(id_, name) for id_, name in _queries.items() if name.startswith(prefix)]
            answer = {"queryDefinitions": [{"queryDefinitionId": id_, "name": name} for id_, name in found]}
        case "DeleteQueryDefinition":
            answer = {"success": _queries.pop(json.loads(body)["queryDefinitionId"], None) is not None}
        case _:
            return await original(*request)
    response: Response = json_response(answer)
    return response

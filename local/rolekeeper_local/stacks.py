"""CloudFormation where a deployment needs more than ministack has.

- A condition may compare pseudo parameters (CloudFormation user guide, "CloudFormation template Conditions syntax",
  "Get AWS values using pseudo parameters"). ministack compares their names. `AWS::StackName` and `AWS::StackId` aren't
  known here either.
- A resource that a condition leaves out is ignored, or deleted if it exists (the same guide, "Conditions"), so a change
  set shows it only then. ministack shows all of them as added.
- A stack has its template's description (CloudFormation API reference, `Stack`); ministack loses it with a change set.
- ministack refuses a stack with saved queries of CloudWatch Logs, or with alarms over an expression. Here a query is
  accepted and kept nowhere, and the alarm is over the expression's metric.
- CloudFormation makes a number of a parameter's text; with the text ministack's poller polls nothing.
"""

import uuid
from collections.abc import Callable
from typing import Any

from ministack.core.responses import get_account_id, get_region
from ministack.services import cloudformation
from ministack.services.cloudformation import changesets, engine, handlers, provisioners, stacks

from rolekeeper_local.corrections import correct

type Resource = tuple[str, dict[str, Any]]


def install() -> None:
    correct(_evaluate_conditions, "_evaluate_conditions", engine, changesets, handlers, stacks)
    correct(_resolve_props_for_diff, "_resolve_props_for_diff", changesets)
    correct(_execute_change_set, "ExecuteChangeSet", handlers._ACTION_HANDLERS)
    correct(_alarm_record, "_cw_metric_alarm_record", provisioners)
    resources = provisioners._RESOURCE_HANDLERS
    correct(_create_event_source, "create", resources["AWS::Lambda::EventSourceMapping"])
    resources["AWS::Logs::QueryDefinition"] = {
        "create": lambda _logical_id, _props, _stack: _query(str(uuid.uuid4())),
        "update": lambda physical_id, _old, _new, _stack: _query(physical_id),
        "delete": provisioners._cfn_noop_delete,
    }


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


def _query(physical_id: str) -> Resource:
    return physical_id, {"QueryDefinitionId": physical_id}

"""What watches over Rolekeeper, as far as the template needs it to be deployed: saved queries, alarms that calculate.

ministack refuses a whole stack for either. Nobody looks at them here, so a saved query is taken and kept nowhere, and
an alarm over an expression is kept as one over the metric that goes into it.
"""
# ruff: noqa: SLF001 - ministack has no public API inside its process; the release is pinned

import uuid
from typing import Any

from ministack.services.cloudformation import provisioners  # type: ignore[import-not-found]


def install() -> None:
    """Have CloudFormation take both in this process; call once, before the first request."""
    provisioners._RESOURCE_HANDLERS["AWS::Logs::QueryDefinition"] = {
        "create": _take_query,
        "update": _keep_query,
        "delete": provisioners._cfn_noop_delete,
    }
    record = provisioners._cw_metric_alarm_record
    provisioners._cw_metric_alarm_record = lambda name, props: record(name, without_expression(props))


def without_expression(props: dict[str, Any]) -> dict[str, Any]:
    """An alarm's properties with the metric of its first `MetricStat` in the place of its expression."""
    if "Metrics" not in props:
        return props
    stat = next(each["MetricStat"] for each in props["Metrics"] if "MetricStat" in each)
    plain = {name: value for name, value in props.items() if name != "Metrics"}
    return {**plain, **stat["Metric"], "Statistic": stat["Stat"], "Period": stat["Period"]}


def _take_query(_logical_id: str, _props: dict[str, Any], _stack: str) -> tuple[str, dict[str, Any]]:
    made = str(uuid.uuid4())
    return made, {"QueryDefinitionId": made}


def _keep_query(physical_id: str, _old: Any, _new: Any, _stack: str) -> tuple[str, dict[str, Any]]:
    return physical_id, {"QueryDefinitionId": physical_id}

"""What watches over Rolekeeper: saved queries and alarms that calculate, so that the template deploys; log events.

ministack refuses a whole stack for either of the first two. Nobody looks at them here, so a saved query is taken and
kept nowhere, and an alarm over an expression is kept as one over the metric that goes into it. Log events have no id
there; AWS gives each one of its own (CloudWatch Logs API reference, `FilteredLogEvent`).
"""
# ruff: noqa: SLF001 - ministack has no public API inside its process; the release is pinned

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ministack.services import cloudwatch_logs  # type: ignore[import-not-found]
from ministack.services.cloudformation import provisioners  # type: ignore[import-not-found]


def install() -> None:
    """Correct this process; call once, before the first request."""
    provisioners._RESOURCE_HANDLERS["AWS::Logs::QueryDefinition"] = {
        "create": _take_query,
        "update": _keep_query,
        "delete": provisioners._cfn_noop_delete,
    }
    # CloudFormation makes a number of what a parameter says; a poller that is given text polls nothing.
    source = provisioners._RESOURCE_HANDLERS["AWS::Lambda::EventSourceMapping"]
    source["create"] = _with_numbers(source["create"])
    record = provisioners._cw_metric_alarm_record
    provisioners._cw_metric_alarm_record = lambda name, props: record(name, without_expression(props))
    find = cloudwatch_logs._filter_log_events
    cloudwatch_logs._filter_log_events = lambda asked: _with_ids(find(asked))


def _with_ids(answer: tuple[int, Mapping[str, str], bytes]) -> tuple[int, Mapping[str, str], bytes]:
    """FilterLogEvents' answer with an id for each event: the same one each time."""
    status, headers, body = answer
    document = json.loads(body)
    alike: Counter[str] = Counter()
    for event in document.get("events", ()):
        said = f"{event['logStreamName']} {event['timestamp']} {event['message']}"
        # Two that say the same at the same time in one stream are two: the first stays the first.
        event["eventId"] = hashlib.sha256(f"{said} {alike[said]}".encode()).hexdigest()[:56]
        alike[said] += 1
    return status, headers, json.dumps(document).encode()


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


def _with_numbers(create: Any) -> Any:
    def made(logical_id: str, props: dict[str, Any], stack_name: str) -> Any:
        scaling = {name: int(value) for name, value in props.get("ScalingConfig", {}).items()}
        return create(logical_id, {**props, **({"ScalingConfig": scaling} if scaling else {})}, stack_name)

    return made

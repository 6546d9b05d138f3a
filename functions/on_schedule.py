"""The schedules' function: sweeps, handles each minute what expires, and goes on with tasks for the resume machine.

A hub's sweep starts one run of this function for each other target.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import runtime
from rolekeeper.aws.queue import Task, resumable
from rolekeeper.fleet.sweep import RESERVE
from rolekeeper.instances.requests import target_from

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from rolekeeper.app import App

TRIED_FOR = timedelta(hours=2)  # EventBridge and Lambda retry an event for less than this (template.yaml)


@runtime.logger.inject_lambda_context
@runtime.metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Do the task that the event names, by default a sweep; answer with the result, and with what is left."""
    app = runtime.app(context.invoked_function_arn)
    correlation_id = str(event.get("id") or context.aws_request_id)
    task = Task(event.get("task", Task.SWEEP))
    first = task is Task.EXPIRIES and not app.state.last_sweep().ended
    if first:
        # Nothing changes before a sweep has ended: on a new state table the first minute runs one.
        task = Task.SWEEP

    def seconds_left() -> float:
        return context.get_remaining_time_in_millis() / 1000

    def in_time() -> bool:
        return seconds_left() >= RESERVE

    if app.settings.only and event.get("target"):
        # The deployment was a hub when this sweep began.
        app.telemetry.dropped("another target: the deployment is of no organization", correlation_id)
        return {"task": task.value, "id": correlation_id, "finished": True}
    try:
        if task is Task.EXPIRIES:
            app.overrides.report_deployed_mode(correlation_id)
            if app.settings.organization:
                app.targets.start_first_sweeps(correlation_id, in_time)
            done = _minute(app, correlation_id, waits=event.get("waits") is True)
        elif task is Task.FAN_OUT:
            sent = app.sender.go_on(event, correlation_id, in_time)
            done = resumable(task, correlation_id, sent)
        else:
            target = target_from(event["target"]) if event.get("target") else None
            if app.settings.organization and not (first or target or "rest" in event):
                app.targets.start_sweeps(correlation_id, in_time, _scheduled(event, app.now()))
            there = app.at(target) if target else app
            swept = there.sweep(correlation_id, seconds_left, context.aws_request_id, event=event).run()
            done = resumable(task, correlation_id, swept, target=target)
    finally:
        app.telemetry.flush()
    runtime.logger.info(task.value, extra=done)
    return done


def _minute(app: "App", correlation_id: str, *, waits: bool) -> dict[str, Any]:
    done = asdict(app.expiries(correlation_id, waits=waits).run())
    if app.settings.organization:
        # Last, as no timer is to wait for accounts that may never have a spoke.
        app.targets.probe_unknown(correlation_id)
    return done


def _scheduled(event: Mapping[str, Any], now: datetime) -> datetime | None:
    """When the schedule made this event, the same in each of Lambda's tries; None if a person sent it."""
    if "task" in event or "time" not in event:
        return None
    made = datetime.fromisoformat(event["time"])
    return made if now - made <= TRIED_FOR else None

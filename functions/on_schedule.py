"""The schedules' function: the sweep, and each minute what expires."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import runtime
from rolekeeper.aws.queue import Task
from rolekeeper.fleet import report_deployed_mode

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@runtime.logger.inject_lambda_context
@runtime.metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Do the task that the event names, or else sweep; answers with what was seen and sent."""
    app = runtime.app(context.invoked_function_arn)
    correlation_id = str(event.get("id") or context.aws_request_id)
    task = Task(event.get("task", Task.SWEEP))
    if task is Task.EXPIRIES and not app.state.read().control.swept:
        # Nothing changes before a sweep came to its end: on a new state table the first minute makes one.
        task = Task.SWEEP
    try:
        if task is Task.EXPIRIES:
            report_deployed_mode(app.store, app.telemetry, app.settings.mode, correlation_id, app.now())
            done = asdict(app.expiries(correlation_id, waits=event.get("waits") is True).run())
        else:
            done = asdict(app.sweep(correlation_id, lambda: context.get_remaining_time_in_millis() / 1000).run())
    finally:
        app.telemetry.flush()
    runtime.logger.info(task.value, extra=done)
    return done

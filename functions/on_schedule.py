"""The schedules' function: the sweep, and each minute what expires; and what the resume machine has it go on with."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import runtime
from rolekeeper.aws.queue import Task, resumable
from rolekeeper.fleet.overrides import report_deployed_mode
from rolekeeper.fleet.sweep import RESERVE

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@runtime.logger.inject_lambda_context
@runtime.metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Do the task that the event names, or else sweep; answers with what was seen and sent, and what is left of it."""
    app = runtime.app(context.invoked_function_arn)
    correlation_id = str(event.get("id") or context.aws_request_id)
    task = Task(event.get("task", Task.SWEEP))
    if task is Task.EXPIRIES and not app.state.last_sweep().ended:
        # Nothing changes before a sweep came to its end: on a new state table the first minute makes one.
        task = Task.SWEEP

    def seconds_left() -> float:
        return context.get_remaining_time_in_millis() / 1000

    try:
        if task is Task.EXPIRIES:
            report_deployed_mode(app.store, app.telemetry, app.settings.mode, correlation_id, app.now())
            done = asdict(app.expiries(correlation_id, waits=event.get("waits") is True).run())
        elif task is Task.FAN_OUT:
            sent = app.sender.go_on(event, correlation_id, lambda: seconds_left() >= RESERVE)
            done = resumable(task, correlation_id, sent)
        else:
            swept = app.sweep(correlation_id, seconds_left, context.aws_request_id, event).run()
            done = resumable(task, correlation_id, swept)
    finally:
        app.telemetry.flush()
    runtime.logger.info(task.value, extra=done)
    return done

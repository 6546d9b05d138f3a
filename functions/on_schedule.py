"""The schedules' function: the sweep, and each minute what expires."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

import runtime
from rolekeeper.tasks import Task


@runtime.logger.inject_lambda_context
@runtime.metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Do the task that the event names, or else sweep; answers with what was seen and sent."""
    settings = runtime.settings(context.invoked_function_arn)
    announce = runtime.announcer(settings)
    correlation_id = str(event.get("id") or context.aws_request_id)
    task = Task(event.get("task", Task.SWEEP))
    if task is Task.EXPIRIES and not runtime.state(settings).swept():
        # Nothing changes before a sweep came to its end: on a new state table the first minute makes one.
        task = Task.SWEEP
    try:
        if task is Task.EXPIRIES:
            runtime.deployed_mode(settings, announce).compare(correlation_id, runtime.now())
            waits = event.get("waits") is True
            done = runtime.expiries(settings, announce, correlation_id, waits=waits).run().document()
        else:
            sweep = runtime.sweep(
                settings, announce, correlation_id, lambda: context.get_remaining_time_in_millis() / 1000
            )
            done = sweep.run().document()
    finally:
        announce.flush()
    runtime.logger.info(task.value, extra=done)
    return done

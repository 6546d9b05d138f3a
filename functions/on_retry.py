"""The retry loop's task: observes one instance again, and says whether the loop goes on.

It changes nothing: it sends an instance that is ready for its change to the work queue, whose function keeps the pace.
"""

from typing import TYPE_CHECKING, Any

import runtime
from rolekeeper.instances.requests import DroppedError, require_ours
from rolekeeper.instances.retry import RetryState
from rolekeeper.storage import layout

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@runtime.logger.inject_lambda_context
@runtime.metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Reconcile one instance; answer with the machine's next state. After the deadline raise what AWS refused last."""
    app = runtime.app(context.invoked_function_arn)
    tick = layout.decode(RetryState, event)
    try:
        require_ours(tick.instance, app.settings.sole_target)
        reconciler = app.at(tick.instance.target).reconciler(in_loop=True)
        outcome = reconciler.run([tick.request])[tick.request.instance]
        decision = outcome.decision
        if decision and not decision.polls:
            return tick.document("done", 0)
        if following := tick.following(app.now()):
            return following
        if outcome.error:
            raise outcome.error
        assert decision  # where nothing failed something was decided
        reconciler.recorder.park(tick.request, decision)
        return tick.document("parked", 0)
    except DroppedError as dropped:
        app.telemetry.dropped(str(dropped), tick.correlation_id)
        return tick.document("dropped", 0)
    finally:
        app.telemetry.flush()

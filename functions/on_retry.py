"""The retry loop's task: looks again at one instance, and says whether the loop goes on."""

from datetime import UTC, datetime
from typing import Any

import runtime
from aws_lambda_powertools.utilities.typing import LambdaContext
from rolekeeper.clients import client
from rolekeeper.iam import Iam
from rolekeeper.reconcile import Reconciler
from rolekeeper.retry import Tick


@runtime.logger.inject_lambda_context
@runtime.metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Reconcile one instance; answer with the machine's next state.

    Raises:
        AwsRefusalError: nothing could be read or written up to the deadline; the machine dead-letters the instance.
    """
    settings = runtime.settings(context.invoked_function_arn)
    announce = runtime.announcer()
    reconciler = Reconciler(
        ec2=runtime.ec2(settings),
        state=runtime.state(settings),
        announce=announce,
        may_restore=Iam(client("iam"), settings.role_path).may_pass,
        mode=settings.mode,
    )
    tick = Tick.parse(event)
    outcome = reconciler.run([tick.wake])[tick.wake.instance]
    now = datetime.now(UTC)
    if outcome.waiting or outcome.error:
        code = outcome.decision.code if outcome.decision else ""
        if following := tick.following(code, now, settings.retry_timeout_minutes):
            announce.flush()
            return following
        if outcome.error:
            raise outcome.error
        if outcome.decision:
            reconciler.park(tick.wake, outcome.decision)
            announce.flush()
            return tick.document("parked", 0)
    announce.flush()
    return tick.document("done", 0)

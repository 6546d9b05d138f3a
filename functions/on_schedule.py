"""The schedule's function: the sweep."""

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

import runtime
from rolekeeper.sweep import Sweep


@runtime.logger.inject_lambda_context
@runtime.metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Sweep the fleet and the mappings; answers with what was seen and sent."""
    settings = runtime.settings(context.invoked_function_arn)
    announce = runtime.announcer()
    sweep = Sweep(
        ec2=runtime.ec2(settings),
        state=runtime.state(settings),
        table=runtime.mapping_table(settings),
        publisher=runtime.publisher(settings, announce),
        queue=runtime.work_queue(settings),
        announce=announce,
        mode=settings.mode,
        contest=settings.contest,
        correlation_id=str(event.get("id") or context.aws_request_id),
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
        now=lambda: datetime.now(UTC),
    )
    try:
        swept = sweep.run()
    finally:
        announce.flush()
    runtime.logger.info("swept", extra=swept.document())
    return swept.document()

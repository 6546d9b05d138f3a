"""State table stream -> what people wrote there takes effect: the control item, pins, approvals."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import runtime
from rolekeeper.instances.requests import DroppedError

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@runtime.metrics.log_metrics
@runtime.logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> Mapping[str, Any]:
    """Act on each item that was written; answer with those for which AWS gave no answer, to be retried."""
    app = runtime.app(context.invoked_function_arn)

    def act(record: Mapping[str, Any]) -> None:
        event_id = record.get("eventID", context.aws_request_id)
        try:
            change = record["dynamodb"]
            key = change["Keys"]["pk"]["S"], change["Keys"]["sk"]["S"]
            # In whole seconds, the same whenever the record comes.
            at = datetime.fromtimestamp(change["ApproximateCreationDateTime"], UTC)
        except (KeyError, TypeError):
            # A retry would never help, and would block the shard.
            app.telemetry.dropped("the stream record has no keys or no time", event_id)
            return
        try:
            app.overrides.written(key, event_id, at)
        except DroppedError as error:
            app.telemetry.dropped(str(error), event_id)

    return runtime.each_record(event, act)
